#include "cli/projection_stores.h"

#include <unistd.h>

#include <filesystem>

#include "cli/logs.h"
#include "cli/run_now.h"
#include "eventlog/ids.h"
#include "eventlog/sqlite_event_log.h"
#include "projections/postgres_generations.h"
#include "projections/postgres_migrate.h"
#include "projections/sqlite_generations.h"

namespace varve {
namespace {

constexpr const char* kNoViews = "; a server makes them from the log";

Task<> reach(PostgresPool& pool) {
  if (Status reached = co_await pool.probe(); !reached) co_return reached;
  co_return co_await require_schema(pool, known_migrations());
}

// "host.example, process 4711, 1f3a5b7c": no other rebuild's.
std::string holder_name(Env& env) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return std::string{host.data()} + ", process " + std::to_string(::getpid()) + ", " +
         uuid4(env.rng()).substr(0, 8);
}

Status open_database(RealEnv& env, const Config& config, std::size_t connections, ProjectionStores& stores) {
  PostgresOptions options;
  options.url = config.postgres.url;
  options.password = config.postgres.password;
  options.connections = connections;
  auto made = PostgresPool::make(env, std::move(options));
  if (!made) return made.error();
  const std::shared_ptr<PostgresPool> pool = std::move(*made);
  if (Status reached = run_now(env, reach(*pool)); !reached)
    return Error{reached.error().code, "PostgreSQL: " + reached.error().message};
  stores.database = pool;
  stores.cut_off = [pool] { pool->cut(); };
  stores.place = pool->where();
  auto generations = std::make_unique<PostgresGenerations>(env, *pool, holder_name(env));
  // A tool makes no views where there are none.
  if (auto seen = run_now(env, generations->look()); !seen) return seen.error();
  stores.generations = std::move(generations);
  PostgresViewStore::Options live;
  live.follows_live = true;
  stores.views = std::make_unique<PostgresViewStore>(*pool, live);
  return ok();
}

}  // namespace

Result<std::unique_ptr<ProjectionStores>> open_to_look(RealEnv& env, const Config& config) {
  auto stores = std::make_unique<ProjectionStores>();
  auto log = open_log_to_read(env, config);
  if (!log) return log.error();
  stores->log = std::move(*log);
  if (config.store == "postgres") {
    if (Status opened = open_database(env, config, 4, *stores); !opened) return opened.error();
    return stores;
  }
  stores->place = config.data_dir;
  const auto generation = active_generation_in(config.data_dir);
  if (!generation) return generation.error();
  const SqliteViewStore::Options where{config.data_dir, *generation};
  if (!std::filesystem::exists(SqliteViewStore::path_of(where))) {
    return Error{Errc::not_found, "there are no views in " + config.data_dir + kNoViews};
  }
  auto views = SqliteViewStore::open(env, where);
  if (!views) return views.error();
  stores->views = std::move(*views);
  stores->generations = std::make_unique<SqliteGenerations>(env, config.data_dir, nullptr, nullptr);
  return stores;
}

Result<std::unique_ptr<ProjectionStores>> open_to_rebuild(RealEnv& env, const Config& config,
                                                          std::size_t jobs) {
  auto stores = std::make_unique<ProjectionStores>();
  if (config.store == "postgres") {
    auto log = open_log_to_read(env, config);
    if (!log) return log.error();
    stores->log = std::move(*log);
    if (Status opened = open_database(env, config, jobs + 3, *stores); !opened) return opened.error();
    return stores;
  }
  std::error_code fault;
  if (!std::filesystem::exists(config.data_dir + "/log.db", fault))
    return Error{Errc::not_found, "there is no log in " + config.data_dir};
  // It is made for writing: that is what takes the lock.
  auto log = SqliteEventLog::open(env, {config.data_dir, config.partitions});
  if (!log) return log.error();
  stores->log = std::move(*log);
  stores->place = config.data_dir;
  auto control = SqliteSnapshotStore::open(env, config.data_dir);
  if (!control) return control.error();
  stores->control = std::move(*control);
  stores->generations =
      std::make_unique<SqliteGenerations>(env, config.data_dir, stores->control.get(), nullptr);
  return stores;
}

}  // namespace varve
