// StaticAssignment: one node that owns every partition, for ever. What a server on an embedded log has: its
// lock file keeps a second one away. Thread: the Env's.
#pragma once

#include <algorithm>

#include "cluster/assignment.h"
#include "runtime/suspend.h"

namespace varve {

class StaticAssignment final : public Assignment {
 public:
  StaticAssignment(Env& env, std::uint32_t partitions) : env_(env), partitions_(partitions) {}

  Task<AssignmentChange> next(MonoTime deadline) override {
    if (!given_ && !left_) {
      given_ = true;
      AssignmentChange change{AssignmentChange::Kind::assigned, 1, {}};
      for (std::uint32_t number = 0; number < partitions_; ++number)
        change.partitions.emplace_back(Partition{number});
      held_ = change.partitions;
      co_return change;
    }
    co_await sleep_until(env_, deadline);
    co_return Error{Errc::unavailable, "the assignment does not change"};
  }

  Task<bool> prove(Partition partition) override {
    co_return std::find(held_.begin(), held_.end(), partition) != held_.end();
  }

  void release(std::vector<Partition> partitions) override {
    for (const Partition partition : partitions) std::erase(held_, partition);
  }

  Task<> leave(MonoTime /*deadline*/) override {
    left_ = true;
    held_.clear();
    co_return ok();
  }

 private:
  Env& env_;
  std::uint32_t partitions_;
  bool given_ = false;
  bool left_ = false;
  std::vector<Partition> held_;
};

}  // namespace varve
