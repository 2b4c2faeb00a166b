// Node: one server's parts put together over its ports: the shards of its partitions, the projection workers
// and the API. The same object runs in production (cli/) and in the simulation (sim/), alone or as a member
// of a cluster.
//
// Life: start(), wait_ready(), handle() ..., drain(). Thread: the Env's. Lifetime: the ports and the Env's
// tasks: destroy the tasks (Env) before the node, the node before the ports.
#pragma once

#include <memory>
#include <vector>

#include "api/api.h"
#include "api/folding.h"
#include "api/inspect_routes.h"
#include "api/metrics.h"
#include "api/quarantine_routes.h"
#include "api/ready.h"
#include "cluster/sender.h"
#include "cluster/static_assignment.h"

namespace varve {

struct NodeOptions {
  ShardOptions shard;
  KnownModels models;
  Duration view_wait{kViewWait};
  Duration first_look{ViewProgress::kLook};  // For views that another process folds.
  bool fold_views = true;                    // False: nothing is folded here (measurements of the log alone).
  std::size_t batch_changes_max = kBatchChangesMax;
  Duration gather{kGather};                            // ProjectionWorker::Options
  Duration hand_back_time = std::chrono::seconds{10};  // For a partition that is revoked.
  Duration owner_search{kForever};                     // ClusterSender::Ports::owner_search
  ReadyLimits ready;
  // While the views of a partition are further behind, writes to it with ack=log are answered 429.
  std::uint64_t ack_log_lag_records = kAckLogLagRecords;
};

// Looks through the views for the tools of agents.
class ViewMessageSearch final : public MessageSearch {
 public:
  explicit ViewMessageSearch(ViewStore& views) : views_(views) {}
  Task<std::vector<FoundMessage>> search(MessageQuestion question) override;

 private:
  ViewStore& views_;
};

// Owners of partitions as the views have them.
class ViewOwners final : public OwnerSource {
 public:
  explicit ViewOwners(ViewStore& views) : views_(views) {}
  Task<std::optional<Owner>> owner(Partition partition) override;

 private:
  ViewStore& views_;
};

class Node {
 public:
  struct Ports {
    EventLog& log;
    SnapshotStore& snapshots;
    ViewStore& views;
    ModelClient& model;
    // Null: this node owns all partitions, and folds all, for ever.
    Assignment* assignment = nullptr;  // Of the shards.
    Assignment* folding = nullptr;     // Of the projection workers.
    Transport* transport = nullptr;    // To other nodes; null: there are none.
    KeyStore* keys = nullptr;          // Null: no agent can be made erasable.
  };

  Node(Env& env, NodeIdentity identity, Ports ports, NodeOptions options);

  void start();
  // Every partition that is assigned to this node is owned, and the views have passed the log's ends as of
  // now. Fails at once if a partition or a projection has failed for good.
  Task<> wait_ready(MonoTime deadline);
  boost::asio::awaitable<Response> handle(Request request);
  // What providers have may change while the server runs.
  void set_models(KnownModels models) { api_.set_models(std::move(models)); }
  // Takes no new commands, hands over open turns, takes snapshots, stops the workers, leaves the cluster.
  Task<> drain(MonoTime deadline);

  // Null if the partition is not assigned to this node. Valid until the next step.
  Shard* shard(Partition partition) { return member_.shard(partition).get(); }
  ClusterMember& member() { return member_; }
  ViewProgress& progress() { return progress_; }
  CommandSender& sender() { return sender_; }
  // The first error that stopped a part of this node for good.
  std::optional<Error> failure() const;
  // What GET /metrics tells besides what is counted; what GET /v1/ready/ answers.
  boost::asio::awaitable<NodeGauges> gauges();
  boost::asio::awaitable<Response> answer_ready();

 private:
  std::unique_ptr<Shard> make_shard(Partition partition, PartitionOwner::Proof prove);
  bool owns_its_partitions() const;
  Task<> views_pass(std::vector<LogPosition> positions, MonoTime deadline);

  Env& env_;
  NodeIdentity identity_;
  Ports ports_;
  NodeOptions options_;
  StaticAssignment everything_owned_;
  StaticAssignment everything_folded_;
  ViewMessageSearch search_;
  ViewOwners view_owners_;
  ViewProgress progress_;
  OwnerTable owners_;
  ClusterMember member_;
  ClusterReceiver receiver_;
  ClusterSender sender_;
  Folding folding_;
  ViewLag lag_;
  NodeStatus status_;
  Api api_;
  QuarantineRoutes quarantine_;
  InspectRoutes inspect_;
};

}  // namespace varve
