// Choices and tapes, paused incarnations, clocks that are wrong.
#include "sim/scheduler.h"

#include <gtest/gtest.h>

#include "runtime/suspend.h"

namespace varve::sim {
namespace {

constexpr std::chrono::milliseconds kMs{1};

std::vector<std::uint64_t> draw(Choices& choices) {
  std::vector<std::uint64_t> drawn;
  for (int i = 0; i < 20; ++i) {
    drawn.push_back(choices.choose(Domain::network, 10));
    drawn.push_back(choices.chance(Domain::disk, 1, 3) ? 1 : 0);
    drawn.push_back(choices.spread(Domain::model, 1000));
  }
  return drawn;
}

TEST(Choices, ATapeGivesTheSameDecisions) {
  Choices first(7);
  first.record();
  const auto drawn = draw(first);
  auto tape = Tape::decode(first.tape().encode());
  ASSERT_TRUE(tape) << tape.error().message;
  Choices replay(*tape);
  replay.record();
  EXPECT_EQ(draw(replay), drawn);
  EXPECT_EQ(replay.tape(), first.tape());
}

TEST(Choices, PastTheEndOfATapeEverythingIsBenign) {
  Choices replay(Tape{});
  for (const std::uint64_t value : draw(replay)) EXPECT_EQ(value, 0U);
}

TEST(Choices, ANumberThatDoesNotFitIsBenign) {
  Tape tape;
  tape.add(Domain::log, 9);
  Choices replay(tape);
  EXPECT_EQ(replay.choose(Domain::log, 5), 0U);
}

TEST(Choices, OneDomainDoesNotMoveAnother) {
  Choices one(3);
  Choices two(3);
  for (int i = 0; i < 5; ++i) one.choose(Domain::network, 100);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(one.choose(Domain::disk, 1000), two.choose(Domain::disk, 1000)) << i;
}

// The streams of two tracks of a domain, and whoever begins first, are nothing to each other.
TEST(Choices, OneTrackDoesNotMoveAnother) {
  const Track crash{Domain::nemesis, 1};
  const Track pause{Domain::nemesis, 2};
  Choices one(3);
  Choices two(3);
  for (int i = 0; i < 5; ++i) one.choose(pause, 100);
  std::size_t different = 0;
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t drawn = one.choose(crash, 1000);
    EXPECT_EQ(drawn, two.choose(crash, 1000)) << i;
    if (drawn != one.choose(pause, 1000)) ++different;
  }
  EXPECT_GT(different, 10U);
}

TEST(Choices, WhetherAndHowMuchIsOneDecision) {
  Choices choices(5);
  choices.record();
  std::size_t none = 0;
  std::uint64_t largest = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t drawn = choices.maybe(Domain::config, 1, 2, 50);
    if (drawn == 0) ++none;
    largest = std::max(largest, drawn);
  }
  EXPECT_EQ(2000U, choices.tape().length(Domain::config));
  EXPECT_GT(none, 800U);
  EXPECT_LT(none, 1200U);
  EXPECT_EQ(50U, largest);
  EXPECT_EQ(0U, choices.maybe(Domain::config, 0, 2, 50));
}

TEST(Choices, SpreadStaysWithinItsBound) {
  Choices choices(5);
  std::uint64_t largest = 0;
  for (int i = 0; i < 2000; ++i) largest = std::max(largest, choices.spread(Domain::time, 1000));
  EXPECT_LE(largest, 1000U);
  EXPECT_GT(largest, 500U);
}

TEST(Tape, SaysWhatIsWrong) {
  EXPECT_EQ(Tape::decode("networks 1:2").error().message, "a tape has no track 'networks'");
  EXPECT_EQ(Tape::decode("network 1:2 3").error().message, "a tape's entry is INDEX:VALUE, not '3'");
  EXPECT_FALSE(Tape::decode("network 99999999999:1"));
  for (const char* wrong : {"network.0 1:2", "network.32 1:2", "network. 1:2", "network.1x 1:2", ".1 1:2"}) {
    EXPECT_FALSE(Tape::decode(wrong)) << wrong;
  }
}

TEST(Tape, ATrackHasItsOwnPlace) {
  Tape tape;
  tape.set({Domain::nemesis, 3}, 2, 7);
  tape.set(Domain::nemesis, 0, 1);
  EXPECT_EQ("nemesis 0:1\nnemesis.3 2:7\n", tape.encode());
  EXPECT_EQ(tape.encode(), Tape::decode(tape.encode())->encode());
  EXPECT_EQ(7U, tape.at({Domain::nemesis, 3}, 2));
  EXPECT_EQ(0U, tape.at({Domain::nemesis, 4}, 2));
  for (std::size_t i = 0; i < kTracks; ++i) EXPECT_EQ(i, Track::at(i).index());
}

