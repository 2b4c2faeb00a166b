// Rebuilding the views in a data directory: what comes out is what was there, however it was interrupted,
// and nobody who reads notices more than that it has become new.
#include "projections/rebuild.h"

#include <filesystem>

#include "eventlog/sqlite_support.h"
#include "projections/sqlite_generations.h"
#include "projections/sqlite_loading.h"
#include "tests/projections/rebuild_world.h"
#include "tests/projections/temp_directory.h"

namespace varve {
namespace {

using test::run;

RealEnv::Options quiet() {
  RealEnv::Options options;
  options.read_threads = 2;
  options.log_sink = [](LogLevel, std::string_view) {};
  return options;
}

constexpr std::chrono::minutes kPatience{2};

Task<> stop_after_rows(RealEnv& env, Rebuild& work) {
  while (work.progress().rows == 0) co_await sleep_for(env, std::chrono::microseconds{100});
  work.stop();
  co_return ok();
}

class RebuildTest : public testing::Test {
 public:
  void TearDown() override { env_.shut_down(); }

  void fold_all() {
    live_ = std::make_unique<ActiveViewStore>(env_, open_file(2));
    workers_ = std::make_unique<test::Workers>(env_, port_, *live_);
    ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
  }
  std::shared_ptr<ViewStore> open_file(std::uint64_t generation) {
    auto store = SqliteViewStore::open(env_, {directory_.path(), generation});
    EXPECT_TRUE(store) << to_string(store.error());
    return std::move(*store);
  }
  bool has_file(std::uint64_t generation) const {
    return std::filesystem::exists(SqliteViewStore::path_of({directory_.path(), generation}));
  }
  // Stopped after a while, if it lasts so long.
  Status rebuild_for(Generations& generations, Duration time) {
    Rebuild work{env_, port_, generations, test::small_steps()};
    const TimerId timer = env_.call_at(env_.now() + time, [&work] { work.stop(); });
    const Status done = run(env_, work.run());
    env_.cancel(timer);
    return done;
  }
  // Until a stop has left something behind.
  void leave_half(SqliteGenerations& generations) {
    for (int ms = 2; !has_file(3); ms += 2) {
      ASSERT_FALSE(rebuild_for(generations, std::chrono::milliseconds{ms}))
          << "it was too quick to be stopped";
    }
  }
  Status rebuild(RebuildOptions options) {
    SqliteGenerations generations{env_, directory_.path(), control_.get(), nullptr};
    generations.load_by(window_);
    Rebuild work{env_, port_, generations, std::move(options)};
    return run(env_, work.run());
  }
  std::uint64_t active() { return *run(env_, control_->active_generation()); }
  std::vector<std::string> contents_of(std::uint64_t generation) {
    const auto store = open_file(generation);
    return test::contents(env_, *store, log_->partitions());
  }
  void stop_live() {
    workers_->stop();
    env_.shut_down();
  }

