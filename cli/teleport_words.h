// The words of `varve teleport`, taken apart.
#pragma once

#include <functional>

#include "cli/projections.h"
#include "cli/teleport.h"

namespace varve {

struct TeleportWords {
  CLI::App* export_archive = nullptr;
  CLI::App* import_archive = nullptr;
  CLI::App* move = nullptr;
  TeleportExportCommand export_options;
  TeleportImportCommand import_options;
  TeleportMoveCommand move_options;
  std::string to_password_file;

  bool chosen() const;
  // It reads a log that the configuration names.
  bool reads_log() const;
};
// `add_log_place`: the options that say where a log is.
void add_teleport(CLI::App& app, ConfigFlags& flags, TeleportWords& words,
                  const std::function<void(CLI::App&)>& add_log_place);
int run(const TeleportWords& words, const Config& config);

}  // namespace varve
