#include "sim/state_oracle.h"

#include <algorithm>

#include "actors/state_codec.h"

namespace varve::sim {
namespace {

// What a call of a memory tool has put into a block is named after the call (sim/sim_model.cpp): "note
// <tag>". Gives back the first tag that is there twice.
std::optional<std::string> doubled_note(std::string_view value) {
  constexpr std::string_view kNote = "note ";
  std::set<std::string> tags;
  for (std::size_t at = value.find(kNote); at != std::string_view::npos; at = value.find(kNote, at + 1)) {
    const std::size_t end = std::min(value.find_first_of(" \n", at + kNote.size()), value.size());
    std::string tag(value.substr(at, end - at));
    if (!tags.insert(tag).second) return tag;
  }
  return std::nullopt;
}

}  // namespace

StateOracle::StateOracle(LogOracle& log, StatesView& states, Violations& violations, Options options)
    : log_(log), states_(states), violations_(violations), options_(options) {}

void StateOracle::look() {
  if (!options_.snapshots_are_kept) return;
  for (std::uint32_t i = 0; i < log_.partitions(); ++i) {
    const Partition partition{i};
    if (log_.given_up(partition) || log_.has_rulings(partition)) continue;
    const auto row = states_.recovery(partition);
    if (!row || moved_[partition] == row->version) continue;
    moved_[partition] = row->version;
    check_moved(*row);
  }
}

void StateOracle::check_moved(const RecoveryRow& row) {
  std::map<StreamId, SnapshotRow> rows;
  states_.snapshots([&rows, &row](const SnapshotRow& snapshot) {
    if (snapshot.partition == row.partition) rows.emplace(snapshot.stream, snapshot);
  });
  for (const auto& [stream, steps] : log_.streams()) {
    if (partition_of(stream, log_.partitions()) != row.partition) continue;
    const Sequence needed = sequence_before(stream, row.next);
    const auto found = rows.find(stream);
    const bool corrupt = found != rows.end() && found->second.corrupt;
    const Sequence there = found == rows.end() ? Sequence{} : found->second.sequence;
    if (corrupt || there >= needed) continue;
    violations_.add("I7", "the recovery row of partition " + std::to_string(row.partition.value()) +
                              " has passed sequence " + std::to_string(needed.value()) + " of " +
                              stream.value() + ", whose snapshot ends at " + std::to_string(there.value()));
  }
}

void StateOracle::at_rest() {
  replay();
  snapshots_.clear();
  states_.snapshots([this](const SnapshotRow& row) { check_snapshot(row); });
  for (std::uint32_t i = 0; i < log_.partitions(); ++i) {
    if (log_.given_up(Partition{i})) continue;
    if (const auto row = states_.recovery(Partition{i})) check_recovery(*row);
  }
  for (const Resident& resident : states_.residents()) {
    if (!log_.given_up(resident.partition)) check_resident(resident);
  }
}

void StateOracle::replay() {
  replayed_.clear();
  streams_.clear();
  ruled_.clear();
  for (std::uint32_t i = 0; i < log_.partitions(); ++i) {
    std::map<StreamId, std::vector<Step>> steps;
    std::vector<Ruling> rulings;
    for (const JudgedRecord& record : log_.judged(Partition{i})) {
      if (!record.admitted()) continue;
      if (const auto* ruling = std::get_if<Ruling>(record.record.get())) rulings.push_back(*ruling);
      const Commit* commit = record.commit();
      for (std::size_t part = 0; commit != nullptr && part < commit->parts.size(); ++part) {
        steps[commit->parts[part].stream].push_back({commit, part, record.offset});
      }
    }
    for (const auto& [stream, its_steps] : steps) {
      streams_[stream] = Partition{i};
      replay_stream(stream, its_steps, {});
    }
    for (const Ruling& ruling : rulings) {
      EventPlaces& absent = ruled_[ruling.stream];
      absent.insert(place_of(ruling));
      if (const auto found = steps.find(ruling.stream); found != steps.end()) {
        replay_stream(ruling.stream, found->second, absent);
      }
    }
  }
}

void StateOracle::replay_stream(const StreamId& stream, const std::vector<Step>& steps,
                                const EventPlaces& absent) {
  ActorState state;
  for (const Step& step : steps) {
    apply_part(state, *step.commit, step.commit->parts[step.part], step.offset, step.part == 0, absent);
    replayed_[{stream, state.sequence}].insert(encode_state(state));
  }
  if (const BlockState* block = state.block()) {
    if (const auto note = doubled_note(block->value.value)) {
      violations_.add("I8", "the call of a tool has edited " + stream.value() + " twice: " + *note);
    }
  }
}

bool StateOracle::is_state(const StreamId& stream, Sequence sequence, const std::string& state) const {
  const auto found = replayed_.find({stream, sequence});
  return found != replayed_.end() && (found->second.contains(state) || found->second.contains(opened(state)));
}

std::string StateOracle::opened(const std::string& state) const {
  if (!options_.open) return state;
  auto decoded = decode_state(state);
  if (!decoded || !decoded->erasable) return state;
  options_.open(*decoded);
  return encode_state(*decoded);
}

Sequence StateOracle::sequence_before(const StreamId& stream, Offset next) const {
  const auto& steps = log_.steps_of(stream);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (step->offset < next) return Sequence{step->first.value() + step->events - 1};
  }
  return Sequence{};
}

