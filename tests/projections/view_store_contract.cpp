#include "tests/projections/view_store_contract.h"

#include <algorithm>
#include <limits>

namespace varve::test {

// ---- checkpoints ----

TEST_P(ViewStoreContract, ANewStoreHasNoCheckpointAndNoRows) {
  EXPECT_EQ(load().checkpoint, Checkpoint{});
  EXPECT_TRUE(load().parked.empty());
  for (const View view : all_views()) EXPECT_EQ(versions(view), "");
}

TEST_P(ViewStoreContract, ACheckpointComesBackAsItWasWritten) {
  Batch batch = batch_of(3, 0, {message("m1", "a1", at(5, 0, 3))});
  batch.checkpoint.next = Offset{6};
  batch.checkpoint.admission = {Epoch{2}, Index{7}, "a 'cluster'"};
  batch.checkpoint.at = WallTime{-5};
  batch.checkpoint.mark = {false, Offset{5}, 0xfedc'ba98'7654'3210U};
  add_changes(batch.checkpoint.digests, batch.partition, batch.changes);
  const Checkpoint expected = batch.checkpoint;
  ASSERT_EQ(commit(std::move(batch)), "committed");
  EXPECT_EQ(load(3).checkpoint, expected);
  EXPECT_EQ(load(0).checkpoint, Checkpoint{});
}

TEST_P(ViewStoreContract, AStaleVersionLosesTheRaceAndWritesNothing) {
  ASSERT_EQ(commit(batch_of(0, 0, {message("m1", "a1", at(1))})), "committed");
  EXPECT_EQ(commit(batch_of(0, 0, {message("m2", "a1", at(2))})), "lost race");
  EXPECT_EQ(commit(batch_of(0, 2, {message("m2", "a1", at(2))})), "lost race");
  EXPECT_EQ(commit(batch_of(1, 4, {message("m2", "a1", at(2, 0, 1))})), "lost race");
  EXPECT_EQ(versions(View::messages), "m1@1");
  EXPECT_EQ(load(0).checkpoint.version, 1U);
  EXPECT_EQ(load(1).checkpoint.version, 0U);
  EXPECT_EQ(commit(batch_of(0, 1, {message("m2", "a1", at(2))})), "committed");
}

// A failover took a commit back, and another worker made the same version of fewer records.
TEST_P(ViewStoreContract, ABatchFromAnotherPlaceLosesTheRaceThoughTheVersionFits) {
  Batch other = batch_of(0, 0, {message("m1", "a1", at(1))});
  other.checkpoint.next = Offset{6};
  ASSERT_EQ(commit(std::move(other)), "committed");
  EXPECT_EQ(commit(batch_of(0, 1, {message("m2", "a1", at(11))})), "lost race");
  EXPECT_EQ(versions(View::messages), "m1@1");
  Batch follows = batch_of(0, 1, {message("m2", "a1", at(11))});
  follows.expected_next = Offset{6};
  EXPECT_EQ(commit(std::move(follows)), "committed");
}

// A batch that closes nothing cannot tell a stale version by its rows: only the compare-and-set can.
TEST_P(ViewStoreContract, TheRaceIsDecidedBeforeTheRows) {
  ASSERT_EQ(commit({tag("a1", "red", at(1))}), "committed");
  EXPECT_EQ(commit(batch_of(0, 0, {close(View::tags, {text("no"), text("such")}, 2)})), "lost race");
}

TEST_P(ViewStoreContract, OfTwoCommitsOfOneVersionOneWins) {
  std::vector<Batch> batches;
  batches.push_back(batch_of(0, 0, {message("m1", "a1", at(1))}));
  batches.push_back(batch_of(0, 0, {message("m2", "a1", at(1))}));
  const auto outcomes = run(*env_, commit_together(env_.get(), store_.get(), std::move(batches)));
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(std::count(outcomes->begin(), outcomes->end(), "committed"), 1);
  EXPECT_EQ(std::count(outcomes->begin(), outcomes->end(), "lost race"), 1);
  EXPECT_EQ(count({.view = View::messages}), 1);
}

TEST_P(ViewStoreContract, CommitsThatArriveTogetherHaveOutcomesOfTheirOwn) {
  std::vector<Batch> batches;
  for (std::uint32_t partition = 0; partition < 6; ++partition) {
    batches.push_back(
        batch_of(partition, 0, {message("m" + std::to_string(partition), "a", at(1, 0, partition))}));
  }
  batches[2].changes.emplace_back(close(View::tags, {text("a"), text("none")}, 1));
  batches[4] = batch_of(4, 7, {message("m4", "a", at(1, 0, 4))});
  const auto outcomes = run(*env_, commit_together(env_.get(), store_.get(), std::move(batches)));
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(*outcomes, (std::vector<std::string>{
                           "committed", "committed",
                           "corrupt: closing of tags agent_id=a tag=none at 2:1 met 0 open rows, not 1",
                           "committed", "lost race", "committed"}));
  EXPECT_EQ(ids({.view = View::messages, .order_by = {0}}), "m0 m1 m3 m5");
  EXPECT_EQ(load(2).checkpoint.version, 0U);
  EXPECT_EQ(load(5).checkpoint.version, 1U);
}

// ---- versions ----

TEST_P(ViewStoreContract, OpensAndClosesInOneBatch) {
  ASSERT_EQ(commit({agent("a1", "old", 1, at(3)), close(View::agents, {text("a1")}, 5),
                    agent("a1", "new", 1, at(5)), tag("a1", "red", at(5, 1))}),
            "committed");
  EXPECT_EQ(versions(View::agents), "a1@3-5 a1@5");
  ASSERT_EQ(commit({close(View::agents, {text("a1")}, 9)}), "committed");
  EXPECT_EQ(versions(View::agents), "a1@3-5 a1@5-9");
  EXPECT_EQ(ids({.view = View::agents}), "");
  EXPECT_EQ(ids({.view = View::tags}), "a1");
  ASSERT_EQ(commit({agent("a1", "again", 1, at(11))}), "committed");
  EXPECT_EQ(versions(View::agents), "a1@3-5 a1@5-9 a1@11");
}

TEST_P(ViewStoreContract, ARowComesBackAsItWasWritten) {
  RowInsert insert = message("m1", "a1", at(7, 2 * kRowsPerEventMax + 3, 2));
  insert.row.values[messages::is_error] = number(-1);
  insert.row.values[messages::run_id] = text("");
  insert.row.from.at = WallTime{std::numeric_limits<std::int64_t>::max()};
  Row expected = insert.row;
  ASSERT_EQ(commit({insert}, 2), "committed");
  EXPECT_EQ(*select({.view = View::messages}), std::vector<Row>{expected});

  ASSERT_EQ(commit({close(View::messages, {text("m1")}, 9)}, 2), "committed");
  expected.to = RowTo{Offset{9}, WallTime{9'000'000}};
  EXPECT_EQ(*select({.view = View::messages, .open_only = false}), std::vector<Row>{expected});
}

TEST_P(ViewStoreContract, ARowThatIsInsertedClosedIsClosed) {
  RowInsert closed = agent("a1", "was", 1, at(3));
  closed.row.to = RowTo{Offset{4}, WallTime{4}};
  ASSERT_EQ(commit({closed, agent("a1", "is", 1, at(4))}), "committed");
  EXPECT_EQ(versions(View::agents), "a1@3-4 a1@4");
}

TEST_P(ViewStoreContract, EveryViewTakesARow) {
  std::vector<RowChange> changes;
  for (const View view : all_views()) changes.emplace_back(RowInsert{view, blank(view, at(1))});
  ASSERT_EQ(commit(changes), "committed");
  for (const View view : all_views()) {
    const auto rows = select({.view = view});
    ASSERT_TRUE(rows);
    EXPECT_EQ(*rows, std::vector<Row>{blank(view, at(1))}) << schema_of(view).name;
  }
  changes.clear();
  for (const View view : all_views()) {
    const Row row = blank(view, at(1));
    changes.emplace_back(close(
        view,
        {row.values.begin(), row.values.begin() + static_cast<std::ptrdiff_t>(schema_of(view).key_columns)},
        2));
  }
  ASSERT_EQ(commit(changes), "committed");
  for (const View view : all_views()) EXPECT_EQ(count({.view = view}), 0) << schema_of(view).name;
}

TEST_P(ViewStoreContract, RefusesToCloseWhatIsNotOpenAndWritesNothing) {
  ASSERT_EQ(commit({message("m1", "a1", at(1)), message("m2", "a1", at(2))}), "committed");
  ASSERT_EQ(commit({close(View::messages, {text("m1")}, 3)}), "committed");
  Batch batch = batch_of(0, 2,
                         {close(View::messages, {text("m2")}, 4), message("m3", "a1", at(4)),
                          close(View::messages, {text("m3")}, 4), agent("a1", "a", 1, at(4)),
                          close(View::messages, {text("m1")}, 4)});
  batch.quarantined = {{StreamId{"agent-x"}, Partition{0}, Offset{4}, 0, "T", "why", WallTime{1}}};
  batch.times = TimesRow{Offset{4}, Offset{4}, WallTime{1}, WallTime{1}};
  EXPECT_EQ(commit(batch), "corrupt: closing of messages id=m1 at 0:4 met 0 open rows, not 1");
  EXPECT_EQ(versions(View::messages), "m1@1-3 m2@2");
  EXPECT_EQ(ids({.view = View::messages, .where = {equal(messages::agent_id, text("a1"))}}), "m2");
  EXPECT_EQ(versions(View::agents), "");
  EXPECT_TRUE(quarantine().empty());
  EXPECT_TRUE(world_->times(Partition{0}).empty());
  EXPECT_EQ(load().checkpoint.version, 2U);
  EXPECT_EQ(commit({close(View::messages, {text("m2")}, 4)}), "committed");
}

TEST_P(ViewStoreContract, RefusesToCloseARowOfAnotherPartition) {
  ASSERT_EQ(commit({message("m1", "a1", at(1, 0, 1))}, 1), "committed");
  EXPECT_EQ(commit({close(View::messages, {text("m1")}, 3)}, 2),
            "corrupt: closing of messages id=m1 at 2:3 met 0 open rows, not 1");
  EXPECT_EQ(versions(View::messages), "m1@1");
}

TEST_P(ViewStoreContract, RefusesASecondOpenVersion) {
  ASSERT_EQ(commit({tag("a1", "red", at(1))}), "committed");
  EXPECT_EQ(commit({tag("a2", "red", at(2)), tag("a1", "red", at(2, 1))}),
            "corrupt: insert of tags agent_id=a1 tag=red from 0:2: the entity has an open version already");
  EXPECT_EQ(versions(View::tags), "a1@1");
  EXPECT_EQ(commit({message("m1", "a1", at(2))}), "committed");
  EXPECT_EQ(commit({message("m2", "a1", at(3)), message("m1", "a1", at(3, 1))}),
            "corrupt: insert of messages id=m1 from 0:3: the entity has an open version already");
  EXPECT_EQ(versions(View::messages), "m1@2");
  EXPECT_EQ(commit({close(View::messages, {text("m1")}, 3), message("m1", "a1", at(3))}), "committed");
  EXPECT_EQ(versions(View::messages), "m1@2-3 m1@3");
}

TEST_P(ViewStoreContract, RefusesTwoVersionsAtOnePosition) {
  ASSERT_EQ(commit({message("m1", "a1", at(1)), close(View::messages, {text("m1")}, 1)}), "committed");
  EXPECT_EQ(commit({message("m1", "a1", at(1))}).substr(0, 39), "corrupt: insert of messages id=m1 from ");
  EXPECT_EQ(versions(View::messages), "m1@1-1");
}

// ---- quarantine and times ----

TEST_P(ViewStoreContract, ListsWhatIsParked) {
  const QuarantineRow poison{StreamId{"agent-b"}, Partition{0},   Offset{7},  1,
                             "AgentRenamed",      "unknown type", WallTime{9}};
  const QuarantineRow behind{StreamId{"agent-b"}, Partition{0}, Offset{9}, -1, "", "waits", WallTime{10}};
  const QuarantineRow other{StreamId{"agent-a"}, Partition{0}, Offset{8}, 0, "T", "it's broken", WallTime{9}};
  const QuarantineRow elsewhere{StreamId{"agent-c"}, Partition{1}, Offset{2}, 0, "T", "why", WallTime{1}};
  Batch first = batch_of(0, 0, {});
  first.quarantined = {poison, other};
  ASSERT_EQ(commit(first), "committed");
  Batch second = batch_of(0, 1, {message("m1", "a1", at(8))});
  second.quarantined = {behind};
  ASSERT_EQ(commit(second), "committed");
  Batch third = batch_of(1, 0, {});
  third.quarantined = {elsewhere};
  ASSERT_EQ(commit(third), "committed");

  EXPECT_EQ(quarantine(), (std::vector<QuarantineRow>{poison, other, behind, elsewhere}));
  EXPECT_EQ(load(0).parked, (std::vector<StreamId>{StreamId{"agent-a"}, StreamId{"agent-b"}}));
  EXPECT_EQ(load(1).parked, (std::vector<StreamId>{StreamId{"agent-c"}}));
  EXPECT_TRUE(load(2).parked.empty());

  Batch again = batch_of(0, 2, {message("m2", "a1", at(9))});
  again.quarantined = {poison};
  EXPECT_EQ(commit(again), "corrupt: quarantine of agent-b at 0:7: it is there already");
  EXPECT_EQ(versions(View::messages), "m1@8");
}

TEST_P(ViewStoreContract, ReleasesAStreamInTheTransactionOfItsRows) {
  const QuarantineRow poison{StreamId{"agent-b"}, Partition{0}, Offset{7}, 1, "T", "why", WallTime{7}};
  const QuarantineRow behind{StreamId{"agent-b"}, Partition{0}, Offset{9}, -1, "", "waits", WallTime{9}};
  const QuarantineRow other{StreamId{"agent-a"}, Partition{0}, Offset{8}, 0, "T", "why", WallTime{8}};
  const QuarantineRow elsewhere{StreamId{"agent-b"}, Partition{1}, Offset{7}, 0, "T", "why", WallTime{7}};
  Batch parked = batch_of(0, 0, {});
  parked.quarantined = {poison, other, behind};
  ASSERT_EQ(commit(parked), "committed");
  Batch parked_elsewhere = batch_of(1, 0, {});
  parked_elsewhere.quarantined = {elsewhere};
  ASSERT_EQ(commit(parked_elsewhere), "committed");
  EXPECT_EQ(load(0).quarantine, (std::vector<QuarantineRow>{poison, other, behind}));

  // A stale version, and rows that do not fit, leave it parked.
  Batch release = batch_of(0, 4, {message("m1", "a1", at(9))});
  release.released = {StreamId{"agent-b"}};
  EXPECT_EQ(commit(release), "lost race");
  release = batch_of(0, 1, {close(View::messages, {text("none")}, 9)});
  release.released = {StreamId{"agent-b"}};
  EXPECT_EQ(commit(release), "corrupt: closing of messages id=none at 0:9 met 0 open rows, not 1");
  EXPECT_EQ(load(0).quarantine, (std::vector<QuarantineRow>{poison, other, behind}));

  // What it still waits for may be a row that was there before.
  release = batch_of(0, 1, {message("m1", "a1", at(9))});
  release.released = {StreamId{"agent-b"}, StreamId{"agent-nobody"}};
  release.quarantined = {behind};
  ASSERT_EQ(commit(release), "committed");
  EXPECT_EQ(load(0).quarantine, (std::vector<QuarantineRow>{other, behind}));
  release = batch_of(0, 2, {});
  release.released = {StreamId{"agent-b"}};
  ASSERT_EQ(commit(release), "committed");
  EXPECT_EQ(load(0).parked, std::vector<StreamId>{StreamId{"agent-a"}});
  EXPECT_EQ(quarantine(), (std::vector<QuarantineRow>{other, elsewhere}));
  EXPECT_EQ(versions(View::messages), "m1@9");
  restart();
  EXPECT_EQ(quarantine(), (std::vector<QuarantineRow>{other, elsewhere}));
}

TEST_P(ViewStoreContract, KeepsTheTimesOfEachBatch) {
  Batch first = batch_of(1, 0, {});
  first.times = TimesRow{Offset{0}, Offset{4}, WallTime{10}, WallTime{20}};
  ASSERT_EQ(commit(first), "committed");
  Batch second = batch_of(1, 1, {});
  second.times = TimesRow{Offset{5}, Offset{9}, WallTime{20}, WallTime{21}};
  ASSERT_EQ(commit(second), "committed");
  ASSERT_EQ(commit(batch_of(1, 2, {})), "committed");

  const auto times = world_->times(Partition{1});
  ASSERT_EQ(times.size(), 2U);
  EXPECT_EQ(times[0].first, Offset{0});
  EXPECT_EQ(times[0].last, Offset{4});
  EXPECT_EQ(times[1].first_at, WallTime{20});
  EXPECT_EQ(times[1].last_at, WallTime{21});
  EXPECT_TRUE(world_->times(Partition{0}).empty());
}

// ---- reading ----

TEST_P(ViewStoreContract, PassesOnTheErrorOfARead) {
  const Status status = read([](ViewReader&) -> Status { return Error{Errc::not_found, "no such agent"}; });
  ASSERT_FALSE(status);
  EXPECT_EQ(to_string(status.error()), "not_found: no such agent");
  EXPECT_EQ(commit({message("m1", "a1", at(1))}), "committed");
  EXPECT_EQ(ids({.view = View::messages}), "m1");
}

namespace {

struct Moment {
  std::uint64_t version = 0;
  std::int64_t rows = 0;
  std::uint64_t version_after = 0;
};

Task<> commit_series(ViewStore* store, std::uint64_t batches) {
  for (std::uint64_t version = 0; version < batches; ++version) {
    Batch batch = batch_of(0, version, {message("m" + std::to_string(version), "a1", at(version))});
    const auto outcome = co_await store->commit(std::move(batch));
    if (text_of(outcome) != "committed") co_return Error{Errc::conflict, text_of(outcome)};
  }
  co_return ok();
}

Task<std::vector<Moment>> read_until(ViewStore* store, std::uint64_t version) {
  auto moments = std::make_shared<std::vector<Moment>>();
  while (moments->empty() || moments->back().version < version) {
    std::function<Status(ViewReader&)> work = [moments](ViewReader& reader) -> Status {
      const auto before = reader.checkpoint(Partition{0});
      const auto rows = reader.count({.view = View::messages});
      const auto after = reader.checkpoint(Partition{0});
      if (!before || !rows || !after) return Error{Errc::unavailable, "a read failed"};
      moments->push_back({before->version, *rows, after->version});
      return ok();
    };
    const auto status = co_await store->read(std::move(work));
    if (!status) co_return status.error();
  }
  co_return *moments;
}

}  // namespace

TEST_P(ViewStoreContract, AReadSeesOneMomentHoweverManyCommitsPass) {
  constexpr std::uint64_t kBatches = 60;
  env_->spawn("commits", commit_series(store_.get(), kBatches));
  const auto moments = run(*env_, read_until(store_.get(), kBatches));
  ASSERT_TRUE(moments) << to_string(moments.error());
  for (const Moment& moment : *moments) {
    EXPECT_EQ(moment.version, static_cast<std::uint64_t>(moment.rows));
    EXPECT_EQ(moment.version, moment.version_after);
  }
}

TEST_P(ViewStoreContract, ReopeningKeepsEverything) {
  Batch batch = batch_of(
      0, 0, {agent("a1", "x", 1, at(1)), close(View::agents, {text("a1")}, 2), agent("a1", "y", 1, at(2))});
  batch.quarantined = {{StreamId{"agent-x"}, Partition{0}, Offset{2}, 0, "T", "why", WallTime{1}}};
  batch.times = TimesRow{Offset{1}, Offset{2}, WallTime{1}, WallTime{2}};
  add_changes(batch.checkpoint.digests, batch.partition, batch.changes);
  ASSERT_EQ(commit(batch), "committed");
  const LoadedCheckpoint before = load();
  restart();
  EXPECT_EQ(load().checkpoint, before.checkpoint);
  EXPECT_EQ(load().parked, before.parked);
  EXPECT_EQ(versions(View::agents), "a1@1-2 a1@2");
  EXPECT_EQ(quarantine(), batch.quarantined);
  EXPECT_EQ(world_->times(Partition{0}).size(), 1U);
  EXPECT_EQ(commit({close(View::agents, {text("a1")}, 5)}), "committed");
}

}  // namespace varve::test