TEST(Tape, NumbersComeFromNames) {
  EXPECT_EQ(2U, number_in("node-2"));
  EXPECT_EQ(12U, number_in("client-12"));
  EXPECT_EQ(0U, number_in("stranger"));
  EXPECT_EQ(0U, number_in(""));
}

TEST(Scheduler, APausedIncarnationIsAZombieThatHasNoticedNothing) {
  Scheduler scheduler(1);
  SimEnv node(scheduler, "node", 1);
  SimEnv other(scheduler, "other", 2);
  int ran = 0;
  node.call_at(node.now() + kMs, [&] { ++ran; });
  node.post([&] { ++ran; });
  node.pause();
  node.post([&] { ++ran; });
  other.call_at(other.now() + 10 * kMs, [&] { node.resume(); });
  const MonoTime before = node.now();
  while (scheduler.step() && node.paused()) EXPECT_EQ(ran, 0);
  EXPECT_GE((node.now() - before).count(), Duration(10 * kMs).count());
  while (scheduler.step()) {
  }
  EXPECT_EQ(ran, 3);
}

TEST(Scheduler, APausedIncarnationCanDie) {
  Scheduler scheduler(1);
  SimEnv node(scheduler, "node", 1);
  int ran = 0;
  node.pause();
  node.post([&] { ++ran; });
  node.kill();
  while (scheduler.step()) {
  }
  EXPECT_EQ(ran, 0);
}

TEST(SimClock, ADriftingClockFiresByItsOwnTime) {
  for (const std::int64_t drift : {-200'000, -7, 0, 13, 500'000}) {
    Scheduler scheduler(1);
    SimEnv node(scheduler, "node", 1);
    node.set_clock({drift, 0});
    const MonoTime wanted = node.now() + std::chrono::hours{30};
    MonoTime fired{};
    node.call_at(wanted, [&] { fired = node.now(); });
    const MonoTime began = scheduler.now();
    while (scheduler.step()) {
    }
    EXPECT_GE(fired, wanted) << drift;
    EXPECT_LT((fired - wanted).count(), 1'000'000) << drift;
    const std::int64_t passed = (scheduler.now() - began).count();
    const std::int64_t rate = 1'000'000 + drift;
    EXPECT_NEAR(static_cast<double>(passed), 1.08e20 / static_cast<double>(rate), 1e6) << drift;
  }
}

TEST(SimClock, TheWallClockJumpsAndTheOtherDoesNot) {
  Scheduler scheduler(1);
  SimEnv node(scheduler, "node", 1);
  const MonoTime mono = node.now();
  const WallTime wall = node.wall_now();
  node.set_clock({100, -3'000'000});
  EXPECT_EQ(node.now(), mono);
  EXPECT_EQ(node.wall_now().value(), wall.value() - 3'000'000);
}

TEST(Scheduler, EveryPolicyRunsEverything) {
  for (const PickPolicy policy :
       {PickPolicy::uniform, PickPolicy::fifo, PickPolicy::newest, PickPolicy::starve}) {
    Scheduler scheduler(3);
    scheduler.pick(policy);
    SimEnv one(scheduler, "one", 1);
    SimEnv two(scheduler, "two", 2);
    int ran = 0;
    for (int i = 0; i < 100; ++i) (i % 3 == 0 ? one : two).post([&] { ++ran; });
    while (scheduler.step()) {
    }
    EXPECT_EQ(ran, 100);
  }
}

// As on a thread of its own: whatever order the scheduler picks, one job of a lane is done before the next.
TEST(Scheduler, WorkOnALaneRunsInOrder) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Scheduler scheduler(seed);
    SimEnv env(scheduler, "node", seed);
    std::string ran;
    int done = 0;
    for (char job = 'a'; job <= 'h'; ++job) {
      env.offload(
          Lane::read, [&ran, job] { ran += job; }, [&done] { ++done; });
    }
    while (scheduler.step()) {
    }
    EXPECT_EQ("abcdefgh", ran);
    EXPECT_EQ(8, done);
  }
}

TEST(Scheduler, WorkOfADeadIncarnationNeverRuns) {
  Scheduler scheduler(1);
  int ran = 0;
  SimEnv env(scheduler, "node", 1);
  env.offload(
      Lane::read, [&ran] { ++ran; }, [] {});
  env.offload(
      Lane::read, [&ran] { ++ran; }, [] {});
  env.kill();
  env.offload(
      Lane::read, [&ran] { ++ran; }, [] {});
  while (scheduler.step()) {
  }
  EXPECT_EQ(0, ran);
}

}  // namespace
}  // namespace varve::sim
