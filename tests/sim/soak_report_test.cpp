// What a soak says: sums, progress, the summary by class, and the situations that it must have met.
#include "sim/soak_report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "sim/sometimes.h"

namespace varve::sim {
namespace {

ScenarioResult some_result() {
  ScenarioResult result;
  result.steps = 100;
  result.simulated_ms = 61'000;
  result.operations = 9;
  result.answered = 7;
  result.counters = {{"fault.node.crash", 2}, {"fault.log.lost", 3}, {"sometimes.append.unknown", 1}};
  return result;
}

std::string add_all(const std::string& report, SoakSums& sums) {
  std::istringstream in(report);
  std::string said;
  for (std::string line; std::getline(in, line);) {
    const std::string one = add_report_line(line, sums);
    if (!one.empty()) said += one + "\n";
  }
  return said;
}

TEST(SoakReport, AddsUpWhatWorkersTell) {
  SoakSums sums;
  EXPECT_EQ("", add_all(report_of(some_result(), "repro v1:1"), sums));
  ScenarioResult failed = some_result();
  failed.violations = {{"I2", "two\nlines"}, {"I9", "another"}};
  EXPECT_EQ("FAIL I2 two lines\n  repro: varve-sim repro v1:2\n",
            add_all(report_of(failed, "repro v1:2"), sums));
  EXPECT_EQ(2U, sums.runs);
  EXPECT_EQ(1U, sums.failed);
  EXPECT_EQ(200U, sums.steps);
  EXPECT_EQ(4U, sums.counters.at("fault.node.crash"));
}

TEST(SoakReport, SummarisesByClass) {
  SoakSums sums;
  add_all(report_of(some_result(), ""), sums);
  const std::string summary = summary_of(sums, 2);
  for (const char* part :
       {"1 seeds, 0 failed, 100 steps, 0 h 1 min simulated, 7 of 9 operations", "2 crashes",
        "faults injected: 5 of 2 kinds", "  fault.log.lost 3", "situations met: 1 of 1 kinds"}) {
    EXPECT_NE(std::string::npos, summary.find(part)) << part << "\n" << summary;
  }
}

TEST(SoakReport, ProgressTellsWhatIsLeft) {
  SoakSums sums;
  sums.runs = 200;
  EXPECT_EQ("200 of 1000 seeds, 0 failed, 20 seeds/s, 40 s left", progress_of(sums, 10, 1000, 0));
  EXPECT_EQ("200 seeds, 0 failed, 20 seeds/s, 50 s left", progress_of(sums, 10, 0, 60));
  EXPECT_EQ("200 of 1000 seeds, 0 failed, 20 seeds/s, 20 s left", progress_of(sums, 10, 1000, 30));
}

TEST(SoakReport, ASituationThatWasNeverMetIsNamedOnceEnoughSeedsHaveRun) {
  SoakSums sums;
  sums.runs = 1;
  EXPECT_TRUE(never_met(sums).empty());
  std::uint64_t most = 0;
  for (const Sometimes& one : sometimes()) {
    if (one.seeds != kNotInSoaks) most = std::max(most, one.seeds);
    sums.counters[one.id] = 1;
  }
  sums.runs = most;
  EXPECT_TRUE(never_met(sums).empty());
  sums.counters.erase("sometimes.append.unknown");
  ASSERT_EQ(1U, never_met(sums).size());
  EXPECT_TRUE(never_met(sums).front().starts_with("sometimes.append.unknown: "));
}

// ---- the table and the sources ----

std::string text_of_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string sources_of(const std::set<std::string>& folders) {
  std::string all;
  for (const std::string& folder : folders) {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(std::filesystem::path(VARVE_SOURCE_DIR) / folder)) {
      if (entry.path().extension() == ".cpp" && entry.path().filename() != "sometimes_table.cpp")
        all += text_of_file(entry.path());
    }
  }
  return all;
}

TEST(Sometimes, EverySituationIsCountedSomewhereAndEveryCountedOneIsInTheTable) {
  const std::string simulated = sources_of({"sim"});
  const std::string nodes = sources_of({"actors", "api", "cluster", "eventlog", "projections"});
  std::set<std::string> listed;
  for (const Sometimes& one : sometimes()) {
    const std::string id = one.id;
    EXPECT_TRUE(listed.insert(id).second) << id << " is listed twice";
    if (id.starts_with("node.")) {
      EXPECT_NE(std::string::npos, nodes.find("count(\"" + id.substr(5) + "\"")) << id;
    } else {
      EXPECT_NE(std::string::npos, simulated.find("\"" + id + "\"")) << id;
    }
    EXPECT_NE(std::string(), one.why) << id;
  }
  EXPECT_GE(listed.size(), 30U);
  const std::regex counted("\"(sometimes\\.[a-z_.]*)\"");
  for (auto found = std::sregex_iterator(simulated.begin(), simulated.end(), counted);
       found != std::sregex_iterator(); ++found) {
    const std::string id = (*found)[1];
    if (id == "sometimes.") continue;  // The prefix of all.
    EXPECT_TRUE(listed.contains(id)) << id << " is not in sim/sometimes_table.cpp";
  }
}

// ---- the watch ----

std::uint64_t counted(const std::vector<std::string>& lines, const char* id) {
  Counters counters;
  SometimesWatch watch(counters);
  for (const std::string& line : lines) watch.on_line(line);
  return counters.of(id);
}

TEST(Sometimes, TheWatchSeesWhatOneDoesWhileAnotherBelievesSomethingElse) {
  const std::vector<std::string> takeover{
      "node-1: owner p=0 claim-sent e=1 id=aa",
      "node-1: owner p=0 serve e=1 id=aa",
      "node-1: owner p=0 commit-sent e=1 n=1 cmd=bb",
      "pause node-1",
      "node-2: owner p=0 claim-sent e=2 id=cc",
      "node-2: owner p=0 serve e=2 id=cc",
      "resume node-1",
      "node-1: owner p=0 commit-sent e=1 n=2 cmd=dd",
      "node-2: owner p=0 read o=9 kind=commit v=fenced",
      "crash node-1",
  };
  for (const char* id :
       {"paused_while_serving", "paused_during_append", "two_believe_they_serve", "takeover_during_append",
        "zombie_woke", "zombie_sent", "read_fenced", "crashed_during_append"}) {
    EXPECT_EQ(1U, counted(takeover, (std::string("sometimes.owner.") + id).c_str())) << id;
  }
  EXPECT_EQ(0U, counted(takeover, "sometimes.owner.two_claims_at_once"));
}

TEST(Sometimes, TheWatchForgetsWhatHasEnded) {
  const std::vector<std::string> calm{
      "node-1: owner p=0 claim-sent e=1 id=aa",
      "node-1: owner p=0 serve e=1 id=aa",
      "node-1: owner p=0 commit-sent e=1 n=1 cmd=bb",
      "node-1: owner p=0 done e=1 n=1 cmd=bb o=3",
      "node-1: owner p=0 stop e=1",
      "node-2: owner p=0 serve e=2 id=cc",
      "crash node-1",
      "pause node-3",
  };
  Counters counters;
  SometimesWatch watch(counters);
  for (const std::string& line : calm) watch.on_line(line);
  EXPECT_TRUE(counters.all().empty());
}

}  // namespace
}  // namespace varve::sim
