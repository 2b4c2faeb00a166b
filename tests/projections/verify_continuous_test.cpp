// Verification that never ends: beside workers that fold and a rebuild that switches it finds nothing, and
// what somebody has changed by hand it finds in the next round.
#include "projections/verify_continuous.h"

#include "eventlog/sqlite_support.h"
#include "projections/sqlite_generations.h"
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

VerifyPace at_once() {
  VerifyPace pace;
  pace.per_second = 1'000'000'000;
  pace.slice = 100;
  pace.between_rounds = Duration{};
  return pace;
}

class ContinuousVerifyTest : public testing::Test {
 public:
  void TearDown() override { env_.shut_down(); }

  void fold_all() {
    auto store = SqliteViewStore::open(env_, {directory_.path(), active_});
    ASSERT_TRUE(store) << to_string(store.error());
    live_ = std::make_unique<ActiveViewStore>(env_, std::shared_ptr<ViewStore>{std::move(*store)});
    generations_ = std::make_unique<SqliteGenerations>(env_, directory_.path(), control_.get(), live_.get());
    workers_ = std::make_unique<test::Workers>(env_, port_, *live_);
    ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
  }
  std::unique_ptr<ContinuousVerify> verify(VerifyPace pace) {
    const ContinuousVerify::Ports ports{port_, *live_, *generations_};
    return std::make_unique<ContinuousVerify>(
        env_, ports, pace, [this](const Difference& difference) { found_ += difference.what + "\n"; });
  }
  // What one more round finds.
  std::string round(ContinuousVerify& verification) {
    found_.clear();
    const Status done = run(env_, verification.round());
    EXPECT_TRUE(done) << to_string(done.error());
    return found_;
  }
  void edit(const std::string& sql) {
    auto db = sqlite::Database::open(SqliteViewStore::path_of({directory_.path(), active_}),
                                     sqlite::Access::read_write);
    ASSERT_TRUE(db->exec(sql)) << sql;
    ASSERT_EQ(1, db->changes()) << sql;
  }
  Status rebuild() {
    Rebuild work{env_, port_, *generations_, test::small_steps()};
    const Status done = run(env_, work.run());
    if (done) ++active_;
    return done;
  }
  std::uint64_t counted(const char* counter) const {
    const auto found = env_.counters().find(counter);
    return found == env_.counters().end() ? 0 : found->second;
  }

  test::TempDirectory directory_;
  RealEnv env_{quiet()};
  std::uint64_t active_ = kViewsGeneration;
  std::shared_ptr<MemoryLogStorage> log_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{3, 7});
  MemoryEventLog port_{env_, log_};
  test::RandomHistory history_{log_, 5};
  std::unique_ptr<SqliteSnapshotStore> control_ = *SqliteSnapshotStore::open(env_, directory_.path());
  std::unique_ptr<ActiveViewStore> live_;
  std::unique_ptr<SqliteGenerations> generations_;
  std::unique_ptr<test::Workers> workers_;
  std::string found_;
};

// Clients that write on, and now and then an event that waits for its ruling.
Task<> write_on(RealEnv& env, test::RandomHistory& history, std::shared_ptr<bool> over) {
  for (std::uint32_t i = 0; !*over; ++i) {
    history.write(1);
    if (i % 40 == 39) history.poison_and_rule(i % 3);
    co_await sleep_for(env, std::chrono::milliseconds{5});
  }
  co_return ok();
}

Task<> wait_for_rounds(RealEnv& env, ContinuousVerify& verification, std::uint64_t rounds) {
  while (verification.progress().rounds < rounds) co_await sleep_for(env, std::chrono::milliseconds{1});
  co_return ok();
}

Task<> keep_on(ContinuousVerify& verification, std::shared_ptr<bool> ended) {
  Status done = co_await verification.run();
  *ended = true;
  co_return done;
}

