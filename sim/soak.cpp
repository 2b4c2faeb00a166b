#include "sim/soak.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <deque>
#include <iostream>
#include <string>
#include <vector>

#include "sim/jail.h"
#include "sim/soak_report.h"

namespace varve::sim {
namespace {

// lint: allow(clock) How long a soak may take is wall time; no simulated run sees it.
using Wall = std::chrono::steady_clock;

constexpr int kLookEveryMs = 500;
constexpr std::uint64_t kProgressEverySeconds = 3;
constexpr std::uint64_t kDeathsMax = 20;
// A worker has its next seed before it asks for it.
constexpr std::uint64_t kSeedsAhead = 2;

bool write_all(int fd, const void* bytes, std::size_t size) {
  std::size_t sent = 0;
  while (sent < size) {
    const ssize_t count = ::write(fd, static_cast<const char*>(bytes) + sent, size - sent);
    if (count <= 0) return false;
    sent += static_cast<std::size_t>(count);
  }
  return true;
}

bool write_all(int fd, const std::string& text) {
  return write_all(fd, text.data(), text.size());
}

// False: there are no more.
bool read_seed(std::uint64_t& seed) {
  std::size_t got = 0;
  while (got < sizeof seed) {
    const ssize_t count = ::read(STDIN_FILENO, reinterpret_cast<char*>(&seed) + got, sizeof seed - got);
    if (count <= 0) return false;
    got += static_cast<std::size_t>(count);
  }
  return true;
}

// From here on the worker can compute, read seeds and write, and nothing else.
[[noreturn]] void work(int out, const SoakOptions& options) {
  if (jail_available()) enter_jail();
  std::uint64_t seed = 0;
  while (read_seed(seed)) {
    if (!write_all(out, "seed " + std::to_string(seed) + "\n")) break;
    const ScenarioRun run = options.plan(seed);
    const ScenarioResult result = options.run(run);
    if (!write_all(out, report_of(result, replay_of(run)))) break;
  }
  write_all(out, "end\n");
  ::_exit(0);
}

struct Worker {
  pid_t pid = 0;
  int to = -1;  // Seeds.
  int from = -1;
  std::string rest;                 // Of a line that is not complete.
  std::string seed;                 // The one that it is at.
  std::deque<std::uint64_t> ahead;  // Handed out, not begun.
  bool ended = false;
};

class Soak {
 public:
  explicit Soak(const SoakOptions& options) : options_(options), next_(options.first) {
    terminal_ = ::isatty(STDERR_FILENO) == 1;
  }

  int run() {
    ::signal(SIGPIPE, SIG_IGN);
    std::cout.flush();
    workers_.resize(options_.jobs);
    for (Worker& worker : workers_) {
      if (!start(worker)) return 3;
    }
    while (wait()) {
      if (seconds() >= shown_ + kProgressEverySeconds) show_progress();
    }
    show_progress();
    if (options_.progress && terminal_) std::cerr << "\n";
    std::cout << "seeds " << options_.first << ".." << (next_ > options_.first ? next_ - 1 : next_) << ": "
              << summary_of(sums_, seconds());
    return verdict();
  }

 private:
  std::uint64_t seconds() const {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(Wall::now() - begin_).count());
  }

  bool more() const {
    if (over_ || (again_.empty() && (next_ > options_.last || next_ < options_.first))) return false;
    return options_.seconds_max == 0 || seconds() < options_.seconds_max;
  }

  bool start(Worker& worker) {
    std::array<int, 2> seeds{};
    std::array<int, 2> lines{};
    if (::pipe(seeds.data()) != 0 || ::pipe(lines.data()) != 0) return false;
    const pid_t pid = ::fork();
    if (pid < 0) return false;
    if (pid == 0) {
      // The others' pipes must end when their workers do.
      for (const Worker& other : workers_) {
        if (other.to >= 0) ::close(other.to);
        if (other.from >= 0) ::close(other.from);
      }
      ::dup2(seeds[0], STDIN_FILENO);
      ::close(seeds[0]);
      ::close(seeds[1]);
      ::close(lines[0]);
      work(lines[1], options_);
    }
    ::close(seeds[0]);
    ::close(lines[1]);
    worker = Worker{pid, seeds[1], lines[0], {}, {}, {}, false};
    for (std::uint64_t ahead = 0; ahead < kSeedsAhead; ++ahead) hand_out(worker);
    return true;
  }

