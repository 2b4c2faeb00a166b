// The check of traces against the specification: a right story passes, and each rule, broken once, is named.
#include "sim/spec_check.h"

#include <gtest/gtest.h>

namespace varve::sim {
namespace {

constexpr Partition kPartition{0};

std::string hex(char c) {
  return std::string(31, '0') + c;
}
CommandId id_of(char c) {
  return *parse_command_id(hex(c));
}

// A log and what its owners say. Offsets are 10, 20, 30 ...
class Stage {
 public:
  Stage() : check_([this](Partition) -> const std::vector<LogRecord>& { return log_; }) {}

  Stage& lands(const Record& record) {
    auto bytes = encode_record(record);
    EXPECT_TRUE(bytes) << bytes.error().message;
    log_.push_back({Offset{(log_.size() + 1) * 10}, std::make_shared<const std::string>(std::move(*bytes))});
    return *this;
  }
  Stage& says(Incarnation who, const std::string& what) {
    check_.on_trace(who, "n" + std::to_string(who), "owner p=0 " + what);
    return *this;
  }
  // The rule that was broken first; "" = none.
  std::string broken() {
    check_.at_rest();
    return check_.violations().empty() ? "" : check_.violations().front().invariant;
  }
  std::string why() const { return check_.violations().empty() ? "" : check_.violations().front().what; }
  SpecCheck& check() { return check_; }

