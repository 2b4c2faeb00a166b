// Shrinking: tapes get small and still fail, the same way every time; cases keep what a run needs.
#include "sim/shrink.h"

#include <gtest/gtest.h>

#include "sim/failure_case.h"

namespace varve::sim {
namespace {

const ShrinkProgress kQuiet = [](const Shrunk&) {};

Tape random_tape(std::uint64_t seed, std::size_t decisions) {
  Choices choices(seed);
  choices.record();
  for (std::size_t i = 0; i < decisions; ++i) {
    choices.choose(Domain::nemesis, 50);
    choices.chance(Domain::network, 1, 3);
    choices.spread(Domain::log, 1000);
  }
  return choices.tape();
}

// A run that fails if three decisions are what they should be, wherever the rest is.
std::optional<Tape> fails_by_three(const Tape& tape) {
  const bool fails =
      tape.at(Domain::nemesis, 20) > 10 && tape.at(Domain::network, 40) == 1 && tape.at(Domain::log, 7) >= 5;
  return fails ? std::optional(tape) : std::nullopt;
}

Tape failing_tape() {
  Tape tape = random_tape(7, 300);
  tape.set(Domain::nemesis, 20, 33);
  tape.set(Domain::network, 40, 1);
  tape.set(Domain::log, 7, 900);
  return tape;
}

TEST(Shrink, WhatTheFailureNeedsIsLeft) {
  const Shrunk shrunk = shrink(failing_tape(), 5000, fails_by_three, kQuiet);
  EXPECT_TRUE(shrunk.finished);
  EXPECT_GT(shrunk.before.decisions, 400U);
  EXPECT_EQ(3U, shrunk.after.decisions) << shrunk.tape.encode();
  EXPECT_EQ(11U, shrunk.tape.at(Domain::nemesis, 20));
  EXPECT_EQ(1U, shrunk.tape.at(Domain::network, 40));
  EXPECT_EQ(5U, shrunk.tape.at(Domain::log, 7));
  EXPECT_TRUE(fails_by_three(shrunk.tape));
}

TEST(Shrink, TheSameTapeShrinksToTheSameTape) {
  const Shrunk first = shrink(failing_tape(), 200, fails_by_three, kQuiet);
  const Shrunk second = shrink(failing_tape(), 200, fails_by_three, kQuiet);
  EXPECT_EQ(first.tape, second.tape);
  EXPECT_EQ(first.runs, second.runs);
}

TEST(Shrink, ABudgetIsKeptAndWhatItGaveStillFails) {
  for (const std::uint64_t budget : {1U, 5U, 40U}) {
    const Shrunk shrunk = shrink(failing_tape(), budget, fails_by_three, kQuiet);
    EXPECT_EQ(budget, shrunk.runs);
    EXPECT_FALSE(shrunk.finished);
    EXPECT_TRUE(fails_by_three(shrunk.tape));
    EXPECT_LE(shrunk.after, shrunk.before);
  }
}

// As a nemesis: a decision to strike is followed by whom and how long. Dropping one must take what hangs on
// it with it, or the rest means something else.
std::optional<Tape> strikes_node_three(const Tape& tape) {
  Choices choices(tape);
  choices.record();
  bool hit = false;
  for (int tick = 0; tick < 60; ++tick) {
    if (!choices.chance(Domain::nemesis, 1, 2)) continue;
    const std::uint64_t node = choices.choose(Domain::nemesis, 4);
    const std::uint64_t time = choices.choose(Domain::nemesis, 100);
    if (tick > 3 && node == 3 && time > 50) hit = true;
  }
  return hit ? std::optional(choices.tape()) : std::nullopt;
}

TEST(Shrink, DecisionsThatHangOnADroppedOneGoWithIt) {
  Choices choices(11);
  choices.record();
  for (int tick = 0; tick < 60; ++tick) {
    if (!choices.chance(Domain::nemesis, 1, 2)) continue;
    choices.choose(Domain::nemesis, 4);
    choices.choose(Domain::nemesis, 100);
  }
  ASSERT_TRUE(strikes_node_three(choices.tape()));
  const Shrunk shrunk = shrink(choices.tape(), 5000, strikes_node_three, kQuiet);
  EXPECT_EQ(3U, shrunk.after.decisions) << shrunk.tape.encode();  // One strike: yes, whom, how long.
}

TEST(Shrink, ATapeCanBeCutAndTakenApart) {
  Tape tape;
  for (std::uint64_t value = 1; value <= 5; ++value) tape.add(Domain::disk, value);
  tape.take_out(Domain::disk, 1, 2);
  EXPECT_EQ("disk 0:1 1:4 2:5\n", tape.encode());
  tape.take_out(Domain::disk, 2, 9);
  tape.take_out(Domain::disk, 7, 1);
  EXPECT_EQ(2U, tape.length(Domain::disk));
  tape.cut(Domain::disk, 1);
  EXPECT_EQ("disk 0:1\n", tape.encode());
  const TapeSize size = size_of(tape);
  EXPECT_EQ(1U, size.decisions);
  EXPECT_EQ(1U, size.sum);
}

// ---- cases ----

FailureCase some_case() {
  FailureCase one;
  one.run.scenario = "disk";
  one.run.seed = 17;
  one.run.crash_at = 5;
  one.run.process_dies = true;
  one.run.faults = "syncs";
  one.run.tape = Tape{};
  one.run.tape->set(Domain::nemesis, 3, 9);
  one.mutant = "unsynced-is-read";
  one.notes = "Bytes of a failed sync.\nTwo lines of it.\n";
  one.invariant = "I1";
  one.what = "a record is gone";
  one.config = "partitions=2";
  return one;
}

TEST(FailureCase, ComesBackAsItWasWritten) {
  const FailureCase one = some_case();
  const auto read = FailureCase::decode(one.encode());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(one.encode(), read->encode());
  EXPECT_EQ("disk", read->run.scenario);
  EXPECT_EQ(17U, read->run.seed);
  EXPECT_EQ(5U, read->run.crash_at);
  EXPECT_TRUE(read->run.process_dies);
  EXPECT_EQ("syncs", read->run.faults);
  EXPECT_EQ(9U, read->run.tape->at(Domain::nemesis, 3));
  EXPECT_EQ(one.notes, read->notes);
  EXPECT_EQ("I1", read->invariant);
  EXPECT_EQ("unsynced-is-read", read->mutant);
}

TEST(FailureCase, NamesTheNodeThatCrashes) {
  FailureCase one = some_case();
  one.run.scenario = "move";
  one.run.node = 1;
  const auto read = FailureCase::decode(one.encode());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(1U, read->run.node);
  for (const char* wrong : {"node 0", "node 3", "node x"}) {
    const auto other =
        FailureCase::decode("varve-sim case 2\nscenario move\n" + std::string(wrong) + "\ninvariant I1\n");
    ASSERT_FALSE(other) << wrong;
    EXPECT_NE(std::string::npos, other.error().message.find(wrong)) << other.error().message;
  }
}

TEST(FailureCase, SaysWhatItCannotRead) {
  const std::string good = some_case().encode();
  EXPECT_FALSE(FailureCase::decode(""));
  EXPECT_FALSE(FailureCase::decode("varve-sim case 1\nseed 1\n"));
  for (const char* wrong : {"scenario moon", "seed x", "seed -1", "death later", "faults some", "colour red",
                            "sparse yes", "mutant moon"}) {
    const auto read = FailureCase::decode("varve-sim case 2\n" + std::string(wrong) + "\ninvariant I1\n");
    ASSERT_FALSE(read) << wrong;
    EXPECT_NE(std::string::npos, read.error().message.find(wrong)) << read.error().message;
  }
  EXPECT_FALSE(FailureCase::decode("varve-sim case 2\nseed 1\n"));
  EXPECT_FALSE(FailureCase::decode(good + "moon 1:2\n"));
}

// ---- worlds ----

// A whole run comes out of its tape as it came out of its seed, the configuration included.
TEST(Shrink, ARecordedRunIsReplayedByItsTape) {
  for (const std::uint64_t seed : {3U, 8U}) {
    ScenarioRun run;
    run.scenario = "swarm";
    run.seed = seed;
    run.record = true;
    const ScenarioResult drawn = run_scenario(run);
    run.tape = drawn.tape;
    const ScenarioResult replayed = run_scenario(run);
    EXPECT_EQ(drawn.config, replayed.config);
    EXPECT_EQ(drawn.trace_hash, replayed.trace_hash);
    EXPECT_EQ(drawn.tape.encode(), replayed.tape.encode());
    run.tape = Tape{};
    const ScenarioResult calm = run_scenario(run);
    EXPECT_TRUE(calm.violations.empty());
    EXPECT_EQ(std::string::npos, calm.config.find("crash=")) << calm.config;
  }
}

TEST(Scenario, FindsTheInvariantInASentence) {
  EXPECT_EQ("I4", violation_of("at the end: I4: the views are ahead").invariant);
  EXPECT_EQ("I12", violation_of("I12: views").invariant);
  EXPECT_EQ("Story", violation_of("client: I do not know").invariant);
}

TEST(Scenario, SaysHowToSeeARunAgain) {
  ScenarioRun run;
  run.scenario = "swarm";
  run.seed = 9;
  EXPECT_EQ("repro v1:9", replay_of(run));
  run.scenario = "disk";
  run.crash_at = 12;
  run.process_dies = true;
  EXPECT_EQ("run --scenario disk --seed 9 --crash-at 12 --death process --trace", replay_of(run));
}

}  // namespace
}  // namespace varve::sim
