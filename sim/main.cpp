// varve-sim: runs simulated worlds from one seed. Prints the seed first and last, and for every failure the
// command that replays it. Here are its arguments; what they do is in sim/commands.h.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>

#include "sim/commands.h"
#include "sim/mutant_hunt.h"
#include "sim/mutants.h"
#include "sim/soak.h"
#include "sim/sqlite_vfs.h"
#include "sim/swarm.h"

namespace {

using varve::sim::refuse;
using varve::sim::ScenarioRun;
using varve::sim::SelfTest;

constexpr const char* kHelp =
    "varve-sim: whole servers in one process, replayed from a seed.\n\n"
    "  varve-sim run --scenario lifecycle --seed 7      one run, with every oracle on\n"
    "  varve-sim sweep lifecycle --seed 7               the same with a crash after every single step\n"
    "  varve-sim sweep disk --stride 19                 power cuts at operations of the disk\n"
    "  varve-sim diff --scenario swarm --seed 7         two runs, the second on a perturbed heap\n"
    "  varve-sim soak --seeds 1..2000 --jobs 2          clusters with faults, a seed each\n"
    "  varve-sim repro v1:4711                          the run of a token or of a case, with its trace\n"
    "  varve-sim shrink v1:4711 --out small.case        the decisions that a failure needs\n"
    "  varve-sim trace v1:4711 --html run.html          the run as a page\n"
    "  varve-sim corpus tests/sim/corpus                cases that failed once: each must pass, and fail "
    "with its "
    "bug\n"
    "  varve-sim mutants --jobs 2                       seeded bugs: each must be found\n\n"
    "Scenarios: lifecycle (one node, one story), disk (the same story on SQLite files on a simulated disk),\n"
    "rebuild (views that are rebuilt and switched, on such files),\n"
    "swarm (a cluster, random work, random faults), idle (an hour of nothing); stories of a calm cluster, "
    "for\n"
    "sweeps: blocks, passivation, batch, quarantine, move, teleport.\n"
    "Exit codes: 0 all invariants hold, 1 one is broken, 2 bad arguments, 3 a worker died.\n";

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

// What the command line may say, and what it said.
struct Arguments {
  ScenarioRun one;
  std::size_t node = 1;
  std::uint64_t stride = 1;
  std::string seeds = "1..100";
  varve::sim::SoakOptions soak;
  std::string soaked = "swarm";
  bool no_sometimes = false;
  std::uint64_t minutes = 0;
  std::string target;
  bool quiet = false;
  varve::sim::ShrinkCommand shrink;
  varve::sim::CorpusCommand cases;
  std::string html;
  SelfTest trip = SelfTest::none;
  CLI::App* run = nullptr;
  CLI::App* sweep = nullptr;
  CLI::App* diff = nullptr;
  CLI::App* soaks = nullptr;
  CLI::App* repro = nullptr;
  CLI::App* shrinks = nullptr;
  CLI::App* corpus = nullptr;
  CLI::App* trace = nullptr;
  CLI::App* hunts = nullptr;
  varve::sim::MutantsOptions mutants;
  std::string mutant;

  void declare_mutants(CLI::App& app) {
    for (CLI::App* one_run : {run, sweep, diff, repro, soaks, shrinks, trace}) {
      one_run->add_option("--mutant", mutant, "With this seeded bug (varve-sim mutants --list)");
    }
    hunts = app.add_subcommand("mutants", "Find every seeded bug within its budget of seeds");
    hunts->add_flag("--fast", mutants.fast, "Those alone that are found within a handful of seeds");
    hunts->add_flag("--list", mutants.list, "Say which there are");
    hunts->add_option("--jobs", mutants.jobs, "Processes")->check(CLI::Range(1U, 64U));
    hunts->add_option("--only", mutants.only, "Ids");
    hunts->add_option("--first", mutants.first, "The seed to begin with")->check(CLI::PositiveNumber);
    hunts->add_option("--rounds", mutants.rounds, "So often, each time with other seeds")
        ->check(CLI::PositiveNumber);
  }

  void declare(CLI::App& app) {
    declare_runs(app);
    soaks = app.add_subcommand("soak", "Run many seeds");
    soaks->add_option("--seeds", seeds, "FIRST..LAST")->capture_default_str();
    soaks->add_option("--scenario", soaked, "Which one")->capture_default_str();
    soaks->add_option("--jobs", soak.jobs, "Processes")->check(CLI::Range(1U, 64U));
    soaks->add_option("--minutes", minutes, "Begin no seed after so long; 0 = no limit");
    soaks->add_option("--seconds", soak.seconds_max, "The same");
    soaks->add_flag("--stop-at-failure", soak.stop_at_failure, "End at the first failure");
    soaks->add_flag("--progress", soak.progress, "To standard error, as on a terminal");
    soaks->add_flag("--no-sometimes", no_sometimes, "A situation that is never met is no failure");
    repro = app.add_subcommand("repro", "Run what a token or a case stands for, with its trace");
    repro->add_option("target", target, "A token as a failure printed it, or a file")->required();
    repro->add_flag("--quiet", quiet, "Without the trace");
    shrinks = app.add_subcommand("shrink", "Find the decisions that a failing run needs");
    shrinks->add_option("target", shrink.target, "A token or a file")->required();
    shrinks->add_option("--out", shrink.out, "Where the case goes");
    shrinks->add_option("--budget", shrink.runs_max, "Runs at most")->capture_default_str();
    corpus =
        app.add_subcommand("corpus", "Run cases that failed once: each must pass, and fail with its bug");
    corpus->add_option("paths", cases.paths, "Files, or folders with .case files")->required();
    corpus->add_flag("--renew", cases.renew, "Make those anew that do not meet their bug any more");
    corpus->add_option("--budget", cases.runs_max, "Runs at most for shrinking each")->capture_default_str();
    trace = app.add_subcommand("trace", "Draw a run as a page");
    trace->add_option("target", target, "A token or a file")->required();
    trace->add_option("--html", html, "Where the page goes")->required();
    declare_mutants(app);
    // Every run does one forbidden thing, and must end for it: tests of the guards.
    const std::map<std::string, SelfTest> trips{{"clock", SelfTest::clock}, {"cpu", SelfTest::cpu}};
    app.add_option("--self-test-trip", trip, "Do what a simulated run must not do")
        ->transform(CLI::CheckedTransformer(trips))
        ->group("");
  }

