#include "cli/inspect_commands.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/commands.h"
#include "cli/logs.h"
#include "cli/projection_stores.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

Task<> run(RealEnv& env, std::string command, Task<int> work, int& exit_code) {
  auto done = co_await std::move(work);
  exit_code = done ? *done : complain(command, done.error().message, kExitFailed);
  env.stop();
  co_return ok();
}

}  // namespace

int complain(const std::string& command, const std::string& what, int code) {
  std::cout.flush();
  std::cerr << command << ": " << what << "\n";
  return code;
}

bool colour_wanted() {
  const char* const refused = std::getenv("NO_COLOR");
  return (refused == nullptr || *refused == '\0') && ::isatty(STDOUT_FILENO) == 1;
}

int with_log(const Config& config, const std::string& command,
             const std::function<Task<int>(EventLog&)>& work) {
  RealEnv env;
  auto log = open_log_to_read(env, config);
  if (!log) return complain(command, log.error().message, kExitFailed);
  int exit_code = kExitFailed;
  env.spawn("inspect", run(env, command, work(**log), exit_code));
  env.run();
  std::cout.flush();
  env.shut_down();
  return exit_code;
}

int with_views(const Config& config, const std::string& command,
               const std::function<Task<int>(InspectedLog)>& work) {
  RealEnv env;
  std::unique_ptr<ProjectionStores> stores;
  std::unique_ptr<EventLog> log;
  std::string why_none = "--data-dir or --store postgres says where they are";
  if (config.store == "postgres" || !config.data_dir.empty()) {
    auto opened = open_to_look(env, config);
    if (opened) {
      stores = std::move(*opened);
    } else {
      why_none = opened.error().message;
    }
  }
  if (stores == nullptr) {
    auto opened = open_log_to_read(env, config);
    if (!opened) return complain(command, opened.error().message, kExitFailed);
    log = std::move(*opened);
  }
  const InspectedLog inspected{env, stores ? *stores->log : *log, stores ? stores->views.get() : nullptr,
                               why_none};
  int exit_code = kExitFailed;
  env.spawn("inspect", run(env, command, work(inspected), exit_code));
  env.run();
  std::cout.flush();
  if (stores && stores->cut_off) stores->cut_off();
  env.shut_down();
  return exit_code;
}

}  // namespace varve
