// The simulated database: calm it passes the exams of every store; each of its faults, provoked, does what it
// says and nothing else.
#include "sim/faulty_store.h"

#include <set>

#include "sim/scheduler.h"
#include "tests/projections/snapshot_store_contract.h"
#include "tests/projections/view_store_search_contract.h"

namespace varve::test {
namespace {

using sim::Choices;
using sim::Counters;
using sim::FaultySnapshotStore;
using sim::FaultyViewStore;
using sim::Scheduler;
using sim::SimEnv;
using sim::SnapshotDatabase;
using sim::StoreFaults;
using sim::ViewDatabase;

constexpr std::uint32_t kAlways = 1'000'000;
constexpr std::chrono::milliseconds kMs{1};

// ---- the exams; the world's Env is the port's ----

class CalmViewWorld final : public ViewStoreWorld {
 public:
  std::unique_ptr<ViewStore> open(Env& env) override {
    database_ = std::make_unique<ViewDatabase>(choices_, env, counters_, storage_, 3);
    return std::make_unique<FaultyViewStore>(env, *database_);
  }
  std::vector<TimesRow> times(Partition partition) override {
    std::vector<TimesRow> rows;
    for (const auto& [of, row] : storage_->times) {
      if (of == partition) rows.push_back(row);
    }
    return rows;
  }

 private:
  Choices choices_{1};
  Counters counters_;
  std::shared_ptr<MemoryViewStorage> storage_ = std::make_shared<MemoryViewStorage>();
  std::unique_ptr<ViewDatabase> database_;
};

class CalmSnapshotWorld final : public SnapshotStoreWorld {
 public:
  std::unique_ptr<SnapshotStore> open(Env& env) override {
    database_ = std::make_unique<SnapshotDatabase>(choices_, env, counters_, storage_, 3);
    return std::make_unique<FaultySnapshotStore>(env, *database_);
  }

 private:
  Choices choices_{1};
  Counters counters_;
  std::shared_ptr<MemorySnapshotStorage> storage_ = std::make_shared<MemorySnapshotStorage>();
  std::unique_ptr<SnapshotDatabase> database_;
};

INSTANTIATE_TEST_SUITE_P(Faulty, ViewStoreContract,
                         ::testing::Values(ViewStoreCase{"calm",
                                                         [] { return std::make_unique<CalmViewWorld>(); }}),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Faulty, MessageSearchContract,
                         ::testing::Values(ViewStoreCase{"calm",
                                                         [] { return std::make_unique<CalmViewWorld>(); }}),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Faulty, SnapshotStoreContract,
                         ::testing::Values(SnapshotStoreCase{
                             "calm", [] { return std::make_unique<CalmSnapshotWorld>(); }}),
                         name_of_snapshot_case);

// ---- the faults ----

class FaultyStoreTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kHistory = 4;

  ~FaultyStoreTest() override { node_->kill(); }

  template <class T>
  static Task<> keep(Task<T> task, std::shared_ptr<std::optional<Result<T>>> out) {
    *out = co_await std::move(task);
    co_return ok();
  }
  template <class T>
  std::shared_ptr<std::optional<Result<T>>> begin(Task<T> task) {
    auto out = std::make_shared<std::optional<Result<T>>>();
    node_->spawn("test", keep(std::move(task), out));
    return out;
  }
  template <class T>
  Result<T> run(Task<T> task) {
    const auto out = begin(std::move(task));
    while (!out->has_value() && scheduler_.step()) {
    }
    if (!out->has_value()) return Error{Errc::cancelled, "nothing happens any more"};
    return **out;
  }
  void run_to_rest() {
    while (scheduler_.step()) {
    }
  }

  // Another incarnation; what the one before has sent stays on its way.
  void restart() {
    node_->kill();
    view_port_ = nullptr;
    snapshot_port_ = nullptr;
    node_ = std::make_unique<SimEnv>(scheduler_, "node", 3);
    view_port_ = std::make_unique<FaultyViewStore>(*node_, views_);
    snapshot_port_ = std::make_unique<FaultySnapshotStore>(*node_, snapshots_);
  }

