// FailureCase: a run that failed once, as a small file: what was run, what broke, and the decisions that the
// run needs for it (a tape). The corpus (tests/sim/corpus/) is made of them: every bug that a soak has found
// stays a run; each must pass now, and fail with the seeded bug (sim/mutants.h) that stands for it.
//
//   varve-sim case 2
//   # what it was, in any number of lines
//   scenario swarm
//   seed 321
//   mutant command-without-id
//   invariant I2
//   what I2 is what the oracle said
//   config nodes=2 ..           as the run described itself
//   tape                        then one line per track, as Tape::encode() writes them
//   nemesis 0:1 3:1
//
// And of stories: crash-at and node (which one crashes, from 1), sparse; of disks: crash-at, death, faults.
// The seed still gives the chance of the code under test. Cases say nothing about the build: when the code
// changes, the same decisions meet other steps, and a case may meet its bug no more (`corpus` says so).
#pragma once

#include <string>
#include <string_view>

#include "runtime/result.h"
#include "sim/scenario.h"

namespace varve::sim {

struct FailureCase {
  ScenarioRun run;        // With its tape.
  std::string notes;      // Lines without their "# ".
  std::string mutant;     // The seeded bug that it finds; empty: none is known.
  std::string invariant;  // That was broken.
  std::string what;
  std::string config;

  std::string encode() const;
  // Errc::invalid_argument names the line.
  static Result<FailureCase> decode(std::string_view text);
};

}  // namespace varve::sim
