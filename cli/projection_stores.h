// Where the tools that look at the views, and those that rebuild them, find them: beside a server that runs
// or without one, as the configuration says.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/config.h"
#include "eventlog/event_log.h"
#include "projections/generations.h"
#include "projections/sqlite_snapshot_store.h"
#include "projections/view_store.h"
#include "runtime/real_env.h"

namespace varve {

// In the order in which they may be destroyed backwards.
struct ProjectionStores {
  std::string place;  // For people.
  std::unique_ptr<EventLog> log;
  std::shared_ptr<void> database;
  std::function<void()> cut_off;  // As Backends::cut_off; may be null.
  std::unique_ptr<SqliteSnapshotStore> control;
  std::unique_ptr<ViewStore> views;  // The active generation.
  std::unique_ptr<Generations> generations;
};

// To read. Errc::not_found: there are no views yet. Blocks; call it before the RealEnv runs.
Result<std::unique_ptr<ProjectionStores>> open_to_look(RealEnv& env, const Config& config);
// To rebuild, `jobs` partitions at a time; without `views`. Errc::conflict: a server uses the directory, and
// can do it itself.
Result<std::unique_ptr<ProjectionStores>> open_to_rebuild(RealEnv& env, const Config& config,
                                                          std::size_t jobs);

}  // namespace varve
