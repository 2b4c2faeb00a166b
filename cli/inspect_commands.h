// varve replay, explain and bisect: their options and their functions from options to an exit code. They read
// the log that the configuration names, whether a server runs on it or not, and write nothing.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cli/config.h"
#include "eventlog/event_log.h"
#include "projections/view_store.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's.
class App;
}

namespace varve {

struct ReplayCommand {
  std::string stream;
  std::optional<std::uint32_t> partition;
  std::uint64_t from = 0;
  std::optional<std::uint64_t> to;
  std::string until;
  bool step = false;
  bool diff = false;
  bool json = false;
};
int run_replay(const Config& config, const ReplayCommand& options);

struct ExplainCommand {
  std::string row;
  std::string field;
  bool json = false;
};
int run_explain(const Config& config, const ExplainCommand& options);

struct BisectCommand {
  std::string where;
  std::string about;  // An agent or a block.
  std::string good;   // Empty: before the first record.
  std::string bad;    // Empty: the end of the log.
  bool first = false;
  bool json = false;
};
int run_bisect(const Config& config, const BisectCommand& options);

struct InspectCommands {
  CLI::App* replay = nullptr;
  CLI::App* explain = nullptr;
  CLI::App* bisect = nullptr;
  ReplayCommand replay_options;
  ExplainCommand explain_options;
  BisectCommand bisect_options;
};
// `add_log_place` adds the options that say where the log is. `commands` must outlive `app`.
void add_inspect_commands(CLI::App& app, InspectCommands& commands,
                          const std::function<void(CLI::App&)>& add_log_place);
// Nothing: it was another command.
std::optional<int> run_inspect_command(const InspectCommands& commands, const Config& config);

// ---- what they share ----

// Opens the log and runs `work` on it to its end, which is an exit code. `command` names itself in errors.
int with_log(const Config& config, const std::string& command,
             const std::function<Task<int>(EventLog&)>& work);
// As with_log(), and with the views that the configuration names; null: `why_none`.
struct InspectedLog {
  Env& env;
  EventLog& log;
  ViewStore* views = nullptr;
  std::string why_none;
};
int with_views(const Config& config, const std::string& command,
               const std::function<Task<int>(InspectedLog)>& work);
// "varve replay: ..." on standard error; gives back `code`.
int complain(const std::string& command, const std::string& what, int code);
// Whether standard output is a terminal that may be coloured (NO_COLOR).
bool colour_wanted();

}  // namespace varve
