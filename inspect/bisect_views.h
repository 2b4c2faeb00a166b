// Bisect by the views of a store: the states between two cuts are read as of cuts, O(log n) of them, and the
// log is read only for the times of records. Nothing is folded, so it costs a server little, however long the
// log is.
//
// The order is that of inspect/bisect.h: time, partition, offset. The cut of a time takes all partitions up
// to it, so halving goes by times, always by that of a record in the middle of what is left; records of one
// time are then halved in the order of their places. Offsets that do not count change nothing, wherever they
// are put.
//
// The views must be those of the log and hold the bad cut. What came of parked streams that were tried again
// is at its old place, as it is for all who read as of a cut.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inspect/bisect.h"
#include "projections/view_store.h"
#include "runtime/env.h"

namespace varve {

// All outlive the call.
struct AskedViews {
  Env& env;
  EventLog& log;
  ViewStore& views;
};

// States as of cuts that the views hold.
class ViewStates final : public PastStates {
 public:
  explicit ViewStates(ViewStore& views) : views_(views) {}
  Task<bool> holds(std::shared_ptr<const Expression> where, std::optional<StreamId> about,
                   PastCut cut) override;

 private:
  ViewStore& views_;
};

struct CutsInViews {
  PastCut good;
  PastCut bad;
  std::vector<std::string> remarks;  // Streams that are parked. For people.
};
// What the texts mean, as of History::cut_of(); empty ones are the empty log and all that the log has now.
// Errc::invalid_argument: a cut that is none, or beyond the end of the log. Every other error: these views
// cannot be asked, and why. Waits up to `patience` for views that lie behind.
Task<CutsInViews> cuts_in_views(AskedViews asked, std::string good, std::string bad, Duration patience);

// As bisect() with Find::any, of cuts that the views hold; `records` counts offsets.
Task<BisectAnswer> bisect_views(AskedViews asked, std::shared_ptr<const Expression> where,
                                std::optional<StreamId> about, PastCut good, PastCut bad);

}  // namespace varve
