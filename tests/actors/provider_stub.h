// A provider of models as a child process, for tests of what talks to one.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>

#include "tests/projections/temp_directory.h"

namespace varve::test {

// provider_stub.py as a child process. It ends with the pipe that it reads.
class ProviderStub {
 public:
  ProviderStub() {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    EXPECT_EQ(0, ::pipe2(in.data(), O_CLOEXEC));
    EXPECT_EQ(0, ::pipe2(out.data(), O_CLOEXEC));
    const std::string script = std::string{VARVE_SOURCE_DIR} + "/tests/actors/provider_stub.py";
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::execlp("python3", "python3", script.c_str(), folder_.path().c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_child_ = in[1];
    std::string line;
    char byte = 0;
    while (::read(out[0], &byte, 1) == 1 && byte != '\n') line += byte;
    ::close(out[0]);
    EXPECT_EQ(3, std::sscanf(line.c_str(), "%d %d %d", &http, &https, &https_of_another)) << line;
  }
  ProviderStub(const ProviderStub&) = delete;
  ProviderStub& operator=(const ProviderStub&) = delete;
  ~ProviderStub() {
    ::close(to_child_);
    int status = 0;
    ::waitpid(child_, &status, 0);
  }

  std::string ca_file(const std::string& of = "ours") const { return folder_.path() + "/" + of + ".pem"; }

  int http = 0;
  int https = 0;
  int https_of_another = 0;

 private:
  TempDirectory folder_;
  pid_t child_ = -1;
  int to_child_ = -1;
};

}  // namespace varve::test
