// The oracles on worlds made by hand: a clean one passes, and every kind of broken one is named.
#include "sim/cluster_oracles.h"

#include <gtest/gtest.h>

#include <chrono>

#include "actors/state_codec.h"
#include "projections/digest.h"

namespace varve::sim {
namespace {

constexpr Partition kP{0};
constexpr Incarnation kAnn = 1;
constexpr Incarnation kBob = 2;

class FakeLog final : public LogView {
 public:
  std::uint32_t partitions() const override { return 2; }
  const std::vector<LogRecord>& records(Partition partition) const override {
    return parts[partition.value()];
  }
  std::vector<LogRecord>& in(Partition partition) { return parts[partition.value()]; }

  std::vector<std::vector<LogRecord>> parts{2};
};

CommandId command(int number) {
  return command_id_from_text("command " + std::to_string(number));
}
StreamId block_in(Partition home, int number) {
  for (int salt = 0;; ++salt) {
    StreamId stream{"block-" + std::to_string(number) + "-" + std::to_string(salt)};
    if (partition_of(stream, 2) == home) return stream;
  }
}
BlockValue value_of(std::string text) {
  BlockValue value;
  value.label = "human";
  value.value = std::move(text);
  return value;
}

using Kind = OwnerLine::Kind;

// A world of two partitions, in which partition 0 is told of. Every step can be left out or told wrongly.
struct Stage {
  Stage() {
    options.history = &history;
    options.snapshots_are_kept = true;
    oracles.emplace(log, views, &states, options);
  }

  OwnerLine line(Kind kind, Epoch epoch = {}, Index n = {}, CommandId id = {}) const {
    OwnerLine told;
    told.kind = kind;
    told.partition = kP;
    told.epoch = epoch;
    told.n = n;
    told.id = id;
    return told;
  }
  void tell(Incarnation who, const OwnerLine& told) {
    oracles->on_trace(who, "node-" + std::to_string(who), to_text(told));
  }
  Offset land(const Record& record, Partition partition = kP) {
    auto bytes = encode_record(record);
    EXPECT_TRUE(bytes.has_value());
    auto& records = log.in(partition);
    const Offset offset = records.empty() ? Offset{} : next(next(records.back().offset));  // With gaps.
    LogRecord landed;
    landed.offset = offset;
    landed.bytes = std::make_shared<const std::string>(std::move(*bytes));
    records.push_back(std::move(landed));
    oracles->after_step();
    return offset;
  }

  // ---- what owners do ----

  void start(Incarnation who) {
    tell(who, line(Kind::reading));
    read_at[who] = 0;
    judged_by[who] = {};
    read_all(who);
  }
  void read_all(Incarnation who) {
    while (read_at[who] < log.in(kP).size()) {
      const LogRecord& record = log.in(kP)[read_at[who]++];
      const Record read = *decode_record(*record.bytes);
      OwnerLine told = line(Kind::read);
      told.offset = record.offset;
      told.verdict = admit(judged_by[who], read);
      told.record =
          std::holds_alternative<Claim>(read) ? OwnerLine::Record::claim : OwnerLine::Record::commit;
      tell(who, told);
    }
  }
  static Claim claim_of(Incarnation who, Epoch epoch, CommandId id) {
    return Claim{epoch, id, "varve", "node-" + std::to_string(who), "http://sim", 2, WallTime{1}};
  }
  void claim(Incarnation who, Epoch epoch) {
    const CommandId id =
        command_id_from_text("claim " + std::to_string(who) + " " + std::to_string(epoch.value()));
    tell(who, line(Kind::claim_sent, epoch, {}, id));
    land(claim_of(who, epoch, id));
    read_all(who);
    tell(who, line(Kind::serve, epoch, {}, id));
  }
  // The first event of a stream creates its block, others change it.
  static Commit commit_of(Incarnation who, Epoch epoch, Index n, const StreamId& stream, Sequence first,
                          int id) {
    Commit commit{epoch, n, "node-" + std::to_string(who), WallTime{2}, {command(id), CommandHash{1}, true},
                  {}};
    const BlockValue value = value_of("value " + std::to_string(id));
    if (first == Sequence{1}) {
      commit.parts.push_back({stream, first, {Event{BlockCreated{value}}}});
    } else {
      commit.parts.push_back({stream, first, {Event{BlockUpdated{value, WallTime{2}}}}});
    }
    return commit;
  }
  void send(Incarnation who, const Commit& commit) {
    OwnerLine told = line(Kind::commit_sent, commit.epoch, commit.n, commit.command.id);
    told.stream = commit.parts.front().stream;
    told.first = commit.parts.front().first;
    const std::size_t read = read_at[who];
    told.next = read == 0 ? Offset{} : next(log.in(kP)[read - 1].offset);
    tell(who, told);
  }
  void done(Incarnation who, const Commit& commit, Offset at) {
    OwnerLine told = line(Kind::done, commit.epoch, commit.n, commit.command.id);
    told.offset = at;
    tell(who, told);
  }
  // Sent, landed, read back and answered.
  Offset write(Incarnation who, const Commit& commit) {
    send(who, commit);
    const Offset at = land(commit);
    read_all(who);
    done(who, commit, at);
    return at;
  }