void StateOracle::check_snapshot(const SnapshotRow& row) {
  // What the world has damaged is told by its hash, and whoever loads it sees that.
  if (xxh64(row.state) != row.hash || log_.given_up(row.partition)) return;
  if (!is_state(row.stream, row.sequence, row.state)) {
    return violations_.add("I7", "the snapshot of " + row.stream.value() + " at sequence " +
                                     std::to_string(row.sequence.value()) +
                                     " is not a state that the log gives");
  }
  if (row.born != log_.steps_of(row.stream).front().offset) {
    violations_.add("I7", "the snapshot of " + row.stream.value() + " names another birth than the log");
  }
  snapshots_[row.stream] = row.sequence;
}

void StateOracle::check_recovery(const RecoveryRow& row) {
  const std::string name = "the recovery row of partition " + std::to_string(row.partition.value());
  const std::size_t end = log_.index_of(row.partition, row.next);
  const auto& judged = log_.judged(row.partition);
  if (end == 0) return;
  const JudgedRecord& last = judged[end - 1];
  const LogRecord& record = log_.log().records(row.partition)[end - 1];
  if (end == judged.size() && row.next > next(last.offset)) {
    violations_.add("I7", name + " lies beyond the end of the log");
  }
  if (!(row.admission == last.after)) {
    violations_.add("I7", name + " has not the admission state of a reader from the start");
  }
  if (row.mark.none || row.mark.offset != last.offset || row.mark.hash != xxh64(*record.bytes)) {
    violations_.add("I7", name + " has another mark than the last record before it");
  }
  std::uint64_t born = 0;
  for (const auto& [stream, partition] : streams_) {
    if (partition != row.partition || !(log_.steps_of(stream).front().offset < row.next)) continue;
    ++born;
    const auto& steps = log_.steps_of(stream);
    const bool quiet = steps.back().offset < row.next;
    if (!options_.snapshots_are_kept || !quiet || ruled(stream)) continue;
    const auto snapshot = snapshots_.find(stream);
    if (snapshot == snapshots_.end() || snapshot->second < sequence_before(stream, row.next)) {
      violations_.add("I7", name + " lies behind the last record of " + stream.value() +
                                ", which has no snapshot of that state");
    }
  }
  if (row.streams != born) {
    violations_.add("I7", name + " counts " + std::to_string(row.streams) + " streams; the log has " +
                              std::to_string(born));
  }
}

void StateOracle::check_resident(const Resident& resident) {
  for (const auto& [stream, partition] : streams_) {
    if (partition != resident.partition) continue;
    const auto state = resident.peek(stream);
    if (!state || state->sequence == Sequence{}) continue;
    const std::string what = resident.node + "'s state of " + stream.value() + " at sequence " +
                             std::to_string(state->sequence.value());
    if (!is_state(stream, state->sequence, encode_state(*state))) {
      violations_.add("I7", what + " is not the log's replay");
    } else if (!ruled(stream) && state->sequence < sequence_before(stream, resident.next)) {
      violations_.add("I7", what + " lacks what its owner has read");
    }
  }
}

}  // namespace varve::sim