  void hand_out(Worker& worker) {
    if (worker.to < 0) return;
    if (!more()) {
      ::close(worker.to);
      worker.to = -1;
      return;
    }
    std::uint64_t seed = next_;
    if (!again_.empty()) {
      seed = again_.front();
      again_.pop_front();
    } else {
      ++next_;
    }
    worker.ahead.push_back(seed);
    write_all(worker.to, &seed, sizeof seed);
  }

  // Takes what has come. False: every worker has ended.
  bool wait() {
    std::vector<pollfd> files;
    for (const Worker& worker : workers_) {
      if (worker.from >= 0) files.push_back({worker.from, POLLIN, 0});
    }
    if (files.empty()) return false;
    ::poll(files.data(), files.size(), kLookEveryMs);
    for (const pollfd& file : files) {
      if (file.revents == 0) continue;
      for (Worker& worker : workers_) {
        if (worker.from == file.fd && !read_some(worker)) bury(worker);
      }
    }
    return true;
  }

  // False: the worker is gone.
  bool read_some(Worker& worker) {
    std::array<char, 65536> buffer{};
    const ssize_t count = ::read(worker.from, buffer.data(), buffer.size());
    if (count <= 0) return false;
    worker.rest.append(buffer.data(), static_cast<std::size_t>(count));
    std::size_t begin = 0;
    for (std::size_t end = worker.rest.find('\n'); end != std::string::npos;
         end = worker.rest.find('\n', begin)) {
      take_line(worker, worker.rest.substr(begin, end - begin));
      begin = end + 1;
    }
    worker.rest.erase(0, begin);
    return true;
  }

  void take_line(Worker& worker, const std::string& line) {
    if (line == "end") {
      worker.ended = true;
    } else if (line.starts_with("seed ")) {
      worker.seed = line.substr(5);
      if (!worker.ahead.empty()) worker.ahead.pop_front();
    } else if (line == "done") {
      if (options_.stop_at_failure && sums_.failed > 0) over_ = true;
      hand_out(worker);
    } else if (const std::string said = add_report_line(line, sums_); !said.empty()) {
      std::cout << said << std::endl;
    }
  }

  void bury(Worker& worker) {
    ::close(worker.from);
    if (worker.to >= 0) ::close(worker.to);
    worker.from = worker.to = -1;
    int status = 0;
    ::waitpid(worker.pid, &status, 0);
    if (worker.ended) return;
    ++sums_.died;
    const std::string how =
        WIFSIGNALED(status) ? "by signal " + std::to_string(WTERMSIG(status)) : "by itself";
    std::cout << "FAIL the worker died " << how << " at seed " << worker.seed << "\n  repro: varve-sim "
              << (worker.seed.empty() ? "" : replay_of(options_.plan(std::stoull(worker.seed)))) << std::endl;
    if (options_.stop_at_failure || sums_.died >= kDeathsMax) over_ = true;
    // What it was given ahead is another's.
    again_.insert(again_.end(), worker.ahead.begin(), worker.ahead.end());
    if (more() && !start(worker)) over_ = true;
  }

  void show_progress() {
    if (!options_.progress) return;
    shown_ = seconds();
    const std::uint64_t runs_max = options_.seconds_max > 0 ? 0 : options_.last - options_.first + 1;
    std::cerr << (terminal_ ? "\r" : "")
              << "soak: " << progress_of(sums_, shown_, runs_max, options_.seconds_max)
              << (terminal_ ? "\033[K" : "\n") << std::flush;
  }

  int verdict() {
    if (sums_.died > 0) return 3;
    if (sums_.failed > 0) return 1;
    if (!options_.check_sometimes) return 0;
    const std::vector<std::string> missing = never_met(sums_);
    for (const std::string& one : missing) std::cout << "NEVER MET " << one << "\n";
    return missing.empty() ? 0 : 1;
  }

  const SoakOptions& options_;
  Wall::time_point begin_ = Wall::now();
  std::uint64_t next_;
  std::deque<std::uint64_t> again_;  // Of workers that died.
  bool over_ = false;
  bool terminal_ = false;
  std::uint64_t shown_ = 0;
  SoakSums sums_;
  std::vector<Worker> workers_;
};

}  // namespace

int soak(const SoakOptions& options) {
  return Soak(options).run();
}

}  // namespace varve::sim
