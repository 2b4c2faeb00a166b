// The fold of the built-in projection `core`: from admitted records to row changes. It reads nothing:
// everything that a change closes is named in the event; only where a ruling has skipped an event it asks
// which rows are there. It touches rows of the record's own partition only (I12). Pure.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "eventlog/admission.h"
#include "eventlog/event_log.h"
#include "eventlog/rulings.h"
#include "projections/view_store.h"

namespace varve {

inline constexpr const char* kCoreProjection = "core";

// What a fold that is not this program's makes of the rows of a batch, before they are summed and stored: how
// tests have the fold of another version.
using RowRewrite = std::function<void(std::vector<RowChange>&)>;

// An entity of a view.
using RowKey = std::pair<View, std::vector<Value>>;

struct FoldOutput {
  std::vector<RowChange> changes;
  std::vector<QuarantineRow> quarantined;
};

// Folds one admitted record. Events that cannot be folded park their stream: it is added to `parked`, and the
// rest of its part and all its later parts are listed in quarantine instead of folded. Other streams go on.
void fold_record(const Record& record, LogPosition position, std::set<StreamId>& parked, FoldOutput& out);

// Admission and fold of one partition, record by record: what the worker, rebuilds, verification and tests
// share.
//
// A stream that is parked waits at an event. It goes on in one of two ways (projections/quarantine.h brings
// what they need): an admitted ruling that names this event skips it, and what has waited becomes valid at
// the ruling's position; or it is tried again, and what has waited becomes valid where it would have been.
class PartitionFold {
 public:
  // `quarantine`: the rows of this partition, as the store orders them.
  PartitionFold(Partition partition, const Checkpoint& checkpoint,
                const std::vector<QuarantineRow>& quarantine);

  // Parks at these events also if they can be folded: a ruling about them follows in the log, or the views
  // that this fold is compared with are parked there.
  void stop_at(const EventPlaces& places) { stops_.insert(places.begin(), places.end()); }
  // Null: nothing is changed.
  void rewrite_with(RowRewrite rewrite) { rewrite_ = std::move(rewrite); }

  // Errc::corrupt for a record that cannot be decoded: it stops the partition and is never skipped.
  // Errc::invalid_argument, and nothing has changed, for a ruling that releases a stream: take_ruling().
  Status take(const LogRecord& record);
  // The event that the record last taken, a ruling, is about, if this fold has not stopped at it: either an
  // earlier ruling was about it, too, or its rows are there and should not be.
  const std::optional<EventPlace>& met_late() const { return met_late_; }
  // Where the stream waits that this record releases; empty for every record that releases none.
  std::vector<Offset> released_by(const LogRecord& record) const;
  // Such a ruling, as the first record of a batch. `waiting`: the records at released_by(). fit() follows.
  Status take_ruling(const LogRecord& record, const std::vector<LogRecord>& waiting);

  // Where this stream waits; empty if it is not parked.
  std::vector<Offset> waiting_at(const StreamId& stream) const;
  // Tries again what waits of a parked stream, in a batch of its own. `rulings`: those of the stream before
  // the checkpoint, in order. fit() follows.
  Status try_again(const StreamId& stream, const std::vector<LogRecord>& waiting,
                   const std::vector<FoundRuling>& rulings);

  // What a skipped event would have done is not there: a row that it would have opened cannot be closed, and
  // one that it would have closed is closed when its successor comes. The same for everybody, because the
  // rows of a stream that are open at a position are. to_fit(): the entities to look up. `open`: those of
  // them that have an open row in this partition.
  std::set<RowKey> to_fit() const;
  void fit(std::set<RowKey> open);

  // The batch since the last call, with the checkpoint moved and the digests brought up to date.
  Batch take_batch();
  bool empty() const { return !first_; }
  std::size_t changes() const { return output_.changes.size(); }
  Partition partition() const { return partition_; }
  Offset next() const { return checkpoint_.next; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  // The first event at which each parked stream waits.
  EventPlaces parked_at() const;

 private:
  struct Waiting {
    Offset offset;
    std::int64_t event = 0;  // -1: the whole part.
  };
  using Queue = std::vector<Waiting>;
  struct Release {
    // Everything of a lower position becomes valid with it.
    std::optional<FoundRuling> ruling;
    bool skip_first = false;
  };

  void step_over(const LogRecord& record, const Record& read);
  const Ruling* releasing(const Record& record) const;
  bool is_late(const Ruling& ruling) const;
  Status fold_waiting(const StreamId& stream, const std::vector<LogRecord>& waiting, const Release& release);
  void remember_waiting(std::size_t known);

  Partition partition_;
  Checkpoint checkpoint_;
  Offset begun_;  // Where this fold began.
  Offset taken_;  // Where the next batch begins.
  EventPlaces stops_;
  RowRewrite rewrite_;
  std::optional<EventPlace> met_late_;
  std::set<StreamId> parked_;
  std::map<StreamId, Queue> waiting_;  // Of the parked streams, in order.
  FoldOutput output_;
  std::size_t to_fit_ = 0;  // So many of the changes are valid from a ruling's position.
  std::vector<StreamId> released_;
  std::optional<Offset> first_;  // Of the open batch.
  WallTime first_at_;
};

}  // namespace varve
