// A world made by hand, for the tests of oracles: a log of two partitions, views, snapshots, and owners that
// say what they do. Every step can be left out, or told wrongly.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/state_codec.h"
#include "sim/cluster_oracles.h"

namespace varve::sim {

inline constexpr Partition kP{0};
inline constexpr Incarnation kAnn = 1;
inline constexpr Incarnation kBob = 2;

class FakeLog final : public LogView {
 public:
  std::uint32_t partitions() const override { return 2; }
  const std::vector<LogRecord>& records(Partition partition) const override {
    return parts[partition.value()];
  }
  std::vector<LogRecord>& in(Partition partition) { return parts[partition.value()]; }

  std::vector<std::vector<LogRecord>> parts{2};
};

inline CommandId command(int number) {
  return command_id_from_text("command " + std::to_string(number));
}
inline StreamId block_in(Partition home, int number) {
  for (int salt = 0;; ++salt) {
    StreamId stream{"block-" + std::to_string(number) + "-" + std::to_string(salt)};
    if (partition_of(stream, 2) == home) return stream;
  }
}
inline BlockValue value_of(std::string text) {
  BlockValue value;
  value.label = "human";
  value.value = std::move(text);
  return value;
}

using Kind = OwnerLine::Kind;

// Partition 0 is told of.
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
    return Claim{epoch, id, "varve", "node-" + std::to_string(who), "http://sim", 2, WallTime{2}};
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

}  // namespace varve::sim
