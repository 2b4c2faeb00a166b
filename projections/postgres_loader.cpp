#include "projections/postgres_loader.h"

#include <memory>
#include <utility>

#include "projections/postgres_copy.h"
#include "projections/postgres_search.h"
#include "projections/postgres_view_batch.h"
#include "projections/postgres_view_reader.h"
#include "projections/store_rules.h"

namespace varve {

namespace {

// A batch of a rebuild is large.
constexpr std::chrono::minutes kCommitTime{5};
// A crash of the server may take the newest batches back, each with its checkpoint.
constexpr const char* kBegin = "SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = off";

PostgresBinary binary(const PostgresStatement& statement) {
  return PostgresBinary{statement.parameters.values()};
}

Value number(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

// A tsvector as the server reads it. No lexeme holds a quote or a backslash.
void add_words(std::string& line, const Row& message) {
  line += '\t';
  const auto lexemes = postgres_lexemes(message);
  if (!lexemes) {
    line += kCopyNull;
    return;
  }
  line += '\'';
  for (const char c : *lexemes) {
    if (c == ' ') {
      line += "' '";
    } else {
      line += c;
    }
  }
  line += '\'';
}

void add_row(std::string& line, View view, const ViewPlan::Insert& insert) {
  const Row& row = *insert.row;
  // The first column is never null and never empty: line.empty() tells the first.
  for (const Value& value : row.values) add_value(line, value);
  add_value(line, std::int64_t{row.from.partition.value()});
  add_value(line, number(row.from.offset.value()));
  add_value(line, row.from.ordinal);
  add_value(line, row.from.at.value());
  add_value(line, number(row.from.sequence.value()));
  add_value(line, insert.to ? number(insert.to->offset.value()) : Value{});
  add_value(line, insert.to ? Value{insert.to->at.value()} : Value{});
  if (view == View::messages) add_words(line, row);
}

std::vector<std::string> columns_of(View view) {
  std::vector<std::string> columns;
  for (const Column& column : schema_of(view).columns) columns.push_back(quoted_name(column.name));
  for (const char* name :
       {"from_partition", "from_offset", "from_ordinal", "from_at", "from_sequence", "to_offset", "to_at"}) {
    columns.emplace_back(name);
  }
  if (view == View::messages) columns.emplace_back("words");
  return columns;
}

Status copy_rows(PostgresTransaction& transaction, const ViewTables& tables, View view,
                 const std::vector<ViewPlan::Insert>& rows) {
  std::size_t at = 0;
  return transaction.copy(tables.of(view), columns_of(view), [&](std::string& line) {
    if (at == rows.size()) return false;
    add_row(line, view, rows[at++]);
    return true;
  });
}

// key1, key2: no view has more columns in its key.
Status copy_closings(PostgresTransaction& transaction, const std::string& schema, Partition partition,
                     View view, const std::vector<const RowClose*>& closes) {
  std::size_t at = 0;
  const std::vector<std::string> columns{"view", "from_partition", "key1", "key2", "to_offset", "to_at"};
  return transaction.copy(closings_table(schema), columns, [&](std::string& line) {
    if (at == closes.size()) return false;
    const RowClose& close = *closes[at++];
    add_value(line, std::string{schema_of(view).name});
    add_value(line, std::int64_t{partition.value()});
    for (std::size_t i = 0; i < 2; ++i) {
      if (i >= close.key.size()) {
        add_value(line, Value{});
      } else if (const auto* integer = std::get_if<std::int64_t>(&close.key[i])) {
        add_value(line, std::to_string(*integer));
      } else {
        add_value(line, close.key[i]);
      }
    }
    add_value(line, number(close.to.offset.value()));
    add_value(line, close.to.at.value());
    return true;
  });
}

Status run(PostgresTransaction& transaction, const PostgresStatement& statement) {
  const auto done = transaction.run(statement.text, binary(statement));
  return done ? ok() : Status{done.error()};
}

Status write_rows(PostgresTransaction& transaction, const std::string& schema, const Batch& batch,
                  const BatchPlan& plan) {
  const ViewTables tables{schema};
  for (const View view : all_views()) {
    const ViewPlan& of = plan.views[static_cast<std::size_t>(view)];
    if (!of.inserts.empty()) {
      if (Status done = copy_rows(transaction, tables, view, of.inserts); !done) return done;
    }
    if (of.closes.empty()) continue;
    Status done = copy_closings(transaction, schema, batch.partition, view, of.closes);
    if (!done) return done;
  }
  if (!batch.released.empty()) {
    Status done = run(transaction, release_statement(tables, batch.partition, batch.released));
    if (!done) return done;
  }
  for (const QuarantineRow& row : batch.quarantined) {
    if (Status done = run(transaction, quarantine_statement(tables, row)); !done) return done;
  }
  return batch.times ? run(transaction, times_statement(tables, batch.partition, *batch.times)) : ok();
}

Result<CommitOutcome> write_batch(PostgresSession& session, const std::string& schema, const Batch& batch) {
  const BatchPlan plan = plan_of(batch);
  if (plan.contradicts_itself) {
    return Error{Errc::corrupt, "a batch of partition " + std::to_string(batch.partition.value()) +
                                    " opens what it has opened, or closes what it has closed"};
  }
  bool lost_race = false;
  const Status written =
      session.transaction(PostgresMode::write, kBegin, [&](PostgresTransaction& transaction) -> Status {
        const PostgresStatement statement = move_statement(ViewTables{schema}, batch);
        const auto moved = transaction.run(statement.text, binary(statement));
        if (!moved) return moved.error();
        lost_race = moved->empty();
        if (lost_race) return Error{Errc::conflict, "another program loads this generation"};
        return write_rows(transaction, schema, batch, plan);
      });
  if (lost_race) return CommitOutcome::lost_race;
  if (!written) return written.error();
  return CommitOutcome::committed;
}

std::string key_expression(View view, const char* alias, std::size_t column) {
  const ViewSchema& schema = schema_of(view);
  if (column >= schema.key_columns) return "NULL";
  const std::string name = std::string{alias} + "." + quoted_name(schema.columns[column].name);
  return schema.columns[column].type == ColumnType::integer ? name + "::text" : name;
}

}  // namespace

std::string closings_table(const std::string& schema) {
  return quoted_name(schema) + ".closings";
}

// The versions of an entity that were stored open follow each other, and so do the closings: each closes the
// one that was open at that moment. So the first closes the first, the second the second, and so on.
std::string apply_closings(const std::string& schema, View view) {
  const std::string table = ViewTables{schema}.of(view);
  const std::string one = key_expression(view, "r", 0);
  const std::string two = key_expression(view, "r", 1);
  const std::string partition_by = schema_of(view).key_columns == 2 ? one + ", " + two : one;
  const std::string same_two = schema_of(view).key_columns == 2 ? " AND o.key2 = c.key2" : "";
  return "WITH opened AS (SELECT r.ctid AS place, r.from_partition, " + one + " AS key1, " + two +
         " AS key2, r.from_offset, row_number() OVER (PARTITION BY r.from_partition, " + partition_by +
         " ORDER BY r.from_offset, r.from_ordinal) AS number FROM " + table +
         " AS r WHERE r.to_offset IS NULL AND " + one + " IN (SELECT c.key1 FROM " + closings_table(schema) +
         " AS c WHERE c.view = '" + std::string{schema_of(view).name} +
         "')), "
         "closed AS (SELECT from_partition, key1, key2, to_offset, to_at, row_number() OVER (PARTITION BY "
         "from_partition, key1, key2 ORDER BY to_offset) AS number FROM " +
         closings_table(schema) + " WHERE view = '" + std::string{schema_of(view).name} +
         "'), done AS (UPDATE " + table +
         " AS t SET to_offset = c.to_offset, to_at = c.to_at FROM opened AS o JOIN closed AS c ON "
         "o.from_partition = c.from_partition AND o.key1 = c.key1" +
         same_two +
         " AND o.number = c.number WHERE t.ctid = o.place AND c.to_offset > o.from_offset RETURNING 1) "
         "SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM closed)";
}

Task<LoadedCheckpoint> PostgresLoader::load(Partition partition) {
  std::function<Result<LoadedCheckpoint>(PostgresSession&)> job =
      [schema = schema_, partition](PostgresSession& session) -> Result<LoadedCheckpoint> {
    LoadedCheckpoint loaded;
    const Status read =
        session.transaction(PostgresMode::read_snapshot, "", [&](PostgresTransaction& transaction) -> Status {
          const ViewTables tables{schema};
          PostgresViewReader reader{transaction, tables};
          auto found = reader.load(partition);
          if (!found) return found.error();
          loaded = *std::move(found);
          return ok();
        });
    if (!read) return read.error();
    return loaded;
  };
  const PostgresUse how{Lane::store, pool_.options().answer};
  co_return co_await pool_.run<LoadedCheckpoint>(how, std::move(job));
}

Task<CommitOutcome> PostgresLoader::commit(Batch batch) {
  check_batch(batch);
  auto shared = std::make_shared<const Batch>(std::move(batch));
  std::function<Result<CommitOutcome>(PostgresSession&)> job =
      [schema = schema_, shared](PostgresSession& session) { return write_batch(session, schema, *shared); };
  // The lanes for reading are several: partitions are loaded at the same time.
  const PostgresUse how{Lane::read, kCommitTime};
  co_return co_await pool_.run<CommitOutcome>(how, std::move(job));
}

Task<> PostgresLoader::read(std::function<Status(ViewReader&)> /*work*/) {
  co_return Error{Errc::unavailable, "the generation is being loaded"};
}

}  // namespace varve
