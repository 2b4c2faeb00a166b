// PostgresSnapshotStore: snapshots and recovery rows in PostgreSQL (migrations/postgres/0001_control.sql),
// shared by the nodes of a cluster.
//
// Every call is one statement, which is one transaction; a put() that meets rows which have seen as much as
// its own is two, because only we can tell whether such a row is damaged (XXH64): the first then only reads,
// and the second replaces the damaged ones by compare-and-set on what was read. Durable once reported if the
// server's synchronous_commit is on, its default.
//
// Errc::unavailable: nothing was written. Errc::outcome_unknown: the connection was lost on the way. Both
// calls may be repeated as they are: the second put() changes nothing, and a second move_recovery() says
// false.
//
// Thread: the Env's; statements run on Lane::store.
#pragma once

#include "eventlog/snapshot_store.h"
#include "projections/postgres_pool.h"

namespace varve {

class PostgresSnapshotStore final : public SnapshotStore {
 public:
  // `pool` must outlive the store. The schema must be there (postgres_migrate.h).
  explicit PostgresSnapshotStore(PostgresPool& pool) : pool_(pool) {}

  Task<> put(std::vector<SnapshotRow> rows) override;
  Task<std::optional<SnapshotRow>> get(StreamId stream) override;
  Task<std::optional<RecoveryRow>> recovery(Partition partition) override;
  Task<bool> move_recovery(RecoveryRow row) override;
  Task<std::vector<SnapshotPlace>> list(Partition partition, StreamId after, std::size_t limit) override;
  Task<std::vector<StreamId>> open_turns(Partition partition) override;

 private:
  PostgresUse how() const { return {Lane::store, pool_.options().answer}; }

  PostgresPool& pool_;
};

}  // namespace varve
