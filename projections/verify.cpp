#include "projections/verify.h"

#include "projections/digest.h"
#include "projections/fold.h"
#include "projections/memory_view_store.h"
#include "projections/quarantine.h"
#include "projections/verify_rows.h"
#include "runtime/hash.h"

namespace varve {
namespace {

constexpr int kAttemptsMax = 20;
// The checkpoint is not where a fold of this log could have left it: a difference, not a damaged log.
constexpr Errc kMisplaced = Errc::not_found;

// The replay: a fold of the log from its start, extended as far as the checkpoint that it is compared with.
// It parks where the stored views are parked.
struct Replay {
  Replay(Partition of, EventPlaces parked_at, VerifyOptions how)
      : partition(of), options(std::move(how)), parked(std::move(parked_at)) {
    fold.stop_at(parked);
    fold.rewrite_with(options.rewrite);
  }
  Partition partition;
  VerifyOptions options;
  bool keeps_all = false;  // What a ruling releases has to be fitted to all rows.
  EventPlaces parked;
  PartitionFold fold{partition, Checkpoint{}, {}};
  MemoryViewStorage storage;
};

bool is_compared(const VerifyOptions& options, View view, std::span<const Value> key) {
  if (options.view && *options.view != view) return false;
  if (options.sample >= kWholeSample) return true;
  return xxh64(describe_entity(view, key)) % kWholeSample < options.sample;
}

std::span<const Value> key_of(View view, const Row& row) {
  return {row.values.data(), schema_of(view).key_columns};
}

bool is_compared(const VerifyOptions& options, const RowChange& change) {
  if (const auto* close = std::get_if<RowClose>(&change))
    return is_compared(options, close->view, close->key);
  const auto& insert = std::get<RowInsert>(change);
  return is_compared(options, insert.view, key_of(insert.view, insert.row));
}

Status apply(Replay& replay) {
  if (replay.fold.empty()) return ok();
  Batch batch = replay.fold.take_batch();
  if (!replay.keeps_all) {
    std::erase_if(batch.changes,
                  [&](const RowChange& change) { return !is_compared(replay.options, change); });
  }
  auto applied = apply_batch(replay.storage, batch);
  return applied ? ok() : Status{applied.error()};
}

// Compares one view row by row; both sides are in the order of entity and position.
Status compare_view(View view, Partition partition, const VerifyOptions& options, ViewReader& stored,
                    ViewReader& replayed, std::vector<Difference>& differences) {
  std::vector<Row> expected;
  const auto keep = [&expected](const Row& row) { expected.push_back(row); };
  if (Status read = for_each_row(replayed, view, partition, keep); !read) return read;
  std::erase_if(expected, [&](const Row& row) { return !is_compared(options, view, key_of(view, row)); });
  RowComparison comparison{view, partition, std::move(expected), differences};
  const auto compare = [&](const Row& row) {
    if (is_compared(options, view, key_of(view, row))) comparison.take(row);
  };
  if (Status read = for_each_row(stored, view, partition, compare); !read) return read;
  comparison.end();
  return ok();
}

Status compare(ViewReader& stored, Partition partition, const Checkpoint& checkpoint, const Replay& replay,
               std::vector<Difference>& differences) {
  compare_checkpoint(partition, checkpoint, replay.fold.checkpoint(), differences);
  const auto of_rows = digest_of_rows(stored, partition);
  if (!of_rows) return of_rows.error();
  MemoryViewReader replayed(replay.storage);
  for (const View view : all_views()) {
    if (replay.options.view && *replay.options.view != view) continue;
    const auto i = static_cast<std::size_t>(view);
    if (!((*of_rows)[i] == checkpoint.digests[i])) differences.push_back(rows_do_not_add_up(partition, view));
    if (!(replay.fold.checkpoint().digests[i] == checkpoint.digests[i])) {
      differences.push_back(digest_is_not_the_logs(partition, view));
    }
    if (Status compared = compare_view(view, partition, replay.options, stored, replayed, differences);
        !compared)
      return compared;
  }
  return ok();
}

Task<> replay_ruling(EventLog& log, std::shared_ptr<Replay> replay, LogRecord record) {
  if (Status applied = apply(*replay); !applied) co_return applied;
  std::vector<Offset> offsets = replay->fold.released_by(record);
  auto waiting = co_await records_at(log, replay->partition, std::move(offsets));
  if (!waiting) co_return waiting.error();
  if (Status taken = replay->fold.take_ruling(record, *waiting); !taken) co_return taken;
  MemoryViewReader views(replay->storage);
  auto open = open_rows(views, replay->partition, replay->fold.to_fit());
  if (!open) co_return open.error();
  replay->fold.fit(std::move(*open));
  co_return apply(*replay);
}

Task<> extend(EventLog& log, std::shared_ptr<Replay> replay, Offset to) {
  auto ruled = co_await ruled_later(log, replay->partition, replay->fold.checkpoint(), to);
  if (!ruled) co_return ruled.error();
  replay->fold.stop_at(*ruled);
  if (!ruled->empty() && !replay->keeps_all) {
    if (replay->fold.next() > Offset{}) {
      co_return Error{Errc::unavailable, "a ruling was written during the comparison; try again"};
    }
    replay->keeps_all = true;
  }
  while (replay->fold.next() < to) {
    ReadOptions options;
    const Offset from = replay->fold.next();
    auto batch = co_await log.read(replay->partition, from, options);
    if (!batch) co_return batch.error();
    if (batch->records.empty()) {
      co_return Error{kMisplaced, log_ends_before(to)};
    }
    for (const LogRecord& record : batch->records) {
      if (record.offset >= to) break;
      const bool releases = !replay->fold.released_by(record).empty();
      const Status taken = releases ? co_await replay_ruling(log, replay, record) : replay->fold.take(record);
      if (!taken) co_return taken;
    }
    if (replay->fold.next() == from) {
      co_return Error{kMisplaced, lies_between_records(to)};
    }
    if (Status applied = apply(*replay); !applied) co_return applied;
  }
  co_return ok();
}

}  // namespace

Task<std::vector<Difference>> fold_equals(Env& env, EventLog& log, ViewStore& store, Partition partition) {
  VerifyOptions whole;
  co_return co_await fold_equals(env, log, store, partition, std::move(whole));
}

Task<std::vector<Difference>> fold_equals(Env& env, EventLog& log, ViewStore& store, Partition partition,
                                          VerifyOptions options) {
  std::shared_ptr<Replay> replay;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    auto loaded = co_await store.load(partition);
    if (!loaded) co_return loaded.error();
    const Checkpoint checkpoint = loaded->checkpoint;
    const EventPlaces parked = PartitionFold{partition, checkpoint, loaded->quarantine}.parked_at();
    if (!replay || replay->parked != parked) replay = std::make_shared<Replay>(partition, parked, options);
    if (Status replayed = co_await extend(log, replay, checkpoint.next); !replayed) {
      if (replayed.error().code != kMisplaced) co_return replayed.error();
      co_return std::vector<Difference>{Difference{partition, replayed.error().message}};
    }
    const auto differences = std::make_shared<std::vector<Difference>>();
    const auto moved = std::make_shared<bool>(false);
    std::function<Status(ViewReader&)> work = [=](ViewReader& stored) -> Status {
      const auto now = stored.checkpoint(partition);
      if (!now) return now.error();
      *moved = now->version != checkpoint.version;
      if (*moved) return ok();
      return compare(stored, partition, checkpoint, *replay, *differences);
    };
    if (Status read = co_await store.read(std::move(work)); !read) co_return read.error();
    if (!*moved) co_return *differences;
    co_await yield(env);
  }
  co_return Error{Errc::unavailable, "the views moved on during every comparison; try again"};
}

}  // namespace varve
