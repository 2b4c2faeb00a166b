// The key store on a real PostgreSQL: the exam of every key store, and two nodes at once.
#include "projections/postgres_key_store.h"

#include "tests/projections/key_store_contract.h"
#include "tests/support/postgres_database.h"

namespace varve::test {
namespace {

class OpenKeys final : public KeyStore {
 public:
  OpenKeys(Env& env, const std::string& url) {
    PostgresOptions options;
    options.url = url;
    auto made = PostgresPool::make(env, options);
    EXPECT_TRUE(made) << to_string(made.error());
    pool_ = std::move(*made);
    store_ = std::make_unique<PostgresKeyStore>(*pool_);
  }

  Task<StreamKeys> create(std::vector<StreamId> streams) override {
    return store_->create(std::move(streams));
  }
  Task<StreamKeys> read(std::vector<StreamId> streams) override { return store_->read(std::move(streams)); }
  Task<> destroy(std::vector<StreamId> streams) override { return store_->destroy(std::move(streams)); }

 private:
  std::unique_ptr<PostgresPool> pool_;
  std::unique_ptr<PostgresKeyStore> store_;
};

class PostgresKeyWorld final : public KeyStoreWorld {
 public:
  PostgresKeyWorld() { database_.migrate(); }
  std::unique_ptr<KeyStore> open(Env& env) override {
    return std::make_unique<OpenKeys>(env, database_.url());
  }

 private:
  PostgresDatabase database_;
};

INSTANTIATE_TEST_SUITE_P(Postgres, KeyStoreContract,
                         ::testing::Values(KeyStoreCase{"Postgres",
                                                        [] { return std::make_unique<PostgresKeyWorld>(); }}),
                         name_of_key_case);

// An owner and the one that believes it still is.
TEST(PostgresKeys, TwoThatAskAtOnceGetTheSame) {
  PostgresDatabase database;
  database.migrate();
  RealEnv env;
  OpenKeys one(env, database.url());
  OpenKeys other(env, database.url());
  const std::vector<StreamId> streams{StreamId{"agent-1"}, StreamId{"block-1"}};
  std::vector<Result<StreamKeys>> made(2);
  struct Asker {
    static Task<> ask(KeyStore* store, std::vector<StreamId> streams, Result<StreamKeys>* into) {
      *into = co_await store->create(std::move(streams));
      co_return ok();
    }
  };
  TaskGroup group(env);
  ASSERT_TRUE(group.spawn("one", Asker::ask(&one, streams, &made[0])));
  ASSERT_TRUE(group.spawn("other", Asker::ask(&other, streams, &made[1])));
  group.close();
  EXPECT_TRUE(run(env, group.join(env.now() + std::chrono::seconds{30})));
  ASSERT_TRUE(made[0] && made[1]);
  EXPECT_EQ(*made[0], *made[1]);
  env.shut_down();
}

}  // namespace
}  // namespace varve::test
