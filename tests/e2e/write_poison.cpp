// write_poison: a server of a later version that owns one partition of an embedded log for a moment. It
// writes an event that this program cannot read, and behind it one that it can. For tests; no server may run
// meanwhile.
//
//   write_poison DIRECTORY AGENT
//
// Prints the place of the event: {"position":"1:88","event":0}
#include <iostream>
#include <string>

#include "eventlog/admission.h"
#include "eventlog/sqlite_event_log.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

// What there is of the partition, and of the stream in it.
struct Found {
  AdmissionState admission;
  Claim newest;
  Sequence last;
  WallTime at;
};

void look_at(const Record& record, const StreamId& stream, Found& found) {
  if (admit(found.admission, record) != Verdict::admitted) return;
  found.at = std::max(found.at, time_of(record));
  if (const auto* claim = std::get_if<Claim>(&record)) found.newest = *claim;
  const auto* commit = std::get_if<Commit>(&record);
  for (const Part& part : commit != nullptr ? commit->parts : std::vector<Part>{}) {
    if (part.stream == stream) found.last = Sequence{part.first.value() + part.events.size() - 1};
  }
}

Task<Found> look(EventLog& log, Partition partition, StreamId stream) {
  Found found;
  Offset from;
  for (;;) {
    const ReadOptions options;
    auto batch = co_await log.read(partition, from, options);
    if (!batch) co_return batch.error();
    if (batch->records.empty()) co_return found;
    for (const LogRecord& record : batch->records) {
      const auto read = decoded(record);
      if (!read) co_return read.error();
      look_at(**read, stream, found);
    }
    from = batch->next;
  }
}

Task<Offset> append(Env& env, EventLog& log, Partition partition, Record record) {
  const auto bytes = encode_record(record);
  if (!bytes) co_return bytes.error();
  auto delivery = log.append(partition, "", *bytes);
  if (!delivery) co_return delivery.error();
  co_return co_await (*delivery)->get(env, env.now() + std::chrono::seconds{30});
}

Task<> write(RealEnv& env, EventLog& log, StreamId stream, int& exit_code) {
  const Partition partition = partition_of(stream, log.partitions());
  auto found = co_await look(log, partition, stream);
  if (!found) co_return found.error();
  if (found->last == Sequence{}) co_return Error{Errc::not_found, "the log knows no " + stream.value()};
  Claim claim = found->newest;
  claim.epoch = next(found->admission.epoch);
  claim.id = command_id_from_text(uuid4(env.rng()));
  claim.node = "newer";
  claim.at = found->at;
  Record record = claim;
  auto claimed = co_await append(env, log, partition, std::move(record));
  if (!claimed) co_return claimed.error();

  Message message;
  message.id = "message-" + uuid4(env.rng());
  message.content = R"("behind the song")";
  const StoredEvent song = UnreadableEvent{"AgentSang", 1, "", R"({"tune":"la la"})"};
  const StoredEvent behind = Event{MessagesImported{{message}, {}}};
  Index n;
  Sequence sequence = found->last;
  Offset bad;
  for (const StoredEvent& event : {song, behind}) {
    n = next(n);
    sequence = next(sequence);
    const CommandRef command{command_id_from_text(uuid4(env.rng())), CommandHash{1}, false};
    record = Commit{claim.epoch, n, "newer", found->at, command, {Part{stream, sequence, {event}}}};
    auto written = co_await append(env, log, partition, record);
    if (!written) co_return written.error();
    if (n == Index{1}) bad = *written;
  }
  std::cout << R"({"position":")" << to_string(LogPosition{partition, bad}) << R"(","event":0})" << std::endl;
  exit_code = 0;
  co_return ok();
}

Task<> write_and_stop(RealEnv& env, EventLog& log, StreamId stream, int& exit_code) {
  const Status written = co_await write(env, log, std::move(stream), exit_code);
  if (!written) std::cerr << "write_poison: " << to_string(written.error()) << "\n";
  env.stop();
  co_return ok();
}

int run(const std::string& directory, const std::string& agent) {
  RealEnv env;
  SqliteEventLog::Options options;
  options.directory = directory;
  auto log = SqliteEventLog::open(env, options);
  if (!log) {
    std::cerr << "write_poison: " << to_string(log.error()) << "\n";
    return 1;
  }
  int exit_code = 1;
  env.spawn("write", write_and_stop(env, **log, StreamId{agent}, exit_code));
  env.run();
  env.shut_down();
  return exit_code;
}

}  // namespace
}  // namespace varve

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: write_poison DIRECTORY AGENT\n";
    return 2;
  }
  return varve::run(argv[1], argv[2]);
}
