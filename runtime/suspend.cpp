#include "runtime/suspend.h"

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

#include "runtime/check.h"

namespace varve {

namespace asio = boost::asio;

struct SuspensionState {
  Env* env = nullptr;
  std::uint64_t ticket = 0;
  bool woken = false;
  asio::any_completion_handler<void()> resume;
};

void Waker::wake() const {
  if (!state_ || state_->woken || !state_->resume) return;
  state_->woken = true;
  state_->env->post([state = state_] {
    if (!state->resume) return;  // Destroyed with its incarnation.
    state->env->unpark(state->ticket);
    auto resume = std::move(state->resume);
    std::move(resume)();
  });
}

bool Waker::spent() const {
  return !state_ || state_->woken || !state_->resume;
}

asio::awaitable<void> suspend(Env& env, std::function<void(Waker)> park) {
  auto initiate = [&env, &park](auto handler) {
    auto state = std::make_shared<SuspensionState>();
    state->env = &env;
    // By swap: the move assignment of Boost 1.81's any_completion_handler calls itself for ever.
    asio::any_completion_handler<void()> resume(std::move(handler));
    state->resume.swap(resume);
    state->ticket = env.park(state);
    park(Waker{state});
  };
  auto token = asio::use_awaitable;
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(std::move(initiate), token);
}

asio::awaitable<void> sleep_until(Env& env, MonoTime at) {
  std::function<void(Waker)> park = [&env, at](Waker waker) { env.call_at(at, [waker] { waker.wake(); }); };
  co_await suspend(env, std::move(park));
}

asio::awaitable<void> sleep_for(Env& env, Duration duration) {
  const MonoTime at = env.now() + duration;
  co_await sleep_until(env, at);
}

asio::awaitable<void> yield(Env& env) {
  std::function<void(Waker)> park = [](Waker waker) { waker.wake(); };
  co_await suspend(env, std::move(park));
}

void Env::spawn(std::string name, Task<> task) {
  auto finished = [this, name](const std::exception_ptr& thrown, Status status) {
    if (thrown) {
      // A coroutine's exception is a bug of ours or of an adapter that let one travel.
      std::string what = "unknown exception";
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& e) {
        what = e.what();
      } catch (...) {
        what = "not a std::exception";
      }
      log(LogLevel::error, "task " + name + " ended with an exception: " + what);
      check_failed("a task ended with an exception", __FILE__, __LINE__);
    }
    if (!status && status.error().code != Errc::cancelled) {
      log(LogLevel::error, "task " + name + " ended: " + to_string(status.error()));
    }
  };
  asio::co_spawn(executor(), std::move(task), std::move(finished));
}

void Env::count(std::string_view counter, std::uint64_t by) {
  const auto found = counters_.find(counter);
  if (found != counters_.end()) {
    found->second += by;
  } else {
    counters_.emplace(counter, by);
  }
}

std::uint64_t Env::park(std::shared_ptr<SuspensionState> suspension) {
  const std::uint64_t ticket = next_ticket_++;
  parked_.emplace_hint(parked_.end(), ticket, std::move(suspension));  // Tickets count up.
  return ticket;
}

void Env::unpark(std::uint64_t ticket) {
  parked_.erase(ticket);
}

void Env::destroy_parked() {
  // Destroying a task runs destructors, which may release other suspensions: take them out one by one.
  while (!parked_.empty()) {
    auto node = parked_.extract(parked_.begin());
    auto resume = std::move(node.mapped()->resume);
    node.mapped()->resume = nullptr;
  }
}

}  // namespace varve
