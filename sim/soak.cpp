#include "sim/soak.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "sim/jail.h"
#include "sim/swarm.h"
#include "sim/tripwire.h"

namespace varve::sim {
namespace {

// lint: allow(clock) How long a soak may take is wall time; no simulated run sees it.
using Wall = std::chrono::steady_clock;

struct Sums {
  std::uint64_t runs = 0;
  std::uint64_t failed = 0;
  std::uint64_t steps = 0;
  std::uint64_t simulated_ms = 0;
  std::uint64_t operations = 0;
  std::uint64_t answered = 0;
  std::map<std::string, std::uint64_t> counters;
};

// What a worker tells of one seed, in lines: the pipe's other end adds them up.
std::string report_of(const SwarmResult& result) {
  std::ostringstream out;
  out << "run " << result.steps << " " << result.simulated_ms << " " << result.operations << " "
      << result.answered << "\n";
  for (const auto& [name, count] : result.counters) out << "count " << name << " " << count << "\n";
  if (!result.violations.empty()) {
    const Violation& first = result.violations.front();
    std::string what = first.what;
    for (char& letter : what) {
      if (letter == '\n') letter = ' ';
    }
    out << "fail " << result.token << " " << first.invariant << " " << what << "\n";
  }
  return out.str();
}

bool write_all(int fd, const std::string& text) {
  std::size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t count = ::write(fd, text.data() + sent, text.size() - sent);
    if (count <= 0) return false;
    sent += static_cast<std::size_t>(count);
  }
  return true;
}

[[noreturn]] void work(int fd, const SoakOptions& options, unsigned job, Wall::time_point until) {
  // From here on the worker can compute and write, and nothing else. With a limit of time it needs a clock.
  const bool timed = options.minutes_max > 0;
  if (!timed && jail_available()) enter_jail();
  for (std::uint64_t seed = options.first + job; seed <= options.last; seed += options.jobs) {
    if (timed && Wall::now() >= until) break;
    if (!write_all(fd, "seed " + std::to_string(seed) + "\n")) break;
    SwarmRun run;
    run.seed = seed;
    SwarmResult result;
    {
      const Tripwire::Armed armed;
      result = run_swarm(run);
    }
    if (!write_all(fd, report_of(result))) break;
  }
  write_all(fd, "end\n");
  ::_exit(0);
}

struct Worker {
  pid_t pid = 0;
  int fd = -1;
  std::string rest;  // Of a line that is not complete.
  std::string seed;
  bool ended = false;
};

void take_line(const std::string& line, Worker& worker, Sums& sums) {
  std::istringstream in(line);
  std::string word;
  in >> word;
  if (word == "seed") in >> worker.seed;
  if (word == "end") worker.ended = true;
  if (word == "run") {
    std::uint64_t steps = 0;
    std::uint64_t ms = 0;
    std::uint64_t operations = 0;
    std::uint64_t answered = 0;
    in >> steps >> ms >> operations >> answered;
    ++sums.runs;
    sums.steps += steps;
    sums.simulated_ms += ms;
    sums.operations += operations;
    sums.answered += answered;
  }
  if (word == "count") {
    std::string name;
    std::uint64_t count = 0;
    in >> name >> count;
    sums.counters[name] += count;
  }
  if (word == "fail") {
    ++sums.failed;
    std::string token;
    std::string invariant;
    in >> token >> invariant;
    std::string what;
    std::getline(in, what);
    std::cout << "FAIL " << invariant << what << "\n  repro: varve-sim repro " << token << std::endl;
  }
}

// False: the worker is gone.
bool read_some(Worker& worker, Sums& sums) {
  std::array<char, 65536> buffer{};
  const ssize_t count = ::read(worker.fd, buffer.data(), buffer.size());
  if (count <= 0) return false;
  worker.rest.append(buffer.data(), static_cast<std::size_t>(count));
  for (;;) {
    const std::size_t end = worker.rest.find('\n');
    if (end == std::string::npos) return true;
    take_line(worker.rest.substr(0, end), worker, sums);
    worker.rest.erase(0, end + 1);
  }
}

void print_summary(const Sums& sums, std::int64_t seconds) {
  std::cout << sums.runs << " seeds, " << sums.failed << " failed, " << sums.steps << " steps, "
            << sums.simulated_ms / 3'600'000 << " h " << sums.simulated_ms / 60'000 % 60 << " min simulated, "
            << sums.answered << " of " << sums.operations << " operations answered with success\n";
  std::cout << seconds << " s of wall time\n";
  for (const auto& [name, count] : sums.counters) std::cout << "  " << name << " " << count << "\n";
}

}  // namespace

int soak(const SoakOptions& options) {
  const auto begin = Wall::now();
  const auto until = begin + std::chrono::minutes{options.minutes_max};
  std::vector<Worker> workers(options.jobs);
  std::cout.flush();
  for (unsigned job = 0; job < options.jobs; ++job) {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) return 3;
    const pid_t pid = ::fork();
    if (pid < 0) return 3;
    if (pid == 0) {
      ::close(ends[0]);
      work(ends[1], options, job, until);
    }
    ::close(ends[1]);
    workers[job].pid = pid;
    workers[job].fd = ends[0];
  }
  Sums sums;
  int code = 0;
  for (Worker& worker : workers) {
    // In turn is enough: a pipe that is full makes its worker wait a little.
    while (read_some(worker, sums)) {
      if (options.stop_at_failure && sums.failed > 0) break;
    }
    ::close(worker.fd);
    int status = 0;
    ::waitpid(worker.pid, &status, 0);
    if (!worker.ended && !(options.stop_at_failure && sums.failed > 0)) {
      std::cout << "FAIL the worker died at seed " << worker.seed
                << "\n  repro: varve-sim repro v1:" << worker.seed << std::endl;
      code = 3;
    }
  }
  const auto passed = std::chrono::duration_cast<std::chrono::seconds>(Wall::now() - begin);
  print_summary(sums, passed.count());
  if (code != 0) return code;
  return sums.failed == 0 ? 0 : 1;
}

}  // namespace varve::sim
