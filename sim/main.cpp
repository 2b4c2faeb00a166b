// varve-sim: runs simulated worlds from one seed. Prints the seed first and last, and for every failure the
// command that replays it.
#include <CLI/CLI.hpp>
#include <iostream>

#include "sim/lifecycle.h"
#include "sim/perturbed_heap.h"
#include "sim/soak.h"
#include "sim/swarm.h"
#include "sim/tripwire.h"

namespace {

using varve::sim::RunOptions;
using varve::sim::RunResult;

// A simulated run, which must not reach for the world.
varve::sim::SwarmResult swarm_of(const varve::sim::SwarmRun& run) {
  const varve::sim::Tripwire::Armed armed;
  return varve::sim::run_swarm(run);
}
RunResult lifecycle_of(const RunOptions& options) {
  const varve::sim::Tripwire::Armed armed;
  return varve::sim::run_lifecycle(options);
}

bool known(const std::string& scenario) {
  if (scenario == "lifecycle" || scenario == "swarm") return true;
  std::cerr << "varve-sim: there is no scenario '" << scenario << "'; there are: lifecycle, swarm\n";
  return false;
}

void print(const RunOptions& options, const RunResult& result) {
  std::cout << "seed " << options.seed << ": " << result.steps << " steps, trace hash " << std::hex
            << result.trace_hash << std::dec
            << (result.failures.empty() ? ", all invariants hold" : ", FAILED") << "\n";
  for (const std::string& failure : result.failures) std::cout << "  " << failure << "\n";
}

int run(const RunOptions& options) {
  const RunResult result = lifecycle_of(options);
  print(options, result);
  return result.failures.empty() ? 0 : 1;
}

void print(const varve::sim::SwarmResult& result) {
  std::cout << result.token << ": " << result.config << "\n"
            << result.steps << " steps, " << result.simulated_ms << " ms simulated, " << result.answered
            << " of " << result.operations << " operations answered with success, trace hash " << std::hex
            << result.trace_hash << std::dec
            << (result.violations.empty() ? ", all invariants hold" : ", FAILED") << "\n";
  for (const auto& violation : result.violations) {
    std::cout << "FAIL " << violation.invariant << " " << violation.what << "\n";
  }
  if (!result.violations.empty()) std::cout << "  repro: varve-sim repro " << result.token << "\n";
}

int run_swarm(std::uint64_t seed, bool print_trace) {
  varve::sim::SwarmRun run;
  run.seed = seed;
  run.print_trace = print_trace;
  const auto result = swarm_of(run);
  print(result);
  return result.violations.empty() ? 0 : 1;
}

int diff_swarm(std::uint64_t seed) {
  varve::sim::SwarmRun run;
  run.seed = seed;
  const auto first = swarm_of(run);
  varve::sim::perturb_heap(seed * 2 + 1);
  const auto second = swarm_of(run);
  varve::sim::perturb_heap(0);
  print(first);
  print(second);
  const bool equal = first.trace_hash == second.trace_hash && first.steps == second.steps;
  std::cout << (equal ? "equal: the trace does not depend on the heap's layout\n"
                      : "DIFFERENT: something depends on addresses or on memory that nobody wrote\n");
  return equal && first.violations.empty() ? 0 : 1;
}

int sweep(std::uint64_t seed, std::uint64_t stride) {
  std::cout << "seed " << seed << ": a crash after every "
            << (stride == 1 ? "" : std::to_string(stride) + "th ") << "step\n";
  const varve::sim::Tripwire::Armed armed;
  const auto result = varve::sim::sweep_lifecycle(seed, stride);
  std::cout << "seed " << seed << ": " << result.runs << " runs, " << result.failed << " failed\n";
  if (result.failed > 0) std::cout << "first failure: " << result.first_failure << "\n";
  return result.failed == 0 ? 0 : 1;
}

int diff(RunOptions options) {
  const RunResult first = lifecycle_of(options);
  varve::sim::perturb_heap(options.seed * 2 + 1);
  const RunResult second = lifecycle_of(options);
  varve::sim::perturb_heap(0);
  print(options, first);
  print(options, second);
  const bool equal = first.trace_hash == second.trace_hash && first.steps == second.steps;
  std::cout << (equal ? "equal: the trace does not depend on the heap's layout\n"
                      : "DIFFERENT: something depends on addresses or on memory that nobody wrote\n");
  return equal && first.failures.empty() ? 0 : 1;
}

// "1..2000"
bool read_seeds(const std::string& text, varve::sim::SoakOptions& options) {
  const std::size_t dots = text.find("..");
  if (dots == std::string::npos) return false;
  const auto first = varve::sim::seed_of("v1:" + text.substr(0, dots));
  const auto last = varve::sim::seed_of("v1:" + text.substr(dots + 2));
  if (!first || !last || *last < *first) return false;
  options.first = *first;
  options.last = *last;
  return true;
}

constexpr const char* kHelp =
    "varve-sim: whole servers in one process, replayed from a seed.\n\n"
    "  varve-sim run --scenario lifecycle --seed 7      one run, with every oracle on\n"
    "  varve-sim sweep lifecycle --seed 7               the same with a crash after every single step\n"
    "  varve-sim diff --scenario swarm --seed 7         two runs, the second on a perturbed heap\n"
    "  varve-sim soak --seeds 1..2000 --jobs 2          clusters with faults, a seed each\n"
    "  varve-sim repro v1:4711                          the run of a token, with its trace\n\n"
    "Scenarios: lifecycle (one node, one story), swarm (a cluster, random work, random faults).\n"
    "Exit codes: 0 all invariants hold, 1 one is broken, 2 bad arguments, 3 a worker died.\n";

int refuse(const std::string& why) {
  std::cerr << "varve-sim: " << why << "\n";
  return 2;
}

// What the command line may say, and what it said.
struct Arguments {
  RunOptions options;
  std::string scenario = "lifecycle";
  std::uint64_t stride = 1;
  std::string seeds = "1..100";
  varve::sim::SoakOptions soak;
  std::string token;
  bool quiet = false;
  CLI::App* run = nullptr;
  CLI::App* sweep = nullptr;
  CLI::App* diff = nullptr;
  CLI::App* soaks = nullptr;
  CLI::App* repro = nullptr;

