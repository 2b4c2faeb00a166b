// What every view store checks and orders alike, so that a query has one meaning. Pure.
#pragma once

#include <vector>

#include "projections/view_store.h"

namespace varve {

// Errc::invalid_argument with a sentence for a query that no store would answer: a column that does not
// exist, a value of another type than its column, a bound of another length than the order, a limit that is
// too high.
Status check_query(const Query& query);

// Likewise for a search: a limit that is too high, too many roles.
Status check_search(const SearchQuery& search);

// Takes the closing from rows that the cut has it behind.
void reopen(std::vector<Row>& rows, const std::optional<Cut>& cut);

// Whether a version is there as of a cut (absent: now), and whether it is open then.
bool is_there(const Row& row, const std::optional<Cut>& cut);
bool is_open(const Row& row, const std::optional<Cut>& cut);

// The filters that name one entity, if the query asks for its version that is open as of a cut. That is the
// newest which begins in the cut, if any: all others need not be looked at, however many they are.
std::vector<Filter> entity_as_of_cut(const Query& query);

// The newest offset of a cut that names its partitions, as a column holds it; nothing if a partition is there
// whole. An index can be bounded by it, whatever the partition.
std::optional<std::int64_t> newest_offset(const Cut& cut);
// An offset as a column holds it. Nothing is beyond the last number of a column.
std::int64_t column_number(Offset offset);

// CHECKs what only a bug of the fold can get wrong: versions that follow each other, rows of the batch's own
// partition, values that fit the schema.
void check_batch(const Batch& batch);

// The streams of quarantine rows, in order.
std::vector<StreamId> streams_of(const std::vector<QuarantineRow>& quarantine);

// The type and nullability of a column, also of the kFrom... ones.
Column column_of(View view, int column);

// The whole order of a query: order_by, then what makes it total. Nothing is named twice.
std::vector<int> total_order(const Query& query);

}  // namespace varve
