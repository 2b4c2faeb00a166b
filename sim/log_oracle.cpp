#include "sim/log_oracle.h"

#include <algorithm>

namespace varve::sim {
namespace {

// A stream remembers so many client commands (DESIGN.md, I2).
constexpr std::uint64_t kRemembered = 256;

// Admission once more, from the words of the specification: a claim counts if its epoch is the newest + 1,
// and of the same cluster as the first one; anything else if its epoch is the newest and its n the next.
Verdict judge(AdmissionState& state, const Record& record) {
  std::uint64_t epoch = 0;
  std::uint64_t n = 0;
  if (const auto* claim = std::get_if<Claim>(&record)) {
    const bool first = state.cluster.empty();
    if (!first && state.cluster != claim->cluster) return Verdict::foreign;
    if (claim->epoch.value() != state.epoch.value() + 1) return Verdict::fenced;
    state = AdmissionState{claim->epoch, Index{0}, claim->cluster};
    return Verdict::admitted;
  }
  if (const auto* commit = std::get_if<Commit>(&record)) {
    epoch = commit->epoch.value();
    n = commit->n.value();
  } else if (const auto* ruling = std::get_if<Ruling>(&record)) {
    epoch = ruling->epoch.value();
    n = ruling->n.value();
  } else {
    return Verdict::foreign;
  }
  if (state.epoch.value() == 0 || epoch != state.epoch.value()) return Verdict::fenced;
  const std::uint64_t wanted = state.index.value() + 1;
  if (n < wanted) return Verdict::duplicate;
  if (n > wanted) return Verdict::gap;
  state.index = Index{n};
  return Verdict::admitted;
}

std::uint64_t hash_of(const LogRecord& record) {
  return xxh64(*record.bytes) ^ record.offset.value();
}

}  // namespace

LogOracle::LogOracle(const LogView& log, Violations& violations)
    : log_(log), violations_(violations), parts_(log.partitions()) {}

void LogOracle::look() {
  for (std::uint32_t i = 0; i < parts_.size(); ++i) {
    const Seen& one = parts_[i];
    if (log_.records(Partition{i}).size() != one.seen && !one.given_up) look(Partition{i});
  }
}

void LogOracle::look(Partition partition) {
  Seen& one = part(partition);
  if (one.given_up) return;
  const auto& records = log_.records(partition);
  if (records.size() < one.seen) {
    violations_.add("I1",
                    "the log of partition " + std::to_string(partition.value()) + " has become shorter");
    one.given_up = true;
    return;
  }
  while (one.seen < records.size() && !one.given_up) {
    const LogRecord& record = records[one.seen];
    ++one.seen;
    take(partition, record);
  }
}

void LogOracle::take(Partition partition, const LogRecord& record) {
  Seen& one = part(partition);
  if (!one.judged.empty() && record.offset <= one.judged.back().offset) {
    violations_.add("I1", "the offset " + place(partition, record.offset) + " is used again");
  }
  const auto read = decoded(record);
  if (!read) {
    violations_.add("I1", "record " + place(partition, record.offset) + ": " + read.error().message);
    one.given_up = true;
    return;
  }
  JudgedRecord judged;
  judged.offset = record.offset;
  judged.record = opener_ ? opener_(*read) : *read;
  judged.verdict = judge(one.admission, **read);
  judged.after = one.admission;
  judged.hash = hash_of(record);
  // A claim that was long on its way may be older than what it comes behind: nobody's events are dated by it.
  const bool is_claim = std::holds_alternative<Claim>(**read);
  const bool back_in_time = judged.admitted() && !is_claim && time_of(**read) < one.newest_at;
  if (judged.admitted()) one.newest_at = std::max(one.newest_at, time_of(**read));
  judged.newest_at = one.newest_at;
  one.judged.push_back(std::move(judged));
  const std::size_t index = one.judged.size() - 1;
  if (one.judged[index].admitted()) {
    if (const auto* commit = one.judged[index].commit()) {
      one.commits[{commit->epoch, commit->n}] = index;
      take_commit(partition, one.judged[index], *commit);
    } else if (std::holds_alternative<Claim>(**read)) {
      one.claims[one.admission.epoch] = index;
    } else {
      one.rulings.push_back(index);
    }
  }
  if (listener_) listener_(partition, one.judged[index]);
  if (back_in_time) {
    violations_.add("I3",
                    "the time of " + place(partition, record.offset) + " lies before an earlier record's");
  }
  // Its streams' histories hold it only now: the listener has seen them as they were before.
  if (!one.judged[index].admitted() || one.judged[index].commit() == nullptr) return;
  const Commit& commit = *one.judged[index].commit();
  for (const Part& born : commit.parts) {
    streams_[born.stream].push_back(
        {record.offset, commit.epoch, commit.n, commit.command.id, born.first, born.events.size()});
  }
}

void LogOracle::take_commit(Partition partition, const JudgedRecord& judged, const Commit& commit) {
  check_effect(partition, judged.offset, commit);
  for (const auto& one : commit.parts) {
    const auto& steps = steps_of(one.stream);
    const std::uint64_t wanted = steps.empty() ? 1 : steps.back().first.value() + steps.back().events;
    if (one.first.value() != wanted) {
      violations_.add("I3", one.stream.value() + " has the sequence " + std::to_string(one.first.value()) +
                                " at " + place(partition, judged.offset) + ", where " +
                                std::to_string(wanted) + " comes next");
    }
  }
  follow_turns(judged, commit);
}

void LogOracle::check_effect(Partition partition, Offset offset, const Commit& commit) {
  const StreamId& stream = commit.parts.front().stream;
  std::uint64_t& number = part(partition).client_commands[stream];
  if (commit.command.client) ++number;
  const auto [found, added] = effects_.emplace(std::pair{stream, commit.command.id}, number);
  // A stream may forget what lies behind its window, but not how it came to be.
  const bool creates = steps_of(stream).empty() || creations_.contains(commit.command.id);
  if (!added && (creates || number - found->second <= kRemembered)) {
    violations_.add("I2", "the command " + to_hex(commit.command.id) + " has taken effect on " +
                              stream.value() + " before, and again at " + place(partition, offset));
  }
  found->second = number;
  const bool entity = stream.value().starts_with("agent-") || stream.value().starts_with("block-");
  if (!entity || commit.parts.front().first != Sequence{1}) return;
  const auto [creation, first] = creations_.emplace(commit.command.id, stream);
  if (!first && creation->second != stream) {
    violations_.add("I2", "the command " + to_hex(commit.command.id) + " has created both " +
                              creation->second.value() + " and " + stream.value());
  }
}

void LogOracle::follow_turns(const JudgedRecord& judged, const Commit& commit) {
  for (const auto& one : commit.parts) {
    for (const StoredEvent& stored : one.events) {
      const auto* event = std::get_if<Event>(&stored);
      if (event == nullptr) continue;
      if (const auto* begun = std::get_if<UserMessageReceived>(event)) {
        const auto open = open_turns_.find(one.stream);
        if (open != open_turns_.end()) {
          violations_.add("I2", one.stream.value() + " begins the turn " + begun->run_id + " while " +
                                    open->second + " is open (offset " +
                                    std::to_string(judged.offset.value()) + ")");
        }
        open_turns_[one.stream] = begun->run_id;
      } else if (std::holds_alternative<TurnFinished>(*event) || std::holds_alternative<TurnFailed>(*event) ||
                 std::holds_alternative<TurnCancelled>(*event) ||
                 std::holds_alternative<AgentDeleted>(*event) ||
                 std::holds_alternative<AgentErased>(*event)) {
        open_turns_.erase(one.stream);
      }
    }
  }
}

void LogOracle::acknowledged(const LogPosition& position) {
  if (position.partition.value() >= parts_.size()) {
    return violations_.add("I1", "acknowledged at " + to_string(position) + ", where there is no partition");
  }
  look(position.partition);
  if (!acknowledged_.insert(position).second || given_up(position.partition)) return;
  const JudgedRecord* found = record_at(position.partition, position.offset);
  if (found == nullptr || !found->admitted()) {
    violations_.add("I1", "acknowledged at " + to_string(position) + ", where no record counts");
  }
}

void LogOracle::at_rest() {
  look();
  for (std::uint32_t i = 0; i < parts_.size(); ++i) {
    const Partition partition{i};
    const Seen& one = parts_[i];
    if (one.given_up) continue;
    const auto& records = log_.records(partition);
    AdmissionState admission;
    for (std::size_t at = 0; at < records.size(); ++at) {
      if (records[at].offset != one.judged[at].offset || hash_of(records[at]) != one.judged[at].hash) {
        violations_.add("I1", "the record " + place(partition, one.judged[at].offset) + " has changed");
        break;
      }
      const auto read = decode_record(*records[at].bytes);
      if (!read || judge(admission, *read) != one.judged[at].verdict) {
        violations_.add("I1", "the record " + place(partition, one.judged[at].offset) + " reads differently");
        break;
      }
    }
  }
  for (const LogPosition& position : acknowledged_) {
    if (given_up(position.partition)) continue;
    const JudgedRecord* found = record_at(position.partition, position.offset);
    if (found == nullptr || !found->admitted()) {
      violations_.add("I1", "the acknowledged record " + to_string(position) + " does not count in the log");
    }
  }
}

std::size_t LogOracle::index_of(Partition partition, Offset offset) const {
  const auto& judged = part(partition).judged;
  const auto before = [](const JudgedRecord& record, Offset wanted) { return record.offset < wanted; };
  return static_cast<std::size_t>(std::lower_bound(judged.begin(), judged.end(), offset, before) -
                                  judged.begin());
}

const JudgedRecord* LogOracle::record_at(Partition partition, Offset offset) const {
  const auto& judged = part(partition).judged;
  const std::size_t index = index_of(partition, offset);
  return index < judged.size() && judged[index].offset == offset ? &judged[index] : nullptr;
}

const JudgedRecord* LogOracle::commit_of(Partition partition, Epoch epoch, Index n) const {
  const Seen& one = part(partition);
  const auto found = one.commits.find({epoch, n});
  return found == one.commits.end() ? nullptr : &one.judged[found->second];
}

const Claim* LogOracle::claim_of(Partition partition, Epoch epoch) const {
  const Seen& one = part(partition);
  const auto found = one.claims.find(epoch);
  return found == one.claims.end() ? nullptr : std::get_if<Claim>(one.judged[found->second].record.get());
}

const std::vector<StreamStep>& LogOracle::steps_of(const StreamId& stream) const {
  static const std::vector<StreamStep> kNone;
  const auto found = streams_.find(stream);
  return found == streams_.end() ? kNone : found->second;
}

Epoch LogOracle::epoch(Partition partition) const {
  return part(partition).admission.epoch;
}

}  // namespace varve::sim
