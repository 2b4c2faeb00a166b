// Admission: the table of verdicts, and the rules around it under random schedules. The correct rules survive
// every schedule; each broken rule is caught by the oracle that the model checker names for it.
#include "eventlog/admission.h"

#include <gtest/gtest.h>

#include "tests/eventlog/admission_model.h"

namespace varve::test {
namespace {

Record claim(std::uint64_t epoch, std::string cluster = "c") {
  Claim record;
  record.epoch = Epoch{epoch};
  record.cluster = std::move(cluster);
  return record;
}
Record commit(std::uint64_t epoch, std::uint64_t n) {
  Commit record;
  record.epoch = Epoch{epoch};
  record.n = Index{n};
  return record;
}
Record ruling(std::uint64_t epoch, std::uint64_t n) {
  Ruling record;
  record.epoch = Epoch{epoch};
  record.n = Index{n};
  return record;
}

struct Row {
  std::string name;
  AdmissionState state;
  Record record;
  Verdict verdict;
  AdmissionState after;

  friend std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }
};

AdmissionState state(std::uint64_t epoch, std::uint64_t index, std::string cluster = "c") {
  return {Epoch{epoch}, Index{index}, std::move(cluster)};
}

class AdmissionTable : public ::testing::TestWithParam<Row> {};

TEST_P(AdmissionTable, Verdict) {
  const Row& row = GetParam();
  AdmissionState after = row.state;
  EXPECT_STREQ(to_string(row.verdict), to_string(admit(after, row.record)));
  EXPECT_EQ(row.after.epoch, after.epoch);
  EXPECT_EQ(row.after.index, after.index);
  EXPECT_EQ(row.after.cluster, after.cluster);
}

const Row kRows[] = {
    {"FirstClaim", {}, claim(1), Verdict::admitted, state(1, 0)},
    {"FirstClaimOfATooHighEpoch", {}, claim(2), Verdict::fenced, {}},
    {"ClaimOfEpochZero", {}, claim(0), Verdict::fenced, {}},
    {"NextClaim", state(3, 7), claim(4), Verdict::admitted, state(4, 0)},
    {"ClaimOfTheSameEpoch", state(3, 7), claim(3), Verdict::fenced, state(3, 7)},
    {"ClaimOfAnOlderEpoch", state(3, 7), claim(2), Verdict::fenced, state(3, 7)},
    {"ClaimThatLeavesOneOut", state(3, 7), claim(5), Verdict::fenced, state(3, 7)},
    {"ClaimOfAnotherCluster", state(3, 7), claim(4, "other"), Verdict::foreign, state(3, 7)},
    {"StaleClaimOfAnotherCluster", state(3, 7), claim(1, "other"), Verdict::foreign, state(3, 7)},
    {"TheFirstClaimNamesTheCluster", {}, claim(1, "other"), Verdict::admitted, state(1, 0, "other")},
    {"FirstCommit", state(1, 0), commit(1, 1), Verdict::admitted, state(1, 1)},
    {"NextCommit", state(3, 7), commit(3, 8), Verdict::admitted, state(3, 8)},
    {"CommitThatIsThereAlready", state(3, 7), commit(3, 7), Verdict::duplicate, state(3, 7)},
    {"CommitThatWasThereLongAgo", state(3, 7), commit(3, 1), Verdict::duplicate, state(3, 7)},
    {"CommitBehindAHole", state(3, 7), commit(3, 9), Verdict::gap, state(3, 7)},
    {"CommitOfIndexZero", state(3, 0), commit(3, 0), Verdict::duplicate, state(3, 0)},
    {"CommitOfAnOlderEpoch", state(3, 7), commit(2, 8), Verdict::fenced, state(3, 7)},
    {"CommitOfANewerEpoch", state(3, 7), commit(4, 1), Verdict::fenced, state(3, 7)},
    {"CommitBeforeAnyClaim", {}, commit(0, 1), Verdict::fenced, {}},
    {"CommitOfAnEpochNeverClaimed", {}, commit(1, 1), Verdict::fenced, {}},
    {"NextRuling", state(3, 7), ruling(3, 8), Verdict::admitted, state(3, 8)},
    {"RulingThatIsThereAlready", state(3, 7), ruling(3, 7), Verdict::duplicate, state(3, 7)},
    {"RulingBehindAHole", state(3, 7), ruling(3, 9), Verdict::gap, state(3, 7)},
    {"RulingOfAnOlderEpoch", state(3, 7), ruling(2, 8), Verdict::fenced, state(3, 7)},
    {"RecordThatIsNotOurs", state(3, 7), ForeignRecord{}, Verdict::foreign, state(3, 7)},
    {"RecordThatIsNotOursBeforeAnyClaim", {}, ForeignRecord{}, Verdict::foreign, {}},
};

INSTANTIATE_TEST_SUITE_P(Rows, AdmissionTable, ::testing::ValuesIn(kRows),
                         [](const auto& info) { return info.param.name; });

constexpr std::uint64_t kSchedules = 20'000;

TEST(AdmissionModelTest, TheRulesSurviveEverySchedule) {
  Tally total;
  for (std::uint64_t seed = 1; seed <= kSchedules; ++seed) {
    AdmissionModel model(seed, Mutant::none);
    const std::set<Oracle> violated = model.run();
    ASSERT_TRUE(violated.empty()) << *violated.begin() << ", seed " << seed << "\n" << model.story();
    for (const auto& [what, count] : model.tally()) total[what] += count;
  }
  // The schedules were worth running: everything that the rules are about has happened, often.
  for (const char* what : {"admitted claim", "fenced claim",     "admitted commit",
                           "fenced commit",  "duplicate commit", "gap commit",
                           "served",         "claims_skipped",   "fenced_by_claim",
                           "read_back",      "answered_again",   "own_skipped",
                           "unknown",        "not_written",      "stops",
                           "settled_done",   "settled_dead",     "landed_twice",
                           "lost",           "crashes"}) {
    EXPECT_GT(total[what], 500U) << what;
  }
  EXPECT_GT(total["admitted commit"], kSchedules) << "more than one a schedule";
}

struct Broken {
  Mutant mutant;
  Oracle caught_by;
  friend std::ostream& operator<<(std::ostream& out, const Broken& broken) {
    return out << broken.mutant << "_is_caught_by_" << broken.caught_by;
  }
};

class BrokenRule : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenRule, IsCaught) {
  for (std::uint64_t seed = 1; seed <= kSchedules; ++seed) {
    AdmissionModel model(seed, GetParam().mutant);
    if (model.run().contains(GetParam().caught_by)) {
      RecordProperty("seed", std::to_string(seed));
      return;
    }
  }
  FAIL() << "no schedule of " << kSchedules << " violates it";
}

