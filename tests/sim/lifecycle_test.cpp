// The scenario `lifecycle` under every oracle: many seeds, a crash after every single step, and the
// determinism of the world itself.
#include "sim/lifecycle.h"

#include <gtest/gtest.h>

namespace varve::sim {
namespace {

std::string failures_of(const RunResult& result) {
  std::string text;
  for (const std::string& failure : result.failures) text += failure + "\n";
  return text;
}

TEST(Lifecycle, HoldsEveryInvariantForManySeeds) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    RunOptions options;
    options.seed = seed;
    options.sparse_log = seed % 2 == 0;
    EXPECT_EQ("", failures_of(run_lifecycle(options))) << "varve-sim run --seed " << seed;
  }
}

TEST(Lifecycle, SurvivesACrashAfterEverySingleStep) {
  const CrashSweepResult sweep = sweep_lifecycle(1, 1);
  EXPECT_GT(sweep.runs, 300U);
  EXPECT_EQ(0U, sweep.failed) << sweep.first_failure;
}

TEST(Lifecycle, OneSeedIsOneTraceAndAnotherIsAnother) {
  RunOptions options;
  options.seed = 11;
  const RunResult first = run_lifecycle(options);
  const RunResult again = run_lifecycle(options);
  EXPECT_EQ(first.trace_hash, again.trace_hash);
  EXPECT_EQ(first.steps, again.steps);
  options.seed = 12;
  EXPECT_NE(first.trace_hash, run_lifecycle(options).trace_hash);
}

}  // namespace
}  // namespace varve::sim
