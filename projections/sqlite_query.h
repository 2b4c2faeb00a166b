// Queries, insertions and closings as SQL text for SQLite, written from the schema. Pure: nothing is
// executed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "projections/view_store.h"

namespace varve {

struct SqlQuery {
  std::string text;
  std::vector<Value> parameters;  // In the order of their question marks.
};

// Columns of the result: the view's, then from_partition, from_offset, from_ordinal, from_at, from_sequence,
// to_offset, to_at. `query` has passed check_query().
SqlQuery select_sql(const Query& query);
SqlQuery count_sql(const Query& query);

// " AND .." : the version of `table` begins in the cut; and if `open`, it does not end there.
void add_cut(SqlQuery& sql, const std::string& table, const Cut& cut, bool open);

// Those columns, with commas between them.
const std::string& select_columns(View view);

// Parameters: the columns that a select gives back, in that order.
std::string insert_sql(View view);
// The same into `table`, which has the columns of the view, without asking what is there.
std::string append_sql(View view, std::string_view table);
// Parameters: to_offset, to_at, from_partition, the entity's key.
std::string close_sql(View view);

}  // namespace varve
