// What the tests of the SQLite log share: a directory that removes itself, and child processes.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "eventlog/sqlite_event_log.h"
#include "tests/eventlog/event_log_contract.h"

namespace varve::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "varve-log-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::unique_ptr<SqliteEventLog> open_sqlite_log(Env& env, const std::string& directory) {
  auto log = SqliteEventLog::open(env, {.directory = directory});
  EXPECT_TRUE(log) << to_string(log ? Error{} : log.error());
  return log ? std::move(*log) : nullptr;
}

// One life of a process that has the log open.
struct Life {
  explicit Life(const std::string& directory) : log(open_sqlite_log(env, directory)) {}
  ~Life() { env.shut_down(); }

  Result<Offset> append(std::string bytes, Partition partition = Partition{0}) {
    auto delivery = log->append(partition, "agent-1", std::move(bytes));
    if (!delivery) return delivery.error();
    return run(env, outcome_of(&env, std::move(*delivery)));
  }
  std::string outcome(std::string bytes) {
    const auto offset = append(std::move(bytes));
    return offset ? std::to_string(offset->value()) : to_string(offset.error());
  }
  std::string records(Partition partition = Partition{0}) {
    const auto all = run(env, read_to_end(log.get(), partition, Offset{}));
    return all ? text_of(*all) : to_string(all.error());
  }

  RealEnv env{RealEnv::Options{.log_level = LogLevel::error, .log_sink = [](LogLevel, std::string_view) {}}};
  std::unique_ptr<SqliteEventLog> log;
};

class Pipe {
 public:
  Pipe() { EXPECT_EQ(0, ::pipe(ends_)); }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  bool write(const std::string& text) {
    return ::write(ends_[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }
  // Up to the next newline, which is not part of it; empty at the end.
  std::string read_line() {
    std::string line;
    char c = 0;
    while (true) {
      const ssize_t size = ::read(ends_[0], &c, 1);
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0 || c == '\n') return line;
      line += c;
    }
  }
  void close_reading() { close_end(0); }
  void close_writing() { close_end(1); }

 private:
  void close_end(int end) {
    if (ends_[end] >= 0) ::close(ends_[end]);
    ends_[end] = -1;
  }
  int ends_[2] = {-1, -1};
};

// Forks; the child runs `work` and exits with its result. Call it while this process has no other threads.
inline pid_t start_child(const std::function<int()>& work) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(work());
  EXPECT_GT(pid, 0);
  return pid;
}

// The exit code, or minus the signal that killed it.
inline int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace varve::test
