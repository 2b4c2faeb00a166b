// The snapshot store on a real PostgreSQL: the contract of every store, and what only this one can get wrong.
#include "projections/postgres_snapshot_store.h"

#include "tests/projections/snapshot_store_contract.h"
#include "tests/support/postgres_database.h"

namespace varve::test {

namespace {

class OpenStore final : public SnapshotStore {
 public:
  OpenStore(Env& env, const std::string& url) {
    PostgresOptions options;
    options.url = url;
    auto made = PostgresPool::make(env, options);
    EXPECT_TRUE(made) << to_string(made.error());
    pool_ = std::move(*made);
    store_ = std::make_unique<PostgresSnapshotStore>(*pool_);
  }

  Task<> put(std::vector<SnapshotRow> rows) override { return store_->put(std::move(rows)); }
  Task<std::optional<SnapshotRow>> get(StreamId stream) override { return store_->get(std::move(stream)); }
  Task<std::optional<RecoveryRow>> recovery(Partition partition) override {
    return store_->recovery(partition);
  }
  Task<bool> move_recovery(RecoveryRow row) override { return store_->move_recovery(std::move(row)); }
  Task<std::vector<SnapshotPlace>> list(Partition partition, StreamId after, std::size_t limit) override {
    return store_->list(partition, std::move(after), limit);
  }
  Task<std::vector<StreamId>> open_turns(Partition partition) override {
    return store_->open_turns(partition);
  }

 private:
  std::unique_ptr<PostgresPool> pool_;
  std::unique_ptr<PostgresSnapshotStore> store_;
};

class PostgresWorld final : public SnapshotStoreWorld {
 public:
  PostgresWorld() { database_.migrate(); }
  std::unique_ptr<SnapshotStore> open(Env& env) override {
    return std::make_unique<OpenStore>(env, database_.url());
  }

 private:
  PostgresDatabase database_;
};

INSTANTIATE_TEST_SUITE_P(Postgres, SnapshotStoreContract,
                         ::testing::Values(SnapshotStoreCase{
                             "Postgres", [] { return std::make_unique<PostgresWorld>(); }}),
                         name_of_snapshot_case);

}  // namespace

}  // namespace varve::test
