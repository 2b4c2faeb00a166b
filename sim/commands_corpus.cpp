// The command that checks cases: each must pass, and fail with its seeded bug switched on. A case that passes
// with it, too, has gone stale: the code has changed, and its decisions meet other moments. With --renew such
// a case is made anew, from another seed if need be.
#include <algorithm>
// lint: allow(files) Of the command line, outside of every run.
#include <filesystem>
#include <iostream>

#include "sim/case_maker.h"
#include "sim/commands.h"
#include "sim/mutants.h"

namespace varve::sim {
namespace {

// How long a new failure is looked for: so often the bug's own budget, and at least so many runs.
constexpr std::uint64_t kBudgets = 4;
constexpr std::uint64_t kRunsMin = 400;

Result<std::vector<std::string>> cases_in(const std::vector<std::string>& paths) {
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
  if (files.empty()) return Error{Errc::not_found, "there are no cases"};
  std::sort(files.begin(), files.end());
  return files;
}

std::optional<Broken> broken_with(const MutantInfo& bug, const ScenarioRun& run, SelfTest trip) {
  const SwitchedOn wrong(bug.mutant);
  return broken_by(run, trip);
}

enum class Verdict : unsigned char { good, fails, stale };

Verdict judge(const FailureCase& one, const std::string& file, SelfTest trip) {
  if (const auto found = broken_by(one.run, trip)) {
    std::cout << "FAIL  " << file << ": once " << one.invariant << ", now " << found->one.invariant << " "
              << found->one.what << std::endl;
    return Verdict::fails;
  }
  if (one.mutant.empty()) {
    std::cout << "STALE " << file << ": it names no seeded bug, so nobody knows whether it still meets what "
              << "it was made for" << std::endl;
    return Verdict::stale;
  }
  const auto found = broken_with(*find_mutant(one.mutant), one.run, trip);
  if (!found) {
    std::cout << "STALE " << file << ": it passes with '" << one.mutant << "' switched on, too" << std::endl;
    return Verdict::stale;
  }
  std::cout << "ok    " << file << ": with '" << one.mutant << "' it breaks " << found->one.invariant
            << std::endl;
  return Verdict::good;
}

// The runs among which a new failure is looked for: other seeds, or every place of a crash in a story.
class Search {
 public:
  Search(const FailureCase& one, const MutantInfo& bug, SelfTest trip)
      : base_(one.run), runs_max_(std::max(kRunsMin, bug.budget * kBudgets)) {
    base_.tape.reset();
    by_seed_ = base_.scenario == "swarm" || base_.faults != "none";
    if (by_seed_) return;
    base_.crash_at = 0;
    base_.node = 0;
    const ScenarioResult calm = armed_run(base_, trip);
    places_ = calm.crash_places;
    nodes_ = calm.crash_nodes;
    runs_max_ = 1 + places_ * nodes_;
  }
  std::optional<ScenarioRun> next() {
    if (done_ == runs_max_) return std::nullopt;
    const std::uint64_t number = done_++;
    ScenarioRun run = base_;
    if (number == 0) return run;
    if (by_seed_) {
      run.seed = number;
    } else {
      run.node = (number - 1) / places_;
      run.crash_at = 1 + (number - 1) % places_;
    }
    return run;
  }

 private:
  ScenarioRun base_;
  std::uint64_t runs_max_;
  std::uint64_t done_ = 0;
  bool by_seed_ = false;
  std::uint64_t places_ = 0;
  std::uint64_t nodes_ = 1;
};

// A run that fails with the bug and not without, best one that breaks the invariant of the case.
std::optional<Broken> find_failure(const FailureCase& one, const MutantInfo& bug, SelfTest trip) {
  std::optional<Broken> other;
  Search search(one, bug, trip);
  for (auto run = search.next(); run; run = search.next()) {
    auto found = broken_with(bug, *run, trip);
    if (!found || !found->one.run.tape || broken_by(*run, trip)) continue;
    if (found->one.invariant == one.invariant || one.invariant == "any") return found;
    if (!other) other = std::move(found);
  }
  return other;
}

// False: no failure was found, or it cannot be kept.
bool renew(const FailureCase& one, const std::string& file, const CorpusCommand& asked, SelfTest trip) {
  const MutantInfo* bug = one.mutant.empty() ? nullptr : find_mutant(one.mutant);
  if (bug == nullptr) {
    std::cout << "      it cannot be made anew: add a line 'mutant NAME' (varve-sim mutants --list)\n";
    return false;
  }
  std::cout << "      looking for a run that fails with '" << one.mutant << "'" << std::endl;
  auto first = find_failure(one, *bug, trip);
  if (!first) {
    std::cout << "      none was found: does the simulation still find this bug (varve-sim mutants --only "
              << one.mutant << ")?\n";
    return false;
  }
  ScenarioRun run = first->one.run;
  run.tape.reset();
  std::optional<SmallCase> small;
  {
    const SwitchedOn wrong(bug->mutant);
    small = smallest_of(run, *first, asked.runs_max, trip);
  }
  if (!small) {
    std::cout << "      the shrunk run does not fail any more: something is not deterministic\n";
    return false;
  }
  FailureCase& made = small->broken.one;
  made.notes = one.notes;
  made.mutant = one.mutant;
  if (const auto real = broken_by(made.run, trip)) {
    std::cout << "      what is left fails without the bug, too: " << real->one.invariant << " "
              << real->one.what << "\n";
    return false;
  }
  if (Status written = write_case(made, file); !written) {
    std::cout << "      " << written.error().message << "\n";
    return false;
  }
  std::cout << "      written: " << arguments_of(made.run) << ", " << made.invariant << ", "
            << small->shrunk.before.decisions << " -> " << small->shrunk.after.decisions << " decisions in "
            << small->shrunk.runs << " runs" << std::endl;
  return true;
}

}  // namespace

int corpus_command(const CorpusCommand& asked, SelfTest trip) {
  const auto files = cases_in(asked.paths);
  if (!files) return refuse(files.error().message);
  std::size_t failed = 0;
  std::size_t stale = 0;
  for (const std::string& file : *files) {
    const auto one = read_target(file);
    if (!one) return refuse(one.error().message);
    const Verdict verdict = judge(*one, file, trip);
    if (verdict == Verdict::fails) ++failed;
    if (verdict == Verdict::stale && !(asked.renew && renew(*one, file, asked, trip))) ++stale;
  }
  std::cout << files->size() << " cases, " << failed << " failed, " << stale << " stale\n";
  if (stale > 0 && !asked.renew) {
    std::cout << "Stale cases are no proof any more. Make them anew, look at them, commit them:\n"
              << "  varve-sim corpus --renew";
    for (const std::string& path : asked.paths) std::cout << " " << path;
    std::cout << "\n";
  }
  return failed + stale == 0 ? 0 : 1;
}

}  // namespace varve::sim
