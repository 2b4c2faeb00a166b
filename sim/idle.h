// The scenario `idle`: three nodes that nobody asks for anything, for an hour. It shows what a cluster does
// when it has nothing to do, and how fast the simulation is then (docs/benchmarks.md); every oracle watches.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/scheduler.h"
#include "sim/violation.h"

namespace varve::sim {

inline constexpr std::chrono::minutes kIdleTime{60};

struct IdleResult {
  std::vector<Violation> violations;
  std::uint64_t steps = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t simulated_ms = 0;
};

IdleResult run_idle(std::uint64_t seed, bool print_trace);

}  // namespace varve::sim
