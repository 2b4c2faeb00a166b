#include "cli/backends.h"

#include "cli/logs.h"
#include "cli/run_now.h"
#include "cli/writeback.h"
#include "cluster/kafka_assignment.h"
#include "eventlog/sqlite_event_log.h"
#include "projections/postgres_generations.h"
#include "projections/postgres_key_store.h"
#include "projections/postgres_migrate.h"
#include "projections/postgres_process_table.h"
#include "projections/postgres_snapshot_store.h"
#include "projections/postgres_view_store.h"
#include "projections/sqlite_generations.h"
#include "projections/sqlite_key_store.h"
#include "runtime/sync.h"

namespace varve {
namespace {

// Of a process whose roles say that it owns, or folds, nothing.
class NoAssignment final : public Assignment {
 public:
  explicit NoAssignment(Env& env) : env_(env) {}

  Task<AssignmentChange> next(MonoTime deadline) override {
    co_await sleep_until(env_, deadline);
    co_return Error{Errc::unavailable, "this process takes no partitions"};
  }
  Task<bool> prove(Partition /*partition*/) override { co_return false; }
  void release(std::vector<Partition> /*partitions*/) override {}
  Task<> leave(MonoTime /*deadline*/) override { co_return ok(); }

 private:
  Env& env_;
};

// ---- files of one process

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
  auto keys = SqliteKeyStore::open(env, config.data_dir);
  if (!keys) return keys.error();
  const auto generation = active_generation_in(config.data_dir);
  if (!generation) return generation.error();
  SqliteViewStore::Options options;
  options.directory = config.data_dir;
  options.generation = *generation;
  options.begin_writeback = begin_writeback();
  auto views = SqliteViewStore::open(env, options);
  if (!views) return views.error();
  auto live = std::make_unique<ActiveViewStore>(env, std::shared_ptr<ViewStore>{std::move(*views)});
  auto generations = std::make_unique<SqliteGenerations>(env, config.data_dir, snapshots->get(), live.get());
  generations->open_as(std::move(options));
  backends.generations = std::move(generations);
  backends.views = std::move(live);
  backends.snapshots = std::move(*snapshots);
  backends.keys = std::move(*keys);
  return ok();
}

// ---- Kafka

Status open_topic(RealEnv& env, const Config& config, Backends& backends) {
  auto log = open_kafka_log(env, config, config.partitions);
  if (!log) return log.error();
  backends.log = std::move(*log);
  backends.place = "topic " + config.kafka.topic + " of Kafka at " + brokers_of(config.kafka);
  return ok();
}

// How long a group waits for partitions that it wants back: the coordinator has not given the member up by
// then.
Duration drain_time_of(const Config& config) {
  return config.kafka.session_timeout * 5 / 6;
}

// The member of a group for each of the two things that are shared out, if this process does them.
Result<std::unique_ptr<Assignment>> join_group(RealEnv& env, const Config& config, bool takes_part,
                                               const std::string& group) {
  if (!takes_part) return std::unique_ptr<Assignment>(std::make_unique<NoAssignment>(env));
  KafkaAssignment::Options options;
  options.connection = {brokers_of(config.kafka), config.kafka.properties};
  options.topic = config.kafka.topic;
  options.group = config.cluster + "." + group;
  options.member = config.node_url.empty() ? url_of(config.host, config.port) : config.node_url;
  options.instance = config.kafka.static_member;
  options.session_timeout = config.kafka.session_timeout;
  options.drain_time = drain_time_of(config);
  auto made = KafkaAssignment::open(env, std::move(options));
  if (!made) return made.error();
  return std::unique_ptr<Assignment>(std::move(*made));
}

Status join_groups(RealEnv& env, const Config& config, Backends& backends) {
  auto owning = join_group(env, config, config.roles.actors, "actors");
  if (!owning) return owning.error();
  backends.owning = std::move(*owning);
  auto folding = join_group(env, config, config.roles.projections, "projections");
  if (!folding) return folding.error();
  backends.folding = std::move(*folding);
  // The rest is for the last snapshots and for the release itself.
  backends.hand_back_time = drain_time_of(config) * 4 / 5;
  return ok();
}

// ---- PostgreSQL

Task<> prepare_postgres(RealEnv& env, PostgresPool& pool, PostgresViewStore& views, bool migrate) {
  if (Status reached = co_await pool.probe(); !reached) co_return reached.error();
  if (migrate) {
    auto migrated = co_await migrate_postgres(pool, known_migrations());
    if (!migrated) co_return migrated.error();
    for (const std::string& name : migrated->missing) env.log(LogLevel::info, "applied " + name);
  }
  if (Status current = co_await require_schema(pool, known_migrations()); !current) co_return current.error();
  co_return co_await views.prepare();
}

}  // namespace

Status open_database(RealEnv& env, const Config& config, Backends& backends) {
  PostgresOptions options;
  options.url = config.postgres.url;
  options.password = config.postgres.password;
  options.connections = config.postgres.connections;
  auto made = PostgresPool::make(env, std::move(options));
  if (!made) return made.error();
  const std::shared_ptr<PostgresPool> pool = std::move(*made);
  PostgresViewStore::Options live;
  live.follows_live = true;
  const bool clustered = config.log == "kafka";
  live.tells = clustered;
  auto views = std::make_unique<PostgresViewStore>(*pool, live);
  const Status ready = run_now(env, prepare_postgres(env, *pool, *views, config.postgres.migrate));
  if (!ready) return Error{ready.error().code, "PostgreSQL: " + ready.error().message};
  backends.database = pool;
  backends.cut_off = [pool] { pool->cut(); };
  backends.snapshots = std::make_unique<PostgresSnapshotStore>(*pool);
  backends.keys = std::make_unique<PostgresKeyStore>(*pool);
  backends.views = std::move(views);
  backends.generations = std::make_unique<PostgresGenerations>(env, *pool, "server " + uuid4(env.rng()));
  if (clustered) {
    backends.news = std::make_unique<PostgresListener>(env, *pool);
    backends.processes = std::make_unique<PostgresProcessTable>(*pool);
  }
  backends.place += ", " + pool->where();
  return ok();
}

Result<std::unique_ptr<Backends>> open_backends(RealEnv& env, const Config& config) {
  auto backends = std::make_unique<Backends>();
  const bool kafka = config.log == "kafka";
  const Status log = kafka ? open_topic(env, config, *backends) : open_log_file(env, config, *backends);
  if (!log) return log.error();
  const bool postgres = config.store == "postgres";
  const Status views =
      postgres ? open_database(env, config, *backends) : open_view_files(env, config, *backends);
  if (!views) return views.error();
  if (kafka) {
    if (Status joined = join_groups(env, config, *backends); !joined) return joined.error();
  }
  return backends;
}

}  // namespace varve
