// The options of varve replay, explain and bisect on the command line, and the texts of their --help.
#include <CLI/CLI.hpp>

#include "cli/inspect_commands.h"

namespace varve {
namespace {

constexpr const char* kReplayFooter =
    "For each record: its place, time and verdict, also if it does not count; what caused it; and for each "
    "of its\n"
    "events what has changed in the actor's state and in the views.\n"
    "EXPR is described in docs/expressions.md, as in\n"
    "  --until 'event.type = \"BlockUpdated\" and not block(\"human\").value contains \"Anna\"'\n"
    "A log file that was copied is replayed by naming the directory that holds the copy.\n"
    "Exit code 1: a condition of --until never held.";

constexpr const char* kExplainFooter =
    "ROW is the id of a row, as the API prints it:\n"
    "  message-<uuid>  block-<uuid>  agent-<uuid>  run-<uuid>  step-<uuid>  tool-<uuid>\n"
    "FIELD is a column of its view (also written ROW.FIELD): value, label and so on of a block, content of "
    "a\n"
    "message, name or system of an agent. Besides, a message has in_context, an agent has blocks.\n"
    "Without a FIELD every field is shown with the places of the events that changed it; with one, each of "
    "these\n"
    "events with its command, its cause, and the value before and behind it.";

constexpr const char* kBisectFooter =
    "A CUT is what as_of takes: a time (2026-11-25T22:10:03Z: everything up to it), one offset for each\n"
    "partition, inclusive (0:17,1:88; nothing of a partition that is not named), or one position (0:17: its\n"
    "partition up to there, the others up to its time). The condition must be false at the good cut and "
    "true\n"
    "at the bad one; records of several partitions are taken in the order of their times.\n"
    "If it turns true several times, any of those events may be named; --first folds the log, looks at\n"
    "every state in between and names the first. Otherwise states are read from the views, as of cuts; "
    "where\n"
    "there are none, or they lie behind, the log is folded, and a line on standard error says so.\n"
    "EXPR is described in docs/expressions.md, as in\n"
    "  --where 'not block(\"human\").value contains \"Anna\"' --about agent-<uuid> --good 2026-11-25T08:00Z\n"
    "Exit code 1: it is true at the good cut already, or false at the bad one.";

void add_replay(CLI::App& app, InspectCommands& commands) {
  ReplayCommand& options = commands.replay_options;
  auto* command =
      app.add_subcommand("replay", "Play a part of the log again, and show what each event changes");
  auto* stream =
      command->add_option("--stream", options.stream, "Events of this one: agent-<uuid>, block-<uuid>");
  auto* partition = command->add_option("--partition", options.partition, "All records of this partition");
  stream->excludes(partition);
  command->add_option("--from", options.from, "Show records at this offset or behind it");
  command->add_option("--to", options.to, "Stop behind this offset");
  command->add_option("--until", options.until, "Stop at the first event behind which this EXPR holds");
  auto* step =
      command->add_flag("--step", options.step, "Stop at each record and read commands; help lists them");
  command->add_flag("--diff", options.diff, "Show what was and what is, below each change");
  auto* json = command->add_flag("--json", options.json, "One JSON object a line");
  step->excludes(json);
  command->footer(kReplayFooter);
  commands.replay = command;
}

void add_explain(CLI::App& app, InspectCommands& commands) {
  ExplainCommand& options = commands.explain_options;
  auto* command = app.add_subcommand("explain", "Which events made a row what it is, and why they came");
  command->add_option("ROW", options.row, "Id of a row")->required();
  command->add_option("FIELD", options.field, "Only this field");
  command->add_flag("--json", options.json, "JSON");
  command->footer(kExplainFooter);
  commands.explain = command;
}

void add_bisect(CLI::App& app, InspectCommands& commands) {
  BisectCommand& options = commands.bisect_options;
  auto* command = app.add_subcommand("bisect", "Find an event at which a condition on the views turns true");
  command->add_option("--where", options.where, "The condition, an EXPR")->required();
  command->add_option("--about", options.about, "Look only at what belongs to this agent or block");
  command->add_option("--good", options.good, "A CUT at which it is false (default: the empty log)");
  command->add_option("--bad", options.bad, "A CUT at which it is true (default: the end of the log)");
  command->add_flag("--first", options.first, "The first such event, by looking at all of them");
  command->add_flag("--json", options.json, "JSON");
  command->footer(kBisectFooter);
  commands.bisect = command;
}

}  // namespace

void add_inspect_commands(CLI::App& app, InspectCommands& commands,
                          const std::function<void(CLI::App&)>& add_log_place) {
  add_replay(app, commands);
  add_explain(app, commands);
  add_bisect(app, commands);
  for (CLI::App* command : {commands.replay, commands.explain, commands.bisect}) add_log_place(*command);
}

std::optional<int> run_inspect_command(const InspectCommands& commands, const Config& config) {
  if (*commands.replay) return run_replay(config, commands.replay_options);
  if (*commands.explain) return run_explain(config, commands.explain_options);
  if (*commands.bisect) return run_bisect(config, commands.bisect_options);
  return std::nullopt;
}

}  // namespace varve
