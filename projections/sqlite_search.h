// The search index in a file of views: the table message_words, filled with what projections/search_terms.h
// says of each message, and read by it. Adapter: used by the SQLite store's writer and reader, on their
// connections and in their transactions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "projections/sqlite_query.h"
#include "projections/sqlite_view_reader.h"
#include "projections/view_store.h"

namespace varve {

// Indexes what waits, if more than `waiting_max` messages do. Belongs behind the last savepoint of a
// transaction: FTS5 writes what it has gathered whenever one begins.
Status index_waiting_messages(SqliteConnection& connection, std::int64_t waiting_max);

// Indexes what waits, and all messages of the file anew unless they are indexed by kSearchVersion, in one
// transaction.
Status bring_search_index_up_to_date(SqliteConnection& connection);

// Columns of the result: as those of select_sql() for messages. `search` has passed check_search(), `phrases`
// are those of its query, at least one.
SqlQuery search_sql(const SearchQuery& search, const std::vector<std::string>& phrases);
// The messages that wait to be indexed and are what is asked for but for their words, newest first; without a
// limit.
SqlQuery waiting_sql(const SearchQuery& search);

}  // namespace varve
