#include "projections/postgres_view_batch.h"

#include <map>
#include <utility>

#include "projections/digest.h"
#include "projections/postgres_search.h"
#include "runtime/check.h"

namespace varve {

namespace {

Value number(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

// An entity of few versions is found by its primary key, and no index of its table depends on which version
// is open: then a closing changes a row and no index. Its insert has to look for an open version.
bool has_index_of_open(View view) {
  return view != View::messages && view != View::runs && view != View::steps;
}

// What finds the open version. Without an index of the open ones the primary key has to be taken: another
// index that knows them has the entity behind other columns, and a planner without statistics takes it for
// short.
std::string is_open(View view, const std::string& row) {
  return has_index_of_open(view) ? row + ".to_offset IS NULL" : "coalesce(" + row + ".to_offset, -1) = -1";
}

// ---- the plan ----

// What the batch has said of an entity so far.
struct Entity {
  bool open = false;
  std::size_t insert = 0;  // The row that is open.
  bool first = false;      // Before that row the batch has said nothing.
};
using Entities = std::map<std::pair<View, std::vector<Value>>, Entity>;

std::vector<Value> key_of(View view, const Row& row) {
  return {row.values.begin(), row.values.begin() + static_cast<std::ptrdiff_t>(schema_of(view).key_columns)};
}

// False: the entity is open already.
bool plan_insert(BatchPlan& plan, Entities& entities, const RowInsert& insert) {
  ViewPlan& view = plan.views[static_cast<std::size_t>(insert.view)];
  const std::size_t row = view.inserts.size();
  view.inserts.push_back({&insert.row, insert.row.to, false});
  if (insert.row.to) return true;
  const auto [found, first] = entities.try_emplace({insert.view, key_of(insert.view, insert.row)}, Entity{});
  if (found->second.open) return false;
  found->second = {true, row, first};
  // What the batch has closed before is not open in the store.
  view.inserts.back().must_be_new = first && !has_index_of_open(insert.view);
  return true;
}

// False: the entity is closed already.
bool plan_close(BatchPlan& plan, Entities& entities, const RowClose& close) {
  ViewPlan& view = plan.views[static_cast<std::size_t>(close.view)];
  const auto [found, first] = entities.try_emplace({close.view, close.key}, Entity{});
  if (first) {
    view.closes.push_back(&close);
    return true;
  }
  if (!found->second.open) return false;
  found->second.open = false;
  ViewPlan::Insert& insert = view.inserts[found->second.insert];
  insert.to = close.to;
  insert.must_be_new = found->second.first;  // Inserted closed, it is in no index of open versions.
  return true;
}

// ---- rows as arrays ----

void add_item(std::string& list, const std::string& item) {
  list += (list.empty() ? "" : ", ") + item;
}

// The rows that a part of the statement works on: unnest(..) AS v(c0, c1 ..). A column in which all rows have
// the same value is one parameter instead.
class RowSource {
 public:
  explicit RowSource(PostgresParameters& parameters) : parameters_(parameters) {}

  // How the statement names the column. `value(i)` is that of row i. The first column is always an array, so
  // that there are rows.
  template <class ValueOf>
  std::string column(ColumnType type, std::size_t rows, const ValueOf& value) {
    CHECK(rows > 0);
    if (!arrays_.empty() && all_equal(rows, value)) return parameters_.add_value(value(0));
    ArrayParameter array{type};
    for (std::size_t i = 0; i < rows; ++i) array.add_value(value(i));
    const std::string name = "c" + std::to_string(count_++);
    add_item(arrays_, parameters_.add(std::move(array)));
    add_item(names_, name);
    return "v." + name;
  }

  std::string from() const { return "unnest(" + arrays_ + ") AS v(" + names_ + ")"; }

 private:
  template <class ValueOf>
  static bool all_equal(std::size_t rows, const ValueOf& value) {
    for (std::size_t i = 1; i < rows; ++i) {
      if (value(i) != value(0)) return false;
    }
    return true;
  }

  PostgresParameters& parameters_;
  std::size_t count_ = 0;
  std::string arrays_;
  std::string names_;
};

// ---- texts that are a part of the one statement, and statements of their own ----

std::string release_text(const ViewTables& tables, Partition partition, const std::vector<StreamId>& released,
                         PostgresParameters& parameters) {
  ArrayParameter streams{ColumnType::text};
  for (const StreamId& stream : released) streams.add(stream.value());
  std::string text = "DELETE FROM " + tables.quarantine() + R"( WHERE "partition" = )" +
                     parameters.add(std::int64_t{partition.value()});
  return text + " AND stream = ANY(" + parameters.add(std::move(streams)) + ")";
}

std::string times_text(const ViewTables& tables, Partition partition, const TimesRow& row,
                       PostgresParameters& parameters) {
  std::string list;
  add_item(list, parameters.add(std::int64_t{partition.value()}));
  add_item(list, parameters.add_value(number(row.first.value())));
  add_item(list, parameters.add_value(number(row.last.value())));
  add_item(list, parameters.add(row.first_at.value()));
  add_item(list, parameters.add(row.last_at.value()));
  return "INSERT INTO " + tables.times() +
         R"( ("partition", first_offset, last_offset, first_at, last_at) SELECT )" + list;
}

constexpr const char* kQuarantineColumns = R"( ("partition", "offset", stream, event, type, reason, at) )";

// ---- the statement ----

class BatchWriter {
 public:
  BatchWriter(const ViewTables& tables, const Batch& batch, const BatchPlan& plan, const BatchNews& news)
      : tables_(tables), batch_(batch), plan_(plan), news_(news) {}

  PostgresStatement write() {
    PostgresStatement moved = move_statement(tables_, batch_);
    sql_.parameters = std::move(moved.parameters);
    sql_.text = "WITH moved AS (" + moved.text + ")";
    for (const View view : all_views()) {
      const ViewPlan& plan = plan_.views[static_cast<std::size_t>(view)];
      if (!plan.closes.empty()) add_closes(view, plan.closes);
      if (!plan.inserts.empty()) add_inserts(view, plan);
    }
    add_quarantine();
    if (batch_.times) {
      add_part("times", times_text(tables_, batch_.partition, *batch_.times, sql_.parameters) +
                            " WHERE EXISTS (SELECT 1 FROM moved)");
    }
    sql_.text += checks_.empty() ? " SELECT 1" : " SELECT 1 / (CASE WHEN " + checks_ + " THEN 1 ELSE 0 END)";
    add_news();
    sql_.text += " FROM moved";
    return std::move(sql_);
  }

 private:
  // Not as a part of its own: one that only selects does not run unless it is asked.
  void add_news() {
    if (news_.channel.empty()) return;
    const std::string text =
        std::to_string(batch_.partition.value()) + " " + std::to_string(news_.generation);
    sql_.text += ", pg_notify(" + sql_.parameters.add(news_.channel) + ", " + sql_.parameters.add(text) + ")";
  }

  void add_part(const std::string& name, const std::string& text) {
    sql_.text.append(", ").append(name).append(" AS (").append(text).append(")");
  }

  static std::string has_met(const std::string& part, std::size_t rows) {
    return "(SELECT count(*) FROM " + part + ") = " + std::to_string(rows);
  }

  // In the end the part must have met so many rows.
  void add_check(const std::string& part, std::size_t rows) {
    checks_ += (checks_.empty() ? "" : " AND ") + has_met(part, rows);
  }

  static std::string part_of(const char* what, View view) {
    return std::string{what} + "_" + std::string{schema_of(view).name};
  }

  void add_closes(View view, const std::vector<const RowClose*>& closes) {
    const ViewSchema& schema = schema_of(view);
    RowSource source{sql_.parameters};
    const auto key = [&closes](std::size_t column) {
      return [&closes, column](std::size_t row) -> const Value& { return closes[row]->key[column]; };
    };
    std::string keys;
    for (std::size_t i = 0; i < schema.key_columns; ++i) {
      keys += " AND t." + quoted_name(schema.columns[i].name) + " = " +
              source.column(schema.columns[i].type, closes.size(), key(i));
    }
    const std::string offset = source.column(ColumnType::integer, closes.size(), [&](std::size_t row) {
      return number(closes[row]->to.offset.value());
    });
    const std::string at = source.column(ColumnType::integer, closes.size(),
                                         [&](std::size_t row) { return Value{closes[row]->to.at.value()}; });
    const std::string name = part_of("closed", view);
    add_part(name, "UPDATE " + tables_.of(view) + " AS t SET to_offset = " + offset + ", to_at = " + at +
                       " FROM " + source.from() + " WHERE " + is_open(view, "t") +
                       " AND t.from_partition = " + partition_ + keys +
                       " AND EXISTS (SELECT 1 FROM moved) RETURNING 1");
    add_check(name, closes.size());
  }

  void add_inserts(View view, const ViewPlan& plan) {
    const std::vector<ViewPlan::Insert>& rows = plan.inserts;
    const ViewSchema& schema = schema_of(view);
    RowSource source{sql_.parameters};
    std::vector<std::string> values;
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
      values.push_back(
          source.column(schema.columns[i].type, rows.size(),
                        [&](std::size_t row) -> const Value& { return rows[row].row->values[i]; }));
    }
    std::string list;
    for (const std::string& value : values) add_item(list, value);
    add_item(list, partition_);
    add_position(list, source, rows);
    std::string columns = postgres_columns(view);
    if (view == View::messages) add_words(columns, list, source, rows);

    std::string where = " WHERE EXISTS (SELECT 1 FROM moved)";
    if (!plan.closes.empty()) where += " AND " + has_met(part_of("closed", view), plan.closes.size());
    const std::string is_new = new_entities(view, values, source, rows);
    where += is_new;
    const std::string name = part_of("inserted", view);
    add_part(name, "INSERT INTO " + tables_.of(view) + " (" + columns + ") SELECT " + list + " FROM " +
                       source.from() + where + " RETURNING 1");
    if (!is_new.empty()) add_check(name, rows.size());
  }

  // That no open version is there of those that must be new; nothing if all may be old.
  std::string new_entities(View view, const std::vector<std::string>& values, RowSource& source,
                           const std::vector<ViewPlan::Insert>& rows) {
    const auto asks = [&rows](std::size_t row) { return Value{std::int64_t{rows[row].must_be_new ? 1 : 0}}; };
    std::size_t asking = 0;
    for (const ViewPlan::Insert& row : rows) asking += row.must_be_new ? 1 : 0;
    if (asking == 0) return {};
    const ViewSchema& schema = schema_of(view);
    std::string keys;
    for (std::size_t i = 0; i < schema.key_columns; ++i)
      keys += " AND stored." + quoted_name(schema.columns[i].name) + " = " + values[i];
    // OFFSET 0: each row is looked up in the index. The planner would join otherwise, and read the whole
    // table.
    const std::string none = "NOT EXISTS (SELECT 1 FROM " + tables_.of(view) + " AS stored WHERE " +
                             is_open(view, "stored") + keys + " OFFSET 0)";
    if (asking == rows.size()) return " AND " + none;
    return " AND (" + source.column(ColumnType::integer, rows.size(), asks) + " = 0 OR " + none + ")";
  }

  static void add_position(std::string& list, RowSource& source, const std::vector<ViewPlan::Insert>& rows) {
    const auto add = [&](const auto& value) {
      add_item(list, source.column(ColumnType::integer, rows.size(), value));
    };
    const auto from = [&rows](std::size_t row) -> const RowFrom& { return rows[row].row->from; };
    add([&](std::size_t row) { return number(from(row).offset.value()); });
    add([&](std::size_t row) { return Value{from(row).ordinal}; });
    add([&](std::size_t row) { return Value{from(row).at.value()}; });
    add([&](std::size_t row) { return number(from(row).sequence.value()); });
    add([&](std::size_t row) { return rows[row].to ? number(rows[row].to->offset.value()) : Value{}; });
    add([&](std::size_t row) { return rows[row].to ? Value{rows[row].to->at.value()} : Value{}; });
  }

  static void add_words(std::string& columns, std::string& list, RowSource& source,
                        const std::vector<ViewPlan::Insert>& rows) {
    std::vector<Value> words;
    words.reserve(rows.size());
    for (const ViewPlan::Insert& row : rows) {
      auto lexemes = postgres_lexemes(*row.row);
      words.push_back(lexemes ? Value{*std::move(lexemes)} : Value{});
    }
    columns += ", words";
    add_item(list,
             postgres_words_of(source.column(ColumnType::text, rows.size(),
                                             [&](std::size_t row) -> const Value& { return words[row]; })));
  }

  void add_quarantine() {
    if (!batch_.released.empty()) {
      add_part("released", release_text(tables_, batch_.partition, batch_.released, sql_.parameters) +
                               " AND EXISTS (SELECT 1 FROM moved) RETURNING 1");
    }
    const std::vector<QuarantineRow>& rows = batch_.quarantined;
    if (rows.empty()) return;
    RowSource source{sql_.parameters};
    std::string list;
    const auto add = [&](ColumnType type, const auto& value) {
      add_item(list, source.column(type, rows.size(), value));
    };
    add(ColumnType::integer, [&](std::size_t row) { return number(rows[row].offset.value()); });
    add(ColumnType::text, [&](std::size_t row) { return Value{rows[row].stream.value()}; });
    add(ColumnType::integer, [&](std::size_t row) { return Value{rows[row].event}; });
    add(ColumnType::text, [&](std::size_t row) { return Value{rows[row].type}; });
    add(ColumnType::text, [&](std::size_t row) { return Value{rows[row].reason}; });
    add(ColumnType::integer, [&](std::size_t row) { return Value{rows[row].at.value()}; });
    std::string where = " WHERE EXISTS (SELECT 1 FROM moved)";
    // A released row may come again: it goes first.
    if (!batch_.released.empty()) where += " AND (SELECT count(*) FROM released) >= 0";
    add_part("quarantined", "INSERT INTO " + tables_.quarantine() + kQuarantineColumns + "SELECT " +
                                partition_ + ", " + list + " FROM " + source.from() + where);
  }

  const ViewTables& tables_;
  const Batch& batch_;
  const BatchPlan& plan_;
  const BatchNews& news_;
  PostgresStatement sql_;
  const std::string partition_ = "$1::bigint";  // As move_statement() has it.
  std::string checks_;
};

}  // namespace

BatchPlan plan_of(const Batch& batch) {
  BatchPlan plan;
  plan.views.resize(kViews);
  Entities entities;
  for (const RowChange& change : batch.changes) {
    const auto* insert = std::get_if<RowInsert>(&change);
    const bool fits = insert != nullptr ? plan_insert(plan, entities, *insert)
                                        : plan_close(plan, entities, std::get<RowClose>(change));
    if (!fits) plan.contradicts_itself = true;
  }
  return plan;
}

PostgresStatement batch_statement(const ViewTables& tables, const Batch& batch, const BatchPlan& plan,
                                  const BatchNews& news) {
  CHECK(!plan.contradicts_itself);
  return BatchWriter{tables, batch, plan, news}.write();
}

PostgresStatement move_statement(const ViewTables& tables, const Batch& batch) {
  const Checkpoint& checkpoint = batch.checkpoint;
  PostgresStatement sql;
  PostgresParameters& parameters = sql.parameters;
  const bool marked = !checkpoint.mark.none;
  const std::vector<std::pair<const char*, Value>> columns{
      {"version", number(checkpoint.version)},
      {"next_offset", number(checkpoint.next.value())},
      {"epoch", number(checkpoint.admission.epoch.value())},
      {"\"index\"", number(checkpoint.admission.index.value())},
      {"cluster", Value{checkpoint.admission.cluster}},
      {"at", Value{checkpoint.at.value()}},
      {"mark_offset", marked ? number(checkpoint.mark.offset.value()) : Value{}},
      {"mark_hash", marked ? number(checkpoint.mark.hash) : Value{}},
      {"digests", Value{to_text(checkpoint.digests)}},
  };
  const std::string partition = parameters.add(std::int64_t{batch.partition.value()});  // $1
  if (batch.expected_version == 0) {
    std::string names = "\"partition\"";
    std::string values = partition;
    for (const auto& [name, value] : columns) {
      add_item(names, name);
      add_item(values, parameters.add_value(value));
    }
    sql.text = "INSERT INTO " + tables.checkpoints() + " (" + names + ") VALUES (" + values +
               ") ON CONFLICT DO NOTHING RETURNING 1";
    return sql;
  }
  std::string settings;
  for (const auto& [name, value] : columns)
    add_item(settings, std::string{name} + " = " + parameters.add_value(value));
  sql.text = "UPDATE " + tables.checkpoints() + " SET " + settings + R"( WHERE "partition" = )" + partition +
             " AND version = " + parameters.add_value(number(batch.expected_version)) +
             " AND next_offset = " + parameters.add_value(number(batch.expected_next.value())) +
             " RETURNING 1";
  return sql;
}

PostgresStatement insert_statement(const ViewTables& tables, const RowInsert& insert) {
  const ViewSchema& schema = schema_of(insert.view);
  const Row& row = insert.row;
  PostgresStatement sql;
  PostgresParameters& parameters = sql.parameters;
  std::string list;
  std::string keys;
  for (std::size_t i = 0; i < schema.columns.size(); ++i) {
    const std::string value = parameters.add_value(row.values[i]);
    add_item(list, value);
    if (i < schema.key_columns) keys += " AND " + quoted_name(schema.columns[i].name) + " = " + value;
  }
  add_item(list, parameters.add(std::int64_t{row.from.partition.value()}));
  add_item(list, parameters.add_value(number(row.from.offset.value())));
  add_item(list, parameters.add(row.from.ordinal));
  add_item(list, parameters.add(row.from.at.value()));
  add_item(list, parameters.add_value(number(row.from.sequence.value())));
  add_item(list, parameters.add_value(row.to ? number(row.to->offset.value()) : Value{}));
  add_item(list, parameters.add_value(row.to ? Value{row.to->at.value()} : Value{}));
  sql.text =
      "INSERT INTO " + tables.of(insert.view) + " (" + postgres_columns(insert.view) + ") SELECT " + list;
  if (!row.to) {
    sql.text += " WHERE NOT EXISTS (SELECT 1 FROM " + tables.of(insert.view) + " WHERE to_offset IS NULL" +
                keys + ")";
  }
  sql.text += " RETURNING 1";
  return sql;
}

PostgresStatement close_statement(const ViewTables& tables, Partition partition, const RowClose& close) {
  const ViewSchema& schema = schema_of(close.view);
  PostgresStatement sql;
  PostgresParameters& parameters = sql.parameters;
  sql.text =
      "UPDATE " + tables.of(close.view) +
      " SET to_offset = " + parameters.add_value(number(close.to.offset.value())) +
      ", to_at = " + parameters.add(close.to.at.value()) +
      " WHERE to_offset IS NULL AND from_partition = " + parameters.add(std::int64_t{partition.value()});
  for (std::size_t i = 0; i < schema.key_columns; ++i) {
    sql.text += " AND " + quoted_name(schema.columns[i].name) + " = " + parameters.add_value(close.key[i]);
  }
  sql.text += " RETURNING 1";
  return sql;
}

PostgresStatement release_statement(const ViewTables& tables, Partition partition,
                                    const std::vector<StreamId>& released) {
  PostgresStatement sql;
  sql.text = release_text(tables, partition, released, sql.parameters);
  return sql;
}

PostgresStatement quarantine_statement(const ViewTables& tables, const QuarantineRow& row) {
  PostgresStatement sql;
  PostgresParameters& parameters = sql.parameters;
  std::string list;
  add_item(list, parameters.add(std::int64_t{row.partition.value()}));
  add_item(list, parameters.add_value(number(row.offset.value())));
  add_item(list, parameters.add(row.stream.value()));
  add_item(list, parameters.add(row.event));
  add_item(list, parameters.add(row.type));
  add_item(list, parameters.add(row.reason));
  add_item(list, parameters.add(row.at.value()));
  sql.text = "INSERT INTO " + tables.quarantine() + kQuarantineColumns + "VALUES (" + list + ")";
  return sql;
}

PostgresStatement times_statement(const ViewTables& tables, Partition partition, const TimesRow& row) {
  PostgresStatement sql;
  sql.text = times_text(tables, partition, row, sql.parameters);
  return sql;
}

}  // namespace varve