INSTANTIATE_TEST_SUITE_P(AdmissionModelTest, BrokenRule,
                         ::testing::Values(Broken{Mutant::no_epoch_check, Oracle::one_writer},
                                           Broken{Mutant::no_epoch_check, Oracle::no_late_effect},
                                           Broken{Mutant::no_index_check, Oracle::once},
                                           Broken{Mutant::no_index_check, Oracle::decided_on},
                                           Broken{Mutant::ack_on_append, Oracle::acknowledged},
                                           Broken{Mutant::retry_same_epoch, Oracle::no_late_effect},
                                           Broken{Mutant::claim_by_node_name, Oracle::no_late_effect},
                                           Broken{Mutant::unadmitted_claim_serves, Oracle::no_late_effect},
                                           Broken{Mutant::unadmitted_claim_serves, Oracle::one_writer},
                                           Broken{Mutant::refill, Oracle::decided_on},
                                           Broken{Mutant::skip_means_failed, Oracle::no_late_effect},
                                           Broken{Mutant::retry_in_flight, Oracle::once},
                                           Broken{Mutant::reader_without_index, Oracle::agree},
                                           Broken{Mutant::reader_without_epoch, Oracle::agree},
                                           Broken{Mutant::forgetful_window, Oracle::once},
                                           Broken{Mutant::told_before_the_claim, Oracle::no_late_effect}),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace varve::test
