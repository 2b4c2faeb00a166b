// Scenario: what varve-sim can run, behind one door: every story of sim/sweep.h by its name (`lifecycle` is
// the first), `disk` and `rebuild` (sim/disk_lifecycle.h), `swarm` (sim/swarm.h) and `idle` (sim/idle.h). A
// run is a name, a seed and a few options; with a tape its decisions are the tape's and not the seed's. What
// it found comes back as violations, whatever the scenario calls them.
//
// Pure: the same run is the same result. Whoever runs `disk` must have called
// configure_sqlite_for_simulation() before.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/scheduler.h"
#include "sim/violation.h"

namespace varve::sim {

struct ScenarioRun {
  std::string scenario = "lifecycle";
  std::uint64_t seed = 1;
  // After this step; disk: standing still at this operation. 0: only the crash of the story itself. Not of
  // the swarm.
  std::uint64_t crash_at = 0;
  std::size_t node = 0;         // Of stories: which one crashes.
  bool sparse_log = false;      // Of stories.
  bool process_dies = false;    // disk: the process dies, not the machine.
  std::string faults = "none";  // disk: none, syncs (that fail), all.
  bool print_trace = false;
  std::optional<Tape> tape;
  bool record = false;          // What was decided, in the result's tape.
  std::uint64_t steps_max = 0;  // swarm: fewer than it would take anyway; 0 = as ever.
  Scheduler::LineReader on_line;
};

struct ScenarioResult {
  std::vector<Violation> violations;
  std::string config;  // What was drawn, or what the options say.
  std::uint64_t steps = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t crash_places = 0;  // How many values `crash_at` can usefully have,
  std::size_t crash_nodes = 1;     // and `node`.
  std::uint64_t simulated_ms = 0;
  std::uint64_t operations = 0;  // Of clients.
  std::uint64_t answered = 0;    // Of those: with a certain success.
  std::map<std::string, std::uint64_t, std::less<>> counters;
  Tape tape;
};

// In the order in which help names them.
const std::vector<std::string>& scenarios();
bool is_scenario(std::string_view name);
// Of which one can be told to crash.
std::size_t nodes_of(std::string_view scenario);
// It ends after a number of places at which a crash can be tried one by one.
bool can_be_swept(std::string_view scenario);

ScenarioResult run_scenario(const ScenarioRun& run);

// The command line that makes this run: "run --scenario disk --seed 1 --crash-at 7".
std::string arguments_of(const ScenarioRun& run);
// What is typed to see it with its trace: "repro v1:7", or the arguments with --trace.
std::string replay_of(const ScenarioRun& run);
// "I4: the views .." -> I4; a sentence without an invariant is of the "Story".
Violation violation_of(const std::string& sentence);

}  // namespace varve::sim
