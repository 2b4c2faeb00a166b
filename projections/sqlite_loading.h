// The file of a generation while a rebuild loads it: how it is made, and what makes it a file like any other.
//
// Until it is finished it has no secondary index, and the keys are among those; rows of a table that is kept
// in its key go into a table loading_<view> beside it; and what closes a row that an earlier transaction has
// appended stands in loading_closings. So every transaction appends, and indexes the words of its messages.
// Its journal is one for undoing, not the write-ahead log: what is appended needs no old pages in it, and is
// written once. Every transaction is synced: neither a death nor a power cut takes one back.
//
// finish_file() does the rest in steps, each a transaction: rows into their keys, indexes of the keys,
// closings, the other indexes. Interrupted anywhere, the file is loading still: it takes
// rows again, and the steps begin again with what is left.
//
// Adapter. Blocks; for lanes.
#pragma once

#include <string>

#include "projections/sqlite_view_reader.h"
#include "projections/view_store.h"

namespace varve {

// Makes the file, or finds it. True: it is to be loaded.
Result<bool> prepare_file(const std::string& path);
// Opens it for loading.
Status open_loading(SqliteConnection& connection, const std::string& path);
// Where the rows of a view are appended.
std::string loading_table(View view);
// Into loading_closings. Parameters: view, from_partition, the entity's key (one or two), to_offset, to_at.
std::string closing_sql();
// Errc::corrupt: the rows do not fit together.
Status finish_file(const std::string& path);

}  // namespace varve
