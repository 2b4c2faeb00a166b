// The guards of a simulated run, seen to trip: a probe program does one forbidden thing at a time.
#include "sim/jail.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <map>
#include <string>

namespace varve::sim {
namespace {

struct Ended {
  std::string output;
  int signal = 0;
  int code = 0;
};

Ended run(const std::string& program, const std::string& arguments) {
  Ended ended;
  FILE* pipe = ::popen(("exec " + program + " " + arguments + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ended;
  std::array<char, 4096> buffer{};
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    ended.output.append(buffer.data(), count);
  }
  const int status = ::pclose(pipe);
  if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
  if (WIFEXITED(status)) ended.code = WEXITSTATUS(status);
  return ended;
}

// What the guard says about each probe; empty: it lets it pass.
using Expected = std::map<std::string, std::string>;

const Expected kWire{
    {"nothing", ""},
    {"steady_clock", "clock_gettime()"},
    {"system_clock", "clock_gettime()"},
    {"time", "time()"},
    {"gettimeofday", "gettimeofday()"},
    {"clock", "clock()"},
    {"sleep_for", "nanosleep()"},
    {"usleep", "usleep()"},
    {"getrandom", "getrandom()"},
    {"rand", "rand()"},
    {"urandom", "open()"},
    {"random_device", ""},  // An instruction: deploy/symbol_check.py.
    {"thread", "pthread_create()"},
    {"async", "pthread_create()"},
    {"open", "open()"},
    {"openat", "openat()"},
    {"fopen", "fopen()"},
    {"ifstream", "fopen"},
    {"filesystem", "stat()"},
    {"fsync", "fsync()"},
    {"fdatasync", "fdatasync()"},
    {"socket", "socket()"},
    {"epoll", "epoll_create1()"},
    {"getpid", "getpid()"},
    {"getenv", "getenv()"},
    {"fork", "fork()"},
    {"rdtsc", ""},  // An instruction: the jail.
};
const Expected kJail{
    {"nothing", ""},
    {"steady_clock", "rdtsc"},
    {"system_clock", "rdtsc"},
    {"time", ""},  // Read from memory that the kernel shares: the wire.
    {"gettimeofday", "rdtsc"},
    {"clock", "clock_gettime"},
    {"sleep_for", "clock_nanosleep"},
    {"usleep", "clock_nanosleep"},
    {"getrandom", "getrandom"},
    {"rand", ""},
    {"urandom", "openat"},
    {"random_device", ""},
    {"open", "openat"},
    {"openat", "openat"},
    {"fopen", "openat"},
    {"ifstream", "openat"},
    {"filesystem", "newfstatat"},
    {"fsync", "fsync"},
    {"fdatasync", "fdatasync"},
    {"socket", "socket"},
    {"epoll", "epoll_create1"},
    {"getpid", "getpid"},
    {"getenv", ""},
    {"fork", "clone"},
    {"rdtsc", "rdtsc"},
};

void expect(const std::string& program, const std::string& mode, const std::string& what,
            const std::string& said) {
  const Ended ended = run(program, mode + " " + what);
  if (said.empty()) {
    EXPECT_EQ(0, ended.code) << what << ": " << ended.output;
    EXPECT_EQ(0, ended.signal) << what << ": " << ended.output;
    EXPECT_NE(std::string::npos, ended.output.find("let pass")) << what << ": " << ended.output;
    return;
  }
  EXPECT_EQ(SIGABRT, ended.signal) << what << ": " << ended.output;
  const std::string first = ended.output.substr(0, ended.output.find('\n'));
  EXPECT_TRUE(first.starts_with("simulated code ")) << what << ": " << ended.output;
  EXPECT_NE(std::string::npos, first.find(said)) << what << ": " << first;
  EXPECT_NE(std::string::npos, ended.output.find("#1 ")) << what << " without a stack: " << ended.output;
}

TEST(Tripwire, StopsWhatASimulatedRunMustNotCall) {
  for (const auto& [what, said] : kWire) expect(VARVE_SIM_PROBE, "wire", what, said);
}

// The preset's sanitizers have versions of some of the functions.
TEST(Tripwire, StopsItBesideSanitizersToo) {
  for (const auto& [what, said] : kWire) expect(VARVE_SIM_PROBE_SANITIZED, "wire", what, said);
}

TEST(Tripwire, PassesEverythingOnWhenNoRunIsArmed) {
  for (const auto& [what, said] : kWire) {
    expect(VARVE_SIM_PROBE, "unarmed", what, "");
    expect(VARVE_SIM_PROBE_SANITIZED, "unarmed", what, "");
  }
}

TEST(Jail, RefusesWhatASimulatedRunMustNotDo) {
  for (const auto& [what, said] : kJail) expect(VARVE_SIM_PROBE, "jail", what, said);
}

TEST(Jail, KillsWhoStartsAThread) {
  for (const char* what : {"thread", "async"}) {
    const Ended ended = run(VARVE_SIM_PROBE, std::string("jail ") + what);
    EXPECT_EQ(SIGSYS, ended.signal) << what << ": " << ended.output;
  }
}

TEST(Jail, LetsAProgramFailAsEver) {
  const Ended aborted = run(VARVE_SIM_PROBE, "jail abort");
  EXPECT_EQ(SIGABRT, aborted.signal);
  EXPECT_EQ("", aborted.output);
  EXPECT_EQ(SIGSEGV, run(VARVE_SIM_PROBE, "jail fault").signal);
}

TEST(Jail, IsNotOfferedUnderSanitizers) {
#if defined(VARVE_SANITIZED)
  EXPECT_EQ(77, run(VARVE_SIM_PROBE_SANITIZED, "jail nothing").code);
#else
  EXPECT_EQ(0, run(VARVE_SIM_PROBE_SANITIZED, "jail nothing").code);
#endif
}

}  // namespace
}  // namespace varve::sim
