// World: a simulated cluster's durable things (log, views, snapshots), the node that lives on them, and a
// client. A crash takes the node's incarnation and everything that was only in memory; boot() begins the next
// one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "actors/scripted_model.h"
#include "api/node.h"
#include "eventlog/memory_event_log.h"
#include "projections/memory_key_store.h"
#include "projections/memory_snapshot_store.h"
#include "projections/memory_view_store.h"
#include "sim/stage.h"

namespace varve::sim {

class World final : public Stage {
 public:
  struct Options {
    std::uint64_t seed = 1;
    std::uint32_t partitions = kPartitionsDefault;
    bool sparse_log = false;
    std::string model_script = "{}";
    std::function<void(NodeOptions&)> adjust = {};  // What a test wants to be another way.
  };
  explicit World(Options options);
  ~World() override;

  void boot() override;
  void crash() override;
  bool up() const override { return life_ != nullptr; }
  Node& node() { return life_->node; }
  Env& node_env() { return life_->env; }

  Scheduler& scheduler() { return scheduler_; }
  SimEnv& client() override { return client_; }
  const MemoryLogStorage& log() const { return *log_; }
  const MemoryViewStorage& views() const { return *views_; }
  const MemorySnapshotStorage& snapshots() const { return *snapshots_; }
  MemoryKeyStorage& keys() { return *keys_; }
  const Options& options() const { return options_; }

  // What a test does to the world behind the node's back.
  void damage_snapshot(const StreamId& stream) { snapshots_->snapshots.at(stream).state += " "; }
  void lose_snapshot(const StreamId& stream) { snapshots_->snapshots.erase(stream); }
  void fail_next_append(MemoryLogStorage::Fault fault) { log_->fail_next(fault); }
  void truncate(Partition partition, Offset end) { log_->truncate(partition, end); }
  void land(Partition partition, std::string bytes) {
    log_->land(partition, std::make_shared<const std::string>(std::move(bytes)));
  }

 private:
  struct Life {
    Life(World& world, std::uint64_t seed);
    ~Life() { env.kill(); }
    SimEnv env;
    MemoryEventLog log;
    MemorySnapshotStore snapshots;
    MemoryViewStore views;
    MemoryKeyStore keys;
    std::unique_ptr<ScriptedModel> model;
    Node node;
  };
  std::optional<Running> running() override;

  Options options_;
  Scheduler scheduler_;
  Rng seeds_;
  std::shared_ptr<MemoryLogStorage> log_;
  std::shared_ptr<MemoryViewStorage> views_;
  std::shared_ptr<MemorySnapshotStorage> snapshots_;
  std::shared_ptr<MemoryKeyStorage> keys_;
  SimEnv client_;
  std::unique_ptr<Life> life_;
};

}  // namespace varve::sim
