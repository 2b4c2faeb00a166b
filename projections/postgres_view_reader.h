// Reading the views from PostgreSQL: the ViewReader inside one read transaction. Adapter: used by
// postgres_view_store.cpp, on whichever thread its job runs.
#pragma once

#include <functional>
#include <vector>

#include "projections/postgres_query.h"
#include "projections/postgres_session.h"
#include "projections/view_store.h"

namespace varve {

// One of `of` equal parts of a table, for who looks at all rows: several transactions take a part each.
struct RowStripe {
  std::uint64_t number = 0;
  std::uint64_t of = 1;
};

class PostgresViewReader final : public ViewReader {
 public:
  // `transaction` sees one moment (PostgresMode::read_snapshot); both outlive the reader.
  PostgresViewReader(PostgresTransaction& transaction, const ViewTables& tables)
      : transaction_(transaction), tables_(tables) {}

  Result<std::vector<Row>> select(const Query& query) override;
  Result<std::int64_t> count(const Query& query) override;
  Result<std::vector<SearchHit>> search_messages(const SearchQuery& search) override;
  Result<Checkpoint> checkpoint(Partition partition) override;
  Result<std::vector<QuarantineRow>> quarantine() override;
  Result<std::optional<TimesRow>> batch_at(Partition partition, Offset offset) override;
  // Of one partition, in the same order.
  Result<std::vector<QuarantineRow>> quarantine(Partition partition);
  // Every version of the view in one part of its table, in the order of the file.
  Status scan(View view, RowStripe stripe, const std::function<void(const Row&)>& visit);
  // What ViewStore::load() answers.
  Result<LoadedCheckpoint> load(Partition partition);

 private:
  Result<PostgresRows> run(const PostgresStatement& statement);
  Result<std::vector<Row>> rows_of(View view, const PostgresStatement& statement);
  Result<std::vector<QuarantineRow>> quarantine_rows(const PostgresStatement& statement);

  PostgresTransaction& transaction_;
  const ViewTables& tables_;
};

}  // namespace varve
