// The simulated consumer group: how partitions move, who notices what and when, and that it comes to rest.
#include "sim/group.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "runtime/suspend.h"

namespace varve::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint32_t kAlways = 1'000'000;
constexpr std::uint32_t kPartitions = 4;

// A member that does what it is told.
struct Member {
  Member(Scheduler& scheduler, const std::string& its_name, std::uint64_t seed,
         const std::shared_ptr<GroupCoordinator>& group)
      : name(its_name), env(scheduler, its_name, seed), assignment(env, group, its_name) {}
  ~Member() { env.kill(); }
  void follow() { env.spawn("follow", follow_changes(this)); }
  static Task<> follow_changes(Member* self);
  void apply(const AssignmentChange& change);
  std::string held_text() const {
    std::string text;
    for (const Partition partition : held) text += std::to_string(partition.value());
    return text;
  }

  std::string name;
  SimEnv env;
  SimAssignment assignment;
  std::set<Partition> held;  // As it believes.
  std::vector<std::string> heard;
  std::uint64_t generation = 0;
  std::uint64_t drain_ms = 0;  // The longest that it takes to drain.
  bool obeys = true;
};

void Member::apply(const AssignmentChange& change) {
  EXPECT_GE(change.generation, generation);
  generation = change.generation;
  std::string line = change.kind == AssignmentChange::Kind::assigned  ? "+"
                     : change.kind == AssignmentChange::Kind::revoked ? "-"
                                                                      : "!";
  for (const Partition partition : change.partitions) {
    line += std::to_string(partition.value());
    if (change.kind == AssignmentChange::Kind::assigned) {
      EXPECT_TRUE(held.insert(partition).second) << "assigned twice";
    } else if (change.kind == AssignmentChange::Kind::revoked) {
      EXPECT_TRUE(held.contains(partition)) << "taken away though it was not there";
    }
    if (change.kind == AssignmentChange::Kind::lost) held.erase(partition);
  }
  heard.push_back(std::move(line));
}

Task<> Member::follow_changes(Member* self) {
  while (true) {
    const auto change = co_await self->assignment.next(kNever);
    if (!change) co_return change.error();
    self->apply(*change);
    if (change->kind != AssignmentChange::Kind::revoked || !self->obeys) continue;
    if (self->drain_ms > 0) {
      const Duration drain = milliseconds{self->env.rng().below(self->drain_ms)};
      co_await sleep_for(self->env, drain);
    }
    for (const Partition partition : change->partitions) self->held.erase(partition);
    self->assignment.release(change->partitions);
  }
}

class GroupTest : public ::testing::Test {
 protected:
  std::unique_ptr<Member> join(const std::string& name) {
    auto member = std::make_unique<Member>(scheduler_, name, 1, group_);
    member->follow();
    return member;
  }
  void pass(Duration duration) {
    const MonoTime until = scheduler_.now() + duration;
    while (scheduler_.now() < until && scheduler_.step()) {
    }
  }
  // "yes", "no" or the error's code.
  std::string prove(Member& member, std::uint32_t partition) {
    auto out = std::make_shared<std::optional<Result<bool>>>();
    member.env.spawn("prove",
                     [](Member* its, Partition p, std::shared_ptr<std::optional<Result<bool>>> to) -> Task<> {
                       *to = co_await its->assignment.prove(p);
                       co_return ok();
                     }(&member, Partition{partition}, out));
    while (!out->has_value() && scheduler_.step()) {
    }
    if (!out->has_value()) return "nothing happens";
    if (!**out) return to_string((*out)->error().code);
    return ***out ? "yes" : "no";
  }

  Scheduler scheduler_{5};
  SimEnv world_{scheduler_, "world", 1};
  Counters counters_;
  std::shared_ptr<GroupCoordinator> group_ =
      std::make_shared<GroupCoordinator>(scheduler_, world_, counters_, kPartitions);
};