 private:
  std::vector<LogRecord> log_;
  SpecCheck check_;
};

Record claim(std::uint64_t epoch, char id) {
  Claim record;
  record.epoch = Epoch{epoch};
  record.id = id_of(id);
  record.cluster = "varve";
  record.node = "n";
  record.partitions = 1;
  return record;
}

Record commit(std::uint64_t epoch, std::uint64_t n, char command, const std::string& stream,
              std::uint64_t first, std::uint64_t birth = 0) {
  Commit record;
  record.epoch = Epoch{epoch};
  record.n = Index{n};
  record.node = "n";
  record.command.id = id_of(command);
  record.parts.push_back({StreamId{stream}, Sequence{first}, {Event{BlockDeleted{}}}});
  if (birth > 0) record.parts.push_back({StreamId{"born"}, Sequence{birth}, {Event{BlockDeleted{}}}});
  return record;
}

std::string sent(std::uint64_t epoch, std::uint64_t n, char command, const std::string& stream,
                 std::uint64_t first, std::uint64_t next) {
  return "commit-sent e=" + std::to_string(epoch) + " n=" + std::to_string(n) + " cmd=" + hex(command) +
         " stream=" + stream + " seq=" + std::to_string(first) + " next=" + std::to_string(next);
}
std::string place(const char* what, std::uint64_t epoch, std::uint64_t n, char command) {
  return std::string(what) + " e=" + std::to_string(epoch) + " n=" + std::to_string(n) +
         " cmd=" + hex(command);
}
std::string took(std::uint64_t offset, const char* kind, const char* verdict = "admitted") {
  return "read o=" + std::to_string(offset) + " kind=" + kind + " v=" + verdict;
}

// Node 1 owns epoch 1 by claim a.
void serving(Stage& stage) {
  stage.says(1, "reading from=0").says(1, "claim-sent e=1 id=" + hex('a')).lands(claim(1, 'a'));
  stage.says(1, took(10, "claim")).says(1, "serve e=1 id=" + hex('a'));
}
// It has also sent command 1 to s, at offset 20, which has not landed.
void with_one_in_flight(Stage& stage) {
  serving(stage);
  stage.says(1, sent(1, 1, '1', "s", 1, 11));
}

TEST(SpecCheck, ARightStoryPasses) {
  Stage stage;
  with_one_in_flight(stage);
  // A second stream, beside it; both are read back.
  stage.says(1, sent(1, 2, '2', "t", 1, 11))
      .lands(commit(1, 1, '1', "s", 1, 1))
      .lands(commit(1, 2, '2', "t", 1));
  stage.says(1, took(20, "commit")).says(1, place("done", 1, 1, '1') + " o=20");
  stage.says(1, took(30, "commit")).says(1, place("done", 1, 2, '2') + " o=30");
  // Not written, alone: its index goes to the next one. That one's outcome is unknown.
  stage.says(1, sent(1, 3, '3', "s", 2, 31)).says(1, place("not-written", 1, 3, '3'));
  stage.says(1, place("never", 1, 3, '3')).says(1, sent(1, 3, '4', "t", 2, 31));
  stage.says(1, place("unknown", 1, 3, '4')).says(1, "stop e=1");
  // Another node has claimed meanwhile, under a refused id first; the unknown one lands behind it.
  stage.says(2, "reading from=0").says(2, took(10, "claim")).says(2, took(20, "commit"));
  stage.says(1, "claim-sent e=2 id=" + hex('b')).says(2, took(30, "commit"));
  stage.says(2, "claim-sent e=2 id=" + hex('c')).lands(claim(2, 'c')).lands(claim(2, 'b'));
  stage.lands(commit(1, 3, '4', "t", 2));
  stage.says(2, took(40, "claim")).says(2, "serve e=2 id=" + hex('c'));
  stage.says(1, took(40, "claim")).says(1, place("never", 1, 3, '4'));
  stage.says(1, took(50, "claim", "fenced")).says(1, took(60, "commit", "fenced"));
  stage.says(1, "claim-sent e=3 id=" + hex('d')).lands(claim(3, 'd'));
  stage.says(1, took(70, "claim")).says(1, "serve e=3 id=" + hex('d'));
  stage.says(2, took(50, "claim", "fenced")).says(2, took(60, "commit", "fenced"));
  stage.says(2, sent(2, 1, '5', "s", 2, 61)).says(2, took(70, "claim"));
  stage.says(2, place("never", 2, 1, '5')).says(2, "stop e=2").says(2, "end");
  // The end of a reader: what is in flight is unknown.
  stage.says(1, sent(3, 1, '6', "s", 2, 71)).says(1, place("unknown", 3, 1, '6'));
  stage.says(1, "stop e=3").says(1, "end").says(1, "reading from=71");
  EXPECT_EQ("", stage.broken()) << stage.why();
  EXPECT_EQ(43U, stage.check().steps());
}

TEST(SpecCheck, ASecondCopyOfItsClaimSaysNothing) {
  Stage stage;
  serving(stage);
  stage.lands(claim(1, 'a')).says(1, took(20, "claim", "fenced")).says(1, sent(1, 1, '1', "s", 1, 21));
  EXPECT_EQ("", stage.broken()) << stage.why();
}

TEST(SpecCheck, Rule1EveryRecordIsReadInOrder) {
  Stage stage;
  stage.lands(claim(1, 'a')).lands(commit(1, 1, '1', "s", 1));
  stage.says(1, "reading from=0").says(1, took(20, "commit"));
  EXPECT_EQ("spec rule 1", stage.broken());
}

TEST(SpecCheck, Rule2WhatWasNotWrittenIsNeverInTheLog) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, place("not-written", 1, 1, '1')).says(1, place("never", 1, 1, '1'));
  EXPECT_EQ("", stage.broken()) << stage.why();
  stage.lands(commit(1, 1, '1', "s", 1));
  EXPECT_EQ("spec rule 2", stage.broken());
}

TEST(SpecCheck, Rule2TheCommitterOfWhatWasNotWrittenIsToldAtOnce) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, place("not-written", 1, 1, '1')).says(1, sent(1, 1, '2', "t", 1, 11));
  EXPECT_EQ("spec rule 2", stage.broken());
}

TEST(SpecCheck, Rule3AClaimIsOneMoreThanTheNewestEpochRead) {
  Stage stage;
  stage.says(1, "reading from=0").says(1, "claim-sent e=2 id=" + hex('a'));
  EXPECT_EQ("spec rule 3", stage.broken());
}

TEST(SpecCheck, Rule3EveryClaimHasAFreshId) {
  Stage stage;
  stage.says(1, "reading from=0")
      .says(1, "claim-sent e=1 id=" + hex('a'))
      .says(1, "claim-sent e=1 id=" + hex('a'));
  EXPECT_EQ("spec rule 3", stage.broken());
}

