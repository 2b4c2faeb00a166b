// The memory stores: both exams, and what only they promise: storage that outlives incarnations, commits that
// fall before or after a crash.
#include "projections/memory_view_store.h"

#include "projections/memory_snapshot_store.h"
#include "tests/projections/snapshot_store_contract.h"
#include "tests/projections/view_store_search_contract.h"

namespace varve::test {
namespace {

class MemoryViewWorld final : public ViewStoreWorld {
 public:
  std::unique_ptr<ViewStore> open(Env& env) override {
    return std::make_unique<MemoryViewStore>(env, storage_);
  }
  std::vector<TimesRow> times(Partition partition) override {
    std::vector<TimesRow> rows;
    for (const auto& [of, row] : storage_->times) {
      if (of == partition) rows.push_back(row);
    }
    return rows;
  }

 private:
  std::shared_ptr<MemoryViewStorage> storage_ = std::make_shared<MemoryViewStorage>();
};

class MemorySnapshotWorld final : public SnapshotStoreWorld {
 public:
  std::unique_ptr<SnapshotStore> open(Env& env) override {
    return std::make_unique<MemorySnapshotStore>(env, storage_);
  }

 private:
  std::shared_ptr<MemorySnapshotStorage> storage_ = std::make_shared<MemorySnapshotStorage>();
};

INSTANTIATE_TEST_SUITE_P(Memory, ViewStoreContract,
                         ::testing::Values(ViewStoreCase{"memory",
                                                         [] { return std::make_unique<MemoryViewWorld>(); }}),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Memory, MessageSearchContract,
                         ::testing::Values(ViewStoreCase{"memory",
                                                         [] { return std::make_unique<MemoryViewWorld>(); }}),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Memory, SnapshotStoreContract,
                         ::testing::Values(SnapshotStoreCase{
                             "memory", [] { return std::make_unique<MemorySnapshotWorld>(); }}),
                         name_of_snapshot_case);

// Runs the loop for `steps` steps after a commit was spawned, then crashes; tells what is left.
std::string left_after(std::size_t steps) {
  auto storage = std::make_shared<MemoryViewStorage>();
  RealEnv env;
  MemoryViewStore store{env, storage};
  struct Commit {
    static Task<> run(ViewStore* to, Batch batch) {
      const auto outcome = co_await to->commit(std::move(batch));
      co_return outcome ? ok() : Status{outcome.error()};
    }
  };
  env.spawn("commit",
            Commit::run(&store, batch_of(0, 0, {message("m1", "a1", at(1)), tag("a1", "red", at(1, 1))})));
  for (std::size_t step = 0; step < steps; ++step) env.io_context().poll_one();
  env.shut_down();
  MemoryViewReader reader{*storage};
  return std::to_string(*reader.count({.view = View::messages})) + " " +
         std::to_string(*reader.count({.view = View::tags})) + " " +
         std::to_string(reader.checkpoint(Partition{0})->version);
}

TEST(MemoryViewStore, ACrashFallsBeforeOrAfterACommit) {
  std::set<std::string> seen;
  for (std::size_t steps = 0; steps < 12; ++steps) seen.insert(left_after(steps));
  EXPECT_EQ(seen, (std::set<std::string>{"0 0 0", "1 1 1"}));
}

TEST(MemoryViewStore, AScratchStorageRendersTheAnswerOfACommand) {
  MemoryViewStorage scratch;
  const auto outcome =
      apply_batch(scratch, batch_of(0, 0, {agent("a1", "fresh", 1, at(4)), tag("a1", "red", at(4, 1))}));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, CommitOutcome::committed);
  MemoryViewReader reader{scratch};
  const auto rows = reader.select({.view = View::agents, .where = {equal(agents::id, text("a1"))}});
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 1U);
  EXPECT_EQ(rows->front().text(agents::name), "fresh");
}

TEST(MemoryViewStoreDeathTest, ARowOfAnotherPartitionIsABug) {
  MemoryViewStorage storage;
  const Batch batch = batch_of(0, 0, {message("m1", "a1", at(1, 0, 3))});
  EXPECT_DEATH((void)apply_batch(storage, batch), "partition");
}

TEST(MemoryViewStoreDeathTest, ANullWhereNoneMayBeIsABug) {
  MemoryViewStorage storage;
  RowInsert row = message("m1", "a1", at(1));
  row.row.values[messages::content] = Value{};
  const Batch batch = batch_of(0, 0, {row});
  EXPECT_DEATH((void)apply_batch(storage, batch), "fits");
}

}  // namespace
}  // namespace varve::test
