// What one run of the swarm is made of: the world, what clients ask for, what can go wrong and how often.
// Drawn from the choices of a run before anything else, always the same number of them, so that each has its
// place whatever the others say. Pure; with all choices 0 it is a calm world.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/cluster_world.h"
#include "sim/workload.h"

namespace varve::sim {

// What can go wrong, each by itself or not at all in a run.
enum class FaultClass : unsigned char {
  crash,
  pause,
  clock,
  log_outcome,
  log_order,
  log_read,
  leader,
  group,
  isolation,
  store,
  snapshots,
  network,
  partition,
  model,
  failover,       // The database loses its last commits.
  foreign_claim,  // A claim of another cluster comes into the log.
  twin,           // A second process under the configuration of one that is paused and comes back.
  zombie_save,    // A snapshot that was under way when its owner lost the partition lands behind newer ones.
  vanish,  // Snapshots vanish under running nodes. Excludes what could put an older one in their place.
};
inline constexpr std::size_t kFaultClasses = 19;
const char* to_string(FaultClass one);
// Where the nemesis decides about it.
constexpr Track track_of(FaultClass one) {
  return {Domain::nemesis, static_cast<std::size_t>(one)};
}
// Behind the classes: a log that is truncated at the end.
inline constexpr Track kTruncationTrack{Domain::nemesis, kFaultClasses};

struct SwarmConfig {
  ClusterWorld::Options world;
  Workload::Options workload;
  std::vector<std::uint32_t> ppm = std::vector<std::uint32_t>(kFaultClasses, 0);  // 0 = switched off.
  PickPolicy pick = PickPolicy::uniform;
  std::uint64_t think_us = 500'000;  // The longest that the model thinks about a step.
  bool truncated = false;            // At the end, a log loses records that have been read.
  bool archives = false;             // Somebody looks into the past (sim/archivist.h).
  bool teleports = false;            // Somebody carries agents away (sim/teleporter.h).
  std::uint32_t places = 1;          // Partitions of the log that they are carried to.
  bool pooled = false;               // Sessions with the views' database survive a failover.

  std::uint32_t of(FaultClass one) const { return ppm[static_cast<std::size_t>(one)]; }
  bool has(FaultClass one) const { return of(one) > 0; }
};

SwarmConfig draw_config(Choices& choices, std::uint64_t seed);
// In one line.
std::string describe(const SwarmConfig& config);
// The rates of what fails by itself; what happens to nodes is the nemesis'.
void set_faults(ClusterWorld& world, const SwarmConfig& config);

}  // namespace varve::sim
