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

// Indexes the message that this connection inserted last. Nothing else may be inserted in between.
Status index_message(SqliteConnection& connection, const Row& message);

// Indexes all messages of the file anew, in one transaction, unless they are indexed by kSearchVersion.
Status bring_search_index_up_to_date(SqliteConnection& connection);

// Columns of the result: as those of select_sql() for messages. `search` has passed check_search(), `phrases`
// are those of its query, at least one.
SqlQuery search_sql(const SearchQuery& search, const std::vector<std::string>& phrases);

}  // namespace varve
