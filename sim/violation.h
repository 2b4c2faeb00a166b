// Violation: what an oracle has seen broken: the number of the invariant (ARCHITECTURE.md) or the name of the
// specification's, and a sentence.
#pragma once

#include <string>

namespace varve::sim {

struct Violation {
  std::string invariant;  // "I1", "NoLateEffect"
  std::string what;
};

}  // namespace varve::sim
