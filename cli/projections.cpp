#include "cli/projections.h"

#include <CLI/CLI.hpp>

#include "cli/config.h"

namespace varve {
bool is_chosen(const CLI::App* command) {
  return command != nullptr && command->parsed();
}

void add_key(CLI::App& command, ConfigFlags& flags, const std::string& name, const std::string& key,
             const std::string& about) {
  const std::function<void(const std::string&)> keep = [&flags, key](const std::string& value) {
    flags[key] = {value};
  };
  command.add_option_function<std::string>(name, keep, about);
}

CLI::App& projections_group(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() == "projections") return *command;
  }
  CLI::App* group =
      app.add_subcommand("projections", "Look at the views, rebuild them, release what is parked");
  group->require_subcommand(1);
  return *group;
}

void add_server_place(CLI::App& command, ConfigFlags& flags, std::string& server) {
  command.add_option("--server", server, "Where the server is")->capture_default_str();
  add_key(command, flags, "--config", "config", "A TOML file that may hold the password");
  add_key(command, flags, "--password-file", "password_file",
          "The server's password is this file's first line (else VARVE_PASSWORD or LETTA_SERVER_PASS)");
}

bool QuarantineWords::chosen() const {
  return is_chosen(list) || is_chosen(show) || is_chosen(retry) || is_chosen(skip);
}

void add_quarantine(CLI::App& projections, ConfigFlags& flags, QuarantineWords& words) {
  CLI::App* group =
      projections.add_subcommand("quarantine", "Streams that wait at an event which could not be folded");
  group->require_subcommand(1);
  words.list = group->add_subcommand("list", "Print them, with what they wait at");
  words.show = group->add_subcommand("show", "Print one, its event, and what a retry and a skip would do");
  words.retry = group->add_subcommand("retry", "Fold what waits with the server's present program");
  words.skip = group->add_subcommand("skip", "Write into the log that the event is absent, for ever");
  QuarantineCommand& options = words.options;
  for (CLI::App* command : {words.list, words.show, words.retry, words.skip}) {
    add_server_place(*command, flags, options.place.server);
    command->add_flag("--json", options.json, "JSON instead of text");
    if (command == words.list) continue;
    command->add_option("stream", options.stream, "As agent-.. or block-..")->required();
    if (command != words.show) command->add_flag("--yes", options.yes, "Do it without asking");
  }
}

int run(const QuarantineWords& words, const Config& config) {
  QuarantineCommand options = words.options;
  options.place.password = config.password;
  options.action = QuarantineCommand::Action::list;
  if (is_chosen(words.show)) options.action = QuarantineCommand::Action::show;
  if (is_chosen(words.retry)) options.action = QuarantineCommand::Action::retry;
  if (is_chosen(words.skip)) options.action = QuarantineCommand::Action::skip;
  return run_quarantine(options);
}

}  // namespace varve
