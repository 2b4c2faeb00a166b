// ViewProgress: how far the views of the active generation are, for whoever waits for a position. The
// worker's notifications are hints; a waiter also looks into the store, because another process may do the
// folding. Thread: the Env's.
#pragma once

#include <map>
#include <optional>
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

  // For the worker. The first record of the partition that somebody here waits for and that is not in the
  // views.
  std::optional<Offset> awaited(Partition partition) const;
  // Ends when somebody begins to wait for a record of any partition, or at the deadline.
  boost::asio::awaitable<void> wait_for_waiter(MonoTime deadline) { return wanted_.wait(env_, deadline); }

 private:
  class Waiting;
  boost::asio::awaitable<void> look(std::vector<LogPosition> positions);

  Env& env_;
  ViewStore& store_;
  std::map<Partition, Offset> next_;
  std::map<Partition, std::set<StreamId>> parked_;
  Notifier moved_;
  std::multiset<LogPosition> awaited_;
  Notifier wanted_;
};

}  // namespace varve
