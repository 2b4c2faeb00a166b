// World: a simulated cluster's durable things (log, views, snapshots), the node that lives on them, and a
// client. A crash takes the node's incarnation and everything that was only in memory; boot() begins the next
// one.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "actors/scripted_model.h"
#include "api/node.h"
#include "eventlog/memory_event_log.h"
#include "projections/memory_snapshot_store.h"
#include "projections/memory_view_store.h"
#include "sim/scheduler.h"

namespace varve::sim {

class World {
 public:
  struct Options {
    std::uint64_t seed = 1;
    std::uint32_t partitions = kPartitionsDefault;
    bool sparse_log = false;
    std::string model_script = "{}";
  };
  explicit World(Options options);
  ~World();

  void boot();
  // Kills the node; what is not durable is gone.
  void crash();
  bool up() const { return life_ != nullptr; }
  Node& node() { return life_->node; }

  Scheduler& scheduler() { return scheduler_; }
  SimEnv& client() { return client_; }
  const MemoryLogStorage& log() const { return *log_; }
  const MemoryViewStorage& views() const { return *views_; }
  const MemorySnapshotStorage& snapshots() const { return *snapshots_; }
  const Options& options() const { return options_; }

  // What a test does to the world behind the node's back.
  void damage_snapshot(const StreamId& stream) { snapshots_->snapshots.at(stream).state += " "; }
  void lose_snapshot(const StreamId& stream) { snapshots_->snapshots.erase(stream); }
  void fail_next_append(MemoryLogStorage::Fault fault) { log_->fail_next(fault); }
  void land(Partition partition, std::string bytes) {
    log_->land(partition, std::make_shared<const std::string>(std::move(bytes)));
  }

  // One request from the client to the node, over a network that loses it with the node. Errc::unavailable if
  // there is no node or no answer within `patience`.
  Task<Response> request(Request request, Duration patience);

 private:
  struct Life {
    Life(World& world, std::uint64_t seed);
    ~Life() { env.kill(); }
    SimEnv env;
    MemoryEventLog log;
    MemorySnapshotStore snapshots;
    MemoryViewStore views;
    std::unique_ptr<ScriptedModel> model;
    Node node;
  };
  static Task<> serve(Node& node, Request request, std::shared_ptr<OneShot<Response>> answer, SimEnv& client);

  Options options_;
  Scheduler scheduler_;
  Rng seeds_;
  std::shared_ptr<MemoryLogStorage> log_;
  std::shared_ptr<MemoryViewStorage> views_;
  std::shared_ptr<MemorySnapshotStorage> snapshots_;
  SimEnv client_;
  std::unique_ptr<Life> life_;
};

}  // namespace varve::sim
