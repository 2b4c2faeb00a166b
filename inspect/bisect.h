// Bisect: an event at which a condition on the views turns true between two cuts.
//
// Records of several partitions are taken in the order of (time, partition, offset), so that between two cuts
// lies a row of states, each one record later. If the condition is false at the first and true at the last,
// some neighbours differ: halving finds a pair in O(log n) states. If it turns true more than once any of
// those is a right answer; Find::first looks at every state from the beginning.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inspect/history.h"

namespace varve {

enum class Find : bool { any, first };

struct BisectAnswer {
  enum class Kind : unsigned char {
    found,
    true_at_good,  // It holds at the good cut already.
    false_at_bad,  // It does not hold at the bad cut (`first`: nor before).
  };
  Kind kind = Kind::found;
  LogPosition position;     // Of the record that made it true.
  PastCut before;           // The cut at which it is false yet,
  PastCut after;            // and the one with the record.
  std::size_t records = 0;  // Between the good and the bad cut.
  std::size_t states_asked = 0;
};

// Errc::invalid_argument if something of `good` is missing in `bad`.
Status check_order(const PastCut& good, const PastCut& bad);

// Errc::invalid_argument as check_order(). `states` must outlive the task;
// `records` are sorted.
Task<BisectAnswer> bisect(PastStates& states, std::vector<PastRecord> records,
                          std::shared_ptr<const Expression> where, std::optional<StreamId> about,
                          PastCut good, PastCut bad, Find find);

}  // namespace varve
