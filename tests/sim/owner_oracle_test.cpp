// What owners trace against the log: right owners pass, and every kind of wrong one is named.
#include <gtest/gtest.h>

#include "sim/fate_oracle.h"
#include "tests/sim/oracle_stage.h"

namespace varve::sim {
namespace {

TEST(OwnerOracleTest, AReaderWithAnotherVerdictBreaksAgreePair) {
  Owned stage;
  const Offset at = stage.land(Stage::commit_of(kBob, Epoch{7}, Index{1}, stage.block, Sequence{3}, 9));
  OwnerLine told = stage.line(Kind::read);
  told.offset = at;
  told.record = OwnerLine::Record::commit;
  told.verdict = Verdict::admitted;
  stage.tell(kAnn, told);
  EXPECT_EQ("AgreePair", stage.broken());
  EXPECT_EQ("node-1 reads 0:6 as admitted; a reader from the start as fenced", stage.first());
}

TEST(OwnerOracleTest, AReaderThatLeavesARecordOutBreaksAgreePair) {
  Owned stage;
  stage.land(Stage::commit_of(kBob, Epoch{7}, Index{1}, stage.block, Sequence{3}, 9));
  const Offset second = stage.land(Stage::commit_of(kBob, Epoch{7}, Index{2}, stage.block, Sequence{3}, 9));
  OwnerLine told = stage.line(Kind::read);
  told.offset = second;
  told.verdict = Verdict::fenced;
  stage.tell(kAnn, told);
  EXPECT_EQ("AgreePair", stage.broken());
}

TEST(OwnerOracleTest, WhatCannotBeReadBreaksAgreePair) {
  Owned stage;
  stage.oracles->on_trace(kAnn, "node-1", "owner p=0 dances");
  EXPECT_EQ("AgreePair", stage.broken());
  stage.oracles->on_trace(kAnn, "node-1", "somebody else dances");
  EXPECT_EQ(1U, stage.oracles->violations().size());
}

TEST(OwnerOracleTest, ServingUnderAClaimOfSomebodyElseBreaksOneWriter) {
  Stage stage;
  stage.start(kAnn);
  stage.claim(kAnn, Epoch{1});
  stage.start(kBob);
  const CommandId id = command_id_from_text("claim 1 1");
  stage.tell(kBob, stage.line(Kind::serve, Epoch{1}, {}, id));
  EXPECT_EQ("OneWriter", stage.broken());
}

TEST(OwnerOracleTest, ServingUnderAnOldClaimOfItsOwnBreaksOneWriter) {
  Stage stage;
  stage.start(kAnn);
  stage.tell(kAnn, stage.line(Kind::claim_sent, Epoch{1}, {}, command(70)));
  stage.tell(kAnn, stage.line(Kind::claim_sent, Epoch{1}, {}, command(71)));
  stage.land(Stage::claim_of(kAnn, Epoch{1}, command(70)));
  stage.read_all(kAnn);
  stage.tell(kAnn, stage.line(Kind::serve, Epoch{1}, {}, command(70)));
  EXPECT_EQ("OneWriter", stage.broken());
  Stage other;
  other.start(kAnn);
  other.tell(kAnn, other.line(Kind::claim_sent, Epoch{1}, {}, command(70)));
  other.tell(kAnn, other.line(Kind::claim_sent, Epoch{1}, {}, command(71)));
  other.land(Stage::claim_of(kAnn, Epoch{1}, command(70)));
  other.read_all(kAnn);
  other.tell(kAnn, other.line(Kind::serve, Epoch{1}, {}, command(71)));
  EXPECT_EQ("OneWriter", other.broken()) << "whatever it says";
}

TEST(OwnerOracleTest, ServingBeforeTheClaimIsReadBackBreaksOneWriter) {
  Stage stage;
  stage.start(kAnn);
  stage.tell(kAnn, stage.line(Kind::claim_sent, Epoch{1}, {}, command(70)));
  stage.land(Stage::claim_of(kAnn, Epoch{1}, command(70)));
  stage.tell(kAnn, stage.line(Kind::serve, Epoch{1}, {}, command(70)));
  EXPECT_EQ("OneWriter", stage.broken());
}

TEST(OwnerOracleTest, ACommitThatSomebodyElseWroteBreaksOneWriter) {
  Owned stage;
  const Commit foreign = Stage::commit_of(kBob, Epoch{1}, Index{3}, stage.block, Sequence{3}, 3);
  stage.start(kBob);
  stage.send(kBob, foreign);
  EXPECT_EQ("node-2 sends the commit e=1 n=3 of partition 0 without serving that epoch", stage.first());
  stage.land(foreign);
  EXPECT_EQ("OneWriter", stage.broken());
  Owned unsent;
  unsent.land(unsent.commit(3, 3, 3));
  EXPECT_EQ("the commit e=1 n=3 of partition 0 at 0:6 was sent by nobody", unsent.first());
}

TEST(OwnerOracleTest, WhatWasCalledOffAndCountsBreaksNoLateEffect) {
  Owned stage;
  stage.send(kAnn, stage.commit(3, 3, 3));
  stage.tell(kAnn, stage.line(Kind::not_written, Epoch{1}, Index{3}, command(3)));
  stage.tell(kAnn, stage.line(Kind::never, Epoch{1}, Index{3}, command(3)));
  EXPECT_EQ("", stage.broken());
  stage.land(stage.commit(3, 3, 3));
  EXPECT_EQ("NoLateEffect", stage.broken());
  EXPECT_EQ("the commit e=1 n=3 of partition 0 at 0:6 counts after it was called off", stage.first());
}

TEST(OwnerOracleTest, WhatIsCalledOffThoughItCountsOrTooEarlyBreaksNoLateEffect) {
  Owned counts;
  const Commit commit = counts.commit(3, 3, 3);
  counts.send(kAnn, commit);
  counts.land(commit);
  counts.tell(kAnn, counts.line(Kind::never, Epoch{1}, Index{3}, command(3)));
  EXPECT_EQ("NoLateEffect", counts.broken());
  Owned early;
  early.send(kAnn, commit);
  early.tell(kAnn, early.line(Kind::unknown, Epoch{1}, Index{3}, command(3)));
  early.tell(kAnn, early.line(Kind::never, Epoch{1}, Index{3}, command(3)));
  EXPECT_EQ("NoLateEffect", early.broken());
}

TEST(OwnerOracleTest, ADecisionOnWhatNeverHappenedBreaksDecidedOn) {
  // The hole at n=3 is filled by another command, behind which n=4, decided after the first one, counts.
  Owned stage;
  const Commit second = stage.commit(4, 4, 4);
  const Commit refill = stage.commit(3, 3, 5);
  stage.send(kAnn, stage.commit(3, 3, 3));
  stage.send(kAnn, second);
  stage.tell(kAnn, stage.line(Kind::not_written, Epoch{1}, Index{3}, command(3)));
  stage.tell(kAnn, stage.line(Kind::never, Epoch{1}, Index{3}, command(3)));
  stage.send(kAnn, refill);
  stage.land(refill);  // Decided while n=4 was in flight, and counts before it.
  EXPECT_EQ(1U, stage.oracles->violations().size());
  stage.land(second);
  EXPECT_EQ(2U, stage.oracles->violations().size());
  EXPECT_EQ("DecidedOn", stage.broken());
}

TEST(OwnerOracleTest, ADecisionThatHasNotSeenTheNewestBreaksDecidedOn) {
  Owned stage;
  const Commit seen = stage.commit(3, 3, 3);
  OwnerLine blind = stage.line(Kind::commit_sent, Epoch{1}, Index{4}, command(4));
  blind.stream = stage.block;
  blind.first = Sequence{4};
  stage.send(kAnn, seen);
  const Offset at = stage.land(seen);
  stage.done(kAnn, seen, at);  // Told before it is read back.
  stage.tell(kAnn, blind);
  stage.land(stage.commit(4, 4, 4));
  EXPECT_EQ("DecidedOn", stage.broken());
}

TEST(OwnerOracleTest, AnAnswerForWhatDoesNotCountBreaksI1) {
  Owned stage;
  const Commit commit = stage.commit(3, 3, 3);
  stage.send(kAnn, commit);
  stage.done(kAnn, commit, Offset{6});
  EXPECT_EQ("I1", stage.broken());
}

TEST(OwnerOracleTest, AnOwnerThatDiedOrLagsIsPending) {
  Stage stage;
  bool alive = true;
  stage.options.alive = [&alive](Incarnation) { return alive; };
  stage.oracles.emplace(stage.log, stage.views, &stage.states, stage.options);
  stage.oracles->give_up(Partition{1});
  stage.start(kAnn);
  stage.claim(kAnn, Epoch{1});
  stage.fold();
  EXPECT_EQ(std::nullopt, stage.oracles->pending());
  const Commit commit = Stage::commit_of(kAnn, Epoch{1}, Index{1}, block_in(kP, 1), Sequence{1}, 1);
  stage.send(kAnn, commit);
  EXPECT_EQ("partition 0: its owner has commits in flight", stage.oracles->pending().value_or(""));
  const Offset at = stage.land(commit);
  EXPECT_EQ("partition 0: its owner has not read everything", stage.oracles->pending().value_or(""));
  stage.read_all(kAnn);
  stage.done(kAnn, commit, at);
  stage.fold();
  EXPECT_EQ(std::nullopt, stage.oracles->pending());
  const OpId open = stage.history.begin(1, op::ListAgents{});
  EXPECT_EQ("an operation is open: client 1: ListAgents", stage.oracles->pending().value_or(""));
  stage.history.end(open, {});
  alive = false;
  EXPECT_EQ("partition 0 has no owner that serves", stage.oracles->pending().value_or(""));
  stage.oracles->check_drained();
  EXPECT_EQ("I9", stage.broken());
}

// Whoever answers without an event must have read what was there when the command began to be decided.
TEST(OwnerOracleTest, ARefusalByWhoIsBehindBreaksRefusalFresh) {
  const std::string asked = "shard p=0 asked cmd=" + to_hex(command(9));
  const std::string refused = "shard p=0 refused cmd=" + to_hex(command(9));
  for (const bool reads : {true, false}) {
    Owned stage;
    const Commit third = stage.commit(3, 3, 3);
    stage.send(kAnn, third);
    stage.land(third);
    stage.oracles->on_trace(kAnn, "node-1", asked);
    // What comes later it need not know.
    stage.send(kAnn, stage.commit(4, 4, 4));
    if (reads) stage.read_all(kAnn);
    stage.land(stage.commit(4, 4, 4));
    stage.oracles->on_trace(kAnn, "node-1", refused);
    EXPECT_EQ(reads ? "" : "RefusalFresh", stage.broken());
  }
}

// The same of a log that is looked at later.
TEST(FateOracleTest, WhatWasToldIsHeldAgainstTheLog) {
  Owned stage;
  FateOracle fates;
  const Commit second = stage.commit(2, 2, 2);
  OwnerLine told = stage.line(Kind::done, second.epoch, second.n, second.command.id);
  told.offset = stage.changed;
  fates.on_trace(to_text(told));
  fates.on_trace(to_text(stage.line(Kind::never, Epoch{1}, Index{3}, command(3))));
  EXPECT_TRUE(fates.broken(stage.oracles->log()).empty());

  told.offset = stage.created;
  fates.on_trace(to_text(told));
  ASSERT_EQ(1U, fates.broken(stage.oracles->log()).size());
  EXPECT_EQ("I1", fates.broken(stage.oracles->log()).front().invariant);

  fates.on_trace(to_text(stage.line(Kind::never, second.epoch, second.n, second.command.id)));
  ASSERT_EQ(1U, fates.broken(stage.oracles->log()).size());
  EXPECT_EQ("NoLateEffect", fates.broken(stage.oracles->log()).front().invariant);
}

}  // namespace
}  // namespace varve::sim
