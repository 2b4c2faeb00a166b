#include "cluster/member.h"

#include <algorithm>

namespace varve {
namespace {

constexpr std::chrono::seconds kAssignmentWait{60};
constexpr std::chrono::milliseconds kRetryWait{100};
constexpr std::chrono::seconds kJoinWait{60};

}  // namespace

ClusterMember::ClusterMember(Env& env, Assignment& assignment, MakeShard make, Options options)
    : env_(env), assignment_(assignment), make_(std::move(make)), options_(options) {}

void ClusterMember::start() {
  env_.spawn("assignment", follow());
}

Task<> ClusterMember::follow() {
  while (!leaving_) {
    const MonoTime deadline = env_.now() + kAssignmentWait;
    auto change = co_await assignment_.next(deadline);
    if (leaving_) break;
    if (!change) {
      if (change.error().code != Errc::unavailable) {
        failure_ = change.error();
        changed_.notify_all();
        co_return change.error();
      }
      if (env_.now() < deadline) co_await sleep_for(env_, kRetryWait);  // It cannot be reached.
      continue;
    }
    joined_ = true;
    for (const Partition partition : change->partitions) {
      switch (change->kind) {
        case AssignmentChange::Kind::assigned:
          assigned(partition);
          break;
        case AssignmentChange::Kind::revoked:
          revoked(partition);
          break;
        case AssignmentChange::Kind::lost:
          lost(partition);
          break;
      }
    }
    changed_.notify_all();
  }
  co_return ok();
}

void ClusterMember::assigned(Partition partition) {
  const auto found = holdings_.find(partition);
  if (found != holdings_.end()) {
    if (!found->second->revoked) return;  // It is held already.
    lost(partition);                      // A new one: what is still being drained is of the old one.
  }
  const auto holding = std::make_shared<Holding>();
  holdings_.emplace(partition, holding);
  env_.count("partitions_assigned");
  if (!retired_.contains(partition)) {
    holding->shard = make_(partition, [this, partition] { return assignment_.prove(partition); });
    holding->shard->start();
    return;
  }
  env_.spawn("bring up", bring_up(partition, holding));
}

// Waits for the partition's old shard.
Task<> ClusterMember::bring_up(Partition partition, HoldingPtr holding) {
  while (retired_.contains(partition)) co_await changed_.wait(env_, kNever);
  if (holding->revoked || holding->lost || leaving_) co_return ok();
  holding->shard = make_(partition, [this, partition] { return assignment_.prove(partition); });
  holding->shard->start();
  changed_.notify_all();
  co_return ok();
}

void ClusterMember::revoked(Partition partition) {
  const auto found = holdings_.find(partition);
  if (found == holdings_.end() || found->second->revoked) return;
  found->second->revoked = true;
  env_.count("partitions_revoked");
  env_.spawn("hand back", hand_back(partition, found->second));
}

Task<> ClusterMember::hand_back(Partition partition, HoldingPtr holding) {
  const std::shared_ptr<Shard> shard = holding->shard;
  if (shard) {
    ignore_error(co_await shard->drain(env_.now() + options_.drain_time),
                 "what was not handed over in time is resumed by the next owner");
  }
  if (holding->lost) co_return ok();  // It was taken away meanwhile: there is nothing to release.
  retire(partition, holding);
  holdings_.erase(partition);
  assignment_.release({partition});
  changed_.notify_all();
  co_return ok();
}

void ClusterMember::lost(Partition partition) {
  const auto found = holdings_.find(partition);
  if (found == holdings_.end()) return;
  const HoldingPtr holding = found->second;
  holding->lost = true;
  holdings_.erase(found);
  env_.count("partitions_taken_away");
  retire(partition, holding);
}

void ClusterMember::retire(Partition partition, const HoldingPtr& holding) {
  if (!holding->shard) return;
  holding->shard->fence();
  retired_.emplace(partition, holding->shard);
  env_.spawn("retire", bury(partition, holding->shard));
}

Task<> ClusterMember::bury(Partition partition, std::shared_ptr<Shard> shard) {
  Status stopped = co_await shard->stop(env_.now() + kJoinWait);
  while (!stopped) {
    env_.log(LogLevel::warning, "partition " + std::to_string(partition.value()) +
                                    " is given up, but tasks of its shard have not ended yet");
    stopped = co_await shard->stop(env_.now() + kJoinWait);
  }
  retired_.erase(partition);
  changed_.notify_all();
  co_return ok();
}

std::shared_ptr<Shard> ClusterMember::shard(Partition partition) const {
  const auto found = holdings_.find(partition);
  return found == holdings_.end() ? nullptr : found->second->shard;
}

std::vector<std::shared_ptr<Shard>> ClusterMember::shards() const {
  std::vector<std::shared_ptr<Shard>> all;
  for (const auto& [partition, holding] : holdings_) {
    if (holding->shard) all.push_back(holding->shard);
  }
  return all;
}

bool ClusterMember::owns_what_is_assigned() const {
  return joined_ && std::all_of(holdings_.begin(), holdings_.end(), [](const auto& entry) {
           const Holding& holding = *entry.second;
           return holding.revoked || (holding.shard && holding.shard->owner().owned());
         });
}

Task<> ClusterMember::drain(MonoTime deadline) {
  leaving_ = true;
  Status status = ok();
  for (const std::shared_ptr<Shard>& shard : shards()) {
    Status drained = co_await shard->drain(deadline);
    if (!drained && status) status = drained;
  }
  Status left = co_await assignment_.leave(deadline);
  co_return status ? left : status;
}

std::optional<Error> ClusterMember::failure() const {
  if (failure_) return failure_;
  for (const auto& [partition, holding] : holdings_) {
    if (holding->shard && holding->shard->owner().failure()) return holding->shard->owner().failure();
  }
  return std::nullopt;
}

}  // namespace varve