TEST_F(GroupTest, OneAloneGetsEverythingAtOnceAndCanProveIt) {
  const auto a = join("a");
  pass(milliseconds{100});
  EXPECT_EQ("0123", a->held_text());
  EXPECT_EQ((std::vector<std::string>{"+0123"}), a->heard);
  EXPECT_TRUE(group_->settled());
  EXPECT_EQ("yes", prove(*a, 2));
  pass(seconds{60});
  EXPECT_EQ("0123", a->held_text()) << "heartbeats keep it";
}

TEST_F(GroupTest, APartitionMovesWhenItsHolderHasReleasedIt) {
  const auto a = join("a");
  pass(seconds{1});
  a->obeys = false;
  const auto b = join("b");
  pass(seconds{3});
  EXPECT_EQ((std::vector<std::string>{"+0123", "-23"}), a->heard);
  EXPECT_EQ("", b->held_text());
  EXPECT_EQ("no", prove(*a, 2)) << "it is to give it back, not to claim it";
  a->assignment.release({Partition{2}, Partition{3}, Partition{17}});
  pass(seconds{2});
  EXPECT_EQ("23", b->held_text());
  EXPECT_TRUE(group_->settled());
  EXPECT_EQ("yes", prove(*a, 0));
  EXPECT_EQ("yes", prove(*b, 3));
  EXPECT_EQ("no", prove(*b, 0));
}

TEST_F(GroupTest, WhoDoesNotReleaseInTimeIsExpelledAndJoinsAgain) {
  const auto a = join("a");
  pass(seconds{1});
  a->obeys = false;
  const auto b = join("b");
  pass(seconds{9});
  EXPECT_EQ("", b->held_text());
  pass(milliseconds{1900});
  ASSERT_GE(a->heard.size(), 3U);
  EXPECT_EQ("!0123", a->heard[2]);
  EXPECT_EQ(1U, counters_.of("sometimes.group.expelled_rebalance"));
  pass(seconds{15});
  EXPECT_TRUE(group_->settled());
  EXPECT_EQ(2U, a->held.size());
  EXPECT_EQ(2U, b->held.size());
}

TEST_F(GroupTest, ADeadMemberIsMissedAfterTheSessionTimeOut) {
  auto a = join("a");
  pass(seconds{1});
  const auto b = join("b");
  pass(seconds{3});
  EXPECT_EQ(2U, b->held.size());
  a = nullptr;
  pass(seconds{5});
  EXPECT_EQ(2U, b->held.size());
  pass(seconds{2});
  EXPECT_EQ(4U, b->held.size());
}

TEST_F(GroupTest, AZombieBelievesItsAssignmentAndCannotProveIt) {
  const auto a = join("a");
  const auto b = join("b");
  pass(seconds{3});
  const std::string before = a->held_text();
  a->env.pause();
  pass(seconds{10});
  EXPECT_EQ(4U, b->held.size());
  a->env.resume();
  EXPECT_EQ(before, a->held_text());
  EXPECT_EQ("no", prove(*a, a->held.begin()->value()));
  pass(seconds{5});
  ASSERT_EQ(4U, a->heard.size());
  EXPECT_EQ("!" + before, a->heard[2]);
  EXPECT_TRUE(group_->settled());
  EXPECT_EQ(2U, a->held.size());
}

TEST_F(GroupTest, AProofUnderAnOldGenerationIsRefusedUntilTheNextHeartbeat) {
  const auto a = join("a");
  pass(milliseconds{100});
  const std::uint64_t before = group_->generation();
  const auto b = join("b");
  while (group_->generation() == before) ASSERT_TRUE(scheduler_.step());
  EXPECT_EQ("no", prove(*a, 0));
  EXPECT_EQ(1U, counters_.of("sometimes.group.old_generation_was_refused"));
  pass(seconds{3});
  EXPECT_EQ("yes", prove(*a, 0));
}

