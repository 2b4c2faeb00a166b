// The simulated consumer group takes the exam of the Assignment port, calm and slow.
#include "sim/group.h"
#include "tests/cluster/assignment_contract.h"

namespace varve::sim {
namespace {

class GroupWorld final : public test::AssignmentWorld {
 public:
  explicit GroupWorld(std::uint32_t delay_us) { group_->set_faults({.delay_us = delay_us}); }
  ~GroupWorld() override { env_.kill(); }
  Env& env() override { return env_; }
  std::unique_ptr<Assignment> join(std::string member) override {
    return std::make_unique<SimAssignment>(env_, group_, std::move(member));
  }
  bool run_until(std::function<bool()> done, Duration longest) override {
    const MonoTime end = env_.now() + longest;
    env_.call_at(end, [] {});
    while (!done() && env_.now() < end && scheduler_.step()) {
    }
    return done();
  }
  bool is_shared() const override { return true; }

 private:
  Scheduler scheduler_{3};
  SimEnv world_{scheduler_, "world", 1};
  SimEnv env_{scheduler_, "members", 2};
  Counters counters_;
  std::shared_ptr<GroupCoordinator> group_ =
      std::make_shared<GroupCoordinator>(scheduler_, world_, counters_, 4);
};

const test::AssignmentCase kCases[] = {
    {"calm", [] { return std::make_unique<GroupWorld>(0); }},
    {"slow", [] { return std::make_unique<GroupWorld>(400'000); }},
};

}  // namespace
}  // namespace varve::sim

namespace varve::test {
INSTANTIATE_TEST_SUITE_P(Sim, AssignmentContract, ::testing::ValuesIn(sim::kCases),
                         [](const auto& info) { return info.param.name; });
}  // namespace varve::test
