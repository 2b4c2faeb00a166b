// PostgresViewStore: the views of one generation in PostgreSQL, in its schema varve_views_<generation>, or
// <schema>_views_<generation> if the search_path of the url begins with another schema than public.
//
// A commit is one statement, which is its own transaction: one round trip
// (projections/postgres_view_batch.h). A connection that is lost meanwhile leaves Errc::outcome_unknown.
// Reads are one transaction of one moment (REPEATABLE READ, read only). Several nodes may write and read one
// generation. Nothing is kept between statements: the generation is in the text of each.
//
// Commits run on Lane::store (Options::lane), reads on Lane::read, on the connections of the pool.
#pragma once

#include <memory>
#include <string>

#include "projections/postgres_pool.h"
#include "projections/postgres_query.h"
#include "projections/view_store.h"

namespace varve {

class PostgresViewStore final : public ViewStore {
 public:
  // What reads read; load() and commit() always mean the generation of the store.
  enum class Reads : unsigned char {
    live,        // The generation that is shown (varve_live, <schema>_live), whichever that is at the moment.
    generation,  // The store's own: rebuilds, verification, tests.
  };
  struct Options {
    std::uint64_t generation = 1;
    Reads reads = Reads::live;
    // The store's generation is the one that is shown, whichever that is when a checkpoint is loaded; only
    // where none is shown it is `generation`. A batch that was folded on another one loses its race.
    bool follows_live = false;
    // Where load() and commit() run. A rebuild takes Lane::read: what this process folds into the active
    // generation waits on Lane::store while the switch waits for the next one.
    Lane lane = Lane::store;
    // Batches tell other processes that they are in (projections/postgres_listener.h), in the same statement.
    // PostgreSQL commits those that do one after the other.
    bool tells = false;
  };

  // Touches nothing yet. `pool` must outlive the store, and its database be migrated.
  PostgresViewStore(PostgresPool& pool, Options options) : pool_(pool), options_(options) {}

  // Makes the tables of the generation unless they are there, and shows it if none is shown. What comes first
  // does it too. Errc::corrupt: the schema is not this program's, or the messages of the generation were
  // indexed by another version of search_terms.h.
  Task<> prepare();

  Task<LoadedCheckpoint> load(Partition partition) override;
  Task<CommitOutcome> commit(Batch batch) override;
  Task<> read(std::function<Status(ViewReader&)> work) override;

 private:
  // Shared with the jobs on the lanes.
  struct Tables {
    ViewTables own;
    ViewTables read;
    std::uint64_t generation = 0;
    std::string prefix;
    std::string begin_read;  // What a reading transaction begins with.
  };
  using SharedTables = std::shared_ptr<const Tables>;
  Task<SharedTables> tables();
  SharedTables tables_of(const std::string& prefix, std::uint64_t generation) const;

  PostgresPool& pool_;
  Options options_;
  SharedTables tables_;  // Null until prepared.
};

// Fills nothing, shows it: readers of varve_live read this generation from now on, in one transaction. A read
// that is under way holds it up; Errc::unavailable after the pool's time for a lock, and nothing was done.
Task<> show_generation(PostgresPool& pool, std::uint64_t generation);

}  // namespace varve