TEST_F(ContinuousVerifyTest, BesideWorkersAndARebuildItFindsNothing) {
  history_.write(300);
  history_.poison(0);
  history_.poison_and_rule(1);
  fold_all();
  const auto verification = verify(at_once());
  const auto over = std::make_shared<bool>(false);
  const auto ended = std::make_shared<bool>(false);
  env_.spawn("clients", write_on(env_, history_, over));
  env_.spawn("verify", keep_on(*verification, ended));
  ASSERT_TRUE(run(env_, wait_for_rounds(env_, *verification, 3)));
  ASSERT_TRUE(rebuild());
  const std::uint64_t rounds = verification->progress().rounds;
  ASSERT_TRUE(run(env_, wait_for_rounds(env_, *verification, rounds + 3)));
  *over = true;
  EXPECT_EQ("", found_);
  EXPECT_EQ("", workers_->failure());
  EXPECT_TRUE(verification->progress().differing.empty());
  EXPECT_LT(WallTime{}, verification->progress().round_ended);
  EXPECT_EQ(verification->progress().rounds, counted("verify_rounds"));
  EXPECT_EQ(0U, counted("verify_differences"));
  verification->stop();
  while (!*ended) ASSERT_TRUE(run(env_, wait_for_rounds(env_, *verification, 0)));
}

// Each is found by the next round, named, and gone after a rebuild.
TEST_F(ContinuousVerifyTest, WhatIsChangedByHandIsFoundByTheNextRound) {
  struct Edit {
    const char* sql;
    const char* named;
  };
  const std::vector<Edit> edits{
      {"UPDATE messages SET content = 'x' WHERE rowid = 7", "content is 'x', the log says '"},
      {"DELETE FROM messages WHERE rowid = 5", "the row is missing in the table"},
      {"UPDATE runs SET to_offset = NULL, to_at = NULL WHERE rowid = (SELECT min(rowid) FROM runs WHERE "
       "to_offset IS NOT NULL)",
       "it is open, the log says closed at offset"},
      {"INSERT INTO attachments SELECT agent_id, 'block-added', label, from_partition, from_offset, "
       "from_ordinal, from_at, from_sequence, to_offset, to_at FROM attachments LIMIT 1",
       "the row is in the table, but not in the log"},
      {"INSERT INTO attachments SELECT agent_id, 'block-added', label, from_partition, from_offset + "
       "1000000, "
       "from_ordinal, from_at, from_sequence, to_offset, to_at FROM attachments LIMIT 1",
       "from behind the checkpoint"},
      {"UPDATE checkpoints SET digests = replace(digests, 'tools=0', 'tools=1') WHERE \"partition\" = 1",
       "tools: the checkpoint's digest is not that of the log"},
      {"UPDATE checkpoints SET mark_hash = mark_hash + 1 WHERE \"partition\" = 2", "its mark is"},
  };
  history_.write(500);
  history_.poison_and_rule(1);
  fold_all();
  workers_->stop();
  const auto verification = verify(at_once());
  EXPECT_EQ("", round(*verification));
  for (const Edit& one : edits) {
    edit(one.sql);
    const std::string found = round(*verification);
    EXPECT_NE(std::string::npos, found.find(one.named)) << one.sql << "\n" << found;
    EXPECT_EQ(1U, verification->progress().differing.size()) << one.sql;
    ASSERT_TRUE(rebuild());
    EXPECT_EQ("", round(*verification)) << one.sql;
    EXPECT_TRUE(verification->progress().differing.empty());
  }
  EXPECT_LE(edits.size(), counted("verify_differences"));
}

// A row that was changed everywhere is named a few times, not by the thousand.
TEST_F(ContinuousVerifyTest, ManyDifferencesAreAFewSentences) {
  history_.write(600);
  fold_all();
  workers_->stop();
  auto db = sqlite::Database::open(SqliteViewStore::path_of({directory_.path(), active_}),
                                   sqlite::Access::read_write);
  ASSERT_TRUE(db->exec("UPDATE messages SET role = 'user'"));
  const auto verification = verify(at_once());
  const std::string found = round(*verification);
  EXPECT_NE(std::string::npos, found.find("role is 'user', the log says '"));
  EXPECT_GE(100, std::count(found.begin(), found.end(), '\n'));
}

