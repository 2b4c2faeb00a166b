// Soak: many seeds in several processes, with progress and a summary. Each seed runs once; a failure prints
// the broken invariant, the place, and the command that replays it. A worker gets its seeds one by one from
// here and sits in the jail (sim/jail.h); one that dies is named with its seed and replaced.
//
// This file is of the command line: it forks, reads the clock and writes to standard output. Never part of a
// simulated run.
#pragma once

#include <cstdint>
#include <functional>

#include "sim/scenario.h"

namespace varve::sim {

struct SoakOptions {
  std::uint64_t first = 1;
  std::uint64_t last = 100;
  unsigned jobs = 1;
  std::uint64_t seconds_max = 0;  // Begin no seed after so long; 0 = until the last seed.
  bool stop_at_failure = false;
  bool progress = false;         // To standard error.
  bool check_sometimes = false;  // Situations that so many seeds must meet, and do not, are a failure.
  // The run of one seed.
  std::function<ScenarioRun(std::uint64_t seed)> plan;
  // Makes it, behind the trip-wire.
  std::function<ScenarioResult(const ScenarioRun&)> run;
};

// 0 = no seed failed, 1 = some did or a situation was never met, 3 = a worker died (its seed is named).
int soak(const SoakOptions& options);

}  // namespace varve::sim
