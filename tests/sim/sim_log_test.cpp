// The simulated Kafka log: it takes the exam of the port, shows each of its faults, and keeps its promises
// under all of them at once. A node is one incarnation: an Env and a SimLog on the world's brokers.
#include "sim/sim_log.h"

#include <algorithm>
#include <optional>
#include <set>

#include "runtime/suspend.h"
#include "tests/eventlog/event_log_contract.h"

namespace varve::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint32_t kAlways = 1'000'000;
constexpr Partition kHere{1};

using Faults = SimLogStorage::Faults;

// ---- the exam

// The log's node lives on a real Env; the brokers' time passes whenever there is something to do.
class SimLogWorld final : public test::LogWorld {
 public:
  SimLogWorld(bool sparse, Faults faults)
      : storage_(std::make_shared<SimLogStorage>(scheduler_, world_, counters_,
                                                 SimLogStorage::Options{.sparse = sparse})) {
    storage_->set_faults(faults);
  }
  std::unique_ptr<EventLog> open(Env& env) override {
    pump(env);
    return std::make_unique<SimLog>(env, storage_);
  }

 private:
  void pump(Env& env) {
    while (scheduler_.step()) {
    }
    env.call_at(env.now() + std::chrono::microseconds{50}, [this, &env] { pump(env); });
  }

  Scheduler scheduler_{7};
  SimEnv world_{scheduler_, "world", 1};
  Counters counters_;
  std::shared_ptr<SimLogStorage> storage_;
};

const test::LogCase kCases[] = {
    {"calm", [] { return std::make_unique<SimLogWorld>(false, Faults{}); }},
    {"sparse", [] { return std::make_unique<SimLogWorld>(true, Faults{}); }},
    {"slow", [] { return std::make_unique<SimLogWorld>(true, Faults{.delay_us = 3000}); }},
};

}  // namespace
}  // namespace varve::sim

namespace varve::test {
INSTANTIATE_TEST_SUITE_P(Sim, EventLogContract, ::testing::ValuesIn(sim::kCases),
                         [](const auto& info) { return info.param.name; });
}  // namespace varve::test

namespace varve::sim {
namespace {

// ---- each fault

struct Node {
  Node(Scheduler& scheduler, const std::string& name, const std::shared_ptr<SimLogStorage>& storage)
      : env(scheduler, name, 1), log(env, storage) {}
  ~Node() { env.kill(); }
  SimEnv env;
  SimLog log;
};

class SimLogTest : public ::testing::Test {
 protected:
  // Runs the world until the task has ended.
  template <class T>
  Result<T> run(Node& node, Task<T> task) {
    auto out = std::make_shared<std::optional<Result<T>>>();
    node.env.spawn("test", keep(std::move(task), out));
    while (!out->has_value() && scheduler_.step()) {
    }
    if (!out->has_value()) return Error{Errc::cancelled, "nothing happens any more"};
    return std::move(**out);
  }
  template <class T>
  static Task<> keep(Task<T> task, std::shared_ptr<std::optional<Result<T>>> out) {
    *out = co_await std::move(task);
    co_return ok();
  }
  static Task<> rest(Env* env, Duration duration) {
    co_await sleep_for(*env, duration);
    co_return ok();
  }
  static Task<Offset> result_of(Env* env, Delivery delivery) {
    co_return co_await delivery->get(*env, kNever);
  }
  void pass(Duration duration) { EXPECT_TRUE(run(watcher_, rest(&watcher_.env, duration))); }

  Delivery hand_over(Node& node, const std::string& bytes) {
    const auto delivery = node.log.append(kHere, "agent-1", bytes);
    EXPECT_TRUE(delivery);
    return delivery ? *delivery : nullptr;
  }
  // The offset, or the error's code.
  std::string outcome(Node& node, const Delivery& delivery) {
    const auto offset = run(node, result_of(&node.env, delivery));
    return offset ? std::to_string(offset->value()) : to_string(offset.error().code);
  }
  std::string write(const std::string& bytes) { return outcome(node_, hand_over(node_, bytes)); }
  std::string read(Offset from, ReadOptions options) {
    const auto batch = run(node_, test::read_once(&node_.log, kHere, from, options));
    return batch ? test::text_of(batch->records) : to_string(batch.error().code);
  }
  std::string visible() const { return test::text_of(storage_->records(kHere)); }
  void only(Faults faults) { storage_->set_faults(faults); }

