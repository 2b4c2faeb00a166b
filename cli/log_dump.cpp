// varve log dump: every record with its place, its verdict and what it says. Reads in short transactions, so
// a running server's WAL can be checkpointed meanwhile.
#include <iostream>

#include "cli/commands.h"
#include "cli/log_lines.h"
#include "cli/logs.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

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
        std::cout << line_of_record(partition, record, verdict, *decoded, options.json) << "\n";
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

int run_dump(const Config& config, const DumpOptions& options) {
  RealEnv env;
  auto log = open_log_to_read(env, config);
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
