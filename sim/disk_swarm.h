// DiskSwarm: the embedded profile in the swarm: one server with its SQLite files on a simulated disk, clients
// with random work over the network, the process killed and the power cut again and again, a disk that fails
// and is full. Then everything heals and must come to rest; the log, the views, the snapshots and what
// clients were told are judged by the oracles of the cluster.
//
// After every boot, too: the files can be read, the views are the fold of the log, and what was acknowledged
// or folded before is there. What owners trace is not followed: a power cut takes back what nobody was told.
// Pure: same seed, same trace. Only one at a time: it is SQLite's default file system while it runs.
#pragma once

#include "sim/swarm.h"

namespace varve::sim {

// Every eighth seed of the swarm.
bool is_disk_seed(std::uint64_t seed);
// The `number`-th of them, from 0.
std::uint64_t disk_seed(std::uint64_t number);

SwarmResult run_disk_swarm(const SwarmRun& run);

}  // namespace varve::sim
