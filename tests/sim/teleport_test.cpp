// Agents that are carried away in the simulated world: beside the work of others, with everything dying.
#include <gtest/gtest.h>

#include "sim/disk_swarm.h"
#include "sim/swarm.h"
#include "sim/swarm_config.h"

namespace varve::sim {
namespace {

constexpr std::size_t kRuns = 16;

TEST(SimTeleport, CopiesAndMovesHoldBesideEveryFault) {
  std::map<std::string, std::uint64_t, std::less<>> met;
  std::size_t runs = 0;
  for (std::uint64_t seed = 1; seed <= 200 && runs < kRuns; ++seed) {
    Choices choices(seed);
    if (is_disk_seed(seed) || !draw_config(choices, seed).teleports) continue;
    ++runs;
    SwarmRun run;
    run.seed = seed;
    const SwarmResult result = run_swarm(run);
    ASSERT_TRUE(result.violations.empty()) << result.token << " " << result.violations.front().what;
    for (const auto& [name, count] : result.counters) met[name] += count;
  }
  EXPECT_EQ(kRuns, runs);
  EXPECT_GT(met["sometimes.teleport.imported"], 3U);
  EXPECT_GT(met["sometimes.teleport.imported_again"], 3U);
  EXPECT_GT(met["sometimes.teleport.compared"], 2U);
  EXPECT_GT(met["sometimes.teleport.moved"], 0U);
}

}  // namespace
}  // namespace varve::sim
