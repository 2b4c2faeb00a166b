#include "projections/memory_snapshot_store.h"

#include "runtime/mutant.h"
#include "runtime/suspend.h"

namespace varve {

void put_rows(MemorySnapshotStorage& storage, std::vector<SnapshotRow> rows) {
  for (SnapshotRow& row : rows) {
    const auto stored = storage.snapshots.find(row.stream);
    if (stored == storage.snapshots.end()) {
      storage.snapshots.emplace(row.stream, std::move(row));
      continue;
    }
    const SnapshotRow& old = stored->second;
    const bool damaged = xxh64(old.state) != old.hash;
    bool wins = replaces(row, old.seen, old.corrupt, damaged);
    if (mutant(Mutant::older_snapshot_wins)) wins = true;
    if (mutant(Mutant::snapshot_by_sequence)) wins = damaged || old.sequence < row.sequence;
    if (mutant(Mutant::damaged_snapshot_gives_way)) wins = wins || damaged;
    if (wins) stored->second = std::move(row);
  }
}

bool move_recovery_row(MemorySnapshotStorage& storage, RecoveryRow row) {
  const auto stored = storage.recovery.find(row.partition);
  const bool none = stored == storage.recovery.end();
  const bool expected = none ? row.version == 0 : stored->second.version == row.version;
  const bool moves = expected && (none || row.next >= stored->second.next);
  if (!moves && !mutant(Mutant::recovery_row_moves_back)) return false;
  ++row.version;
  storage.recovery[row.partition] = std::move(row);
  return true;
}

Task<> MemorySnapshotStore::put(std::vector<SnapshotRow> rows) {
  co_await yield(env_);  // A crash may fall here: nothing was written.
  put_rows(*storage_, std::move(rows));
  co_await yield(env_);  // A crash may fall here: all of it was written.
  co_return ok();
}

Task<std::optional<SnapshotRow>> MemorySnapshotStore::get(StreamId stream) {
  co_await yield(env_);
  const auto found = storage_->snapshots.find(stream);
  if (found == storage_->snapshots.end()) co_return std::optional<SnapshotRow>{};
  co_return std::optional<SnapshotRow>{found->second};
}

Task<std::optional<RecoveryRow>> MemorySnapshotStore::recovery(Partition partition) {
  co_await yield(env_);
  const auto found = storage_->recovery.find(partition);
  if (found == storage_->recovery.end()) co_return std::optional<RecoveryRow>{};
  co_return std::optional<RecoveryRow>{found->second};
}

Task<bool> MemorySnapshotStore::move_recovery(RecoveryRow row) {
  co_await yield(env_);  // A crash may fall here: nothing was written.
  const bool moves = move_recovery_row(*storage_, std::move(row));
  co_await yield(env_);  // A crash may fall here: all of it was written.
  co_return moves;
}

Task<std::vector<SnapshotPlace>> MemorySnapshotStore::list(Partition partition, StreamId after,
                                                           std::size_t limit) {
  co_await yield(env_);
  std::vector<SnapshotPlace> places;
  const auto& rows = storage_->snapshots;
  for (auto row = rows.upper_bound(after); row != rows.end() && places.size() < limit; ++row) {
    if (row->second.partition == partition)
      places.push_back({row->first, row->second.born, row->second.seen});
  }
  co_return places;
}

Task<std::vector<StreamId>> MemorySnapshotStore::open_turns(Partition partition) {
  co_await yield(env_);
  std::vector<StreamId> streams;
  for (const auto& [stream, row] : storage_->snapshots) {
    if (row.partition == partition && row.open_turn) streams.push_back(stream);
  }
  co_return streams;
}

}  // namespace varve
