// Violation: what an oracle has seen broken: the number of the invariant (ARCHITECTURE.md) or the name of the
// specification's, and a sentence.
#pragma once

#include <string>
#include <string_view>

namespace varve::sim {

struct Violation {
  std::string invariant;  // "I1", "NoLateEffect"
  std::string what;
};

// A part of the world that sees a promise of its port broken traces "violation <invariant> <what>": nobody
// who asks it may ever learn of that.
inline constexpr std::string_view kViolationLine = "violation ";

}  // namespace varve::sim
