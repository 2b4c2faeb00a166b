// The oracles on worlds made by hand: a clean one passes, and every kind of broken one is named.
#include <gtest/gtest.h>

#include <chrono>
#include <iostream>

#include "projections/digest.h"
#include "projections/quarantine.h"
#include "tests/sim/oracle_stage.h"

namespace varve::sim {
namespace {

// ---- the clean world ----

TEST(ClusterOraclesTest, ACleanWorldIsCleanAndAtRest) {
  Owned stage;
  EXPECT_EQ("partition 1 has no owner that serves", stage.oracles->pending().value_or(""));
  stage.oracles->give_up(Partition{1});  // Nobody plays that part.
  EXPECT_EQ("the views of partition 0 are behind: next is 0, the last record is 4",
            stage.oracles->pending().value_or(""));
  stage.fold();
  stage.oracles->acknowledged({{kP, stage.created}, {kP, stage.changed}});
  stage.snapshots.snapshots[stage.block] = stage.snapshot_of(stage.block);
  stage.snapshots.recovery[kP] = stage.recovery_to_the_end(1);
  stage.residents.push_back({"node-1", kP, Offset{5}, [&stage](const StreamId& stream) {
                               return std::optional{stage.state_of(stream)};
                             }});
  stage.oracles->effect("call-1");
  stage.oracles->at_rest();
  EXPECT_EQ("", stage.broken()) << stage.first();
  EXPECT_EQ(std::nullopt, stage.oracles->pending());
}

TEST(ClusterOraclesTest, AMoveBetweenTwoOwnersIsClean) {
  Owned stage;
  const Commit late = stage.commit(3, 3, 3);
  stage.send(kAnn, late);  // Lands too late.
  stage.start(kBob);
  stage.claim(kBob, Epoch{2});
  stage.write(kBob, Stage::commit_of(kBob, Epoch{2}, Index{1}, stage.block, Sequence{3}, 4));
  stage.land(late);
  stage.read_all(kAnn);
  stage.tell(kAnn, stage.line(Kind::never, Epoch{1}, Index{3}, command(3)));
  stage.tell(kAnn, stage.line(Kind::stop, Epoch{1}));
  stage.read_all(kBob);
  stage.fold();
  stage.oracles->at_rest();
  EXPECT_EQ("", stage.broken()) << stage.first();
}

TEST(ClusterOraclesTest, AHoleThatIsClosedByTheNextCommitIsClean) {
  Owned stage;
  stage.send(kAnn, stage.commit(3, 3, 3));
  stage.tell(kAnn, stage.line(Kind::not_written, Epoch{1}, Index{3}, command(3)));
  stage.tell(kAnn, stage.line(Kind::never, Epoch{1}, Index{3}, command(3)));
  stage.write(kAnn, stage.commit(3, 3, 4));
  stage.send(kAnn, stage.commit(4, 4, 5));
  stage.tell(kAnn, stage.line(Kind::not_written, Epoch{1}, Index{4}, command(5)));
  stage.tell(kAnn, stage.line(Kind::never, Epoch{1}, Index{4}, command(5)));
  stage.write(kAnn, stage.commit(4, 4, 5));  // The same command again, and the same n.
  EXPECT_EQ("", stage.broken()) << stage.first();
}

TEST(ClusterOraclesTest, LookingAtAnUnchangedWorldCostsNothing) {
  Owned stage;
  stage.fold();
  constexpr int kTimes = 100'000;
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < kTimes; ++i) stage.oracles->after_step();
  const auto took = std::chrono::steady_clock::now() - begun;
  const auto each = std::chrono::duration_cast<std::chrono::nanoseconds>(took).count() / kTimes;
  RecordProperty("nanoseconds", static_cast<int>(each));
  std::cout << "after_step() on an unchanged world: " << each << " ns\n";
  EXPECT_LT(each, 20'000) << "generous: this also runs with sanitizers";
}

// ---- the log ----

TEST(LogOracleTest, ALogThatBecomesShorterBreaksI1) {
  Owned stage;
  stage.log.in(kP).pop_back();
  stage.oracles->after_step();
  EXPECT_EQ("I1", stage.broken());
}

TEST(LogOracleTest, ARecordThatChangesBreaksI1) {
  Owned stage;
  stage.log.in(kP)[1].bytes = stage.log.in(kP)[2].bytes;
  stage.oracles->after_step();
  EXPECT_EQ("", stage.broken()) << "not looked for after every step";
  stage.fold();
  stage.oracles->at_rest();
  EXPECT_NE(std::string::npos, stage.broken().find("I1")) << stage.broken();
}

TEST(LogOracleTest, AnAnswerForWhatDoesNotCountBreaksI1) {
  Owned stage;
  stage.oracles->acknowledged({{kP, Offset{77}}});
  EXPECT_EQ("acknowledged at 0:77, where no record counts", stage.first());
  Owned fenced;
  const Offset at = fenced.land(Stage::commit_of(kBob, Epoch{7}, Index{1}, fenced.block, Sequence{3}, 9));
  fenced.oracles->acknowledged({{kP, at}});
  EXPECT_EQ("I1", fenced.broken());
}

TEST(LogOracleTest, ACommandThatTakesEffectTwiceBreaksI2) {
  Owned stage;
  stage.write(kAnn, stage.commit(3, 3, 2));
  EXPECT_EQ("I2", stage.broken());
}

TEST(LogOracleTest, ACommandThatIsForgottenMayTakeEffectAgainAndACreationNever) {
  Owned stage;
  for (int i = 3; i <= 259; ++i) {
    stage.write(kAnn, stage.commit(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i), i));
  }
  stage.write(kAnn, stage.commit(260, 260, 2));
  EXPECT_EQ("", stage.broken()) << stage.first();
  stage.write(kAnn, stage.commit(261, 261, 1));
  EXPECT_EQ("I2", stage.broken());
}

TEST(LogOracleTest, ACommandThatCreatesTwoThingsBreaksI2) {
  Owned stage;
  stage.write(kAnn, Stage::commit_of(kAnn, Epoch{1}, Index{3}, block_in(kP, 2), Sequence{1}, 1));
  EXPECT_EQ("I2", stage.broken());
}

TEST(LogOracleTest, AJumpInAStreamBreaksI3) {
  Owned stage;
  stage.write(kAnn, stage.commit(3, 5, 3));
  EXPECT_EQ("DecidedOn I3", stage.broken());
}

// ---- views ----

TEST(ViewOracleTest, ViewsThatAreNotTheFoldBreakI4) {
  Owned stage;
  stage.storage.checkpoints[kP];
  PartitionFold fold(kP, Checkpoint{}, {});
  for (const LogRecord& record : stage.log.in(kP)) EXPECT_TRUE(fold.take(record).has_value());
  Batch batch = fold.take_batch();
  auto& insert = std::get<RowInsert>(batch.changes.back());
  insert.row.values[blocks::value] = std::string("forged");
  batch.checkpoint.digests = {};
  add_changes(batch.checkpoint.digests, kP, batch.changes);
  ASSERT_TRUE(apply_batch(stage.storage, batch).has_value());
  stage.oracles->after_step();
  EXPECT_EQ("I4", stage.broken());
}

TEST(ViewOracleTest, RowsWithoutTheirCheckpointBreakI5) {
  Owned stage;
  stage.fold();
  Row row = stage.storage.tables[static_cast<std::size_t>(View::blocks)].rows().front();
  row.values[blocks::id] = block_in(kP, 5).value();
  ASSERT_TRUE(stage.storage.tables[static_cast<std::size_t>(View::blocks)].insert(row));
  stage.oracles->after_step();
  EXPECT_EQ("I5", stage.broken());
}

TEST(ViewOracleTest, ACheckpointWithoutItsRowsBreaksI5) {
  Owned stage;
  PartitionFold fold(kP, Checkpoint{}, {});
  for (const LogRecord& record : stage.log.in(kP)) EXPECT_TRUE(fold.take(record).has_value());
  stage.storage.checkpoints[kP] = fold.take_batch().checkpoint;
  stage.oracles->after_step();
  EXPECT_EQ("I5", stage.broken());
}

TEST(ViewOracleTest, AChangedRowBreaksI5AtRest) {
  Owned stage;
  stage.fold();
  const Row row = stage.storage.tables[static_cast<std::size_t>(View::blocks)].rows().back();
  const auto number = stage.storage.tables[static_cast<std::size_t>(View::blocks)].open_row({row.values[0]});
  ASSERT_TRUE(number.has_value());
  // The closing of an open row is not counted, so only a look at the rows finds it.
  ASSERT_TRUE(stage.storage.tables[static_cast<std::size_t>(View::blocks)].close(
      {row.values[0]}, kP, RowTo{Offset{9}, WallTime{9}}));
  stage.oracles->after_step();
  EXPECT_EQ("", stage.broken());
  stage.oracles->at_rest();
  EXPECT_EQ("I4 I5", stage.broken());
}

TEST(ViewOracleTest, ACheckpointWithAnotherAdmissionStateBreaksI4) {
  Owned stage;
  PartitionFold fold(kP, Checkpoint{}, {});
  for (const LogRecord& record : stage.log.in(kP)) EXPECT_TRUE(fold.take(record).has_value());
  Batch batch = fold.take_batch();
  batch.checkpoint.admission.index = Index{};
  ASSERT_TRUE(apply_batch(stage.storage, batch).has_value());
  stage.oracles->after_step();
  EXPECT_EQ("I4", stage.broken());
  EXPECT_EQ(
      "partition 0: the checkpoint's admission state is epoch 1, index 0; that of a reader from the start "
      "is epoch 1, index 2",
      stage.first());
}

TEST(ViewOracleTest, ACheckpointThatGoesBackBreaksI5UnlessItIsDeclared) {
  const auto go_back = [](Owned& stage, bool declared) {
    stage.fold();
    const MemoryViewStorage before = stage.storage;
    stage.write(kAnn, stage.commit(3, 3, 3));
    stage.fold();
    stage.storage = before;
    if (declared) stage.oracles->views_went_back();
    stage.oracles->after_step();
  };
  Owned secret;
  go_back(secret, false);
  EXPECT_EQ("I5", secret.broken());
  Owned declared;
  go_back(declared, true);
  EXPECT_EQ("", declared.broken()) << declared.first();
  declared.fold();
  declared.oracles->at_rest();
  EXPECT_EQ("", declared.broken()) << declared.first();
}

TEST(ViewOracleTest, ARowOfAnotherPartitionBreaksI12) {
  Owned stage;
  stage.write(kAnn, Stage::commit_of(kAnn, Epoch{1}, Index{3}, block_in(Partition{1}, 3), Sequence{1}, 3));
  stage.fold();
  EXPECT_EQ("I12", stage.broken());
}

TEST(ViewOracleTest, AParkedStreamIsComparedAsItIsParked) {
  Owned stage;
  Commit poison = stage.commit(3, 3, 3);
  poison.parts.front().events = {UnreadableEvent{"BlockPainted", 1, "unknown type", "{}"}};
  stage.write(kAnn, poison);
  stage.write(kAnn, Stage::commit_of(kAnn, Epoch{1}, Index{4}, block_in(kP, 2), Sequence{1}, 4));
  PartitionFold fold(kP, Checkpoint{}, {});
  for (const LogRecord& record : stage.log.in(kP)) EXPECT_TRUE(fold.take(record).has_value());
  ASSERT_TRUE(apply_batch(stage.storage, fold.take_batch()).has_value());
  ASSERT_EQ(1U, stage.storage.quarantine.size());
  stage.oracles->after_step();
  stage.oracles->at_rest();
  EXPECT_EQ("", stage.broken()) << stage.first();
}

TEST(ViewOracleTest, AStreamThatARulingReleasesIsComparedAsEverybodyFoldsIt) {
  for (const bool forged : {false, true}) {
    Owned stage;
    Commit poison = stage.commit(3, 3, 3);
    poison.parts.front().events = {UnreadableEvent{"BlockPainted", 1, "unknown type", "{}"}};
    const Offset bad = stage.write(kAnn, poison);
    stage.write(kAnn, stage.commit(4, 4, 4));
    PartitionFold fold(kP, Checkpoint{}, {});
    for (const LogRecord& record : stage.log.in(kP)) EXPECT_TRUE(fold.take(record).has_value());
    ASSERT_TRUE(apply_batch(stage.storage, fold.take_batch()).has_value());
    stage.oracles->after_step();

    stage.land(Ruling{Epoch{1}, Index{5}, "node-1", WallTime{2}, stage.block, bad, 0});
    const std::vector<LogRecord>& records = stage.log.in(kP);
    ASSERT_EQ(2U, fold.released_by(records.back()).size());
    ASSERT_TRUE(fold.take_ruling(records.back(), {records[3], records[4]}).has_value());
    fold.fit(*open_rows(stage.views.reader(), kP, fold.to_fit()));
    Batch batch = fold.take_batch();
    if (forged) {
      std::get<RowInsert>(batch.changes.back()).row.values[blocks::value] = std::string("forged");
      batch.checkpoint.digests = stage.storage.checkpoints[kP].digests;
      add_changes(batch.checkpoint.digests, kP, batch.changes);
    }
    ASSERT_TRUE(apply_batch(stage.storage, batch).has_value());
    stage.snapshots.snapshots[stage.block] = stage.snapshot_of(stage.block);  // As it was before the ruling.
    stage.oracles->after_step();
    EXPECT_EQ(forged ? "I4" : "", stage.broken()) << stage.first();
    stage.oracles->at_rest();
    EXPECT_EQ(forged ? "I4" : "", stage.broken()) << stage.first();
  }
}

// ---- states and effects ----

TEST(StateOracleTest, ASnapshotThatTheLogDoesNotGiveBreaksI7) {
  Owned stage;
  SnapshotRow row = stage.snapshot_of(stage.block);
  row.sequence = Sequence{1};
  stage.snapshots.snapshots[stage.block] = row;
  stage.oracles->at_rest();
  EXPECT_NE(std::string::npos, stage.broken().find("I7"));
  Owned damaged;
  row = damaged.snapshot_of(damaged.block);
  row.state += " ";
  damaged.snapshots.snapshots[damaged.block] = row;
  damaged.fold();
  damaged.oracles->at_rest();
  EXPECT_EQ("", damaged.broken()) << "its hash tells: " << damaged.first();
}

TEST(StateOracleTest, ARecoveryRowWithoutItsSnapshotsBreaksI7) {
  Owned stage;
  stage.fold();
  stage.snapshots.recovery[kP] = stage.recovery_to_the_end(1);
  stage.oracles->at_rest();
  EXPECT_EQ("I7", stage.broken());
  Owned miscounted;
  miscounted.fold();
  miscounted.snapshots.snapshots[miscounted.block] = miscounted.snapshot_of(miscounted.block);
  miscounted.snapshots.recovery[kP] = miscounted.recovery_to_the_end(2);
  miscounted.oracles->at_rest();
  EXPECT_EQ("the recovery row of partition 0 counts 2 streams; the log has 1", miscounted.first());
}

TEST(StateOracleTest, AnActorThatLacksWhatItsOwnerHasReadBreaksI7) {
  Owned stage;
  stage.fold();
  const ActorState old = stage.state_of(stage.block);
  stage.write(kAnn, stage.commit(3, 3, 3));
  stage.fold();
  const auto peek = [old](const StreamId&) { return std::optional{old}; };
  stage.residents.push_back({"node-1", kP, Offset{5}, peek});
  stage.oracles->at_rest();
  EXPECT_EQ("", stage.broken()) << "as far as that owner has read: " << stage.first();
  stage.residents.front().next = Offset{7};
  stage.oracles->at_rest();
  EXPECT_EQ("I7", stage.broken());
}

TEST(EffectsTest, AnEffectThatIsAttemptedTwiceBreaksI8) {
  Stage stage;
  stage.oracles->effect("run-1 call-1");
  stage.oracles->effect("run-1 call-2");
  EXPECT_EQ("", stage.broken());
  stage.oracles->effect("run-1 call-1");
  EXPECT_EQ("I8", stage.broken());
}

TEST(EffectsTest, WhatClientsSawIsJudgedAtRest) {
  Stage stage;
  const OpId list = stage.history.begin(1, op::ListAgents{});
  Outcome outcome;
  outcome.answer = Answer::ok;
  outcome.seen.ids = Texts{"agent-ghost"};
  stage.history.end(list, outcome);
  stage.oracles->at_rest();
  EXPECT_EQ("I6", stage.broken());
}

TEST(ClusterOraclesTest, ATimeThatFallsBreaksI3) {
  Owned stage;
  Commit third = stage.commit(3, 3, 3);
  third.at = WallTime{1};
  stage.write(kAnn, third);
  EXPECT_EQ("I3", stage.broken());
}

TEST(ClusterOraclesTest, WhatTheWorldItselfSeesBrokenIsAViolation) {
  Owned stage;
  stage.oracles->on_trace(7, "world", "violation I5 a batch does not fit");
  stage.oracles->on_trace(7, "world", "violations are not told like this");
  ASSERT_EQ(1U, stage.oracles->violations().size());
  EXPECT_EQ("I5", stage.oracles->violations().front().invariant);
  EXPECT_EQ("a batch does not fit", stage.first());
}

// A call of a memory tool is carried out once, however often it is tried.
TEST(ClusterOraclesTest, ANoteThatIsThereTwiceBreaksI8) {
  for (const char* value : {"note a-0\nnote a-1", "note a-0\nfact b\nnote a-0"}) {
    Owned stage;
    Commit third = stage.commit(3, 3, 3);
    BlockValue noted;
    noted.value = value;
    third.parts.front().events = {Event{BlockUpdated{noted, WallTime{2}}}};
    stage.write(kAnn, third);
    stage.oracles->at_rest();
    EXPECT_EQ(std::string(value).ends_with("1") ? "" : "I8", stage.broken()) << stage.first();
  }
}

// Not only at rest: by then the next round may have saved what was missing.
TEST(ClusterOraclesTest, ARecoveryRowThatPassesWhatNoSnapshotHoldsBreaksI7) {
  Owned stage;
  stage.snapshots.snapshots[stage.block] = stage.snapshot_of(stage.block);
  RecoveryRow row = stage.recovery_to_the_end(1);
  row.version = 1;
  stage.snapshots.recovery[kP] = row;
  stage.oracles->after_step();
  EXPECT_EQ("", stage.first());

  stage.write(kAnn, stage.commit(3, 3, 3));
  row = stage.recovery_to_the_end(1);
  row.version = 2;
  stage.snapshots.recovery[kP] = row;
  stage.oracles->after_step();
  EXPECT_EQ("I7", stage.broken());
  EXPECT_NE(std::string::npos, stage.first().find("has passed sequence 3")) << stage.first();
}

}  // namespace
}  // namespace varve::sim
