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

Scheduler::Scheduler(std::uint64_t seed)
    : own_choices_(std::make_unique<Choices>(seed)), choices_(*own_choices_) {}

Scheduler::Scheduler(Choices& choices) : choices_(choices) {}

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
  if (line_reader_) line_reader_(now_, steps_, what);
}

void Scheduler::trace_of(Incarnation incarnation, std::string_view node, std::string_view line) {
  trace(std::string(node) + ": " + std::string(line));
  for (const TraceReader& reader : readers_) reader(incarnation, node, line);
}

Incarnation Scheduler::be_born() {
  alive_.insert(next_incarnation_);
  return next_incarnation_++;
}

void Scheduler::die(Incarnation incarnation) {
  // Inert first: destroying what is queued unwinds tasks, and an unwinding task posts.
  alive_.erase(incarnation);
  paused_.erase(incarnation);
  std::vector<Item> dead;
  move_of(incarnation, ready_, dead);
  move_of(incarnation, waiting_, dead);
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
  (paused(incarnation) ? waiting_ : ready_).push_back({incarnation, std::move(work)});
}

void Scheduler::move_of(Incarnation incarnation, std::vector<Item>& from, std::vector<Item>& to) {
  for (Item& item : from) {
    if (item.incarnation == incarnation) to.push_back(std::move(item));
  }
  std::erase_if(from, [](const Item& item) { return item.work == nullptr; });
}

void Scheduler::pause(Incarnation incarnation) {
  if (!alive(incarnation)) return;
  paused_.insert(incarnation);
  move_of(incarnation, ready_, waiting_);
}

void Scheduler::resume(Incarnation incarnation) {
  if (paused_.erase(incarnation) == 1) move_of(incarnation, waiting_, ready_);
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

void Scheduler::let_time_pass() {
  now_ = std::max(now_, timers_.begin()->first.first);
  while (!timers_.empty() && timers_.begin()->first.first <= now_) {
    auto node = timers_.extract(timers_.begin());
    timer_times_.erase(node.key().second);
    Item item = std::move(node.mapped());
    (paused(item.incarnation) ? waiting_ : ready_).push_back(std::move(item));
  }
}

std::size_t Scheduler::choose_ready() {
  const std::size_t count = ready_.size();
  switch (policy_) {
    case PickPolicy::uniform:
      return choices_.choose(Domain::schedule, count);
    case PickPolicy::fifo:
      return 0;
    case PickPolicy::newest:
      return choices_.chance(Domain::schedule, 3, 4) ? count - 1 : choices_.choose(Domain::schedule, count);
    case PickPolicy::starve:
      break;
  }
  if (choices_.chance(Domain::schedule, 1, 64))
    starved_ = ready_[choices_.choose(Domain::schedule, count)].incarnation;
  const std::size_t chosen = choices_.choose(Domain::schedule, count);
  if (ready_[chosen].incarnation != starved_ || !choices_.chance(Domain::schedule, 15, 16)) return chosen;
  for (std::size_t i = 0; i < count; ++i) {
    if (ready_[i].incarnation != starved_) return i;
  }
  return chosen;
}

bool Scheduler::step() {
  while (ready_.empty()) {
    if (timers_.empty()) return false;
    let_time_pass();
  }
  const std::size_t chosen = choose_ready();
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

MonoTime SimEnv::now() const {
  if (clock_.drift_ppm == 0) return rate_base_ + (scheduler_.now() - rate_since_);
  const std::int64_t passed = (scheduler_.now() - rate_since_).count();
  // In two parts, so that days of nanoseconds do not overflow.
  const std::int64_t drifted =
      passed / 1'000'000 * clock_.drift_ppm + passed % 1'000'000 * clock_.drift_ppm / 1'000'000;
  return rate_base_ + Duration{passed + drifted};
}

// The first moment of the world at which now() is not before `ours`.
MonoTime SimEnv::world_time(MonoTime ours) const {
  if (ours == kNever) return kNever;
  const std::int64_t passed = (ours - rate_base_).count();
  if (clock_.drift_ppm == 0) return rate_since_ + Duration{passed};
  const std::int64_t rate = 1'000'000 + clock_.drift_ppm;
  const std::int64_t whole = passed / rate;
  const std::int64_t rest = passed % rate;
  return rate_since_ + Duration{whole * 1'000'000 + rest * 1'000'000 / rate + 2};
}

void SimEnv::set_clock(NodeClock clock) {
  CHECK(clock.drift_ppm > -900'000 && clock.drift_ppm < 900'000);
  const MonoTime at = now();
  rate_since_ = scheduler_.now();
  rate_base_ = at;
  clock_ = clock;
}

void SimEnv::kill() {
  if (!alive()) return;
  scheduler_.die(incarnation_);
  const auto undone = std::exchange(lanes_, {});
  destroy_parked();
}

void SimEnv::pause() {
  scheduler_.trace("pause " + name_);
  scheduler_.pause(incarnation_);
}

void SimEnv::resume() {
  scheduler_.trace("resume " + name_);
  scheduler_.resume(incarnation_);
}

asio::any_io_executor SimEnv::executor() {
  return SimExecutor{scheduler_, incarnation_};
}

void SimEnv::post(Callback work) {
  scheduler_.post(incarnation_, std::make_unique<Callback>(std::move(work)));
}

TimerId SimEnv::call_at(MonoTime at, Callback work) {
  return scheduler_.call_at(incarnation_, world_time(at), std::move(work));
}

void SimEnv::cancel(TimerId timer) {
  scheduler_.cancel(timer);
}

void SimEnv::offload(Lane lane, Callback work, Callback done) {
  if (!alive()) return;
  std::deque<Job>& jobs = lanes_[lane];
  jobs.push_back({std::move(work), std::move(done)});
  if (jobs.size() == 1) run_later(lane);
}

// The oldest job of a lane, as a delayed step; the work and its report are two, so that a crash can fall
// between them. The next one begins when this one is through.
void SimEnv::run_later(Lane lane) {
  const std::uint64_t extra = scheduler_.choices().choose({Domain::time, number_in(name_)}, 200);
  const MonoTime at = now() + std::chrono::microseconds{10 + extra};
  call_at(at, [this, lane] {
    std::deque<Job>& jobs = lanes_[lane];
    const Job job = std::move(jobs.front());
    job.work();
    jobs.pop_front();
    if (!jobs.empty()) run_later(lane);
    post(job.done);
  });
}

void SimEnv::log(LogLevel /*level*/, std::string_view message) {
  trace(message);
}

void SimEnv::trace(std::string_view what) {
  scheduler_.trace_of(incarnation_, name_, what);
}

}  // namespace varve::sim
