// SnapshotStore: states of actors for fast recovery, never newer truth than the log (Recovery.tla, rules
// 21-25).
//
// Promises: a snapshot row is only replaced by one that has seen more of its stream, a damaged one also by
// one that has seen as much, and none is ever deleted. A recovery row only moves forward, by compare-and-set.
// Every write is atomic and survives once reported; a store that loses the newest writes at a power cut loses
// rows and recovery row consistently (they live in one database). Every implementation passes
// tests/projections/snapshot_store_contract.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/admission.h"
#include "eventlog/ids.h"
#include "runtime/task.h"

namespace varve {

struct SnapshotRow {
  StreamId stream;
  Partition partition;
  Sequence sequence;  // The state is the one after this event.
  // Of the last record of the stream that the state has seen: with events of it, or with a ruling on one. It
  // says which of two rows is newer: a stream that turns corrupt, or whose event is ruled absent, changes
  // without a sequence (rule 30).
  Offset seen;
  Offset born;  // Of the record that holds the stream's first event.
  bool open_turn = false;
  bool corrupt =
      false;  // The stream's history is damaged from `bad_offset` on; the state is the last good one.
  Offset bad_offset;
  std::uint64_t hash = 0;  // XXH64 of `state`.
  std::string state;       // JSON (actors/state_codec.h).

  friend bool operator==(const SnapshotRow&, const SnapshotRow&) = default;
};

// A row without its state.
struct SnapshotPlace {
  StreamId stream;
  Offset born;
  Offset seen;

  friend bool operator==(const SnapshotPlace&, const SnapshotPlace&) = default;
};

// Every stream whose last record lies before `next` has a snapshot of exactly that state.
struct RecoveryRow {
  Partition partition;
  Offset next;
  AdmissionState admission;
  WallTime at;  // Newest `at` of the partition before `next`.
  Mark mark;
  std::uint64_t streams = 0;  // Born before `next`.
  std::uint64_t version = 0;  // For compare-and-set; 0 = no row yet.

  friend bool operator==(const RecoveryRow&, const RecoveryRow&) = default;
};

// Whether a row may take the place of the stored one. What a damaged one has seen still counts: the recovery
// row may rely on it, and a row that has seen less would pass for all there is (rule 31). At one place a
// sound history beats a corrupt one: a newer program has read what an older could not.
inline bool replaces(const SnapshotRow& row, Offset stored_seen, bool stored_corrupt, bool stored_damaged) {
  if (row.seen != stored_seen) return stored_seen < row.seen;
  return stored_damaged || (stored_corrupt && !row.corrupt);
}

class SnapshotStore {
 public:
  SnapshotStore() = default;
  SnapshotStore(const SnapshotStore&) = delete;
  SnapshotStore& operator=(const SnapshotStore&) = delete;
  virtual ~SnapshotStore() = default;

  // In one transaction. A row that may not replace the stored one changes nothing (it is not an error):
  // replaces() says which may.
  virtual Task<> put(std::vector<SnapshotRow> rows) = 0;
  virtual Task<std::optional<SnapshotRow>> get(StreamId stream) = 0;

  virtual Task<std::optional<RecoveryRow>> recovery(Partition partition) = 0;
  // Replaces the row of version `row.version` and stores it with the next version. False if the stored
  // version is another, or the stored row lies beyond `row.next`.
  virtual Task<bool> move_recovery(RecoveryRow row) = 0;

  // Rows of the partition behind `after`, in the order of their streams, at most `limit`.
  virtual Task<std::vector<SnapshotPlace>> list(Partition partition, StreamId after, std::size_t limit) = 0;
  // Streams of the partition whose snapshot has an open turn, in order.
  virtual Task<std::vector<StreamId>> open_turns(Partition partition) = 0;
};

}  // namespace varve
