#include "cli/backends.h"

#include "eventlog/sqlite_event_log.h"
#include "projections/sqlite_snapshot_store.h"
#include "projections/sqlite_view_store.h"

namespace varve {
namespace {

Status open_log_file(RealEnv& env, const Config& config, Backends& backends) {
  auto log = SqliteEventLog::open(env, {config.data_dir, config.partitions});
  if (!log) return log.error();
  backends.log = std::move(*log);
  backends.place = config.data_dir;
  return ok();
}

Status open_view_files(RealEnv& env, const Config& config, Backends& backends) {
  auto snapshots = SqliteSnapshotStore::open(env, config.data_dir);
  if (!snapshots) return snapshots.error();
  backends.snapshots = std::move(*snapshots);
  auto views = SqliteViewStore::open(env, {config.data_dir, kViewsGeneration});
  if (!views) return views.error();
  backends.views = std::move(*views);
  return ok();
}

}  // namespace

Result<std::unique_ptr<Backends>> open_backends(RealEnv& env, const Config& config) {
  auto backends = std::make_unique<Backends>();
  if (config.log == "kafka") {
    return Error{Errc::invalid_argument, "log = kafka is not built into this program"};
  }
  if (Status opened = open_log_file(env, config, *backends); !opened) return opened.error();
  if (config.store == "postgres") {
    return Error{Errc::invalid_argument, "store = postgres is not built into this program"};
  }
  if (Status opened = open_view_files(env, config, *backends); !opened) return opened.error();
  return backends;
}

}  // namespace varve