TEST_F(GroupTest, ARefusedProofMayCostTheWholeAssignment) {
  const auto a = join("a");
  pass(milliseconds{100});
  group_->set_faults({.proof_loses_ppm = kAlways});
  const std::uint64_t before = group_->generation();
  const auto b = join("b");
  while (group_->generation() == before) ASSERT_TRUE(scheduler_.step());
  EXPECT_EQ("no", prove(*a, 0));
  pass(milliseconds{1});
  EXPECT_EQ("!0123", a->heard.back().substr(0, 5));
  group_->heal();
  pass(seconds{20});
  EXPECT_TRUE(group_->settled());
}

TEST_F(GroupTest, ACutOffMemberCannotAskAndNoticesByItselfThatItIsAlone) {
  const auto a = join("a");
  pass(seconds{1});
  group_->cut_off("a", true);
  EXPECT_EQ("unavailable", prove(*a, 0));
  EXPECT_EQ("0123", a->held_text());
  pass(seconds{9});
  EXPECT_EQ("!0123", a->heard.back());
  group_->cut_off("a", false);
  pass(seconds{3});
  EXPECT_EQ("0123", a->held_text());
  EXPECT_EQ("yes", prove(*a, 0));
}

TEST_F(GroupTest, ACoordinatorThatMovesForgetsEverybody) {
  const auto a = join("a");
  const auto b = join("b");
  pass(seconds{3});
  group_->move();
  EXPECT_EQ("", group_->holder(Partition{0}));
  pass(seconds{20});
  EXPECT_EQ("!01", a->heard[2]);
  EXPECT_TRUE(group_->settled());
  EXPECT_EQ(2U, a->held.size());
  EXPECT_EQ(2U, b->held.size());
}

TEST_F(GroupTest, ARebalanceWithoutAReasonTakesOnePartition) {
  const auto a = join("a");
  const auto b = join("b");
  pass(seconds{3});
  group_->take_one();
  EXPECT_FALSE(group_->settled());
  pass(seconds{3});
  EXPECT_TRUE(group_->settled());
  std::size_t revoked = 0;
  for (const auto* member : {a.get(), b.get()}) {
    for (const std::string& line : member->heard) revoked += line[0] == '-' ? 1 : 0;
  }
  EXPECT_GE(revoked, 1U);
}

TEST_F(GroupTest, WhoLeavesGivesEverythingBackAtOnceAndHearsNothingMore) {
  const auto a = join("a");
  const auto b = join("b");
  pass(seconds{3});
  bool left = false;
  a->env.spawn("leave", [](Member* its, bool* done) -> Task<> {
    const Status status = co_await its->assignment.leave(its->env.now() + seconds{5});
    *done = status.has_value();
    co_return ok();
  }(a.get(), &left));
  pass(seconds{1});
  EXPECT_TRUE(left);
  EXPECT_EQ(4U, b->held.size());
  const std::size_t heard = a->heard.size();
  pass(seconds{20});
  EXPECT_EQ(heard, a->heard.size());
  EXPECT_EQ("no", prove(*a, 0));
}

TEST_F(GroupTest, LeavingACoordinatorThatCannotBeReachedEndsAtTheDeadline) {
  const auto a = join("a");
  pass(seconds{1});
  group_->cut_off("a", true);
  std::optional<Status> left;
  a->env.spawn("leave", [](Member* its, std::optional<Status>* out) -> Task<> {
    *out = co_await its->assignment.leave(its->env.now() + seconds{3});
    co_return ok();
  }(a.get(), &left));
  pass(seconds{4});
  ASSERT_TRUE(left.has_value());
  EXPECT_EQ(Errc::unavailable, left->error().code);
}

