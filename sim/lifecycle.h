// The scenario `lifecycle`: create an agent through the API, talk to it, list its messages, crash and
// restart, list again. It runs the real routes, actors, projections and stores; a client drives it and
// retries as real ones do, with the same keys. The crash sweep runs it once for every step, with a crash
// after that step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/oracles.h"
#include "sim/scheduler.h"

namespace varve::sim {

// The story alone, on any stage, which must outlive it.
class Lifecycle {
 public:
  using Acknowledged = std::function<void(const std::vector<LogPosition>&)>;
  // `acknowledged` gets the positions that an answer has told the client.
  Lifecycle(Stage& stage, Acknowledged acknowledged);
  ~Lifecycle();

  void start();
  bool done() const;
  // What the client expected in vain.
  const std::vector<std::string>& failures() const;
  // After a crash.
  void reboot_later();

  // What its model must answer.
  static const char* model_script();

 private:
  class Story;
  std::unique_ptr<Story> story_;
};

struct RunOptions {
  std::uint64_t seed = 1;
  std::uint64_t crash_after_step = 0;  // 0 = only the crash of the scenario itself.
  bool sparse_log = false;
  bool print_trace = false;
  Scheduler::LineReader on_line;
};

struct RunResult {
  std::uint64_t steps = 0;
  std::uint64_t trace_hash = 0;
  std::vector<std::string> failures;  // Of the client's expectations and of the oracles.
};

RunResult run_lifecycle(const RunOptions& options);

struct CrashSweepResult {
  std::uint64_t runs = 0;
  std::uint64_t failed = 0;
  std::string first_failure;  // With the command that replays it.
};
// Crashes after every `stride`-th step.
CrashSweepResult sweep_lifecycle(std::uint64_t seed, std::uint64_t stride);

}  // namespace varve::sim
