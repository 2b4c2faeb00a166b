#include "projections/sqlite_query.h"

#include <algorithm>
#include <array>
#include <limits>

#include "projections/store_rules.h"
#include "runtime/check.h"

namespace varve {

namespace {

constexpr std::string_view kVersionColumns =
    "from_partition, from_offset, from_ordinal, from_at, from_sequence, to_offset, to_at";
constexpr std::size_t kVersionColumnCount = 7;

bool is_null(const Value& value) {
  return std::holds_alternative<std::monostate>(value);
}

// An entity of few versions is found by its primary key; then its insert has to look for an open version.
bool has_index_of_open(View view) {
  return view != View::messages && view != View::runs && view != View::steps;
}

std::string quoted(std::string_view name) {
  return "\"" + std::string{name} + "\"";
}

std::string name_of(View view, int column) {
  return quoted(column_of(view, column).name);
}

std::string marks(std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out.append(i == 0 ? "?" : ", ?");
  return out;
}

// Of values without null. Their number is rounded up to a power of two by repeating the last, so that lists
// of every length share a few prepared statements.
void add_one_of(SqlQuery& sql, const std::string& name, const std::vector<Value>& values) {
  std::size_t places = 1;
  while (places < values.size()) places *= 2;
  sql.text += name + " IN (" + marks(places) + ")";
  for (std::size_t i = 0; i < places; ++i) sql.parameters.push_back(values[std::min(i, values.size() - 1)]);
}

void add_filter(SqlQuery& sql, View view, const Filter& filter) {
  const std::string name = name_of(view, filter.column);
  switch (filter.op) {
    case Filter::Op::equal:
      if (is_null(filter.values[0])) {
        sql.text += name + " IS NULL";
      } else {
        sql.text += name + " = ?";
        sql.parameters.push_back(filter.values[0]);
      }
      return;
    case Filter::Op::one_of: {
      std::vector<Value> values = filter.values;
      const bool null = std::erase_if(values, is_null) > 0;
      if (values.empty()) {
        sql.text += null ? name + " IS NULL" : "0";
        return;
      }
      if (null) sql.text += "(" + name + " IS NULL OR ";
      add_one_of(sql, name, values);
      if (null) sql.text += ")";
      return;
    }
    case Filter::Op::contains:
      // SQLite's own lower() folds ASCII only, as every store must.
      sql.text += "instr(lower(" + name + "), lower(?)) > 0";
      sql.parameters.push_back(filter.values[0]);
      return;
    case Filter::Op::at_most:
      sql.text += name + " <= ?";
      sql.parameters.push_back(filter.values[0]);
      return;
  }
}

// The last offset of the row's partition that the cut holds. Not an expression over an index: it is looked at
// per row, and there are few partitions.
void add_last_of_cut(SqlQuery& sql, const std::string& table, const Cut& cut) {
  const std::int64_t others = cut.others_whole() ? std::numeric_limits<std::int64_t>::max() : -1;
  if (cut.positions().empty()) {
    sql.text += "?";
    sql.parameters.emplace_back(others);
    return;
  }
  sql.text += "CASE " + table + "from_partition";
  for (const LogPosition& position : cut.positions()) {
    sql.text += " WHEN ? THEN ?";
    sql.parameters.emplace_back(std::int64_t{position.partition.value()});
    sql.parameters.emplace_back(column_number(position.offset));
  }
  sql.text += " ELSE ? END";
  sql.parameters.emplace_back(others);
}

// For an index by offset: what came later is not looked at.
void add_end_of_cut(SqlQuery& sql, const Cut& cut) {
  const auto newest = newest_offset(cut);
  if (!newest) return;
  sql.text += " AND from_offset <= ?";
  sql.parameters.emplace_back(*newest);
}

// The table, or of one entity as of a cut its newest version there.
void add_from(SqlQuery& sql, const Query& query) {
  const std::string table = quoted(schema_of(query.view).name);
  const std::vector<Filter> key = entity_as_of_cut(query);
  if (key.empty()) {
    sql.text += " FROM " + table;
    return;
  }
  sql.text += " FROM (SELECT * FROM " + table + " WHERE 1";
  for (const Filter& filter : key) {
    sql.text += " AND ";
    add_filter(sql, query.view, filter);
  }
  add_cut(sql, "", *query.cut, false);
  add_end_of_cut(sql, *query.cut);
  sql.text += " ORDER BY from_offset DESC, from_ordinal DESC LIMIT 1)";
}

void add_where(SqlQuery& sql, const Query& query) {
  sql.text += " WHERE ";
  sql.text += query.open_only && !query.cut ? "to_offset IS NULL" : "1";
  if (query.cut) {
    add_cut(sql, "", *query.cut, query.open_only);
    // A bound of the caller's is closer.
    if (!(query.below && !query.order_by.empty() && query.order_by.front() == kFromOffset))
      add_end_of_cut(sql, *query.cut);
  }
  for (const Filter& filter : query.where) {
    sql.text += " AND ";
    add_filter(sql, query.view, filter);
  }
}

// One column on the far side of a bound's value. Null lies before everything.
void add_beyond(SqlQuery& sql, const std::string& name, const Value& value, bool above) {
  if (is_null(value)) {
    sql.text += above ? name + " IS NOT NULL" : "0";
    return;
  }
  sql.text += above ? name + " > ?" : "(" + name + " < ? OR " + name + " IS NULL)";
  sql.parameters.push_back(value);
}

void add_bound(SqlQuery& sql, const Query& query, const std::vector<Value>& bound, bool above) {
  if (bound.empty()) {  // Nothing lies beside the empty tuple.
    sql.text += " AND 0";
    return;
  }
  std::vector<std::string> names;
  bool nullable = std::any_of(bound.begin(), bound.end(), is_null);
  for (const int column : query.order_by) {
    names.push_back(name_of(query.view, column));
    nullable = nullable || column_of(query.view, column).nullable;
  }
  sql.text += " AND (";
  if (!nullable) {  // A row value, for which SQLite seeks in an index.
    for (std::size_t i = 0; i < names.size(); ++i) sql.text += (i == 0 ? "" : ", ") + names[i];
    sql.text += std::string{above ? ") > (" : ") < ("} + marks(bound.size());
    sql.parameters.insert(sql.parameters.end(), bound.begin(), bound.end());
  } else {
    for (std::size_t last = 0; last < names.size(); ++last) {
      sql.text += last == 0 ? "(" : " OR (";
      for (std::size_t i = 0; i < last; ++i) {
        sql.text += names[i] + " IS ? AND ";
        sql.parameters.push_back(bound[i]);
      }
      add_beyond(sql, names[last], bound[last], above);
      sql.text += ")";
    }
  }
  sql.text += ")";
}

}  // namespace

// Every select begins with these: made once.
const std::string& select_columns(View view) {
  static const std::array<std::string, kViews> kTexts = [] {
    std::array<std::string, kViews> texts;
    for (const View each : all_views()) {
      std::string& out = texts[static_cast<std::size_t>(each)];
      for (const Column& column : schema_of(each).columns) out.append(quoted(column.name)).append(", ");
      out.append(kVersionColumns);
    }
    return texts;
  }();
  return kTexts[static_cast<std::size_t>(view)];
}

void add_cut(SqlQuery& sql, const std::string& table, const Cut& cut, bool open) {
  // The plus keeps the conditions out of the choice of an index.
  sql.text += " AND +" + table + "from_offset <= ";
  add_last_of_cut(sql, table, cut);
  if (!open) return;
  sql.text += " AND (" + table + "to_offset IS NULL OR " + table + "to_offset > ";
  add_last_of_cut(sql, table, cut);
  sql.text += ")";
}

SqlQuery select_sql(const Query& query) {
  SqlQuery sql;
  sql.text = "SELECT " + select_columns(query.view);
  add_from(sql, query);
  add_where(sql, query);
  if (query.above) add_bound(sql, query, *query.above, true);
  if (query.below) add_bound(sql, query, *query.below, false);
  sql.text += " ORDER BY ";
  const std::vector<int> order = total_order(query);
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i > 0) sql.text += ", ";
    sql.text += name_of(query.view, order[i]);
    if (query.descending) sql.text += " DESC";
  }
  sql.text += " LIMIT ?";
  sql.parameters.emplace_back(static_cast<std::int64_t>(query.limit));
  return sql;
}

