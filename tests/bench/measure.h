// What benchmarks in C++ measure with: the clock, the processor's time, the middle of several rounds.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace varve::bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// `who`: RUSAGE_SELF (all threads of the process) or RUSAGE_THREAD.
inline double processor_seconds(int who) {
  rusage used{};
  ::getrusage(who, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// Zero of nothing.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What something cost that was done so many times.
struct Cost {
  double per_second = 0;
  double process_us = 0;  // Of the processor for each, in all threads of this process,
  double thread_us = 0;   // and in the thread that measured.
};

class Stopwatch {
 public:
  Cost stop(std::size_t times) const {
    const auto count = static_cast<double>(times);
    return {count / seconds_since(start_), (processor_seconds(RUSAGE_SELF) - process_) / count * 1e6,
            (processor_seconds(RUSAGE_THREAD) - thread_) / count * 1e6};
  }

 private:
  Clock::time_point start_ = Clock::now();
  double process_ = processor_seconds(RUSAGE_SELF);
  double thread_ = processor_seconds(RUSAGE_THREAD);
};

}  // namespace varve::bench
