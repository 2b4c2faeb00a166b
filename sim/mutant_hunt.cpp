#include "sim/mutant_hunt.h"

#include <fcntl.h>  // lint: allow(files) For /dev/null, before a run begins.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <optional>
#include <sstream>

#include "eventlog/sqlite_support.h"
#include "runtime/rng.h"
#include "sim/disk_lifecycle.h"
#include "sim/disk_swarm.h"
#include "sim/jail.h"
#include "sim/mutants.h"
#include "sim/perturbed_heap.h"
#include "sim/scenario.h"
#include "sim/swarm.h"
#include "sim/sweep.h"
#include "sim/tripwire.h"

namespace varve::sim {
namespace {

// lint: allow(clock) How long a worker may be silent is wall time; no simulated run sees it.
using Wall = std::chrono::steady_clock;
constexpr std::chrono::seconds kSilenceMax{300};
// Of runs in which nothing is wrong.
constexpr MutantInfo kControl{Mutant::none, "(none)", "nothing is wrong", Hunt::swarm, 5, true};

// ---- what finds a bug, or not ----

std::optional<Violation> first_of(const std::vector<Violation>& violations) {
  if (violations.empty()) return std::nullopt;
  return violations.front();
}

SwarmResult run_seed(std::uint64_t seed) {
  SwarmRun run;
  run.seed = seed;
  const Tripwire::Armed armed;
  return run_swarm(run);
}

std::optional<Violation> compare_heaps(std::uint64_t seed) {
  const SwarmResult once = run_seed(seed);
  perturb_heap(seed * 2 + 1);
  const SwarmResult again = run_seed(seed);
  perturb_heap(0);
  if (once.trace_hash != again.trace_hash)
    return Violation{"Determinism", "another heap gives another trace"};
  return first_of(once.violations);
}

// The first of the sentences in which a story and its oracles tell what is wrong.
std::optional<Violation> first_of(const std::vector<std::string>& failures) {
  if (failures.empty()) return std::nullopt;
  const std::string& what = failures.front();
  for (const char* name : {"NoLateEffect", "AgreePair", "OneWriter", "DecidedOn"}) {
    if (what.find(std::string(name) + ":") != std::string::npos) return Violation{name, what};
  }
  return violation_of(what);
}

std::optional<Violation> crash_story(const char* name, std::uint64_t seed) {
  const auto kind = find_story(name);
  StoryRun run;
  run.seed = 1 + seed % 7;
  run.node = seed % kind->machines();
  const StoryResult calm = run_story(*kind, run);
  if (const auto found = first_of(calm.failures)) return found;
  Rng rng(seed);
  run.crash_after_step = 1 + rng.below(calm.story_steps);
  return first_of(run_story(*kind, run).failures);
}

std::optional<Violation> run_disk(const DiskRunOptions& options) {
  return first_of(run_disk_lifecycle(options).failures);
}

std::optional<Violation> crash_disk(std::uint64_t seed, DiskTale tale) {
  DiskRunOptions options;
  options.tale = tale;
  options.seed = 1 + seed % 7;
  const DiskRunResult calm = run_disk_lifecycle(options);
  if (const auto found = first_of(calm.failures)) return found;
  const std::uint64_t operations = calm.operations;
  Rng rng(seed);
  options.crash_at_operation = 1 + rng.below(operations + 1);
  return run_disk(options);
}

std::optional<Violation> harm_disk(std::uint64_t seed, bool everything) {
  DiskRunOptions options;
  options.seed = seed;
  options.nemesis = true;
  options.faults.sync_error_ppm = everything ? 20'000 : 10'000;
  if (everything) {
    options.full_disk = seed % 3 == 0;
    options.faults.read_error_ppm = options.faults.short_read_ppm = options.faults.write_error_ppm = 3000;
    options.faults.garbage_ppm = 300'000;
  }
  return run_disk(options);
}

// ---- rot ----

// Every bit of a record is under its checksum: whoever reads the log is told.
std::string turn_a_bit(DiskStage& stage, const MemoryLogStorage& whole, Rng& rng) {
  const Partition partition{static_cast<std::uint32_t>(rng.below(whole.partitions()))};
  const auto& records = whole.records(partition);
  if (records.empty()) return "";
  const std::string& bytes = *records[rng.below(records.size())].bytes;
  const std::string path = DiskNode::log_path();
  const std::size_t place = stage.disk().content(path).find(bytes);
  if (place == std::string::npos) return "";  // It lies on several pages.
  const std::size_t at = place + rng.below(bytes.size());
  const auto bits = static_cast<unsigned char>(1U << rng.below(8));
  stage.disk().rot(path, at, bits);
  const auto log = stage.node().read_log();
  stage.disk().rot(path, at, bits);
  if (log) return "I1: a bit of a record turned over, and the log is read";
  const bool named = log.error().message.find("record ") != std::string::npos;
  return named ? ""
               : "I1: a bit of a record turned over, and the record is not named: " + log.error().message;
}

// As after a write that went astray: two records of a partition change places.
std::string exchange_records(DiskStage& stage, const MemoryLogStorage& whole, Rng& rng) {
  for (std::uint32_t i = 0; i < whole.partitions(); ++i) {
    const auto count = whole.records(Partition{i}).size();
    if (count < 2) continue;
    const std::uint64_t one = rng.below(count - 1);
    const std::string table = "records_" + std::to_string(i);
    const auto move = [&table](std::uint64_t from, const std::string& to) {
      return "UPDATE " + table + " SET offset = " + to + " WHERE offset = " + std::to_string(from) + ";";
    };
    auto db = sqlite::Database::open(DiskNode::log_path(), sqlite::Access::read_write);
    if (!db) return "";
    const Status moved = db->exec(move(one, "1000000") + move(one + 1, std::to_string(one)) +
                                  move(1'000'000, std::to_string(one + 1)));
    if (!moved) return "";
    return stage.node().read_log() ? "I1: two records changed places, and the log is read" : "";
  }
  return "";
}

std::optional<Violation> rot_disk(std::uint64_t seed) {
  DiskRunOptions options;
  options.seed = 1 + seed % 7;
  options.at_the_end = [seed](DiskStage& stage) -> std::string {
    stage.node().stop();
    const auto whole = stage.node().read_log();
    if (!whole) return "the log cannot be read: " + whole.error().message;
    Rng rng(seed);
    for (int i = 0; i < 10; ++i) {
      if (std::string found = turn_a_bit(stage, **whole, rng); !found.empty()) return found;
    }
    return exchange_records(stage, **whole, rng);
  };
  return run_disk(options);
}

std::optional<Violation> hunt_once(Hunt hunt, std::uint64_t seed) {
  switch (hunt) {
    case Hunt::swarm:
      return first_of(run_seed(seed).violations);
    case Hunt::diff:
      return compare_heaps(seed);
    case Hunt::quarantine:
      return crash_story("quarantine", seed);
    case Hunt::move:
      return crash_story("move", seed);
    case Hunt::teleport:
      return crash_story("teleport", seed);
    case Hunt::disk_swarm:
      return first_of(run_seed(disk_seed(seed)).violations);
    case Hunt::disk_crash:
      return crash_disk(seed, DiskTale::lifecycle);
    case Hunt::rebuild:
      return crash_disk(seed, DiskTale::rebuild);
    case Hunt::disk_faults:
      return harm_disk(seed, true);
    case Hunt::disk_syncs:
      return harm_disk(seed, false);
    case Hunt::disk_rot:
      return rot_disk(seed);
  }
  return std::nullopt;
}

// ---- the worker ----

void say(int fd, const std::string& line) {
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t count = ::write(fd, line.data() + sent, line.size() - sent);
    if (count <= 0) ::_exit(4);
    sent += static_cast<std::size_t>(count);
  }
}

[[noreturn]] void work(int fd, const MutantInfo& info, std::uint64_t first) {
  // A bug may end the process; what it says then is not what the table is about.
  // lint: allow(files) No simulated run has begun.
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere >= 0) ::dup2(nowhere, STDERR_FILENO);
  if (jail_available()) enter_jail();
  for (std::uint64_t seed = first; seed < first + info.budget; ++seed) {
    say(fd, "seed " + std::to_string(seed) + "\n");
    std::optional<Violation> found;
    {
      const SwitchedOn wrong(info.mutant);
      found = hunt_once(info.hunt, seed);
    }
    if (!found) continue;
    std::replace(found->what.begin(), found->what.end(), '\n', ' ');
    say(fd, "found " + found->invariant + " " + found->what + "\n");
    break;
  }
  say(fd, "end\n");
  ::_exit(0);
}

