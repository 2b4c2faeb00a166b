// Reading the views from a SQLite file: one connection with its prepared statements, and the ViewReader on
// it. Adapter: used by sqlite_view_store.cpp, on whichever thread its job runs, by one at a time.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "eventlog/sqlite_support.h"
#include "projections/view_store.h"

namespace varve {

struct SqlQuery;

// A connection that prepares each text once.
class SqliteConnection {
 public:
  bool is_open() const { return static_cast<bool>(db_); }
  Status open(const std::string& path, sqlite::Access access);
  sqlite::Database& db() { return db_; }
  const sqlite::Database& db() const { return db_; }

  // The statement of this text; valid until the next call. It is reset by whoever steps it.
  Result<sqlite::Statement*> statement(const std::string& sql);
  // Prepares, steps and resets a statement without rows and parameters.
  Status run(const std::string& sql);

 private:
  sqlite::Database db_;
  std::unordered_map<std::string, sqlite::Statement> statements_;  // Finalised before db_ closes.
};

void bind_value(sqlite::Statement& statement, int parameter, const Value& value);

class SqliteViewReader final : public ViewReader {
 public:
  // `connection` is open, in a transaction, and outlives the reader.
  explicit SqliteViewReader(SqliteConnection& connection) : connection_(connection) {}

  Result<std::vector<Row>> select(const Query& query) override;
  Result<std::int64_t> count(const Query& query) override;
  Result<std::vector<SearchHit>> search_messages(const SearchQuery& search) override;
  Result<Checkpoint> checkpoint(Partition partition) override;
  Result<std::vector<QuarantineRow>> quarantine() override;
  Result<std::optional<TimesRow>> batch_at(Partition partition, Offset offset) override;
  // Every version of the view, of all partitions, in the order of the file: for who looks at all rows.
  Status scan(View view, const std::function<void(const Row&)>& visit);
  // Of one partition, in the same order.
  Result<std::vector<QuarantineRow>> quarantine(Partition partition);

 private:
  static Result<std::vector<QuarantineRow>> quarantine_rows(sqlite::Statement& statement);
  Result<std::vector<Row>> rows_of(View view, const SqlQuery& sql);

  SqliteConnection& connection_;
};

}  // namespace varve