TEST_F(GroupTest, NobodyWaitsBeyondTheDeadline) {
  Member a(scheduler_, "a", 1, group_);
  group_->cut_off("a", true);
  std::optional<Errc> code;
  const MonoTime began = a.env.now();
  a.env.spawn("next", [](Member* its, std::optional<Errc>* out) -> Task<> {
    const auto change = co_await its->assignment.next(its->env.now() + milliseconds{300});
    if (!change) *out = change.error().code;
    co_return ok();
  }(&a, &code));
  while (!code && scheduler_.step()) {
  }
  EXPECT_EQ(Errc::unavailable, code);
  EXPECT_LT((a.env.now() - began).count(), Duration(milliseconds{310}).count());
}

TEST_F(GroupTest, ADeadIncarnationIsNotCalledBack) {
  group_->set_faults({.delay_us = 500'000});
  auto a = join("a");
  pass(seconds{5});
  bool went_on = false;
  a->env.spawn("prove", [](Member* its, bool* on) -> Task<> {
    ignore_error(co_await its->assignment.prove(Partition{0}), "it never comes");
    *on = true;
    co_return ok();
  }(a.get(), &went_on));
  for (int i = 0; i < 2; ++i) scheduler_.step();
  a->env.kill();
  pass(seconds{30});
  EXPECT_FALSE(went_on);
  EXPECT_EQ(0U, group_->members());
}

// ---- under every fault

GroupCoordinator::Faults some_faults(Rng& rng) {
  GroupCoordinator::Faults faults;
  if (rng.chance(1, 8)) return faults;
  const auto rate = [&rng]() -> std::uint32_t {
    constexpr std::array<std::uint32_t, 4> kRates{0, 2'000, 20'000, 100'000};
    return kRates[rng.below(kRates.size())];
  };
  faults.delay_us = static_cast<std::uint32_t>(rng.below(3) * 800'000);
  faults.request_lost_ppm = rate();
  faults.answer_lost_ppm = rate();
  faults.rebalance_ppm = rate();
  faults.moved_ppm = rate() / 10;
  faults.proof_loses_ppm = rate() * 5;
  return faults;
}

class GroupStory {
 public:
  explicit GroupStory(std::uint64_t seed) : rng_(seed), scheduler_(seed) {
    GroupCoordinator::Options options;
    options.partitions = 1 + static_cast<std::uint32_t>(rng_.below(8));
    group_ = std::make_shared<GroupCoordinator>(scheduler_, world_, counters_, options);
    group_->set_faults(some_faults(rng_));
    scheduler_.on_trace([this](Incarnation, std::string_view, std::string_view line) { note(line); });
  }

  void tell() {
    const std::size_t count = 1 + rng_.below(4);
    for (std::size_t i = 0; i < count; ++i) members_.push_back(born(i));
    for (int i = 0; i < 40; ++i) {
      pass(milliseconds{rng_.below(3000)});
      disturb(rng_.below(count));
    }
    for (const auto& member : members_) {
      member->env.resume();
      member->drain_ms = 300;
    }
    group_->heal();
    // Within the time-outs of whoever is there no more, of those that must notice it, and a few heartbeats.
    pass(seconds{40});
    check_rest();
  }
  const Counters& counters() const { return counters_; }
  std::uint64_t trace_hash() const { return scheduler_.trace_hash(); }

 private:
  void pass(Duration duration) {
    const MonoTime until = scheduler_.now() + duration;
    while (scheduler_.now() < until && scheduler_.step()) {
    }
  }
  std::unique_ptr<Member> born(std::size_t i) {
    auto member = std::make_unique<Member>(scheduler_, "node" + std::to_string(i), rng_.u64(), group_);
    member->drain_ms = rng_.chance(1, 4) ? 12'000 : 300;
    member->follow();
    member->env.spawn("prover", prove_often(member.get(), group_->partitions()));
    return member;
  }
  static Task<> prove_often(Member* member, std::uint32_t partitions) {
    while (true) {
      const Partition partition{static_cast<std::uint32_t>(member->env.rng().below(partitions))};
      const auto proven = co_await member->assignment.prove(partition);
      if (!proven) EXPECT_EQ(Errc::unavailable, proven.error().code);
      const Duration pause = milliseconds{member->env.rng().below(700)};
      co_await sleep_for(member->env, pause);
    }
  }
  void disturb(std::size_t i) {
    switch (rng_.below(8)) {
      case 0:
        members_[i] = nullptr;
        members_[i] = born(i);
        return;
      case 1:
        return members_[i]->env.pause();
      case 2:
        return group_->cut_off(members_[i]->name, true);
      case 3:
        return group_->take_one();
      default:
        members_[i]->env.resume();
        group_->cut_off(members_[i]->name, false);
    }
  }
  static std::string word(std::string_view line, std::string_view key) {
    const std::size_t begin = line.find(std::string(" ") + std::string(key) + "=") + key.size() + 2;
    return std::string(line.substr(begin, line.find(' ', begin) - begin));
  }
  // Of each partition, under one generation, there is one grant at most, and one member that proves it.
  void note(std::string_view line) {
    const bool grant = line.find(" granted ") != std::string_view::npos;
    if (!grant && line.find(" proved ") == std::string_view::npos) return;
    const auto place = std::pair{word(line, "p"), word(line, "g")};
    const std::string member = word(line, "member");
    if (grant) {
      EXPECT_TRUE(granted_.emplace(place, member).second) << line;
    } else {
      EXPECT_EQ(member, proved_.emplace(place, member).first->second) << line;
    }
  }
  void check_rest() {
    EXPECT_EQ(members_.size(), group_->members());
    EXPECT_TRUE(group_->settled());
    for (std::uint32_t p = 0; p < group_->partitions(); ++p) {
      std::string believers;
      for (const auto& member : members_) {
        if (member->held.contains(Partition{p})) believers += member->name;
      }
      EXPECT_EQ(group_->holder(Partition{p}), believers) << "partition " << p;
    }
    for (const auto& member : members_) {
      for (const Partition partition : member->held) {
        EXPECT_FALSE(proved_.empty());
        check_proof(member.get(), partition);
      }
    }
  }
  void check_proof(Member* member, Partition partition) {
    std::optional<Result<bool>> proven;
    member->env.spawn("prove", [](Member* its, Partition p, std::optional<Result<bool>>* out) -> Task<> {
      *out = co_await its->assignment.prove(p);
      co_return ok();
    }(member, partition, &proven));
    while (!proven && scheduler_.step()) {
    }
    ASSERT_TRUE(proven.has_value() && proven->has_value());
    EXPECT_TRUE(**proven);
  }

  Rng rng_;
  Scheduler scheduler_;
  SimEnv world_{scheduler_, "world", 1};
  Counters counters_;
  std::shared_ptr<GroupCoordinator> group_;
  std::map<std::pair<std::string, std::string>, std::string> granted_;
  std::map<std::pair<std::string, std::string>, std::string> proved_;
  std::vector<std::unique_ptr<Member>> members_;
};

TEST(GroupProperty, ItIsNeverOfTwoMindsAndComesToRest) {
  Counters all;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    GroupStory story(seed);
    story.tell();
    for (const auto& [name, count] : story.counters().all()) all.add(name, count);
    if (::testing::Test::HasFailure()) break;
  }
  for (const char* name :
       {"fault.group.request_lost", "fault.group.answer_lost", "fault.group.rebalance", "fault.group.moved",
        "fault.group.proof_lost_all", "fault.group.cut_off", "sometimes.group.expelled_session",
        "sometimes.group.expelled_rebalance", "sometimes.group.lost", "sometimes.group.noticed_alone",
        "sometimes.group.zombie_proof_was_refused", "sometimes.group.old_generation_was_refused"}) {
    EXPECT_GT(all.of(name), 0U) << name << " was never seen";
  }
}

TEST(GroupProperty, OneSeedGivesOneTrace) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    GroupStory one(seed);
    one.tell();
    GroupStory two(seed);
    two.tell();
    EXPECT_EQ(one.trace_hash(), two.trace_hash());
  }
}

}  // namespace
}  // namespace varve::sim