SqlQuery count_sql(const Query& query) {
  SqlQuery sql;
  sql.text = "SELECT count(*)";
  add_from(sql, query);
  add_where(sql, query);
  return sql;
}

std::string insert_sql(View view) {
  const ViewSchema& schema = schema_of(view);
  const std::size_t count = schema.columns.size() + kVersionColumnCount;
  const std::string start = "INSERT INTO " + quoted(schema.name) + " (" + select_columns(view) + ") ";
  if (has_index_of_open(view)) return start + "VALUES (" + marks(count) + ")";
  CHECK(schema.key_columns == 1);
  return start + "SELECT " + marks(count) + " WHERE ?" + std::to_string(count) +
         " IS NOT NULL OR NOT EXISTS (SELECT 1 FROM " + quoted(schema.name) + " WHERE " +
         quoted(schema.columns[0].name) + " = ?1 AND to_offset IS NULL)";
}

std::string append_sql(View view, std::string_view table) {
  const std::size_t count = schema_of(view).columns.size() + kVersionColumnCount;
  return "INSERT INTO " + quoted(table) + " (" + select_columns(view) + ") VALUES (" + marks(count) + ")";
}

std::string close_sql(View view) {
  const ViewSchema& schema = schema_of(view);
  std::string sql = "UPDATE " + quoted(schema.name) +
                    " SET to_offset = ?, to_at = ? WHERE to_offset IS NULL AND from_partition = ?";
  for (std::size_t i = 0; i < schema.key_columns; ++i)
    sql += " AND " + quoted(schema.columns[i].name) + " = ?";
  return sql;
}

}  // namespace varve
