// The fold, the worker and the proof that views equal the log.
#include "projections/worker.h"

#include <gtest/gtest.h>

#include "eventlog/memory_event_log.h"
#include "projections/memory_view_store.h"
#include "projections/verify.h"
#include "sim/scheduler.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

class WorkerTest : public testing::Test {
 public:
  static constexpr Partition kHome{0};

  void SetUp() override { land(Claim{Epoch{1}, {}, "varve", "n", "", 1, WallTime{1}}); }

  Offset land(const Record& record) {
    if (!folding_) return log_->land(kHome, std::make_shared<const std::string>(*encode_record(record)));
    // Through the port, which wakes the worker.
    const Delivery delivery = *port_.append(kHome, "", *encode_record(record));
    while (!delivery->ready()) scheduler_.step();
    return Offset{log_->end(kHome).value() - 1};
  }
  // One command of one stream, with the next n.
  Offset commit(const std::string& stream, const std::vector<Event>& events) {
    return commit_stored(stream, {events.begin(), events.end()});
  }
  // The same, with one event that this program does not know.
  Offset poison(const std::string& stream) {
    return commit_stored(stream, {UnreadableEvent{"AgentSang", 1, "", "{}"}});
  }
  Offset commit_stored(const std::string& stream, const std::vector<StoredEvent>& events) {
    Part part{StreamId{stream}, Sequence{sequences_[stream] + 1}, events};
    sequences_[stream] += events.size();
    ++n_;
    const CommandRef command{command_id_from_text(std::to_string(n_)), CommandHash{1}, true};
    return land(
        Commit{Epoch{1}, Index{n_}, "n", WallTime{static_cast<std::int64_t>(10 * n_)}, command, {part}});
  }
  void run_for(int ms) {
    const MonoTime end = scheduler_.now() + std::chrono::milliseconds{ms};
    env_.call_at(end, [] {});
    while (scheduler_.now() < end && scheduler_.step()) {
    }
  }
  void fold() {
    env_.spawn("worker", worker_.run());
    run_for(1000);
    folding_ = true;
  }
  std::vector<Row> rows(View view, bool open_only = true) {
    MemoryViewReader reader(*views_);
    Query query;
    query.view = view;
    query.open_only = open_only;
    return *reader.select(query);
  }
  std::string verified() {
    auto result = std::make_shared<std::optional<Result<std::vector<Difference>>>>();
    const auto ask = [](WorkerTest& self, auto out) -> Task<> {
      *out = co_await fold_equals(self.env_, self.port_, self.store_, kHome);
      co_return ok();
    };
    env_.spawn("verify", ask(*this, result));
    run_for(1000);
    if (!result->has_value()) return "no answer";
    if (!**result) return to_string((**result).error());
    std::string text;
    for (const Difference& difference : ***result) text += difference.what + "\n";
    return text;
  }

  sim::Scheduler scheduler_{1};
  sim::SimEnv env_{scheduler_, "test", 1};
  std::shared_ptr<MemoryLogStorage> log_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{1, 0});
  std::shared_ptr<MemoryViewStorage> views_ = std::make_shared<MemoryViewStorage>();
  MemoryEventLog port_{env_, log_};
  MemoryViewStore store_{env_, views_};
  ViewProgress progress_{env_, store_};
  ProjectionWorker worker_{env_, port_, store_, progress_, kHome};
  std::uint64_t n_ = 0;
  bool folding_ = false;
  std::map<std::string, std::uint64_t> sequences_;

  void TearDown() override { env_.kill(); }
};

const Event kCreated = AgentCreated{test::sample_settings(),
                                    {{StreamId{"block-1"}, "human"}},
                                    {test::sample_message("message-0", Role::system, "S")}};

TEST_F(WorkerTest, AUserMessageBecomesRows) {
  commit("agent-a", {kCreated});
  commit("agent-a",
         {UserMessageReceived{"run-1", {test::sample_message("message-1", Role::user, "hi")}, 50, {}, "{}"}});
  commit("agent-a", {AssistantReplied{
                         "run-1", test::sample_message("message-2", Role::assistant, "ho"), {}, "m", "h", {}},
                     TurnFinished{"run-1", "end_turn", {1, 2, 1}, WallTime{20}, "{}"}});
  fold();
  ASSERT_EQ(3U, rows(View::messages).size());
  EXPECT_EQ("message-1", rows(View::messages)[1].text(messages::id));
  ASSERT_EQ(1U, rows(View::runs).size());
  EXPECT_EQ("completed", rows(View::runs)[0].text(runs::status));
  EXPECT_EQ(2U, rows(View::runs, false).size());  // It was running before.
  EXPECT_EQ("end_turn", rows(View::agent_activity)[0].text(agent_activity::last_stop_reason));
  EXPECT_EQ(2U, rows(View::tags).size());
  EXPECT_EQ(1U, rows(View::attachments).size());
  EXPECT_EQ(1U, rows(View::shard_owners).size());
  EXPECT_EQ("", verified());
}

