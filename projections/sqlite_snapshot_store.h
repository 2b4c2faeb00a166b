// SqliteSnapshotStore: the control file, control.db: snapshots, recovery rows and the active generation.
//
// synchronous=NORMAL: a power cut may take the newest transactions, but only from the end. A recovery row was
// written after the snapshots that it counts on, into the same file, so it never claims more than they hold.
// The log is synced by itself: losing the newest rows, or the whole file, only makes the next recovery
// longer.
//
// Everything runs on Lane::store, on one connection: reads are rare (an activation, a start), they see what
// was put before them, and they do not queue behind the API's reads.
#pragma once

#include <memory>
#include <string>

#include "eventlog/snapshot_store.h"
#include "runtime/env.h"

namespace varve {

class SqliteSnapshotStore final : public SnapshotStore {
 public:
  // Makes control.db in `directory`, which exists, or brings it to the newest schema; blocks the caller
  // meanwhile. `env` must outlive the store. Errc::unavailable if the file cannot be opened, Errc::corrupt if
  // it is damaged or of a newer schema.
  static Result<std::unique_ptr<SqliteSnapshotStore>> open(Env& env, const std::string& directory);
  ~SqliteSnapshotStore() override;

  Task<> put(std::vector<SnapshotRow> rows) override;
  Task<std::optional<SnapshotRow>> get(StreamId stream) override;
  Task<std::optional<RecoveryRow>> recovery(Partition partition) override;
  Task<bool> move_recovery(RecoveryRow row) override;
  Task<std::vector<SnapshotPlace>> list(Partition partition, StreamId after, std::size_t limit) override;
  Task<std::vector<StreamId>> open_turns(Partition partition) override;

  // The generation of the views that readers use; 1 in a new file. Setting it is synced by itself.
  Task<std::uint64_t> active_generation();
  Task<> set_active_generation(std::uint64_t generation);

  static std::string path_of(const std::string& directory);

 private:
  class File;  // The connection; shared with the jobs that use it.
  SqliteSnapshotStore(Env& env, std::shared_ptr<File> file);

  Env& env_;
  std::shared_ptr<File> file_;
};

}  // namespace varve
