// Rebuilding the views in PostgreSQL beside workers and readers that go on, and what verify says of rows and
// checkpoints that somebody has changed by hand.
#include "projections/rebuild.h"

#include "projections/postgres_generations.h"
#include "tests/projections/postgres_own_server.h"
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

class PostgresRebuildTest : public testing::Test {
 public:
  void TearDown() override { env_.shut_down(); }

  void fold_all() {
    workers_ = std::make_unique<test::Workers>(env_, port_, live_);
    ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
  }
  Status rebuild(RebuildOptions options) {
    PostgresGenerations generations{env_, *pool_, "test"};
    generations.load_by(60);
    Rebuild work{env_, port_, generations, std::move(options)};
    return run(env_, work.run());
  }
  std::string shown() { return sql(url(), "SELECT number FROM varve_live.generation")[0]; }
  std::vector<std::string> schemas() {
    return sql(url(), "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'varve_views%' ORDER BY 1");
  }
  std::vector<std::string> contents() { return test::contents(env_, live_, log_->partitions()); }
  std::string verified() { return test::verified(env_, port_, live_, {}); }
  std::string url() const { return database_.url(); }

  test::ViewsDatabase database_;
  RealEnv env_{env_options()};
  std::unique_ptr<PostgresPool> pool_ = *PostgresPool::make(env_, many_connections(database_.url()));
  PostgresViewStore live_{*pool_, {1, PostgresViewStore::Reads::live, true}};
  std::shared_ptr<MemoryLogStorage> log_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{3, 7});
  MemoryEventLog port_{env_, log_};
  test::RandomHistory history_{log_, 2};
  std::unique_ptr<test::Workers> workers_;
};

TEST_F(PostgresRebuildTest, WhatIsRebuiltIsWhatWasFolded) {
  history_.write(300);
  history_.poison(0);
  history_.poison_and_rule(1);
  history_.write(150);
  fold_all();
  const auto before = contents();
  const Status done = rebuild(test::small_steps());
  ASSERT_TRUE(done) << to_string(done.error());
  EXPECT_EQ("2", shown());
  EXPECT_EQ(std::vector<std::string>{"varve_views_2"}, schemas());
  EXPECT_EQ("", test::first_difference(before, contents()));
  EXPECT_EQ("", verified());
}

TEST_F(PostgresRebuildTest, KeysAndIndexesAreThoseOfAGenerationThatWasNeverRebuilt) {
  history_.write(60);
  fold_all();
  const std::string indexes =
      "SELECT replace(indexdef, schemaname, '') FROM pg_indexes WHERE schemaname = 'varve_views_%' "
      "AND tablename NOT IN ('rebuild', 'closings') ORDER BY 1";
  const auto of = [&](const std::string& number) {
    std::string query = indexes;
    std::vector<std::string> found = sql(url(), query.replace(query.find('%'), 1, number));
    // Names of indexes are chosen by the server.
    for (std::string& one : found) one = one.substr(0, one.find("INDEX")) + one.substr(one.find(" ON "));
    std::sort(found.begin(), found.end());
    return found;
  };
  const auto before = of("1");
  ASSERT_FALSE(before.empty());
  ASSERT_TRUE(rebuild(test::small_steps()));
  EXPECT_EQ("", test::first_difference(before, of("2")));
  const auto hits = std::make_shared<std::size_t>(0);
  ASSERT_TRUE(run(env_, live_.read([hits](ViewReader& reader) -> Status {
    const auto found = reader.search_messages({.query = "hello there"});
    if (!found) return found.error();
    *hits = found->size();
    return ok();
  })));
  EXPECT_LT(0U, *hits);
}

TEST_F(PostgresRebuildTest, AnotherFoldIsTheWayToNewColumns) {
  history_.write(120);
  fold_all();
  workers_->stop();
  RebuildOptions options = test::small_steps();
  options.rewrite = test::another_fold();
  ASSERT_TRUE(rebuild(options));
  VerifyOptions as_new;
  as_new.rewrite = test::another_fold();
  EXPECT_EQ("", test::verified(env_, port_, live_, as_new));
  EXPECT_NE(std::string::npos, verified().find("name is 'new', the log says null"));
}