// ---- the hunts, several at once ----

struct Quarry {
  MutantInfo info;
  std::uint64_t first = 1;
  // Of the worker:
  pid_t pid = 0;
  int fd = -1;
  std::string rest;  // Of a line that is not complete.
  Wall::time_point heard;
  std::uint64_t seed = 0;
  bool ended = false;
  // What came of it:
  std::optional<Violation> found;

  std::uint64_t seeds() const { return seed - first + 1; }
};

void take_line(const std::string& line, Quarry& quarry) {
  std::istringstream in(line);
  std::string word;
  in >> word;
  if (word == "seed") in >> quarry.seed;
  if (word == "end") quarry.ended = true;
  if (word != "found") return;
  Violation violation;
  in >> violation.invariant;
  std::getline(in >> std::ws, violation.what);
  quarry.found = std::move(violation);
}

bool start(Quarry& quarry) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return false;
  const pid_t pid = ::fork();
  if (pid < 0) return false;
  if (pid == 0) {
    ::close(ends[0]);
    work(ends[1], quarry.info, quarry.first);
  }
  ::close(ends[1]);
  quarry.pid = pid;
  quarry.fd = ends[0];
  quarry.heard = Wall::now();
  return true;
}

// False: it has nothing more to say.
bool listen(Quarry& quarry) {
  std::array<char, 4096> buffer{};
  const ssize_t count = ::read(quarry.fd, buffer.data(), buffer.size());
  if (count <= 0) return false;
  quarry.heard = Wall::now();
  quarry.rest.append(buffer.data(), static_cast<std::size_t>(count));
  for (std::size_t end = quarry.rest.find('\n'); end != std::string::npos; end = quarry.rest.find('\n')) {
    take_line(quarry.rest.substr(0, end), quarry);
    quarry.rest.erase(0, end + 1);
  }
  return true;
}

