// LogOracle: reads every visible record of a log, judges it by an admission of its own, and knows what counts
// in it. What must hold of the log alone: I1 (append-only, and what was acknowledged counts for ever), I2
// (a command takes effect at most once), I3 (sequences without gaps, epochs and times of commits that never
// fall).
//
// It never uses eventlog/admission.cpp. A record is looked at once, when it becomes visible; at_rest() looks
// at all of them again.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "eventlog/admission.h"
#include "eventlog/event_log.h"
#include "sim/violation.h"

namespace varve::sim {

// The records that a reader could see, of whatever log.
class LogView {
 public:
  LogView() = default;
  LogView(const LogView&) = delete;
  LogView& operator=(const LogView&) = delete;
  virtual ~LogView() = default;
  virtual std::uint32_t partitions() const = 0;
  // The same vector every time, so that looking at its size costs nothing.
  virtual const std::vector<LogRecord>& records(Partition partition) const = 0;
};

// What a world has broken; bounded, because the first one says it all.
class Violations {
 public:
  static constexpr std::size_t kMax = 50;
  void add(std::string invariant, std::string what) {
    if (list_.size() < kMax) list_.push_back({std::move(invariant), std::move(what)});
  }
  const std::vector<Violation>& list() const { return list_; }

 private:
  std::vector<Violation> list_;
};

struct JudgedRecord {
  Offset offset;
  Verdict verdict = Verdict::foreign;
  std::shared_ptr<const Record> record;
  AdmissionState after;  // By the oracle's own admission.
  WallTime newest_at;    // Of the admitted records up to here.
  std::uint64_t hash = 0;

  bool admitted() const { return verdict == Verdict::admitted; }
  const Commit* commit() const { return std::get_if<Commit>(record.get()); }
};

// An admitted commit, as its streams see it.
struct StreamStep {
  Offset offset;
  Epoch epoch;
  Index n;
  CommandId command;
  Sequence first;
  std::uint64_t events = 0;
};

class LogOracle {
 public:
  LogOracle(const LogView& log, Violations& violations);

  // Called for every record, right after it has been judged and before the next one.
  using Listener = std::function<void(Partition, const JudgedRecord&)>;
  void on_judged(Listener listener) { listener_ = std::move(listener); }

  // What oracles see of a record that counts: with the texts of erasable streams opened.
  using Opener = std::function<std::shared_ptr<const Record>(std::shared_ptr<const Record>)>;
  void open_with(Opener opener) { opener_ = std::move(opener); }

  // Looks at what is new.
  void look();
  void look(Partition partition);
  void acknowledged(const LogPosition& position);
  void at_rest();
  // From now on nothing is expected of this partition's log: the world has truncated or damaged it.
  void give_up(Partition partition) { part(partition).given_up = true; }
  bool given_up(Partition partition) const { return part(partition).given_up; }

  std::uint32_t partitions() const { return static_cast<std::uint32_t>(parts_.size()); }
  const LogView& log() const { return log_; }
  const std::vector<JudgedRecord>& judged(Partition partition) const { return part(partition).judged; }
  // Place of the first record at `offset` or behind it.
  std::size_t index_of(Partition partition, Offset offset) const;
  const JudgedRecord* record_at(Partition partition, Offset offset) const;
  // The admitted commit of that place; null if there is none (yet).
  const JudgedRecord* commit_of(Partition partition, Epoch epoch, Index n) const;
  // The admitted claim of that epoch.
  const Claim* claim_of(Partition partition, Epoch epoch) const;
  const std::vector<StreamStep>& steps_of(const StreamId& stream) const;
  // Of every stream that has one.
  const std::map<StreamId, std::vector<StreamStep>>& streams() const { return streams_; }
  Epoch epoch(Partition partition) const;
  bool has_rulings(Partition partition) const { return !part(partition).rulings.empty(); }
  const std::vector<std::size_t>& rulings(Partition partition) const { return part(partition).rulings; }
  // Agents with an open turn, and its run.
  const std::map<StreamId, std::string>& open_turns() const { return open_turns_; }

 private:
  struct Seen {
    bool given_up = false;
    std::size_t seen = 0;
    std::vector<JudgedRecord> judged;
    AdmissionState admission;
    WallTime newest_at;
    std::map<std::pair<Epoch, Index>, std::size_t> commits;
    std::map<Epoch, std::size_t> claims;
    std::vector<std::size_t> rulings;
    std::map<StreamId, std::uint64_t> client_commands;  // So many of each stream.
  };
  Seen& part(Partition partition) { return parts_.at(partition.value()); }
  const Seen& part(Partition partition) const { return parts_.at(partition.value()); }

  void take(Partition partition, const LogRecord& record);
  void take_commit(Partition partition, const JudgedRecord& judged, const Commit& commit);
  void check_effect(Partition partition, Offset offset, const Commit& commit);
  void follow_turns(const JudgedRecord& judged, const Commit& commit);

  const LogView& log_;
  Violations& violations_;
  Listener listener_;
  Opener opener_;
  std::vector<Seen> parts_;
  std::map<StreamId, std::vector<StreamStep>> streams_;
  std::map<std::pair<StreamId, CommandId>, std::uint64_t> effects_;  // With the client command's number.
  std::map<CommandId, StreamId> creations_;
  std::map<StreamId, std::string> open_turns_;
  std::set<LogPosition> acknowledged_;
};

// "3:17"
inline std::string place(Partition partition, Offset offset) {
  return to_string(LogPosition{partition, offset});
}

}  // namespace varve::sim
