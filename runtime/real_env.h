// RealEnv: the Env of production. Time, entropy and threads come from the OS here and nowhere else.
//
// run() serves the calling thread until stop(). Lanes are threads of its own; post() and stop() may be called
// from any thread, everything else from the one that runs run() (or before it).
//
// Threads meet in one place: work is handed to a lane's queue, and its report to this Env's (hand_over() in
// real_env.cpp). What one thread has written before it hands over, the other sees behind it; a Waker, a
// Notifier and everything built on them belong to the Env's thread, and a job on a lane touches what it owns
// alone. There are no locks and no atomics in this program (deploy/lint.py refuses them), so whatever is
// shared in another way is a race, and tests/runtime/cross_thread_test.cpp looks for one under TSan.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>

#include "runtime/env.h"

namespace varve {

enum class LogFormat : unsigned char { text, json };

// One line of the log without its end. json: an object with "time", "level" and "message", for programs that
// collect logs; ill-formed bytes of the message are mended. Pure.
std::string log_line(LogFormat format, WallTime time, LogLevel level, std::string_view message);

class RealEnv final : public Env {
 public:
  struct Options {
    LogLevel log_level = LogLevel::info;
    LogFormat log_format = LogFormat::text;  // On standard error.
    std::size_t read_threads = 1;
    // Called with every log line of at least log_level; null = standard error.
    std::function<void(LogLevel, std::string_view)> log_sink;
  };

  RealEnv() : RealEnv(Options{}) {}
  explicit RealEnv(Options options);
  ~RealEnv() override;

  MonoTime now() const override;
  WallTime wall_now() const override;
  Rng& rng() override { return rng_; }
  boost::asio::any_io_executor executor() override;
  void post(Callback work) override;
  TimerId call_at(MonoTime at, Callback work) override;
  void cancel(TimerId timer) override;
  void offload(Lane lane, Callback work, Callback done) override;
  void log(LogLevel level, std::string_view message) override;
  void trace(std::string_view what) override;

  // For adapters that own sockets (api/http_server.cpp) or signals (cli/).
  boost::asio::io_context& io_context();

  void run();
  void stop();
  // Ends the incarnation: joins the lanes, then destroys every task. Called by the destructor at the latest;
  // call it while the objects that the tasks refer to are still alive.
  void shut_down();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  Rng rng_;
  Options options_;
};

}  // namespace varve
