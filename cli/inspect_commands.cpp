#include "cli/inspect_commands.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/commands.h"
#include "cli/logs.h"
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

}  // namespace varve
