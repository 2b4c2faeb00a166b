// PostgresKeyStore: the keys of erasable streams in PostgreSQL (migrations/postgres, table stream_keys),
// shared by the nodes of a cluster.
//
// Every call is one statement, which is one transaction, durable once reported if the server's
// synchronous_commit is on, its default. What PostgreSQL keeps of a deleted row until it is vacuumed, and in
// its write-ahead log and its backups, is beyond this program (docs/personal-data.md). The session that makes
// keys is not logged by this program; a server with log_statement and log_parameter_max_length set may do so.
//
// Errc::unavailable: nothing was written. Errc::outcome_unknown: the connection was lost on the way; the same
// call may be repeated as it is. Thread: the Env's; statements run on Lane::store.
#pragma once

#include "eventlog/key_store.h"
#include "projections/postgres_pool.h"

namespace varve {

class PostgresKeyStore final : public KeyStore {
 public:
  // `pool` must outlive the store. The schema must be there (postgres_migrate.h).
  explicit PostgresKeyStore(PostgresPool& pool);

  Task<StreamKeys> create(std::vector<StreamId> streams) override;
  Task<StreamKeys> read(std::vector<StreamId> streams) override;
  Task<> destroy(std::vector<StreamId> streams) override;

 private:
  PostgresUse how() const { return {Lane::store, pool_.options().answer}; }

  PostgresPool& pool_;
};

}  // namespace varve