TEST_F(WorkerTest, EveryVersionStaysAndIsClosedByItsSuccessor) {
  commit("block-1", {BlockCreated{test::sample_block()}});
  BlockValue changed = test::sample_block();
  changed.value = "new";
  const Offset at = commit("block-1", {BlockUpdated{changed, WallTime{10}}});
  commit("block-1", {BlockDeleted{}});
  fold();
  EXPECT_TRUE(rows(View::blocks).empty());
  const auto all = rows(View::blocks, false);
  ASSERT_EQ(2U, all.size());
  EXPECT_EQ(at, all[0].to->offset);
  EXPECT_EQ("new", all[1].text(blocks::value));
  EXPECT_EQ(Sequence{2}, all[1].from.sequence);
  EXPECT_EQ("", verified());
}

TEST_F(WorkerTest, TrimmedMessagesLeaveTheContextAndStayListed) {
  commit("agent-a", {kCreated});
  commit("agent-a", {ContextTrimmed{{"message-0"}}});
  fold();
  EXPECT_TRUE(rows(View::messages).empty());
  EXPECT_EQ(1U, rows(View::messages, false).size());
}

TEST_F(WorkerTest, RowsThatNobodyWaitsForShareATransactionWithTheNextOnes) {
  fold();
  const std::uint64_t before = env_.counters().at("projection_batches");
  commit("block-a", {BlockCreated{test::sample_block()}});
  run_for(1);
  EXPECT_TRUE(rows(View::blocks).empty());
  commit("block-b", {BlockCreated{test::sample_block()}});
  run_for(5);
  EXPECT_EQ(2U, rows(View::blocks).size());
  EXPECT_EQ(before + 1, env_.counters().at("projection_batches"));
}

TEST_F(WorkerTest, RowsThatSomebodyWaitsForAreFoldedAtOnce) {
  fold();
  const auto wait = [](WorkerTest& self, LogPosition position) -> Task<> {
    std::vector<LogPosition> positions(1, position);
    co_await self.progress_.wait_for(std::move(positions), self.env_.now() + std::chrono::seconds{1});
    co_return ok();
  };
  // Whether the waiter comes before the record is read, or after.
  const Offset first = commit("block-a", {BlockCreated{test::sample_block()}});
  env_.spawn("waiter", wait(*this, {kHome, first}));
  run_for(1);
  EXPECT_EQ(1U, rows(View::blocks).size());
  commit("block-b", {BlockCreated{test::sample_block()}});
  run_for(1);
  EXPECT_EQ(1U, rows(View::blocks).size());
  const Offset last = commit("block-c", {BlockCreated{test::sample_block()}});
  env_.spawn("waiter", wait(*this, {kHome, last}));
  run_for(1);
  EXPECT_EQ(3U, rows(View::blocks).size());
  EXPECT_TRUE(progress_.awaited(kHome) == std::nullopt);
}

TEST_F(WorkerTest, WhoHearsOfNoWaiterWaitsForNothing) {
  ProjectionWorker apart{env_, port_, store_, progress_, kHome, {kBatchChangesMax, Duration{}}};
  env_.spawn("worker", apart.run());
  run_for(10);
  commit("block-a", {BlockCreated{test::sample_block()}});
  run_for(1);
  EXPECT_EQ(1U, rows(View::blocks).size());
  apart.stop();
  run_for(1000);
}

TEST_F(WorkerTest, APoisonedEventParksOnlyItsStream) {
  commit("agent-a", {kCreated});
  poison("agent-a");
  commit("agent-a", {AgentDeleted{}});
  Event other = kCreated;
  std::get<AgentCreated>(other).messages[0].id = "message-b";
  commit("agent-b", {other});
  fold();
  EXPECT_FALSE(worker_.failure().has_value());
  EXPECT_EQ(2U, rows(View::agents).size()) << "agent-a stays as it was before the poison";
  ASSERT_EQ(2U, views_->quarantine.size());
  EXPECT_EQ("AgentSang", views_->quarantine[0].type);
  EXPECT_EQ(-1, views_->quarantine[1].event) << "what came later waits behind it";
  EXPECT_TRUE(progress_.is_parked(StreamId{"agent-a"}));
  // Parking never touches admission.
  EXPECT_EQ(Index{4}, views_->checkpoints[kHome].admission.index);
  EXPECT_EQ("", verified());
}

