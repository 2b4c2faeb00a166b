// varve-sim-probe: does one forbidden thing, under the trip-wire or in the jail. Built twice: without
// sanitizers, as in release, and with those of the preset.
//
//   varve-sim-probe wire WHAT      armed; 0 = it was let pass
//   varve-sim-probe unarmed WHAT   the same without: everything works as ever
//   varve-sim-probe jail WHAT      in the jail; 77 = there is none in this build
//   varve-sim-probe names          all that can be asked for
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "sim/jail.h"
#include "sim/tripwire.h"

namespace {

using varve::sim::Tripwire;

template <class T>
void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

void compute_and_print() {
  std::map<int, std::string> numbers;
  for (int i = 0; i < 20'000; ++i) numbers.emplace(i * 7919 % 20'011, std::string(64, 'x'));
  const std::vector<char> large(64U << 20U, 'y');
  keep(large);
  const auto shared = std::make_shared<std::string>("shared");
  try {
    throw std::string("thrown");
  } catch (const std::string& caught) {
    std::cout << "printed " << numbers.size() << " " << caught << " " << *shared << std::endl;
  }
  std::printf("and by the C library %zu\n", large.size());
}

// What the probes do. Results are kept, so that no call is optimised away.
std::map<std::string, std::function<void()>> probes() {
  return {
      {"nothing", compute_and_print},
      {"steady_clock", [] { keep(std::chrono::steady_clock::now()); }},
      {"system_clock", [] { keep(std::chrono::system_clock::now()); }},
      {"time", [] { keep(std::time(nullptr)); }},
      {"gettimeofday",
       [] {
         timeval now{};
         keep(::gettimeofday(&now, nullptr));
       }},
      {"clock", [] { keep(std::clock()); }},
      {"sleep_for", [] { std::this_thread::sleep_for(std::chrono::microseconds{10}); }},
      {"usleep", [] { ::usleep(10); }},
      {"getrandom",
       [] {
         int bytes = 0;
         keep(::getrandom(&bytes, sizeof(bytes), 0));
       }},
      {"rand", [] { keep(std::rand()); }},
      {"urandom", [] { keep(std::random_device("/dev/urandom")()); }},
      {"random_device", [] { keep(std::random_device{}()); }},
      {"thread", [] { std::thread([] {}).join(); }},
      {"async", [] { std::async(std::launch::async, [] {}).get(); }},
      {"open", [] { ::close(::open("/dev/null", O_RDONLY)); }},
      {"openat", [] { ::close(::openat(AT_FDCWD, "/dev/null", O_RDONLY)); }},
      {"fopen", [] { std::fclose(std::fopen("/dev/null", "r")); }},
      {"ifstream", [] { keep(std::ifstream("/dev/null").good()); }},
      {"filesystem", [] { keep(std::filesystem::exists("/dev/null")); }},
      {"fsync", [] { keep(::fsync(STDOUT_FILENO)); }},
      {"fdatasync", [] { keep(::fdatasync(STDOUT_FILENO)); }},
      {"socket", [] { ::close(::socket(AF_INET, SOCK_STREAM, 0)); }},
      {"epoll", [] { ::close(::epoll_create1(0)); }},
      {"getpid", [] { keep(::getpid()); }},
      {"getenv", [] { keep(std::getenv("PATH")); }},
      {"fork",
       [] {
         if (::fork() == 0) ::_exit(0);
       }},
      {"rdtsc", [] { keep(__builtin_readcyclecounter()); }},
      {"abort", [] { std::abort(); }},
      {"fault", [] { *static_cast<volatile int*>(nullptr) = 1; }},
  };
}

int jailed(const std::function<void()>& probe) {
  if (!varve::sim::jail_available()) return 77;
  varve::sim::enter_jail();
  probe();
  std::cout << "let pass" << std::endl;
  return 0;
}

int wired(const std::function<void()>& probe) {
  {
    const Tripwire::Armed outer;
    {
      const Tripwire::Armed inner;
      const Tripwire::Disarmed between;
      keep(std::chrono::steady_clock::now());  // Not armed.
    }
    probe();
  }
  keep(std::chrono::steady_clock::now());  // Not any more.
  std::cout << "let pass" << std::endl;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const auto all = probes();
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto probe = all.find(argc > 2 ? argv[2] : "");
  if (mode == "names") {
    for (const auto& [name, unused] : all) std::cout << name << "\n";
    return 0;
  }
  if (probe == all.end()) {
    std::cerr << "varve-sim-probe wire|unarmed|jail WHAT; varve-sim-probe names\n";
    return 2;
  }
  if (mode == "jail") return jailed(probe->second);
  if (mode == "wire") return wired(probe->second);
  probe->second();
  std::cout << "let pass" << std::endl;
  return 0;
}
