// What a rebuild does to whole tables of a generation in PostgreSQL: takes keys and indexes away, closes what
// the batches have left open, makes keys and indexes, adds all rows up. Adapter: used by
// postgres_generations.cpp, on whichever thread its job runs.
//
// Rows come first, then what finds them: `closings` is there while rows are loaded, `indexing` in its place
// while indexes are made, neither when the generation is whole.
#pragma once

#include <string>
#include <vector>

#include "projections/generations.h"
#include "projections/postgres_session.h"
#include "projections/postgres_view_reader.h"

namespace varve {

std::string indexing_table(const std::string& schema);

Status make_bare(PostgresTransaction& transaction, const std::string& schema);
// Until the transaction ends: what a killed rebuild has begun goes on in the server for a while. Whoever
// makes an index shares the lock; whoever asks which are missing is alone.
Status lock_tables(PostgresTransaction& transaction, const std::string& schema, bool alone);
// Errc::corrupt: a closing met no open row. Then the tables hold all rows that they should.
Status close_all(PostgresTransaction& transaction, const std::string& schema);

// Statements that may run in any order and side by side, each in a transaction of its own: indexes as the
// templates have them, of which the largest come first; then the keys, of which the indexes are there;
// then the statistics.
Status missing_indexes(PostgresTransaction& transaction, const std::string& schema,
                       std::vector<std::string>& statements);
Status missing_keys(PostgresTransaction& transaction, const std::string& schema,
                    std::vector<std::string>& statements);
Status tables_to_analyze(PostgresTransaction& transaction, const std::string& schema,
                         std::vector<std::string>& statements);

// Adds what one part of the rows adds up to, and the checkpoints.
Status sum_rows_of(PostgresTransaction& transaction, const std::string& schema, RowStripe stripe,
                   std::uint32_t partitions, RowsSummed& sums);

}  // namespace varve
