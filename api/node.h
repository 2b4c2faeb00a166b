// Node: one server's parts put together over its ports: the shards of its partitions, the projection workers
// and the API. The same object runs in production (cli/) and in the simulation (sim/).
//
// Life: start(), wait_ready(), handle() ..., drain(). Thread: the Env's. Lifetime: the ports and the Env's
// tasks: destroy the tasks (Env) before the node, the node before the ports.
#pragma once

#include <memory>
#include <vector>

#include "actors/local_sender.h"
#include "api/api.h"
#include "projections/worker.h"

namespace varve {

struct NodeOptions {
  ShardOptions shard;
  KnownModels models;
  Duration view_wait{kViewWait};
  bool fold_views = true;  // False: nothing is folded here (measurements of the log alone).
};

// Looks through the views for the tools of agents.
class ViewMessageSearch final : public MessageSearch {
 public:
  explicit ViewMessageSearch(ViewStore& views) : views_(views) {}
  Task<std::vector<FoundMessage>> search(MessageQuestion question) override;

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
  };

  Node(Env& env, NodeIdentity identity, Ports ports, NodeOptions options);

  void start();
  // Every partition is owned, and the views have passed the log's ends as of now. Fails at once if a
  // partition or a projection has failed for good.
  Task<> wait_ready(MonoTime deadline);
  boost::asio::awaitable<Response> handle(Request request) { return api_.handle(std::move(request)); }
  // What providers have may change while the server runs.
  void set_models(KnownModels models) { api_.set_models(std::move(models)); }
  // Takes no new commands, hands over open turns, takes snapshots, stops the workers.
  Task<> drain(MonoTime deadline);

  Shard& shard(Partition partition) { return *shards_[partition.value()]; }
  ViewProgress& progress() { return progress_; }
  CommandSender& sender() { return sender_; }
  // The first error that stopped a part for good.
  std::optional<Error> failure() const;

 private:
  Env& env_;
  Ports ports_;
  NodeOptions options_;
  LocalCommandSender sender_;
  ViewMessageSearch search_;
  ViewProgress progress_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::unique_ptr<ProjectionWorker>> workers_;
  Api api_;
};

}  // namespace varve
