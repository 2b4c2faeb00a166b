#include "sim/jail.h"

#if defined(__x86_64__)

#include <asm/ioctls.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>
#include <vector>

#include "sim/tripwire.h"

namespace varve::sim {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

struct Named {
  long number;
  const char* name;
};
// What simulated code may reach for, in words. Others are named by their number.
constexpr std::array kNames{
    Named{SYS_read, "read"},
    Named{SYS_open, "open"},
    Named{SYS_close, "close"},
    Named{SYS_stat, "stat"},
    Named{SYS_fstat, "fstat"},
    Named{SYS_lstat, "lstat"},
    Named{SYS_poll, "poll"},
    Named{SYS_lseek, "lseek"},
    Named{SYS_ioctl, "ioctl"},
    Named{SYS_pread64, "pread"},
    Named{SYS_pwrite64, "pwrite"},
    Named{SYS_access, "access"},
    Named{SYS_pipe, "pipe"},
    Named{SYS_select, "select"},
    Named{SYS_sched_yield, "sched_yield"},
    Named{SYS_nanosleep, "nanosleep"},
    Named{SYS_getpid, "getpid"},
    Named{SYS_socket, "socket"},
    Named{SYS_connect, "connect"},
    Named{SYS_clone, "clone (a thread or a process)"},
    Named{SYS_fork, "fork"},
    Named{SYS_execve, "execve"},
    Named{SYS_fsync, "fsync"},
    Named{SYS_fdatasync, "fdatasync"},
    Named{SYS_rename, "rename"},
    Named{SYS_mkdir, "mkdir"},
    Named{SYS_unlink, "unlink"},
    Named{SYS_gettimeofday, "gettimeofday"},
    Named{SYS_time, "time"},
    Named{SYS_gettid, "gettid"},
    Named{SYS_getdents64, "getdents64"},
    Named{SYS_clock_gettime, "clock_gettime"},
    Named{SYS_clock_nanosleep, "clock_nanosleep"},
    Named{SYS_openat, "openat"},
    Named{SYS_newfstatat, "newfstatat"},
    Named{SYS_epoll_create1, "epoll_create1"},
    Named{SYS_eventfd2, "eventfd2"},
    Named{SYS_getrandom, "getrandom"},
    Named{SYS_clone3, "clone3 (a thread)"},
};

// Asked for before the jail, where it is allowed.
pid_t own_pid = 0;     // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
bool telling = false;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void say_number(long number) {
  std::array<char, 20> digits{};
  std::size_t at = digits.size();
  do {
    digits[--at] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0 && at > 0);
  say({digits.data() + at, digits.size() - at});
}

[[noreturn]] void die() {
  ::syscall(SYS_tgkill, own_pid, own_pid, SIGABRT);
  ::_exit(134);
}

// abort() asks for ids to send itself the signal by; then the story has been told already.
bool asked_by_abort(const siginfo_t* info) {
  if (info->si_syscall != SYS_getpid && info->si_syscall != SYS_gettid) return false;
  std::array<void*, 12> frames{};
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  for (int i = 0; i < count; ++i) {
    Dl_info caller{};
    if (::dladdr(frames[static_cast<std::size_t>(i)], &caller) == 0 || caller.dli_sname == nullptr) continue;
    const std::string_view name{caller.dli_sname};
    if (name == "raise" || name == "gsignal" || name == "abort") return true;
  }
  return false;
}

void on_system_call(int /*signal*/, siginfo_t* info, void* context) {
  if (asked_by_abort(info)) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = own_pid;
    return;
  }
  if (telling) die();  // The story itself has met the jail.
  telling = true;
  say("simulated code made the system call ");
  for (const Named& named : kNames) {
    if (named.number == info->si_syscall) {
      say(named.name);
      say(", ");
    }
  }
  say("number ");
  say_number(info->si_syscall);
  say(": the world is reached through ports and Env only\n");
  print_stack();
  die();
}

void on_fault(int signal, siginfo_t* /*info*/, void* context) {
  const greg_t place = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
  std::array<unsigned char, 3> code{};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel gives the place as a number.
  std::memcpy(code.data(), reinterpret_cast<const void*>(place), code.size());
  const bool rdtsc = code[0] == 0x0f && code[1] == 0x31;
  const bool rdtscp = code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf9;
  if (rdtsc || rdtscp) {
    say("simulated code read the processor's clock (rdtsc), as clocks do: time comes from Env\n");
    print_stack();
    die();
  }
  // A fault as ever: it happens again, without us.
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  ::sigaction(signal, &usual, nullptr);
}

