// Who waits for the views, while another process folds them.
#include "projections/view_progress.h"

#include <gtest/gtest.h>

#include "projections/memory_view_store.h"
#include "sim/scheduler.h"

namespace varve {
namespace {

constexpr Partition kHome{0};

// How long somebody waits for the record at `offset`, which another process folds a millisecond later.
Duration wait_for_another(sim::SimEnv& env, sim::Scheduler& scheduler, MemoryViewStorage& views,
                          ViewProgress& progress, std::uint64_t offset) {
  const MonoTime begun = env.now();
  const auto took = std::make_shared<std::optional<Duration>>();
  const auto wait = [](Env& its_env, ViewProgress& its_progress, std::uint64_t until, auto out) -> Task<> {
    const MonoTime start = its_env.now();
    std::vector<LogPosition> positions{{kHome, Offset{until}}};
    if (co_await its_progress.wait_for(std::move(positions), start + std::chrono::seconds{5}))
      *out = its_env.now() - start;
    co_return ok();
  };
  env.spawn("wait", wait(env, progress, offset, took));
  env.call_at(begun + std::chrono::milliseconds{1},
              [&views, offset] { views.checkpoints[kHome].next = Offset{offset + 1}; });
  while (!took->has_value() && scheduler.step()) {
  }
  return took->value_or(Duration{});
}

TEST(ViewProgressTest, WhatAnotherProcessFoldsIsLookedForSoonOnceThatIsKnown) {
  const auto ms = [](Duration time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
  };
  sim::Scheduler scheduler{1};
  sim::SimEnv env{scheduler, "test", 1};
  const auto views = std::make_shared<MemoryViewStorage>();
  MemoryViewStore store{env, views};
  ViewProgress progress(env, store, std::chrono::milliseconds{5});
  EXPECT_EQ(200, ms(wait_for_another(env, scheduler, *views, progress, 0))) << "it may be folded here";
  EXPECT_EQ(5, ms(wait_for_another(env, scheduler, *views, progress, 1)));
  EXPECT_EQ(5, ms(wait_for_another(env, scheduler, *views, progress, 2)));
  progress.advance(kHome, Offset{4});
  EXPECT_EQ(200, ms(wait_for_another(env, scheduler, *views, progress, 4))) << "it is folded here again";
  env.kill();
}

// The worker then commits without a wait for more.
TEST(ViewProgressTest, TheWorkerHearsOfWhoWaitsElsewhere) {
  sim::Scheduler scheduler{1};
  sim::SimEnv env{scheduler, "test", 1};
  MemoryViewStore store{env, std::make_shared<MemoryViewStorage>()};
  ViewProgress progress(env, store);
  progress.awaited_elsewhere({{kHome, Offset{4}}, {Partition{1}, Offset{9}}});
  progress.awaited_elsewhere({{kHome, Offset{3}}});
  EXPECT_EQ(Offset{4}, progress.awaited(kHome));
  EXPECT_EQ(Offset{9}, progress.awaited(Partition{1}));
  progress.hint(kHome);
  EXPECT_FALSE(scheduler.step()) << "nobody waits here: nobody looks";
  progress.advance(kHome, Offset{4});
  EXPECT_EQ(Offset{4}, progress.awaited(kHome));
  progress.advance(kHome, Offset{5});
  EXPECT_EQ(std::nullopt, progress.awaited(kHome));
  env.kill();
}

}  // namespace
}  // namespace varve
