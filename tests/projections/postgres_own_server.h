// A PostgreSQL of one test's own, as a child process: stopped, killed, paused, with a full disk.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

#include "tests/projections/temp_directory.h"

namespace varve::test {

// postgres_own_server.py. It ends with the pipe that it reads, also if the test dies.
class OwnPostgres {
 public:
  OwnPostgres() {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    EXPECT_EQ(0, ::pipe2(in.data(), O_CLOEXEC));
    EXPECT_EQ(0, ::pipe2(out.data(), O_CLOEXEC));
    const std::string script = std::string{VARVE_SOURCE_DIR} + "/tests/projections/postgres_own_server.py";
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::execlp("python3", "python3", "-B", script.c_str(), folder_.path().c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_child_ = in[1];
    from_child_ = out[0];
    url_ = line();
    EXPECT_TRUE(url_.starts_with("postgresql://")) << url_;
  }
  OwnPostgres(const OwnPostgres&) = delete;
  OwnPostgres& operator=(const OwnPostgres&) = delete;
  ~OwnPostgres() {
    ::close(to_child_);
    int status = 0;
    ::waitpid(child_, &status, 0);
    ::close(from_child_);
  }

  const std::string& url() const { return url_; }

  // Returns when it is done: "restart" when the server answers again.
  void tell(const std::string& command) {
    const std::string text = command + "\n";
    ASSERT_EQ(static_cast<ssize_t>(text.size()), ::write(to_child_, text.data(), text.size()));
    ASSERT_EQ(line(), "ok") << command;
  }

 private:
  std::string line() const {
    std::string text;
    char byte = 0;
    while (::read(from_child_, &byte, 1) == 1 && byte != '\n') text += byte;
    return text;
  }

  TempDirectory folder_;
  std::string url_;
  pid_t child_ = -1;
  int to_child_ = -1;
  int from_child_ = -1;
};

}  // namespace varve::test
