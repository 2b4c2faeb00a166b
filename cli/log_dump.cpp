// varve log dump: every record with its place, its verdict and what it says. Reads in short transactions, so
// a running server's WAL can be checkpointed meanwhile.
#include <cstdio>
#include <iostream>

#include "cli/commands.h"
#include "eventlog/admission.h"
#include "eventlog/sqlite_event_log.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

std::string summary_of(const Record& record) {
  if (const auto* claim = std::get_if<Claim>(&record)) {
    return "claim   epoch " + std::to_string(claim->epoch.value()) + " by node " + claim->node + " (" +
           claim->cluster + ")";
  }
  if (const auto* ruling = std::get_if<Ruling>(&record)) {
    return "ruling  epoch " + std::to_string(ruling->epoch.value()) + " n " +
           std::to_string(ruling->n.value()) + " on " + ruling->stream.value() + " at offset " +
           std::to_string(ruling->offset.value());
  }
  if (std::holds_alternative<ForeignRecord>(record)) return "foreign (not a record of ours)";
  const auto& commit = std::get<Commit>(record);
  std::string text = "commit  epoch " + std::to_string(commit.epoch.value()) + " n " +
                     std::to_string(commit.n.value()) + " cmd " + to_hex(commit.command.id).substr(0, 8);
  for (const Part& part : commit.parts) {
    text += "\n          " + part.stream.value();
    std::uint64_t sequence = part.first.value();
    for (const StoredEvent& stored : part.events) {
      const auto* event = std::get_if<Event>(&stored);
      const std::string type = event != nullptr ? std::string(type_of(*event))
                                                : std::get<UnreadableEvent>(stored).type + " (unreadable)";
      text += " #" + std::to_string(sequence++) + " " + type;
    }
  }
  return text;
}

void print(const LogPosition& position, const std::string& bytes, Verdict verdict, const Record& record,
           bool json) {
  std::string line;
  if (json) {
    JsonWriter out;
    out.begin_object().field("position", to_string(position));
    out.field_integer("partition", position.partition.value());
    out.field_integer("offset", static_cast<std::int64_t>(position.offset.value()));
    out.field("verdict", to_string(verdict));
    if (std::holds_alternative<ForeignRecord>(record)) {
      out.field_null("record");
    } else {
      out.field_raw("record", bytes);
    }
    out.end_object();
    line = out.take();
  } else {
    line = to_string(position) + "  " + format_rfc3339_micros(time_of(record)) + "  " + to_string(verdict) +
           "  " + summary_of(record);
  }
  std::cout << line << "\n";
}

Task<> dump_partition(EventLog& log, Partition partition, DumpOptions options) {
  AdmissionState admission;
  Offset from;
  for (;;) {
    ReadOptions read;
    read.records_max = 256;  // One short transaction.
    auto batch = co_await log.read(partition, from, read);
    if (!batch) co_return batch.error();
    if (batch->records.empty()) co_return ok();
    for (const LogRecord& record : batch->records) {
      const LogPosition position{partition, record.offset};
      auto decoded = decode_record(*record.bytes);
      if (!decoded)
        co_return Error{decoded.error().code, to_string(position) + ": " + decoded.error().message};
      // Verdicts depend on what came before: the state is carried also through what is not printed.
      const Verdict verdict = admit(admission, *decoded);
      if (record.offset.value() >= options.from)
        print(position, *record.bytes, verdict, *decoded, options.json);
    }
    from = batch->next;
  }
}

Task<> dump(RealEnv& env, EventLog& log, DumpOptions options, int& exit_code) {
  for (std::uint32_t number = 0; number < log.partitions(); ++number) {
    if (options.partition && *options.partition != number) continue;
    if (Status dumped = co_await dump_partition(log, Partition{number}, options); !dumped) {
      std::cerr << "varve log dump: " << dumped.error().message << "\n";
      exit_code = kExitFailed;
      break;
    }
  }
  env.stop();
  co_return ok();
}

}  // namespace

int run_dump(const DumpOptions& options) {
  RealEnv env;
  auto log = SqliteLogReader::open(env, options.data_dir);
  if (!log) {
    std::cerr << "varve log dump: " << log.error().message << "\n";
    return kExitFailed;
  }
  if (options.partition && *options.partition >= (*log)->partitions()) {
    std::cerr << "varve log dump: the log has partitions 0 to " << (*log)->partitions() - 1 << ", not "
              << *options.partition << "\n";
    return kExitUsage;
  }
  int exit_code = kExitDone;
  env.spawn("dump", dump(env, **log, options, exit_code));
  env.run();
  std::cout.flush();
  env.shut_down();
  return exit_code;
}

}  // namespace varve
