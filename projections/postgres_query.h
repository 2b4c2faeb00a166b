// Queries as SQL text for PostgreSQL, written from the schema of the views. Every value is a parameter; the
// only text that comes from outside is the name of a schema. Pure: nothing is executed.
#pragma once

#include <string>
#include <string_view>

#include "projections/postgres_query_parameters.h"
#include "projections/view_store.h"

namespace varve {

// Where the tables of one generation are, or the views of the live one.
class ViewTables {
 public:
  explicit ViewTables(std::string_view schema) : prefix_(quoted_name(schema) + ".") {}

  std::string of(View view) const { return prefix_ + quoted_name(schema_of(view).name); }
  std::string checkpoints() const { return prefix_ + "checkpoints"; }
  std::string quarantine() const { return prefix_ + "quarantine"; }
  std::string times() const { return prefix_ + "times"; }
  std::string search_index() const { return prefix_ + "search_index"; }

 private:
  std::string prefix_;
};

// Columns of the result: the view's, then from_partition, from_offset, from_ordinal, from_at, from_sequence,
// to_offset, to_at. `query` has passed check_query(). Errc::invalid_argument: a bound is no text.
Result<PostgresStatement> postgres_select(const ViewTables& tables, const Query& query);
PostgresStatement postgres_count(const ViewTables& tables, const Query& query);

// " AND .." : the version of `table` begins in the cut; and if `open`, it does not end there.
void add_postgres_cut(PostgresStatement& sql, const std::string& table, const Cut& cut, bool open);

// Those columns, with commas between them.
const std::string& postgres_columns(View view);
// The name of a column, also of the kFrom... ones.
std::string postgres_column(View view, int column);

}  // namespace varve
