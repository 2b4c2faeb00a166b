#include "projections/postgres_loader.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "projections/packed_batch.h"
#include "projections/postgres_copy.h"
#include "projections/postgres_search.h"
#include "projections/postgres_view_batch.h"
#include "projections/postgres_view_reader.h"
#include "projections/store_rules.h"

namespace varve {

namespace {

using Batches = LoadingQueue::Batches;

// A transaction of a rebuild is large.
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
void add_words(std::string& line, const std::optional<std::string>& lexemes) {
  line += '\t';
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

std::optional<std::string> lexemes_of(const PackedBatch& packed, const PackedBatch::Insert& message) {
  PackedReader reader{packed.bytes, message.begin};
  std::array<std::string_view, messages::content + 1> texts;
  for (std::string_view& text : texts) {
    if (reader.next() == PackedReader::Kind::text) text = reader.text();
  }
  return postgres_lexemes(texts[messages::agent_id], texts[messages::role], texts[messages::content]);
}

void add_row(std::string& line, View view, const PackedBatch& packed, const PackedBatch::Insert& insert) {
  constexpr std::size_t kPosition = 5;
  PackedReader reader{packed.bytes, insert.begin};
  for (std::size_t i = 0; i < schema_of(view).columns.size() + kPosition; ++i) add_value(line, reader);
  add_value(line, insert.to ? number(insert.to->offset.value()) : Value{});
  add_value(line, insert.to ? Value{insert.to->at.value()} : Value{});
  if (view == View::messages) add_words(line, lexemes_of(packed, insert));
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

// The entries of one view, of all batches one after the other.
template <class Entry>
class Entries {
 public:
  Entries(const Batches& batches, std::array<std::vector<Entry>, kViews> PackedBatch::*entries, View view)
      : batches_(batches), entries_(entries), view_(static_cast<std::size_t>(view)) {}

  bool empty() const {
    return std::all_of(batches_.begin(), batches_.end(),
                       [this](const PackedBatch& packed) { return (packed.*entries_)[view_].empty(); });
  }
  // False: there are no more.
  bool next() {
    for (; batch_ < batches_.size(); ++batch_, at_ = 0) {
      if (at_ < (batches_[batch_].*entries_)[view_].size()) {
        ++at_;
        return true;
      }
    }
    return false;
  }
  const PackedBatch& batch() const { return batches_[batch_]; }
  const Entry& entry() const { return (batches_[batch_].*entries_)[view_][at_ - 1]; }

 private:
  const Batches& batches_;
  std::array<std::vector<Entry>, kViews> PackedBatch::*entries_;
  std::size_t view_;
  std::size_t batch_ = 0;
  std::size_t at_ = 0;  // Behind the entry.
};

Status copy_rows(PostgresTransaction& transaction, const ViewTables& tables, View view,
                 const Batches& batches) {
  Entries rows{batches, &PackedBatch::inserts, view};
  if (rows.empty()) return ok();
  return transaction.copy(tables.of(view), columns_of(view), [&](std::string& line) {
    if (!rows.next()) return false;
    add_row(line, view, rows.batch(), rows.entry());
    return true;
  });
}

// key1, key2: no view has more columns in its key, and numbers are texts there.
Status copy_closings(PostgresTransaction& transaction, const std::string& schema, View view,
                     const Batches& batches) {
  Entries closes{batches, &PackedBatch::closes, view};
  if (closes.empty()) return ok();
  const std::vector<std::string> columns{"view", "from_partition", "key1", "key2", "to_offset", "to_at"};
  return transaction.copy(closings_table(schema), columns, [&](std::string& line) {
    if (!closes.next()) return false;
    add_value(line, std::string{schema_of(view).name});
    add_value(line, std::int64_t{closes.batch().batch.partition.value()});
    PackedReader key{closes.batch().bytes, closes.entry().begin};
    for (std::size_t i = 0; i < schema_of(view).key_columns; ++i) add_value(line, key);
    if (schema_of(view).key_columns == 1) add_value(line, Value{});
    add_value(line, number(closes.entry().to.offset.value()));
    add_value(line, closes.entry().to.at.value());
    return true;
  });
}

Status run(PostgresTransaction& transaction, const PostgresStatement& statement) {
  const auto done = transaction.run(statement.text, binary(statement));
  return done ? ok() : Status{done.error()};
}

// Status::error with Errc::conflict: another program loads this generation.
Status write_checkpoint(PostgresTransaction& transaction, const ViewTables& tables, const Batch& batch) {
  const PostgresStatement statement = move_statement(tables, batch);
  const auto moved = transaction.run(statement.text, binary(statement));
  if (!moved) return moved.error();
  if (moved->empty()) return Error{Errc::conflict, "another program loads this generation"};
  if (!batch.released.empty()) {
    Status done = run(transaction, release_statement(tables, batch.partition, batch.released));
    if (!done) return done;
  }
  for (const QuarantineRow& row : batch.quarantined) {
    if (Status done = run(transaction, quarantine_statement(tables, row)); !done) return done;
  }
  return batch.times ? run(transaction, times_statement(tables, batch.partition, *batch.times)) : ok();
}

Status write_batches(PostgresSession& session, const std::string& schema, Batches& batches) {
  if (Status fits = close_in_place(batches); !fits) return fits;
  return session.transaction(PostgresMode::write, kBegin, [&](PostgresTransaction& transaction) -> Status {
    const ViewTables tables{schema};
    for (const PackedBatch& packed : batches) {
      if (Status done = write_checkpoint(transaction, tables, packed.batch); !done) return done;
    }
    for (const View view : all_views()) {
      if (Status done = copy_rows(transaction, tables, view, batches); !done) return done;
      if (Status done = copy_closings(transaction, schema, view, batches); !done) return done;
    }
    return ok();
  });
}

Task<> write_on(PostgresPool* pool, std::string schema, std::shared_ptr<Batches> batches) {
  std::function<Result<Unit>(PostgresSession&)> job = [schema, batches](PostgresSession& session) {
    return write_batches(session, schema, *batches);
  };
  // The lanes for reading are several: partitions are loaded at the same time.
  const PostgresUse how{Lane::read, kCommitTime};
  co_return co_await pool->run<Unit>(how, std::move(job));
}

Task<LoadedCheckpoint> read_on(PostgresPool* pool, std::string schema, Partition partition) {
  std::function<Result<LoadedCheckpoint>(PostgresSession&)> job =
      [schema, partition](PostgresSession& session) -> Result<LoadedCheckpoint> {
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
  const PostgresUse how{Lane::store, pool->options().answer};
  co_return co_await pool->run<LoadedCheckpoint>(how, std::move(job));
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

LoadingQueue& PostgresLoader::queue_of(Partition partition) {
  std::unique_ptr<LoadingQueue>& queue = queues_[partition];
  if (!queue) {
    LoadingQueue::Write write = [pool = &pool_, schema = schema_](std::shared_ptr<Batches> batches) {
      return write_on(pool, schema, std::move(batches));
    };
    queue = std::make_unique<LoadingQueue>(env_, window_, std::move(write));
  }
  return *queue;
}

Task<LoadedCheckpoint> PostgresLoader::load(Partition partition) {
  LoadingQueue::Read read = [pool = &pool_, schema = schema_, partition] {
    return read_on(pool, schema, partition);
  };
  return queue_of(partition).load(partition, std::move(read));
}

Task<CommitOutcome> PostgresLoader::commit(Batch batch) {
  check_batch(batch);
  LoadingQueue& queue = queue_of(batch.partition);
  return queue.commit(std::move(batch));
}

Task<> PostgresLoader::settle() {
  // Those of other partitions go on meanwhile.
  Status status = ok();
  for (const auto& [partition, queue] : queues_) {
    Status settled = co_await queue->settle();
    if (status) status = std::move(settled);
  }
  co_return status;
}

Task<> PostgresLoader::read(std::function<Status(ViewReader&)> /*work*/) {
  co_return Error{Errc::unavailable, "the generation is being loaded"};
}

}  // namespace varve
