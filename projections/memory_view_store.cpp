#include "projections/memory_view_store.h"

#include <algorithm>
#include <compare>
#include <tuple>

#include "projections/memory_search.h"
#include "projections/store_rules.h"
#include "runtime/check.h"
#include "runtime/mutant.h"
#include "runtime/suspend.h"

namespace varve {

namespace {

// What the API and the fold ask for by value. Anything else is found by looking at every row.
std::vector<std::size_t> indexed_columns(View view) {
  switch (view) {
    case View::messages:
      return {messages::id, messages::agent_id, messages::run_id};
    case View::blocks:
      return {blocks::id, blocks::label};
    case View::agents:
      return {agents::id, agents::name};
    case View::runs:
      return {runs::id, runs::agent_id};
    case View::attachments:
      return {attachments::agent_id, attachments::block_id};
    case View::tags:
      return {tags::agent_id, tags::tag};
    case View::tools:
      return {tools::id, tools::name};
    case View::steps:
      return {steps::id, steps::run_id};
    case View::agent_activity:
    case View::shard_owners:
      return {0};
  }
  return {0};
}

std::int64_t from_number(const Row& row, int column) {
  switch (column) {
    case kFromOffset:
      return static_cast<std::int64_t>(row.from.offset.value());
    case kFromOrdinal:
      return row.from.ordinal;
    case kFromSequence:
      return static_cast<std::int64_t>(row.from.sequence.value());
    default:
      return static_cast<std::int64_t>(row.from.partition.value());
  }
}

// Null before integers before text, text by bytes: the order of the variant's alternatives, and of SQLite.
std::strong_ordering compare(const Row& row, int column, const Value& value) {
  if (column < 0) return Value{from_number(row, column)} <=> value;
  return row.values[static_cast<std::size_t>(column)] <=> value;
}

std::strong_ordering compare(const Row& left, const Row& right, int column) {
  if (column < 0) return from_number(left, column) <=> from_number(right, column);
  return left.values[static_cast<std::size_t>(column)] <=> right.values[static_cast<std::size_t>(column)];
}

std::strong_ordering compare(const Row& row, const std::vector<int>& columns,
                             const std::vector<Value>& bound) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (const auto order = compare(row, columns[i], bound[i]); order != 0) return order;
  }
  return std::strong_ordering::equal;
}

