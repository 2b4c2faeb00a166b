// The embedded server on the simulated disk: the whole story, a crash at disk operations, rot, a full disk.
#include "sim/disk_node.h"

#include <gtest/gtest.h>

#include "eventlog/sqlite_support.h"
#include "projections/verify.h"
#include "sim/cluster_oracles.h"
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
  const SweepResult sweep = sweep_disk_lifecycle({1, 1, 19, DiskNode::Death::power});
  EXPECT_GT(sweep.runs, 50U);
  EXPECT_EQ(0U, sweep.failed) << sweep.first_failure;
}

TEST_F(DiskNodeTest, SurvivesADeathAtDiskOperations) {
  const SweepResult sweep = sweep_disk_lifecycle({2, 5, 37, DiskNode::Death::process});
  EXPECT_GT(sweep.runs, 25U);
  EXPECT_EQ(0U, sweep.failed) << sweep.first_failure;
}

TEST_F(DiskNodeTest, HoldsWithEveryFaultOfTheDiskAtOnce) {
  Counters met;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    DiskRunOptions options;
    options.seed = seed;
    options.nemesis = true;
    options.full_disk = seed % 3 == 0;
    options.faults = {.read_error_ppm = 3000,
                      .short_read_ppm = 3000,
                      .write_error_ppm = 3000,
                      .sync_error_ppm = 20'000,
                      .garbage_ppm = 300'000};
    const DiskRunResult result = run_disk_lifecycle(options);
    EXPECT_EQ("", failures_of(result)) << seed;
    for (const auto& [name, count] : result.counters.all()) met.add(name, count);
  }
  for (const char* fault : {"read_error", "short_read", "write_error", "sync_error", "garbage_sector",
                            "lost_write", "torn_write", "full", "power_cut"}) {
    EXPECT_GT(met.of(std::string{"fault.disk."} + fault), 0U) << fault;
  }
}

// A sync that failed leaves bytes in the cache that are not on the disk, and the next sync succeeds without
// them. After a restart readers are shown such records, and a checkpoint brings pages of the views into the
// file whose log may not be there after a power cut.
TEST_F(DiskNodeTest, NothingIsBuiltOnBytesOfAFailedSync) {
  std::uint64_t failed_syncs = 0;
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    DiskRunOptions options;
    options.seed = seed;
    options.nemesis = true;
    options.faults.sync_error_ppm = 10'000;
    const DiskRunResult result = run_disk_lifecycle(options);
    EXPECT_EQ("", failures_of(result)) << seed;
    failed_syncs += result.counters.of("fault.disk.sync_error");
  }
  EXPECT_GT(failed_syncs, 10U);
}

// ---- rot ----

