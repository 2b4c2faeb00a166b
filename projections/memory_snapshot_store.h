// MemorySnapshotStore: snapshots and recovery rows in memory, for tests and the simulation.
// MemorySnapshotStorage is the world and outlives incarnations; the port belongs to one of them. A write
// happens in a step of its own.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "eventlog/snapshot_store.h"
#include "runtime/env.h"

namespace varve {

struct MemorySnapshotStorage {
  std::map<StreamId, SnapshotRow> snapshots;
  std::map<Partition, RecoveryRow> recovery;
};

// One write each, as SnapshotStore::put() and move_recovery() promise it.
void put_rows(MemorySnapshotStorage& storage, std::vector<SnapshotRow> rows);
bool move_recovery_row(MemorySnapshotStorage& storage, RecoveryRow row);

class MemorySnapshotStore final : public SnapshotStore {
 public:
  // `env` must outlive the store.
  MemorySnapshotStore(Env& env, std::shared_ptr<MemorySnapshotStorage> storage)
      : env_(env), storage_(std::move(storage)) {}

  Task<> put(std::vector<SnapshotRow> rows) override;
  Task<std::optional<SnapshotRow>> get(StreamId stream) override;
  Task<std::optional<RecoveryRow>> recovery(Partition partition) override;
  Task<bool> move_recovery(RecoveryRow row) override;
  Task<std::vector<SnapshotPlace>> list(Partition partition, StreamId after, std::size_t limit) override;
  Task<std::vector<StreamId>> open_turns(Partition partition) override;

 private:
  Env& env_;
  std::shared_ptr<MemorySnapshotStorage> storage_;
};

}  // namespace varve
