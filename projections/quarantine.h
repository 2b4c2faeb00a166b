// Quarantine: what becomes of a stream that is parked at an event which could not be folded.
//
// - retry() folds what waits with the present code, each event where it would have been, up to the
// checkpoint,
//   releases the stream and moves the version, in one transaction (rule 20).
// - A skip is a Ruling in the log, written by the partition's owner (Shard::rule in actors/shard.h). Whoever
//   folds meets it there: the event is absent, and what has waited behind it is valid from the ruling's
//   position on. So live views, rebuilds, verify and replay skip alike. An event counts as poison before its
//   ruling even for a program that could read it: ruled_later() says which.
#pragma once

#include <functional>

#include "projections/fold.h"

namespace varve {

enum class RetryOutcome : unsigned char {
  released,      // Nothing of the stream waits any more.
  parked_again,  // It could not be folded, or only up to a later event: the quarantine says which.
  not_parked,
};

// Errc::outcome_unknown, Errc::unavailable: ask again, a second retry is harmless. Errc::corrupt: what waits
// does not fit the rows that are there; nothing has changed.
Task<RetryOutcome> retry(Env& env, EventLog& log, ViewStore& store, StreamId stream);

// The events with a ruling in [checkpoint.next, to): stop_at() these.
Task<EventPlaces> ruled_later(EventLog& log, Partition partition, Checkpoint checkpoint, Offset to);

// Takes a ruling with fold.released_by() not empty, as the first record of a batch. After an Error the fold
// is of no use. `fold` lives until the task has ended.
Task<> take_ruling(EventLog& log, ViewStore& store, Partition partition, PartitionFold& fold,
                   LogRecord record);

// A ruling at `at` is about an event that a fold has not stopped at. Ends well if an earlier ruling was about
// it, or if there is no such event. Errc::corrupt: its rows are there and should not be.
Task<> check_late_ruling(EventLog& log, Partition partition, EventPlace place, Offset at);

// Those of the entities that have an open row in the partition.
Result<std::set<RowKey>> open_rows(ViewReader& views, Partition partition, const std::set<RowKey>& keys);

}  // namespace varve
