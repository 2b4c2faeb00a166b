// verify: proves that stored views are the fold of the log. Three things must agree: the digest that the
// checkpoint carries, the rows in the tables, and an independent replay of the log up to the checkpoint.
#pragma once

#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "projections/view_store.h"

namespace varve {

struct Difference {
  Partition partition;
  std::string what;  // A sentence: which view, which row, both values, the offset that last touched it.
};

// Compares one partition; empty = proven equal. Parked streams are compared up to their poison.
Task<std::vector<Difference>> fold_equals(Env& env, EventLog& log, ViewStore& store, Partition partition);

}  // namespace varve
