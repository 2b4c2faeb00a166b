#include "projections/store_rules.h"

#include <algorithm>
#include <limits>
#include <set>

#include "runtime/check.h"

namespace varve {

namespace {

bool names_a_column(View view, int column) {
  return column >= kFromPartition && column < static_cast<int>(schema_of(view).columns.size());
}

Error refused(const Query& query, const std::string& why) {
  return Error{Errc::invalid_argument, "query on " + std::string{schema_of(query.view).name} + ": " + why};
}

bool fits(const Column& column, const Value& value) {
  if (std::holds_alternative<std::monostate>(value)) return column.nullable;
  return std::holds_alternative<std::int64_t>(value) == (column.type == ColumnType::integer);
}

// Asking for null is allowed of every column; it finds nothing where there is none.
bool comparable(const Column& column, const Value& value) {
  return std::holds_alternative<std::monostate>(value) || fits(column, value);
}

Status check_filter(const Query& query, const Filter& filter) {
  if (!names_a_column(query.view, filter.column)) return refused(query, "a filter names no column");
  const Column column = column_of(query.view, filter.column);
  const std::string name{column.name};
  for (const Value& value : filter.values) {
    if (!comparable(column, value)) return refused(query, "a filter's value is not of the type of " + name);
  }
  if (filter.op == Filter::Op::one_of) {
    if (filter.values.size() > kRowsPerQueryMax)
      return refused(query, "one_of on " + name + " has too many values");
    return ok();
  }
  if (filter.values.size() != 1) return refused(query, "a filter on " + name + " needs one value");
  const bool null = std::holds_alternative<std::monostate>(filter.values[0]);
  if (filter.op == Filter::Op::contains && (null || column.type != ColumnType::text)) {
    return refused(query, "contains on " + name + " needs text");
  }
  if (filter.op == Filter::Op::at_most && (null || column.type != ColumnType::integer)) {
    return refused(query, "at_most on " + name + " needs an integer");
  }
  return ok();
}

Status check_bound(const Query& query, const std::optional<std::vector<Value>>& bound) {
  if (!bound) return ok();
  if (bound->size() != query.order_by.size())
    return refused(query, "a bound needs one value per order_by column");
  for (std::size_t i = 0; i < bound->size(); ++i) {
    const Column column = column_of(query.view, query.order_by[i]);
    if (!comparable(column, (*bound)[i])) {
      return refused(query, "a bound's value is not of the type of " + std::string{column.name});
    }
  }
  return ok();
}

}  // namespace

Status check_query(const Query& query) {
  for (const Filter& filter : query.where) {
    if (const auto checked = check_filter(query, filter); !checked) return checked;
  }
  for (const int column : query.order_by) {
    if (!names_a_column(query.view, column)) return refused(query, "order_by names no column");
  }
  if (const auto checked = check_bound(query, query.above); !checked) return checked;
  if (const auto checked = check_bound(query, query.below); !checked) return checked;
  if (query.limit > kRowsPerQueryMax) {
    return refused(query, "the limit is above " + std::to_string(kRowsPerQueryMax) + " rows");
  }
  return ok();
}

Status check_search(const SearchQuery& search) {
  if (search.limit > kSearchHitsMax) {
    return Error{Errc::invalid_argument,
                 "a search finds at most " + std::to_string(kSearchHitsMax) + " messages at once"};
  }
  if (search.roles.size() > kSearchRolesMax) {
    return Error{Errc::invalid_argument,
                 "a search names at most " + std::to_string(kSearchRolesMax) + " roles"};
  }
  return ok();
}

bool is_there(const Row& row, const std::optional<Cut>& cut) {
  return !cut || cut->holds({row.from.partition, row.from.offset});
}

bool is_open(const Row& row, const std::optional<Cut>& cut) {
  return !row.to || (cut && !cut->holds({row.from.partition, row.to->offset}));
}

void reopen(std::vector<Row>& rows, const std::optional<Cut>& cut) {
  if (!cut) return;
  for (Row& row : rows) {
    if (is_open(row, cut)) row.to.reset();
  }
}

std::vector<Filter> entity_as_of_cut(const Query& query) {
  std::vector<Filter> key;
  if (!query.cut || !query.open_only) return key;
  for (std::size_t column = 0; column < schema_of(query.view).key_columns; ++column) {
    const auto named = std::find_if(query.where.begin(), query.where.end(), [column](const Filter& filter) {
      return filter.column == static_cast<int>(column) && filter.op == Filter::Op::equal &&
             !std::holds_alternative<std::monostate>(filter.values[0]);
    });
    if (named == query.where.end()) return {};
    key.push_back(*named);
  }
  return key;
}

std::int64_t column_number(Offset offset) {
  constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max();
  return offset.value() < static_cast<std::uint64_t>(kLast) ? static_cast<std::int64_t>(offset.value())
                                                            : kLast;
}

std::optional<std::int64_t> newest_offset(const Cut& cut) {
  if (cut.others_whole()) return std::nullopt;
  std::int64_t newest = -1;
  for (const LogPosition& position : cut.positions())
    newest = std::max(newest, column_number(position.offset));
  return newest;
}

void check_batch(const Batch& batch) {
  CHECK(batch.checkpoint.version == batch.expected_version + 1);
  for (const RowChange& change : batch.changes) {
    if (const auto* insert = std::get_if<RowInsert>(&change)) {
      const ViewSchema& schema = schema_of(insert->view);
      CHECK(insert->row.from.partition == batch.partition);
      CHECK(insert->row.values.size() == schema.columns.size());
      for (std::size_t i = 0; i < schema.columns.size(); ++i)
        CHECK(fits(schema.columns[i], insert->row.values[i]));
    } else {
      const auto& close = std::get<RowClose>(change);
      const ViewSchema& schema = schema_of(close.view);
      CHECK(close.key.size() == schema.key_columns);
      for (std::size_t i = 0; i < close.key.size(); ++i) CHECK(fits(schema.columns[i], close.key[i]));
    }
  }
  for (const QuarantineRow& row : batch.quarantined) CHECK(row.partition == batch.partition);
}

std::vector<StreamId> streams_of(const std::vector<QuarantineRow>& quarantine) {
  std::set<StreamId> streams;
  for (const QuarantineRow& row : quarantine) streams.insert(row.stream);
  return {streams.begin(), streams.end()};
}

Column column_of(View view, int column) {
  switch (column) {
    case kFromOffset:
      return {"from_offset", ColumnType::integer};
    case kFromOrdinal:
      return {"from_ordinal", ColumnType::integer};
    case kFromSequence:
      return {"from_sequence", ColumnType::integer};
    case kFromPartition:
      return {"from_partition", ColumnType::integer};
    default:
      return schema_of(view).columns[static_cast<std::size_t>(column)];
  }
}

std::vector<int> total_order(const Query& query) {
  std::vector<int> order;
  const auto add = [&order](int column) {
    if (std::find(order.begin(), order.end(), column) == order.end()) order.push_back(column);
  };
  for (const int column : query.order_by) add(column);

  // An entity has one open version: ordered by its whole key, open rows have no ties. Saying no more than
  // needed lets a store walk an index in order.
  bool whole_key = query.open_only;
  for (std::size_t i = 0; i < schema_of(query.view).key_columns; ++i) {
    whole_key = whole_key && std::find(order.begin(), order.end(), static_cast<int>(i)) != order.end();
  }
  if (whole_key) return order;
  add(kFromPartition);
  add(kFromOffset);
  add(kFromOrdinal);
  return order;
}

}  // namespace varve
