// The hunt for seeded bugs (sim/mutants.h): each is switched on in a process of its own, which runs seed
// after seed until an oracle speaks or the budget is used up.
//
// Whoever calls it must have called configure_sqlite_for_simulation() before.
//
// This file is of the command line: it forks, reads the clock and writes to standard output. Never part of a
// simulated run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace varve::sim {

struct MutantsOptions {
  bool fast = false;  // Those alone that are found within a handful of seeds.
  unsigned jobs = 1;
  std::vector<std::string> only;  // Ids; empty: all.
  std::uint64_t first = 1;        // The seed to begin with.
  unsigned rounds = 1;            // So often, each time with the next seeds behind the last budget.
  bool list = false;              // Only says which there are.
};

// 0 = every bug was found within its budget, and nothing where nothing is wrong; 1 = not; 2 = there is no
// mutant of that name; 3 = no process could be made.
int mutants(const MutantsOptions& options);

}  // namespace varve::sim