TEST_F(PostgresRebuildTest, StoppedAnywhereItGoesOnAndEndsEqual) {
  history_.write(400);
  fold_all();
  Rng rng{9};
  int stops = 0;
  for (;;) {
    PostgresGenerations generations{env_, *pool_, "run " + std::to_string(stops)};
    generations.load_by(60);
    Rebuild work{env_, port_, generations, test::small_steps()};
    const MonoTime at = env_.now() + std::chrono::milliseconds{rng.below(stops < 8 ? 250 : 100'000)};
    const TimerId timer = env_.call_at(at, [&work] { work.stop(); });
    const Status done = run(env_, work.run());
    env_.cancel(timer);
    if (done) break;
    ASSERT_EQ(Errc::cancelled, done.error().code) << to_string(done.error());
    ++stops;
    history_.write(5);
  }
  EXPECT_LT(0, stops);
  ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
  EXPECT_EQ("2", shown());
  EXPECT_EQ("", verified());
}

TEST_F(PostgresRebuildTest, GivenUpItLeavesNothingAndTwoAtOnceAreRefused) {
  history_.write(60);
  fold_all();
  PostgresGenerations first{env_, *pool_, "first"};
  PostgresGenerations second{env_, *pool_, "second"};
  ASSERT_TRUE(run(env_, first.begin()));
  const Status refused = run(env_, second.begin());
  ASSERT_FALSE(refused);
  EXPECT_EQ(Errc::conflict, refused.error().code);
  EXPECT_NE(std::string::npos, refused.error().message.find("another rebuild is at work"))
      << refused.error().message;
  EXPECT_NE(std::string::npos, refused.error().message.find("first")) << refused.error().message;
  EXPECT_FALSE(run(env_, second.abort()));
  EXPECT_EQ(2U, schemas().size());
  EXPECT_TRUE(*run(env_, first.abort()));
  EXPECT_EQ(std::vector<std::string>{"varve_views_1"}, schemas());
  EXPECT_FALSE(*run(env_, second.abort()));
  EXPECT_EQ("1", shown());
  EXPECT_EQ("", verified());
}

TEST_F(PostgresRebuildTest, ALeaseThatRanOutIsTakenOver) {
  history_.write(20);
  fold_all();
  PostgresGenerations gone{env_, *pool_, "gone"};
  ASSERT_TRUE(run(env_, gone.begin()));
  sql(url(), "UPDATE varve_views_2.rebuild SET until = now() - interval '1 second'");
  PostgresGenerations next{env_, *pool_, "next"};
  EXPECT_TRUE(run(env_, next.begin()));
  const Status kept = run(env_, gone.keep());
  ASSERT_FALSE(kept);
  EXPECT_EQ(Errc::conflict, kept.error().code);
}

// Paused past its lease, it comes back when another has thrown its work away and begins anew: it must not
// show what the other one has not finished.
TEST_F(PostgresRebuildTest, WhoWakesUpDoesNotShowWhatAnotherHasBegun) {
  history_.write(20);
  PostgresGenerations paused{env_, *pool_, "paused"};
  ASSERT_TRUE(run(env_, live_.prepare()));
  ASSERT_TRUE(run(env_, paused.begin()));
  ASSERT_TRUE(run(env_, paused.finish_loading()));
  sql(url(), "UPDATE varve_views_2.rebuild SET until = now() - interval '1 second'");
  PostgresGenerations other{env_, *pool_, "other"};
  ASSERT_TRUE(*run(env_, other.abort()));
  const Status kept = run(env_, paused.keep());
  ASSERT_FALSE(kept);
  EXPECT_EQ(Errc::conflict, kept.error().code);
  ASSERT_TRUE(run(env_, other.begin()));
  const auto shown_by_paused = run(env_, paused.show(log_->partitions()));
  ASSERT_FALSE(shown_by_paused);
  EXPECT_EQ(Errc::conflict, shown_by_paused.error().code);
  EXPECT_EQ("1", shown());
}

// A worker that slept through the switch, and through the end of the generation that it knew.
TEST_F(PostgresRebuildTest, ABatchForAGenerationThatIsGoneLosesItsRace) {
  history_.write(60);
  fold_all();
  workers_->stop();
  PostgresViewStore asleep{*pool_, {1, PostgresViewStore::Reads::live, true}};
  const auto loaded = run(env_, asleep.load(Partition{0}));
  ASSERT_TRUE(loaded);
  PostgresViewStore early{*pool_, {1, PostgresViewStore::Reads::live, true}};
  ASSERT_TRUE(run(env_, early.load(Partition{0})));
  ASSERT_TRUE(rebuild(test::small_steps()));
  history_.write(60);
  PartitionFold fold{Partition{0}, loaded->checkpoint, loaded->quarantine};
  for (const LogRecord& record : log_->records(Partition{0})) {
    if (record.offset >= fold.next()) ASSERT_TRUE(fold.take(record));
  }
  ASSERT_FALSE(fold.empty());
  const Batch batch = fold.take_batch();
  const auto outcome = run(env_, asleep.commit(batch));
  ASSERT_TRUE(outcome) << to_string(outcome.error());
  EXPECT_EQ(CommitOutcome::lost_race, *outcome);
  ASSERT_TRUE(run(env_, asleep.load(Partition{0})));
  // Nor does it fit the new one.
  const auto again = run(env_, asleep.commit(batch));
  ASSERT_TRUE(again) << to_string(again.error());
  EXPECT_EQ(CommitOutcome::lost_race, *again);
}

struct Reads {
  bool stopping = false;
  std::size_t done = 0;
  std::string wrong;
};

Task<> read_on(RealEnv& env, ViewStore& store, std::uint32_t partitions, std::shared_ptr<Reads> reads) {
  const auto newest = std::make_shared<std::vector<Offset>>(partitions);
  while (!reads->stopping) {
    std::function<Status(ViewReader&)> work = [newest, partitions, reads](ViewReader& reader) -> Status {
      const auto agents = reader.count({.view = View::agents});
      if (!agents) return agents.error();
      const auto messages = reader.count({.view = View::messages, .open_only = false});
      if (!messages) return messages.error();
      for (std::uint32_t i = 0; i < partitions; ++i) {
        const auto checkpoint = reader.checkpoint(Partition{i});
        if (!checkpoint) return checkpoint.error();
        if (checkpoint->next < (*newest)[i]) reads->wrong = "partition " + std::to_string(i) + " went back";
        (*newest)[i] = checkpoint->next;
      }
      return ok();
    };
    const Status read = co_await store.read(std::move(work));
    if (!read) reads->wrong = to_string(read.error());
    ++reads->done;
    co_await yield(env);
  }
  co_return ok();
}

Task<> write_on(RealEnv& env, test::RandomHistory& history, std::shared_ptr<Reads> until) {
  while (!until->stopping) {
    history.write(2);
    co_await sleep_for(env, std::chrono::milliseconds{3});
  }
  co_return ok();
}

TEST_F(PostgresRebuildTest, NodesGoOnFoldingAndReadingAndNobodyGoesBack) {
  history_.write(300);
  fold_all();
  const auto reads = std::make_shared<Reads>();
  env_.spawn("reads", read_on(env_, live_, log_->partitions(), reads));
  env_.spawn("more reads", read_on(env_, live_, log_->partitions(), reads));
  env_.spawn("writes", write_on(env_, history_, reads));
  for (const char* round : {"2", "3", "4"}) {
    const Status done = rebuild(test::small_steps());
    ASSERT_TRUE(done) << to_string(done.error());
    EXPECT_EQ(round, shown());
  }
  reads->stopping = true;
  ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
  EXPECT_EQ("", reads->wrong);
  EXPECT_LT(50U, reads->done);
  EXPECT_EQ("", workers_->failure());
  EXPECT_EQ("", verified());
  EXPECT_EQ(std::vector<std::string>{"varve_views_4"}, schemas());
}

// ---- a server that is killed under it

// Kills the server and starts it again, now and then, until the rebuild has ended.
Task<> hurt(RealEnv& env, test::OwnPostgres& server, std::shared_ptr<bool> ended,
            std::shared_ptr<int> kills) {
  Rng rng{3};
  while (!*ended && *kills < 3) {
    co_await sleep_for(env, std::chrono::milliseconds{20 + rng.below(300)});
    if (*ended) break;
    std::function<Result<Unit>()> job = [&server]() -> Result<Unit> {
      server.tell("kill");
      server.tell("start");
      return Unit{};
    };
    ignore_error(co_await offload<Unit>(env, Lane::log, std::move(job)), "a failure fails the test");
    ++*kills;
  }
  co_return ok();
}

TEST(PostgresRebuildRestart, AServerThatIsKilledAgainAndAgainEndsWithEqualViews) {
  test::OwnPostgres server;
  test::PostgresDatabase database{server.url()};
  database.migrate();
  RealEnv env{env_options()};
  auto pool = *PostgresPool::make(env, many_connections(database.url()));
  PostgresViewStore live{*pool, {1, PostgresViewStore::Reads::live, true}};
  const auto log = std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{3, 7});
  MemoryEventLog port{env, log};
  test::RandomHistory history{log, 4};
  history.write(900);
  test::Workers workers{env, port, live};
  ASSERT_TRUE(workers.catch_up()) << workers.failure();
  workers.stop();
  PostgresGenerations generations{env, *pool, "test"};
  generations.load_by(60);
  Rebuild work{env, port, generations, test::small_steps()};
  const auto ended = std::make_shared<bool>(false);
  const auto kills = std::make_shared<int>(0);
  env.spawn("hurt", hurt(env, server, ended, kills));
  Status done = run(env, work.run());
  // Its first words are not repeated: run again, as an operator would.
  while (!done && done.error().code != Errc::corrupt && *kills < 3) {
    Rebuild again{env, port, generations, test::small_steps()};
    done = run(env, again.run());
  }
  *ended = true;
  ASSERT_TRUE(done) << to_string(done.error());
  EXPECT_LT(0, *kills);
  EXPECT_EQ("2", sql(database.url(), "SELECT number FROM varve_live.generation")[0]);
  EXPECT_EQ("", test::verified(env, port, live, {}));
  env.shut_down();
}

// ---- what verify finds

TEST_F(PostgresRebuildTest, VerifyNamesARowThatWasChangedDeletedOrAdded) {
  history_.write(120);
  fold_all();
  workers_->stop();
  ASSERT_EQ("", verified());
  const std::string messages = "varve_views_1.messages";
  const std::string id = sql(url(), "SELECT id FROM " + messages + " ORDER BY id LIMIT 1")[0];
  sql(url(), "UPDATE " + messages + " SET content = '\"changed\"' WHERE id = '" + id + "'");
  const std::string changed = verified();
  EXPECT_NE(std::string::npos, changed.find("messages id=" + id)) << changed;
  EXPECT_NE(std::string::npos, changed.find("content is '\"changed\"', the log says")) << changed;
  EXPECT_NE(std::string::npos, changed.find("last touched at offset")) << changed;

  sql(url(), "DELETE FROM " + messages + " WHERE id = '" + id + "'");
  EXPECT_NE(std::string::npos, verified().find("the row is missing in the table"));
  ASSERT_TRUE(rebuild(test::small_steps()));
  ASSERT_EQ("", verified());
  sql(url(),
      "INSERT INTO varve_views_2.tags SELECT 'agent-x', tag, from_partition, from_offset, from_ordinal, "
      "from_at, from_sequence, to_offset, to_at FROM varve_views_2.tags LIMIT 1");
  const std::string added = verified();
  EXPECT_NE(std::string::npos, added.find("agent-x")) << added;
  EXPECT_NE(std::string::npos, added.find("the row is in the table, but not in the log")) << added;
}

TEST_F(PostgresRebuildTest, VerifyFindsACheckpointThatWasMoved) {
  history_.write(120);
  fold_all();
  workers_->stop();
  const std::string table = "varve_views_1.checkpoints";
  sql(url(), "UPDATE " + table + " SET epoch = 7 WHERE \"partition\" = 1");
  EXPECT_NE(std::string::npos, verified().find("place in the epochs is epoch 7"));
  sql(url(), "UPDATE " + table + " SET epoch = 1 WHERE \"partition\" = 1");
  sql(url(), "UPDATE " + table + " SET next_offset = mark_offset WHERE \"partition\" = 1");
  const std::string back = verified();
  EXPECT_TRUE(back.find("mark is") != std::string::npos || back.find("it was moved") != std::string::npos)
      << back;
  sql(url(), "UPDATE " + table + " SET next_offset = 100000000 WHERE \"partition\" = 1");
  EXPECT_NE(std::string::npos, verified().find("the log ends before the checkpoint"));
}

}  // namespace
}  // namespace varve
