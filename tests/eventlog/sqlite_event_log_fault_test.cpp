// The SQLite log on failing disks and in dying processes: what was acknowledged is there, what was "not
// written" never is, and the log says so quickly.
#include <sys/resource.h>

#include <csignal>
#include <map>
#include <sstream>

#include "tests/eventlog/faulty_vfs.h"
#include "tests/eventlog/sqlite_log_support.h"

namespace varve::test {
namespace {

std::string code_of(const Result<Offset>& outcome) {
  return outcome ? "written" : to_string(outcome.error().code);
}

class FailingDisk : public ::testing::Test {
 protected:
  TemporaryDirectory directory_;
  FaultyVfs disk_;
};

TEST_F(FailingDisk, AWriteThatFailsBeforeCommitIsNotWrittenAndItsOffsetIsFree) {
  Life life(directory_.path());
  EXPECT_EQ("0", life.outcome("a"));
  disk_.fail(FaultyVfs::kWal, 0, 1'000'000);
  for (int i = 0; i < 3; ++i) EXPECT_EQ("unavailable", code_of(life.append("lost")));
  EXPECT_GE(disk_.failed(), 3);
  EXPECT_EQ("a", life.records());
  disk_.heal();
  EXPECT_EQ("1", life.outcome("b"));
  EXPECT_EQ("a b", life.records());
}

TEST_F(FailingDisk, AFailedSyncLeavesTheOutcomeUnknownAndTheLogRefusesToGoOn) {
  std::string known = "a";
  {
    Life life(directory_.path());
    EXPECT_EQ("0", life.outcome("a"));
    disk_.fail_syncs(FaultyVfs::kWal, 0, 1);
    EXPECT_EQ("outcome_unknown", code_of(life.append("b")));
    EXPECT_EQ(1, disk_.failed());
    const auto refused = life.append("c");
    ASSERT_FALSE(refused);
    EXPECT_EQ(Errc::unavailable, refused.error().code);
    EXPECT_EQ("the log takes no more records until the server is restarted, because of: ",
              refused.error().message.substr(0, 73));
    known = life.records();
    EXPECT_TRUE(known == "a" || known == "a b") << known;
  }
  Life life(directory_.path());
  EXPECT_EQ(known, life.records()) << "what was read never disappears";
  EXPECT_TRUE(life.append("d"));
}

TEST_F(FailingDisk, ACheckpointThatFailsLosesNothing) {
  std::string expected;
  {
    Life life(directory_.path());
    disk_.fail(FaultyVfs::kMainFile, 0, 1'000'000);
    for (int i = 0; i < 12; ++i) {
      const std::string bytes(std::size_t{1} << 20U, static_cast<char>('a' + i));
      ASSERT_TRUE(life.append(bytes));
      expected += (i == 0 ? "" : " ") + bytes;
    }
    EXPECT_GT(disk_.failed(), 0);
    disk_.heal();
    EXPECT_TRUE(expected == life.records());
  }
  Life life(directory_.path());
  EXPECT_TRUE(expected == life.records());
}

// Fails each write and sync of the write-ahead log in turn, under an append of three records at once.
TEST_F(FailingDisk, EveryOperationMayFail) {
  std::map<std::string, int> seen;
  for (int fail_at = 0;; ++fail_at) {
    SCOPED_TRACE("fail_at=" + std::to_string(fail_at));
    const TemporaryDirectory directory;
    std::string acknowledged = "before";
    std::string outcome;
    bool struck = false;
    {
      Life life(directory.path());
      ASSERT_TRUE(life.append("before"));
      disk_.fail(FaultyVfs::kWal, fail_at, 1);
      std::vector<Delivery> deliveries;
      for (const char* bytes : {"a", "b", "c"}) {
        auto delivery = life.log->append(Partition{0}, "agent-1", bytes);
        ASSERT_TRUE(delivery);
        deliveries.push_back(*delivery);
      }
      // The first append has a transaction of its own, the others share one.
      const std::string first = code_of(run(life.env, outcome_of(&life.env, deliveries[0])));
      const std::string second = code_of(run(life.env, outcome_of(&life.env, deliveries[1])));
      EXPECT_EQ(second, code_of(run(life.env, outcome_of(&life.env, deliveries[2]))));
      struck = disk_.failed() > 0;
      disk_.heal();
      outcome = first + ", " + second;
      ++seen[outcome];
      if (first == "written") acknowledged += " a";
      if (second == "written") acknowledged += " b c";
      const auto later = life.append("later");
      if (later) acknowledged += " later";
      EXPECT_EQ(acknowledged, life.records()) << outcome;
    }
    Life life(directory.path());
    const std::string found = life.records();
    // Only what is unknown may turn up, and only if nothing was written over it.
    if (outcome.find("outcome_unknown") == std::string::npos) {
      EXPECT_EQ(acknowledged, found) << outcome;
    } else {
      EXPECT_EQ(acknowledged, found.substr(0, acknowledged.size())) << outcome;
    }
    if (!struck) {
      EXPECT_EQ("written, written", outcome);
      break;
    }
  }
  for (const char* outcome :
       {"unavailable, written", "written, unavailable", "outcome_unknown, written",
        "written, outcome_unknown", "outcome_unknown, unavailable", "written, written"}) {
    EXPECT_GT(seen[outcome], 0) << outcome;
  }
}

// The child's part: fills the disk, and after that still answers quickly and reads.
int fill_the_disk(const std::string& directory, Pipe& out) {
  std::signal(SIGXFSZ, SIG_IGN);  // As the server does.
  const rlimit limit{1 << 20, 1 << 20};
  if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
  Life life(directory);
  if (!life.log) return 3;
  int failures = 0;
  std::string expected;
  for (int i = 0; failures < 5; ++i) {
    if (i > 10'000) return 4;
    const std::string bytes = std::to_string(i) + std::string(4000, '.');
    const MonoTime start = life.env.now();
    const auto offset = life.append(bytes);
    if (life.env.now() - start > std::chrono::seconds(5)) return 5;
    if (offset) {
      if (!out.write(std::to_string(offset->value()) + " " + std::to_string(i) + "\n")) return 6;
      expected += (expected.empty() ? "" : " ") + bytes;
    } else if (offset.error().code == Errc::unavailable) {
      ++failures;
    } else {
      return 7;
    }
  }
  return life.records() == expected ? 0 : 8;
}

TEST(FullDisk, IsReportedAndNothingAcknowledgedIsLost) {
  const TemporaryDirectory directory;
  Pipe acknowledged;
  const pid_t child =
      start_child([&directory, &acknowledged] { return fill_the_disk(directory.path(), acknowledged); });
  acknowledged.close_writing();
  std::string expected;
  std::uint64_t offset = 0;
  for (std::string line = acknowledged.read_line(); !line.empty();
       line = acknowledged.read_line(), ++offset) {
    std::istringstream words(line);
    std::uint64_t acknowledged_at = 0;
    std::string number;
    words >> acknowledged_at >> number;
    EXPECT_EQ(offset, acknowledged_at);
    expected += (expected.empty() ? "" : " ") + number + std::string(4000, '.');
  }
  ASSERT_EQ(0, wait_for(child));
  ASSERT_GT(offset, 10U);
  Life life(directory.path());
  EXPECT_TRUE(expected == life.records());
  EXPECT_EQ(std::to_string(offset), life.outcome("there is room again")) << "failed appends use no offset";
}

int append_for_ever(const std::string& directory, Pipe& out) {
  Life life(directory);
  std::deque<std::pair<int, Delivery>> in_flight;
  for (int i = 0;; ++i) {
    auto delivery = life.log->append(Partition{0}, "agent-1", "record-" + std::to_string(i));
    if (!delivery) return 2;
    in_flight.emplace_back(i, *delivery);
    if (in_flight.size() < 20) continue;
    const auto offset = run(life.env, outcome_of(&life.env, in_flight.front().second));
    if (!offset) return 3;
    if (!out.write(std::to_string(offset->value()) + " " + std::to_string(in_flight.front().first) + "\n"))
      return 4;
    in_flight.pop_front();
  }
}

TEST(KilledProcess, EverythingThatItAcknowledgedIsThere) {
  const TemporaryDirectory directory;
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < 3; ++round) {
    Pipe out;
    const pid_t child = start_child([&directory, &out] { return append_for_ever(directory.path(), out); });
    out.close_writing();
    std::map<std::uint64_t, std::string> expected;
    const auto take = [&expected](const std::string& line) {
      std::istringstream words(line);
      std::uint64_t offset = 0;
      std::string number;
      words >> offset >> number;
      expected[offset] = "record-" + number;
    };
    for (int i = 0; i < 100 + 37 * round; ++i) take(out.read_line());
    ASSERT_EQ(0, ::kill(child, SIGKILL));
    // What it printed before it died counts too; the last line may be torn only if the pipe was full, which
    // it is not: lines are far shorter than PIPE_BUF.
    for (std::string line = out.read_line(); !line.empty(); line = out.read_line()) take(line);
    EXPECT_EQ(-SIGKILL, wait_for(child));

    Life life(directory.path());
    const auto records = run(life.env, read_to_end(life.log.get(), Partition{0}, Offset{}));
    ASSERT_TRUE(records) << to_string(records.error());
    for (const auto& [offset, bytes] : expected) {
      ASSERT_LT(offset, records->size());
      EXPECT_EQ(bytes, *(*records)[offset].bytes);
    }
    EXPECT_LT(acknowledged, expected.rbegin()->first) << "the next life goes on behind the last";
    acknowledged = expected.rbegin()->first;
  }
}

}  // namespace
}  // namespace varve::test
