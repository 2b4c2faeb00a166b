// Preloaded into a server, this makes its time of day wrong by $WRONG_CLOCK_SECONDS
// (tests/e2e/clock_test.py). The clock that only counts stays right, and so do deadlines that glibc's own
// waits get (librdkafka waits in cnd_timedwait() until a time of timespec_get(): both are the kernel's here).
// Debian's faketime cannot do this: it does not know cnd_timedwait(), and it cannot be loaded into a program
// with sanitizers.
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace {

// Read anew each time: this may be called before anything here could be set up.
long wrong_by() {
  const char* seconds = std::getenv("WRONG_CLOCK_SECONDS");
  return seconds == nullptr ? 0 : std::atol(seconds);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto code = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += wrong_by();
  return code;
}

int gettimeofday(timeval* time, void* /*zone*/) noexcept {
  timespec now{};
  const int code = clock_gettime(CLOCK_REALTIME, &now);
  *time = {now.tv_sec, now.tv_nsec / 1000};
  return code;
}

std::time_t time(std::time_t* also) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (also != nullptr) *also = now.tv_sec;
  return now.tv_sec;
}

}  // extern "C"