TEST_F(WorkerTest, SkippedRecordsMoveTheCheckpointAndNothingElse) {
  commit("agent-a", {kCreated});
  n_ += 5;  // A gap.
  commit("agent-a", {AgentDeleted{}});
  log_->land(kHome, std::make_shared<const std::string>("not ours"));
  fold();
  EXPECT_EQ(1U, rows(View::agents).size());
  EXPECT_EQ(log_->end(kHome), views_->checkpoints[kHome].next);
  EXPECT_EQ("", verified());
}

TEST_F(WorkerTest, ARowThatDoesNotFitTheLogStopsThePartitionWithASentence) {
  commit("agent-a", {AgentDeleted{}});  // Closes a row that nobody opened.
  fold();
  ASSERT_TRUE(worker_.failure().has_value());
  EXPECT_EQ(Errc::corrupt, worker_.failure()->code);
  EXPECT_NE(std::string::npos, worker_.failure()->message.find("agent-a")) << worker_.failure()->message;
  EXPECT_TRUE(rows(View::agents, false).empty());
}

TEST_F(WorkerTest, ADamagedRecordStopsThePartition) {
  log_->land(kHome, std::make_shared<const std::string>(R"({"v":1,"kind":"commit"})"));
  fold();
  ASSERT_TRUE(worker_.failure().has_value());
  EXPECT_EQ(Errc::corrupt, worker_.failure()->code);
}

TEST_F(WorkerTest, AnExchangedLogIsRefused) {
  commit("agent-a", {kCreated});
  fold();
  worker_.stop();
  run_for(1000);
  log_->truncate(kHome, Offset{1});
  commit("agent-b", {kCreated});  // Another record where the checkpoint's mark was.
  ProjectionWorker second(env_, port_, store_, progress_, kHome);
  env_.spawn("second", second.run());
  run_for(1000);
  ASSERT_TRUE(second.failure().has_value());
  EXPECT_EQ(Errc::corrupt, second.failure()->code);
  env_.kill();
}

TEST_F(WorkerTest, TwoWorkersOnOnePartitionFoldEverythingOnce) {
  ProjectionWorker second(env_, port_, store_, progress_, kHome);
  env_.spawn("second", second.run());
  env_.spawn("first", worker_.run());
  for (int i = 0; i < 50; ++i) {
    Event created = kCreated;
    std::get<AgentCreated>(created).messages[0].id = "message-" + std::to_string(i);
    commit("agent-" + std::to_string(i), {created});
    run_for(1);
  }
  run_for(2000);
  EXPECT_EQ(50U, rows(View::agents, false).size());
  EXPECT_GT(env_.counters().find("projection_races_lost")->second, 0U);
  EXPECT_EQ("", verified());
  env_.kill();
}

// Takes commits, and carries each out when it is told to.
class HeldStore final : public ViewStore {
 public:
  HeldStore(Env& env, ViewStore& inner) : env_(env), inner_(inner) {}

  Task<LoadedCheckpoint> load(Partition partition) override {
    ++loads;
    return inner_.load(partition);
  }
  Task<CommitOutcome> commit(Batch batch) override {
    EXPECT_EQ(0U, holding);
    ++holding;
    while (allowed == 0) co_await changed_.wait(env_, kNever);
    --allowed;
    --holding;
    if (std::exchange(next_is_lost, false)) co_return Error{Errc::outcome_unknown, "the connection was lost"};
    batches.push_back(batch.changes.size());
    co_return co_await inner_.commit(std::move(batch));
  }
  Task<> read(std::function<Status(ViewReader&)> work) override { return inner_.read(std::move(work)); }

  void allow(std::size_t more) {
    allowed += more;
    changed_.notify_all();
  }

  std::size_t loads = 0;
  std::size_t holding = 0;
  std::size_t allowed = 0;
  bool next_is_lost = false;
  std::vector<std::size_t> batches;  // The changes of each.

 private:
  Env& env_;
  ViewStore& inner_;
  Notifier changed_;
};

// Gives three records at a time, and says where it was read last.
class ReadLog final : public EventLog {
 public:
  explicit ReadLog(EventLog& inner) : inner_(inner) {}

  std::uint32_t partitions() const override { return inner_.partitions(); }
  Result<Delivery> append(Partition partition, std::string key, std::string bytes) override {
    return inner_.append(partition, std::move(key), std::move(bytes));
  }
  Task<ReadBatch> read(Partition partition, Offset from, ReadOptions options) override {
    options.records_max = 3;
    last_from = from;
    return inner_.read(partition, from, options);
  }
  Task<Offset> end(Partition partition) override { return inner_.end(partition); }

  Offset last_from;

 private:
  EventLog& inner_;
};

