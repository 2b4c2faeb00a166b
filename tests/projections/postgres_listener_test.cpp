// Who waits for views that another process folds is woken by PostgreSQL, and served by looking when it is
// not: the connection that listens is cut, and comes back.
#include "projections/postgres_listener.h"

#include "projections/view_progress.h"
#include "tests/projections/postgres_view_world.h"

namespace varve::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const std::string kListening =
    "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'";

class PostgresListenerTest : public testing::Test {
 public:
  // As a server of its own has it: what it folds, it tells.
  static std::unique_ptr<PostgresViewStore> store_on(PostgresPool& pool, bool tells) {
    PostgresViewStore::Options options;
    options.follows_live = true;
    options.tells = tells;
    return std::make_unique<PostgresViewStore>(pool, options);
  }
  void SetUp() override {
    database_.migrate();
    folder_pool_ = *PostgresPool::make(env_, postgres_at(database_.url()));
    reader_pool_ = *PostgresPool::make(env_, postgres_at(database_.url()));
    folder_ = store_on(*folder_pool_, true);
    reader_ = store_on(*reader_pool_, false);
    ASSERT_TRUE(run(env_, folder_->prepare()));
    ASSERT_TRUE(run(env_, reader_->prepare()));
    progress_ = std::make_unique<ViewProgress>(env_, *reader_, seconds{30});
    listener_ = std::make_unique<PostgresListener>(env_, *reader_pool_);
  }
  void TearDown() override {
    listener_->stop();
    env_.shut_down();
  }

  void listen() {
    PostgresListener::Hearing hearing;
    hearing.moved = [this](Partition partition) {
      ++heard_;
      progress_->hint(partition);
      changed_.notify_all();
    };
    hearing.begun = [this] {
      ++begun_;
      progress_->hint_all();
      changed_.notify_all();
    };
    listener_->start(std::move(hearing));
    ASSERT_TRUE(*run(env_, begun(*this, 1)));
  }
  static Task<bool> begun(PostgresListenerTest& self, int times) {
    const MonoTime deadline = self.env_.now() + seconds{20};
    while (self.begun_ < times && self.env_.now() < deadline)
      co_await self.changed_.wait(self.env_, deadline);
    co_return self.begun_ >= times;
  }
  static Task<bool> heard(PostgresListenerTest& self, int times) {
    const MonoTime deadline = self.env_.now() + seconds{20};
    while (self.heard_ < times && self.env_.now() < deadline)
      co_await self.changed_.wait(self.env_, deadline);
    co_return self.heard_ >= times;
  }
  void commit(std::uint64_t version) {
    const auto outcome = run(env_, folder_->commit(batch_of(0, version, {})));
    ASSERT_TRUE(outcome) << to_string(outcome.error());
    ASSERT_EQ(CommitOutcome::committed, *outcome);
  }
  // Begins to wait for what this commit brings, and then commits it.
  bool commit_and_wait(std::uint64_t version, Duration time) {
    const Batch next = batch_of(0, version, {});
    const LogPosition position{Partition{0}, Offset{next.checkpoint.next.value() - 1}};
    const auto passed = std::make_shared<std::optional<bool>>();
    env_.spawn("waiter", wait(*this, position, time, passed));
    commit(version);
    EXPECT_TRUE(run(env_, waited(*this, passed)));
    return passed->value_or(false);
  }
  static Task<> wait(PostgresListenerTest& self, LogPosition position, Duration time,
                     std::shared_ptr<std::optional<bool>> passed) {
    std::vector<LogPosition> positions{position};
    *passed = co_await self.progress_->wait_for(std::move(positions), self.env_.now() + time);
    self.changed_.notify_all();
    co_return ok();
  }
  static Task<> waited(PostgresListenerTest& self, std::shared_ptr<std::optional<bool>> passed) {
    while (!passed->has_value()) co_await self.changed_.wait(self.env_, self.env_.now() + seconds{1});
    co_return ok();
  }
  // It has seen that another process folds: from now on its first own look comes after 30 seconds.
  void see_that_another_folds() { ASSERT_TRUE(commit_and_wait(0, seconds{20})); }

  PostgresDatabase database_;
  RealEnv env_{quiet_env()};
  std::unique_ptr<PostgresPool> folder_pool_;
  std::unique_ptr<PostgresPool> reader_pool_;
  std::unique_ptr<PostgresViewStore> folder_;
  std::unique_ptr<PostgresViewStore> reader_;
  std::unique_ptr<ViewProgress> progress_;
  std::unique_ptr<PostgresListener> listener_;
  int begun_ = 0;
  int heard_ = 0;
  Notifier changed_;
};

TEST_F(PostgresListenerTest, WithoutItAWaiterOnlyLooks) {
  see_that_another_folds();
  EXPECT_FALSE(commit_and_wait(1, milliseconds{500}));
}

TEST_F(PostgresListenerTest, ACommitWakesWhoWaitsForIt) {
  see_that_another_folds();
  listen();
  for (std::uint64_t version = 1; version < 6; ++version) {
    EXPECT_TRUE(commit_and_wait(version, seconds{10})) << version;
  }
  EXPECT_EQ(5, heard_);
  EXPECT_EQ(1, begun_);
}

TEST_F(PostgresListenerTest, AStoreThatTellsNobodyIsNotHeard) {
  see_that_another_folds();
  listen();
  folder_ = store_on(*folder_pool_, false);
  EXPECT_FALSE(commit_and_wait(1, milliseconds{500}));
  EXPECT_EQ(0, heard_);
}

TEST_F(PostgresListenerTest, ALostRaceIsNoNews) {
  listen();
  commit(0);
  const auto lost = run(env_, folder_->commit(batch_of(0, 0, {})));
  ASSERT_TRUE(lost);
  EXPECT_EQ(CommitOutcome::lost_race, *lost);
  commit(1);
  ASSERT_TRUE(*run(env_, heard(*this, 2)));
  EXPECT_EQ(2, heard_);
}

TEST_F(PostgresListenerTest, ACutConnectionIsReplacedAndWhoWaitedMeanwhileIsServed) {
  see_that_another_folds();
  listen();
  ASSERT_EQ("1", sql(database_.url(), "SELECT count(*) " + kListening).front());
  // A waiter who looks by himself only after 30 seconds: the look that follows the new LISTEN finds it.
  const Batch next = batch_of(0, 1, {});
  const auto passed = std::make_shared<std::optional<bool>>();
  const LogPosition position{Partition{0}, Offset{next.checkpoint.next.value() - 1}};
  env_.spawn("waiter", wait(*this, position, seconds{20}, passed));
  ASSERT_EQ("t", sql(database_.url(), "SELECT pg_terminate_backend(pid) " + kListening).front());
  commit(1);
  ASSERT_TRUE(*run(env_, begun(*this, 2)));
  EXPECT_TRUE(run(env_, waited(*this, passed)));
  EXPECT_TRUE(passed->value_or(false));
  EXPECT_EQ("1", sql(database_.url(), "SELECT count(*) " + kListening).front());
  EXPECT_TRUE(commit_and_wait(2, seconds{10}));
}

TEST_F(PostgresListenerTest, WhileNothingListensLookingServes) {
  progress_ = std::make_unique<ViewProgress>(env_, *reader_, milliseconds{4});
  see_that_another_folds();
  for (std::uint64_t version = 1; version < 4; ++version) {
    EXPECT_TRUE(commit_and_wait(version, seconds{10})) << version;
  }
}

}  // namespace
}  // namespace varve::test
