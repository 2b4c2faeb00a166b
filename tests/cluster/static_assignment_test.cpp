// The assignment of a server that is alone.
#include "cluster/static_assignment.h"

#include "sim/scheduler.h"
#include "tests/cluster/assignment_contract.h"

namespace varve::test {
namespace {

class StaticWorld final : public AssignmentWorld {
 public:
  ~StaticWorld() override { env_.kill(); }
  Env& env() override { return env_; }
  std::unique_ptr<Assignment> join(std::string /*member*/) override {
    return std::make_unique<StaticAssignment>(env_, 4);
  }
  bool run_until(std::function<bool()> done, Duration longest) override {
    const MonoTime end = env_.now() + longest;
    env_.call_at(end, [] {});
    while (!done() && env_.now() < end && scheduler_.step()) {
    }
    return done();
  }
  bool is_shared() const override { return false; }

 private:
  sim::Scheduler scheduler_{1};
  sim::SimEnv env_{scheduler_, "member", 1};
};

INSTANTIATE_TEST_SUITE_P(Static, AssignmentContract,
                         ::testing::Values(AssignmentCase{"static",
                                                          [] { return std::make_unique<StaticWorld>(); }}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace varve::test
