// Views that are rebuilt and switched in the simulated world: on SQLite files that a crash tears, beside live
// work, with every read compared with those before it.
#include <gtest/gtest.h>

#include "eventlog/sqlite_support.h"
#include "projections/memory_view_store.h"
#include "projections/sqlite_files.h"
#include "sim/disk_lifecycle.h"
#include "sim/disk_swarm.h"
#include "sim/mutants.h"
#include "sim/swarm.h"

namespace varve::sim {
namespace {

std::string failures_of(const DiskRunResult& result) {
  std::string text;
  for (const std::string& failure : result.failures) text += failure + "\n";
  return text;
}

class SimRebuild : public testing::Test {
 protected:
  static void SetUpTestSuite() { configure_sqlite_for_simulation(); }

  static DiskRunResult play(std::uint64_t seed, std::uint64_t crash_at) {
    DiskRunOptions options;
    options.tale = DiskTale::rebuild;
    options.seed = seed;
    options.crash_at_operation = crash_at;
    return run_disk_lifecycle(options);
  }
};

TEST_F(SimRebuild, TheStoryHoldsAndIsOneTrace) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) EXPECT_EQ("", failures_of(play(seed, 0))) << seed;
  const DiskRunResult first = play(4, 0);
  const DiskRunResult again = play(4, 0);
  EXPECT_EQ(first.trace_hash, again.trace_hash);
  EXPECT_EQ(first.content_hash, again.content_hash);
}

TEST_F(SimRebuild, SurvivesAPowerCutAtDiskOperations) {
  const SweepResult sweep = sweep_disk_lifecycle({1, 3, 131, DiskNode::Death::power, DiskTale::rebuild});
  EXPECT_GT(sweep.runs, 12U);
  EXPECT_EQ(0U, sweep.failed) << sweep.first_failure;
}

TEST_F(SimRebuild, SurvivesADeathAtDiskOperations) {
  const SweepResult sweep = sweep_disk_lifecycle({2, 7, 173, DiskNode::Death::process, DiskTale::rebuild});
  EXPECT_GT(sweep.runs, 9U);
  EXPECT_EQ(0U, sweep.failed) << sweep.first_failure;
}

// Half of the seeds of the embedded server rebuild: begin, end half-way, go on after a crash, switch.
TEST_F(SimRebuild, IsPartOfTheSwarm) {
  std::map<std::string, std::uint64_t, std::less<>> met;
  std::size_t rebuilding = 0;
  for (std::uint64_t number = 1; number <= 30 && rebuilding < 4; ++number) {
    SwarmRun run;
    run.seed = disk_seed(number);
    const SwarmResult result = run_disk_swarm(run);
    ASSERT_TRUE(result.violations.empty()) << result.token << " " << result.violations.front().what;
    if (result.config.find(" rebuilds") == std::string::npos) continue;
    ++rebuilding;
    for (const auto& [name, count] : result.counters) met[name] += count;
  }
  EXPECT_EQ(4U, rebuilding);
  EXPECT_GT(met["sometimes.rebuild.done"], 2U);
  EXPECT_GT(met["sometimes.rebuild.ended"], 0U);
}

// ---- a file that is erased ----

std::int64_t rows_of(const std::string& path) {
  auto db = sqlite::Database::open(path, sqlite::Access::read_only);
  if (!db) return -1;
  auto count = db->prepare("SELECT count(*) FROM t");
  if (!count || !count->step()) return -1;
  return count->integer(0);
}

// The newest rows are in the write-ahead log alone, as after a death of the process.
void make_database(const std::string& path) {
  auto db = sqlite::Database::open(path, sqlite::Access::create);
  ASSERT_TRUE(db);
  ASSERT_TRUE(db->exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)"));
  ASSERT_TRUE(
      db->exec("INSERT INTO t VALUES (1); PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES (2)"));
}

// Wherever whoever erases it dies, what is left is the whole database, or an empty one, or nothing.
TEST_F(SimRebuild, WhatIsErasedIsWholeOrGoneAtEveryCrash) {
  const std::string path = "/data/views-9.db";
  std::size_t whole = 0;
  std::size_t gone = 0;
  for (std::uint64_t crash = 1; crash <= 12; ++crash) {
    for (const bool power : {false, true}) {
      Choices choices(crash * 2 + (power ? 1 : 0));
      Scheduler scheduler(choices);
      Counters counters;
      Disk disk(scheduler, counters, {});
      const SqliteVfs vfs(scheduler, disk, 1);
      make_database(path);
      ASSERT_EQ(2, rows_of(path));
      disk.sync_directory("/data");
      disk.crash_at_operation(disk.operations() + crash);
      const auto erased = sqlite::erase_database(path);
      disk.kill();
      if (power) disk.power_cut();
      if (erased) EXPECT_FALSE(disk.exists(path));
      const auto there = sqlite::file_exists(path);
      ASSERT_TRUE(there);
      if (*there) EXPECT_EQ(2, rows_of(path)) << "crash at " << crash;
      ++(*there ? whole : gone);
    }
  }
  EXPECT_GT(whole, 0U);
  EXPECT_GT(gone, 0U);
}

// ---- who watches ----

TEST_F(SimRebuild, AReadThatGoesBackIsNamed) {
  Scheduler scheduler(1);
  SimEnv env(scheduler, "node", 1);
  auto storage = std::make_shared<MemoryViewStorage>();
  MemoryViewStore store(env, storage);
  PositionWatch watch(1);
  const auto watched = watch.before(store);
  const auto read_at = [&](std::uint64_t next) {
    Checkpoint checkpoint;
    checkpoint.version = 1;
    checkpoint.next = Offset{next};
    storage->checkpoints[Partition{0}] = checkpoint;
    env.spawn("read", watched->read([](ViewReader& /*reader*/) { return ok(); }));
    while (scheduler.step()) {
    }
  };
  read_at(5);
  read_at(5);
  read_at(7);
  EXPECT_TRUE(watch.broken().empty());
  read_at(6);
  ASSERT_EQ(1U, watch.broken().size());
  EXPECT_NE(std::string::npos,
            watch.broken().front().find("up to offset 6, after one had shown them up to 7"));
  watch.lost();
  read_at(3);
  EXPECT_EQ(1U, watch.broken().size());
  env.kill();
}

}  // namespace
}  // namespace varve::sim