char folded(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool contains_folded(const std::string& text, const std::string& part) {
  const auto same = [](char left, char right) { return folded(left) == folded(right); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end() || part.empty();
}

bool passes(const Row& row, const Filter& filter) {
  switch (filter.op) {
    case Filter::Op::equal:
      return compare(row, filter.column, filter.values[0]) == 0;
    case Filter::Op::one_of:
      return std::any_of(filter.values.begin(), filter.values.end(),
                         [&](const Value& value) { return compare(row, filter.column, value) == 0; });
    case Filter::Op::contains: {
      const auto* text = std::get_if<std::string>(&row.values[static_cast<std::size_t>(filter.column)]);
      return text != nullptr && contains_folded(*text, std::get<std::string>(filter.values[0]));
    }
    case Filter::Op::at_most: {
      const bool null = filter.column >= 0 && row.is_null(static_cast<std::size_t>(filter.column));
      return !null && compare(row, filter.column, filter.values[0]) <= 0;
    }
  }
  return false;
}

bool passes(const Row& row, const Query& query) {
  if (!is_there(row, query.cut) || (query.open_only && !is_open(row, query.cut))) return false;
  return std::all_of(query.where.begin(), query.where.end(),
                     [&row](const Filter& filter) { return passes(row, filter); });
}

bool within_bounds(const Row& row, const Query& query) {
  if (query.above && compare(row, query.order_by, *query.above) <= 0) return false;
  return !query.below || compare(row, query.order_by, *query.below) < 0;
}

MemoryTable& table_of(MemoryViewStorage& storage, View view) {
  return storage.tables[static_cast<std::size_t>(view)];
}

// What apply_batch has done so far, so that it can be taken back.
struct Done {
  View view;
  const RowClose* close = nullptr;  // Null: an insert.
  std::size_t row = 0;
};

void undo(MemoryViewStorage& storage, const std::vector<Done>& done) {
  for (auto step = done.rbegin(); step != done.rend(); ++step) {
    MemoryTable& table = table_of(storage, step->view);
    if (step->close == nullptr) {
      table.undo_insert();
    } else {
      table.undo_close(step->close->key, step->row);
    }
  }
}

Status apply_change(MemoryViewStorage& storage, Partition partition, const RowChange& change,
                    std::vector<Done>& done) {
  if (const auto* insert = std::get_if<RowInsert>(&change)) {
    if (!table_of(storage, insert->view).insert(insert->row)) {
      return Error{Errc::corrupt, "insert of " + describe(insert->view, insert->row) +
                                      ": the entity has an open version already"};
    }
    done.push_back({insert->view, nullptr, 0});
    return ok();
  }
  const auto& close = std::get<RowClose>(change);
  MemoryTable& table = table_of(storage, close.view);
  const auto row = table.open_row(close.key);
  if (!row || !table.close(close.key, partition, close.to)) {
    return Error{Errc::corrupt, "closing of " + describe_entity(close.view, close.key) + " at " +
                                    to_string(LogPosition{partition, close.to.offset}) +
                                    " met 0 open rows, not 1"};
  }
  done.push_back({close.view, &close, *row});
  return ok();
}

bool same_place(const QuarantineRow& left, const QuarantineRow& right) {
  return left.partition == right.partition && left.offset == right.offset && left.stream == right.stream &&
         left.event == right.event;
}

}  // namespace

MemoryTable::MemoryTable(View view) : view_(view) {
  for (const std::size_t column : indexed_columns(view))
    by_column_.emplace(column, std::map<Value, std::vector<std::size_t>>{});
}

std::vector<Value> MemoryTable::key_of(const Row& row) const {
  return {row.values.begin(), row.values.begin() + static_cast<std::ptrdiff_t>(schema_of(view_).key_columns)};
}

std::vector<Value> MemoryTable::place_of(const Row& row) const {
  std::vector<Value> place = key_of(row);
  for (const int column : {kFromOffset, kFromOrdinal, kFromPartition})
    place.emplace_back(from_number(row, column));
  return place;
}

bool MemoryTable::insert(Row row) {
  const std::size_t number = rows_.size();
  std::vector<Value> key = key_of(row);
  if (!row.to && open_.contains(key)) return false;
  if (!places_.insert(place_of(row)).second) return false;
  if (!row.to) open_.emplace(std::move(key), number);
  for (auto& [column, rows] : by_column_) rows[row.values[column]].push_back(number);
  rows_.push_back(std::move(row));
  return true;
}

bool MemoryTable::close(const std::vector<Value>& key, Partition partition, const RowTo& to) {
  const auto found = open_.find(key);
  if (found == open_.end() || rows_[found->second].from.partition != partition) return false;
  rows_[found->second].to = to;
  open_.erase(found);
  return true;
}

void MemoryTable::undo_insert() {
  const Row& row = rows_.back();
  if (!row.to) open_.erase(key_of(row));
  places_.erase(place_of(row));
  for (auto& [column, rows] : by_column_) {
    const auto found = rows.find(row.values[column]);
    found->second.pop_back();
    if (found->second.empty()) rows.erase(found);
  }
  rows_.pop_back();
}

void MemoryTable::undo_close(const std::vector<Value>& key, std::size_t row) {
  rows_[row].to.reset();
  open_.emplace(key, row);
}

std::optional<std::size_t> MemoryTable::open_row(const std::vector<Value>& key) const {
  const auto found = open_.find(key);
  if (found == open_.end()) return std::nullopt;
  return found->second;
}

std::vector<std::size_t> MemoryTable::candidates(const Query& query) const {
  for (const Filter& filter : query.where) {
    if (filter.op != Filter::Op::equal && filter.op != Filter::Op::one_of) continue;
    const auto index =
        filter.column < 0 ? by_column_.end() : by_column_.find(static_cast<std::size_t>(filter.column));
    if (index == by_column_.end()) continue;
    std::vector<std::size_t> numbers;
    for (const Value& value : std::set<Value>(filter.values.begin(), filter.values.end())) {
      const auto rows = index->second.find(value);
      if (rows != index->second.end())
        numbers.insert(numbers.end(), rows->second.begin(), rows->second.end());
    }
    return numbers;
  }
  std::vector<std::size_t> numbers;
  if (query.open_only && !query.cut) {
    for (const auto& [key, row] : open_) numbers.push_back(row);
  } else {
    for (std::size_t row = 0; row < rows_.size(); ++row) numbers.push_back(row);
  }
  return numbers;
}

MemoryViewStorage::MemoryViewStorage() {
  for (const View view : all_views()) tables.emplace_back(view);
}

Result<CommitOutcome> apply_batch(MemoryViewStorage& storage, const Batch& batch) {
  check_batch(batch);
  const auto stored = storage.checkpoints.find(batch.partition);
  const Checkpoint before = stored == storage.checkpoints.end() ? Checkpoint{} : stored->second;
  const bool follows =
      before.version == batch.expected_version && (before.version == 0 || before.next == batch.expected_next);
  if (!follows && !mutant(Mutant::checkpoint_not_compared)) return CommitOutcome::lost_race;

  std::vector<QuarantineRow> quarantine = storage.quarantine;
  std::erase_if(quarantine, [&batch](const QuarantineRow& row) {
    const auto& released = batch.released;
    return row.partition == batch.partition &&
           std::find(released.begin(), released.end(), row.stream) != released.end();
  });
  for (std::size_t i = 0; i < batch.quarantined.size(); ++i) {
    const QuarantineRow& row = batch.quarantined[i];
    const auto same = [&row](const QuarantineRow& other) { return same_place(row, other); };
    const auto behind = batch.quarantined.begin() + static_cast<std::ptrdiff_t>(i) + 1;
    if (std::any_of(quarantine.begin(), quarantine.end(), same) ||
        std::any_of(behind, batch.quarantined.end(), same)) {
      return Error{Errc::corrupt, "quarantine of " + row.stream.value() + " at " +
                                      to_string(LogPosition{row.partition, row.offset}) +
                                      ": it is there already"};
    }
  }
  std::vector<Done> done;
  for (const RowChange& change : batch.changes) {
    if (const auto applied = apply_change(storage, batch.partition, change, done); !applied) {
      undo(storage, done);
      return applied.error();
    }
  }
  quarantine.insert(quarantine.end(), batch.quarantined.begin(), batch.quarantined.end());
  storage.quarantine = std::move(quarantine);
  if (batch.times) storage.times.emplace_back(batch.partition, *batch.times);
  storage.checkpoints[batch.partition] = batch.checkpoint;
  return CommitOutcome::committed;
}

Result<std::vector<Row>> MemoryViewReader::select(const Query& query) {
  if (const auto checked = check_query(query); !checked) return checked.error();
  const MemoryTable& table = storage_.tables[static_cast<std::size_t>(query.view)];
  std::vector<const Row*> found;
  for (const std::size_t number : table.candidates(query)) {
    const Row& row = table.rows()[number];
    if (passes(row, query) && within_bounds(row, query)) found.push_back(&row);
  }
  const std::vector<int> order = total_order(query);
  const auto before = [&order, &query](const Row* left, const Row* right) {
    for (const int column : order) {
      const auto compared = compare(*left, *right, column);
      if (compared != 0) return query.descending ? compared > 0 : compared < 0;
    }
    return false;
  };
  const std::size_t taken = std::min(query.limit, found.size());
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(taken), found.end(), before);
  std::vector<Row> rows;
  rows.reserve(taken);
  for (std::size_t i = 0; i < taken; ++i) rows.push_back(*found[i]);
  reopen(rows, query.cut);
  return rows;
}

