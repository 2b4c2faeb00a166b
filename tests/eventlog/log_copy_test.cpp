// One log copied into another: whole, interrupted, into the wrong one.
#include "eventlog/log_copy.h"

#include <gtest/gtest.h>

#include "eventlog/memory_event_log.h"
#include "runtime/real_env.h"
#include "tests/support/run.h"

namespace varve::test {
namespace {

class LogCopyTest : public testing::Test {
 protected:
  static constexpr Partition kHere{1};

  static void land(MemoryLogStorage& storage, const std::string& bytes) {
    storage.land(kHere, std::make_shared<const std::string>(bytes));
  }
  static std::string text(const MemoryLogStorage& storage) {
    std::string all;
    for (const LogRecord& record : storage.records(kHere)) all += *record.bytes + " ";
    return all;
  }
  // "copied/compared", or the error.
  std::string copy(std::shared_ptr<MemoryLogStorage> from, std::shared_ptr<MemoryLogStorage> to) {
    MemoryEventLog original(env_, std::move(from));
    MemoryEventLog target(env_, std::move(to));
    const auto done = run(env_, copy_partition(env_, original, target, kHere, nullptr));
    if (!done) return std::string(to_string(done.error().code)) + ": " + done.error().message;
    return std::to_string(done->copied) + "/" + std::to_string(done->compared);
  }

  RealEnv env_;
  std::shared_ptr<MemoryLogStorage> from_ = std::make_shared<MemoryLogStorage>();
  std::shared_ptr<MemoryLogStorage> to_ = std::make_shared<MemoryLogStorage>();
};

TEST_F(LogCopyTest, EveryRecordComesToItsOwnOffset) {
  for (int i = 0; i < 3000; ++i) land(*from_, "record-" + std::to_string(i));
  EXPECT_EQ("3000/0", copy(from_, to_));
  EXPECT_EQ(text(*from_), text(*to_));
}

TEST_F(LogCopyTest, AnEmptyLogIsCopiedAsWell) {
  EXPECT_EQ("0/0", copy(from_, to_));
}

TEST_F(LogCopyTest, WhatIsThereAlreadyIsComparedAndNotWrittenAgain) {
  for (const char* bytes : {"a", "b", "c"}) land(*from_, bytes);
  land(*to_, "a");
  EXPECT_EQ("2/1", copy(from_, to_));
  EXPECT_EQ("0/3", copy(from_, to_));
  EXPECT_EQ("a b c ", text(*to_));
}

TEST_F(LogCopyTest, ATargetThatHoldsSomethingElseIsLeftAlone) {
  for (const char* bytes : {"a", "b"}) land(*from_, bytes);
  land(*to_, "a");
  land(*to_, "x");
  EXPECT_EQ(
      "conflict: the target is no copy of this log: at 1:1 there is another record; copy into an empty log",
      copy(from_, to_));
  EXPECT_EQ("a x ", text(*to_));
}

TEST_F(LogCopyTest, ATargetThatGoesOnIsNoCopy) {
  land(*from_, "a");
  land(*to_, "a");
  land(*to_, "b");
  EXPECT_EQ(
      "conflict: the target is no copy of this log: at 1:1 it goes on, where the original ends; copy into an "
      "empty "
      "log",
      copy(from_, to_));
}

TEST_F(LogCopyTest, OffsetsThatCannotBeKeptAreNamed) {
  auto sparse = std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{.sparse = 7});
  for (int i = 0; i < 40; ++i) land(*sparse, "record");
  const std::string said = copy(sparse, to_);
  EXPECT_TRUE(said.starts_with("conflict: the record at 1:")) << said;
}

TEST_F(LogCopyTest, OtherNumbersOfPartitionsAreRefused) {
  const auto wider = std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{.partitions = 8});
  EXPECT_EQ("invalid_argument: the log has 4 partitions, the target 8: they must be as many",
            copy(from_, wider));
}

TEST_F(LogCopyTest, AnUnknownOutcomeEndsItAndTheNextRunGoesOn) {
  for (const char* bytes : {"a", "b", "c"}) land(*from_, bytes);
  to_->fail_next(MemoryLogStorage::Fault::unknown_landed);
  EXPECT_TRUE(copy(from_, to_).starts_with("outcome_unknown: "));
  EXPECT_EQ("0/3", copy(from_, to_));
}

}  // namespace
}  // namespace varve::test
