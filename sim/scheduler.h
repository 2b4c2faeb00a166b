// Scheduler: the one thread of a simulated world. It owns time, the order of everything that is ready, and
// the incarnations that things belong to. One seed gives one order and one trace hash. A paused incarnation
// takes no step, while time goes on and work for it piles up: when it goes on it is a zombie that has noticed
// nothing.
//
// SimEnv: the Env of one incarnation of one node, with clocks of its own. kill() makes all its handles inert
// first and destroys its tasks then, so that no destructor can reach the world after death.
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
#include "sim/choices.h"

namespace varve::sim {

using Incarnation = std::uint64_t;

// How the next of the ready things is chosen. Each is a fair order, as long as choices are fair.
enum class PickPolicy : unsigned char {
  uniform,  // Any of them.
  fifo,     // The oldest.
  newest,   // Mostly the newest.
  starve,   // One incarnation's work waits as long as there is other work, most of the time.
};

class Scheduler : public boost::asio::execution_context {
 public:
  explicit Scheduler(std::uint64_t seed);
  // Takes its decisions from `choices`, which must outlive it.
  explicit Scheduler(Choices& choices);
  ~Scheduler();

  // Runs one thing that is ready, or lets time pass to the next timer. False: nothing will ever happen again.
  bool step();
  std::uint64_t steps() const { return steps_; }
  void pick(PickPolicy policy) { policy_ = policy; }
  Choices& choices() { return choices_; }
  MonoTime now() const { return now_; }
  // Of everything that has happened: times, choices and what was traced.
  std::uint64_t trace_hash() const { return hash_; }
  void trace(std::string_view what);
  // Every trace line goes to standard output too.
  void print_trace(bool on) { print_ = on; }
  // Gets every line that an incarnation traces, as it is traced, with the node's name.
  using TraceReader = std::function<void(Incarnation, std::string_view node, std::string_view line)>;
  void on_trace(TraceReader reader) { readers_.push_back(std::move(reader)); }
  void trace_of(Incarnation incarnation, std::string_view node, std::string_view line);
  // Gets every trace line as it is printed, the world's own too, before anything else happens.
  using LineReader = std::function<void(MonoTime at, std::uint64_t step, std::string_view line)>;
  void on_line(LineReader reader) { line_reader_ = std::move(reader); }

  Incarnation be_born();
  bool alive(Incarnation incarnation) const { return alive_.contains(incarnation); }
  // Its handles are inert from now on; what was queued for it is destroyed.
  void die(Incarnation incarnation);
  void pause(Incarnation incarnation);
  void resume(Incarnation incarnation);
  bool paused(Incarnation incarnation) const { return paused_.contains(incarnation); }

  void post(Incarnation incarnation, std::unique_ptr<Callback> work);
  TimerId call_at(Incarnation incarnation, MonoTime at, Callback work);
  void cancel(TimerId timer);

 private:
  struct Item {
    Incarnation incarnation;
    std::unique_ptr<Callback> work;
  };
  void mix(std::uint64_t value);
  static void move_of(Incarnation incarnation, std::vector<Item>& from, std::vector<Item>& to);
  std::size_t choose_ready();
  // Lets time pass to the next timer, and makes ready what is due.
  void let_time_pass();

  std::unique_ptr<Choices> own_choices_;
  Choices& choices_;
  PickPolicy policy_ = PickPolicy::uniform;
  Incarnation starved_ = 0;
  MonoTime now_{1'000'000'000};
  std::uint64_t steps_ = 0;
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
  bool print_ = false;
  std::vector<TraceReader> readers_;
  LineReader line_reader_;
  Incarnation next_incarnation_ = 1;
  std::set<Incarnation> alive_;
  std::set<Incarnation> paused_;
  std::vector<Item> ready_;    // Of those that are not paused, oldest first.
  std::vector<Item> waiting_;  // Of those that are paused.
  // By time, then by the order in which they were set: never by address.
  std::map<std::pair<MonoTime, TimerId>, Item> timers_;
  std::map<TimerId, MonoTime> timer_times_;
  TimerId next_timer_ = 1;
};

// A node's clocks: how far they run from the world's.
struct NodeClock {
  // Of both clocks; below 900,000 either way. Set it before the node has timers: one that is set already goes
  // off by the old rate.
  std::int64_t drift_ppm = 0;
  std::int64_t wall_offset_us = 0;
};

class SimEnv final : public Env {
 public:
  SimEnv(Scheduler& scheduler, std::string name, std::uint64_t seed);
  ~SimEnv() override { kill(); }

  void kill();
  bool alive() const { return scheduler_.alive(incarnation_); }
  void pause();
  void resume();
  bool paused() const { return scheduler_.paused(incarnation_); }
  // The wall clock may jump; the other one only changes its rate.
  void set_clock(NodeClock clock);

  MonoTime now() const override;
  // Virtual time began at 2026-01-01T00:00:00Z.
  WallTime wall_now() const override {
    return WallTime{1'767'225'600'000'000 + now().value() / 1000 + clock_.wall_offset_us};
  }
  Rng& rng() override { return rng_; }
  boost::asio::any_io_executor executor() override;
  void post(Callback work) override;
  TimerId call_at(MonoTime at, Callback work) override;
  void cancel(TimerId timer) override;
  void offload(Lane lane, Callback work, Callback done) override;
  void log(LogLevel level, std::string_view message) override;
  void trace(std::string_view what) override;
  bool tracing() const override { return true; }
  const NodeClock& clock() const { return clock_; }
  Incarnation incarnation() const { return incarnation_; }
  const std::string& name() const { return name_; }

 private:
  // Work that was given to a lane and has not run.
  struct Job {
    Callback work;
    Callback done;
  };
  MonoTime world_time(MonoTime ours) const;
  void run_later(Lane lane);

  Scheduler& scheduler_;
  std::string name_;
  Rng rng_;
  Incarnation incarnation_;
  NodeClock clock_;
  // Since when the rate is what it is, by the world's clock and by ours.
  MonoTime rate_since_{};
  MonoTime rate_base_{};
  std::map<Lane, std::deque<Job>> lanes_;
};

}  // namespace varve::sim
