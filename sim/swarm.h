// Swarm: one run of a cluster from one seed: what can fail, how often and how badly is drawn first, then
// clients work while the nemesis crashes, pauses and cuts off nodes; then everything heals and must come to
// rest. Every oracle watches. A tenth of all seeds is calm, a tenth has one class of faults alone.
//
// The token of a run ("v1:<seed>") replays it with the same build. Pure: same token, same trace.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/result.h"
#include "sim/scheduler.h"
#include "sim/violation.h"

namespace varve::sim {

// A run that takes more does not come to rest.
inline constexpr std::uint64_t kSwarmStepsMax = 3'000'000;

struct SwarmRun {
  std::uint64_t seed = 1;
  bool print_trace = false;
  std::optional<Tape> tape;  // Its decisions instead of the seed's, the configuration included.
  bool record = false;       // What was decided, in the result's tape.
  std::uint64_t steps_max = kSwarmStepsMax;
  Scheduler::LineReader on_line;
};

struct SwarmResult {
  std::vector<Violation> violations;
  std::string config;  // What was drawn, in one line.
  std::string token;
  std::uint64_t steps = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t simulated_ms = 0;
  std::uint64_t answered = 0;  // Operations with a certain success.
  std::uint64_t operations = 0;
  std::uint64_t unknown = 0;  // Operations of which their client does not know whether they took effect.
  std::map<std::string, std::uint64_t, std::less<>> counters;
  Tape tape;
};

SwarmResult run_swarm(const SwarmRun& run);

std::string token_of(std::uint64_t seed);
// Errc::invalid_argument says what a token looks like.
Result<std::uint64_t> seed_of(std::string_view token);

}  // namespace varve::sim
