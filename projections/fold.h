// The fold of the built-in projection `core`: from admitted records to row changes. It reads nothing:
// everything that a change closes is named in the event. It touches rows of the record's own partition only
// (I12). Pure.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "eventlog/admission.h"
#include "eventlog/event_log.h"
#include "projections/view_store.h"

namespace varve {

inline constexpr const char* kCoreProjection = "core";

struct FoldOutput {
  std::vector<RowChange> changes;
  std::vector<QuarantineRow> quarantined;
};

// Folds one admitted record. Events that cannot be folded park their stream: it is added to `parked`, and the
// rest of its part and all its later parts are listed in quarantine instead of folded. Other streams go on.
void fold_record(const Record& record, LogPosition position, std::set<StreamId>& parked, FoldOutput& out);

// Admission and fold of one partition, record by record: what the worker, rebuilds, verification and tests
// share.
class PartitionFold {
 public:
  PartitionFold(Partition partition, const Checkpoint& checkpoint, const std::vector<StreamId>& parked);

  // Errc::corrupt for a record that cannot be decoded: it stops the partition and is never skipped.
  Status take(const LogRecord& record);
  // The batch since the last call, with the checkpoint moved and the digests brought up to date.
  Batch take_batch();
  bool empty() const { return !first_; }
  std::size_t changes() const { return output_.changes.size(); }
  Offset next() const { return checkpoint_.next; }
  const Checkpoint& checkpoint() const { return checkpoint_; }

 private:
  Partition partition_;
  Checkpoint checkpoint_;
  std::set<StreamId> parked_;
  FoldOutput output_;
  std::optional<Offset> first_;  // Of the open batch.
  WallTime first_at_;
};

}  // namespace varve
