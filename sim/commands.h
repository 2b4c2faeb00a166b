// Commands: what the subcommands of varve-sim do, once their arguments are known. Each returns the program's
// exit code: 0 all invariants hold, 1 one is broken, 2 bad arguments, 3 a process died.
//
// Every simulated run of the program is made by armed_run(), behind the trip-wire.
#pragma once

#include <string>
#include <vector>

#include "runtime/result.h"
#include "sim/failure_case.h"
#include "sim/scenario.h"

namespace varve::sim {

// What a run does wrong on purpose, to see that the guards are there.
enum class SelfTest : unsigned char {
  none,
  clock,  // Reads the C library's clock: the trip-wire.
  cpu,    // Reads the processor's: the jail alone.
};

ScenarioResult armed_run(ScenarioRun run, SelfTest trip);

// A run's line of results, its violations, and how to see them again.
void print_result(const ScenarioRun& run, const ScenarioResult& result);

int run_command(const ScenarioRun& run, SelfTest trip);
int diff_command(const ScenarioRun& run, SelfTest trip);
// With a crash at every `stride`-th place.
int sweep_command(const ScenarioRun& run, std::uint64_t stride, SelfTest trip);

// A token or the path of a case. Errors are for people.
Result<FailureCase> read_target(const std::string& target);
// Makes the run of `target`, with its trace unless `quiet`.
int repro_command(const std::string& target, bool quiet, SelfTest trip);

struct ShrinkCommand {
  std::string target;
  std::string out;     // Path of the case; empty: named by the seed.
  std::string mutant;  // The seeded bug that is switched on, for the case; empty: none.
  std::uint64_t runs_max = 3000;
};
int shrink_command(const ShrinkCommand& asked, SelfTest trip);

// Cases, or folders with cases: each must pass, and fail with its seeded bug. With `renew`, one that has gone
// stale is made anew.
struct CorpusCommand {
  std::vector<std::string> paths;
  bool renew = false;
  std::uint64_t runs_max = 1500;  // For shrinking each.
};
int corpus_command(const CorpusCommand& asked, SelfTest trip);

// Draws the run of `target` as a page.
int trace_command(const std::string& target, const std::string& html, SelfTest trip);

// Says why on standard error: 2.
int refuse(const std::string& why);

}  // namespace varve::sim
