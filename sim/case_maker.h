// What the commands that make and check cases (sim/failure_case.h) share: what a run breaks, and the smallest
// tape that still breaks it. Every run is one of a process of its own, behind the trip-wire.
//
// Of the command line: it forks and writes to standard output. Never part of a simulated run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sim/commands.h"
#include "sim/failure_case.h"
#include "sim/shrink.h"

namespace varve::sim {

struct Broken {
  FailureCase one;  // With its tape, if the process lived to tell it.
  std::uint64_t steps = 0;
};

// What a run in a child has broken, with the seeded bug that is switched on here. A child that died has
// broken "Died-<signal>". Nothing: every oracle is content.
std::optional<Broken> broken_by(ScenarioRun run, SelfTest trip);

struct SmallCase {
  Broken broken;
  Shrunk shrunk;
};
// Shrinks a run that breaks `first`, which has a tape. Nothing: what is left does not fail when it is run
// once more, so something is not deterministic.
std::optional<SmallCase> smallest_of(const ScenarioRun& run, const Broken& first, std::uint64_t runs_max,
                                     SelfTest trip);

// "812 decisions that are not 0, of 3000"
std::string describe(const TapeSize& size);
// Errc::unavailable names the path.
Status write_case(const FailureCase& one, const std::string& path);

}  // namespace varve::sim