  void declare(CLI::App& app) {
    run = app.add_subcommand("run", "Run a scenario once");
    run->add_option("--scenario", scenario, "Which one")->capture_default_str();
    run->add_option("--seed", options.seed, "Gives the whole run")->capture_default_str();
    run->add_option("--crash-after", options.crash_after_step, "Crash the node after this step too");
    run->add_flag("--sparse", options.sparse_log, "A log with gaps between its offsets");
    run->add_flag("--trace", options.print_trace, "Print what happens");
    sweep = app.add_subcommand("sweep", "Run a scenario once for every step, with a crash after it");
    sweep->add_option("scenario", scenario, "Which one")->capture_default_str();
    sweep->add_option("--seed", options.seed, "Gives every run")->capture_default_str();
    sweep->add_option("--stride", stride, "Only every N-th step")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    diff = app.add_subcommand("diff", "Run twice, the second time on a perturbed heap, and compare");
    diff->add_option("--scenario", scenario, "Which one")->capture_default_str();
    diff->add_option("--seed", options.seed, "Gives both runs")->capture_default_str();
    soaks = app.add_subcommand("soak", "Run the swarm with many seeds");
    soaks->add_option("--seeds", seeds, "FIRST..LAST")->capture_default_str();
    soaks->add_option("--jobs", soak.jobs, "Processes")->check(CLI::Range(1U, 64U));
    soaks->add_option("--minutes", soak.minutes_max, "Begin no seed after so long; 0 = no limit");
    soaks->add_flag("--stop-at-failure", soak.stop_at_failure, "End at the first failure");
    repro = app.add_subcommand("repro", "Run what a token stands for, with its trace");
    repro->add_option("token", token, "As a failure printed it")->required();
    repro->add_flag("--quiet", quiet, "Without the trace");
  }
};

int carry_out(Arguments& asked) {
  if (!known(asked.scenario)) return 2;
  if (*asked.soaks) {
    if (!read_seeds(asked.seeds, asked.soak))
      return refuse("--seeds: expected FIRST..LAST, for example 1..2000");
    return varve::sim::soak(asked.soak);
  }
  if (*asked.repro) {
    const auto seed = varve::sim::seed_of(asked.token);
    if (!seed) return refuse(seed.error().message);
    return run_swarm(*seed, !asked.quiet);
  }
  const bool is_swarm = asked.scenario == "swarm";
  if (*asked.run)
    return is_swarm ? run_swarm(asked.options.seed, asked.options.print_trace) : run(asked.options);
  if (*asked.diff) return is_swarm ? diff_swarm(asked.options.seed) : diff(asked.options);
  if (is_swarm) return refuse("a sweep needs a short scenario: lifecycle");
  return sweep(asked.options.seed, asked.stride);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{kHelp};
  app.name("varve-sim");
  app.require_subcommand(1);
  Arguments asked;
  asked.declare(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const auto words = app.remaining(true);
    if (app.get_subcommands().empty() && !words.empty() && !words.front().starts_with("-")) {
      return refuse("there is no command '" + words.front() + "'; varve-sim --help lists them");
    }
    return app.exit(error) == 0 ? 0 : 2;
  }
  return carry_out(asked);
}
