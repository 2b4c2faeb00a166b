// The swarm as a test: tokens, what a run reports, and that calm worlds answer everything.
#include "sim/swarm.h"

#include <gtest/gtest.h>

#include "sim/disk_swarm.h"
#include "sim/sqlite_vfs.h"
#include "sim/swarm_config.h"

namespace varve::sim {
namespace {

TEST(Swarm, ATokenNamesItsSeed) {
  EXPECT_EQ("v1:4711", token_of(4711));
  EXPECT_EQ(4711U, *seed_of("v1:4711"));
  for (const char* wrong : {"", "v1:", "v2:1", "v1:x", "v1:-1", "4711", "v1:123456789012345678901"}) {
    EXPECT_FALSE(seed_of(wrong)) << wrong;
  }
}

// Seeds without a fault, of one to four nodes: every client gets an answer.
TEST(Swarm, ACalmClusterAnswersEverything) {
  int calm = 0;
  for (std::uint64_t seed = 1; seed <= 60 && calm < 4; ++seed) {
    SwarmRun run;
    run.seed = seed;
    const SwarmResult result = run_swarm(run);
    EXPECT_TRUE(result.violations.empty()) << result.token << " " << result.violations.front().what;
    if (result.config.find('=', result.config.find("operations=") + 11) != std::string::npos) continue;
    ++calm;
    EXPECT_GT(result.answered, 0U) << result.config;
    EXPECT_EQ(0U, result.unknown) << result.config;
  }
  EXPECT_GT(calm, 1);
}

TEST(Swarm, TheSameSeedIsTheSameRun) {
  SwarmRun run;
  run.seed = 5;
  const SwarmResult first = run_swarm(run);
  const SwarmResult second = run_swarm(run);
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.steps, second.steps);
  EXPECT_EQ(first.counters, second.counters);
  run.seed = 6;
  EXPECT_NE(first.trace_hash, run_swarm(run).trace_hash);
}

// Every eighth seed is the server of one machine, on a disk.
TEST(Swarm, TheEmbeddedServerIsPartOfIt) {
  configure_sqlite_for_simulation();
  SwarmRun run;
  run.seed = 13;
  const SwarmResult result = run_swarm(run);
  EXPECT_TRUE(result.config.starts_with("disk ")) << result.config;
  EXPECT_TRUE(result.violations.empty()) << result.violations.front().what;
  EXPECT_GT(result.answered, 0U);
  EXPECT_EQ(result.trace_hash, run_swarm(run).trace_hash);
}

// In some runs a log loses at the end what was read before: everybody refuses to go on.
TEST(Swarm, ALogThatWasTruncatedIsServedByNobody) {
  std::uint64_t truncated = 0;
  for (std::uint64_t seed = 1; seed <= 120 && truncated < 2; ++seed) {
    Choices choices(seed);
    if (is_disk_seed(seed) || !draw_config(choices, seed).truncated) continue;
    SwarmRun run;
    run.seed = seed;
    const SwarmResult result = run_swarm(run);
    EXPECT_TRUE(result.violations.empty()) << result.token << " " << result.violations.front().what;
    const auto count = result.counters.find("fault.log.truncate");
    if (count != result.counters.end()) truncated += count->second;
  }
  EXPECT_EQ(2U, truncated);
}

}  // namespace
}  // namespace varve::sim
