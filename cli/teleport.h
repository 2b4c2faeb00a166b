// varve teleport: agents with their whole history, from one log to another (docs/teleport.md).
//
// export writes an archive, from a server or from a log that no server needs to run on. import checks all of
// an archive, then sends it to a server in pieces; whatever it is stopped by, the same command goes on where
// it was. move does both, and in between has the source's agent answer with its new place: at no moment do
// both servers take messages for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/config.h"
#include "cli/server_client.h"

namespace varve {

struct TeleportExportCommand {
  std::vector<std::string> agents;
  bool all = false;
  std::string output;         // A file; empty: standard output, if that is no terminal.
  ServerPlace place{"", ""};  // No server: the log that the configuration names.
};
int run_teleport_export(const Config& config, const TeleportExportCommand& options);

struct TeleportImportCommand {
  std::string file;
  ServerPlace place;
  bool fork = false;     // Under new ids,
  std::string fork_key;  // which are others for every key.
  bool json = false;
  std::int64_t retry_seconds = 60;  // How long to try again what may pass.
};
int run_teleport_import(const TeleportImportCommand& options);

struct TeleportMoveCommand {
  std::vector<std::string> agents;
  ServerPlace place;    // Where they are.
  ServerPlace to;       // Where they go; also what the source answers from then on.
  std::string archive;  // Where the archive is while this runs; empty: beside, by the first agent's name.
  std::int64_t retry_seconds = 60;
};
int run_teleport_move(const TeleportMoveCommand& options);

}  // namespace varve
