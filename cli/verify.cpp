// varve verify: folds the log anew and compares it with the stored views, partition by partition. Works while
// the server runs.
#include <iostream>

#include "cli/commands.h"
#include "eventlog/sqlite_event_log.h"
#include "projections/sqlite_view_store.h"
#include "projections/verify.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

Task<> verify(RealEnv& env, EventLog& log, ViewStore& views, int& exit_code) {
  for (std::uint32_t number = 0; number < log.partitions(); ++number) {
    auto differences = co_await fold_equals(env, log, views, Partition{number});
    if (!differences) {
      std::cerr << "varve verify: partition " << number << ": " << differences.error().message << "\n";
      exit_code = kExitFailed;
      continue;
    }
    for (const Difference& difference : *differences) {
      std::cout << "partition " << number << ": " << difference.what << "\n";
      exit_code = kExitFailed;
    }
    if (differences->empty()) std::cout << "partition " << number << ": the views equal the log\n";
  }
  env.stop();
  co_return ok();
}

}  // namespace

int run_verify(const VerifyOptions& options) {
  RealEnv env;
  auto log = SqliteLogReader::open(env, options.data_dir);
  if (!log) {
    std::cerr << "varve verify: " << log.error().message << "\n";
    return kExitFailed;
  }
  auto views = SqliteViewStore::open(env, {options.data_dir, 1});
  if (!views) {
    std::cerr << "varve verify: " << views.error().message << "\n";
    return kExitFailed;
  }
  int exit_code = kExitDone;
  env.spawn("verify", verify(env, **log, **views, exit_code));
  env.run();
  std::cout.flush();
  env.shut_down();
  return exit_code;
}

}  // namespace varve
