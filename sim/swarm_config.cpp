#include "sim/swarm_config.h"

#include <algorithm>
#include <array>

namespace varve::sim {
namespace {

constexpr std::array<const char*, kFaultClasses> kNames{
    "crash",    "pause",         "clock", "log_outcome", "log_order", "log_read",  "leader",
    "group",    "isolation",     "store", "snapshots",   "network",   "partition", "model",
    "failover", "foreign_claim", "twin",  "zombie_save", "vanish"};

// What a failover may lose.
constexpr std::size_t kStoreHistory = 12;

// The run itself, which kinds of commands there are, which classes of faults, the views' batches, who looks
// into the past, who carries agents away, and whether agents can be erased.
constexpr Track kWorldTrack{Domain::config};
constexpr Track kKindsTrack{Domain::config, 1};
constexpr Track kClassesTrack{Domain::config, 2};
constexpr Track kBatchTrack{Domain::config, 3};
constexpr Track kArchiveTrack{Domain::config, 4};
constexpr Track kTeleportTrack{Domain::config, 5};
constexpr Track kErasableTrack{Domain::config, 6};
constexpr std::uint32_t kVanishMin = 20'000;
// A save that is long on its way, or of somebody who does not own the partition any more, can be of an older
// state than the row that has vanished; the next recovery would take it for the newest (docs/spec, rule 36).
constexpr std::array kBringBack{FaultClass::pause,       FaultClass::group,       FaultClass::isolation,
                                FaultClass::store,       FaultClass::partition,   FaultClass::failover,
                                FaultClass::twin,        FaultClass::zombie_save, FaultClass::snapshots,
                                FaultClass::log_outcome, FaultClass::leader,      FaultClass::log_order};
constexpr std::uint64_t kDoublings = 8;
constexpr std::uint64_t kPerDoubling = 64;

// Off, or log-uniform from 1,000 to 256,000 ppm: mostly mild.
std::uint32_t draw_intensity(Choices& choices) {
  const std::uint64_t drawn = choices.maybe(kClassesTrack, 1, 2, kDoublings * kPerDoubling);
  if (drawn == 0) return 0;
  const std::uint64_t ppm = 1'000ULL << ((drawn - 1) / kPerDoubling);
  return static_cast<std::uint32_t>(ppm + ppm * ((drawn - 1) % kPerDoubling) / kPerDoubling);
}

void draw_classes(Choices& choices, SwarmConfig& config) {
  const std::uint64_t kind = choices.choose(kClassesTrack, 10);
  const std::uint64_t alone = choices.choose(kClassesTrack, kFaultClasses);
  config.truncated = choices.chance(kClassesTrack, 1, 10) && kind != 0;
  for (std::uint32_t& ppm : config.ppm) ppm = draw_intensity(choices);
  const bool vanishes = choices.chance(kClassesTrack, 1, 8);
  if (kind < 2) {
    // A tenth is calm, a tenth has one class alone.
    std::fill(config.ppm.begin(), config.ppm.end(), 0);
    if (kind == 1) config.ppm[alone] = 200'000;
    return;
  }
  std::uint32_t& vanish = config.ppm[static_cast<std::size_t>(FaultClass::vanish)];
  if (!vanishes) vanish = 0;
  if (vanish == 0) return;
  vanish = std::max(vanish, kVanishMin);
  for (const FaultClass other : kBringBack) config.ppm[static_cast<std::size_t>(other)] = 0;
}

void set_log_faults(ClusterWorld& world, const SwarmConfig& config) {
  SimLogStorage::Faults log;
  log.delay_us = 5'000;
  const std::uint32_t outcome = config.of(FaultClass::log_outcome);
  log.refused_ppm = outcome;
  log.lost_ppm = outcome;
  log.lost_ack_ppm = outcome;
  log.not_written_ppm = outcome > 0 ? 500'000 : 0;
  log.reset_ppm = outcome;
  const std::uint32_t order = config.of(FaultClass::log_order);
  log.late_ppm = order;
  log.duplicate_ppm = order;
  log.replaced_ppm = order;
  log.orphan_lost_ppm = order;
  log.orphan_late_ppm = order;
  const std::uint32_t read = config.of(FaultClass::log_read);
  log.lag_ppm = read;
  log.read_error_ppm = read;
  log.short_batch_ppm = read;
  const std::uint32_t leader = config.of(FaultClass::leader);
  log.few_replicas_ppm = leader / 4;
  log.stall_ppm = leader / 4;
  log.leader_change_ppm = leader / 4;
  world.log().set_faults(log);
}

void set_group_faults(ClusterWorld& world, const SwarmConfig& config) {
  GroupCoordinator::Faults group;
  const std::uint32_t ppm = config.of(FaultClass::group);
  group.delay_us = ppm > 0 ? 200'000 : 2'000;
  group.request_lost_ppm = ppm;
  group.answer_lost_ppm = ppm;
  group.rebalance_ppm = ppm / 8;
  group.moved_ppm = ppm / 32;
  group.proof_loses_ppm = ppm;
  world.owning().set_faults(group);
  world.folding().set_faults(group);
}

void set_store_faults(ClusterWorld& world, const SwarmConfig& config) {
  StoreFaults store;
  const std::uint32_t stores = config.of(FaultClass::store);
  store.unreachable_ppm = stores;
  store.aborted_ppm = stores;
  store.serialization_ppm = stores;
  store.lost_ack_ppm = stores;
  store.lost_commit_ppm = stores;
  store.late_ppm = stores;
  store.read_ppm = stores / 4;
  store.delay_us = 2'000;
  store.late_us = 3'000'000;
  world.views().link().set_faults(store);
  world.keys().set_faults(stores);
  if (config.pooled) world.views().keep_sessions();
  // Long enough to meet what the next owner has written meanwhile.
  store.late_us = 60'000'000;
  world.snapshots().link().set_faults(store);
}

void set_model(ClusterWorld& world, const SwarmConfig& config) {
  ModelProvider::Faults model;
  const std::uint32_t models = config.of(FaultClass::model);
  model.busy_ppm = models;
  model.refusal_ppm = models / 4;
  model.broken_ppm = models;
  model.silence_ppm = models / 64;
  model.think_us = config.think_us;
  model.piece_us = 20'000;
  world.provider().set_faults(model);
  ModelProvider::Habits habits;
  if (config.workload.tools) {
    habits.tools_ppm = 500'000;
    habits.more_tools_ppm = 300'000;
    habits.wrong_tools_ppm = 100'000;
  }
  habits.reasoning_ppm = 200'000;
  world.provider().set_habits(habits);
}

}  // namespace

const char* to_string(FaultClass one) {
  return kNames.at(static_cast<std::size_t>(one));
}

SwarmConfig draw_config(Choices& choices, std::uint64_t seed) {
  SwarmConfig config;
  config.world.seed = seed;
  config.world.nodes = 1 + choices.choose(kWorldTrack, 4);
  config.world.partitions = static_cast<std::uint32_t>(1 + choices.choose(kWorldTrack, 4));
  config.world.sparse_log = choices.chance(kWorldTrack, 1, 2);
  config.world.snapshot_records = 3 + choices.choose(kWorldTrack, 40);
  config.world.idle = std::chrono::seconds{1 + choices.choose(kWorldTrack, 30)};
  config.workload.clients = 1 + choices.choose(kWorldTrack, 4);
  config.workload.operations = 4 + choices.choose(kWorldTrack, 16);
  config.workload.tools = choices.chance(kWorldTrack, 1, 2);
  config.workload.shared_labels = choices.chance(kWorldTrack, 1, 3);
  config.workload.restless = choices.chance(kWorldTrack, 1, 2);
  // Turns that are open for long meet more of what happens.
  if (choices.chance(kWorldTrack, 1, 4)) config.think_us = 8'000'000;
  config.pick = static_cast<PickPolicy>(choices.choose(kWorldTrack, 4));
  config.workload.keyless = choices.chance(kWorldTrack, 1, 3);
  config.pooled = choices.chance(kWorldTrack, 1, 2);
  for (std::size_t kind = 0; kind < Workload::kKinds; ++kind) {
    config.workload.kinds.push_back(choices.chance(kKindsTrack, 2, 3));
  }
  draw_classes(choices, config);
  // Full ones are committed beside the folding of the next.
  if (choices.chance(kBatchTrack, 1, 2)) config.world.batch_changes = 1 + choices.choose(kBatchTrack, 12);
  config.archives = choices.chance(kArchiveTrack, 1, 4);
  config.teleports = choices.chance(kTeleportTrack, 1, 4);
  config.places = static_cast<std::uint32_t>(1 + choices.choose(kTeleportTrack, 3));
  config.world.keys = choices.chance(kErasableTrack, 1, 4);
  config.workload.erasable = config.world.keys;
  const auto rate = [](std::uint32_t ppm) { return ppm > 0; };
  config.workload.streams_settle = std::none_of(config.ppm.begin(), config.ppm.end(), rate);
  if (config.has(FaultClass::failover)) config.world.store_history = kStoreHistory;
  if (config.has(FaultClass::vanish)) {
    // Actors leave memory soon, so that their rows are needed.
    config.world.idle = std::chrono::seconds{1};
    config.world.snapshot_records = 3;
  }
  if (config.has(FaultClass::zombie_save)) {
    // Saved soon and often, so that another owner's save comes before the late one.
    config.world.snapshot_records = 3;
    config.world.idle = std::chrono::seconds{2};
    config.workload.operations += 8;
  }
  return config;
}

std::string describe(const SwarmConfig& config) {
  std::string text =
      "nodes=" + std::to_string(config.world.nodes) +
      " partitions=" + std::to_string(config.world.partitions) +
      " clients=" + std::to_string(config.workload.clients) +
      " operations=" + std::to_string(config.workload.operations) + (config.workload.tools ? " tools" : "") +
      (config.workload.restless ? " restless" : "") + (config.workload.keyless ? " keyless" : "") +
      (config.think_us > 1'000'000 ? " slow-model" : "") + (config.truncated ? " truncated" : "") +
      (config.pooled && config.has(FaultClass::failover) ? " pooled" : "") +
      (config.world.batch_changes < kBatchChangesMax ? " small-batches" : "") +
      (config.archives ? " archives" : "") + (config.teleports ? " teleports" : "") +
      (config.world.keys ? " erasable" : "");
  for (std::size_t i = 0; i < kFaultClasses; ++i) {
    if (config.ppm[i] > 0) text += std::string(" ") + kNames.at(i) + "=" + std::to_string(config.ppm[i]);
  }
  return text;
}

void set_faults(ClusterWorld& world, const SwarmConfig& config) {
  set_log_faults(world, config);
  set_group_faults(world, config);
  set_store_faults(world, config);
  Network::Faults network;
  const std::uint32_t net = config.of(FaultClass::network);
  network.lost_ppm = net / 2;
  network.late_ppm = net;
  network.duplicate_ppm = net;
  network.reset_ppm = net;
  network.silent_ppm = net;
  network.delay_us = 1'000;
  network.late_us = 2'000'000;
  world.network().set_faults(network);
  set_model(world, config);
}

}  // namespace varve::sim
