// Timings: how long things took, as histograms with fixed buckets. Integers only; adding is a comparison or
// two, and allocates nothing once a series is there. What is measured has a name and up to three labels, each
// of few values: never an id, never what a client has sent.
//
// Bounded: kSeriesMax series; what comes after them is added up in one (overflow()). Thread: its owner's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "runtime/time.h"

namespace varve {

class Histogram {
 public:
  // Upper bounds of the buckets, in microseconds, inclusive; behind the last one comes a bucket without.
  static constexpr std::array<std::int64_t, 21> kBoundsUs{
      100,       250,        500,        1'000,      2'500,       5'000,       10'000,
      25'000,    50'000,     100'000,    250'000,    500'000,     1'000'000,   2'500'000,
      5'000'000, 10'000'000, 25'000'000, 60'000'000, 120'000'000, 300'000'000, 600'000'000};

  void add(Duration took);
  std::uint64_t count() const { return count_; }
  // Of all that was added, in microseconds.
  std::uint64_t sum_us() const { return sum_ns_ / 1000; }
  // How many were at most kBoundsUs[bound].
  std::uint64_t at_most(std::size_t bound) const;

 private:
  std::array<std::uint64_t, kBoundsUs.size() + 1> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ns_ = 0;
};

// The name of one series, for asking; the labels that are not used are empty.
struct TimingName {
  std::string_view what;
  std::string_view first;
  std::string_view second;
  std::string_view third;
};

class Timings {
 public:
  static constexpr std::size_t kSeriesMax = 4096;

  struct Key {
    std::string what;
    std::string first;
    std::string second;
    std::string third;
  };
  struct Less {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return parts(a) < parts(b);
    }

   private:
    template <class T>
    static auto parts(const T& key) {
      using View = std::string_view;
      return std::tuple{View{key.what}, View{key.first}, View{key.second}, View{key.third}};
    }
  };
  using Series = std::map<Key, Histogram, Less>;

  // The same one for the same name, at the same address as long as this lives.
  Histogram& series(const TimingName& name);
  const Series& all() const { return series_; }
  const Histogram& overflow() const { return overflow_; }

 private:
  Series series_;
  Histogram overflow_;
};

}  // namespace varve
