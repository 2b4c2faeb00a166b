#include "runtime/timings.h"

#include <algorithm>

namespace varve {

void Histogram::add(Duration took) {
  // A clock that stands still or a pause between two nodes' clocks: nothing took less than no time.
  const std::int64_t ns = std::max<std::int64_t>(took.count(), 0);
  const std::int64_t us = (ns + 999) / 1000;
  std::size_t bucket = 0;
  while (bucket < kBoundsUs.size() && us > kBoundsUs[bucket]) ++bucket;
  ++buckets_[bucket];
  ++count_;
  sum_ns_ += static_cast<std::uint64_t>(ns);
}

std::uint64_t Histogram::at_most(std::size_t bound) const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i <= bound && i < buckets_.size(); ++i) sum += buckets_[i];
  return sum;
}

Histogram& Timings::series(const TimingName& name) {
  if (const auto found = series_.find(name); found != series_.end()) return found->second;
  if (series_.size() >= kSeriesMax) return overflow_;
  Key key{std::string(name.what), std::string(name.first), std::string(name.second), std::string(name.third)};
  return series_.emplace(std::move(key), Histogram{}).first->second;
}

}  // namespace varve
