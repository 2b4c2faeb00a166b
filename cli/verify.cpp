// varve verify: folds the log anew and compares it with the stored views, partition by partition. Works while
// the server runs.
#include <filesystem>
#include <iostream>

#include "cli/backends.h"
#include "cli/commands.h"
#include "cli/logs.h"
#include "projections/sqlite_view_store.h"
#include "projections/verify.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kCatchUp{3};

// The views must have everything that was in the log when this began; a running server gets a moment to fold
// it.
Task<bool> caught_up(RealEnv& env, ViewStore& views, Partition partition, Offset end) {
  const MonoTime deadline = env.now() + kCatchUp;
  for (;;) {
    auto loaded = co_await views.load(partition);
    if (!loaded) co_return loaded.error();
    for (const StreamId& parked : loaded->parked) {
      std::cout << "partition " << partition.value() << ": " << parked.value()
                << " is parked in quarantine\n";
    }
    if (loaded->checkpoint.next >= end) co_return true;
    if (env.now() >= deadline) {
      std::cout << "partition " << partition.value() << ": the views end at offset "
                << loaded->checkpoint.next.value() << ", the log at " << end.value()
                << "; start the server to fold the rest, and read its messages if it does not\n";
      co_return false;
    }
    co_await sleep_for(env, std::chrono::milliseconds{50});
  }
}

Task<bool> verify_partition(RealEnv& env, EventLog& log, ViewStore& views, Partition partition) {
  auto end = co_await log.end(partition);
  if (!end) co_return end.error();
  auto complete = co_await caught_up(env, views, partition, *end);
  if (!complete) co_return complete.error();
  auto differences = co_await fold_equals(env, log, views, partition);
  if (!differences) co_return differences.error();
  for (const Difference& difference : *differences) {
    std::cout << "partition " << partition.value() << ": " << difference.what << "\n";
  }
  const bool equal = *complete && differences->empty();
  if (equal) std::cout << "partition " << partition.value() << ": the views equal the log\n";
  co_return equal;
}

Task<> verify(RealEnv& env, EventLog& log, ViewStore& views, int& exit_code) {
  for (std::uint32_t number = 0; number < log.partitions(); ++number) {
    auto equal = co_await verify_partition(env, log, views, Partition{number});
    if (!equal) std::cerr << "varve verify: partition " << number << ": " << equal.error().message << "\n";
    if (!equal || !*equal) exit_code = kExitFailed;
  }
  env.stop();
  co_return ok();
}

}  // namespace

int run_verify(const Config& config) {
  RealEnv env;
  Backends stores;  // Its views alone.
  const auto fail = [](const Error& error) {
    std::cerr << "varve verify: " << error.message << "\n";
    return kExitFailed;
  };
  auto log = open_log_to_read(env, config);
  if (!log) return fail(log.error());
  if (config.store == "postgres") {
    if (Status opened = open_database(env, config, stores); !opened) return fail(opened.error());
  } else {
    const SqliteViewStore::Options where{config.data_dir, kViewsGeneration};
    if (!std::filesystem::exists(SqliteViewStore::path_of(where))) {
      return fail({Errc::not_found,
                   "there are no views in " + config.data_dir + "; a server makes them from the log"});
    }
    auto views = SqliteViewStore::open(env, where);
    if (!views) return fail(views.error());
    stores.views = std::move(*views);
  }
  int exit_code = kExitDone;
  env.spawn("verify", verify(env, **log, *stores.views, exit_code));
  env.run();
  std::cout.flush();
  env.shut_down();
  return exit_code;
}

}  // namespace varve
