// The memory log takes the exam of the port, dense and sparse; what only a reference can be asked follows.
#include "eventlog/memory_event_log.h"

#include "eventlog/rulings.h"
#include "tests/eventlog/event_log_contract.h"
#include "tests/support/lagging_log.h"

namespace varve::test {
namespace {

class MemoryWorld final : public LogWorld {
 public:
  explicit MemoryWorld(std::uint64_t sparse)
      : storage_(std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{.sparse = sparse})) {}
  std::unique_ptr<EventLog> open(Env& env) override {
    return std::make_unique<MemoryEventLog>(env, storage_);
  }

 private:
  std::shared_ptr<MemoryLogStorage> storage_;
};

const LogCase kCases[] = {
    {"memory", [] { return std::make_unique<MemoryWorld>(0); }},
    {"sparse", [] { return std::make_unique<MemoryWorld>(7); }},
};

INSTANTIATE_TEST_SUITE_P(Memory, EventLogContract, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

class MemoryEventLogTest : public ::testing::Test {
 protected:
  static constexpr Partition kHere{1};

  std::string outcome(const std::string& bytes) {
    const auto delivery = log_.append(kHere, "agent-1", bytes);
    if (!delivery) return to_string(delivery.error().code);
    const auto offset = run(env_, outcome_of(&env_, *delivery));
    return offset ? std::to_string(offset->value()) : to_string(offset.error().code);
  }
  std::string records() const { return text_of(storage_->records(kHere)); }

  std::shared_ptr<MemoryLogStorage> storage_ = std::make_shared<MemoryLogStorage>();
  RealEnv env_;
  MemoryEventLog log_{env_, storage_};
};

TEST_F(MemoryEventLogTest, OutcomesCanBeScripted) {
  storage_->fail_next(MemoryLogStorage::Fault::not_written);
  storage_->fail_next(MemoryLogStorage::Fault::unknown_landed);
  storage_->fail_next(MemoryLogStorage::Fault::unknown_lost);
  EXPECT_EQ("unavailable", outcome("a"));
  EXPECT_EQ("", records());
  EXPECT_EQ("outcome_unknown", outcome("b"));
  EXPECT_EQ("b", records());
  EXPECT_EQ("outcome_unknown", outcome("c"));
  EXPECT_EQ("b", records());
  EXPECT_EQ("1", outcome("d"));
  EXPECT_EQ("b d", records());
}

TEST_F(MemoryEventLogTest, ACrashFallsBetweenAcceptingLandingAndReporting) {
  // Stops the loop after each number of steps: every prefix of accept, land, report must occur.
  std::vector<std::string> seen;
  for (int steps = 0; steps < 3; ++steps) {
    auto storage = std::make_shared<MemoryLogStorage>();
    RealEnv env;
    MemoryEventLog log(env, storage);
    const auto delivery = log.append(kHere, "agent-1", "a");
    ASSERT_TRUE(delivery);
    for (int i = 0; i < steps; ++i) env.io_context().poll_one();
    seen.push_back(std::string(storage->records(kHere).empty() ? "" : "landed") +
                   ((*delivery)->ready() ? " reported" : ""));
    env.shut_down();
  }
  EXPECT_EQ((std::vector<std::string>{"", "landed", "landed reported"}), seen);
}

TEST_F(MemoryEventLogTest, WhatADeadIncarnationHadInFlightNeverLandsLater) {
  {
    RealEnv other;
    MemoryEventLog log(other, storage_);
    ASSERT_TRUE(log.append(kHere, "agent-1", "lost"));
  }
  EXPECT_EQ("0", outcome("a"));
  EXPECT_EQ("a", records());
}

TEST_F(MemoryEventLogTest, ARecordOfOneIncarnationWakesAReaderOfAnother) {
  const ReadOptions patient{.wait_until = env_.now() + std::chrono::seconds(20)};
  Task<ReadBatch> waiting = read_once(&log_, kHere, Offset{}, patient);
  env_.post([this] { storage_->land(kHere, std::make_shared<const std::string>("from another node")); });
  const auto batch = run(env_, std::move(waiting));
  ASSERT_TRUE(batch);
  EXPECT_EQ("from another node", text_of(batch->records));
}

TEST_F(MemoryEventLogTest, ADeadIncarnationIsNotWoken) {
  auto other = std::make_unique<RealEnv>();
  MemoryEventLog log(*other, storage_);
  const ReadOptions for_ever{.wait_until = kNever};
  other->spawn("reader", [](EventLog* its_log, ReadOptions options) -> Task<> {
    const auto batch = co_await its_log->read(kHere, Offset{}, options);
    ADD_FAILURE() << "a destroyed task went on";
    co_return ok();
  }(&log, for_ever));
  other->io_context().poll();
  other = nullptr;  // The log object is still there, and registered.
  EXPECT_EQ("0", outcome("a"));
}

TEST_F(MemoryEventLogTest, ATruncatedLogIsNoticedByItsReaders) {
  outcome("a");
  outcome("b");
  outcome("c");
  const Mark mark = mark_of(storage_->records(kHere).back());
  EXPECT_TRUE(run(env_, check_mark(log_, kHere, mark)));
  storage_->truncate(kHere, Offset{1});
  EXPECT_EQ("a", records());
  const auto beyond = run(env_, read_once(&log_, kHere, Offset{3}, {}));
  ASSERT_FALSE(beyond);
  EXPECT_EQ("corrupt: the log of partition 1 ends at 1, a reader wants 3: it was truncated or exchanged",
            to_string(beyond.error()));
  outcome("d");
  outcome("e");
  const Status exchanged = run(env_, check_mark(log_, kHere, mark));
  ASSERT_FALSE(exchanged);
  EXPECT_EQ(Errc::corrupt, exchanged.error().code);
}

TEST_F(MemoryEventLogTest, AMarkThatCannotBeReadYetIsNoTruncatedLog) {
  outcome("a");
  outcome("b");
  const Mark mark = mark_of(storage_->records(kHere).back());
  LaggingLog lagging(log_);
  const Status yet = run(env_, check_mark(lagging, kHere, mark));
  ASSERT_FALSE(yet);
  EXPECT_EQ(Errc::unavailable, yet.error().code);
  storage_->truncate(kHere, Offset{1});
  const Status truncated = run(env_, check_mark(lagging, kHere, mark));
  ASSERT_FALSE(truncated);
  EXPECT_EQ(Errc::corrupt, truncated.error().code);
}

TEST_F(MemoryEventLogTest, WhatCannotBeReadYetIsNoEndOfTheRulings) {
  outcome("a");
  outcome("b");
  LaggingLog lagging(log_, Offset{1});
  const AdmissionState unclaimed;
  const auto early = run(env_, rulings_in(lagging, kHere, Offset{}, Offset{2}, unclaimed));
  ASSERT_FALSE(early);
  EXPECT_EQ(Errc::unavailable, early.error().code);
  EXPECT_TRUE(run(env_, rulings_in(lagging, kHere, Offset{}, Offset{1}, unclaimed)));
  EXPECT_TRUE(run(env_, rulings_in(log_, kHere, Offset{}, Offset{5}, unclaimed))) << "there is no more";
}

TEST(MemoryLogStorageTest, SparseOffsetsHaveGapsAndOneSeedGivesTheSameOnes) {
  const auto offsets = [](std::uint64_t seed) {
    MemoryLogStorage storage(MemoryLogStorage::Options{.sparse = seed});
    std::string text;
    for (int i = 0; i < 12; ++i) {
      const Offset offset = storage.land(Partition{0}, std::make_shared<const std::string>("a"));
      text += std::to_string(offset.value()) + " ";
    }
    return text;
  };
  EXPECT_EQ("0 1 2 3 4 5 6 7 8 9 10 11 ", offsets(0));
  EXPECT_NE(offsets(0), offsets(1));
  EXPECT_NE(offsets(1), offsets(2));
  EXPECT_EQ(offsets(2), offsets(2));
}

}  // namespace
}  // namespace varve::test