TEST(SpecCheck, Rule4NobodyServesBeforeItReadsItsClaim) {
  Stage stage;
  stage.says(1, "reading from=0").says(1, "claim-sent e=1 id=" + hex('a')).lands(claim(1, 'a'));
  stage.says(1, "serve e=1 id=" + hex('a'));
  EXPECT_EQ("spec rule 4", stage.broken());
}

TEST(SpecCheck, Rule4ASkippedClaimIsNoClaim) {
  Stage stage;
  stage.says(1, "reading from=0").says(1, "claim-sent e=1 id=" + hex('a'));
  stage.lands(claim(1, 'b')).lands(claim(1, 'a'));
  stage.says(1, took(10, "claim")).says(1, took(20, "claim", "fenced")).says(1, "serve e=1 id=" + hex('a'));
  EXPECT_EQ("spec rule 4", stage.broken());
}

TEST(SpecCheck, Rule4AnOldClaimOfItsOwnIsAnothers) {
  Stage stage;
  stage.says(1, "reading from=0").says(1, "claim-sent e=1 id=" + hex('a'));
  stage.says(1, "claim-sent e=1 id=" + hex('b')).lands(claim(1, 'a'));
  stage.says(1, took(10, "claim")).says(1, "serve e=1 id=" + hex('a'));
  EXPECT_EQ("spec rule 4", stage.broken());
}

TEST(SpecCheck, Rule4WhoServesDoesNotClaim) {
  Stage stage;
  serving(stage);
  stage.says(1, "claim-sent e=2 id=" + hex('b'));
  EXPECT_EQ("spec rule 4", stage.broken());
}

TEST(SpecCheck, Rule4WhatCountsWasSentUnderTheClaimOfItsEpoch) {
  Stage stage;
  serving(stage);
  stage.lands(commit(1, 1, '1', "s", 1));
  EXPECT_EQ("spec rule 4", stage.broken());
}

TEST(SpecCheck, Rule4AReaderThatHasEndedDoesNothing) {
  Stage stage;
  serving(stage);
  stage.says(1, "stop e=1").says(1, "end").says(1, "claim-sent e=2 id=" + hex('b'));
  EXPECT_EQ("spec rule 4", stage.broken());
}

TEST(SpecCheck, Rule4OneReaderEndsBeforeTheNextBegins) {
  Stage stage;
  stage.says(1, "reading from=0").says(1, "reading from=0");
  EXPECT_EQ("", stage.broken()) << stage.why();  // The first one was stopped before it began.
  stage.says(1, "claim-sent e=1 id=" + hex('a')).says(1, "reading from=0");
  EXPECT_EQ("spec rule 4", stage.broken());
}

TEST(SpecCheck, Rule5ItServesWhereItReadsItsClaim) {
  Stage stage;
  stage.says(1, "reading from=0").says(1, "claim-sent e=1 id=" + hex('a'));
  stage.lands(claim(1, 'a')).lands(commit(1, 2, '1', "s", 1));
  stage.says(1, took(10, "claim")).says(1, took(20, "commit", "gap"));
  EXPECT_EQ("spec rule 5", stage.broken());
}

TEST(SpecCheck, Rule6AllReadersSayTheSame) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(commit(1, 2, '1', "s", 1)).says(1, took(20, "commit", "admitted"));
  EXPECT_EQ("spec rule 6", stage.broken());
}

TEST(SpecCheck, Rule6IndexesFollowEachOther) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, sent(1, 3, '2', "t", 1, 11));
  EXPECT_EQ("spec rule 6", stage.broken());
}

TEST(SpecCheck, Rule6AnIndexIsTakenAgainOnlyWhenNothingElseIsInFlight) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, sent(1, 2, '2', "t", 1, 11)).says(1, place("not-written", 1, 1, '1'));
  stage.says(1, place("never", 1, 1, '1')).says(1, sent(1, 1, '3', "s", 1, 11));
  EXPECT_EQ("spec rule 11", stage.broken());
}