// A worker whose batches are full with four changes, on a log of twenty-one blocks.
class FullBatchesTest : public WorkerTest {
 public:
  void SetUp() override {
    WorkerTest::SetUp();
    for (int i = 0; i < 21; ++i) {
      Event created = BlockCreated{test::sample_block()};
      commit("block-" + std::to_string(i), {created});
    }
    env_.spawn("worker", run_to_the_end());
    run_for(100);
  }
  Task<> run_to_the_end() {
    Status status = co_await behind_.run();
    ended_ = true;
    co_return status;
  }

  bool ended_ = false;
  HeldStore held_{env_, store_};
  ReadLog read_{port_};
  ProjectionWorker behind_{env_, read_, held_, progress_, kHome, {4, kGather}};
};

TEST_F(FullBatchesTest, TheNextBatchIsFoldedWhileOneIsBeingCommitted) {
  EXPECT_EQ(1U, held_.holding);
  EXPECT_EQ(Offset{6}, read_.last_from);  // The eighth change makes the second batch full.
  EXPECT_TRUE(rows(View::blocks).empty());
  held_.allow(1);
  run_for(1);
  EXPECT_EQ(1U, held_.holding);  // At once.
  EXPECT_EQ(4U, rows(View::blocks).size() + rows(View::shard_owners).size());
  held_.allow(100);
  run_for(100);
  EXPECT_EQ(21U, rows(View::blocks).size());
  EXPECT_EQ((std::vector<std::size_t>{4, 4, 4, 4, 4, 2}), held_.batches);
  EXPECT_EQ(1U, held_.loads);
  EXPECT_EQ("", verified());
}

TEST_F(FullBatchesTest, WhatWasFoldedBesideACommitThatIsLostIsFoldedAgain) {
  held_.next_is_lost = true;
  held_.allow(1);
  run_for(10);
  EXPECT_EQ(0U, held_.batches.size());
  EXPECT_EQ(Offset{0}, progress_.next(kHome));
  held_.allow(100);
  run_for(1000);
  EXPECT_EQ(2U, held_.loads);
  EXPECT_EQ(21U, rows(View::blocks).size());
  EXPECT_EQ("", verified());
}

TEST_F(FullBatchesTest, AStopWaitsForTheCommitsThatAreUnderWay) {
  behind_.stop();
  held_.allow(1);
  run_for(1000);
  EXPECT_EQ(1U, held_.holding);  // The next one was full already.
  EXPECT_FALSE(ended_);
  held_.allow(1);
  run_for(1000);
  EXPECT_EQ(0U, held_.holding);
  EXPECT_TRUE(ended_);
  EXPECT_EQ((std::vector<std::size_t>{4, 4}), held_.batches);
  EXPECT_EQ(Offset{8}, progress_.next(kHome));
}

// Every kind of damage to the stored rows is found and named.
TEST_F(WorkerTest, WhatAFailoverOfTheStoreHasLostIsFoldedAgainThoughNothingNewComes) {
  commit("agent-a", {kCreated});
  fold();
  const MemoryViewStorage older = *views_;
  commit("agent-a", {AgentUpdated{test::sample_settings(), {}, {}, {}}});
  run_for(1000);
  ASSERT_EQ(2U, rows(View::agents, false).size());
  *views_ = older;
  run_for(15'000);
  EXPECT_EQ(2U, rows(View::agents, false).size());
  EXPECT_EQ("", verified());
}

TEST_F(WorkerTest, VerifyNamesWhatDiffers) {
  commit("agent-a", {kCreated});
  commit("block-1", {BlockCreated{test::sample_block()}});
  fold();
  ASSERT_EQ("", verified());
  const MemoryViewStorage sound = *views_;

  Row row = sound.tables[static_cast<std::size_t>(View::blocks)].rows()[0];
  MemoryTable blocks_table(View::blocks);
  row.values[blocks::value] = std::string("forged");
  ASSERT_TRUE(blocks_table.insert(row));
  views_->tables[static_cast<std::size_t>(View::blocks)] = blocks_table;
  EXPECT_NE(std::string::npos, verified().find("value is 'forged'")) << verified();

  *views_ = sound;
  views_->tables[static_cast<std::size_t>(View::agents)] = MemoryTable(View::agents);
  EXPECT_NE(std::string::npos, verified().find("the row is missing in the table")) << verified();

  *views_ = sound;
  Row extra = sound.tables[static_cast<std::size_t>(View::tags)].rows()[0];
  extra.values[tags::tag] = std::string("extra");
  ASSERT_TRUE(views_->tables[static_cast<std::size_t>(View::tags)].insert(extra));
  EXPECT_NE(std::string::npos, verified().find("in the table, but not in the log")) << verified();

  *views_ = sound;
  views_->checkpoints[kHome].digests[0].rows += Sum128{0, 1};
  EXPECT_NE(std::string::npos, verified().find("digest")) << verified();
}

}  // namespace
}  // namespace varve
