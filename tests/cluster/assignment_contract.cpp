// What every Assignment promises (cluster/assignment.h).
#include "tests/cluster/assignment_contract.h"

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "runtime/suspend.h"

namespace varve::test {

namespace {

constexpr std::uint32_t kPartitions = 4;
constexpr std::chrono::seconds kSoon{60};

using Kind = AssignmentChange::Kind;

// A member as it should be: it follows its assignment and releases what is revoked.
class Follower {
 public:
  Follower(AssignmentWorld& world, std::string name) : env_(world.env()), port_(world.join(std::move(name))) {
    env_.spawn("follow", follow());
  }

  Assignment& port() { return *port_; }
  const std::set<Partition>& held() const { return held_; }
  bool holds_all() const { return held_.size() == kPartitions; }
  const std::vector<AssignmentChange>& changes() const { return changes_; }
  void stop() { stopped_ = true; }

 private:
  Task<> follow() {
    while (!stopped_) {
      auto change = co_await port_->next(env_.now() + std::chrono::seconds{1});
      if (!change) {
        EXPECT_EQ(Errc::unavailable, change.error().code) << change.error().message;
        continue;
      }
      changes_.push_back(*change);
      for (const Partition partition : change->partitions) {
        if (change->kind == Kind::assigned) {
          EXPECT_TRUE(held_.insert(partition).second) << partition.value() << " was held already";
        } else {
          EXPECT_EQ(1U, held_.erase(partition)) << partition.value() << " was not held";
        }
      }
      if (change->kind == Kind::revoked) port_->release(change->partitions);
    }
    co_return ok();
  }

  Env& env_;
  std::unique_ptr<Assignment> port_;
  bool stopped_ = false;
  std::set<Partition> held_;
  std::vector<AssignmentChange> changes_;
};

template <class T>
using Kept = std::shared_ptr<std::optional<Result<T>>>;

template <class T>
Task<> keep(Task<T> task, Kept<T> kept) {
  *kept = co_await std::move(task);
  co_return ok();
}

template <class T>
Result<T> outcome(AssignmentWorld& world, Task<T> task) {
  const auto kept = std::make_shared<std::optional<Result<T>>>();
  world.env().spawn("test", keep(std::move(task), kept));
  if (!world.run_until([kept] { return kept->has_value(); }, kSoon)) return Result<T>{};
  return **kept;
}

}  // namespace

TEST_P(AssignmentContract, AloneAMemberGetsEveryPartitionOnce) {
  Follower member(*world_, "a");
  ASSERT_TRUE(world_->run_until([&] { return member.holds_all(); }, kSoon));
  world_->run_until([] { return false; }, std::chrono::seconds{10});
  EXPECT_TRUE(member.holds_all());
  for (const AssignmentChange& change : member.changes()) EXPECT_EQ(Kind::assigned, change.kind);
  member.stop();
  world_->run_until([] { return false; }, std::chrono::seconds{3});
}

TEST_P(AssignmentContract, AMemberProvesWhatItHoldsUntilItLeaves) {
  Follower member(*world_, "a");
  ASSERT_TRUE(world_->run_until([&] { return member.holds_all(); }, kSoon));
  for (std::uint32_t i = 0; i < kPartitions; ++i) {
    const auto proven = outcome(*world_, member.port().prove(Partition{i}));
    EXPECT_TRUE(proven && *proven) << i;
  }
  member.stop();
  EXPECT_TRUE(outcome(*world_, member.port().leave(world_->env().now() + kSoon)).has_value());
  for (std::uint32_t i = 0; i < kPartitions; ++i) {
    const auto proven = outcome(*world_, member.port().prove(Partition{i}));
    EXPECT_FALSE(proven && *proven) << i;
  }
  world_->run_until([] { return false; }, std::chrono::seconds{3});
}

TEST_P(AssignmentContract, WithoutNewsNextEndsAtItsDeadline) {
  Follower member(*world_, "a");
  ASSERT_TRUE(world_->run_until([&] { return member.holds_all(); }, kSoon));
  member.stop();
  world_->run_until([] { return false; }, std::chrono::seconds{3});
  const MonoTime deadline = world_->env().now() + std::chrono::seconds{2};
  const auto change = outcome(*world_, member.port().next(deadline));
  ASSERT_FALSE(change.has_value());
  EXPECT_EQ(Errc::unavailable, change.error().code);
  EXPECT_GE(world_->env().now(), deadline);
}

TEST_P(AssignmentContract, WhoHasLeftHearsNothingAnyMore) {
  Follower member(*world_, "a");
  ASSERT_TRUE(world_->run_until([&] { return member.holds_all(); }, kSoon));
  member.stop();
  EXPECT_TRUE(outcome(*world_, member.port().leave(world_->env().now() + kSoon)).has_value());
  member.port().release({Partition{0}});  // Not held: ignored.
  world_->run_until([] { return false; }, std::chrono::seconds{3});
  const auto change = outcome(*world_, member.port().next(world_->env().now() + std::chrono::seconds{2}));
  ASSERT_FALSE(change.has_value());
  EXPECT_EQ(Errc::unavailable, change.error().code);
}

TEST_P(AssignmentContract, MembersShareThePartitionsAndNeverHoldOneTogether) {
  if (!world_->is_shared()) return;
  Follower first(*world_, "a");
  ASSERT_TRUE(world_->run_until([&] { return first.holds_all(); }, kSoon));
  Follower second(*world_, "b");
  const auto in_common = [&] {
    return std::any_of(first.held().begin(), first.held().end(),
                       [&](Partition partition) { return second.held().contains(partition); });
  };
  bool together = false;
  const auto shared = [&] {
    together = together || in_common();
    return !second.held().empty() && first.held().size() + second.held().size() == kPartitions;
  };
  EXPECT_TRUE(world_->run_until(shared, kSoon));
  EXPECT_FALSE(together);
  // Who leaves gives everything to the others.
  first.stop();
  EXPECT_TRUE(outcome(*world_, first.port().leave(world_->env().now() + kSoon)).has_value());
  EXPECT_TRUE(world_->run_until([&] { return second.holds_all(); }, kSoon));
  for (const Follower* member : {&first, &second}) {
    std::uint64_t generation = 0;
    for (const AssignmentChange& change : member->changes()) {
      EXPECT_GE(change.generation, generation);
      generation = change.generation;
    }
  }
  second.stop();
  world_->run_until([] { return false; }, std::chrono::seconds{3});
}

}  // namespace varve::test
