// ViewProgress: how far the views of the active generation are, for whoever waits for a position. The
// worker's notifications are hints; a waiter also looks into the store, because another process may do the
// folding. Thread: the Env's.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "projections/view_store.h"
#include "runtime/sync.h"

namespace varve {

class ViewProgress {
 public:
  ViewProgress(Env& env, ViewStore& store) : env_(env), store_(store) {}

  // The views hold everything of `partition` before `next`.
  void advance(Partition partition, Offset next);
  void set_parked(Partition partition, const std::vector<StreamId>& parked);
  bool is_parked(const StreamId& stream) const;

  bool has_passed(const std::vector<LogPosition>& positions) const;
  // True once every position is in the views, false at the deadline.
  boost::asio::awaitable<bool> wait_for(std::vector<LogPosition> positions, MonoTime deadline);
  Offset next(Partition partition) const;

 private:
  boost::asio::awaitable<void> look(std::vector<LogPosition> positions);

  Env& env_;
  ViewStore& store_;
  std::map<Partition, Offset> next_;
  std::map<Partition, std::set<StreamId>> parked_;
  Notifier moved_;
};

}  // namespace varve
