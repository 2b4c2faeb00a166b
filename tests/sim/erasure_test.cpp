// Erasable agents in the simulated world: what is told them is nowhere in plain, and what was erased is gone
// with its key, whatever dies meanwhile.
#include <gtest/gtest.h>

#include "sim/disk_swarm.h"
#include "sim/mutants.h"
#include "sim/swarm.h"
#include "sim/swarm_config.h"

namespace varve::sim {
namespace {

constexpr std::size_t kRuns = 16;

std::vector<std::uint64_t> erasable_seeds() {
  std::vector<std::uint64_t> seeds;
  for (std::uint64_t seed = 1; seeds.size() < kRuns; ++seed) {
    Choices choices(seed);
    if (!is_disk_seed(seed) && draw_config(choices, seed).world.keys) seeds.push_back(seed);
  }
  return seeds;
}

SwarmResult run(std::uint64_t seed) {
  SwarmRun run;
  run.seed = seed;
  return run_swarm(run);
}

TEST(SimErasure, HoldsBesideEveryFault) {
  std::map<std::string, std::uint64_t, std::less<>> met;
  for (const std::uint64_t seed : erasable_seeds()) {
    const SwarmResult result = run(seed);
    ASSERT_TRUE(result.violations.empty()) << result.token << " " << result.violations.front().what;
    for (const auto& [name, count] : result.counters) met[name] += count;
  }
  EXPECT_GT(met["sometimes.erase.told"], 2U);
  EXPECT_GT(met["sometimes.erase.key_is_gone"], 2U);
}

// The oracle has eyes.
TEST(SimErasure, PlainTextsAreSeen) {
  const SwitchedOn wrong(Mutant::texts_in_plain);
  std::size_t seen = 0;
  for (const std::uint64_t seed : erasable_seeds()) {
    const SwarmResult result = run(seed);
    if (!result.violations.empty() && result.violations.front().invariant == "Plain") ++seen;
  }
  EXPECT_GT(seen, 3U);
}

}  // namespace
}  // namespace varve::sim
