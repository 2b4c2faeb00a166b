// LogReplay: one partition of the log folded anew up to a place, some records at a time: what the
// verification that goes on in the background compares stored views with. It keeps no rows but those of
// streams about which there are rulings: what such a ruling releases has to be fitted to them.
//
// Pure: whoever drives it reads the log, and may run take() on a lane.
#pragma once

#include <functional>
#include <set>
#include <vector>

#include "projections/fold.h"
#include "projections/memory_view_store.h"

namespace varve {

// Applies a batch to rows that are kept of a part of the log only, wherever they end.
Status keep_rows(MemoryViewStorage& storage, Batch batch);

class LogReplay {
 public:
  // Gets every batch; an Error ends the replay.
  using Sink = std::function<Status(Batch&)>;
  struct Place {
    Partition partition;
    Offset to;
    EventPlaces parked;  // Where the stored views are parked, before `to`.
    EventPlaces ruled;   // Events about which there are rulings before `to`.
  };

  LogReplay(Place place, RowRewrite rewrite, Sink sink);

  Partition partition() const { return place_.partition; }
  Offset to() const { return place_.to; }
  Offset next() const { return fold_.next(); }
  bool done() const { return fold_.next() >= place_.to; }
  const Checkpoint& checkpoint() const { return fold_.checkpoint(); }

  // How many of the records it has folded: all of them before `to` or before one that releases a stream.
  // Their `decode` must be nobody else's on another thread.
  Result<std::size_t> take(const std::vector<LogRecord>& records);
  // As PartitionFold::released_by(), and such a ruling with what waits for it.
  std::vector<Offset> released_by(const LogRecord& record) const { return fold_.released_by(record); }
  Status take_ruling(const LogRecord& record, const std::vector<LogRecord>& waiting);

 private:
  bool is_kept(const LogRecord& record) const;
  Status flush(bool kept);

  Place place_;
  PartitionFold fold_;
  std::set<StreamId> kept_streams_;
  MemoryViewStorage kept_;
  Sink sink_;
};

}  // namespace varve