  std::size_t window_ = 60;  // So that most of what is closed was written by an earlier transaction.
  test::TempDirectory directory_;
  RealEnv env_{quiet()};
  std::shared_ptr<MemoryLogStorage> log_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{3, 7});
  MemoryEventLog port_{env_, log_};
  test::RandomHistory history_{log_, 1};
  std::unique_ptr<SqliteSnapshotStore> control_ = *SqliteSnapshotStore::open(env_, directory_.path());
  std::unique_ptr<ActiveViewStore> live_;
  std::unique_ptr<test::Workers> workers_;
};

TEST(ActiveGeneration, IsWhatTheControlFileNamesUnlessItIsOfAnotherFormat) {
  EXPECT_EQ(kViewsGeneration, active_generation_of(1));
  EXPECT_EQ(kViewsGeneration, active_generation_of(kViewsGeneration));
  EXPECT_EQ(kViewsGeneration + 5, active_generation_of(kViewsGeneration + 5));
  EXPECT_EQ(kViewsGeneration, active_generation_of(kGenerationsPerFormat + kViewsGeneration));
}

TEST_F(RebuildTest, WhatIsRebuiltIsWhatWasFolded) {
  history_.write(400);
  history_.poison(0);
  history_.poison_and_rule(1);
  history_.write(200);
  fold_all();
  const auto before = test::contents(env_, *live_, log_->partitions());
  ASSERT_TRUE(rebuild(test::small_steps()));
  EXPECT_EQ(3U, active());
  EXPECT_FALSE(has_file(2));
  EXPECT_EQ("", test::first_difference(before, contents_of(3)));
  const auto store = open_file(3);
  EXPECT_EQ("", test::verified(env_, port_, *store, {}));
}

// Rows and what closes them meet in one transaction, or in none.
TEST_F(RebuildTest, HoweverMuchIsLoadedAtOnceTheSameComesOut) {
  history_.write(300);
  fold_all();
  const auto before = test::contents(env_, *live_, log_->partitions());
  std::uint64_t generation = 2;
  for (const std::size_t window : {std::size_t{1}, std::size_t{200}, kLoadingWindow}) {
    window_ = window;
    const Status done = rebuild(test::small_steps());
    ASSERT_TRUE(done) << to_string(done.error());
    EXPECT_EQ("", test::first_difference(before, contents_of(++generation))) << window;
  }
}

TEST_F(RebuildTest, IndexesAndSearchAreThoseOfAFileThatWasNeverRebuilt) {
  history_.write(100);
  fold_all();
  const auto seen_of = [this](std::uint64_t generation) {
    auto db = sqlite::Database::open(SqliteViewStore::path_of({directory_.path(), generation}),
                                     sqlite::Access::read_only);
    auto select = db->prepare(
        "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master "
        "WHERE name NOT LIKE 'message_words%' ORDER BY 1");
    std::vector<std::string> lines;
    while (*select->step()) lines.emplace_back(select->text(0));
    return lines;
  };
  const auto before = seen_of(2);
  RebuildOptions options = test::small_steps();
  ASSERT_TRUE(rebuild(options));
  EXPECT_EQ("", test::first_difference(before, seen_of(3)));
  const auto hits = std::make_shared<std::size_t>(0);
  const auto store = open_file(3);
  ASSERT_TRUE(run(env_, store->read([hits](ViewReader& reader) -> Status {
    const auto found = reader.search_messages({.query = "hello there"});
    if (!found) return found.error();
    *hits = found->size();
    return ok();
  })));
  EXPECT_LT(0U, *hits);
}

TEST_F(RebuildTest, AnotherFoldIsTheWayToNewColumns) {
  history_.write(200);
  fold_all();
  RebuildOptions options = test::small_steps();
  options.rewrite = test::another_fold();
  ASSERT_TRUE(rebuild(options));
  const auto store = open_file(3);
  VerifyOptions as_new;
  as_new.rewrite = test::another_fold();
  EXPECT_EQ("", test::verified(env_, port_, *store, as_new));
  const std::string old = test::verified(env_, port_, *store, {});
  EXPECT_NE(std::string::npos, old.find("name is 'new', the log says null")) << old.substr(0, 2000);
}

TEST_F(RebuildTest, StoppedAnywhereItGoesOnAndEndsEqual) {
  history_.write(600);
  fold_all();
  const auto before = test::contents(env_, *live_, log_->partitions());
  Rng rng{5};
  int stops = 0;
  for (;;) {
    SqliteGenerations generations{env_, directory_.path(), control_.get(), nullptr};
    generations.load_by(window_);
    const Duration time =
        stops < 8 ? Duration{std::chrono::milliseconds{rng.below(60)}} : Duration{kPatience};
    const Status done = rebuild_for(generations, time);
    if (done) break;
    ASSERT_EQ(Errc::cancelled, done.error().code) << to_string(done.error());
    ++stops;
    history_.write(5);
  }
  EXPECT_LT(0, stops);
  ASSERT_TRUE(workers_->catch_up());
  const auto store = open_file(3);
  EXPECT_EQ("", test::verified(env_, port_, *store, {}));
  EXPECT_LT(before.size(), test::contents(env_, *store, log_->partitions()).size());
}

TEST_F(RebuildTest, GivenUpItLeavesNothing) {
  history_.write(300);
  fold_all();
  SqliteGenerations generations{env_, directory_.path(), control_.get(), nullptr};
  leave_half(generations);
  EXPECT_EQ(3U, run(env_, generations.look())->next);
  EXPECT_TRUE(*run(env_, generations.abort()));
  EXPECT_FALSE(has_file(3));
  EXPECT_FALSE(*run(env_, generations.abort()));
  EXPECT_FALSE(run(env_, generations.look())->next.has_value());
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    EXPECT_EQ(std::string::npos, entry.path().filename().string().find("views-3")) << entry.path();
  }
}

