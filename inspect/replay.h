// PartitionReplay: one partition of a log, played again through admission, the actors' `apply` and the fold,
// with what each event has changed in its actor's state and in the views.
//
// It stands behind the record that it took last. It never goes back: whoever wants to makes a new one. It
// needs memory for the actors and rows of the partition.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/actor_state.h"
#include "inspect/causes.h"
#include "inspect/json_changes.h"
#include "inspect/log_fold.h"
#include "inspect/view_facts.h"

namespace varve {

struct ReplayedEvent {
  StreamId stream;
  Sequence sequence;
  std::string type;
  std::string data;        // JSON.
  std::string run;         // The turn that it belongs to, or empty.
  std::string unreadable;  // Why this program cannot read it; empty: it can.
  std::string waits;       // Why the views did not fold it; empty: they did.
  // Of one that was carried here (EventTeleported): what happened at its source, in words; else empty.
  std::string carried;
  std::vector<JsonChange> state;  // Of its actor.
  std::vector<RowDelta> rows;
};

struct ReplayedRecord {
  LogPosition position;
  WallTime at;
  std::shared_ptr<const Record> record;  // Null: it cannot be decoded.
  std::optional<Verdict> verdict;        // Nothing: it cannot be decoded.
  std::string fault;                     // What is wrong with it; readers stop at a record without a verdict.
  std::vector<ReplayedEvent> events;     // Of a commit, also of one that does not count.
  std::vector<RowDelta> rows;            // That a claim or a ruling has changed.
  std::vector<JsonChange> state;         // Of the stream that a ruling is about.
  std::optional<Cause> cause;            // Of a commit.

  bool counts() const { return verdict == Verdict::admitted; }
  const Commit* commit() const { return record ? std::get_if<Commit>(&*record) : nullptr; }
  bool concerns(const StreamId& stream) const;
};

class PartitionReplay {
 public:
  // `log` must outlive it. `causes`: what is known of other partitions.
  PartitionReplay(EventLog& log, Partition partition, Causes causes);

  Task<> begin(Offset end) { return fold_.begin(end); }
  // The next record, with all that it has changed.
  Task<ReplayedRecord> take(LogRecord record);
  // The next record, of which nothing is told.
  Task<> pass(LogRecord record);

  // The actor's state as JSON, as its snapshot would hold it; empty: there is no such stream (yet).
  std::string state_of(const StreamId& stream) const;
  // What an expression sees; `record` and its event `number`, if it has one, are the event. kNoEvent: nothing
  // is known of the event.
  Result<bool> holds(const Expression& expression, const std::optional<StreamId>& about,
                     const ReplayedRecord& record, std::size_t number) const;
  // The first event of the record behind which the condition holds. If it is about a stream, the events of
  // others are none; their records may make a condition on rows true all the same.
  Result<std::optional<std::size_t>> first_held(const Expression& expression,
                                                const std::optional<StreamId>& about,
                                                const ReplayedRecord& record) const;
  const MemoryViewStorage& views() const { return *storage_; }
  Partition partition() const { return partition_; }

 private:
  void replay_parts(const Commit& commit, const Folded& folded, ReplayedRecord& replayed);
  void apply_parts(const Commit& commit, Offset offset);
  Task<> obey(Ruling ruling, Offset at, std::shared_ptr<ReplayedRecord> replayed);

  EventLog& log_;
  Partition partition_;
  Causes causes_;
  std::unique_ptr<MemoryViewStorage> storage_ = std::make_unique<MemoryViewStorage>();
  LogFold fold_;
  std::map<StreamId, ActorState> actors_;
  EventPlaces absent_;  // That a ruling has named so far.
};

// A record by itself, without what it has changed and without its cause.
ReplayedRecord bare_record(LogPosition position, const LogRecord& record);

// The value of a field of an event of a replayed record.
inline constexpr std::size_t kNoEvent = static_cast<std::size_t>(-1);
Value field_of(const ReplayedRecord& record, std::size_t number, EventField field);

// All admitted records of the log, noted.
Task<Causes> read_causes(EventLog& log);

}  // namespace varve