  std::string commit(std::uint64_t version) { return text_of(run(view_port_->commit(numbered(version)))); }
  // The batch that moves the checkpoint from `version`, with one message more.
  static Batch numbered(std::uint64_t version) {
    const std::string id = "m" + std::to_string(version);
    return batch_of(0, version, {message(id, "a1", at(version + 1))});
  }
  // "2: m0 m1"
  std::string stored() const {
    MemoryViewReader reader{*views_.storage()};
    std::string out = std::to_string(reader.checkpoint(Partition{0})->version) + ":";
    const Query query{.view = View::messages, .order_by = {kFromOffset}};
    for (const Row& row : *reader.select(query)) out += " " + row.text(messages::id);
    return out;
  }
  std::string put(std::uint64_t sequence) {
    const Status status = run(snapshot_port_->put({snapshot("s", sequence, std::to_string(sequence))}));
    return status ? "ok" : to_string(status.error().code);
  }
  std::string move(std::uint64_t version, std::uint64_t offset) {
    RecoveryRow row;
    row.version = version;
    row.next = Offset{offset};
    const auto moved = run(snapshot_port_->move_recovery(row));
    if (!moved) return to_string(moved.error().code);
    return *moved ? "moved" : "refused";
  }
  // "5 @10"
  std::string kept() const {
    const MemorySnapshotStorage& storage = *snapshots_.storage();
    const auto row = storage.snapshots.find(StreamId{"s"});
    const auto recovery = storage.recovery.find(Partition{0});
    return (row == storage.snapshots.end() ? "none" : row->second.state) + " @" +
           (recovery == storage.recovery.end() ? "none" : std::to_string(recovery->second.next.value()));
  }

