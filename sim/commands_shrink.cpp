// The command that makes a case of a run that fails.
#include <chrono>
#include <iostream>

#include "sim/case_maker.h"
#include "sim/commands.h"

namespace varve::sim {
namespace {

// lint: allow(clock) How long shrinking took is wall time; no simulated run sees it.
using Wall = std::chrono::steady_clock;

}  // namespace

int shrink_command(const ShrinkCommand& asked, SelfTest trip) {
  auto target = read_target(asked.target);
  if (!target) return refuse(target.error().message);
  const auto begin = Wall::now();
  const auto first = broken_by(target->run, trip);
  if (!first) return refuse(asked.target + " passes with every oracle: there is nothing to shrink");
  if (!first->one.run.tape)
    return refuse(asked.target + " kills its process: it can be replayed, not shrunk");
  std::cout << first->one.config << "\nFAIL " << first->one.invariant << " " << first->one.what << "\n"
            << describe(size_of(*first->one.run.tape)) << std::endl;
  auto small = smallest_of(target->run, *first, asked.runs_max, trip);
  if (!small) {
    std::cout << "the shrunk run does not fail any more: something is not deterministic (varve-sim diff)\n";
    return 3;
  }
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(Wall::now() - begin).count();
  FailureCase& one = small->broken.one;
  std::cout << small->shrunk.before.decisions << " -> " << small->shrunk.after.decisions << " decisions, "
            << first->steps << " -> " << small->broken.steps << " steps, " << small->shrunk.runs
            << " runs in " << passed << " ms" << (small->shrunk.finished ? "" : ", budget spent") << "\n"
            << one.config << "\nFAIL " << one.invariant << " " << one.what << "\n";
  one.notes = target->notes;
  one.mutant = asked.mutant;
  const std::string path =
      asked.out.empty() ? target->run.scenario + "-" + std::to_string(target->run.seed) + ".case" : asked.out;
  if (Status written = write_case(one, path); !written) return refuse(written.error().message);
  std::cout << "written to " << path << "\n  repro: varve-sim repro " << path
            << (asked.mutant.empty() ? "" : " --mutant " + asked.mutant) << "\n";
  return 0;
}

}  // namespace varve::sim