TEST(SpecCheck, Rule7ACommitGoesOnWhereItsStreamEnds) {
  Stage stage;
  serving(stage);
  stage.says(1, sent(1, 1, '1', "s", 2, 11));
  EXPECT_EQ("spec rule 7", stage.broken());
}

// A process that was paused wakes, and loads what the next owner has saved: it knows more than its reader,
// and nothing that it sends counts.
TEST(SpecCheck, Rule7WhoHasBeenReplacedMayKnowMoreThanItHasRead) {
  const auto told = [](std::uint64_t first, bool replaced) {
    Stage stage;
    serving(stage);
    const std::uint64_t epoch = replaced ? 2 : 1;
    if (replaced) {
      stage.says(2, "reading from=0").says(2, took(10, "claim")).says(2, "claim-sent e=2 id=" + hex('b'));
      stage.lands(claim(2, 'b')).says(2, took(20, "claim")).says(2, "serve e=2 id=" + hex('b'));
      stage.says(2, sent(2, 1, '2', "s", 1, 21)).lands(commit(epoch, 1, '2', "s", 1));
      stage.says(2, took(30, "commit")).says(2, place("done", 2, 1, '2') + " o=30");
    }
    stage.says(1, sent(1, 1, '1', "s", first, 11));
    return stage.check().violations().empty() ? "" : stage.check().violations().front().invariant;
  };
  EXPECT_EQ("", told(2, true));
  EXPECT_EQ("", told(1, true));
  EXPECT_EQ("spec rule 7", told(3, true));
  EXPECT_EQ("spec rule 7", told(2, false));
}

TEST(SpecCheck, Rule9AStreamHasOneRecordInFlight) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, sent(1, 2, '2', "s", 1, 11));
  EXPECT_EQ("spec rule 9", stage.broken());
}

TEST(SpecCheck, Rule9NobodyDecidesOnWhatItHasNotRead) {
  Stage stage;
  serving(stage);
  stage.lands(commit(1, 2, '9', "t", 1)).says(1, sent(1, 1, '1', "s", 1, 21));
  EXPECT_EQ("spec rule 9", stage.broken());
}

TEST(SpecCheck, Rule10DoneIsWhatWasReadBack) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(commit(1, 1, '1', "s", 1)).says(1, place("done", 1, 1, '1') + " o=20");
  EXPECT_EQ("spec rule 10", stage.broken());
}

TEST(SpecCheck, Rule10DoneNamesTheCopyThatCounts) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(commit(1, 1, '1', "s", 1))
      .says(1, took(20, "commit"))
      .says(1, place("done", 1, 1, '1') + " o=30");
  EXPECT_EQ("spec rule 10", stage.broken());
}

TEST(SpecCheck, Rule10NobodyIsLeftWaitingForWhatWasReadBack) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(commit(1, 1, '1', "s", 1)).lands(commit(1, 1, '1', "s", 1));
  stage.says(1, took(20, "commit")).says(1, took(30, "commit", "duplicate"));
  EXPECT_EQ("spec rule 10", stage.broken());
}

TEST(SpecCheck, Rule11UnknownStops) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, place("unknown", 1, 1, '1')).says(1, sent(1, 2, '2', "t", 1, 11));
  EXPECT_EQ("spec rule 11", stage.broken());
}

TEST(SpecCheck, Rule11AnOwnRecordThatDoesNotCountStops) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, sent(1, 2, '2', "t", 1, 11))
      .lands(commit(1, 2, '2', "t", 1))
      .lands(commit(1, 1, '1', "s", 1));
  stage.says(1, took(20, "commit", "gap")).says(1, took(30, "commit"));
  EXPECT_EQ("spec rule 11", stage.broken());
}

TEST(SpecCheck, Rule11ANewerClaimStops) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(claim(2, 'b'))
      .lands(claim(9, 'c'))
      .says(1, took(20, "claim"))
      .says(1, place("never", 1, 1, '1'));
  stage.says(1, took(30, "claim", "fenced"));
  EXPECT_EQ("spec rule 11", stage.broken());
}

TEST(SpecCheck, Rule11NobodyStopsForNothing) {
  Stage stage;
  serving(stage);
  stage.says(1, "stop e=1").says(1, "claim-sent e=2 id=" + hex('b'));
  EXPECT_EQ("spec rule 11", stage.broken());
}