// Plays the story to its end, closes the files, and goes on with `what`.
std::string after_the_story(const std::function<std::string(DiskStage&)>& what) {
  DiskRunOptions options;
  options.at_the_end = [&what](DiskStage& stage) {
    stage.node().stop();
    return what(stage);
  };
  return failures_of(run_disk_lifecycle(options));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(DiskNodeTest, ARecordThatRotsIsNamedAndStopsItsPartition) {
  const auto rot = [](DiskStage& stage) -> std::string {
    const std::string path = DiskNode::log_path();
    const std::size_t at = stage.disk().content(path).find("Ann likes tea");
    if (at == std::string::npos) return "the log does not hold the text";
    stage.disk().rot(path, at + 4, 1);
    const auto log = stage.node().read_log();
    if (log) return "the rot was not noticed";
    EXPECT_EQ(Errc::corrupt, log.error().code);
    EXPECT_TRUE(contains(log.error().message, "fails its checksum")) << log.error().message;
    stage.disk().erase(DiskNode::control_path());  // So that the whole log is read again.
    const Status settled = stage.settle();
    EXPECT_FALSE(settled.has_value());
    if (!settled)
      EXPECT_TRUE(contains(settled.error().message, "fails its checksum")) << settled.error().message;
    return "";
  };
  EXPECT_EQ("", after_the_story(rot));
}

TEST_F(DiskNodeTest, ARecordThatIsMissingIsNamed) {
  const auto lose = [](DiskStage& stage) -> std::string {
    {
      auto db = sqlite::Database::open(DiskNode::log_path(), sqlite::Access::read_write);
      if (!db) return db.error().message;
      for (int i = 0; i < 4; ++i) {
        const std::string table = "records_" + std::to_string(i);
        const Status lost = db->exec("DELETE FROM " + table +
                                     " WHERE offset = 1 AND (SELECT max(offset) FROM " + table + ") > 1");
        if (!lost) return lost.error().message;
      }
    }
    const auto log = stage.node().read_log();
    if (log) return "the gap was not noticed";
    EXPECT_EQ(Errc::corrupt, log.error().code);
    EXPECT_TRUE(contains(log.error().message, ":1 is missing from the log")) << log.error().message;
    return "";
  };
  EXPECT_EQ("", after_the_story(lose));
}

bool same_or_shorter(const MemoryLogStorage& found, const MemoryLogStorage& whole, bool& shorter) {
  for (std::uint32_t i = 0; i < whole.partitions(); ++i) {
    const auto& got = found.records(Partition{i});
    const auto& had = whole.records(Partition{i});
    shorter = shorter || got.size() < had.size();
    for (std::size_t j = 0; j < got.size(); ++j) {
      if (j >= had.size() || *got[j].bytes != *had[j].bytes) return false;
    }
  }
  return true;
}

// Wherever a bit turns over: readers get the same records, or an error, or a log that ends before what the
// views have folded, which every reader refuses. Never another record.
TEST_F(DiskNodeTest, NoBitOfTheLogTurnsOverUnnoticed) {
  const auto rot_everywhere = [](DiskStage& stage) -> std::string {
    const std::string path = DiskNode::log_path();
    const auto whole = stage.node().read_log();
    const auto image = stage.node().image();
    if (!whole || !image) return "the log cannot be read";
    std::uint64_t noticed = 0;
    const std::size_t size = stage.disk().content(path).size();
    for (std::size_t at = 0; at < size; at += 97) {
      const auto bits = static_cast<unsigned char>(1U << (at % 8));
      stage.disk().rot(path, at, bits);
      const auto log = stage.node().read_log();
      stage.disk().rot(path, at, bits);  // And back.
      if (!log) {
        ++noticed;
        continue;
      }
      bool shorter = false;
      if ((*log)->partitions() != (*whole)->partitions()) return "another number of partitions";
      if (!same_or_shorter(**log, **whole, shorter)) return "other records with rot at " + std::to_string(at);
      bool refused = !shorter;
      for (const auto& [partition, checkpoint] : image->views.checkpoints) {
        refused = refused || checkpoint.next > (*log)->end(partition);
      }
      if (!refused) return "records are gone unnoticed with rot at " + std::to_string(at);
    }
    return noticed > 20 ? "" : "only " + std::to_string(noticed) + " were noticed";
  };
  EXPECT_EQ("", after_the_story(rot_everywhere));
}

Task<> compare(DiskStage& stage, std::size_t& found) {
  DiskNode& node = stage.node();
  for (std::uint32_t i = 0; i < node.log().partitions(); ++i) {
    auto differences = co_await fold_equals(node.env(), node.log(), node.views(), Partition{i});
    if (!differences) co_return differences.error();
    found += differences->size();
  }
  co_return ok();
}

// Empty if the views are proven to be the fold of the log.
std::string differences_of(DiskStage& stage) {
  if (Status settled = stage.settle(); !settled) return settled.error().message;
  std::size_t found = 0;
  if (Status compared = stage.run(compare(stage, found)); !compared) return compared.error().message;
  return found == 0 ? "" : std::to_string(found) + " differences";
}

TEST_F(DiskNodeTest, ViewsThatRotAreFoundByTheirDigestsAndCuredByFoldingAgain) {
  const auto rot = [](DiskStage& stage) -> std::string {
    const std::string path = DiskNode::views_path();
    const std::size_t at = stage.disk().content(path).find("Likes tea.");
    if (at == std::string::npos) return "the views do not hold the text";
    stage.disk().rot(path, at, 1);
    EXPECT_NE("", differences_of(stage));
    stage.node().stop();
    stage.disk().erase(path);
    return differences_of(stage);
  };
  EXPECT_EQ("", after_the_story(rot));
}

TEST_F(DiskNodeTest, ViewsThatRotAnywhereAreReportedOrFoundOrUnharmed) {
  const auto rot_everywhere = [](DiskStage& stage) -> std::string {
    const std::string path = DiskNode::views_path();
    std::uint64_t reported = 0;
    std::uint64_t found = 0;
    const std::size_t size = stage.disk().content(path).size();
    for (std::size_t at = 0; at < size; at += 701) {
      const auto bits = static_cast<unsigned char>(1U << (at % 8));
      stage.disk().rot(path, at, bits);
      const auto image = stage.node().image();
      stage.disk().rot(path, at, bits);
      if (!image) {
        ++reported;
        continue;
      }
      const StorageLogView<MemoryLogStorage> log(*image->log);
      MemoryViewsView views(image->views);
      ClusterOracles oracles(log, views, nullptr, {});
      oracles.at_rest();
      found += oracles.clean() ? 0 : 1;
    }
    return reported > 0 && found > 0
               ? ""
               : "reported " + std::to_string(reported) + ", found " + std::to_string(found);
  };
  EXPECT_EQ("", after_the_story(rot_everywhere));
}

}  // namespace
}  // namespace varve::sim
