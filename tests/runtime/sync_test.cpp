#include "runtime/sync.h"

#include <gtest/gtest.h>

#include "sim/scheduler.h"

// What waits, on virtual time: nothing here sleeps.
namespace varve {
namespace {

class Sync : public testing::Test {
 public:
  void run() {
    while (scheduler_.step()) {
    }
  }
  MonoTime in(int ms) { return env_.now() + std::chrono::milliseconds{ms}; }
  void note(const std::string& what) { notes_ += what + ";"; }

  sim::Scheduler scheduler_{1};
  sim::SimEnv env_{scheduler_, "test", 1};
  std::string notes_;
};

TEST_F(Sync, AOneShotWakesWhoWaitsForIt) {
  OneShot<int> shot;
  const auto wait = [](Sync& self, OneShot<int>& s, MonoTime until) -> Task<> {
    auto value = co_await s.get(self.env_, until);
    self.note(value ? std::to_string(*value) : to_string(value.error().code));
    co_return ok();
  };
  env_.spawn("waiter", wait(*this, shot, kNever));
  env_.call_at(in(5), [&] { shot.set(7); });
  run();
  EXPECT_EQ("7;", notes_);
}

TEST_F(Sync, ADeadlineEndsTheWait) {
  OneShot<int> shot;
  const auto wait = [](Sync& self, OneShot<int>& s, MonoTime until) -> Task<> {
    auto value = co_await s.get(self.env_, until);
    self.note(value ? "value" : to_string(value.error().code));
    self.note(self.env_.now() >= until ? "late" : "early");
    co_return ok();
  };
  env_.spawn("waiter", wait(*this, shot, in(10)));
  run();
  EXPECT_EQ("unavailable;late;", notes_);
}

TEST_F(Sync, AChannelIsBoundedAndDrainsWhenClosed) {
  Channel<int> channel(2);
  EXPECT_TRUE(channel.try_push(1));
  EXPECT_TRUE(channel.try_push(2));
  const Status third = channel.try_push(3);
  ASSERT_FALSE(third);
  EXPECT_EQ(Errc::resource_exhausted, third.error().code);
  channel.close();
  EXPECT_EQ(Errc::cancelled, channel.try_push(4).error().code);
  const auto drain = [](Sync& self, Channel<int>& c) -> Task<> {
    for (;;) {
      auto value = co_await c.pop(self.env_, kNever);
      if (!value) {
        self.note(to_string(value.error().code));
        co_return ok();
      }
      self.note(std::to_string(*value));
    }
  };
  env_.spawn("reader", drain(*this, channel));
  run();
  EXPECT_EQ("1;2;cancelled;", notes_);
}

TEST_F(Sync, ATaskGroupRefusesNewTasksAndWaitsForTheOldOnes) {
  TaskGroup group(env_);
  const auto work = [](Sync& self, int ms) -> Task<> {
    co_await sleep_for(self.env_, std::chrono::milliseconds{ms});
    self.note("worked " + std::to_string(ms));
    co_return ok();
  };
  const auto stop = [](Sync& self, TaskGroup& g) -> Task<> {
    const Status joined = co_await g.join(kNever);
    self.note(joined ? "joined" : "not joined");
    co_return ok();
  };
  EXPECT_TRUE(group.spawn("a", work(*this, 20)));
  EXPECT_TRUE(group.spawn("b", work(*this, 10)));
  group.close();
  EXPECT_FALSE(group.spawn("c", work(*this, 1)));
  env_.spawn("stop", stop(*this, group));
  run();
  EXPECT_EQ("worked 10;worked 20;joined;", notes_);
}

struct Witness {
  explicit Witness(std::string& notes) : notes(notes) {}
  ~Witness() { notes += "destroyed;"; }
  std::string& notes;
};

TEST_F(Sync, DeathDestroysWhatIsParkedAndMakesItsHandlesInert) {
  OneShot<int> shot;
  const auto wait = [](Sync& self, OneShot<int>& s) -> Task<> {
    const Witness witness(self.notes_);
    auto value = co_await s.get(self.env_, kNever);
    self.note(value ? "woken" : "ended");
    co_return ok();
  };
  env_.spawn("parked", wait(*this, shot));
  run();
  EXPECT_EQ("", notes_);
  env_.kill();
  EXPECT_EQ("destroyed;", notes_);
  shot.set(1);  // Reaches nobody.
  env_.post([this] { note("posted"); });
  run();
  EXPECT_EQ("destroyed;", notes_);
}

}  // namespace
}  // namespace varve
