// ClusterMember: keeps the shards of one node in step with its assignment. A partition that is assigned gets
// a shard, which claims it with the assignment as its proof; one that is revoked is drained and then
// released; one that is lost is fenced at once.
//
// Promise: never two shards of one partition run here at the same time, not even one that is about to end.
// Whether a shard may write is decided by the log's claims, never by this class.
//
// Thread: the Env's. Lifetime: the Env's tasks end before it does.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "actors/shard.h"
#include "cluster/assignment.h"

namespace varve {

class ClusterMember {
 public:
  // A new shard of the partition, not started.
  using MakeShard = std::function<std::unique_ptr<Shard>(Partition, PartitionOwner::Proof)>;
  struct Options {
    Duration drain_time{std::chrono::seconds{10}};  // For a partition that is revoked.
  };

  ClusterMember(Env& env, Assignment& assignment, MakeShard make, Options options);

  // Joins the group and follows its assignment. Once.
  void start();

  // The shard of a partition that is assigned to this node, or is being drained; null if there is none (yet).
  // Whoever waits for it holds it.
  std::shared_ptr<Shard> shard(Partition partition) const;
  // All of them, in the order of partitions.
  std::vector<std::shared_ptr<Shard>> shards() const;
  // Whether the assignment has spoken yet, and every partition that is assigned here is owned.
  bool joined() const { return joined_; }
  bool owns_what_is_assigned() const;
  // drain() has begun.
  bool leaving() const { return leaving_; }
  // Ends at the next change of shards, or at the deadline.
  boost::asio::awaitable<void> wait(MonoTime deadline) { return changed_.wait(env_, deadline); }

  // Drains every shard, then leaves the group. The shards stay, to be asked; they take nothing any more.
  Task<> drain(MonoTime deadline);
  // The first error that ended the membership, or stopped a shard, for good.
  std::optional<Error> failure() const;

 private:
  // One assignment of one partition.
  struct Holding {
    std::shared_ptr<Shard> shard;  // Null until it is made.
    bool revoked = false;
    bool lost = false;
  };
  using HoldingPtr = std::shared_ptr<Holding>;

  Task<> follow();
  void assigned(Partition partition);
  void revoked(Partition partition);
  void lost(Partition partition);
  Task<> bring_up(Partition partition, HoldingPtr holding);
  Task<> hand_back(Partition partition, HoldingPtr holding);
  // Fences the shard and keeps it until its last task has ended.
  void retire(Partition partition, const HoldingPtr& holding);
  Task<> bury(Partition partition, std::shared_ptr<Shard> shard);

  Env& env_;
  Assignment& assignment_;
  MakeShard make_;
  Options options_;
  bool joined_ = false;
  bool leaving_ = false;
  std::optional<Error> failure_;  // Of the assignment.
  std::map<Partition, HoldingPtr> holdings_;
  // Fenced, but tasks of theirs have not ended yet. Invariant: no holding of such a partition has a shard.
  std::map<Partition, std::shared_ptr<Shard>> retired_;
  Notifier changed_;
};

}  // namespace varve
