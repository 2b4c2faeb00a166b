// PostgresProcessTable: the table `processes` of the database that a cluster shares (migrations/postgres).
// Times are the server's alone, so clocks of nodes do not matter. Each call is one statement on Lane::read,
// so that it never stands before a batch of views. Errc::unavailable: PostgreSQL is away.
#pragma once

#include "projections/postgres_pool.h"
#include "projections/process_table.h"

namespace varve {

class PostgresProcessTable final : public ProcessTable {
 public:
  // `pool` outlives it.
  explicit PostgresProcessTable(PostgresPool& pool) : pool_(pool) {}

  Task<> keep(ProcessSelf self) override;
  Task<> leave(std::string node) override;
  Task<std::vector<ProcessSeen>> seen(std::string cluster) override;

 private:
  PostgresPool& pool_;
};

}  // namespace varve
