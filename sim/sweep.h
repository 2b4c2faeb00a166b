// Sweep: a story once for every step, with a node killed after that step. What a sweep finds is replayed by
// the command that it prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/story_stage.h"

namespace varve::sim {

// Every story, in the order in which the command line lists them.
std::vector<StoryKind> story_kinds();
// Null if there is no story of that name.
std::unique_ptr<StoryKind> find_story(const std::string& name);

struct Sweep {
  std::uint64_t seed = 1;
  std::uint64_t first = 1;
  std::uint64_t stride = 1;  // A crash after the steps first, first + stride ..
};

struct SweepResult {
  std::uint64_t runs = 0;
  std::uint64_t failed = 0;
  std::string first_failure;                                   // With the command that replays it.
  std::map<std::string, std::uint64_t, std::less<>> counters;  // Of all runs.
};

// Once without a crash, then for each node, one after the other.
SweepResult sweep_story(const StoryKind& kind, const Sweep& sweep);

}  // namespace varve::sim
