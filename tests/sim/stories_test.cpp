// Stories: what each of them must have met to be worth sweeping, that a run is pure, and that a sweep finds
// what a crash breaks and says how to see it again. The sweeps themselves are entries of ctest.
#include <gtest/gtest.h>

#include "sim/sweep.h"

namespace varve::sim {
namespace {

std::string failures_of(const StoryResult& result) {
  std::string text;
  for (const std::string& failure : result.failures) text += failure + "\n";
  return text;
}

TEST(Stories, HoldWithoutACrashForManySeeds) {
  for (const StoryKind& kind : story_kinds()) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      StoryRun run;
      run.seed = seed;
      run.sparse_log = seed % 2 == 0;
      EXPECT_EQ("", failures_of(run_story(kind, run))) << kind.name << " seed " << seed;
    }
  }
}

TEST(Stories, OneRunIsOneTraceAndAnotherIsAnother) {
  for (const StoryKind& kind : story_kinds()) {
    StoryRun run;
    run.seed = 7;
    run.crash_after_step = 200;
    const StoryResult first = run_story(kind, run);
    const StoryResult again = run_story(kind, run);
    EXPECT_EQ(first.trace_hash, again.trace_hash) << kind.name;
    EXPECT_EQ(first.steps, again.steps) << kind.name;
    run.seed = 8;
    EXPECT_NE(first.trace_hash, run_story(kind, run).trace_hash) << kind.name;
  }
}

std::uint64_t met(const char* story, const char* counter) {
  const auto kind = find_story(story);
  const StoryResult result = run_story(*kind, StoryRun{});
  const auto found = result.counters.find(counter);
  return found == result.counters.end() ? 0 : found->second;
}

TEST(Stories, MeetWhatTheyAreAbout) {
  EXPECT_GE(met("passivation", "sometimes.story.asleep"), 4U);
  EXPECT_GE(met("passivation", "sometimes.story.snapshot_and_tail"), 1U);
  EXPECT_GE(met("passivation", "node.passivations"), 4U);
  EXPECT_GE(met("batch", "sometimes.story.batch_of_many"), 3U);
  EXPECT_GE(met("batch", "fault.views.lost_ack"), 1U);
  EXPECT_GE(met("quarantine", "node.streams_reread"), 1U);
  EXPECT_GE(met("move", "sometimes.group.lost"), 1U);
}

// A server that keeps a thing in memory only: whoever asks after a crash is told otherwise.
class Forgetful final : public Story {
 public:
  explicit Forgetful(StoryStage& stage) : stage_(stage) {}
  void on_crash(std::size_t node) override { lost_ = lost_ || (known_ && node == 0); }
  std::string at_rest() override { return lost_ ? "I1: what was known is lost" : ""; }

 protected:
  Task<> play() override {
    co_await sleep_for(stage_.client(), std::chrono::seconds{1});
    known_ = true;
    co_await sleep_for(stage_.client(), std::chrono::seconds{1});
    known_ = false;
    co_return ok();
  }

 private:
  StoryStage& stage_;
  bool known_ = false;
  bool lost_ = false;
};

TEST(Sweeps, FindWhatACrashBreaksAndSayHowToSeeIt) {
  StoryKind kind;
  kind.name = "forgetful";
  kind.world.nodes = 1;
  kind.world.partitions = 1;
  kind.make = [](StoryStage& stage) { return std::make_unique<Forgetful>(stage); };
  Sweep sweep;
  sweep.seed = 3;
  sweep.stride = 5;
  const SweepResult result = sweep_story(kind, sweep);
  EXPECT_GT(result.runs, 20U);
  EXPECT_GT(result.failed, 2U);
  EXPECT_LT(result.failed, result.runs);
  const std::string replay =
      "I1: what was known is lost\n  replay: varve-sim run --scenario forgetful --seed 3 "
      "--crash-after ";
  ASSERT_EQ(replay, result.first_failure.substr(0, replay.size()));
  StoryRun run;
  run.seed = 3;
  run.crash_after_step = std::stoull(result.first_failure.substr(replay.size()));
  EXPECT_EQ("I1: what was known is lost\n", failures_of(run_story(kind, run)));
}

}  // namespace
}  // namespace varve::sim