TEST(SpecCheck, Rule11NothingIsSentBetweenStopAndServe) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, place("unknown", 1, 1, '1')).says(1, "stop e=1").says(1, sent(1, 2, '2', "t", 1, 11));
  EXPECT_EQ("spec rule 11", stage.broken());
}

TEST(SpecCheck, Rule12NeverNeedsANewerClaim) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, place("unknown", 1, 1, '1')).says(1, "stop e=1").says(1, place("never", 1, 1, '1'));
  EXPECT_EQ("spec rule 12", stage.broken());
}

TEST(SpecCheck, Rule12NeverIsNotSaidOfWhatCounts) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(commit(1, 1, '1', "s", 1)).lands(claim(2, 'b'));
  stage.says(1, place("unknown", 1, 1, '1')).says(1, "stop e=1").says(1, took(20, "commit"));
  stage.says(1, took(30, "claim")).says(1, place("never", 1, 1, '1'));
  // It should have said "done" at 20, which is found first.
  EXPECT_EQ("spec rule 10", stage.broken());
  ASSERT_EQ(2U, stage.check().violations().size());
  EXPECT_EQ("spec rule 12", stage.check().violations().back().invariant);
}

TEST(SpecCheck, Rule12ANewerClaimSettlesWhatIsInFlight) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(claim(2, 'b')).lands(claim(9, 'c')).says(1, place("unknown", 1, 1, '1')).says(1, "stop e=1");
  stage.says(1, took(20, "claim")).says(1, took(30, "claim", "fenced"));
  EXPECT_EQ("spec rule 12", stage.broken());
}

TEST(SpecCheck, Rule13ACommandInFlightIsNotSentAgain) {
  Stage stage;
  with_one_in_flight(stage);
  stage.says(1, sent(1, 2, '1', "t", 1, 11));
  EXPECT_EQ("spec rule 13", stage.broken());
}

TEST(SpecCheck, Rule26PartsBehindTheFirstAreBirths) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(commit(1, 1, '1', "s", 1, 2))
      .says(1, took(20, "commit"))
      .says(1, place("done", 1, 1, '1') + " o=20");
  EXPECT_EQ("spec rule 26", stage.broken());
}

TEST(SpecCheck, Rule27ARulingIsOnAnEventThatCounts) {
  Stage stage;
  with_one_in_flight(stage);
  stage.lands(commit(1, 1, '1', "s", 1)).says(1, took(20, "commit"));
  stage.says(1, place("done", 1, 1, '1') + " o=20");
  Ruling ruling;
  ruling.epoch = Epoch{1};
  ruling.n = Index{2};
  ruling.node = "n";
  ruling.stream = StreamId{"s"};
  ruling.offset = Offset{20};
  const auto send = [&] {
    const std::string id = to_hex(command_id_from_text("ruling " + *encode_record(ruling)));
    const std::string where = " e=1 n=" + std::to_string(ruling.n.value()) + " cmd=" + id;
    stage.says(1, "commit-sent" + where + " stream=s seq=0 next=21").lands(ruling);
    const std::string offset = std::to_string(10 * (ruling.n.value() + 1));
    stage.says(1, "read o=" + offset + " kind=ruling v=admitted").says(1, "done" + where + " o=" + offset);
  };
  send();
  EXPECT_EQ("", stage.broken()) << stage.why();
  ruling.n = Index{3};
  ruling.offset = Offset{10};
  send();
  EXPECT_EQ("spec rule 27", stage.broken());
}

TEST(SpecCheck, APartitionThatWasGivenUpIsNotJudged) {
  Stage stage;
  stage.check().give_up(kPartition);
  stage.says(1, "serve e=1 id=" + hex('a'));
  EXPECT_EQ("", stage.broken());
}

TEST(SpecCheck, ALineThatNobodyUnderstandsIsAViolation) {
  Stage stage;
  stage.says(1, "sings");
  EXPECT_EQ("spec trace", stage.broken());
  EXPECT_EQ(0U, stage.check().steps());
}

}  // namespace
}  // namespace varve::sim
