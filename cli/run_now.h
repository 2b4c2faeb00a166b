// run_now: a task, and the Env with it until it has ended, for what a command does before it serves or works.
// Thread: the Env's, which must not run yet.
#pragma once

#include <memory>

#include "runtime/real_env.h"
#include "runtime/task.h"

namespace varve {

template <class T>
Task<> keep_result(RealEnv& env, Task<T> task, std::shared_ptr<Result<T>> result) {
  *result = co_await std::move(task);
  env.stop();
  co_return ok();
}

template <class T>
Result<T> run_now(RealEnv& env, Task<T> task) {
  const auto result = std::make_shared<Result<T>>();
  env.spawn("open", keep_result(env, std::move(task), result));
  env.run();
  env.io_context().restart();
  return std::move(*result);
}

}  // namespace varve
