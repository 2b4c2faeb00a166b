#include "inspect/log_fold.h"

#include <map>

#include "projections/quarantine.h"

namespace varve {
namespace {

// Without detail so many changes are applied at once.
constexpr std::size_t kChangesPerBatch = 4096;

std::vector<Value> key_of(View view, const Row& row) {
  const auto count = static_cast<std::ptrdiff_t>(schema_of(view).key_columns);
  return {row.values.begin(), row.values.begin() + count};
}

std::optional<Row> open_version(const MemoryViewStorage& storage, View view, const std::vector<Value>& key) {
  const MemoryTable& table = storage.tables[static_cast<std::size_t>(view)];
  const auto number = table.open_row(key);
  if (!number) return std::nullopt;
  return table.rows()[*number];
}

// Before they are applied. A row that is closed and opened again has changed; one that was opened and closed
// at once has come and gone.
std::vector<RowDelta> deltas_of(const MemoryViewStorage& storage, const std::vector<RowChange>& changes) {
  std::vector<RowDelta> deltas;
  std::map<RowKey, std::size_t> closed;  // That have no new version yet.
  for (const RowChange& change : changes) {
    if (const auto* close = std::get_if<RowClose>(&change)) {
      RowDelta delta{close->view, open_version(storage, close->view, close->key), std::nullopt};
      for (const RowDelta& earlier : deltas) {
        const bool same = earlier.view == close->view && earlier.after &&
                          key_of(earlier.view, *earlier.after) == close->key;
        if (same) delta.before = earlier.after;
      }
      closed[{close->view, close->key}] = deltas.size();
      deltas.push_back(std::move(delta));
      continue;
    }
    const auto& insert = std::get<RowInsert>(change);
    const auto before = closed.find({insert.view, key_of(insert.view, insert.row)});
    if (before != closed.end()) {
      deltas[before->second].after = insert.row;
      closed.erase(before);
    } else {
      deltas.push_back({insert.view, std::nullopt, insert.row});
    }
  }
  return deltas;
}

}  // namespace

Task<> LogFold::begin(Offset end) {
  const Checkpoint start;
  auto ruled = co_await ruled_later(log_, partition_, start, end);
  if (!ruled) co_return ruled.error();
  fold_.stop_at(*ruled);
  co_return ok();
}

void LogFold::apply(Folded& folded) {
  if (fold_.empty()) return;
  Batch batch = fold_.take_batch();
  folded.parked = batch.quarantined;
  folded.changes = batch.changes;
  folded.rows = deltas_of(storage_, folded.changes);
  if (!broken_.empty()) {
    folded.rows.clear();
    folded.changes.clear();
    return;
  }
  if (const auto applied = apply_batch(storage_, batch); !applied) {
    broken_ = applied.error().message;
    folded.fault = "the views stop here: " + broken_;
  }
}

Status LogFold::flush() {
  if (fold_.empty()) return ok();
  Folded folded;
  apply(folded);
  return folded.fault.empty() ? ok() : Status{Error{Errc::corrupt, folded.fault}};
}

Task<> LogFold::take_ruling(LogRecord record, std::shared_ptr<Folded> folded) {
  std::vector<Offset> offsets = fold_.released_by(record);
  auto waiting = co_await records_at(log_, partition_, std::move(offsets));
  if (!waiting) co_return waiting.error();
  if (Status taken = fold_.take_ruling(record, *waiting); !taken) co_return taken;
  MemoryViewReader views(storage_);
  auto open = open_rows(views, partition_, fold_.to_fit());
  if (!open) co_return open.error();
  fold_.fit(std::move(*open));
  apply(*folded);
  co_return ok();
}

Task<Folded> LogFold::take(LogRecord record, Detail detail) {
  auto folded = std::make_shared<Folded>();
  const auto read = decoded(record);
  if (!read) {
    folded->fault = read.error().message;
    co_return std::move(*folded);
  }
  folded->record = *read;
  AdmissionState admission = fold_.checkpoint().admission;
  folded->verdict = admit(admission, **read);
  const bool releases = !fold_.released_by(record).empty();
  const bool late = fold_.changes() >= kChangesPerBatch;
  if (detail == Detail::changes || releases || late) {
    if (Status flushed = flush(); !flushed) folded->fault = flushed.error().message;
  }
  if (releases) {
    if (Status taken = co_await take_ruling(std::move(record), folded); !taken) co_return taken.error();
  } else {
    if (Status taken = fold_.take(record); !taken) co_return taken.error();
    if (detail == Detail::changes) apply(*folded);
  }
  co_return std::move(*folded);
}

Task<> visit_log(EventLog& log, Partition partition, Offset from, Offset end, LogVisitor& visitor) {
  std::string last_fault;
  while (from < end) {
    ReadOptions options;
    options.records_max = 256;  // One short transaction.
    auto batch = co_await log.read(partition, from, options);
    if (!batch && batch.error().code != Errc::corrupt) co_return batch.error();
    if (!batch) {
      // The log names the record; it may lie behind `from`.
      if (batch.error().message != last_fault) {
        last_fault = batch.error().message;
        auto go_on = co_await visitor.damaged(from, last_fault);
        if (!go_on) co_return go_on.error();
        if (!*go_on) co_return ok();
      }
      from = next(from);
      continue;
    }
    for (LogRecord& record : batch->records) {
      if (record.offset >= end) co_return ok();
      auto go_on = co_await visitor.take(std::move(record));
      if (!go_on) co_return go_on.error();
      if (!*go_on) co_return ok();
    }
    if (batch->next <= from) co_return not_readable_yet();
    from = batch->next;
  }
  co_return ok();
}

}  // namespace varve
