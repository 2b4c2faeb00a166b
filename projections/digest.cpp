#include "projections/digest.h"

namespace varve {

namespace {

constexpr std::size_t kHexDigits = 32;

ViewDigest& of(ViewDigests& digests, View view) {
  return digests[static_cast<std::size_t>(view)];
}

void add_row(ViewDigest& digest, View view, const Row& row) {
  digest.rows += xxh128(canonical_bytes(view, row));
  if (!row.to) return;
  const std::span<const Value> key{row.values.data(), schema_of(view).key_columns};
  digest.closings += xxh128(canonical_closing(view, key, row.from.partition, *row.to));
}

// Every version of the view in the partition, ordered by entity and position.
Query first_page(View view, Partition partition) {
  Query query;
  query.view = view;
  query.where.push_back({kFromPartition, Filter::Op::equal, {std::int64_t{partition.value()}}});
  query.open_only = false;
  for (std::size_t i = 0; i < schema_of(view).key_columns; ++i) query.order_by.push_back(static_cast<int>(i));
  query.order_by.push_back(kFromOffset);
  query.order_by.push_back(kFromOrdinal);
  return query;
}

}  // namespace

std::vector<Value> place_of(View view, const Row& row) {
  std::vector<Value> place(row.values.begin(),
                           row.values.begin() + static_cast<std::ptrdiff_t>(schema_of(view).key_columns));
  place.emplace_back(static_cast<std::int64_t>(row.from.offset.value()));
  place.emplace_back(row.from.ordinal);
  return place;
}

void add_row(ViewDigests& digests, View view, const Row& row) {
  add_row(of(digests, view), view, row);
}

void add_change(ViewDigests& digests, Partition partition, const RowChange& change) {
  if (const auto* insert = std::get_if<RowInsert>(&change)) {
    add_row(digests, insert->view, insert->row);
    return;
  }
  const auto& close = std::get<RowClose>(change);
  of(digests, close.view).closings += xxh128(canonical_closing(close.view, close.key, partition, close.to));
}

void add_changes(ViewDigests& digests, Partition partition, const std::vector<RowChange>& changes) {
  for (const RowChange& change : changes) add_change(digests, partition, change);
}

Result<std::vector<Row>> rows_behind(ViewReader& reader, View view, Partition partition, const Row* last,
                                     std::size_t limit) {
  Query query = first_page(view, partition);
  query.limit = limit;
  if (last != nullptr) query.above = place_of(view, *last);
  return reader.select(query);
}

Status for_each_row(ViewReader& reader, View view, Partition partition,
                    const std::function<void(const Row&)>& visit) {
  std::optional<Row> last;
  for (;;) {
    const auto rows = rows_behind(reader, view, partition, last ? &*last : nullptr, kPageRows);
    if (!rows) return rows.error();
    for (const Row& row : *rows) visit(row);
    if (rows->size() < kPageRows) return ok();
    last = rows->back();
  }
}

bool place_before(View view, const Row& left, const Row& right) {
  return place_of(view, left) < place_of(view, right);
}

Result<ViewDigests> digest_of_rows(ViewReader& reader, Partition partition) {
  ViewDigests digests{};
  for (const View view : all_views()) {
    const auto add = [&](const Row& row) { add_row(of(digests, view), view, row); };
    if (Status read = for_each_row(reader, view, partition, add); !read) return read.error();
  }
  return digests;
}

std::string to_text(const ViewDigests& digests) {
  std::string out;
  for (const View view : all_views()) {
    const ViewDigest& digest = digests[static_cast<std::size_t>(view)];
    if (!out.empty()) out.push_back(' ');
    out.append(schema_of(view).name).append("=");
    out.append(to_hex(digest.rows)).append(":").append(to_hex(digest.closings));
  }
  return out;
}

Result<ViewDigests> parse_digests(std::string_view text) {
  const Error malformed{Errc::corrupt, "a checkpoint's digests are malformed"};
  ViewDigests digests{};
  for (const View view : all_views()) {
    std::string start{view == View::messages ? "" : " "};
    start.append(schema_of(view).name).append("=");
    const std::size_t length = start.size() + 2 * kHexDigits + 1;
    if (!text.starts_with(start) || text.size() < length || text[start.size() + kHexDigits] != ':')
      return malformed;
    ViewDigest& digest = of(digests, view);
    if (!from_hex(text.substr(start.size(), kHexDigits), digest.rows)) return malformed;
    if (!from_hex(text.substr(start.size() + kHexDigits + 1, kHexDigits), digest.closings)) return malformed;
    text.remove_prefix(length);
  }
  if (!text.empty()) return malformed;
  return digests;
}

}  // namespace varve
