// varve projections list | status | rebuild: their words, and what they do.
#pragma once

#include <cstddef>
#include <string>

#include "cli/commands.h"
#include "cli/config.h"
#include "cli/projections.h"

namespace varve {

struct StatusCommand {
  std::string server;  // Empty: the stores are asked themselves.
  bool json = false;
  bool watch = false;
  bool list = false;  // The views, in short.
};

inline constexpr std::size_t kRebuildJobsMax = 64;
struct RebuildCommand {
  std::string server = "http://127.0.0.1:8283";  // That uses the data directory, if one does.
  std::size_t jobs = 4;
  std::int64_t grace_seconds = 30;
  bool abort = false;
};

// 1: it could not be asked. With `watch` it ends by a signal.
int run_projections_status(const Config& config, const StatusCommand& options);
// 1: it failed, or was stopped by a signal, and can be run again.
int run_rebuild(const Config& config, const RebuildCommand& options);

struct ProjectionWords {
  CLI::App* list = nullptr;
  CLI::App* status = nullptr;
  CLI::App* rebuild = nullptr;
  StatusCommand status_options;
  RebuildCommand rebuild_options;

  bool chosen() const;
};
void add_projection_words(CLI::App& projections, ConfigFlags& flags, ProjectionWords& words);
int run(const ProjectionWords& words, const Config& config);

}  // namespace varve
