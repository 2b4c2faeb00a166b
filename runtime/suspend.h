// The one suspension primitive. A task parks itself, gives away a Waker, and goes on in a step of its own
// after somebody has called wake(). It belongs to the incarnation of its Env: after that has died, wake()
// does nothing and the task is destroyed.
//
// Everything else that waits (sleep, OneShot, Notifier, Channel, TaskGroup, offload) is built on it.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "runtime/env.h"

namespace varve {

// Wakes one parked task, once; later calls do nothing. Copies wake the same task. Thread: the Env's.
class Waker {
 public:
  Waker() = default;
  explicit Waker(std::shared_ptr<SuspensionState> state) : state_(std::move(state)) {}

  void wake() const;
  // True if there is nothing left to wake.
  bool spent() const;

 private:
  std::shared_ptr<SuspensionState> state_;
};

// Suspends the calling task; `park` gets the Waker before suspend() lets anything else run.
boost::asio::awaitable<void> suspend(Env& env, std::function<void(Waker)> park);

boost::asio::awaitable<void> sleep_until(Env& env, MonoTime at);
boost::asio::awaitable<void> sleep_for(Env& env, Duration duration);
// Lets everything else that is ready run once.
boost::asio::awaitable<void> yield(Env& env);

// Runs blocking `work` on a lane and gives back its Result.
template <class T>
Task<T> offload(Env& env, Lane lane, std::function<Result<T>()> work) {
  auto result = std::make_shared<Result<T>>();
  std::function<void(Waker)> park = [&env, lane, result, moved = std::move(work)](Waker waker) {
    env.offload(
        lane, [result, moved] { *result = moved(); }, [waker] { waker.wake(); });
  };
  co_await suspend(env, std::move(park));
  co_return std::move(*result);
}

}  // namespace varve
