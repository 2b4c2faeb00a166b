// A heap whose layout depends on a seed: for the second run of `varve-sim diff`. What orders things by
// address, or reads memory that nobody wrote, shows up as another trace. Only in varve-sim.
#pragma once

#include <cstdint>

namespace varve::sim {

// 0 = the ordinary heap again.
void perturb_heap(std::uint64_t seed);

}  // namespace varve::sim