TEST_F(ContinuousVerifyTest, ACheckpointBehindTheLogIsADifference) {
  history_.write(200);
  fold_all();
  workers_->stop();
  const auto verification = verify(at_once());
  EXPECT_EQ("", round(*verification));
  edit("UPDATE checkpoints SET next_offset = 1000000 WHERE \"partition\" = 0");
  EXPECT_NE(std::string::npos,
            round(*verification).find("the log ends before the checkpoint at offset 1000000"));
}

// Says from its third answer on that another generation is active: the first partition is being compared
// then.
class SwitchesMeanwhile final : public Generations {
 public:
  explicit SwitchesMeanwhile(Generations& real) : real_(real) {}
  Task<GenerationsSeen> look() override {
    auto seen = co_await real_.look();
    if (seen && ++looks_ > 2) ++seen->active;
    co_return seen;
  }
  Task<> begin() override { return real_.begin(); }
  Task<> keep() override { return real_.keep(); }
  Task<> leave() override { return real_.leave(); }
  std::shared_ptr<ViewStore> next() override { return real_.next(); }
  bool is_loading() const override { return real_.is_loading(); }
  Task<> finish_loading() override { return real_.finish_loading(); }
  Task<bool> show(std::uint32_t partitions) override { return real_.show(partitions); }
  Task<> drop_old() override { return real_.drop_old(); }
  Task<bool> abort() override { return real_.abort(); }

 private:
  Generations& real_;
  int looks_ = 0;
};

TEST_F(ContinuousVerifyTest, WhatWasComparedAcrossASwitchIsNotToldAndComparedAgain) {
  history_.write(200);
  fold_all();
  workers_->stop();
  edit("UPDATE checkpoints SET mark_hash = mark_hash + 1 WHERE \"partition\" = 0");
  SwitchesMeanwhile generations{*generations_};
  const ContinuousVerify::Ports ports{port_, *live_, generations};
  ContinuousVerify verification{env_, ports, at_once(),
                                [this](const Difference& difference) { found_ += difference.what + "\n"; }};
  const std::string found = round(verification);
  EXPECT_EQ(1U, counted("verify_restarts"));
  EXPECT_EQ(1, std::count(found.begin(), found.end(), '\n')) << found;
}

TEST_F(ContinuousVerifyTest, ItKeepsToItsRate) {
  history_.write(300);
  fold_all();
  workers_->stop();
  VerifyPace pace;
  pace.per_second = 4'000;
  pace.slice = 50;
  const auto verification = verify(pace);
  const MonoTime begun = env_.now();
  EXPECT_EQ("", round(*verification));
  const std::uint64_t looked_at = counted("verify_looked_at");
  EXPECT_LT(1'000U, looked_at);
  EXPECT_LE(Duration{std::chrono::seconds{1}} / 4'000 * (looked_at - pace.slice), env_.now() - begun);
}

TEST_F(ContinuousVerifyTest, ItEndsWhenItIsStopped) {
  history_.write(50);
  fold_all();
  VerifyPace pace = at_once();
  pace.between_rounds = std::chrono::hours{1};
  const auto verification = verify(pace);
  const auto ended = std::make_shared<bool>(false);
  env_.spawn("verify", keep_on(*verification, ended));
  ASSERT_TRUE(run(env_, wait_for_rounds(env_, *verification, 1)));
  EXPECT_FALSE(*ended);
  verification->stop();
  ASSERT_TRUE(run(env_, verification->run()));  // Ends at once, and the other one has had its turn.
  EXPECT_TRUE(*ended);
}

}  // namespace
}  // namespace varve
