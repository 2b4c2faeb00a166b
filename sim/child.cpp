#include "sim/child.h"

// lint: allow(files) Of the command line, outside of every run.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <iostream>

namespace varve::sim {
namespace {

constexpr unsigned kSecondsMax = 180;
constexpr char kWhole = '.';  // Ends what a child says, so that half of it is not taken for all.

[[noreturn]] void work_in(int out, const std::function<std::string()>& work, bool silent) {
  if (silent) {
    // lint: allow(files) The null device, of the command line.
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
  }
  // A run that makes no step any more is ended by a signal.
  ::alarm(kSecondsMax);
  const std::string said = work() + kWhole;
  std::cout.flush();
  std::size_t sent = 0;
  while (sent < said.size()) {
    const ssize_t count = ::write(out, said.data() + sent, said.size() - sent);
    if (count <= 0) break;
    sent += static_cast<std::size_t>(count);
  }
  ::_exit(0);
}

}  // namespace

ChildEnd in_child(const std::function<std::string()>& work, bool silent) {
  std::cout.flush();
  ChildEnd end;
  end.ended = false;
  std::array<int, 2> pipe{};
  if (::pipe(pipe.data()) != 0) return end;
  const pid_t pid = ::fork();
  if (pid < 0) return end;
  if (pid == 0) {
    ::close(pipe[0]);
    work_in(pipe[1], work, silent);
  }
  ::close(pipe[1]);
  std::array<char, 65536> buffer{};
  for (ssize_t count = 0; (count = ::read(pipe[0], buffer.data(), buffer.size())) > 0;) {
    end.said.append(buffer.data(), static_cast<std::size_t>(count));
  }
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  end.ended = end.said.ends_with(kWhole);
  if (end.ended) end.said.pop_back();
  return end;
}

}  // namespace varve::sim
