// PostgresLoader: a ViewStore for the generation that a rebuild loads: COPY into tables that have no indexes.
//
// A batch is one transaction: the compare-and-set on the checkpoint, then COPY of the rows, closed already if
// the batch closes them. What it closes of earlier batches cannot be looked up in tables without indexes: it
// is remembered in the table `closings` of the generation, and finish_loading() closes all of that at once.
// Reading rows is refused until then. As PostgresViewStore it runs on Lane::store.
#pragma once

#include <string>

#include "projections/postgres_pool.h"
#include "projections/postgres_query.h"
#include "projections/view_store.h"

namespace varve {

class PostgresLoader final : public ViewStore {
 public:
  // `schema`: of the generation, as begin() of PostgresGenerations made it. `pool` must outlive this.
  PostgresLoader(PostgresPool& pool, const std::string& schema) : pool_(pool), schema_(schema) {}

  Task<LoadedCheckpoint> load(Partition partition) override;
  Task<CommitOutcome> commit(Batch batch) override;
  // Errc::unavailable: there is nothing to be read yet.
  Task<> read(std::function<Status(ViewReader&)> work) override;

 private:
  PostgresPool& pool_;
  std::string schema_;
};

// The table of closings, and what becomes of it.
std::string closings_table(const std::string& schema);  // "varve_views_2".closings
// Closes the rows of a view that its closings name: one row, with how many it has closed.
std::string apply_closings(const std::string& schema, View view);

}  // namespace varve
