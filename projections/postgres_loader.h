// PostgresLoader: a ViewStore for the generation that a rebuild loads: COPY into tables that have no indexes.
//
// Batches of a partition wait in a LoadingQueue and are written many at a time, in one transaction: the
// compare-and-set on the checkpoint, then COPY of the rows, closed already if the transaction closes them.
// What it closes of earlier ones cannot be looked up in tables without indexes: it is remembered in the table
// `closings` of the generation, and finish_loading() closes all of that at once. Reading rows is refused
// until then.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "projections/loading_queue.h"
#include "projections/postgres_pool.h"
#include "projections/postgres_query.h"
#include "projections/view_store.h"

namespace varve {

// Of one partition. Rows and closings that are near each other in the log meet in a transaction; finding a
// row later costs much more. That many are about 15 MB.
inline constexpr std::size_t kCopyWindow = 32'768;

class PostgresLoader final : public ViewStore {
 public:
  // `schema`: of the generation, as begin() of PostgresGenerations made it. `window`: changes of one
  // transaction. `env` and `pool` must outlive this.
  PostgresLoader(Env& env, PostgresPool& pool, const std::string& schema, std::size_t window)
      : env_(env), pool_(pool), schema_(schema), window_(window) {}

  Task<LoadedCheckpoint> load(Partition partition) override;
  Task<CommitOutcome> commit(Batch batch) override;
  // Errc::unavailable: there is nothing to be read yet.
  Task<> read(std::function<Status(ViewReader&)> work) override;

  // Writes what waits. An Error: some of what was committed before is lost.
  Task<> settle();

 private:
  LoadingQueue& queue_of(Partition partition);

  Env& env_;
  PostgresPool& pool_;
  std::string schema_;
  std::size_t window_;
  std::map<Partition, std::unique_ptr<LoadingQueue>> queues_;
};

// The table of closings, and what becomes of it.
std::string closings_table(const std::string& schema);  // "varve_views_2".closings
// Closes the rows of a view that its closings name: one row, with how many it has closed.
std::string apply_closings(const std::string& schema, View view);

}  // namespace varve