  // ---- what projections and snapshots do ----

  void fold(Partition partition = kP) {
    PartitionFold fold(partition, storage.checkpoints[partition], {});
    for (const LogRecord& record : log.in(partition)) {
      if (record.offset >= fold.next()) EXPECT_TRUE(fold.take(record).has_value());
    }
    if (!fold.empty()) EXPECT_TRUE(apply_batch(storage, fold.take_batch()).has_value());
    oracles->after_step();
  }
  ActorState state_of(const StreamId& stream) const {
    ActorState state;
    for (const LogRecord& record : log.parts[0]) {
      const Record read = *decode_record(*record.bytes);
      const auto* commit = std::get_if<Commit>(&read);
      if (commit == nullptr || commit->parts.front().stream != stream) continue;
      apply_part(state, *commit, commit->parts.front(), record.offset, true);
    }
    return state;
  }
  SnapshotRow snapshot_of(const StreamId& stream) const {
    const ActorState state = state_of(stream);
    SnapshotRow row;
    row.stream = stream;
    row.partition = kP;
    row.sequence = state.sequence;
    row.born = state.born;
    row.state = encode_state(state);
    row.hash = xxh64(row.state);
    return row;
  }
  RecoveryRow recovery_to_the_end(std::uint64_t streams) const {
    RecoveryRow row;
    row.partition = kP;
    const LogRecord& last = log.parts[0].back();
    row.next = next(last.offset);
    row.admission = oracles->log().judged(kP).back().after;
    row.mark = Mark{false, last.offset, xxh64(*last.bytes)};
    row.streams = streams;
    return row;
  }

  // Names of what is broken, each once.
  std::string broken() const {
    std::set<std::string> names;
    for (const Violation& violation : oracles->violations()) names.insert(violation.invariant);
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
    return text;
  }
  std::string first() const { return oracles->clean() ? "" : oracles->violations().front().what; }

  FakeLog log;
  MemoryViewStorage storage;
  MemoryViewsView views{storage};
  MemorySnapshotStorage snapshots;
  std::vector<Resident> residents;
  MemoryStatesView states{snapshots, [this] { return residents; }};
  History history;
  ClusterOracles::Options options;
  std::optional<ClusterOracles> oracles;
  std::map<Incarnation, std::size_t> read_at;
  std::map<Incarnation, AdmissionState> judged_by;
};

// A stage on which ann owns partition 0 and has written block 1 twice.
struct Owned : Stage {
  Owned() {
    start(kAnn);
    claim(kAnn, Epoch{1});
    created = write(kAnn, commit(1, 1, 1));
    changed = write(kAnn, commit(2, 2, 2));
  }
  Commit commit(std::uint64_t n, std::uint64_t sequence, int id) const {
    return commit_of(kAnn, Epoch{1}, Index{n}, block, Sequence{sequence}, id);
  }
  StreamId block = block_in(kP, 1);
  Offset created;
  Offset changed;
};

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
  const auto begun = std::chrono::steady_clock::now();  // lint: allow(clock) a measurement
  for (int i = 0; i < kTimes; ++i) stage.oracles->after_step();
  const auto took = std::chrono::steady_clock::now() - begun;  // lint: allow(clock) a measurement
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

// ---- owners ----

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
  stage.land(refill);
  EXPECT_EQ("", stage.broken());
  stage.land(second);
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

}  // namespace
}  // namespace varve::sim
