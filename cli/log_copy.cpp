// varve log copy: the embedded log of a data directory into a Kafka topic, offsets kept. Run again it goes on
// where it was interrupted.
#include "eventlog/log_copy.h"

#include <iostream>

#include "cli/commands.h"
#include "cli/logs.h"
#include "eventlog/sqlite_event_log.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kShowEvery{2};

struct Copying {
  RealEnv& env;
  EventLog& from;
  EventLog& to;
  CopiedPartition all;
  int exit_code = kExitDone;
};

std::string in_words(const CopiedPartition& copied) {
  return std::to_string(copied.copied) + " records copied (" + std::to_string(copied.bytes >> 10U) +
         " KiB), " + std::to_string(copied.compared) + " were there already";
}

Task<> copy_all(Copying& copying) {
  MonoTime shown = copying.env.now();
  for (std::uint32_t number = 0; number < copying.from.partitions(); ++number) {
    const CopyProgress progress = [&copying, &shown](Partition partition, const CopiedPartition& so_far) {
      if (copying.env.now() < shown + kShowEvery) return;
      shown = copying.env.now();
      std::cout << "partition " << partition.value() << ": " << in_words(so_far) << " ...\n" << std::flush;
    };
    auto copied = co_await copy_partition(copying.env, copying.from, copying.to, Partition{number}, progress);
    if (!copied) {
      std::cerr << "varve log copy: " << copied.error().message << "\n";
      const bool passing =
          copied.error().code == Errc::unavailable || copied.error().code == Errc::outcome_unknown;
      if (passing) std::cerr << "run the same command again: it goes on where it was\n";
      copying.exit_code = kExitFailed;
      break;
    }
    std::cout << "partition " << number << ": " << in_words(*copied) << "\n";
    copying.all.copied += copied->copied;
    copying.all.compared += copied->compared;
    copying.all.bytes += copied->bytes;
  }
  if (copying.exit_code == kExitDone) std::cout << "the topic is the log: " << in_words(copying.all) << "\n";
  copying.env.stop();
  co_return ok();
}

int fail(const Error& error) {
  std::cerr << "varve log copy: " << error.message << "\n";
  return error.code == Errc::conflict ? kExitInUse : kExitFailed;
}

}  // namespace

int run_log_copy(const Config& config) {
  RealEnv env;
  std::uint32_t partitions = 0;
  {
    auto reader = SqliteLogReader::open(env, config.data_dir);
    if (!reader) return fail(reader.error());
    partitions = (*reader)->partitions();
  }
  // Its lock: nobody writes meanwhile.
  auto from = SqliteEventLog::open(env, {config.data_dir, partitions});
  if (!from) return fail(from.error());
  auto to = open_kafka_log(env, config, partitions);
  if (!to) return fail(to.error());
  Copying copying{env, **from, **to, {}};
  env.spawn("copy", copy_all(copying));
  env.run();
  env.shut_down();
  return copying.exit_code;
}

}  // namespace varve