void finish(Quarry& quarry, bool hangs) {
  if (hangs) ::kill(quarry.pid, SIGKILL);
  ::close(quarry.fd);
  int status = 0;
  ::waitpid(quarry.pid, &status, 0);
  if (hangs)
    quarry.found = Violation{"Hangs", "no step ended within " + std::to_string(kSilenceMax.count()) + " s"};
  // A CHECK, or what the jail, a sanitizer or the machine refuses.
  if (!quarry.ended && !quarry.found) {
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    quarry.found = Violation{"Dies", "the process ended by signal " + std::to_string(signal)};
  }
  quarry.pid = 0;
}

// Waits until one of them says something, or has been silent for too long.
void attend(std::vector<Quarry*>& running) {
  std::vector<pollfd> ears;
  for (const Quarry* quarry : running) ears.push_back({quarry->fd, POLLIN, 0});
  ::poll(ears.data(), ears.size(), 1000);
  for (std::size_t i = 0; i < ears.size(); ++i) {
    const bool speaks = ears[i].revents != 0;
    const bool hangs = !speaks && Wall::now() - running[i]->heard > kSilenceMax;
    if (!hangs && (!speaks || listen(*running[i]))) continue;
    finish(*running[i], hangs);
    running[i] = nullptr;
  }
  std::erase(running, nullptr);
}

