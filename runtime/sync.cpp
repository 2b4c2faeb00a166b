#include "runtime/sync.h"

#include <algorithm>

namespace varve {

void Notifier::notify_all() {
  auto waiters = std::exchange(waiters_, {});
  for (const Waker& waiter : waiters) waiter.wake();
}

namespace {

void add_waiter(std::vector<Waker>& waiters, const Waker& waker) {
  // Waits that ended by their deadline stay in the list until somebody sweeps it.
  if (waiters.size() >= 16) {
    std::erase_if(waiters, [](const Waker& waiter) { return waiter.spent(); });
  }
  waiters.push_back(waker);
}

boost::asio::awaitable<void> wait_until(Env& env, std::vector<Waker>* waiters, MonoTime deadline) {
  TimerId timer = 0;
  std::function<void(Waker)> park = [waiters, &env, deadline, &timer](Waker waker) {
    add_waiter(*waiters, waker);
    timer = env.call_at(deadline, [waker] { waker.wake(); });
  };
  co_await suspend(env, std::move(park));
  env.cancel(timer);
}

}  // namespace

boost::asio::awaitable<void> Notifier::wait(Env& env, MonoTime deadline) {
  if (deadline < kNever) return wait_until(env, &waiters_, deadline);
  return suspend(env, [waiters = &waiters_](const Waker& waker) { add_waiter(*waiters, waker); });
}

Task<> TaskGroup::supervise(std::shared_ptr<State> state, Task<> task) {
  Status status = co_await std::move(task);
  --state->running;
  state->ended.notify_all();
  co_return status;
}

Status TaskGroup::spawn(std::string name, Task<> task) {
  if (state_->closed) return Error{Errc::cancelled, "the task group is closed"};
  ++state_->running;
  env_.spawn(std::move(name), supervise(state_, std::move(task)));
  return ok();
}

Task<> TaskGroup::join(MonoTime deadline) {
  const auto state = state_;
  while (state->running > 0 && env_.now() < deadline) co_await state->ended.wait(env_, deadline);
  if (state->running > 0) co_return Error{Errc::unavailable, "tasks are still running at the deadline"};
  co_return ok();
}

}  // namespace varve
