// varve-sim: runs simulated worlds from one seed. Prints the seed first and last, and for every failure the
// command that replays it.
#include <CLI/CLI.hpp>
#include <iostream>

#include "sim/lifecycle.h"
#include "sim/perturbed_heap.h"

namespace {

using varve::sim::RunOptions;
using varve::sim::RunResult;

bool known(const std::string& scenario) {
  if (scenario == "lifecycle") return true;
  std::cerr << "varve-sim: there is no scenario '" << scenario << "'; there is: lifecycle\n";
  return false;
}

void print(const RunOptions& options, const RunResult& result) {
  std::cout << "seed " << options.seed << ": " << result.steps << " steps, trace hash " << std::hex
            << result.trace_hash << std::dec
            << (result.failures.empty() ? ", all invariants hold" : ", FAILED") << "\n";
  for (const std::string& failure : result.failures) std::cout << "  " << failure << "\n";
}

int run(const RunOptions& options) {
  const RunResult result = varve::sim::run_lifecycle(options);
  print(options, result);
  return result.failures.empty() ? 0 : 1;
}

int sweep(std::uint64_t seed, std::uint64_t stride) {
  std::cout << "seed " << seed << ": a crash after every "
            << (stride == 1 ? "" : std::to_string(stride) + "th ") << "step\n";
  const auto result = varve::sim::sweep_lifecycle(seed, stride);
  std::cout << "seed " << seed << ": " << result.runs << " runs, " << result.failed << " failed\n";
  if (result.failed > 0) std::cout << "first failure: " << result.first_failure << "\n";
  return result.failed == 0 ? 0 : 1;
}

int diff(RunOptions options) {
  const RunResult first = varve::sim::run_lifecycle(options);
  varve::sim::perturb_heap(options.seed * 2 + 1);
  const RunResult second = varve::sim::run_lifecycle(options);
  varve::sim::perturb_heap(0);
  print(options, first);
  print(options, second);
  const bool equal = first.trace_hash == second.trace_hash && first.steps == second.steps;
  std::cout << (equal ? "equal: the trace does not depend on the heap's layout\n"
                      : "DIFFERENT: something depends on addresses or on memory that nobody wrote\n");
  return equal && first.failures.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "varve-sim: whole servers in one process, replayed from a seed.\n\n"
      "  varve-sim run --scenario lifecycle --seed 7      one run, with every oracle on\n"
      "  varve-sim sweep lifecycle --seed 7               the same with a crash after every single step\n"
      "  varve-sim diff --scenario lifecycle --seed 7     two runs, the second on a perturbed heap\n"};
  app.name("varve-sim");
  app.require_subcommand(1);

  RunOptions options;
  std::string scenario = "lifecycle";
  std::uint64_t stride = 1;
  auto* run_command = app.add_subcommand("run", "Run a scenario once");
  run_command->add_option("--scenario", scenario, "Which one")->capture_default_str();
  run_command->add_option("--seed", options.seed, "Gives the whole run")->capture_default_str();
  run_command->add_option("--crash-after", options.crash_after_step, "Crash the node after this step too");
  run_command->add_flag("--sparse", options.sparse_log, "A log with gaps between its offsets");
  run_command->add_flag("--trace", options.print_trace, "Print what happens");
  auto* sweep_command =
      app.add_subcommand("sweep", "Run a scenario once for every step, with a crash after it");
  sweep_command->add_option("scenario", scenario, "Which one")->capture_default_str();
  sweep_command->add_option("--seed", options.seed, "Gives every run")->capture_default_str();
  sweep_command->add_option("--stride", stride, "Only every N-th step")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  auto* diff_command =
      app.add_subcommand("diff", "Run twice, the second time on a perturbed heap, and compare");
  diff_command->add_option("--scenario", scenario, "Which one")->capture_default_str();
  diff_command->add_option("--seed", options.seed, "Gives both runs")->capture_default_str();

  CLI11_PARSE(app, argc, argv);
  if (!known(scenario)) return 2;
  if (*run_command) return run(options);
  if (*sweep_command) return sweep(options.seed, stride);
  return diff(options);
}
