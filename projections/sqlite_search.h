// The search index in a file of views: the table message_words, filled with what projections/search_terms.h
// says of each message, and read by it. Adapter: used by the SQLite store's writer and reader, on their
// connections and in their transactions.
#pragma once

#include <string>
#include <vector>

#include "projections/sqlite_query.h"
#include "projections/sqlite_view_reader.h"
#include "projections/view_store.h"

namespace varve {

// Indexes the messages that the batch inserted. Belongs behind the last savepoint of a transaction: FTS5
// writes what it has gathered whenever one begins.
Status index_messages(SqliteConnection& connection, const Batch& batch);

// Indexes all messages of the file anew, in one transaction, unless they are indexed by kSearchVersion.
Status bring_search_index_up_to_date(SqliteConnection& connection);

// Columns of the result: as those of select_sql() for messages. `search` has passed check_search(), `phrases`
// are those of its query, at least one.
SqlQuery search_sql(const SearchQuery& search, const std::vector<std::string>& phrases);

}  // namespace varve
