#include "runtime/real_env.h"

#include <sys/random.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdio>
#include <set>

#include "runtime/check.h"
#include "runtime/json.h"
#include "runtime/utf8.h"

namespace varve {

namespace asio = boost::asio;

namespace {

Rng seeded_by_the_os() {
  std::array<std::uint64_t, 4> state{};
  CHECK(::getrandom(state.data(), sizeof(state), 0) == static_cast<ssize_t>(sizeof(state)));
  return Rng{state};
}

std::int64_t clock_ns(clockid_t clock) {
  timespec time{};
  CHECK(::clock_gettime(clock, &time) == 0);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "?";
}

// The one way from thread to thread: `work` moves into the queue of whoever runs `to`, and everything that
// was done before happens before it runs there. No lock, no atomic and no shared object besides.
template <class Context>
void hand_over(Context& to, Callback work) {
  asio::post(to, std::move(work));
}

}  // namespace

std::string log_line(LogFormat format, WallTime time, LogLevel level, std::string_view message) {
  std::string line = format_rfc3339_micros(time);
  if (format == LogFormat::json) {
    JsonWriter out;
    out.begin_object().field("time", line).field("level", name_of(level));
    return out.field("message", mend_text(message)).end_object().take();
  }
  const std::string_view name = name_of(level);
  constexpr std::size_t kNameColumns = 7;
  line.append(" ").append(name).append(kNameColumns - std::min(kNameColumns, name.size()) + 1, ' ');
  return line.append(message);
}

// One OS timer serves a queue ordered by (time, id): cheaper than one asio timer per wait.
struct RealEnv::Impl {
  explicit Impl(std::size_t read_threads) : lane_log(1), lane_store(1), lane_read(read_threads) {}

  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(io);
  asio::steady_timer timer{io};
  std::map<std::pair<std::int64_t, TimerId>, Callback> timers;
  std::map<TimerId, std::int64_t> timer_times;
  TimerId next_timer = 1;
  std::int64_t armed_for = kNever.value();
  bool down = false;
  asio::thread_pool lane_log;
  asio::thread_pool lane_store;
  asio::thread_pool lane_read;

  asio::thread_pool& lane(Lane which) {
    switch (which) {
      case Lane::log:
        return lane_log;
      case Lane::store:
        return lane_store;
      case Lane::read:
        return lane_read;
    }
    return lane_store;
  }

  void arm() {
    const std::int64_t first = timers.empty() ? kNever.value() : timers.begin()->first.first;
    if (first == armed_for) return;
    armed_for = first;
    if (first == kNever.value()) {
      timer.cancel();
      return;
    }
    timer.expires_at(std::chrono::steady_clock::time_point{std::chrono::nanoseconds{first}});
    timer.async_wait([this](const boost::system::error_code& error) {
      if (error || down) return;
      fire();
    });
  }

  void fire() {
    const std::int64_t now = clock_ns(CLOCK_MONOTONIC);
    armed_for = kNever.value();
    while (!timers.empty() && timers.begin()->first.first <= now) {
      auto node = timers.extract(timers.begin());
      timer_times.erase(node.key().second);
      node.mapped()();
    }
    arm();
  }
};

RealEnv::RealEnv(Options options)
    : impl_(std::make_unique<Impl>(options.read_threads)),
      rng_(seeded_by_the_os()),
      options_(std::move(options)) {}

RealEnv::~RealEnv() {
  shut_down();
}

MonoTime RealEnv::now() const {
  return MonoTime{clock_ns(CLOCK_MONOTONIC)};
}
WallTime RealEnv::wall_now() const {
  return WallTime{clock_ns(CLOCK_REALTIME) / 1000};
}
asio::any_io_executor RealEnv::executor() {
  return impl_->io.get_executor();
}
void RealEnv::post(Callback work) {
  hand_over(impl_->io, std::move(work));
}

TimerId RealEnv::call_at(MonoTime at, Callback work) {
  const TimerId id = impl_->next_timer++;
  impl_->timers.emplace(std::pair{at.value(), id}, std::move(work));
  impl_->timer_times.emplace(id, at.value());
  impl_->arm();
  return id;
}

void RealEnv::cancel(TimerId timer) {
  const auto found = impl_->timer_times.find(timer);
  if (found == impl_->timer_times.end()) return;
  impl_->timers.erase({found->second, timer});
  impl_->timer_times.erase(found);
}

void RealEnv::offload(Lane lane, Callback work, Callback done) {
  hand_over(impl_->lane(lane), [this, work = std::move(work), done = std::move(done)]() mutable {
    work();
    work = nullptr;  // What it owns ends on the lane, unless somebody shares it.
    hand_over(impl_->io, std::move(done));
  });
}

void RealEnv::log(LogLevel level, std::string_view message) {
  if (level < options_.log_level) return;
  if (options_.log_sink) {
    options_.log_sink(level, message);
    return;
  }
  const std::string line = log_line(options_.log_format, wall_now(), level, message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // At once: lines of threads do not mix.
}

void RealEnv::trace(std::string_view /*what*/) {}

asio::io_context& RealEnv::io_context() {
  return impl_->io;
}

void RealEnv::run() {
  impl_->io.run();
}

void RealEnv::stop() {
  impl_->io.stop();
}

void RealEnv::shut_down() {
  if (!impl_ || impl_->down) return;
  impl_->down = true;
  impl_->lane_log.join();
  impl_->lane_store.join();
  impl_->lane_read.join();
  impl_->timers.clear();
  impl_->timer_times.clear();
  // Unwinding a task posts its frame to the executor: run what that leaves behind, then unwind the rest.
  destroy_parked();
  impl_->io.restart();
  impl_->work.reset();
  while (impl_->io.poll_one() > 0) destroy_parked();
}

}  // namespace varve
