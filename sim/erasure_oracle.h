// ErasureOracle: erasable agents, at rest:
//
// - Erased: the log says that an agent was erased, and its key and those of its blocks are gone.
// - Plain: a word that belongs to an erasable agent stands in no record of the log, in no snapshot and in no
// row
//   of the views. Whoever writes such texts begins each with kSecret.
#pragma once

#include "projections/memory_snapshot_store.h"
#include "projections/memory_view_store.h"
#include "sim/key_chain.h"
#include "sim/log_oracle.h"

namespace varve::sim {

inline constexpr std::string_view kSecret = "secret-";

struct ErasableWorld {
  const LogOracle& log;
  const KeyChain& keys;
  const MemorySnapshotStorage& snapshots;
  const MemoryViewStorage& views;
};
void check_erasures(const ErasableWorld& world, Counters& counters, Violations& violations);

}  // namespace varve::sim
