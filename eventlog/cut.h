// Cut: a moment of the whole log, one offset for every partition, inclusive. A partition that is not named
// has nothing in it. What `as_of` resolves to (projections/as_of.h). Pure.
//
// Text: positions by partition with commas between them, "0:17,1:88". A cut of one partition has the comma
// behind it, "0:17,", and the empty one is ",": "0:17" alone is a position, which is another question (its
// partition up to there, and the others up to its time).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eventlog/ids.h"

namespace varve {

class Cut {
 public:
  Cut() = default;
  explicit Cut(const std::vector<LogPosition>& positions);
  // This partition up to the position, and everything of all others, whatever will be in them. For reads
  // inside the program: it is no moment, and its text ("0:17,*") cannot be read back.
  static Cut of_partition(const LogPosition& position);

  // In place of what was there of its partition.
  void set(const LogPosition& position);

  // Nothing = nothing of this partition; never for a partition that is there whole.
  std::optional<Offset> last(Partition partition) const;
  bool holds(const LogPosition& position) const;
  // Of the partitions that have something in it, ordered by partition.
  const std::vector<LogPosition>& positions() const { return positions_; }
  // True for of_partition(): the partitions that are not named are there whole.
  bool others_whole() const { return others_whole_; }

  friend bool operator==(const Cut&, const Cut&) = default;

 private:
  std::vector<LogPosition> positions_;  // Each partition once, in order.
  bool others_whole_ = false;
};

std::string to_string(const Cut& cut);
// Errc::invalid_argument for what is no cut, also for a position without a comma.
Result<Cut> parse_cut(std::string_view text);

}  // namespace varve
