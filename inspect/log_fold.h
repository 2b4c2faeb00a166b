// LogFold: one partition of a log, judged and folded into views in memory, record by record, as the
// projection does it; besides it tells what each record has changed, and goes on where a projection stops:
// this is for looking, and a damaged log is what people look at.
//
// Rulings are obeyed as in projections/verify.cpp: who is parked at an event waits until its ruling.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "projections/fold.h"
#include "projections/memory_view_store.h"

namespace varve {

// What became of one row of a view.
struct RowDelta {
  View view = View::agents;
  std::optional<Row> before;  // Its open version before; nothing: there was none.
  std::optional<Row> after;   // The new version; nothing: it was closed.
};

struct Folded {
  std::shared_ptr<const Record> record;  // Null: it cannot be decoded.
  std::optional<Verdict> verdict;        // Nothing: it cannot be decoded.
  std::string fault;                     // Why it cannot be decoded, or not be folded.
  std::vector<RowChange> changes;        // If they were asked for.
  std::vector<RowDelta> rows;            // The same, put together.
  std::vector<QuarantineRow> parked;     // Events that wait from now on.
};

class LogFold {
 public:
  enum class Detail : bool { none, changes };

  // `log` and `storage` must outlive it; partitions may share a storage.
  LogFold(EventLog& log, Partition partition, MemoryViewStorage& storage)
      : log_(log), partition_(partition), storage_(storage), fold_(partition, Checkpoint{}, {}) {}

  // Before the first record: learns which events have rulings in what will be folded.
  Task<> begin(Offset end);
  // The next record. An Error only if the log could not be read.
  Task<Folded> take(LogRecord record, Detail detail);
  // What was taken without detail is in the storage afterwards.
  Status flush();

  const AdmissionState& admission() const { return fold_.checkpoint().admission; }

 private:
  Task<> take_ruling(LogRecord record, std::shared_ptr<Folded> folded);
  void apply(Folded& folded);

  EventLog& log_;
  Partition partition_;
  MemoryViewStorage& storage_;
  PartitionFold fold_;
  std::string broken_;  // Why the views have stopped.
};

// Reads a partition from `from` up to `end`, in order, and calls `take`. A record that the log itself calls
// damaged is given to `damaged` and stepped over. `take` says whether to go on.
class LogVisitor {
 public:
  LogVisitor() = default;
  LogVisitor(const LogVisitor&) = delete;
  LogVisitor& operator=(const LogVisitor&) = delete;
  virtual ~LogVisitor() = default;
  virtual Task<bool> take(LogRecord record) = 0;
  virtual Task<bool> damaged(Offset offset, std::string why) = 0;
};
// Every record of [from, end), which lies at the log's end or before it. The log's Errors, and the visitor's.
Task<> visit_log(EventLog& log, Partition partition, Offset from, Offset end, LogVisitor& visitor);

}  // namespace varve
