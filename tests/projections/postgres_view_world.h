// PostgreSQL for tests of the view store: a database of this process on the shared server, and a generation
// of its own for every world, so that no test sees another's rows.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "projections/postgres_view_store.h"
#include "runtime/real_env.h"
#include "tests/projections/view_store_contract.h"
#include "tests/support/postgres_database.h"
#include "tests/support/run.h"

namespace varve::test {

// Runs SQL on a connection of its own; the first column of every row.
inline std::vector<std::string> sql(const std::string& url, const std::string& statement) {
  pqxx::connection connection(url);
  pqxx::nontransaction work(connection);
  std::vector<std::string> values;
  for (const auto& row : work.exec(statement)) {
    if (!row.empty()) values.emplace_back(row[0].c_str());
  }
  return values;
}

inline RealEnv::Options quiet_env() {
  RealEnv::Options options;
  options.read_threads = 2;
  options.log_sink = [](LogLevel, std::string_view) {};
  return options;
}

inline PostgresOptions postgres_at(const std::string& url) {
  PostgresOptions options;
  options.url = url;
  return options;
}

// A migrated database of its own, gone in the end.
class ViewsDatabase {
 public:
  ViewsDatabase() { database_.migrate(); }

  std::string url() const { return database_.url(); }

 private:
  PostgresDatabase database_;
};

// The one that all tests of this process share, until drop_shared_database().
inline std::unique_ptr<ViewsDatabase>& shared_database_slot() {
  static std::unique_ptr<ViewsDatabase> slot;
  return slot;
}
inline ViewsDatabase& shared_database() {
  auto& slot = shared_database_slot();
  if (slot == nullptr) slot = std::make_unique<ViewsDatabase>();
  return *slot;
}

inline std::uint64_t next_generation() {
  static std::atomic<std::uint64_t> next{1};
  return next++;
}

// A store with the pool that it uses.
class PooledViewStore final : public ViewStore {
 public:
  PooledViewStore(Env& env, PostgresOptions pool, PostgresViewStore::Options options)
      : pool_(*PostgresPool::make(env, std::move(pool))), store_(*pool_, options) {}

  Task<> prepare() { return store_.prepare(); }
  Task<LoadedCheckpoint> load(Partition partition) override { return store_.load(partition); }
  Task<CommitOutcome> commit(Batch batch) override { return store_.commit(std::move(batch)); }
  Task<> read(std::function<Status(ViewReader&)> work) override { return store_.read(std::move(work)); }
  PostgresPool& pool() { return *pool_; }

 private:
  std::unique_ptr<PostgresPool> pool_;
  PostgresViewStore store_;
};

class PostgresViewWorld final : public ViewStoreWorld {
 public:
  ~PostgresViewWorld() override { sql(url(), "DROP SCHEMA IF EXISTS " + schema() + " CASCADE"); }

  std::unique_ptr<ViewStore> open(Env& env) override { return open_pooled(env, postgres_at(url())); }

  std::unique_ptr<PooledViewStore> open_pooled(Env& env, PostgresOptions options) {
    return std::make_unique<PooledViewStore>(
        env, std::move(options),
        PostgresViewStore::Options{generation_, PostgresViewStore::Reads::generation});
  }

  // A store does it itself when it is first used; for tests that look at the tables before.
  void prepare() {
    RealEnv env{quiet_env()};
    const auto store = open_pooled(env, postgres_at(url()));
    const Status prepared = run(env, store->prepare());
    env.shut_down();
    EXPECT_TRUE(prepared) << to_string(prepared.error());
  }

  std::vector<TimesRow> times(Partition partition) override {
    prepare();
    pqxx::connection connection(url());
    pqxx::nontransaction work(connection);
    std::vector<TimesRow> rows;
    for (const auto& row :
         work.exec("SELECT first_offset, last_offset, first_at, last_at FROM " + schema() +
                   ".times WHERE \"partition\" = " + std::to_string(partition.value()) + " ORDER BY 1")) {
      rows.push_back({Offset{row[0].as<std::uint64_t>()}, Offset{row[1].as<std::uint64_t>()},
                      WallTime{row[2].as<std::int64_t>()}, WallTime{row[3].as<std::int64_t>()}});
    }
    return rows;
  }

  std::uint64_t generation() const { return generation_; }
  std::string schema() const { return "varve_views_" + std::to_string(generation_); }
  std::string url() const { return database_.url(); }

 private:
  ViewsDatabase& database_ = shared_database();
  std::uint64_t generation_ = next_generation();
};

}  // namespace varve::test
