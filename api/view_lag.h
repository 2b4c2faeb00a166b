// ViewLag: how far the views are behind the log, as this node has seen both: how many offsets, and for how
// long the oldest of them has been waiting. It asks nobody; whoever learns where the log or the views are
// tells it. So it costs a write next to nothing, and what it says of a partition that this node neither
// writes nor looks at is old.
//
// The time is exact for what this node has written or seen coming, to kSpacing at first; the longer the lag,
// the coarser (it keeps kSamplesMax points of time). Offsets have gaps, so their number is an upper bound of
// the number of records. Thread: the Env's.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "projections/view_progress.h"

namespace varve {

class ViewLag {
 public:
  static constexpr std::size_t kSamplesMax = 64;
  static constexpr Duration kSpacing = std::chrono::milliseconds{100};

  struct Behind {
    std::uint64_t records = 0;
    Duration time{};
    friend bool operator==(const Behind&, const Behind&) = default;
  };

  ViewLag(Env& env, ViewStore& views, ViewProgress& progress)
      : env_(env), views_(views), progress_(progress) {}

  // The log of this partition goes up to `end` at least.
  void saw_end(Partition partition, Offset end);
  Behind behind(Partition partition) const;
  // Errc::resource_exhausted, with both numbers, while the views are more than `records_max` behind. Looks
  // into the store before it says so, a few times a second at most: another process may do the folding.
  Task<> check(Partition partition, std::uint64_t records_max);

 private:
  struct Sample {
    Offset end;
    MonoTime at;  // When this node saw it first.
  };
  struct Seen {
    std::deque<Sample> samples;  // Ends that the views have not passed, oldest first.
    Sample newest;
    Duration spacing{kSpacing};
    std::optional<MonoTime> looked;  // Into the store.
  };
  Task<> look(Partition partition);

  Env& env_;
  ViewStore& views_;
  ViewProgress& progress_;
  std::map<Partition, Seen> seen_;
};

}  // namespace varve