void handle(int signal, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  ::sigaction(signal, &action, nullptr);
}

// ---- the filter: a program that the kernel runs on every system call ----

constexpr std::uint32_t data_at(std::size_t offset) {
  return static_cast<std::uint32_t>(offset);
}
constexpr std::uint32_t argument(int number) {
  return data_at(offsetof(seccomp_data, args) + sizeof(std::uint64_t) * static_cast<std::size_t>(number));
}
sock_filter load(std::uint32_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
}
// Goes on behind the next `skip` instructions unless the loaded value is this one.
sock_filter unless(std::uint32_t value, std::uint8_t skip) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip);
}
sock_filter answer(std::uint32_t action) {
  return BPF_STMT(BPF_RET | BPF_K, action);
}

void allow(std::vector<sock_filter>& filter, long call) {
  filter.push_back(unless(static_cast<std::uint32_t>(call), 1));
  filter.push_back(answer(SECCOMP_RET_ALLOW));
}
// Only with this value of an argument. The number of the call is loaded again behind it.
void allow_with(std::vector<sock_filter>& filter, long call, int number, std::uint32_t value) {
  filter.push_back(unless(static_cast<std::uint32_t>(call), 4));
  filter.push_back(load(argument(number)));
  filter.push_back(unless(value, 1));
  filter.push_back(answer(SECCOMP_RET_ALLOW));
  filter.push_back(load(data_at(offsetof(seccomp_data, nr))));
}

std::vector<sock_filter> make_filter() {
  std::vector<sock_filter> filter;
  filter.push_back(load(data_at(offsetof(seccomp_data, arch))));
  filter.push_back(unless(AUDIT_ARCH_X86_64, 1));
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
  filter.push_back(answer(SECCOMP_RET_KILL_PROCESS));
  filter.push_back(load(data_at(offsetof(seccomp_data, nr))));
  for (const long call :
       {SYS_write, SYS_writev, SYS_munmap, SYS_mremap, SYS_brk, SYS_mprotect, SYS_madvise, SYS_futex,
        SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction}) {
    allow(filter, call);
  }
  allow_with(filter, SYS_mmap, 4, 0xffffffffU);  // Memory, no file.
  allow_with(filter, SYS_read, 0, STDIN_FILENO);
  allow_with(filter, SYS_tgkill, 0, static_cast<std::uint32_t>(own_pid));
  // The C library looks at what kind of file it prints to.
  for (const std::uint32_t file : {1U, 2U}) {
    allow_with(filter, SYS_fstat, 0, file);
    allow_with(filter, SYS_lseek, 0, file);
  }
  allow_with(filter, SYS_newfstatat, 3, AT_EMPTY_PATH);
  allow_with(filter, SYS_ioctl, 1, TCGETS);
  filter.push_back(answer(SECCOMP_RET_TRAP));
  return filter;
}

[[noreturn]] void refused(const char* what) {
  say("the jail cannot be entered: ");
  say(what);
  say("\n");
  ::_exit(70);
}

}  // namespace

bool jail_available() {
  if (kSanitized) return false;
  // Asked with no filter at all, a kernel that has filters finds fault with the address.
  return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, nullptr) == -1 && errno == EFAULT;
}

void enter_jail() {
  if (!jail_available()) refused("this build has sanitizers, or the kernel has no seccomp filters");
  own_pid = ::getpid();
  handle(SIGSYS, on_system_call);
  handle(SIGSEGV, on_fault);
  // The unwinder is loaded by its first use.
  std::array<void*, 1> frame{};
  ::backtrace(frame.data(), 1);
  if (::prctl(PR_SET_TSC, PR_TSC_SIGSEGV) != 0) {
    say("jail: this machine cannot make the processor's clock fault; system calls are refused all the "
        "same\n");
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) refused("no_new_privs");
  std::vector<sock_filter> filter = make_filter();
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) refused("the filter");
}

}  // namespace varve::sim

#else  // Numbers of system calls and the clock's instruction are the processor's.

#include <cstdlib>

namespace varve::sim {

bool jail_available() {
  return false;
}
void enter_jail() {
  std::abort();
}

}  // namespace varve::sim

#endif
