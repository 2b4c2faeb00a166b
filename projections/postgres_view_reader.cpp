#include "projections/postgres_view_reader.h"

#include <utility>

#include "projections/digest.h"
#include "projections/postgres_copy.h"
#include "projections/postgres_search.h"
#include "projections/search_terms.h"
#include "projections/store_rules.h"

namespace varve {

namespace {

// Messages that are looked at together for a phrase of several words.
constexpr std::size_t kPhrasePage = 200;

Value value_at(const PostgresRows& rows, std::size_t row, std::size_t column, ColumnType type) {
  if (rows.is_null(row, column)) return std::monostate{};
  if (type == ColumnType::integer) return rows.integer(row, column);
  return std::string{rows.text(row, column)};
}

Row row_at(const PostgresRows& rows, std::size_t number, const ViewSchema& schema) {
  Row row;
  row.values.reserve(schema.columns.size());
  std::size_t column = 0;
  for (const Column& declared : schema.columns) {
    row.values.push_back(value_at(rows, number, column++, declared.type));
  }
  row.from.partition = Partition{static_cast<std::uint32_t>(rows.integer(number, column))};
  row.from.offset = Offset{rows.unsigned_integer(number, column + 1)};
  row.from.ordinal = rows.integer(number, column + 2);
  row.from.at = WallTime{rows.integer(number, column + 3)};
  row.from.sequence = Sequence{rows.unsigned_integer(number, column + 4)};
  if (!rows.is_null(number, column + 5)) {
    row.to =
        RowTo{Offset{rows.unsigned_integer(number, column + 5)}, WallTime{rows.integer(number, column + 6)}};
  }
  return row;
}

bool holds(const Row& message, const std::vector<std::string>& phrases) {
  return holds_phrases(message_words(message.text(messages::role), message.text(messages::content)), phrases);
}

constexpr const char* kQuarantineColumns =
    R"(SELECT stream, "partition", "offset", event, type, reason, at FROM )";

}  // namespace

Result<PostgresRows> PostgresViewReader::run(const PostgresStatement& statement) {
  return transaction_.run(statement.text, PostgresBinary{statement.parameters.values()});
}

Result<std::vector<Row>> PostgresViewReader::rows_of(View view, const PostgresStatement& statement) {
  const auto found = run(statement);
  if (!found) return found.error();
  const ViewSchema& schema = schema_of(view);
  std::vector<Row> rows;
  rows.reserve(found->size());
  for (std::size_t i = 0; i < found->size(); ++i) rows.push_back(row_at(*found, i, schema));
  return rows;
}

Result<std::vector<Row>> PostgresViewReader::select(const Query& query) {
  if (const auto checked = check_query(query); !checked) return checked.error();
  const auto statement = postgres_select(tables_, query);
  if (!statement) return statement.error();
  auto rows = rows_of(query.view, *statement);
  if (rows) reopen(*rows, query.cut);
  return rows;
}

Result<std::int64_t> PostgresViewReader::count(const Query& query) {
  if (const auto checked = check_query(query); !checked) return checked.error();
  const auto counted = run(postgres_count(tables_, query));
  if (!counted) return counted.error();
  return counted->integer(0, 0);
}

Result<std::vector<SearchHit>> PostgresViewReader::search_messages(const SearchQuery& search) {
  if (const auto checked = check_search(search); !checked) return checked.error();
  const std::vector<std::string> phrases = search_phrases(search.query);
  std::vector<SearchHit> hits;
  if (phrases.empty() || search.limit == 0) return hits;
  const bool decided_by_index = are_single_words(phrases);
  const std::size_t page = decided_by_index ? search.limit : kPhrasePage;
  std::optional<SearchPlace> behind;
  for (;;) {
    auto found = rows_of(View::messages, postgres_search(tables_, search, phrases, behind, page));
    if (!found) return found.error();
    const bool last = found->size() < page;
    if (!last) behind = found->back().from;
    reopen(*found, search.cut);
    for (Row& row : *found) {
      if (hits.size() == search.limit) break;
      if (!decided_by_index && !holds(row, phrases)) continue;
      const auto rank = static_cast<std::int64_t>(hits.size()) + 1;
      hits.push_back({std::move(row), rank});
    }
    if (last || hits.size() == search.limit) return hits;
  }
}

Result<Checkpoint> PostgresViewReader::checkpoint(Partition partition) {
  PostgresStatement statement;
  statement.text =
      R"(SELECT version, next_offset, epoch, "index", cluster, at, mark_offset, mark_hash, digests FROM )" +
      tables_.checkpoints() + R"( WHERE "partition" = )" +
      statement.parameters.add(std::int64_t{partition.value()});
  const auto found = run(statement);
  if (!found) return found.error();
  Checkpoint checkpoint;
  if (found->empty()) return checkpoint;
  checkpoint.version = found->unsigned_integer(0, 0);
  checkpoint.next = Offset{found->unsigned_integer(0, 1)};
  checkpoint.admission.epoch = Epoch{found->unsigned_integer(0, 2)};
  checkpoint.admission.index = Index{found->unsigned_integer(0, 3)};
  checkpoint.admission.cluster = std::string{found->text(0, 4)};
  checkpoint.at = WallTime{found->integer(0, 5)};
  if (!found->is_null(0, 6)) {
    checkpoint.mark = Mark{false, Offset{found->unsigned_integer(0, 6)}, found->unsigned_integer(0, 7)};
  }
  const auto digests = parse_digests(found->text(0, 8));
  if (!digests) return digests.error();
  checkpoint.digests = *digests;
  return checkpoint;
}

Result<std::vector<QuarantineRow>> PostgresViewReader::quarantine_rows(const PostgresStatement& statement) {
  const auto found = run(statement);
  if (!found) return found.error();
  std::vector<QuarantineRow> rows;
  for (std::size_t i = 0; i < found->size(); ++i) {
    rows.push_back({StreamId{std::string{found->text(i, 0)}},
                    Partition{static_cast<std::uint32_t>(found->integer(i, 1))},
                    Offset{found->unsigned_integer(i, 2)}, found->integer(i, 3),
                    std::string{found->text(i, 4)}, std::string{found->text(i, 5)},
                    WallTime{found->integer(i, 6)}});
  }
  return rows;
}

Result<std::vector<QuarantineRow>> PostgresViewReader::quarantine() {
  PostgresStatement statement;
  statement.text =
      kQuarantineColumns + tables_.quarantine() + R"( ORDER BY "partition", "offset", stream, event)";
  return quarantine_rows(statement);
}

Result<std::vector<QuarantineRow>> PostgresViewReader::quarantine(Partition partition) {
  PostgresStatement statement;
  statement.text = kQuarantineColumns + tables_.quarantine() + R"( WHERE "partition" = )" +
                   statement.parameters.add(std::int64_t{partition.value()}) +
                   R"( ORDER BY "offset", stream, event)";
  return quarantine_rows(statement);
}

Result<std::optional<TimesRow>> PostgresViewReader::batch_at(Partition partition, Offset offset) {
  PostgresStatement statement;
  statement.text = "SELECT first_offset, last_offset, first_at, last_at FROM " + tables_.times() +
                   R"( WHERE "partition" = )" + statement.parameters.add(std::int64_t{partition.value()}) +
                   " AND first_offset <= " + statement.parameters.add(column_number(offset)) +
                   " ORDER BY first_offset DESC LIMIT 1";
  const auto found = run(statement);
  if (!found) return found.error();
  if (found->empty()) return std::optional<TimesRow>{};
  return std::optional<TimesRow>{{Offset{found->unsigned_integer(0, 0)},
                                  Offset{found->unsigned_integer(0, 1)}, WallTime{found->integer(0, 2)},
                                  WallTime{found->integer(0, 3)}}};
}

Status PostgresViewReader::scan(View view, RowStripe stripe, const std::function<void(const Row&)>& visit) {
  const std::string table = tables_.of(view);
  const auto pages =
      transaction_.run("SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint",
                       PostgresParams{table});
  if (!pages) return pages.error();
  const auto page = [&](std::uint64_t number) {
    return "'(" + std::to_string(pages->unsigned_integer(0, 0) * number / stripe.of) + ",0)'";
  };
  std::string sql =
      "SELECT " + postgres_columns(view) + " FROM " + table + " WHERE ctid >= " + page(stripe.number);
  // What comes behind the end is the last part's.
  if (stripe.number + 1 < stripe.of) sql += " AND ctid < " + page(stripe.number + 1);
  std::optional<Error> malformed;
  const Status copied = transaction_.copy_out(sql, [&](std::string_view line) {
    if (malformed) return;
    const auto row = row_of_line(view, line);
    if (row) {
      visit(*row);
    } else {
      malformed = row.error();
    }
  });
  if (!copied) return copied;
  return malformed ? Status{*malformed} : ok();
}

Result<LoadedCheckpoint> PostgresViewReader::load(Partition partition) {
  auto found = checkpoint(partition);
  if (!found) return found.error();
  auto waiting = quarantine(partition);
  if (!waiting) return waiting.error();
  std::vector<StreamId> parked = streams_of(*waiting);
  return LoadedCheckpoint{*std::move(found), std::move(parked), *std::move(waiting)};
}

}  // namespace varve
