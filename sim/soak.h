// Soak: many seeds of the swarm in several processes, with progress and a summary. Each seed runs once; a
// failure prints the broken invariant, the place, and the token that replays it.
//
// This file is of the command line: it forks, reads the clock and writes to standard output. Never part of a
// simulated run.
#pragma once

#include <cstdint>

namespace varve::sim {

struct SoakOptions {
  std::uint64_t first = 1;
  std::uint64_t last = 100;
  unsigned jobs = 1;
  std::uint64_t minutes_max = 0;  // 0 = until the last seed.
  bool stop_at_failure = false;
};

// 0 = no seed failed, 1 = some did, 3 = a worker died (its seed is named).
int soak(const SoakOptions& options);

}  // namespace varve::sim
