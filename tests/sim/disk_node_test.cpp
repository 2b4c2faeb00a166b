// The embedded server on the simulated disk: the whole story, a crash at disk operations, rot, a full disk.
#include "sim/disk_node.h"

#include <gtest/gtest.h>

#include "sim/disk_lifecycle.h"

namespace varve::sim {
namespace {

std::string failures_of(const DiskRunResult& result) {
  std::string text;
  for (const std::string& failure : result.failures) text += failure + "\n";
  return text;
}

class DiskNodeTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { configure_sqlite_for_simulation(); }
};

TEST_F(DiskNodeTest, TheStoryHoldsWithPowerCutsOfManyKinds) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    DiskRunOptions options;
    options.seed = seed;
    EXPECT_EQ("", failures_of(run_disk_lifecycle(options))) << seed;
  }
}

TEST_F(DiskNodeTest, OneSeedIsOneTraceAndOneContentOfEveryFile) {
  DiskRunOptions options;
  options.seed = 3;
  const DiskRunResult first = run_disk_lifecycle(options);
  const DiskRunResult again = run_disk_lifecycle(options);
  EXPECT_EQ(first.trace_hash, again.trace_hash);
  EXPECT_EQ(first.content_hash, again.content_hash);
  EXPECT_EQ(first.operations, again.operations);
  options.seed = 4;
  EXPECT_NE(first.content_hash, run_disk_lifecycle(options).content_hash);
}

TEST_F(DiskNodeTest, SurvivesAPowerCutAtDiskOperations) {
  const SweepResult sweep = sweep_disk_lifecycle({1, 1, 41, DiskNode::Death::power});
  EXPECT_GT(sweep.runs, 10U);
  EXPECT_EQ(0U, sweep.failed) << sweep.first_failure;
}

}  // namespace
}  // namespace varve::sim
