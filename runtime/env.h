// Env: the clock, chance, spawning, logging, counting and tracing: everything that a part may know about the
// world outside its ports. One Env is one incarnation of one node: when it dies, everything that was spawned
// on it becomes inert and is destroyed.
//
// Implementations: RealEnv (real_env.h, on Asio) and sim's SimEnv. Thread: an Env, its tasks and everything
// built on it live on one thread; only the work given to offload() runs elsewhere.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/rng.h"
#include "runtime/task.h"
#include "runtime/time.h"
#include "runtime/timings.h"

namespace varve {

enum class LogLevel : unsigned char { debug, info, warning, error };

// Where blocking work runs: one thread per lane, in order (`read`: several threads, in no order).
enum class Lane : unsigned char { log, store, read };
inline constexpr std::size_t kLanes = 3;

using Callback = std::function<void()>;
using TimerId = std::uint64_t;

struct SuspensionState;

class Env {
 public:
  Env() = default;
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  virtual ~Env() = default;

  virtual MonoTime now() const = 0;
  virtual WallTime wall_now() const = 0;
  virtual Rng& rng() = 0;
  virtual boost::asio::any_io_executor executor() = 0;

  // Runs `work` soon, in a step of its own. Any order guarantee is accidental.
  virtual void post(Callback work) = 0;
  // Runs `work` at `at` or soon after it, unless cancelled before.
  virtual TimerId call_at(MonoTime at, Callback work) = 0;
  virtual void cancel(TimerId timer) = 0;
  // Runs `work` on the lane, then `done` back on this Env's thread. Work of one Env on one lane runs in
  // order.
  virtual void offload(Lane lane, Callback work, Callback done) = 0;

  virtual void log(LogLevel level, std::string_view message) = 0;
  virtual void trace(std::string_view what) = 0;
  // Whether anybody reads the trace: a line that costs something is only made then.
  virtual bool tracing() const { return false; }

  // Starts a task of this incarnation. An Error at its end is logged under `name`; an exception aborts.
  void spawn(std::string name, Task<> task);

  // Adds to a named counter, for metrics and tests. docs/metrics.md says what becomes of it.
  void count(std::string_view counter, std::uint64_t by = 1);
  const std::map<std::string, std::uint64_t, std::less<>>& counters() const { return counters_; }
  // Notes how long something took, for metrics: nothing may be decided by it.
  void observe(const TimingName& name, Duration took) { timings_.series(name).add(took); }
  // For what is measured often: the series itself, as long as this Env lives.
  Histogram& timing(const TimingName& name) { return timings_.series(name); }
  const Timings& timings() const { return timings_; }

  // Bookkeeping of suspend(): what is parked here, so that the end of an incarnation can destroy it.
  std::uint64_t park(std::shared_ptr<SuspensionState> suspension);
  void unpark(std::uint64_t ticket);
  // Destroys every parked task. Its handles are inert from then on.
  void destroy_parked();

 private:
  std::uint64_t next_ticket_ = 1;
  std::map<std::uint64_t, std::shared_ptr<SuspensionState>> parked_;
  std::map<std::string, std::uint64_t, std::less<>> counters_;
  Timings timings_;
};

}  // namespace varve
