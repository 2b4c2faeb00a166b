// WorldOracles: every oracle on a World, told of its owners' lines. The world outlives them, and nobody else
// steps it.
#pragma once

#include "sim/cluster_oracles.h"
#include "sim/world.h"

namespace varve::sim {

class WorldOracles {
 public:
  enum class Owners : unsigned char {
    watched,
    unwatched,  // Somebody else writes to the log under their claims.
  };
  // `history` may be null.
  WorldOracles(World& world, const History* history, Owners owners);

  // One step of the world, looked at. False: nothing will ever happen again.
  bool step();
  ClusterOracles& all() { return *oracles_; }

 private:
  std::vector<Resident> residents();

  World& world_;
  StorageLogView<MemoryLogStorage> log_;
  MemoryViewsView views_;
  MemoryStatesView states_;
  std::optional<ClusterOracles> oracles_;
};

}  // namespace varve::sim
