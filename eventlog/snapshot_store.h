// SnapshotStore: states of actors for fast recovery, never newer truth than the log (Recovery.tla, rules
// 21-25).
//
// Promises: a snapshot row only moves to a higher sequence and is never deleted; a bad one is replaced in
// place, by compare-and-set on its hash. A recovery row only moves forward, by compare-and-set. Every write
// is atomic and survives once reported; a store that loses the newest writes at a power cut loses rows and
// recovery row consistently (they live in one database). Every implementation passes
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
  Offset born;        // Of the record that holds the stream's first event.
  bool open_turn = false;
  bool corrupt =
      false;  // The stream's history is damaged from `bad_offset` on; the state is the last good one.
  Offset bad_offset;
  std::uint64_t hash = 0;  // XXH64 of `state`.
  std::string state;       // JSON (actors/state_codec.h).

  friend bool operator==(const SnapshotRow&, const SnapshotRow&) = default;
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

class SnapshotStore {
 public:
  SnapshotStore() = default;
  SnapshotStore(const SnapshotStore&) = delete;
  SnapshotStore& operator=(const SnapshotStore&) = delete;
  virtual ~SnapshotStore() = default;

  // In one transaction. A row of a lower or equal sequence than the stored one changes nothing (it is not an
  // error), unless the stored one's hash does not match its state: then it is replaced.
  virtual Task<> put(std::vector<SnapshotRow> rows) = 0;
  virtual Task<std::optional<SnapshotRow>> get(StreamId stream) = 0;

  virtual Task<std::optional<RecoveryRow>> recovery(Partition partition) = 0;
  // Replaces the row of version `row.version` and stores it with the next version. False if the stored
  // version is another, or the stored row lies beyond `row.next`.
  virtual Task<bool> move_recovery(RecoveryRow row) = 0;

  // Rows of the partition whose stream was born before `before`.
  virtual Task<std::uint64_t> count_born_before(Partition partition, Offset before) = 0;
  // Streams of the partition whose snapshot has an open turn, in order.
  virtual Task<std::vector<StreamId>> open_turns(Partition partition) = 0;
};

}  // namespace varve
