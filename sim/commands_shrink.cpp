// The commands that make cases and rerun them: shrink and corpus.
#include <algorithm>
#include <chrono>
// lint: allow(files) Of the command line, outside of every run.
#include <filesystem>
// lint: allow(files) Of the command line, outside of every run.
#include <fstream>
#include <iostream>

#include "sim/child.h"
#include "sim/commands.h"
#include "sim/shrink.h"

namespace varve::sim {
namespace {

// lint: allow(clock) How long shrinking took is wall time; no simulated run sees it.
using Wall = std::chrono::steady_clock;

// A candidate may take longer than the run that failed, but not for ever.
constexpr std::uint64_t kLongerMax = 4;
constexpr std::uint64_t kStepsMore = 10'000;

struct Broken {
  FailureCase one;
  std::uint64_t steps = 0;
};

// What a run in a child has broken. A child that died has broken "Died-<signal>".
std::optional<Broken> broken_by(ScenarioRun run, SelfTest trip) {
  run.record = true;
  const ChildEnd end = in_child(
      [&run, trip]() -> std::string {
        const ScenarioResult result = armed_run(run, trip);
        if (result.violations.empty()) return "";
        FailureCase one;
        one.run = run;
        one.run.tape = result.tape;
        one.invariant = result.violations.front().invariant;
        one.what = result.violations.front().what;
        one.config = result.config;
        return std::to_string(result.steps) + "\n" + one.encode();
      },
      true);
  if (end.ended && end.said.empty()) return std::nullopt;
  Broken broken;
  if (end.ended) {
    const std::size_t line = end.said.find('\n');
    auto one = FailureCase::decode(std::string_view(end.said).substr(line + 1));
    CHECK(one.has_value());
    broken.one = std::move(*one);
    broken.steps = std::stoull(end.said.substr(0, line));
    return broken;
  }
  broken.one.run = std::move(run);
  broken.one.invariant = "Died-" + std::to_string(end.signal);
  broken.one.what = "the process was killed by signal " + std::to_string(end.signal);
  return broken;
}

void print_size(const char* what, const TapeSize& size) {
  std::cout << what << size.decisions << " decisions that are not 0, of " << size.length;
}

class Progress {
 public:
  void operator()(const Shrunk& so_far) {
    if (so_far.after.decisions * 4 > shown_ * 3 && shown_ > 0) return;
    shown_ = so_far.after.decisions;
    std::cout << "  run " << so_far.runs << ": ";
    print_size("", so_far.after);
    std::cout << std::endl;
  }

 private:
  std::uint64_t shown_ = 0;
};

int write_case(const FailureCase& one, const std::string& path) {
  // lint: allow(files) The command line writes what it was asked for, after all runs.
  std::ofstream file(path, std::ios::trunc);
  file << one.encode();
  file.close();
  if (!file) return refuse("cannot write '" + path + "'");
  std::cout << "written to " << path << "\n  repro: varve-sim repro " << path << "\n";
  return 0;
}

}  // namespace

int shrink_command(const ShrinkCommand& asked, SelfTest trip) {
  auto target = read_target(asked.target);
  if (!target) return refuse(target.error().message);
  const auto begin = Wall::now();
  const auto first = broken_by(target->run, trip);
  if (!first) return refuse(asked.target + " passes with every oracle: there is nothing to shrink");
  if (!first->one.run.tape)
    return refuse(asked.target + " kills its process: it can be replayed, not shrunk");
  std::cout << first->one.config << "\nFAIL " << first->one.invariant << " " << first->one.what << "\n";
  print_size("", size_of(*first->one.run.tape));
  std::cout << std::endl;

  ScenarioRun candidate = target->run;
  candidate.steps_max = first->steps * kLongerMax + kStepsMore;
  const StillFails fails = [&](const Tape& tape) -> std::optional<Tape> {
    candidate.tape = tape;
    auto found = broken_by(candidate, trip);
    if (!found || found->one.invariant != first->one.invariant) return std::nullopt;
    return std::move(found->one.run.tape);
  };
  const Shrunk shrunk = shrink(*first->one.run.tape, asked.runs_max, fails, Progress{});

  // The case is what is found when the file is replayed.
  ScenarioRun last = target->run;
  last.tape = shrunk.tape;
  auto found = broken_by(last, trip);
  if (!found || found->one.invariant != first->one.invariant) {
    std::cout << "the shrunk run does not fail any more: something is not deterministic (varve-sim diff)\n";
    return 3;
  }
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(Wall::now() - begin).count();
  std::cout << shrunk.before.decisions << " -> " << shrunk.after.decisions << " decisions, " << first->steps
            << " -> " << found->steps << " steps, " << shrunk.runs << " runs in " << passed << " ms"
            << (shrunk.finished ? "" : ", budget spent") << "\n"
            << found->one.config << "\nFAIL " << found->one.invariant << " " << found->one.what << "\n";
  found->one.notes = target->notes;
  const std::string path =
      asked.out.empty() ? target->run.scenario + "-" + std::to_string(target->run.seed) + ".case" : asked.out;
  return write_case(found->one, path);
}

int corpus_command(const std::vector<std::string>& paths, SelfTest trip) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    // lint: allow(files) The command line looks for what it was given, before any run.
    if (!std::filesystem::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    // lint: allow(files) See above.
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.path().extension() == ".case") files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) return refuse("there are no cases");
  std::size_t failed = 0;
  for (const std::string& file : files) {
    const auto one = read_target(file);
    if (!one) return refuse(one.error().message);
    const auto found = broken_by(one->run, trip);
    std::cout << (found ? "FAIL " : "ok   ") << file << ": once " << one->invariant;
    if (found) std::cout << ", now " << found->one.invariant << " " << found->one.what;
    std::cout << std::endl;
    if (found) ++failed;
  }
  std::cout << files.size() << " cases, " << failed << " failed\n";
  return failed == 0 ? 0 : 1;
}

}  // namespace varve::sim
