#include "sim/tripwire.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>

// Sanitizers have versions of their own, which must know of threads: they are asked first.
extern "C" {
// NOLINTBEGIN(readability-identifier-naming,bugprone-reserved-identifier)
__attribute__((weak)) int __interceptor_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*),
                                                       void*);
__attribute__((weak)) void __sanitizer_print_stack_trace();
// NOLINTEND(readability-identifier-naming,bugprone-reserved-identifier)
}

namespace varve::sim {
namespace {

// A plain number: the functions below are called before and after every constructor of the program.
thread_local int depth = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void say_number(unsigned long number, unsigned base) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<char, 24> digits{};
  std::size_t at = digits.size();
  do {
    digits[--at] = kDigits[number % base];
    number /= base;
  } while (number != 0);
  say({digits.data() + at, digits.size() - at});
}

struct Instead {
  std::string_view name;
  const char* advice;
};
// By what a name begins with; the first that fits.
constexpr std::array kInstead{
    Instead{"clock_nanosleep", "waiting goes through runtime/suspend.h"},
    Instead{"nanosleep", "waiting goes through runtime/suspend.h"},
    Instead{"usleep", "waiting goes through runtime/suspend.h"},
    Instead{"sleep", "waiting goes through runtime/suspend.h"},
    Instead{"poll", "waiting goes through runtime/suspend.h"},
    Instead{"ppoll", "waiting goes through runtime/suspend.h"},
    Instead{"select", "waiting goes through runtime/suspend.h"},
    Instead{"epoll", "waiting goes through runtime/suspend.h"},
    Instead{"clock", "time comes from Env"},
    Instead{"time", "time comes from Env"},
    Instead{"gettimeofday", "time comes from Env"},
    Instead{"getrandom", "chance comes from Env::rng()"},
    Instead{"getentropy", "chance comes from Env::rng()"},
    Instead{"arc4random", "chance comes from Env::rng()"},
    Instead{"rand", "chance comes from Env::rng()"},
    Instead{"pthread_create", "blocking work goes through offload() of runtime/suspend.h"},
    Instead{"fork", "blocking work goes through offload() of runtime/suspend.h"},
    Instead{"getenv", "configuration is parsed in cli/"},
    Instead{"secure_getenv", "configuration is parsed in cli/"},
    Instead{"getpid", "identity comes from Env::rng()"},
    Instead{"", "the world is reached through ports only"},
};

[[noreturn]] void tripped(const char* name) {
  depth = 0;
  const std::string_view function{name};
  say("simulated code called ");
  say(function);
  say("(): ");
  for (const Instead& instead : kInstead) {
    if (!function.starts_with(instead.name)) continue;
    say(instead.advice);
    break;
  }
  say("\n");
  print_stack();
  std::abort();
}

// The function of this name behind ours.
template <class Function>
Function* real(const char* name) {
  void* found = ::dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    say("tripwire: the C library has no ");
    say(name);
    say("\n");
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

}  // namespace

Tripwire::Armed::Armed() {
  ++depth;
}
Tripwire::Armed::~Armed() {
  if (depth > 0) --depth;
}
Tripwire::Disarmed::Disarmed() : depth_(depth) {
  depth = 0;
}
Tripwire::Disarmed::~Disarmed() {
  depth = depth_;
}
bool Tripwire::armed() {
  return depth > 0;
}

void print_stack() {
  if (__sanitizer_print_stack_trace != nullptr) return __sanitizer_print_stack_trace();
  std::array<void*, 48> frames{};
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  for (int i = 1; i < count; ++i) {
    Dl_info info{};
    say("    #");
    say_number(static_cast<unsigned long>(i), 10);
    say(" ");
    const auto address = reinterpret_cast<unsigned long>(frames[static_cast<std::size_t>(i)]);
    if (::dladdr(frames[static_cast<std::size_t>(i)], &info) == 0) {
      say("?\n");
      continue;
    }
    say(info.dli_sname != nullptr ? info.dli_sname : "?");
    say(" in ");
    say(info.dli_fname != nullptr ? info.dli_fname : "?");
    say(" + 0x");
    say_number(address - reinterpret_cast<unsigned long>(info.dli_fbase), 16);
    say("\n");
  }
}

}  // namespace varve::sim

// ---- the functions of the C library ----