// The rows that were loaded are not those of the log: the proof before the switch finds it.
TEST_F(RebuildTest, WhatDoesNotAddUpIsNotShown) {
  history_.write(300);
  fold_all();
  {
    SqliteGenerations generations{env_, directory_.path(), control_.get(), nullptr};
    Rebuild work{env_, port_, generations, test::small_steps()};
    // The first rows are enough.
    env_.spawn("stop", stop_after_rows(env_, work));
    ASSERT_FALSE(run(env_, work.run()));
  }
  auto db =
      sqlite::Database::open(SqliteViewStore::path_of({directory_.path(), 3}), sqlite::Access::read_write);
  ASSERT_TRUE(db->exec("UPDATE messages SET content = 'x' WHERE rowid = 1"));
  ASSERT_EQ(1, db->changes());
  const Status done = rebuild(test::small_steps());
  ASSERT_FALSE(done);
  EXPECT_NE(std::string::npos, done.error().message.find("messages that were rebuilt do not add up"))
      << done.error().message;
  EXPECT_NE(3U, active());
  EXPECT_TRUE(has_file(2));
}

// What a transaction should have written is lost, its checkpoints too: whoever loads is told, and goes back.
TEST_F(RebuildTest, ATransactionOfTheLoaderThatFailsIsFoldedAgain) {
  history_.write(100);
  const std::string path = SqliteViewStore::path_of({directory_.path(), 3});
  ASSERT_TRUE(*prepare_file(path));
  auto loader = *SqliteLoader::open(env_, path, kLoadingWindow);
  const auto fold_from = [&](const LoadedCheckpoint& loaded) {
    PartitionFold fold{Partition{0}, loaded.checkpoint, loaded.quarantine};
    for (const LogRecord& record : log_->records(Partition{0})) {
      if (record.offset >= fold.next()) EXPECT_TRUE(fold.take(record));
    }
    return fold.take_batch();
  };
  const LoadedCheckpoint nothing = *run(env_, loader->load(Partition{0}));
  EXPECT_EQ(0U, nothing.checkpoint.version);
  auto breaking = sqlite::Database::open(path, sqlite::Access::read_write);
  ASSERT_TRUE(breaking->exec("ALTER TABLE times RENAME TO gone"));
  EXPECT_EQ(CommitOutcome::committed, *run(env_, loader->commit(fold_from(nothing))));
  EXPECT_FALSE(run(env_, loader->settle()));
  EXPECT_FALSE(run(env_, loader->commit(fold_from(nothing)))) << "it would leave a hole";
  ASSERT_TRUE(breaking->exec("ALTER TABLE gone RENAME TO times"));
  EXPECT_EQ(0U, run(env_, loader->load(Partition{0}))->checkpoint.version);
  EXPECT_EQ(CommitOutcome::committed, *run(env_, loader->commit(fold_from(nothing))));
  EXPECT_EQ(CommitOutcome::lost_race, *run(env_, loader->commit(fold_from(nothing))));
  EXPECT_TRUE(run(env_, loader->settle()));
  EXPECT_EQ(1U, run(env_, loader->load(Partition{0}))->checkpoint.version);
}

// A fold that closes what is not there is found when the loading ends.
TEST_F(RebuildTest, AClosingWithoutItsRowIsNamed) {
  history_.write(100);
  fold_all();
  RebuildOptions options = test::small_steps();
  options.rewrite = [](std::vector<RowChange>& changes) {
    for (const RowChange& change : changes) {
      const auto* close = std::get_if<RowClose>(&change);
      if (close == nullptr || close->view != View::runs) continue;
      changes.emplace_back(RowClose{View::runs, {Value{std::string{"run-nobody"}}}, close->to});
      return;
    }
  };
  const Status done = rebuild(options);
  ASSERT_FALSE(done);
  EXPECT_EQ(Errc::corrupt, done.error().code);
  EXPECT_NE(std::string::npos, done.error().message.find("closing of runs id=run-nobody at"))
      << done.error().message;
  EXPECT_NE(3U, active());
}

// It was killed between the switch and the removal.
TEST_F(RebuildTest, TheNextOneRemovesWhatAnotherHasLeft) {
  history_.write(50);
  fold_all();
  ASSERT_TRUE(run(env_, control_->set_active_generation(4)));
  EXPECT_NE(nullptr, open_file(4));
  ASSERT_TRUE(has_file(2));
  ASSERT_TRUE(rebuild(test::small_steps()));
  EXPECT_FALSE(has_file(2));
  EXPECT_FALSE(has_file(4));
  EXPECT_TRUE(has_file(5));
}

