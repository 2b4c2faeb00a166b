#include "projections/sqlite_view_reader.h"

#include <algorithm>
#include <tuple>

#include "projections/digest.h"
#include "projections/search_terms.h"
#include "projections/sqlite_query.h"
#include "projections/sqlite_search.h"
#include "projections/store_rules.h"

namespace varve {

namespace {

// Texts are made from queries, of which the program has a few dozen shapes; the bound is for those it never
// meant.
constexpr std::size_t kStatementsMax = 256;

// Resets the statement when a read ends, however it ends.
class Running {
 public:
  explicit Running(sqlite::Statement& statement) : statement_(statement) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { statement_.reset(); }

 private:
  sqlite::Statement& statement_;
};

Offset offset_at(const sqlite::Statement& row, int column) {
  return Offset{static_cast<std::uint64_t>(row.integer(column))};
}

Value value_at(const sqlite::Statement& row, int column, const Column& declared) {
  if (declared.nullable && row.is_null(column)) return std::monostate{};
  if (declared.type == ColumnType::integer) return row.integer(column);
  return std::string{row.text(column)};
}

Row row_at(const sqlite::Statement& statement, const ViewSchema& schema) {
  Row row;
  row.values.reserve(schema.columns.size());
  int column = 0;
  for (const Column& declared : schema.columns) row.values.push_back(value_at(statement, column++, declared));
  row.from.partition = Partition{static_cast<std::uint32_t>(statement.integer(column))};
  row.from.offset = offset_at(statement, column + 1);
  row.from.ordinal = statement.integer(column + 2);
  row.from.at = WallTime{statement.integer(column + 3)};
  row.from.sequence = Sequence{static_cast<std::uint64_t>(statement.integer(column + 4))};
  if (!statement.is_null(column + 5)) {
    row.to = RowTo{offset_at(statement, column + 5), WallTime{statement.integer(column + 6)}};
  }
  return row;
}

void bind_all(sqlite::Statement& statement, const std::vector<Value>& parameters) {
  int number = 1;
  for (const Value& value : parameters) bind_value(statement, number++, value);
}

}  // namespace

Status SqliteConnection::open(const std::string& path, sqlite::Access access) {
  auto opened = sqlite::Database::open(path, access);
  if (!opened) return opened.error();
  db_ = std::move(*opened);
  return ok();
}

Result<sqlite::Statement*> SqliteConnection::statement(const std::string& sql) {
  const auto found = statements_.find(sql);
  if (found != statements_.end()) return &found->second;
  if (statements_.size() >= kStatementsMax) statements_.clear();
  auto prepared = db_.prepare(sql);
  if (!prepared) return prepared.error();
  return &statements_.emplace(sql, std::move(*prepared)).first->second;
}

Status SqliteConnection::run(const std::string& sql) {
  const auto prepared = statement(sql);
  if (!prepared) return prepared.error();
  return (*prepared)->run();
}

void bind_value(sqlite::Statement& statement, int parameter, const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    statement.bind(parameter, *number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    statement.bind_text(parameter, *text);
  } else {
    statement.bind_null(parameter);
  }
}

Result<std::vector<Row>> SqliteViewReader::select(const Query& query) {
  if (const auto checked = check_query(query); !checked) return checked.error();
  auto rows = rows_of(query.view, select_sql(query));
  if (rows) reopen(*rows, query.cut);
  return rows;
}

Result<std::int64_t> SqliteViewReader::count(const Query& query) {
  if (const auto checked = check_query(query); !checked) return checked.error();
  const SqlQuery sql = count_sql(query);
  const auto statement = connection_.statement(sql.text);
  if (!statement) return statement.error();
  const Running running{**statement};
  bind_all(**statement, sql.parameters);
  const auto row = (*statement)->step();
  if (!row) return row.error();
  return (*statement)->integer(0);
}

Result<std::vector<Row>> SqliteViewReader::rows_of(View view, const SqlQuery& sql) {
  const auto statement = connection_.statement(sql.text);
  if (!statement) return statement.error();
  const Running running{**statement};
  bind_all(**statement, sql.parameters);
  const ViewSchema& schema = schema_of(view);
  std::vector<Row> rows;
  for (;;) {
    const auto row = (*statement)->step();
    if (!row) return row.error();
    if (!*row) return rows;
    rows.push_back(row_at(**statement, schema));
  }
}

Status SqliteViewReader::scan(View view, const std::function<void(const Row&)>& visit) {
  const ViewSchema& schema = schema_of(view);
  const auto statement =
      connection_.statement("SELECT " + select_columns(view) + " FROM \"" + std::string{schema.name} + "\"");
  if (!statement) return statement.error();
  const Running running{**statement};
  for (;;) {
    const auto row = (*statement)->step();
    if (!row) return row.error();
    if (!*row) return ok();
    visit(row_at(**statement, schema));
  }
}

Result<std::vector<SearchHit>> SqliteViewReader::search_messages(const SearchQuery& search) {
  if (const auto checked = check_search(search); !checked) return checked.error();
  const std::vector<std::string> phrases = search_phrases(search.query);
  if (phrases.empty()) return std::vector<SearchHit>{};
  auto found = rows_of(View::messages, search_sql(search, phrases));
  if (!found) return found.error();
  auto waiting = rows_of(View::messages, waiting_sql(search));
  if (!waiting) return waiting.error();
  for (Row& row : *waiting) {
    const std::string words = message_words(row.text(messages::role), row.text(messages::content));
    if (holds_phrases(words, phrases)) found->push_back(std::move(row));
  }
  std::sort(found->begin(), found->end(), [](const Row& left, const Row& right) {
    const auto place = [](const RowFrom& from) {
      return std::tie(from.at, from.offset, from.ordinal, from.partition);
    };
    return place(left.from) > place(right.from);
  });
  reopen(*found, search.cut);
  std::vector<SearchHit> hits;
  for (Row& row : *found) {
    if (hits.size() == search.limit) break;
    hits.push_back({std::move(row), static_cast<std::int64_t>(hits.size()) + 1});
  }
  return hits;
}

Result<Checkpoint> SqliteViewReader::checkpoint(Partition partition) {
  const auto statement = connection_.statement(
      "SELECT version, next_offset, epoch, \"index\", cluster, at, mark_offset, mark_hash, digests "
      "FROM checkpoints WHERE \"partition\" = ?");
  if (!statement) return statement.error();
  sqlite::Statement& row = **statement;
  const Running running{row};
  row.bind(1, partition.value());
  const auto found = row.step();
  if (!found) return found.error();
  Checkpoint checkpoint;
  if (!*found) return checkpoint;
  checkpoint.version = static_cast<std::uint64_t>(row.integer(0));
  checkpoint.next = offset_at(row, 1);
  checkpoint.admission.epoch = Epoch{static_cast<std::uint64_t>(row.integer(2))};
  checkpoint.admission.index = Index{static_cast<std::uint64_t>(row.integer(3))};
  checkpoint.admission.cluster = std::string{row.text(4)};
  checkpoint.at = WallTime{row.integer(5)};
  if (!row.is_null(6)) {
    checkpoint.mark = Mark{false, offset_at(row, 6), static_cast<std::uint64_t>(row.integer(7))};
  }
  const auto digests = parse_digests(row.text(8));
  if (!digests) return digests.error();
  checkpoint.digests = *digests;
  return checkpoint;
}

Result<std::vector<QuarantineRow>> SqliteViewReader::quarantine_rows(sqlite::Statement& statement) {
  const Running running{statement};
  std::vector<QuarantineRow> rows;
  for (;;) {
    const auto found = statement.step();
    if (!found) return found.error();
    if (!*found) return rows;
    rows.push_back({StreamId{std::string{statement.text(0)}},
                    Partition{static_cast<std::uint32_t>(statement.integer(1))}, offset_at(statement, 2),
                    statement.integer(3), std::string{statement.text(4)}, std::string{statement.text(5)},
                    WallTime{statement.integer(6)}});
  }
}

Result<std::vector<QuarantineRow>> SqliteViewReader::quarantine() {
  const auto statement = connection_.statement(
      "SELECT stream, \"partition\", \"offset\", event, type, reason, at FROM quarantine "
      "ORDER BY \"partition\", \"offset\", stream, event");
  if (!statement) return statement.error();
  return quarantine_rows(**statement);
}

Result<std::vector<QuarantineRow>> SqliteViewReader::quarantine(Partition partition) {
  const auto statement = connection_.statement(
      "SELECT stream, \"partition\", \"offset\", event, type, reason, at FROM quarantine "
      "WHERE \"partition\" = ? ORDER BY \"offset\", stream, event");
  if (!statement) return statement.error();
  (*statement)->bind(1, partition.value());
  return quarantine_rows(**statement);
}

Result<std::optional<TimesRow>> SqliteViewReader::batch_at(Partition partition, Offset offset) {
  const auto statement = connection_.statement(
      "SELECT first_offset, last_offset, first_at, last_at FROM times "
      "WHERE \"partition\" = ? AND first_offset <= ? ORDER BY first_offset DESC LIMIT 1");
  if (!statement) return statement.error();
  sqlite::Statement& row = **statement;
  const Running running{row};
  row.bind(1, partition.value()).bind(2, column_number(offset));
  const auto found = row.step();
  if (!found) return found.error();
  if (!*found) return std::optional<TimesRow>{};
  return std::optional<TimesRow>{
      {offset_at(row, 0), offset_at(row, 1), WallTime{row.integer(2)}, WallTime{row.integer(3)}}};
}

}  // namespace varve
