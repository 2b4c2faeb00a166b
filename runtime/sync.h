// What tasks of one Env use to wait for each other: OneShot, Notifier, Channel, TaskGroup. All of it runs on
// the Env's thread and needs no locks. Every wait takes a deadline; past it the answer is Errc::unavailable.
//
// Lifetime: what waits may outlive neither the Env nor the object it waits on.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/suspend.h"

namespace varve {

// Wakes everybody who waits. There is no memory: check your condition again after every wake-up.
class Notifier {
 public:
  void notify_all();
  // Ends at the next notify_all() or at the deadline, without saying which: check your condition again.
  boost::asio::awaitable<void> wait(Env& env, MonoTime deadline);

 private:
  std::vector<Waker> waiters_;
};

// A value that is set once and got once.
template <class T>
class OneShot {
 public:
  void set(Result<T> value) {
    if (value_) return;  // The first answer counts.
    value_ = std::move(value);
    notifier_.notify_all();
  }
  bool ready() const { return value_.has_value(); }

  Task<T> get(Env& env, MonoTime deadline) {
    while (!value_ && env.now() < deadline) co_await notifier_.wait(env, deadline);
    if (!value_) co_return Error{Errc::unavailable, "the deadline has passed"};
    co_return *value_;
  }

 private:
  std::optional<Result<T>> value_;
  Notifier notifier_;
};

// A bounded queue between tasks. close() lets readers drain it and then ends them with Errc::cancelled.
template <class T>
class Channel {
 public:
  explicit Channel(std::size_t capacity) : capacity_(capacity) {}

  // Errc::resource_exhausted if it is full, Errc::cancelled if it is closed.
  Status try_push(T value) {
    if (closed_) return Error{Errc::cancelled, "the channel is closed"};
    if (queue_.size() >= capacity_) return Error{Errc::resource_exhausted, "the channel is full"};
    queue_.push_back(std::move(value));
    changed_.notify_all();
    return ok();
  }

  Task<T> pop(Env& env, MonoTime deadline) {
    while (queue_.empty() && !closed_ && env.now() < deadline) co_await changed_.wait(env, deadline);
    if (!queue_.empty()) {
      T value = std::move(queue_.front());
      queue_.pop_front();
      co_return value;
    }
    if (closed_) co_return Error{Errc::cancelled, "the channel is closed"};
    co_return Error{Errc::unavailable, "the deadline has passed"};
  }

  void close() {
    closed_ = true;
    changed_.notify_all();
  }
  std::size_t size() const { return queue_.size(); }
  bool closed() const { return closed_; }

 private:
  std::size_t capacity_;
  std::deque<T> queue_;
  bool closed_ = false;
  Notifier changed_;
};

// Background tasks of one owner. After close() it starts nothing; join() waits until the last has ended.
class TaskGroup {
 public:
  explicit TaskGroup(Env& env) : env_(env), state_(std::make_shared<State>()) {}

  // Errc::cancelled after close().
  Status spawn(std::string name, Task<> task);
  void close() { state_->closed = true; }
  Task<> join(MonoTime deadline);
  std::size_t running() const { return state_->running; }

 private:
  struct State {
    std::size_t running = 0;
    bool closed = false;
    Notifier ended;
  };
  static Task<> supervise(std::shared_ptr<State> state, Task<> task);

  Env& env_;
  std::shared_ptr<State> state_;
};

}  // namespace varve