// Defines `name` for the whole program. Our own name in C++ keeps clear of what the headers declare.
// NOLINTBEGIN(cppcoreguidelines-macro-usage,bugprone-macro-parentheses)
#define VARVE_TRIP(Return, name, parameters, arguments)                   \
  extern "C" Return trip_##name parameters __asm__(#name);                \
  extern "C" Return trip_##name parameters {                              \
    if (varve::sim::depth > 0) varve::sim::tripped(#name);                \
    static const auto kReal = varve::sim::real<Return parameters>(#name); \
    return kReal arguments;                                               \
  }
// The same, with a last argument that is there only if the flags say so.
#define VARVE_TRIP_OPEN(name, parameters, ...)                         \
  extern "C" int trip_##name parameters __asm__(#name);                \
  extern "C" int trip_##name parameters {                              \
    if (varve::sim::depth > 0) varve::sim::tripped(#name);             \
    static const auto kReal = varve::sim::real<int parameters>(#name); \
    va_list rest;                                                      \
    va_start(rest, flags);                                             \
    const mode_t mode = va_arg(rest, mode_t);                          \
    va_end(rest);                                                      \
    return kReal(__VA_ARGS__, flags, mode);                            \
  }
// NOLINTEND(cppcoreguidelines-macro-usage,bugprone-macro-parentheses)

// Time and waiting.
VARVE_TRIP(int, clock_gettime, (clockid_t clock, timespec* time), (clock, time))
VARVE_TRIP(int, gettimeofday, (timeval * time, void* zone), (time, zone))
VARVE_TRIP(time_t, time, (time_t * result), (result))
VARVE_TRIP(clock_t, clock, (), ())
VARVE_TRIP(int, timespec_get, (timespec * time, int base), (time, base))
VARVE_TRIP(int, nanosleep, (const timespec* wanted, timespec* left), (wanted, left))
VARVE_TRIP(int, clock_nanosleep, (clockid_t clock, int flags, const timespec* wanted, timespec* left),
           (clock, flags, wanted, left))
VARVE_TRIP(int, usleep, (useconds_t time), (time))
VARVE_TRIP(unsigned, sleep, (unsigned seconds), (seconds))
VARVE_TRIP(int, poll, (pollfd * files, nfds_t count, int timeout), (files, count, timeout))
VARVE_TRIP(int, ppoll, (pollfd * files, nfds_t count, const timespec* timeout, const sigset_t* mask),
           (files, count, timeout, mask))
VARVE_TRIP(int, select, (int count, fd_set* in, fd_set* out, fd_set* bad, timeval* timeout),
           (count, in, out, bad, timeout))
VARVE_TRIP(int, epoll_create1, (int flags), (flags))
VARVE_TRIP(int, epoll_wait, (int epoll, epoll_event* events, int count, int timeout),
           (epoll, events, count, timeout))

// Chance, identity, configuration.
VARVE_TRIP(ssize_t, getrandom, (void* buffer, std::size_t size, unsigned flags), (buffer, size, flags))
VARVE_TRIP(int, getentropy, (void* buffer, std::size_t size), (buffer, size))
VARVE_TRIP(std::uint32_t, arc4random, (), ())
VARVE_TRIP(void, arc4random_buf, (void* buffer, std::size_t size), (buffer, size))
VARVE_TRIP(std::uint32_t, arc4random_uniform, (std::uint32_t bound), (bound))
VARVE_TRIP(int, rand, (), ())
VARVE_TRIP(long, random, (), ())
VARVE_TRIP(pid_t, getpid, (), ())
VARVE_TRIP(char*, getenv, (const char* name), (name))
VARVE_TRIP(char*, secure_getenv, (const char* name), (name))

// Files.
VARVE_TRIP_OPEN(open, (const char* path, int flags, ...), path)
VARVE_TRIP_OPEN(open64, (const char* path, int flags, ...), path)
VARVE_TRIP_OPEN(openat, (int folder, const char* path, int flags, ...), folder, path)
VARVE_TRIP_OPEN(openat64, (int folder, const char* path, int flags, ...), folder, path)
VARVE_TRIP(int, creat, (const char* path, mode_t mode), (path, mode))
VARVE_TRIP(FILE*, fopen, (const char* path, const char* mode), (path, mode))
VARVE_TRIP(FILE*, fopen64, (const char* path, const char* mode), (path, mode))
VARVE_TRIP(int, fsync, (int file), (file))
VARVE_TRIP(int, fdatasync, (int file), (file))
VARVE_TRIP(int, stat, (const char* path, struct stat* result), (path, result))
VARVE_TRIP(int, lstat, (const char* path, struct stat* result), (path, result))
VARVE_TRIP(void*, opendir, (const char* path), (path))
VARVE_TRIP(int, mkdir, (const char* path, mode_t mode), (path, mode))
VARVE_TRIP(int, unlink, (const char* path), (path))
VARVE_TRIP(int, rename, (const char* from, const char* to), (from, to))

// Sockets and processes.
VARVE_TRIP(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
VARVE_TRIP(int, connect, (int file, const sockaddr* address, socklen_t size), (file, address, size))
VARVE_TRIP(int, getaddrinfo, (const char* host, const char* port, const addrinfo* hints, addrinfo** result),
           (host, port, hints, result))
VARVE_TRIP(pid_t, fork, (), ())

using ThreadBody = void*(void*);
extern "C" int trip_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, ThreadBody* body,
                                   void* argument) __asm__("pthread_create");
extern "C" int trip_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, ThreadBody* body,
                                   void* argument) {
  if (varve::sim::depth > 0) varve::sim::tripped("pthread_create");
  if (__interceptor_pthread_create != nullptr)
    return __interceptor_pthread_create(thread, attributes, body, argument);
  static const auto kReal =
      varve::sim::real<int(pthread_t*, const pthread_attr_t*, ThreadBody*, void*)>("pthread_create");
  return kReal(thread, attributes, body, argument);
}
