// Mutants: the seeded bugs of runtime/mutant.h, and which run must find each within how many seeds. Here is
// the definition of mutant() that programs with sim/ link: at most one bug is switched on, by nobody but
// SwitchedOn.
//
// The hunt for them, which forks, is sim/mutant_hunt.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/mutant.h"

namespace varve::sim {

// Where a bug is looked for. One seed is one run, or one place in a sweep.
enum class Hunt : unsigned char {
  swarm,        // sim/swarm.h
  diff,         // The swarm twice, the second time on another heap: the same trace?
  quarantine,   // sim/stories/quarantine.cpp with a crash after a step, another for every seed.
  move,         // Likewise sim/stories/move.cpp.
  teleport,     // Likewise sim/stories/teleport.cpp.
  disk_swarm,   // sim/disk_swarm.h
  disk_crash,   // sim/disk_lifecycle.h; the machine stands still at a disk operation, another for every seed.
  disk_faults,  // The same with every fault of the disk, deaths and power cuts.
  disk_syncs,   // The same with syncs that fail.
  rebuild,      // The same with the story of views that are rebuilt.
  disk_rot,     // disk_crash; at the end bits of the log turn over, and records change places.
};
const char* to_string(Hunt hunt);

struct MutantInfo {
  Mutant mutant = Mutant::none;
  const char* id = "";
  const char* wrong = "";  // What the code does.
  Hunt hunt = Hunt::swarm;
  std::uint64_t budget = 200;  // Seeds within which it must be found.
  bool fast = false;           // Found within a handful: part of `mutants --fast`.
};

// All of them, in the order of runtime/mutant.h; the canary first.
const std::vector<MutantInfo>& all_mutants();
// Null: there is none of that name.
const MutantInfo* find_mutant(std::string_view id);

// The bug is there as long as this lives. One at a time; Mutant::none is allowed and switches on nothing.
class SwitchedOn {
 public:
  explicit SwitchedOn(Mutant one);
  ~SwitchedOn();
  SwitchedOn(const SwitchedOn&) = delete;
  SwitchedOn& operator=(const SwitchedOn&) = delete;
};

}  // namespace varve::sim