// Both generations are empty: but for the switch it would fit the new one, too.
TEST_F(RebuildTest, ABatchOfTheOldGenerationLosesItsRaceAfterTheSwitch) {
  live_ = std::make_unique<ActiveViewStore>(env_, open_file(2));
  const auto loaded = run(env_, live_->load(Partition{0}));
  ASSERT_TRUE(loaded);
  EXPECT_NE(nullptr, live_->replace(open_file(3)));
  history_.write(50);
  PartitionFold fold{Partition{0}, loaded->checkpoint, {}};
  for (const LogRecord& record : log_->records(Partition{0})) {
    if (record.offset >= fold.next()) ASSERT_TRUE(fold.take(record));
  }
  const auto outcome = run(env_, live_->commit(fold.take_batch()));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(CommitOutcome::lost_race, *outcome);
}

// Reads all the time, and remembers what went wrong.
struct Reads {
  bool stopping = false;
  std::size_t done = 0;
  std::string wrong;
};

Task<> read_on(RealEnv& env, ViewStore& store, std::uint32_t partitions, std::shared_ptr<Reads> reads) {
  const auto newest = std::make_shared<std::vector<Offset>>(partitions);
  while (!reads->stopping) {
    std::function<Status(ViewReader&)> work = [newest, partitions, reads](ViewReader& reader) -> Status {
      for (std::uint32_t i = 0; i < partitions; ++i) {
        const auto checkpoint = reader.checkpoint(Partition{i});
        if (!checkpoint) return checkpoint.error();
        if (checkpoint->next < (*newest)[i]) reads->wrong = "partition " + std::to_string(i) + " went back";
        (*newest)[i] = checkpoint->next;
      }
      const auto agents = reader.count({.view = View::agents});
      return agents ? ok() : Status{agents.error()};
    };
    const Status read = co_await store.read(std::move(work));
    if (!read) reads->wrong = to_string(read.error());
    ++reads->done;
    co_await sleep_for(env, std::chrono::microseconds{300});
  }
  co_return ok();
}

Task<> write_on(RealEnv& env, test::RandomHistory& history, std::shared_ptr<Reads> until) {
  while (!until->stopping) {
    history.write(2);
    co_await sleep_for(env, std::chrono::milliseconds{2});
  }
  co_return ok();
}

TEST_F(RebuildTest, AServerGoesOnFoldingAndReadingAndNobodyGoesBack) {
  history_.write(500);
  fold_all();
  const auto reads = std::make_shared<Reads>();
  env_.spawn("reads", read_on(env_, *live_, log_->partitions(), reads));
  env_.spawn("writes", write_on(env_, history_, reads));
  for (std::uint64_t round = 3; round <= 5; ++round) {
    SqliteGenerations again{env_, directory_.path(), control_.get(), live_.get()};
    Rebuild work{env_, port_, again, test::small_steps()};
    const Status done = run(env_, work.run());
    ASSERT_TRUE(done) << to_string(done.error());
    EXPECT_EQ(round, active());
  }
  reads->stopping = true;
  ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
  EXPECT_EQ("", reads->wrong);
  EXPECT_LT(100U, reads->done);
  EXPECT_EQ("", workers_->failure());
  EXPECT_EQ("", test::verified(env_, port_, *live_, {}));
  EXPECT_FALSE(has_file(4));
  EXPECT_TRUE(has_file(5));
}

// The store that is served after the switch is one like that before it.
TEST_F(RebuildTest, WhatIsServedAfterTheSwitchIsOpenedAsItWasAskedFor) {
  history_.write(50);
  fold_all();
  SqliteGenerations generations{env_, directory_.path(), control_.get(), live_.get()};
  SqliteViewStore::Options as;
  as.directory = "/nowhere";
  std::vector<std::string> begun;  // Of the lane's thread; looked at when that has ended.
  as.begin_writeback = [&begun](const std::string& file, std::int64_t, std::int64_t) {
    begun.push_back(file);
  };
  generations.open_as(as);
  Rebuild work{env_, port_, generations, test::small_steps()};
  ASSERT_TRUE(run(env_, work.run()));
  for (int round = 0; round < 50; ++round) {
    history_.write(40);
    ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
  }
  stop_live();
  ASSERT_FALSE(begun.empty());
  EXPECT_EQ(SqliteViewStore::path_of({directory_.path(), 3}) + "-wal", begun.front());
}

}  // namespace
}  // namespace varve
