// Somebody who looks into the past of a cluster: forks and bisects beside the work of others.
#include "sim/archivist.h"

#include <gtest/gtest.h>

#include "sim/disk_swarm.h"
#include "sim/swarm.h"
#include "sim/swarm_config.h"

namespace varve::sim {
namespace {

constexpr std::size_t kRuns = 6;

TEST(Archivist, ForksAndBisectsHoldBesideEveryFault) {
  std::map<std::string, std::uint64_t, std::less<>> met;
  std::size_t runs = 0;
  for (std::uint64_t seed = 1; seed <= 200 && runs < kRuns; ++seed) {
    Choices choices(seed);
    if (is_disk_seed(seed) || !draw_config(choices, seed).archives) continue;
    ++runs;
    SwarmRun run;
    run.seed = seed;
    const SwarmResult result = run_swarm(run);
    ASSERT_TRUE(result.violations.empty()) << result.token << " " << result.violations.front().what;
    for (const auto& [name, count] : result.counters) met[name] += count;
  }
  EXPECT_EQ(kRuns, runs);
  EXPECT_GT(met["sometimes.fork.made"], 3U);
  EXPECT_GT(met["sometimes.fork.compared"], 2U);
  EXPECT_GT(met["sometimes.bisect.compared"], 0U);
}

}  // namespace
}  // namespace varve::sim
