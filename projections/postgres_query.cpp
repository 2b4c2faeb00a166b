#include "projections/postgres_query.h"

#include <algorithm>
#include <array>
#include <limits>

#include "projections/store_rules.h"
#include "runtime/utf8.h"

namespace varve {

namespace {

constexpr std::string_view kVersionColumns =
    "from_partition, from_offset, from_ordinal, from_at, from_sequence, to_offset, to_at";

constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();

bool is_null(const Value& value) {
  return std::holds_alternative<std::monostate>(value);
}

// No row holds anything else.
bool can_be_stored(const Value& value) {
  const auto* text = std::get_if<std::string>(&value);
  return text == nullptr || is_text(*text);
}

// Of values without null.
std::string any_of(PostgresStatement& sql, ColumnType type, const std::vector<Value>& values) {
  ArrayParameter array{type};
  for (const Value& value : values) array.add_value(value);
  return " = ANY(" + sql.parameters.add(std::move(array)) + ")";
}

void add_one_of(PostgresStatement& sql, const std::string& name, ColumnType type, std::vector<Value> values) {
  const bool null = std::erase_if(values, is_null) > 0;
  std::erase_if(values, [](const Value& value) { return !can_be_stored(value); });
  if (values.empty()) {
    sql.text += null ? name + " IS NULL" : "FALSE";
    return;
  }
  const std::string any = name + any_of(sql, type, values);
  sql.text += null ? "(" + name + " IS NULL OR " + any + ")" : any;
}

void add_filter(PostgresStatement& sql, View view, const Filter& filter) {
  const std::string name = postgres_column(view, filter.column);
  if (filter.op == Filter::Op::one_of) {
    add_one_of(sql, name, column_of(view, filter.column).type, filter.values);
    return;
  }
  const Value& value = filter.values[0];
  if (!can_be_stored(value)) {
    sql.text += "FALSE";
    return;
  }
  switch (filter.op) {
    case Filter::Op::equal:
      sql.text += is_null(value) ? name + " IS NULL" : name + " = " + sql.parameters.add_value(value);
      return;
    case Filter::Op::contains:
      // In the collation "C", which every text column has, lower() folds ASCII only, as every store must.
      sql.text +=
          "strpos(lower(" + name + "), lower(" + sql.parameters.add_value(value) + R"( COLLATE "C")) > 0)";
      return;
    case Filter::Op::at_most:
      sql.text += name + " <= " + sql.parameters.add_value(value);
      return;
    case Filter::Op::one_of:
      return;
  }
}

// The last offsets of all partitions as one parameter: a statement has the same text for every cut.
std::string offsets_of(PostgresStatement& sql, const Cut& cut) {
  ArrayParameter offsets{ColumnType::integer};
  std::uint32_t partition = 0;
  for (const LogPosition& position : cut.positions()) {
    for (; partition < position.partition.value(); ++partition) offsets.add(cut.others_whole() ? kAll : -1);
    offsets.add(column_number(position.offset));
    ++partition;
  }
  return sql.parameters.add(std::move(offsets));
}

// What the array has of the row's partition; null, and so false, beyond its end.
std::string last_of_cut(const std::string& offsets, const std::string& table, const Cut& cut) {
  const std::string one = "(" + offsets + ")[" + table + "from_partition + 1]";
  return cut.others_whole() ? "coalesce(" + one + ", " + std::to_string(kAll) + ")"
                            : "coalesce(" + one + ", -1)";
}

// For an index by offset: what came later is not looked at.
void add_end_of_cut(PostgresStatement& sql, const Cut& cut) {
  if (const auto newest = newest_offset(cut))
    sql.text += " AND from_offset <= " + sql.parameters.add(*newest);
}

// The table, or of one entity as of a cut its newest version there.
void add_from(PostgresStatement& sql, const ViewTables& tables, const Query& query) {
  const std::vector<Filter> key = entity_as_of_cut(query);
  if (key.empty()) {
    sql.text += " FROM " + tables.of(query.view);
    return;
  }
  sql.text += " FROM (SELECT * FROM " + tables.of(query.view) + " WHERE TRUE";
  for (const Filter& filter : key) {
    sql.text += " AND ";
    add_filter(sql, query.view, filter);
  }
  add_postgres_cut(sql, "", *query.cut, false);
  add_end_of_cut(sql, *query.cut);
  sql.text += " ORDER BY from_offset DESC, from_ordinal DESC LIMIT 1) AS newest";
}

void add_where(PostgresStatement& sql, const Query& query) {
  sql.text += " WHERE ";
  sql.text += query.open_only && !query.cut ? "to_offset IS NULL" : "TRUE";
  if (query.cut) {
    add_postgres_cut(sql, "", *query.cut, query.open_only);
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
void add_beyond(PostgresStatement& sql, const std::string& name, const Value& value, bool above) {
  if (is_null(value)) {
    sql.text += above ? name + " IS NOT NULL" : "FALSE";
    return;
  }
  const std::string parameter = sql.parameters.add_value(value);
  sql.text += above ? name + " > " + parameter : "(" + name + " < " + parameter + " OR " + name + " IS NULL)";
}

// A row value, for which the server seeks in an index. It knows no null.
void add_row_bound(PostgresStatement& sql, const std::vector<std::string>& names,
                   const std::vector<Value>& bound, bool above) {
  std::string left;
  std::string right;
  for (std::size_t i = 0; i < names.size(); ++i) {
    left += (i == 0 ? "" : ", ") + names[i];
    right += (i == 0 ? "" : ", ") + sql.parameters.add_value(bound[i]);
  }
  sql.text += " AND (" + left + (above ? ") > (" : ") < (") + right + ")";
}

void add_bound(PostgresStatement& sql, const Query& query, const std::vector<Value>& bound, bool above) {
  if (bound.empty()) {  // Nothing lies beside the empty tuple.
    sql.text += " AND FALSE";
    return;
  }
  std::vector<std::string> names;
  bool nullable = std::any_of(bound.begin(), bound.end(), is_null);
  for (const int column : query.order_by) {
    names.push_back(postgres_column(query.view, column));
    nullable = nullable || column_of(query.view, column).nullable;
  }
  if (!nullable) {
    add_row_bound(sql, names, bound, above);
    return;
  }
  sql.text += " AND (";
  for (std::size_t last = 0; last < names.size(); ++last) {
    sql.text += last == 0 ? "(" : " OR (";
    for (std::size_t i = 0; i < last; ++i) {
      sql.text +=
          names[i] + (is_null(bound[i]) ? " IS NULL" : " = " + sql.parameters.add_value(bound[i])) + " AND ";
    }
    add_beyond(sql, names[last], bound[last], above);
    sql.text += ")";
  }
  sql.text += ")";
}

void add_order(PostgresStatement& sql, const Query& query) {
  sql.text += " ORDER BY ";
  const std::vector<int> order = total_order(query);
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i > 0) sql.text += ", ";
    sql.text += postgres_column(query.view, order[i]);
    if (query.descending) sql.text += " DESC";
    // Only where there may be one: an index has its nulls at the other end.
    if (column_of(query.view, order[i]).nullable)
      sql.text += query.descending ? " NULLS LAST" : " NULLS FIRST";
  }
}

Status check_bound_texts(const std::optional<std::vector<Value>>& bound) {
  if (!bound || std::all_of(bound->begin(), bound->end(), can_be_stored)) return ok();
  return Error{Errc::invalid_argument, "a bound of a query is no text"};
}

}  // namespace

// Every select begins with these: made once.
const std::string& postgres_columns(View view) {
  static const std::array<std::string, kViews> kTexts = [] {
    std::array<std::string, kViews> texts;
    for (const View each : all_views()) {
      std::string& out = texts[static_cast<std::size_t>(each)];
      for (const Column& column : schema_of(each).columns) out.append(quoted_name(column.name)).append(", ");
      out.append(kVersionColumns);
    }
    return texts;
  }();
  return kTexts[static_cast<std::size_t>(view)];
}

std::string postgres_column(View view, int column) {
  return quoted_name(column_of(view, column).name);
}

void add_postgres_cut(PostgresStatement& sql, const std::string& table, const Cut& cut, bool open) {
  const std::string last = last_of_cut(offsets_of(sql, cut), table, cut);
  sql.text += " AND " + table + "from_offset <= " + last;
  if (open) sql.text += " AND (" + table + "to_offset IS NULL OR " + table + "to_offset > " + last + ")";
}

Result<PostgresStatement> postgres_select(const ViewTables& tables, const Query& query) {
  if (const auto checked = check_bound_texts(query.above); !checked) return checked.error();
  if (const auto checked = check_bound_texts(query.below); !checked) return checked.error();
  PostgresStatement sql;
  sql.text = "SELECT " + postgres_columns(query.view);
  add_from(sql, tables, query);
  add_where(sql, query);
  if (query.above) add_bound(sql, query, *query.above, true);
  if (query.below) add_bound(sql, query, *query.below, false);
  add_order(sql, query);
  sql.text += " LIMIT " + sql.parameters.add(static_cast<std::int64_t>(query.limit));
  return sql;
}

PostgresStatement postgres_count(const ViewTables& tables, const Query& query) {
  PostgresStatement sql;
  sql.text = "SELECT count(*)";
  add_from(sql, tables, query);
  add_where(sql, query);
  return sql;
}

}  // namespace varve
