#include "sim/oracles.h"

#include <algorithm>

#include "actors/state_codec.h"
#include "projections/digest.h"
#include "projections/quarantine.h"

namespace varve::sim {
namespace {

std::uint64_t mixed(std::uint64_t hash, const LogRecord& record) {
  return (hash ^ xxh64(*record.bytes) ^ record.offset.value()) * 0x100000001b3ULL;
}

// The stream whose event made a row.
StreamId stream_of(View view, const Row& row) {
  switch (view) {
    case View::messages:
      return StreamId{row.text(messages::agent_id)};
    case View::runs:
      return StreamId{row.text(runs::agent_id)};
    case View::blocks:
      return StreamId{row.text(blocks::id)};
    case View::agents:
      return StreamId{row.text(agents::id)};
    case View::agent_activity:
      return StreamId{row.text(agent_activity::agent_id)};
    case View::attachments:
      return StreamId{row.text(attachments::agent_id)};
    case View::tags:
      return StreamId{row.text(tags::agent_id)};
    case View::tools:
      return StreamId{"catalogue"};
    case View::steps:
      return StreamId{row.text(steps::agent_id)};
    case View::shard_owners:
      break;
  }
  return StreamId{};
}

// Every admitted commit of a partition, in order.
struct AdmittedCommit {
  Commit commit;
  Offset offset;
};
std::vector<AdmittedCommit> admitted_commits(const MemoryLogStorage& log, Partition partition) {
  std::vector<AdmittedCommit> commits;
  AdmissionState admission;
  for (const LogRecord& record : log.records(partition)) {
    auto decoded = decode_record(*record.bytes);
    if (!decoded || admit(admission, *decoded) != Verdict::admitted) continue;
    if (auto* commit = std::get_if<Commit>(&*decoded)) commits.push_back({std::move(*commit), record.offset});
  }
  return commits;
}

EventPlaces admitted_rulings(const MemoryLogStorage& log, Partition partition) {
  EventPlaces places;
  AdmissionState admission;
  for (const LogRecord& record : log.records(partition)) {
    const auto decoded = decode_record(*record.bytes);
    if (!decoded || admit(admission, *decoded) != Verdict::admitted) continue;
    if (const auto* ruling = std::get_if<Ruling>(&*decoded)) places.insert(place_of(*ruling));
  }
  return places;
}

Status apply(PartitionFold& fold, MemoryViewStorage& storage) {
  if (fold.empty()) return ok();
  const auto applied = apply_batch(storage, fold.take_batch());
  return applied ? ok() : Status{applied.error()};
}

Status fold_one(PartitionFold& fold, MemoryViewStorage& storage, const std::vector<LogRecord>& log,
                Partition partition, const LogRecord& record) {
  const std::vector<Offset> released = fold.released_by(record);
  if (released.empty()) return fold.take(record);
  if (Status applied = apply(fold, storage); !applied) return applied;
  std::vector<LogRecord> waiting;
  for (const LogRecord& other : log) {
    if (std::find(released.begin(), released.end(), other.offset) != released.end()) waiting.push_back(other);
  }
  if (Status taken = fold.take_ruling(record, waiting); !taken) return taken;
  MemoryViewReader views(storage);
  auto open = open_rows(views, partition, fold.to_fit());
  if (!open) return open.error();
  fold.fit(std::move(*open));
  return apply(fold, storage);
}

}  // namespace

Oracles::Oracles(const World& world) : Oracles(world.log(), world.views(), world.snapshots()) {}

Oracles::Oracles(const MemoryLogStorage& log, const MemoryViewStorage& views,
                 const MemorySnapshotStorage& snapshots)
    : log_(log), views_(views), snapshots_(snapshots) {
  for (std::uint32_t i = 0; i < log.partitions(); ++i) shadows_.emplace_back(Partition{i});
}

void Oracles::acknowledged(const std::vector<LogPosition>& positions) {
  acknowledged_.insert(positions.begin(), positions.end());
}

void Oracles::after_step() {
  for (std::uint32_t i = 0; i < shadows_.size(); ++i) {
    check_append_only(Partition{i}, shadows_[i]);
    check_views(Partition{i}, shadows_[i]);
  }
}

void Oracles::check_append_only(Partition partition, Shadow& shadow) {
  const auto& records = log_.records(partition);
  if (records.size() < shadow.records_seen) return fail("I1", "the log has become shorter");
  for (; shadow.records_seen < records.size(); ++shadow.records_seen) {
    shadow.hash = mixed(shadow.hash, records[shadow.records_seen]);
  }
}

void Oracles::check_views(Partition partition, Shadow& shadow) {
  const auto found = views_.checkpoints.find(partition);
  if (found == views_.checkpoints.end() || found->second.version == shadow.version) return;
  const Checkpoint& checkpoint = found->second;
  if (checkpoint.version < shadow.version) return fail("I5", "a checkpoint's version went backwards");
  shadow.version = checkpoint.version;
  for (const LogRecord& record : log_.records(partition)) {
    if (record.offset < shadow.fold.next() || record.offset >= checkpoint.next) continue;
    const Status taken = fold_one(shadow.fold, shadow.storage, log_.records(partition), partition, record);
    if (!taken) return fail("I4", "the log cannot be folded: " + taken.error().message);
  }
  if (const Status applied = apply(shadow.fold, shadow.storage); !applied) {
    return fail("I4", "the fold does not fit its own rows: " + applied.error().message);
  }
  MemoryViewReader reader(views_);
  const auto of_rows = digest_of_rows(reader, partition);
  if (!of_rows || !(*of_rows == checkpoint.digests)) {
    fail("I5",
         "partition " + std::to_string(partition.value()) + ": the rows are not those of their checkpoint");
  }
  if (!(shadow.fold.checkpoint().digests == checkpoint.digests)) {
    fail("I4", "partition " + std::to_string(partition.value()) + ": the views are not the fold of the log");
  }
  if (!(shadow.fold.checkpoint().admission == checkpoint.admission)) {
    fail("I4", "the checkpoint's admission state is not that of a reader from the start");
  }
}

void Oracles::check_partition_of_rows() {
  for (const View view : all_views()) {
    for (const Row& row : views_.tables[static_cast<std::size_t>(view)].rows()) {
      const Partition home = view == View::shard_owners
                                 ? Partition{static_cast<std::uint32_t>(row.integer(shard_owners::partition))}
                                 : partition_of(stream_of(view, row), log_.partitions());
      if (row.from.partition != home) fail("I12", describe(view, row) + " belongs to another partition");
    }
  }
}

void Oracles::check_log(Partition partition) {
  std::uint64_t hash = 0;
  std::set<Offset> counted;  // Admitted records: what every reader will count.
  AdmissionState admission;
  for (const LogRecord& record : log_.records(partition)) {
    hash = mixed(hash, record);
    const auto decoded = decode_record(*record.bytes);
    if (decoded && admit(admission, *decoded) == Verdict::admitted) counted.insert(record.offset);
  }
  if (hash != shadows_[partition.value()].hash) fail("I1", "a record of the log has changed");

  std::map<StreamId, std::uint64_t> sequences;
  std::set<std::pair<StreamId, CommandId>> commands;
  Epoch epoch;
  for (const AdmittedCommit& entry : admitted_commits(log_, partition)) {
    if (entry.commit.epoch < epoch) fail("I3", "an admitted epoch went backwards");
    epoch = entry.commit.epoch;
    const StreamId& deciding = entry.commit.parts.front().stream;
    if (entry.commit.command.id == CommandId{}) {
      fail("I2", "a commit on " + deciding.value() + " is of a command without an id");
    }
    if (!commands.emplace(deciding, entry.commit.command.id).second) {
      fail("I2", "command " + to_hex(entry.commit.command.id) + " took effect twice on " + deciding.value());
    }
    for (const Part& part : entry.commit.parts) {
      std::uint64_t& last = sequences[part.stream];
      if (part.first.value() != last + 1) fail("I3", part.stream.value() + ": its sequences jump");
      last += part.events.size();
    }
  }
  for (const LogPosition& position : acknowledged_) {
    if (position.partition == partition && !counted.contains(position.offset)) {
      fail("I1", "the acknowledged record " + to_string(position) + " does not count in the log");
    }
  }
}

void Oracles::check_states(Node* node) {
  std::map<StreamId, ActorState> replayed;
  // Every state that a stream has ever had, before its rulings and with them, to judge snapshots of any age.
  std::map<std::pair<StreamId, Sequence>, std::set<std::string>> history;
  for (std::uint32_t i = 0; i < shadows_.size(); ++i) {
    const EventPlaces ruled = admitted_rulings(log_, Partition{i});
    for (const EventPlaces& absent : {EventPlaces{}, ruled}) {
      std::map<StreamId, ActorState> states;
      for (const AdmittedCommit& entry : admitted_commits(log_, Partition{i})) {
        for (std::size_t part = 0; part < entry.commit.parts.size(); ++part) {
          const Part& one = entry.commit.parts[part];
          ActorState& state = states[one.stream];
          apply_part(state, entry.commit, one, entry.offset, part == 0, absent);
          history[{one.stream, state.sequence}].insert(encode_state(state));
        }
      }
      for (auto& [stream, state] : states) replayed[stream] = std::move(state);
      if (ruled.empty()) break;
    }
  }
  for (const auto& [stream, row] : snapshots_.snapshots) {
    const auto found = history.find({stream, row.sequence});
    if (found == history.end() || !found->second.contains(row.state)) {
      fail("I7", "the snapshot of " + stream.value() + " is not a state that the log gives");
    }
  }
  if (node == nullptr) return;
  for (const auto& [stream, state] : replayed) {
    const Shard* shard = node->shard(partition_of(stream, log_.partitions()));
    const auto resident = shard != nullptr ? shard->peek(stream) : std::nullopt;
    if (resident && !(*resident == state))
      fail("I7", "the state of " + stream.value() + " is not the log's replay");
  }
}

void Oracles::at_rest(World& world) {
  at_rest(world.up() ? &world.node() : nullptr);
}

void Oracles::at_rest(Node* node) {
  after_step();
  for (std::uint32_t i = 0; i < shadows_.size(); ++i) check_log(Partition{i});
  check_partition_of_rows();
  check_states(node);
}

}  // namespace varve::sim