Result<std::int64_t> MemoryViewReader::count(const Query& query) {
  if (const auto checked = check_query(query); !checked) return checked.error();
  const MemoryTable& table = storage_.tables[static_cast<std::size_t>(query.view)];
  std::int64_t counted = 0;
  for (const std::size_t number : table.candidates(query))
    counted += passes(table.rows()[number], query) ? 1 : 0;
  return counted;
}

Result<std::vector<SearchHit>> MemoryViewReader::search_messages(const SearchQuery& search) {
  if (const auto checked = check_search(search); !checked) return checked.error();
  return search_storage(storage_, search);
}

Result<Checkpoint> MemoryViewReader::checkpoint(Partition partition) {
  const auto found = storage_.checkpoints.find(partition);
  return found == storage_.checkpoints.end() ? Checkpoint{} : found->second;
}

Result<std::vector<QuarantineRow>> MemoryViewReader::quarantine() {
  std::vector<QuarantineRow> rows = storage_.quarantine;
  std::sort(rows.begin(), rows.end(), [](const QuarantineRow& left, const QuarantineRow& right) {
    return std::tie(left.partition, left.offset, left.stream, left.event) <
           std::tie(right.partition, right.offset, right.stream, right.event);
  });
  return rows;
}

Result<std::optional<TimesRow>> MemoryViewReader::batch_at(Partition partition, Offset offset) {
  const auto& times = storage_.times;
  const auto found = std::find_if(times.rbegin(), times.rend(), [&](const auto& batch) {
    return batch.first == partition && batch.second.first <= offset;
  });
  if (found == times.rend()) return std::optional<TimesRow>{};
  return std::optional<TimesRow>{found->second};
}

Task<LoadedCheckpoint> MemoryViewStore::load(Partition partition) {
  co_await yield(env_);
  LoadedCheckpoint loaded;
  const auto found = storage_->checkpoints.find(partition);
  if (found != storage_->checkpoints.end()) loaded.checkpoint = found->second;
  loaded.quarantine = *MemoryViewReader{*storage_}.quarantine();
  std::erase_if(loaded.quarantine, [&](const QuarantineRow& row) { return row.partition != partition; });
  loaded.parked = streams_of(loaded.quarantine);
  co_return loaded;
}

Task<CommitOutcome> MemoryViewStore::commit(Batch batch) {
  co_await yield(env_);  // A crash may fall here: nothing was written.
  const auto outcome = apply_batch(*storage_, batch);
  co_await yield(env_);  // A crash may fall here: all of it was written.
  co_return outcome;
}

Task<> MemoryViewStore::read(std::function<Status(ViewReader&)> work) {
  co_await yield(env_);
  MemoryViewReader reader{*storage_};
  const Status status = work(reader);
  co_await yield(env_);
  co_return status;
}

}  // namespace varve
