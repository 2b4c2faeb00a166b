#include "projections/verify_replay.h"

#include <algorithm>

#include "projections/quarantine.h"

namespace varve {

Status keep_rows(MemoryViewStorage& storage, Batch batch) {
  if (batch.changes.empty()) return ok();
  const Checkpoint& before = storage.checkpoints[batch.partition];
  batch.expected_version = before.version;
  batch.expected_next = before.next;
  batch.checkpoint.version = before.version + 1;
  batch.released.clear();
  batch.quarantined.clear();
  batch.times.reset();
  const auto applied = apply_batch(storage, batch);
  return applied ? ok() : Status{applied.error()};
}

LogReplay::LogReplay(Place place, RowRewrite rewrite, Sink sink)
    : place_(std::move(place)), fold_(place_.partition, Checkpoint{}, {}), sink_(std::move(sink)) {
  fold_.stop_at(place_.parked);
  fold_.stop_at(place_.ruled);
  fold_.rewrite_with(std::move(rewrite));
  for (const EventPlace& ruled : place_.ruled) kept_streams_.insert(ruled.stream);
}

bool LogReplay::is_kept(const LogRecord& record) const {
  if (kept_streams_.empty()) return false;
  const auto read = decoded(record);
  const auto* commit = read ? std::get_if<Commit>(&**read) : nullptr;
  return commit != nullptr &&
         std::any_of(commit->parts.begin(), commit->parts.end(),
                     [this](const Part& part) { return kept_streams_.contains(part.stream); });
}

Status LogReplay::flush(bool kept) {
  if (fold_.empty()) return ok();
  Batch batch = fold_.take_batch();
  if (kept) {
    if (Status done = keep_rows(kept_, batch); !done) return done;
  }
  return sink_(batch);
}

Result<std::size_t> LogReplay::take(const std::vector<LogRecord>& records) {
  std::size_t taken = 0;
  for (; taken < records.size(); ++taken) {
    const LogRecord& record = records[taken];
    if (record.offset >= place_.to || !fold_.released_by(record).empty()) break;
    const bool kept = is_kept(record);
    if (kept) {
      if (Status done = flush(false); !done) return done.error();
    }
    if (Status done = fold_.take(record); !done) return done.error();
    if (kept) {
      if (Status done = flush(true); !done) return done.error();
    }
  }
  if (Status done = flush(false); !done) return done.error();
  return taken;
}

Status LogReplay::take_ruling(const LogRecord& record, const std::vector<LogRecord>& waiting) {
  if (Status taken = fold_.take_ruling(record, waiting); !taken) return taken;
  MemoryViewReader rows(kept_);
  auto open = open_rows(rows, place_.partition, fold_.to_fit());
  if (!open) return open.error();
  fold_.fit(std::move(*open));
  return flush(true);
}

}  // namespace varve
