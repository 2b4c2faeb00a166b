// verify: proves that stored views are the fold of the log. Three things must agree: the digest that the
// checkpoint carries, the rows in the tables, and an independent replay of the log up to the checkpoint.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "projections/fold.h"
#include "projections/view_store.h"

namespace varve {

struct Difference {
  Partition partition;
  std::string what;  // A sentence: which view, which row, both values, the offset that last touched it.
};

inline constexpr std::uint32_t kWholeSample = 100;
struct VerifyOptions {
  std::optional<View> view;  // Absent: all.
  // Of every 100 entities so many are compared row by row, and only they are held in memory. Digests are of
  // all rows, whatever the sample is: they tell that something differs, the rows tell what.
  std::uint32_t sample = kWholeSample;
  RowRewrite rewrite;  // As the views were folded with (RebuildOptions::rewrite).
};

// Compares one partition; empty = proven equal. Parked streams are compared up to their poison. An Error
// means that it could not be compared: of Errc::corrupt, because the log or the checkpoint is damaged.
Task<std::vector<Difference>> fold_equals(Env& env, EventLog& log, ViewStore& store, Partition partition);
Task<std::vector<Difference>> fold_equals(Env& env, EventLog& log, ViewStore& store, Partition partition,
                                          VerifyOptions options);

}  // namespace varve
