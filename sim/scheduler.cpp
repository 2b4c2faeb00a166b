#include "sim/scheduler.h"

#include <algorithm>
#include <boost/asio/execution.hpp>
#include <iostream>

#include "runtime/hash.h"

namespace varve::sim {

namespace asio = boost::asio;

namespace {

// What Asio needs to run handlers on the scheduler. Copies are equal if they lead to the same incarnation.
class SimExecutor {
 public:
  SimExecutor(Scheduler& scheduler, Incarnation incarnation)
      : scheduler_(&scheduler), incarnation_(incarnation) {}

  // NOLINTNEXTLINE(readability-convert-member-functions-to-static)
  asio::execution_context& query(asio::execution::context_t /*property*/) const noexcept {
    return *scheduler_;
  }
  static constexpr asio::execution::blocking_t query(asio::execution::blocking_t /*property*/) noexcept {
    return asio::execution::blocking.never;
  }
  SimExecutor require(asio::execution::blocking_t::never_t /*property*/) const noexcept { return *this; }

  template <class Function>
  void execute(Function function) const {
    // std::function needs copies, a handler has none: it is shared instead.
    auto shared = std::make_shared<Function>(std::move(function));
    auto work = std::make_unique<Callback>([shared] { std::move (*shared)(); });
    shared.reset();
    scheduler_->post(incarnation_, std::move(work));
  }

  friend bool operator==(const SimExecutor& a, const SimExecutor& b) noexcept {
    return a.scheduler_ == b.scheduler_ && a.incarnation_ == b.incarnation_;
  }
  [[maybe_unused]] friend bool operator!=(const SimExecutor& a, const SimExecutor& b) noexcept {
    return !(a == b);
  }

 private:
  Scheduler* scheduler_;
  Incarnation incarnation_;
};

}  // namespace

Scheduler::Scheduler(std::uint64_t seed) : rng_(seed) {}

Scheduler::~Scheduler() {
  while (!alive_.empty()) die(*alive_.begin());
  shutdown();
  destroy();
}

void Scheduler::mix(std::uint64_t value) {
  hash_ = (hash_ ^ value) * 0x100000001b3ULL;
}

void Scheduler::trace(std::string_view what) {
  mix(xxh64(what));
  if (print_) std::cout << now_.value() << " step " << steps_ << " " << what << "\n";
}

Incarnation Scheduler::be_born() {
  alive_.insert(next_incarnation_);
  return next_incarnation_++;
}

void Scheduler::die(Incarnation incarnation) {
  // Inert first: destroying what is queued unwinds tasks, and an unwinding task posts.
  alive_.erase(incarnation);
  std::vector<Item> dead;
  for (Item& item : ready_) {
    if (item.incarnation == incarnation) dead.push_back(std::move(item));
  }
  std::erase_if(ready_, [](const Item& item) { return item.work == nullptr; });
  for (auto timer = timers_.begin(); timer != timers_.end();) {
    if (timer->second.incarnation == incarnation) {
      dead.push_back(std::move(timer->second));
      timer_times_.erase(timer->first.second);
      timer = timers_.erase(timer);
    } else {
      ++timer;
    }
  }
}

void Scheduler::post(Incarnation incarnation, std::unique_ptr<Callback> work) {
  if (!alive(incarnation)) return;  // Destroyed at once.
  ready_.push_back({incarnation, std::move(work)});
}

TimerId Scheduler::call_at(Incarnation incarnation, MonoTime at, Callback work) {
  const TimerId id = next_timer_++;
  if (!alive(incarnation)) return id;
  const MonoTime when = std::max(at, now_);
  timers_.emplace(std::pair{when, id}, Item{incarnation, std::make_unique<Callback>(std::move(work))});
  timer_times_.emplace(id, when);
  return id;
}

void Scheduler::cancel(TimerId timer) {
  const auto found = timer_times_.find(timer);
  if (found == timer_times_.end()) return;
  timers_.erase({found->second, timer});
  timer_times_.erase(found);
}

bool Scheduler::step() {
  if (ready_.empty()) {
    if (timers_.empty()) return false;
    now_ = std::max(now_, timers_.begin()->first.first);
    while (!timers_.empty() && timers_.begin()->first.first <= now_) {
      auto node = timers_.extract(timers_.begin());
      timer_times_.erase(node.key().second);
      ready_.push_back(std::move(node.mapped()));
    }
  }
  const std::uint64_t chosen = rng_.below(ready_.size());
  Item item = std::move(ready_[chosen]);
  ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(chosen));
  ++steps_;
  // Time moves a little with every step, so that no two things happen at the same moment.
  now_ = now_ + Duration{50 + static_cast<std::int64_t>(chosen)};
  mix(static_cast<std::uint64_t>(now_.value()));
  mix(item.incarnation);
  mix(chosen);
  (*item.work)();
  return true;
}

SimEnv::SimEnv(Scheduler& scheduler, std::string name, std::uint64_t seed)
    : scheduler_(scheduler), name_(std::move(name)), rng_(seed), incarnation_(scheduler.be_born()) {}

void SimEnv::kill() {
  if (!alive()) return;
  scheduler_.die(incarnation_);
  destroy_parked();
}

asio::any_io_executor SimEnv::executor() {
  return SimExecutor{scheduler_, incarnation_};
}

void SimEnv::post(Callback work) {
  scheduler_.post(incarnation_, std::make_unique<Callback>(std::move(work)));
}

TimerId SimEnv::call_at(MonoTime at, Callback work) {
  return scheduler_.call_at(incarnation_, at, std::move(work));
}

void SimEnv::cancel(TimerId timer) {
  scheduler_.cancel(timer);
}

void SimEnv::offload(Lane /*lane*/, Callback work, Callback done) {
  // A delayed step; the work and its report are two, so that a crash can fall between them.
  const MonoTime at = now() + std::chrono::microseconds{10 + scheduler_.rng().below(200)};
  call_at(at, [this, work = std::move(work), done = std::move(done)] {
    work();
    post(done);
  });
}

void SimEnv::log(LogLevel /*level*/, std::string_view message) {
  trace(message);
}

void SimEnv::trace(std::string_view what) {
  scheduler_.trace(name_ + ": " + std::string(what));
}

}  // namespace varve::sim
