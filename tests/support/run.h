// Runs one task to its end on a RealEnv or a simulated one, from a test's plain function.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>

#include "runtime/real_env.h"

namespace varve::test {

template <class T>
Task<> keep(Task<T> task, std::shared_ptr<std::optional<Result<T>>> out, RealEnv& env) {
  *out = co_await std::move(task);
  env.stop();
  co_return ok();
}

// Runs the env's loop until `task` has ended. Other tasks go on as far as they get meanwhile.
template <class T>
Result<T> run(RealEnv& env, Task<T> task) {
  auto out = std::make_shared<std::optional<Result<T>>>();
  env.spawn("test", keep(std::move(task), out, env));
  env.io_context().restart();
  env.run();
  if (!out->has_value()) return Error{Errc::cancelled, "the loop stopped before the task ended"};
  return std::move(**out);
}

}  // namespace varve::test
