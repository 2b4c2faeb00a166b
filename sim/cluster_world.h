// ClusterWorld: a whole cluster in one process: nodes on one simulated log, one database of views and
// snapshots, two consumer groups, a network and a provider of models. What is durable outlives incarnations;
// crash() takes everything else of a node.
//
// Promises: the nodes run the objects of production; everything that happens follows from the choices.
// Never: decides what fails. That is the nemesis' (sim/swarm.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/node.h"
#include "api/teleport_routes.h"
#include "sim/faulty_store.h"
#include "sim/group.h"
#include "sim/key_chain.h"
#include "sim/network.h"
#include "sim/sim_log.h"
#include "sim/sim_model.h"
#include "sim/sim_transport.h"
#include "sim/state_oracle.h"

namespace varve::sim {

class ClusterWorld {
 public:
  struct Options {
    std::uint64_t seed = 1;  // Of the chance that nodes draw from their Env.
    std::size_t nodes = 3;
    std::uint32_t partitions = kPartitionsDefault;
    bool sparse_log = false;
    std::size_t store_history = 0;            // Transactions that a failover of the database may lose.
    std::uint64_t snapshot_records = 20;      // Often, so that recovery from snapshots is the normal case.
    Duration idle{std::chrono::seconds{20}};  // Actors leave memory soon.
    std::size_t batch_changes = kBatchChangesMax;
    bool keys = false;  // Agents may be made erasable.
  };

  ClusterWorld(Choices& choices, Options options);
  ~ClusterWorld();
  ClusterWorld(const ClusterWorld&) = delete;
  ClusterWorld& operator=(const ClusterWorld&) = delete;

  std::size_t nodes() const { return machines_.size(); }
  std::string url(std::size_t node) const;
  static std::string place(std::size_t node) { return "node-" + std::to_string(node + 1); }

  void boot(std::size_t node);
  // Takes its twin, too.
  void crash(std::size_t node);
  bool up(std::size_t node) const { return machines_.at(node).life != nullptr; }
  SimEnv& env(std::size_t node) { return machines_.at(node).life->env; }
  Node& node(std::size_t node) { return machines_.at(node).life->node; }
  // Pauses the node's process and boots a second one in its place, under the same configuration. From then on
  // the node is the second one; the first may go on as a zombie, until it is ended.
  void begin_twin(std::size_t node);
  void resume_twin(std::size_t node);
  void end_twin(std::size_t node);
  bool has_twin(std::size_t node) const { return machines_.at(node).former != nullptr; }
  // What the shards that own something keep in memory, for StatesView.
  std::vector<Resident> residents();
  // Of the node's machine: stays over crashes.
  void set_clock(std::size_t node, NodeClock clock);
  // Between the node and the brokers, for both the log and the groups.
  void cut_off(std::size_t node, bool cut);
  // No faults anywhere from now on, everybody reachable; crashed nodes stay down and paused ones paused.
  void heal();

  Scheduler& scheduler() { return scheduler_; }
  Counters& counters() { return counters_; }
  // The world's own incarnation: never dies.
  SimEnv& world() { return world_; }
  SimLogStorage& log() { return *log_; }
  GroupCoordinator& owning() { return *owning_; }
  GroupCoordinator& folding() { return *folding_; }
  ViewDatabase& views() { return views_; }
  SnapshotDatabase& snapshots() { return snapshots_; }
  KeyChain& keys() { return keys_; }
  Network& network() { return network_; }
  ModelProvider& provider() { return provider_; }
  const Options& options() const { return options_; }

 private:
  struct Life {
    Life(ClusterWorld& world, std::size_t number, std::uint64_t seed);
    ~Life() { env.kill(); }
    // As `varve serve` does it.
    boost::asio::awaitable<Response> answer(Request request);
    SimEnv env;
    SimLog log;
    SimAssignment owning;
    SimAssignment folding;
    FaultySnapshotStore snapshots;
    FaultyViewStore views;
    std::unique_ptr<KeyStore> keys;
    SimTransport transport;
    SimModel model;
    Node node;
    TeleportRoutes teleport;
    std::unique_ptr<Network::Listening> http;
  };
  void ignite(std::size_t node);

  struct Machine {
    std::unique_ptr<Life> life;
    std::unique_ptr<Life> former;  // The first of two processes.
    NodeClock clock;
    bool cut = false;
  };

  Options options_;
  Scheduler scheduler_;
  Rng seeds_;
  Counters counters_;
  SimEnv world_;
  std::shared_ptr<SimLogStorage> log_;
  std::shared_ptr<GroupCoordinator> owning_;
  std::shared_ptr<GroupCoordinator> folding_;
  ViewDatabase views_;
  SnapshotDatabase snapshots_;
  KeyChain keys_;
  Network network_;
  ModelProvider provider_;
  std::vector<Machine> machines_;
};

}  // namespace varve::sim
