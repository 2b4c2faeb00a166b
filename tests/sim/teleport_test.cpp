// Agents that are carried away in the simulated world, beside the work of others, with everything dying; and
// what an export does with a log that it does not see to its end.
#include <gtest/gtest.h>

#include "eventlog/memory_event_log.h"
#include "inspect/teleport_export.h"
#include "runtime/real_env.h"
#include "sim/disk_swarm.h"
#include "sim/mutants.h"
#include "sim/swarm.h"
#include "sim/swarm_config.h"
#include "sim/sweep.h"
#include "tests/support/lagging_log.h"
#include "tests/support/run.h"

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
  EXPECT_GT(met["sometimes.teleport.compared"], 0U);
  EXPECT_GT(met["sometimes.teleport.moved"], 0U);
}

// What only the other place's death at a certain step shows is the sweep's to find; that it dies is seen
// here.
TEST(SimTeleport, TheOtherPlaceIsAMachineOfTheStory) {
  const auto kind = find_story("teleport");
  ASSERT_NE(nullptr, kind);
  EXPECT_EQ(2U, kind->machines());
  StoryRun run;
  run.crash_after_step = 900;
  const StoryResult without = run_story(*kind, run);
  run.node = 1;
  const StoryResult with = run_story(*kind, run);
  EXPECT_TRUE(with.failures.empty()) << with.failures.front();
  EXPECT_NE(without.trace_hash, with.trace_hash);
}

TEST(SimTeleport, ASourceThatLetsGoTooEarlyIsFoundOut) {
  const SwitchedOn wrong(Mutant::moves_whatever_came);
  const StoryResult result = run_story(*find_story("teleport"), StoryRun{});
  ASSERT_FALSE(result.failures.empty());
  EXPECT_NE(std::string::npos, result.failures.front().find("it left with less than it had"));
}

TEST(SimTeleport, AnExportThatCannotSeeTheNewestRecordsIsNone) {
  RealEnv env;
  const MemoryLogStorage::Options one{1, 0};
  auto storage = std::make_shared<MemoryLogStorage>(one);
  Claim claim;
  claim.epoch = Epoch{1};
  claim.cluster = "varve";
  claim.partitions = 1;
  const auto bytes = encode_record(Record{claim});
  ASSERT_TRUE(bytes);
  storage->land(Partition{0}, std::make_shared<const std::string>(*bytes));
  MemoryEventLog log(env, storage);
  ExportQuestion question;
  question.all = true;
  EXPECT_TRUE(test::run(env, TeleportExport::prepare(log, question)));
  test::LaggingLog lags(log);
  const auto made = test::run(env, TeleportExport::prepare(lags, question));
  ASSERT_FALSE(made);
  EXPECT_EQ(Errc::unavailable, made.error().code) << made.error().message;
}

}  // namespace
}  // namespace varve::sim
