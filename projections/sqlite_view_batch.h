// What a transaction writes into a file of views besides rows that it looks up: the checkpoint by
// compare-and-set, quarantine and times. Shared by the store that folds and the one that loads. Adapter: on
// their connections, in their transactions.
#pragma once

#include "projections/sqlite_view_reader.h"
#include "projections/view_store.h"

namespace varve {

// False: the stored version is another one.
Result<bool> move_checkpoint(SqliteConnection& connection, const Batch& batch);
// What the batch releases and parks.
Status write_quarantine(SqliteConnection& connection, const Batch& batch);
Status write_times(SqliteConnection& connection, const Batch& batch);

// Parameters of insert_sql().
void bind_row(sqlite::Statement& statement, const Row& row);

// Whether that is why the newest statement has failed.
bool violates_a_constraint(const SqliteConnection& connection);

}  // namespace varve
