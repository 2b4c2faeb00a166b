#include "sim/commands.h"

#include <chrono>
// lint: allow(files) Of the command line, outside of every run.
#include <fstream>
#include <iostream>
#include <sstream>

#include "sim/perturbed_heap.h"
#include "sim/swarm.h"
#include "sim/tripwire.h"

namespace varve::sim {
namespace {

void trip_it(SelfTest trip) {
  if (trip == SelfTest::clock) {
    // lint: allow(clock) To be caught.
    const auto caught = std::chrono::steady_clock::now();
    std::cerr << "self-test: the clock was read: " << caught.time_since_epoch().count() << "\n";
  }
#if defined(__x86_64__)
  if (trip == SelfTest::cpu)
    std::cerr << "self-test: the processor was read: " << __builtin_ia32_rdtsc() << "\n";
#endif
}

bool holds(const ScenarioResult& result) {
  return result.violations.empty();
}

}  // namespace

ScenarioResult armed_run(ScenarioRun run, SelfTest trip) {
  if (trip != SelfTest::none) {
    run.on_line = [done = false, trip](MonoTime, std::uint64_t, std::string_view) mutable {
      if (!done) trip_it(trip);
      done = true;
    };
  }
  const Tripwire::Armed armed;
  return run_scenario(run);
}

int refuse(const std::string& why) {
  std::cerr << "varve-sim: " << why << "\n";
  return 2;
}

void print_result(const ScenarioRun& run, const ScenarioResult& result) {
  std::cout << run.scenario << " seed " << run.seed << ": ";
  if (!result.config.empty()) std::cout << result.config << "\n";
  std::cout << result.steps << " steps";
  if (run.scenario == "swarm") {
    std::cout << ", " << result.simulated_ms << " ms simulated, " << result.answered << " of "
              << result.operations << " operations answered with success";
  }
  std::cout << ", trace hash " << std::hex << result.trace_hash << std::dec
            << (holds(result) ? ", all invariants hold" : ", FAILED") << "\n";
  for (const Violation& violation : result.violations) {
    std::cout << "FAIL " << violation.invariant << " " << violation.what << "\n";
  }
  if (!holds(result) && !run.tape) std::cout << "  repro: varve-sim " << replay_of(run) << "\n";
}

int run_command(const ScenarioRun& run, SelfTest trip) {
  const ScenarioResult result = armed_run(run, trip);
  print_result(run, result);
  return holds(result) ? 0 : 1;
}

int diff_command(const ScenarioRun& run, SelfTest trip) {
  const ScenarioResult first = armed_run(run, trip);
  perturb_heap(run.seed * 2 + 1);
  const ScenarioResult second = armed_run(run, trip);
  perturb_heap(0);
  print_result(run, first);
  print_result(run, second);
  const bool equal = first.trace_hash == second.trace_hash && first.steps == second.steps;
  std::cout << (equal ? "equal: the trace does not depend on the heap's layout\n"
                      : "DIFFERENT: something depends on addresses or on memory that nobody wrote\n");
  return equal && holds(first) ? 0 : 1;
}

int sweep_command(const ScenarioRun& run, std::uint64_t stride, SelfTest trip) {
  const std::string place =
      run.scenario == "disk" || run.scenario == "rebuild" ? "operations of the disk" : "steps";
  const ScenarioResult calm = armed_run(run, trip);
  std::cout << run.scenario << " seed " << run.seed << ": a crash at "
            << (stride == 1 ? "each" : "every " + std::to_string(stride) + "th") << " of "
            << calm.crash_places << " " << place << (calm.crash_nodes > 1 ? ", for each node" : "")
            << std::endl;
  std::uint64_t runs = 1;
  std::uint64_t failed = 0;
  if (!holds(calm)) {
    ++failed;
    print_result(run, calm);
  }
  ScenarioRun crashed = run;
  for (crashed.node = 0; crashed.node < calm.crash_nodes; ++crashed.node) {
    for (crashed.crash_at = 1; crashed.crash_at <= calm.crash_places; crashed.crash_at += stride) {
      const ScenarioResult result = armed_run(crashed, trip);
      ++runs;
      if (holds(result)) continue;
      if (++failed == 1) print_result(crashed, result);
    }
  }
  std::cout << runs << " runs, " << failed << " failed\n";
  return failed == 0 ? 0 : 1;
}

Result<FailureCase> read_target(const std::string& target) {
  if (target.starts_with("v1:")) {
    const auto seed = seed_of(target);
    if (!seed) return seed.error();
    FailureCase one;
    one.run.scenario = "swarm";
    one.run.seed = *seed;
    return one;
  }
  // lint: allow(files) The command line reads what it was given, before any run.
  std::ifstream file(target);
  if (!file) {
    return Error{Errc::not_found, "'" + target + "' is no token (v1:4711), and no file that can be read"};
  }
  std::ostringstream text;
  text << file.rdbuf();
  auto one = FailureCase::decode(text.str());
  if (!one) return Error{one.error().code, target + ": " + one.error().message};
  return one;
}

int repro_command(const std::string& target, bool quiet, SelfTest trip) {
  auto one = read_target(target);
  if (!one) return refuse(one.error().message);
  one->run.print_trace = !quiet;
  const int code = run_command(one->run, trip);
  if (!one->invariant.empty()) {
    std::cout << "the case once broke " << one->invariant << ": " << one->what << "\n";
    if (!one->mutant.empty())
      std::cout << "  with its bug: varve-sim repro " << target << " --mutant " << one->mutant << "\n";
  }
  return code;
}

}  // namespace varve::sim
