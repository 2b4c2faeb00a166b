// The exam that every Assignment takes; its questions are in assignment_contract.cpp. A test file names its
// implementation by an AssignmentCase and instantiates AssignmentContract.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "cluster/assignment.h"
#include "runtime/env.h"

namespace varve::test {

// A group of 4 partitions, and time that passes.
class AssignmentWorld {
 public:
  AssignmentWorld() = default;
  AssignmentWorld(const AssignmentWorld&) = delete;
  AssignmentWorld& operator=(const AssignmentWorld&) = delete;
  virtual ~AssignmentWorld() = default;

  virtual Env& env() = 0;  // Of all members.
  virtual std::unique_ptr<Assignment> join(std::string member) = 0;
  // Lets everything run until `done`, at most for `longest` of env()'s time. True if it is done.
  virtual bool run_until(std::function<bool()> done, Duration longest) = 0;
  // Whether more than one member may join.
  virtual bool is_shared() const = 0;
};

struct AssignmentCase {
  std::string name;
  std::function<std::unique_ptr<AssignmentWorld>()> make_world;

  friend std::ostream& operator<<(std::ostream& out, const AssignmentCase& one) { return out << one.name; }
};

class AssignmentContract : public ::testing::TestWithParam<AssignmentCase> {
 protected:
  void SetUp() override { world_ = GetParam().make_world(); }

  std::unique_ptr<AssignmentWorld> world_;
};

}  // namespace varve::test
