// ViewProgress: how far the views of the active generation are, for whoever waits for a position. The
// worker's notifications are hints; a waiter also looks into the store, because another process may do the
// folding: a partition that was seen to be folded elsewhere is looked for sooner. Thread: the Env's.
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
  // The longest time between two looks of a waiter.
  static constexpr Duration kLook{std::chrono::milliseconds{200}};

  // `first_look`: when somebody looks who waits for a partition that others fold; the next look is after
  // twice the time, and so on.
  ViewProgress(Env& env, ViewStore& store, Duration first_look)
      : env_(env), store_(store), first_look_(first_look) {}
  ViewProgress(Env& env, ViewStore& store) : ViewProgress(env, store, kLook) {}

  // The views hold everything of `partition` before `next`: said by who folds it here.
  void advance(Partition partition, Offset next);
  // Somebody else has moved the views of `partition`, or may have: looks, if it is waited for. What looks at
  // once comes together: the next look begins when this one has ended.
  void hint(Partition partition);
  void hint_all();
  void set_parked(Partition partition, const std::vector<StreamId>& parked);
  bool is_parked(const StreamId& stream) const;

  bool has_passed(const std::vector<LogPosition>& positions) const;
  // True once every position is in the views, false at the deadline.
  boost::asio::awaitable<bool> wait_for(std::vector<LogPosition> positions, MonoTime deadline);
  Offset next(Partition partition) const;

  // For the worker. A record of the partition that somebody waits for and that is not in the views: the first
  // that is waited for here, otherwise the last that is waited for elsewhere.
  std::optional<Offset> awaited(Partition partition) const;
  // A caller at another process waits for these, which are in the log. A hint: it lets the worker here not
  // wait for more before it commits.
  void awaited_elsewhere(const std::vector<LogPosition>& positions);
  // Ends when somebody begins to wait for a record of any partition, or at the deadline.
  boost::asio::awaitable<void> wait_for_waiter(MonoTime deadline) { return wanted_.wait(env_, deadline); }

 private:
  class Waiting;
  boost::asio::awaitable<void> look(std::vector<LogPosition> positions);
  Task<> look_at_hinted();
  bool are_folded_elsewhere(const std::vector<LogPosition>& positions) const;
  bool move(Partition partition, Offset next);
  std::optional<Offset> awaited_here(Partition partition) const;

  Env& env_;
  ViewStore& store_;
  Duration first_look_;
  std::map<Partition, Offset> next_;
  std::map<Partition, std::set<StreamId>> parked_;
  std::set<Partition> elsewhere_;  // Moved by somebody else since they last moved here.
  Notifier moved_;
  std::multiset<LogPosition> awaited_;
  std::map<Partition, Offset> awaited_elsewhere_;  // The last one of each.
  Notifier wanted_;
  std::set<Partition> hinted_;
  bool looking_ = false;  // Because of a hint.
};

}  // namespace varve