bool hunt_all(std::vector<Quarry>& all, unsigned jobs) {
  std::vector<Quarry*> running;
  std::size_t next = 0;
  std::cout.flush();
  while (next < all.size() || !running.empty()) {
    while (next < all.size() && running.size() < jobs) {
      if (!start(all[next])) return false;
      running.push_back(&all[next++]);
    }
    attend(running);
  }
  return true;
}

// ---- the table ----

std::string seeds_text(const Quarry& quarry) {
  return quarry.found ? std::to_string(quarry.seeds()) : ">" + std::to_string(quarry.info.budget);
}

// All rounds of one mutant. False: not as it should be.
bool print_row(const std::vector<const Quarry*>& rounds) {
  const MutantInfo& info = rounds.front()->info;
  std::vector<std::uint64_t> seeds;
  std::string invariants;
  std::string each;
  bool right = true;
  for (const Quarry* round : rounds) {
    const bool wanted = info.mutant != Mutant::none;
    right = right && round->found.has_value() == wanted;
    seeds.push_back(round->found ? round->seeds() : info.budget + 1);
    each += (each.empty() ? "" : " ") + seeds_text(*round);
    if (!round->found) continue;
    if (invariants.find(round->found->invariant) != std::string::npos) continue;
    invariants += (invariants.empty() ? "" : ", ") + round->found->invariant;
  }
  std::sort(seeds.begin(), seeds.end());
  const std::uint64_t median = seeds[seeds.size() / 2];
  const auto flags = std::cout.flags();
  std::cout << (right ? "  " : "! ") << std::left << std::setw(30) << info.id << std::setw(14)
            << to_string(info.hunt) << std::setw(24) << (invariants.empty() ? "-" : invariants) << std::right
            << std::setw(5)
            << (median > info.budget ? ">" + std::to_string(info.budget) : std::to_string(median)) << " of "
            << std::setw(3) << info.budget;
  std::cout.flags(flags);
  if (rounds.size() > 1) std::cout << "  (" << each << ")";
  if (rounds.size() == 1 && rounds.front()->found)
    std::cout << "  " << rounds.front()->found->what.substr(0, 100);
  std::cout << std::endl;
  return right;
}

int print_list() {
  for (const MutantInfo& info : all_mutants()) {
    std::cout << std::left << std::setw(30) << info.id << std::setw(14) << to_string(info.hunt) << info.wrong
              << (info.fast ? " (fast)" : "") << "\n";
  }
  return 0;
}

}  // namespace

int mutants(const MutantsOptions& options) {
  if (options.list) return print_list();
  std::vector<MutantInfo> chosen;
  for (const std::string& id : options.only) {
    const MutantInfo* info = find_mutant(id);
    if (info == nullptr) {
      std::cerr << "varve-sim: there is no mutant '" << id << "'; varve-sim mutants --list names them\n";
      return 2;
    }
    chosen.push_back(*info);
  }
  if (options.only.empty()) {
    chosen.push_back(kControl);
    for (const MutantInfo& info : all_mutants()) {
      if (info.fast || !options.fast) chosen.push_back(info);
    }
  }
  const unsigned rounds = std::max(options.rounds, 1U);
  std::vector<Quarry> all;
  for (const MutantInfo& info : chosen) {
    for (unsigned round = 0; round < rounds; ++round) {
      Quarry quarry;
      quarry.info = info;
      quarry.first = options.first + round * info.budget;
      all.push_back(std::move(quarry));
    }
  }
  const auto begin = Wall::now();
  if (!hunt_all(all, std::max(options.jobs, 1U))) return 3;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < all.size(); i += rounds) {
    std::vector<const Quarry*> row;
    for (std::size_t round = 0; round < rounds; ++round) row.push_back(&all[i + round]);
    if (!print_row(row)) ++wrong;
  }
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(Wall::now() - begin).count();
  std::cout << chosen.size() << " mutants, " << wrong << " not as they should be, " << seconds << " s\n";
  return wrong == 0 ? 0 : 1;
}

}  // namespace varve::sim