  void declare_runs(CLI::App& app) {
    run = app.add_subcommand("run", "Run a scenario once");
    run->add_option("--scenario", one.scenario, "Which one")->capture_default_str();
    run->add_option("--seed", one.seed, "Gives the whole run")->capture_default_str();
    run->add_option("--crash-at,--crash-after", one.crash_at,
                    "Crash a node after this step, too (disk: at this operation)");
    run->add_option("--node", node, "Which one crashes (stories)")->check(CLI::PositiveNumber);
    run->add_flag("--sparse", one.sparse_log, "A log with gaps between its offsets (lifecycle, stories)");
    run->add_flag("--trace", one.print_trace, "Print what happens");
    sweep = app.add_subcommand("sweep", "Run a scenario once for every place of a crash");
    sweep->add_option("scenario", one.scenario, "Which one")->capture_default_str();
    sweep->add_option("--seed", one.seed, "Gives every run")->capture_default_str();
    sweep->add_option("--stride", stride, "Only every N-th place")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    diff = app.add_subcommand("diff", "Run twice, the second time on a perturbed heap, and compare");
    diff->add_option("--scenario", one.scenario, "Which one")->capture_default_str();
    diff->add_option("--seed", one.seed, "Gives both runs")->capture_default_str();
    for (CLI::App* each : {run, sweep, diff}) {
      each->add_option("--death", one.process_dies, "What a crash is (disk): power, process")
          ->transform(
              CLI::CheckedTransformer(std::map<std::string, bool>{{"power", false}, {"process", true}}));
      each->add_option("--faults", one.faults, "Of the disk: none, syncs (that fail), all")
          ->check(CLI::IsMember({"none", "syncs", "all"}));
    }
  }
};

int soak(Arguments& asked) {
  if (!read_seeds(asked.seeds, asked.soak))
    return refuse("--seeds: expected FIRST..LAST, for example 1..2000");
  varve::sim::SoakOptions& soak = asked.soak;
  if (asked.minutes > 0) soak.seconds_max = asked.minutes * 60;
  if (::isatty(STDERR_FILENO) == 1) soak.progress = true;
  soak.check_sometimes = !asked.no_sometimes && asked.soaked == "swarm";
  soak.plan = [scenario = asked.soaked](std::uint64_t seed) {
    ScenarioRun run;
    run.scenario = scenario;
    run.seed = seed;
    if (scenario == "disk") run.faults = "all";
    return run;
  };
  soak.run = [trip = asked.trip](const ScenarioRun& run) { return varve::sim::armed_run(run, trip); };
  return varve::sim::soak(soak);
}

int carry_out(Arguments& asked) {
  if (*asked.hunts) return varve::sim::mutants(asked.mutants);
  if (*asked.shrinks) {
    // A case fails with its bug.
    const auto target = varve::sim::read_target(asked.shrink.target);
    if (target && asked.mutant.empty()) asked.mutant = target->mutant;
    asked.shrink.mutant = asked.mutant;
  }
  const auto* wrong = varve::sim::find_mutant(asked.mutant);
  if (!asked.mutant.empty() && wrong == nullptr) return refuse("there is no mutant '" + asked.mutant + "'");
  const varve::sim::SwitchedOn switched(wrong == nullptr ? varve::Mutant::none : wrong->mutant);
  for (const std::string& scenario : {asked.one.scenario, asked.soaked}) {
    if (varve::sim::is_scenario(scenario)) continue;
    std::string all;
    for (const std::string& known : varve::sim::scenarios()) all += (all.empty() ? "" : ", ") + known;
    return refuse("there is no scenario '" + scenario + "'; there are: " + all);
  }
  if (const std::size_t nodes = varve::sim::nodes_of(asked.one.scenario); asked.node > nodes) {
    return refuse("--node: '" + asked.one.scenario + "' has " + std::to_string(nodes) +
                  (nodes == 1 ? " node" : " nodes"));
  }
  asked.one.node = asked.node - 1;
  if (*asked.soaks) return soak(asked);
  if (*asked.repro) return varve::sim::repro_command(asked.target, asked.quiet, asked.trip);
  if (*asked.shrinks) return varve::sim::shrink_command(asked.shrink, asked.trip);
  if (*asked.corpus) return varve::sim::corpus_command(asked.cases, asked.trip);
  if (*asked.trace) return varve::sim::trace_command(asked.target, asked.html, asked.trip);
  if (*asked.run) return varve::sim::run_command(asked.one, asked.trip);
  if (*asked.diff) return varve::sim::diff_command(asked.one, asked.trip);
  if (!varve::sim::can_be_swept(asked.one.scenario))
    return refuse("a sweep needs a short scenario with work: every one but swarm and idle");
  return varve::sim::sweep_command(asked.one, asked.stride, asked.trip);
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
  varve::sim::configure_sqlite_for_simulation();
  return carry_out(asked);
}
