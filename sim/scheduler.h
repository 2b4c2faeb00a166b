// Scheduler: the one thread of a simulated world. It owns time, the order of everything that is ready, and
// the incarnations that things belong to. One seed gives one order and one trace hash.
//
// SimEnv: the Env of one incarnation of one node. kill() makes all its handles inert first and destroys its
// tasks then, so that no destructor can reach the world after death.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution_context.hpp>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtime/env.h"

namespace varve::sim {

using Incarnation = std::uint64_t;

class Scheduler : public boost::asio::execution_context {
 public:
  explicit Scheduler(std::uint64_t seed);
  ~Scheduler();

  // Runs one thing that is ready, or lets time pass to the next timer. False: nothing will ever happen again.
  bool step();
  std::uint64_t steps() const { return steps_; }
  MonoTime now() const { return now_; }
  // Of everything that has happened: times, choices and what was traced.
  std::uint64_t trace_hash() const { return hash_; }
  void trace(std::string_view what);
  // Every trace line goes to standard output too.
  void print_trace(bool on) { print_ = on; }

  Incarnation be_born();
  bool alive(Incarnation incarnation) const { return alive_.contains(incarnation); }
  // Its handles are inert from now on; what was queued for it is destroyed.
  void die(Incarnation incarnation);

  void post(Incarnation incarnation, std::unique_ptr<Callback> work);
  TimerId call_at(Incarnation incarnation, MonoTime at, Callback work);
  void cancel(TimerId timer);
  Rng& rng() { return rng_; }

 private:
  struct Item {
    Incarnation incarnation;
    std::unique_ptr<Callback> work;
  };
  void mix(std::uint64_t value);

  Rng rng_;
  MonoTime now_{1'000'000'000};
  std::uint64_t steps_ = 0;
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
  bool print_ = false;
  Incarnation next_incarnation_ = 1;
  std::set<Incarnation> alive_;
  std::vector<Item> ready_;
  // By time, then by the order in which they were set: never by address.
  std::map<std::pair<MonoTime, TimerId>, Item> timers_;
  std::map<TimerId, MonoTime> timer_times_;
  TimerId next_timer_ = 1;
};

class SimEnv final : public Env {
 public:
  SimEnv(Scheduler& scheduler, std::string name, std::uint64_t seed);
  ~SimEnv() override { kill(); }

  void kill();
  bool alive() const { return scheduler_.alive(incarnation_); }

  MonoTime now() const override { return scheduler_.now(); }
  // Virtual time began at 2026-01-01T00:00:00Z.
  WallTime wall_now() const override {
    return WallTime{1'767'225'600'000'000 + scheduler_.now().value() / 1000};
  }
  Rng& rng() override { return rng_; }
  boost::asio::any_io_executor executor() override;
  void post(Callback work) override;
  TimerId call_at(MonoTime at, Callback work) override;
  void cancel(TimerId timer) override;
  void offload(Lane lane, Callback work, Callback done) override;
  void log(LogLevel level, std::string_view message) override;
  void trace(std::string_view what) override;

 private:
  Scheduler& scheduler_;
  std::string name_;
  Rng rng_;
  Incarnation incarnation_;
};

}  // namespace varve::sim
