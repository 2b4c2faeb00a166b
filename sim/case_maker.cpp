#include "sim/case_maker.h"

// lint: allow(files) Of the command line, outside of every run.
#include <fstream>
#include <iostream>

#include "sim/child.h"

namespace varve::sim {
namespace {

// A candidate may take longer than the run that failed, but not for ever.
constexpr std::uint64_t kLongerMax = 4;
constexpr std::uint64_t kStepsMore = 10'000;

class Progress {
 public:
  void operator()(const Shrunk& so_far) {
    if (so_far.after.decisions * 4 > shown_ * 3 && shown_ > 0) return;
    shown_ = so_far.after.decisions;
    std::cout << "  run " << so_far.runs << ": " << describe(so_far.after) << std::endl;
  }

 private:
  std::uint64_t shown_ = 0;
};

}  // namespace

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

std::optional<SmallCase> smallest_of(const ScenarioRun& run, const Broken& first, std::uint64_t runs_max,
                                     SelfTest trip) {
  ScenarioRun candidate = run;
  candidate.steps_max = first.steps * kLongerMax + kStepsMore;
  const StillFails fails = [&](const Tape& tape) -> std::optional<Tape> {
    candidate.tape = tape;
    auto found = broken_by(candidate, trip);
    if (!found || found->one.invariant != first.one.invariant) return std::nullopt;
    return std::move(found->one.run.tape);
  };
  CHECK(first.one.run.tape.has_value());
  const Shrunk shrunk = shrink(*first.one.run.tape, runs_max, fails, Progress{});

  // The case is what is found when the file is replayed.
  ScenarioRun last = run;
  last.tape = shrunk.tape;
  auto found = broken_by(last, trip);
  if (!found || found->one.invariant != first.one.invariant) return std::nullopt;
  return SmallCase{std::move(*found), shrunk};
}

std::string describe(const TapeSize& size) {
  return std::to_string(size.decisions) + " decisions that are not 0, of " + std::to_string(size.length);
}

Status write_case(const FailureCase& one, const std::string& path) {
  // lint: allow(files) The command line writes what it was asked for, between runs.
  std::ofstream file(path, std::ios::trunc);
  file << one.encode();
  file.close();
  if (!file) return Error{Errc::unavailable, "cannot write '" + path + "'"};
  return ok();
}

}  // namespace varve::sim
