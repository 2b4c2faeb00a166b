// Verification that never ends, on PostgreSQL: beside workers and a rebuild that switches it finds nothing,
// and what somebody has changed by hand it finds in the next round.
#include "projections/verify_continuous.h"

#include "projections/postgres_generations.h"
#include "tests/projections/postgres_view_world.h"
#include "tests/projections/rebuild_world.h"

namespace varve {
namespace {

using test::run;
using test::sql;

RealEnv::Options env_options() {
  RealEnv::Options options = test::quiet_env();
  options.read_threads = 5;
  return options;
}

PostgresOptions many_connections(const std::string& url) {
  PostgresOptions options;
  options.url = url;
  options.connections = 8;
  return options;
}

class PostgresVerifyTest : public testing::Test {
 public:
  void TearDown() override { env_.shut_down(); }

  void fold_all() {
    workers_ = std::make_unique<test::Workers>(env_, port_, live_);
    ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
  }
  std::string round() {
    found_.clear();
    const Status done = run(env_, verification_.round());
    EXPECT_TRUE(done) << to_string(done.error());
    return found_;
  }
  Status rebuild() {
    PostgresGenerations next{env_, *pool_, "test"};
    Rebuild work{env_, port_, next, test::small_steps()};
    return run(env_, work.run());
  }
  std::string url() const { return database_.url(); }
  static VerifyPace at_once() {
    VerifyPace pace;
    pace.per_second = 1'000'000'000;
    pace.slice = 100;
    pace.between_rounds = Duration{};
    return pace;
  }

  test::ViewsDatabase database_;
  RealEnv env_{env_options()};
  std::unique_ptr<PostgresPool> pool_ = *PostgresPool::make(env_, many_connections(database_.url()));
  PostgresViewStore live_{*pool_, {1, PostgresViewStore::Reads::live, true}};
  PostgresGenerations generations_{env_, *pool_, "looks"};
  std::shared_ptr<MemoryLogStorage> log_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{3, 7});
  MemoryEventLog port_{env_, log_};
  test::RandomHistory history_{log_, 6};
  std::unique_ptr<test::Workers> workers_;
  std::string found_;
  ContinuousVerify verification_{
      env_, {port_, live_, generations_}, at_once(), [this](const Difference& difference) {
        found_ += difference.what + "\n";
      }};
};

Task<> write_on(RealEnv& env, test::RandomHistory& history, std::shared_ptr<bool> over) {
  for (std::uint32_t i = 0; !*over; ++i) {
    history.write(3);
    if (i % 40 == 39) history.poison_and_rule(i % 3);
    co_await sleep_for(env, std::chrono::milliseconds{5});
  }
  co_return ok();
}

Task<> wait_for_rounds(RealEnv& env, ContinuousVerify& verification, std::uint64_t rounds) {
  while (verification.progress().rounds < rounds) co_await sleep_for(env, std::chrono::milliseconds{5});
  co_return ok();
}

Task<> keep_on(ContinuousVerify& verification) {
  co_return co_await verification.run();
}

TEST_F(PostgresVerifyTest, BesideWorkersAndARebuildItFindsNothing) {
  history_.write(200);
  history_.poison(0);
  history_.poison_and_rule(1);
  fold_all();
  const auto over = std::make_shared<bool>(false);
  env_.spawn("clients", write_on(env_, history_, over));
  env_.spawn("verify", keep_on(verification_));
  ASSERT_TRUE(run(env_, wait_for_rounds(env_, verification_, 2)));
  const Status done = rebuild();
  ASSERT_TRUE(done) << to_string(done.error());
  const std::uint64_t rounds = verification_.progress().rounds;
  ASSERT_TRUE(run(env_, wait_for_rounds(env_, verification_, rounds + 2)));
  *over = true;
  EXPECT_EQ("", found_);
  EXPECT_EQ("", workers_->failure());
  verification_.stop();
}

TEST_F(PostgresVerifyTest, WhatIsChangedByHandIsFoundByTheNextRound) {
  history_.write(200);
  fold_all();
  workers_->stop();
  EXPECT_EQ("", round());
  const std::string messages = "varve_views_1.messages";
  const std::string id = sql(url(), "SELECT id FROM " + messages + " ORDER BY id LIMIT 1")[0];
  sql(url(), "UPDATE " + messages + " SET content = 'x' WHERE id = '" + id + "'");
  const std::string changed = round();
  EXPECT_NE(std::string::npos, changed.find("messages id=" + id)) << changed;
  EXPECT_NE(std::string::npos, changed.find("content is 'x', the log says '")) << changed;
  EXPECT_EQ(1U, verification_.progress().differing.size());
  sql(url(), "DELETE FROM " + messages + " WHERE id = '" + id + "'");
  EXPECT_NE(std::string::npos, round().find("the row is missing in the table"));
  ASSERT_TRUE(rebuild());
  EXPECT_EQ("", round());
  EXPECT_TRUE(verification_.progress().differing.empty());
}

}  // namespace
}  // namespace varve