  Scheduler scheduler_{11};
  SimEnv world_{scheduler_, "world", 1};
  Counters counters_;
  std::shared_ptr<SimLogStorage> storage_ =
      std::make_shared<SimLogStorage>(scheduler_, world_, counters_, SimLogStorage::Options{});
  Node node_{scheduler_, "node", storage_};
  Node watcher_{scheduler_, "watcher", storage_};
};

TEST_F(SimLogTest, ARecordIsVisibleBeforeItIsAcknowledgedAndNotWhenItHasOnlyLanded) {
  const Delivery delivery = hand_over(node_, "a");
  std::vector<std::string> seen{visible()};
  bool landed = false;
  scheduler_.on_trace([&](Incarnation, std::string_view, std::string_view line) {
    if (line.find("landed") != std::string_view::npos) landed = true;
  });
  while (!delivery->ready() && scheduler_.step()) {
    const std::string now = std::string(landed ? "landed " : "") + visible();
    if (seen.empty() || seen.back() != now) seen.push_back(now);
  }
  EXPECT_EQ((std::vector<std::string>{"", "landed ", "landed a"}), seen);
  EXPECT_EQ("0", outcome(node_, delivery));
}

TEST_F(SimLogTest, WhatIsRefusedIsNeverWritten) {
  only({.refused_ppm = kAlways});
  std::set<Errc> codes;
  for (int i = 0; i < 20; ++i) {
    const auto delivery = node_.log.append(kHere, "agent-1", "no");
    ASSERT_FALSE(delivery);
    codes.insert(delivery.error().code);
  }
  EXPECT_EQ((std::set<Errc>{Errc::unavailable, Errc::resource_exhausted}), codes);
  only({});
  EXPECT_EQ("0", write("yes"));
  EXPECT_EQ("yes", visible());
}

TEST_F(SimLogTest, ALostRequestIsUnknownAfterTheTimeOutAndHoldsUpThoseBehindIt) {
  only({.lost_ppm = kAlways});
  const Delivery lost = hand_over(node_, "lost");
  only({});
  pass(seconds(5));
  const Delivery behind = hand_over(node_, "behind");
  pass(seconds(3));
  EXPECT_FALSE(lost->ready());
  EXPECT_EQ("", visible());
  EXPECT_EQ("outcome_unknown", outcome(node_, lost));
  EXPECT_EQ("0", outcome(node_, behind));
  EXPECT_EQ("behind", visible());
}

TEST_F(SimLogTest, ALateRequestLandsAfterItWasReportedAsUnknown) {
  only({.late_ppm = kAlways});
  EXPECT_EQ("outcome_unknown", write("late"));
  EXPECT_EQ("", visible());
  pass(seconds(60));
  EXPECT_EQ("late", visible());
  EXPECT_EQ(1U, counters_.of("sometimes.append.unknown_was_committed"));
}

TEST_F(SimLogTest, ALateRequestNeverLandsBehindANewerOneOfItsProducer) {
  only({.late_ppm = kAlways});
  EXPECT_EQ("outcome_unknown", write("late"));
  only({});
  EXPECT_EQ("0", write("newer"));
  pass(seconds(60));
  EXPECT_EQ("newer", visible());
  EXPECT_EQ(1U, counters_.of("sometimes.append.unknown_was_lost"));
}

TEST_F(SimLogTest, ALateRequestOfAReplacedProducerLandsBehindANewerOne) {
  only({.late_ppm = kAlways, .replaced_ppm = kAlways});
  EXPECT_EQ("outcome_unknown", write("late"));
  only({});
  EXPECT_EQ("0", write("newer"));
  pass(seconds(60));
  EXPECT_EQ("newer late", visible());
}

TEST_F(SimLogTest, ALostAcknowledgementIsUnknownThoughTheRecordIsThere) {
  only({.lost_ack_ppm = kAlways});
  const Delivery delivery = hand_over(node_, "a");
  pass(seconds(1));
  EXPECT_EQ("a", visible());
  EXPECT_FALSE(delivery->ready());
  EXPECT_EQ("outcome_unknown", outcome(node_, delivery));
  EXPECT_EQ("a", visible());
}

TEST_F(SimLogTest, ADuplicateIsTheSameBytesAtAnotherOffset) {
  only({.duplicate_ppm = kAlways});
  EXPECT_EQ("0", write("twice"));
  only({});
  pass(seconds(60));
  EXPECT_EQ("twice twice", visible());
}

TEST_F(SimLogTest, ABrokenConnectionIsMendedAndEverythingLandsOnceInOrder) {
  only({.reset_ppm = kAlways / 4});
  std::vector<Delivery> deliveries;
  std::string expected;
  for (int i = 0; i < 20; ++i) {
    deliveries.push_back(hand_over(node_, std::to_string(i)));
    expected += (i == 0 ? "" : " ") + std::to_string(i);
  }
  for (std::size_t i = 0; i < deliveries.size(); ++i)
    EXPECT_EQ(std::to_string(i), outcome(node_, deliveries[i]));
  EXPECT_EQ(expected, visible());
  EXPECT_GT(counters_.of("fault.log.reset"), 0U);
  EXPECT_GT(counters_.of("sometimes.append.retry_was_recognised"), 0U);
}

TEST_F(SimLogTest, TooFewReplicasAreRetriedAndUnknownIfItTakesTooLong) {
  only({.few_replicas_ppm = kAlways});
  EXPECT_EQ("outcome_unknown", write("a"));
  EXPECT_EQ("", visible());
  only({});
  EXPECT_EQ("0", write("b"));
  EXPECT_EQ("b", visible());
}

TEST_F(SimLogTest, AStalledReplicationHidesWhatHasLanded) {
  only({.stall_ppm = kAlways});
  std::string expected;
  std::string last;
  for (int i = 0; i < 300 && last != "outcome_unknown"; ++i) {
    expected += (i == 0 ? "" : " ") + std::to_string(i);
    last = write(std::to_string(i));
  }
  EXPECT_EQ("outcome_unknown", last) << "no stall was longer than the time-out";
  EXPECT_NE(expected, visible());
  storage_->heal();
  EXPECT_EQ(expected, visible());
}

TEST_F(SimLogTest, ALeaderChangeLosesWhatNobodyHasSeenAndTheProducerSendsItAgain) {
  only({.leader_change_ppm = kAlways / 5});
  std::vector<Delivery> deliveries;
  std::string expected;
  for (int i = 0; i < 30; ++i) {
    deliveries.push_back(hand_over(node_, std::to_string(i)));
    pass(milliseconds(1));
    expected += (i == 0 ? "" : " ") + std::to_string(i);
  }
  pass(seconds(2));
  only({});
  for (const Delivery& delivery : deliveries) EXPECT_NE("unavailable", outcome(node_, delivery));
  EXPECT_EQ(expected, visible());
  EXPECT_GT(counters_.of("fault.log.leader_change"), 0U);
}

TEST_F(SimLogTest, AnUnreplicatedRecordOfTheOldLeaderIsGone) {
  only({.stall_ppm = kAlways});
  auto dying = std::make_unique<Node>(scheduler_, "dying", storage_);
  for (int i = 0; i < 10; ++i) hand_over(*dying, std::to_string(i));
  pass(milliseconds(2));
  only({});
  dying = nullptr;  // Nobody sends again.
  for (std::uint32_t change = 0; change < 20 && counters_.of("sometimes.log.unreplicated_was_lost") == 0;
       ++change)
    storage_->change_leader(kHere);
  storage_->heal();
  pass(seconds(1));
  EXPECT_LT(storage_->records(kHere).size(), 10U);
  // The offsets of what was lost are free: nobody has seen them.
  write("next");
  EXPECT_EQ("next", *storage_->records(kHere).back().bytes);
}

TEST_F(SimLogTest, WhatADeadIncarnationHadSentLandsAndItHearsNothing) {
  auto dying = std::make_unique<Node>(scheduler_, "dying", storage_);
  const Delivery delivery = hand_over(*dying, "last words");
  dying = nullptr;
  pass(seconds(1));
  EXPECT_EQ("last words", visible());
  EXPECT_FALSE(delivery->ready());
  EXPECT_EQ(1U, counters_.of("sometimes.zombie.append_landed"));
}

TEST_F(SimLogTest, WhatADeadIncarnationHadSentMayNeverLandOrLate) {
  only({.orphan_lost_ppm = kAlways});
  auto dying = std::make_unique<Node>(scheduler_, "dying", storage_);
  hand_over(*dying, "lost");
  dying = std::make_unique<Node>(scheduler_, "dying", storage_);
  pass(seconds(60));
  EXPECT_EQ("", visible());
  only({.orphan_late_ppm = kAlways});
  for (int i = 0; i < 5; ++i) hand_over(*dying, "late" + std::to_string(i));
  dying = nullptr;
  EXPECT_EQ("0", write("newer"));
  pass(seconds(60));
  EXPECT_EQ("newer late0 late1 late2 late3 late4", visible());
}

TEST_F(SimLogTest, APausedIncarnationNeitherRetriesNorTimesOut) {
  only({.lost_ppm = kAlways});
  const Delivery delivery = hand_over(node_, "a");
  node_.env.pause();
  pass(seconds(60));
  EXPECT_FALSE(delivery->ready());
  node_.env.resume();
  EXPECT_EQ("outcome_unknown", outcome(node_, delivery));
}

TEST_F(SimLogTest, ALaggingReaderSeesAnOlderEndButIsToldTheNewestOne) {
  only({.lag_ppm = kAlways});
  EXPECT_EQ("0", write("a"));
  // Both readers lag, so the answer to end() is what tells that there is more.
  EXPECT_EQ("", read(Offset{}, {}));
  const auto end = run(node_, test::read_end(&node_.log, kHere));
  ASSERT_TRUE(end);
  EXPECT_EQ(Offset{1}, *end);
  EXPECT_EQ("a", read(Offset{}, {.wait_until = kNever}));
}

TEST_F(SimLogTest, ReadsFailAndBatchesAreShort) {
  for (int i = 0; i < 10; ++i) write(std::to_string(i));
  only({.read_error_ppm = kAlways});
  EXPECT_EQ("unavailable", read(Offset{}, {}));
  EXPECT_FALSE(run(node_, test::read_end(&node_.log, kHere)));
  only({.short_batch_ppm = kAlways});
  const std::string some = read(Offset{}, {});
  EXPECT_FALSE(some.empty());
  EXPECT_LE(some.size(), 5U);
}

TEST_F(SimLogTest, ACutOffNodeNeitherWritesNorReadsUntilItIsBack) {
  write("a");
  node_.log.cut_off(true);
  const Delivery given_up = hand_over(node_, "b");
  EXPECT_EQ("unavailable", read(Offset{}, {}));
  EXPECT_EQ("outcome_unknown", outcome(node_, given_up));
  const Delivery waiting = hand_over(node_, "c");
  pass(seconds(1));
  EXPECT_EQ("a", visible());
  node_.log.cut_off(false);
  EXPECT_EQ("1", outcome(node_, waiting));
  EXPECT_EQ("a c", read(Offset{}, {}));
}

TEST_F(SimLogTest, AnAnswerLostInACutIsAskedForAgain) {
  const Delivery delivery = hand_over(node_, "a");
  while (visible().empty() && scheduler_.step()) {
  }
  node_.log.cut_off(true);
  pass(seconds(1));
  EXPECT_FALSE(delivery->ready());
  node_.log.cut_off(false);
  EXPECT_EQ("0", outcome(node_, delivery));
  EXPECT_EQ("a", visible());
}

TEST_F(SimLogTest, ATruncatedLogIsRefusedByEveryReader) {
  for (const char* bytes : {"a", "b", "c"}) write(bytes);
  const Mark mark = mark_of(storage_->records(kHere).back());
  EXPECT_TRUE(run(node_, check_mark(node_.log, kHere, mark)));
  storage_->truncate(kHere, Offset{1});
  pass(seconds(10));
  EXPECT_EQ("a", visible());
  EXPECT_EQ("corrupt", read(Offset{3}, {.wait_until = kNever}));
  EXPECT_EQ("1", write("d"));
  EXPECT_EQ("2", write("e"));
  const Status exchanged = run(node_, check_mark(node_.log, kHere, mark));
  ASSERT_FALSE(exchanged);
  EXPECT_EQ(Errc::corrupt, exchanged.error().code);
}

TEST_F(SimLogTest, HealingBringsHomeWhatWasStuck) {
  only({.lost_ppm = kAlways});
  const Delivery delivery = hand_over(node_, "a");
  pass(seconds(1));
  storage_->heal();
  EXPECT_EQ("0", outcome(node_, delivery));
  EXPECT_EQ(0U, counters_.of("sometimes.append.unknown"));
}

}  // namespace
}  // namespace varve::sim
