// Digests: for each view of a partition, the sum of its rows' hashes and of its closings' hashes, modulo
// 2^128. Sums do not depend on order, so a batch adds what it changes and never reads an old row; and whoever
// has the rows can compute the same sums again. Pure.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "projections/view_store.h"

namespace varve {

using ViewDigests = std::array<ViewDigest, kViews>;

// One row, with its closing if it has one.
void add_row(ViewDigests& digests, View view, const Row& row);
// What a change in `partition` adds, and what a batch does.
void add_change(ViewDigests& digests, Partition partition, const RowChange& change);
void add_changes(ViewDigests& digests, Partition partition, const std::vector<RowChange>& changes);

// The digests of the rows that are stored, closed ones too.
Result<ViewDigests> digest_of_rows(ViewReader& reader, Partition partition);

// Every version of the view in the partition, ordered by entity and position; at most kPageRows are held at
// once.
Status for_each_row(ViewReader& reader, View view, Partition partition,
                    const std::function<void(const Row&)>& visit);
inline constexpr std::size_t kPageRows = 1'000;
static_assert(kPageRows <= kRowsPerQueryMax);
// A page of them: those behind `last`; nullptr: from the beginning. Fewer than `limit`: these are the last.
Result<std::vector<Row>> rows_behind(ViewReader& reader, View view, Partition partition, const Row* last,
                                     std::size_t limit);
// The place of a row in that order, as Query::above has it: entity, offset, ordinal.
std::vector<Value> place_of(View view, const Row& row);
// That order, for two rows of one partition.
bool place_before(View view, const Row& left, const Row& right);

// As stores keep them: "messages=<32 hex>:<32 hex> blocks=..", one per view.
std::string to_text(const ViewDigests& digests);
// Errc::corrupt if `text` is not that.
Result<ViewDigests> parse_digests(std::string_view text);

}  // namespace varve