  Scheduler scheduler_{1};
  Counters counters_;
  SimEnv world_{scheduler_, "store", 1};
  ViewDatabase views_{scheduler_.choices(), world_, counters_, std::make_shared<MemoryViewStorage>(),
                      kHistory};
  SnapshotDatabase snapshots_{scheduler_.choices(), world_, counters_,
                              std::make_shared<MemorySnapshotStorage>(), kHistory};
  std::unique_ptr<SimEnv> node_ = std::make_unique<SimEnv>(scheduler_, "node", 2);
  std::unique_ptr<FaultyViewStore> view_port_ = std::make_unique<FaultyViewStore>(*node_, views_);
  std::unique_ptr<FaultySnapshotStore> snapshot_port_ =
      std::make_unique<FaultySnapshotStore>(*node_, snapshots_);
};

TEST_F(FaultyStoreTest, WhatIsUnavailableWasNotWrittenAndWillNotBe) {
  for (const StoreFaults& faults :
       {StoreFaults{.unreachable_ppm = kAlways}, StoreFaults{.aborted_ppm = kAlways},
        StoreFaults{.serialization_ppm = kAlways}}) {
    views_.link().set_faults(faults);
    EXPECT_TRUE(commit(0).starts_with("unavailable: ")) << commit(0);
    snapshots_.link().set_faults(faults);
    EXPECT_EQ(put(1), "unavailable");
    EXPECT_EQ(move(0, 10), "unavailable");
    run_to_rest();
    EXPECT_EQ(stored(), "0:");
    EXPECT_EQ(kept(), "none @none");
  }
  EXPECT_GT(counters_.of("fault.views.unreachable"), 0U);
  EXPECT_GT(counters_.of("fault.views.aborted"), 0U);
  EXPECT_GT(counters_.of("fault.snapshots.serialization"), 0U);
}

TEST_F(FaultyStoreTest, AConnectionLostAfterCommitHasBothOutcomes) {
  views_.link().set_faults({.lost_ack_ppm = kAlways});
  EXPECT_TRUE(commit(0).starts_with("outcome_unknown: "));
  EXPECT_EQ(stored(), "1: m0");
  views_.link().set_faults({.lost_commit_ppm = kAlways});
  EXPECT_TRUE(commit(1).starts_with("outcome_unknown: "));
  run_to_rest();
  EXPECT_EQ(stored(), "1: m0");

  snapshots_.link().set_faults({.lost_ack_ppm = kAlways});
  EXPECT_EQ(put(1), "outcome_unknown");
  EXPECT_EQ(move(0, 10), "outcome_unknown");
  EXPECT_EQ(kept(), "1 @10");
  snapshots_.link().set_faults({.lost_commit_ppm = kAlways});
  EXPECT_EQ(put(2), "outcome_unknown");
  EXPECT_EQ(move(1, 20), "outcome_unknown");
  run_to_rest();
  EXPECT_EQ(kept(), "1 @10");
}

TEST_F(FaultyStoreTest, ALateCommitLandsAfterItsCallerWasTold) {
  views_.link().set_faults({.late_ppm = kAlways, .late_us = 1'000'000});
  EXPECT_TRUE(commit(0).starts_with("outcome_unknown: "));
  EXPECT_EQ(stored(), "0:");
  run_to_rest();
  EXPECT_EQ(stored(), "1: m0");
}

TEST_F(FaultyStoreTest, ALateCommitMeetsTheGuard) {
  const StoreFaults late{.late_ppm = kAlways, .late_us = 1'000'000};
  for (std::uint64_t version = 0; version < 20; ++version) {
    views_.link().set_faults(late);
    EXPECT_TRUE(commit(version).starts_with("outcome_unknown: "));
    views_.link().set_faults({});
    commit(version);  // Committed, or the late one was first.
    run_to_rest();
    EXPECT_TRUE(stored().starts_with(std::to_string(version + 1) + ": ")) << stored();
  }
}

TEST_F(FaultyStoreTest, ALateRowOfAZombieIsRefused) {
  const StoreFaults late{.late_ppm = kAlways, .late_us = 1'000'000};
  for (std::uint64_t i = 1; i <= 20; ++i) {
    snapshots_.link().set_faults(late);
    EXPECT_EQ(put(10 * i + 3), "outcome_unknown");
    EXPECT_EQ(move(i - 1, 10 * i + 3), "outcome_unknown");
    snapshots_.link().set_faults({});
    EXPECT_EQ(put(10 * i + 5), "ok");
    const bool first = move(i - 1, 10 * i + 5) == "moved";
    run_to_rest();
    EXPECT_EQ(kept(), std::to_string(10 * i + 5) + " @" + std::to_string(10 * i + (first ? 5 : 3)));
  }
  EXPECT_GT(counters_.of("sometimes.snapshots.older_row_refused"), 5U);
  EXPECT_GT(counters_.of("sometimes.snapshots.recovery_row_refused"), 5U);
}

TEST_F(FaultyStoreTest, WhatADeadIncarnationHasSentLandsAndTellsNobody) {
  const auto pending = begin(view_port_->commit(numbered(0)));
  const auto put_pending = begin(snapshot_port_->put({snapshot("s", 1, "1")}));
  scheduler_.step();
  scheduler_.step();
  restart();
  EXPECT_EQ(stored(), "0:");
  run_to_rest();
  EXPECT_FALSE(pending->has_value());
  EXPECT_FALSE(put_pending->has_value());
  EXPECT_EQ(stored(), "1: m0");
  EXPECT_EQ(kept(), "1 @none");
}

TEST_F(FaultyStoreTest, ADeadIncarnationReadsNothing) {
  auto read = std::make_shared<int>(0);
  const auto pending = begin(view_port_->read([read](ViewReader& /*reader*/) {
    ++*read;
    return ok();
  }));
  scheduler_.step();
  restart();
  run_to_rest();
  EXPECT_EQ(*read, 0);
}

TEST_F(FaultyStoreTest, ReadsFail) {
  views_.link().set_faults({.read_ppm = kAlways});
  snapshots_.link().set_faults({.read_ppm = kAlways});
  EXPECT_EQ(run(view_port_->load(Partition{0})).error().code, Errc::unavailable);
  EXPECT_EQ(run(view_port_->read([](ViewReader& /*reader*/) { return ok(); })).error().code,
            Errc::unavailable);
  EXPECT_EQ(run(snapshot_port_->get(StreamId{"s"})).error().code, Errc::unavailable);
  EXPECT_EQ(run(snapshot_port_->recovery(Partition{0})).error().code, Errc::unavailable);
  EXPECT_EQ(run(snapshot_port_->list(Partition{0}, StreamId{}, 1)).error().code, Errc::unavailable);
  EXPECT_EQ(run(snapshot_port_->open_turns(Partition{0})).error().code, Errc::unavailable);
  EXPECT_EQ(counters_.of("fault.views.read"), 2U);
}

TEST_F(FaultyStoreTest, AFailoverTakesBackRowsAndCheckpointTogether) {
  std::vector<std::uint64_t> seen;
  std::vector<std::string> after;
  views_.on_commit([&](const Batch& batch, const MemoryViewStorage& storage) {
    seen.push_back(batch.checkpoint.version);
    EXPECT_EQ(storage.checkpoints.at(Partition{0}).version, batch.checkpoint.version);
  });
  views_.on_failover([&](const MemoryViewStorage& /*storage*/) { after.push_back(stored()); });
  for (std::uint64_t version = 0; version < 6; ++version) EXPECT_EQ(commit(version), "committed");
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(views_.failover(2), 2U);
  EXPECT_EQ(stored(), "4: m0 m1 m2 m3");
  EXPECT_EQ(after, std::vector<std::string>{"4: m0 m1 m2 m3"});
  EXPECT_EQ(commit(6), "lost race");  // Whoever remembers more finds out.
  EXPECT_EQ(commit(4), "committed");
  EXPECT_EQ(views_.failover(100), 3U);  // No more than the history holds.
  EXPECT_EQ(stored(), "2: m0 m1");
  EXPECT_EQ(commit(2), "committed");
  EXPECT_EQ(stored(), "3: m0 m1 m2");
}

// Its versions are given again after the failover: what it has loaded says nothing about them.
TEST_F(FaultyStoreTest, AWorkerThatHasLoadedBeforeAFailoverCommitsNothing) {
  EXPECT_EQ(commit(0), "committed");
  EXPECT_EQ(commit(1), "committed");
  FaultyViewStore zombie(*node_, views_);
  EXPECT_EQ(run(zombie.load(Partition{0}))->checkpoint.version, 2U);
  EXPECT_EQ(views_.failover(1), 1U);
  EXPECT_EQ(commit(1), "committed");
  EXPECT_EQ(run(zombie.commit(numbered(2))).error().code, Errc::outcome_unknown);
  EXPECT_EQ(stored(), "2: m0 m1");
  EXPECT_EQ(run(zombie.load(Partition{0}))->checkpoint.version, 2U);
  EXPECT_EQ(text_of(run(zombie.commit(numbered(2)))), "committed");
}

TEST_F(FaultyStoreTest, AFailoverBreaksWhatIsOnItsWay) {
  views_.link().set_faults({.late_ppm = kAlways, .late_us = 1'000'000});
  EXPECT_TRUE(commit(0).starts_with("outcome_unknown: "));
  views_.link().set_faults({});
  const auto pending = begin(view_port_->commit(numbered(0)));
  scheduler_.step();
  EXPECT_EQ(views_.failover(1), 0U);
  run_to_rest();
  ASSERT_TRUE(pending->has_value());
  EXPECT_TRUE(text_of(**pending).starts_with("outcome_unknown: "));
  EXPECT_EQ(stored(), "0:");
}

// The port of the fixture has no place; this one is somebody.
TEST_F(FaultyStoreTest, AHeldSaveLandsWhenItIsReleasedWhateverHappenedSince) {
  FaultySnapshotStore zombie(*node_, snapshots_, "node-1");
  snapshots_.hold_next_put("node-1");
  EXPECT_EQ(snapshots_.held(), nullptr);
  const auto pending = begin(zombie.put({snapshot("s", 1, "1")}));
  run_to_rest();
  ASSERT_NE(snapshots_.held(), nullptr);
  EXPECT_EQ(snapshots_.held()->front().sequence, Sequence{1});
  EXPECT_FALSE(pending->has_value());
  EXPECT_EQ(kept(), "none @none");
  EXPECT_EQ(put(5), "ok") << "of somebody else";
  snapshots_.release();
  run_to_rest();
  EXPECT_TRUE(pending->has_value());
  EXPECT_EQ(kept(), "5 @none") << "the older row is refused";
  EXPECT_EQ(counters_.of("sometimes.snapshots.older_row_refused"), 1U);
}

TEST_F(FaultyStoreTest, AHeldSaveDoesNotOutliveAFailover) {
  FaultySnapshotStore zombie(*node_, snapshots_, "node-1");
  snapshots_.hold_next_put("node-1");
  const auto pending = begin(zombie.put({snapshot("s", 1, "1")}));
  run_to_rest();
  EXPECT_EQ(snapshots_.failover(1), 0U);
  snapshots_.release();
  run_to_rest();
  ASSERT_TRUE(pending->has_value());
  EXPECT_EQ((*pending)->error().code, Errc::outcome_unknown);
  EXPECT_EQ(kept(), "none @none");
}

TEST_F(FaultyStoreTest, AFailoverTakesBackSnapshotsAndRecoveryRows) {
  EXPECT_EQ(put(1), "ok");
  EXPECT_EQ(move(0, 10), "moved");
  EXPECT_EQ(put(2), "ok");
  EXPECT_EQ(move(1, 20), "moved");
  EXPECT_EQ(snapshots_.failover(1), 1U);
  EXPECT_EQ(kept(), "2 @10");
  EXPECT_EQ(snapshots_.failover(2), 2U);
  EXPECT_EQ(kept(), "1 @none");
  EXPECT_EQ(snapshots_.failover(9), 1U);
  EXPECT_EQ(kept(), "none @none");
}

TEST_F(FaultyStoreTest, RowsAreLostAndDamaged) {
  EXPECT_FALSE(snapshots_.lose_snapshot(StreamId{"s"}));
  EXPECT_FALSE(snapshots_.damage_snapshot(StreamId{"s"}));
  EXPECT_EQ(put(7), "ok");
  EXPECT_EQ(move(0, 10), "moved");
  EXPECT_TRUE(snapshots_.damage_snapshot(StreamId{"s"}));
  const auto damaged = run(snapshot_port_->get(StreamId{"s"}));
  ASSERT_TRUE(damaged && *damaged);
  EXPECT_NE(xxh64((*damaged)->state), (*damaged)->hash);
  EXPECT_EQ(put(3), "ok");  // A bad row is replaced by one that has seen as much, not by an older one.
  EXPECT_NE(kept(), "3 @10");
  EXPECT_EQ(put(7), "ok");
  EXPECT_EQ(kept(), "7 @10");
  EXPECT_TRUE(snapshots_.lose_snapshot(StreamId{"s"}));
  EXPECT_EQ(kept(), "none @10");
  EXPECT_EQ(put(4), "ok");
  snapshots_.lose_all();
  EXPECT_EQ(kept(), "none @none");
}

// Whatever happens on the way, the views are the batches up to the checkpoint, one after the other.
TEST(FaultyStoreSeeds, ACommitterThatLoadsAgainAfterEveryDoubtGetsEverythingInOnce) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Scheduler scheduler(seed);
    Counters counters;
    SimEnv world(scheduler, "store", 1);
    ViewDatabase views(scheduler.choices(), world, counters, std::make_shared<MemoryViewStorage>(), 5);
    views.link().set_faults({.unreachable_ppm = 100'000,
                             .aborted_ppm = 50'000,
                             .serialization_ppm = 100'000,
                             .lost_ack_ppm = 100'000,
                             .lost_commit_ppm = 100'000,
                             .late_ppm = 100'000,
                             .read_ppm = 100'000,
                             .delay_us = 1000,
                             .late_us = 10'000});
    SimEnv node(scheduler, "node", 2);
    FaultyViewStore store(node, views);
    struct Committer {
      static Task<> run(FaultyViewStore* to) {
        for (;;) {
          const auto loaded = co_await to->load(Partition{0});
          if (!loaded) continue;
          const std::uint64_t version = loaded->checkpoint.version;
          if (version == 40) co_return ok();
          Batch batch = batch_of(0, version, {message("m" + std::to_string(version), "a1", at(version + 1))});
          const auto outcome = co_await to->commit(std::move(batch));
          if (!outcome) EXPECT_NE(outcome.error().code, Errc::corrupt);
        }
      }
    };
    node.spawn("committer", Committer::run(&store));
    for (int i = 0; i < 3; ++i)
      world.call_at(world.now() + (i + 1) * 5 * kMs, [&views] { views.failover(2); });
    while (scheduler.step()) {
    }
    MemoryViewReader reader{*views.storage()};
    EXPECT_GE(reader.checkpoint(Partition{0})->version, 40U);
    EXPECT_EQ(*reader.count({.view = View::messages}),
              static_cast<std::int64_t>(reader.checkpoint(Partition{0})->version));
    node.kill();
  }
}

}  // namespace
}  // namespace varve::test
