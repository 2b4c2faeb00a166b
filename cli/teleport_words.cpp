#include "cli/teleport_words.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>

#include "cli/commands.h"
#include "cli/config.h"

namespace varve {
namespace {

constexpr const char* kAbout =
    "Carry agents with their whole history, their blocks and their tools from one log to another\n"
    "(docs/teleport.md).";
constexpr const char* kExportFooter =
    "The archive holds every event of the agents, of every block that they ever had attached and that is\n"
    "there, and the custom tools that they name. Rulings hold: what they skip is absent. Erasable agents\n"
    "cannot be carried: their keys stay where they are.";
constexpr const char* kImportFooter =
    "All of the archive is checked before its first event is sent, and nothing of it is seen before its "
    "last\n"
    "one is there. A repeated import changes nothing; one that was stopped goes on. Exit code 1: it is\n"
    "damaged, or something of it is at the target already with another history.";
constexpr const char* kMoveFooter =
    "The agents are carried first, hidden; then the source answers 410 with their new place; then the "
    "target\n"
    "shows them. A turn that is open is waited for. Whatever stops this, the same command goes on.";

void add_import(CLI::App& group, ConfigFlags& flags, TeleportWords& words) {
  TeleportImportCommand& options = words.import_options;
  words.import_archive = group.add_subcommand("import", "Send an archive to a server that runs");
  CLI::App& command = *words.import_archive;
  command.add_option("FILE", options.file, "An archive")->required()->check(CLI::ExistingFile);
  add_server_place(command, flags, options.place.server);
  auto* fork = command.add_flag("--fork", options.fork, "Under new ids, as agents beside the others");
  command.add_option("--fork-key", options.fork_key, "Leads to the new ids: another key, another fork")
      ->needs(fork);
  command.add_flag("--json", options.json, "JSON instead of the agents' ids");
  command.add_option("--retry-seconds", options.retry_seconds, "How long to try again what may pass")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  command.footer(kImportFooter);
}

void add_move(CLI::App& group, ConfigFlags& flags, TeleportWords& words) {
  TeleportMoveCommand& options = words.move_options;
  words.move = group.add_subcommand("move", "Carry agents to another server, and leave their new place here");
  CLI::App& command = *words.move;
  command.add_option("AGENT", options.agents, "As agent-..")->required();
  command.add_option("--to", options.to.server, "The other server, as clients reach it")->required();
  command.add_option("--to-password-file", words.to_password_file,
                     "Its password is this file's first line (default: that of the source)");
  add_server_place(command, flags, options.place.server);
  command.add_option("--archive", options.archive, "Where the archive is meanwhile (default: here)");
  command.add_option("--retry-seconds", options.retry_seconds, "How long to try again what may pass")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  command.footer(kMoveFooter);
}

}  // namespace

bool TeleportWords::chosen() const {
  return is_chosen(export_archive) || is_chosen(import_archive) || is_chosen(move);
}

bool TeleportWords::reads_log() const {
  return is_chosen(export_archive) && export_options.place.server.empty();
}

void add_teleport(CLI::App& app, ConfigFlags& flags, TeleportWords& words,
                  const std::function<void(CLI::App&)>& add_log_place) {
  CLI::App* group = app.add_subcommand("teleport", kAbout);
  group->require_subcommand(1);
  TeleportExportCommand& options = words.export_options;
  words.export_archive = group->add_subcommand("export", "Write agents as an archive");
  CLI::App& command = *words.export_archive;
  command.add_option("AGENT", options.agents, "As agent-..");
  command.add_flag("--all", options.all, "Every agent and every block");
  command.add_option("--output", options.output, "Into this file instead of standard output");
  command.add_option("--server", options.place.server, "Ask this server (default: read the log itself)");
  add_key(command, flags, "--password-file", "password_file",
          "The server's password is this file's first line (else VARVE_PASSWORD or LETTA_SERVER_PASS)");
  add_log_place(command);
  command.footer(kExportFooter);
  add_import(*group, flags, words);
  add_move(*group, flags, words);
}

int run(const TeleportWords& words, const Config& config) {
  if (is_chosen(words.export_archive)) {
    TeleportExportCommand options = words.export_options;
    options.place.password = config.password;
    return run_teleport_export(config, options);
  }
  if (is_chosen(words.import_archive)) {
    TeleportImportCommand options = words.import_options;
    options.place.password = config.password;
    return run_teleport_import(options);
  }
  TeleportMoveCommand options = words.move_options;
  options.place.password = config.password;
  options.to.password = config.password;
  if (!words.to_password_file.empty()) {
    std::ifstream file(words.to_password_file);
    if (!std::getline(file, options.to.password) || options.to.password.empty()) {
      std::cerr << "varve teleport move: no password in " << words.to_password_file << "\n";
      return kExitUsage;
    }
  }
  return run_teleport_move(options);
}

}  // namespace varve
