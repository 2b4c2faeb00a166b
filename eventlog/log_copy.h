// Copies one log into another, record by record, bytes unchanged: how a server moves from the embedded log to
// Kafka, or back.
//
// Promises: every record is at the same offset in the copy as in the original, or the copy ends with an error
// that names the first one that is not (checkpoints, marks and rulings name offsets). Records that count for
// nobody (fenced, foreign) are copied too, so admission comes to the same end. A copy that was interrupted is
// gone on with: what is there already is compared, not written again. Never: a record in a log that holds
// anything else than a beginning of the original.
//
// Nobody may append to either log meanwhile; the caller holds the original's lock. Thread: the Env's.
#pragma once

#include <functional>

#include "eventlog/event_log.h"

namespace varve {

// How much of one partition is on its way at a time.
inline constexpr std::size_t kCopyRecordsMax = 1024;
inline constexpr std::size_t kCopyBytesMax = std::size_t{16} << 20U;

struct CopiedPartition {
  std::uint64_t compared = 0;  // Records that were there already.
  std::uint64_t copied = 0;
  std::uint64_t bytes = 0;  // Of the copied ones.
};
// Called after each round of a partition.
using CopyProgress = std::function<void(Partition, const CopiedPartition&)>;

// Errc::invalid_argument: the logs have different numbers of partitions. Errc::conflict: the target holds
// something else at an offset that the sentence names. Errc::unavailable, Errc::outcome_unknown: run it
// again.
Task<CopiedPartition> copy_partition(Env& env, EventLog& from, EventLog& to, Partition partition,
                                     CopyProgress progress);

}  // namespace varve
