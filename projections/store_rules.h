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
