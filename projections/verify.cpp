#include "projections/verify.h"

#include "projections/digest.h"
#include "projections/fold.h"
#include "projections/memory_view_store.h"
#include "projections/quarantine.h"
#include "runtime/hash.h"

namespace varve {
namespace {

constexpr int kAttemptsMax = 20;
constexpr std::size_t kDifferencesMax = 20;
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

std::string printed(const Value& value) {
  if (std::holds_alternative<std::monostate>(value)) return "null";
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  const auto& text = std::get<std::string>(value);
  return "'" + (text.size() > 80 ? text.substr(0, 77) + "..." : text) + "'";
}

std::string closing_of(const Row& row) {
  return row.to ? "closed at offset " + std::to_string(row.to->offset.value()) : "open";
}

// The first thing in which two versions of one row differ.
std::string difference_of(View view, const Row& stored, const Row& replayed) {
  const auto columns = schema_of(view).columns;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (stored.values[i] != replayed.values[i]) {
      return std::string(columns[i].name) + " is " + printed(stored.values[i]) + ", the log says " +
             printed(replayed.values[i]);
    }
  }
  if (stored.to != replayed.to)
    return "it is " + closing_of(stored) + ", the log says " + closing_of(replayed);
  return "its time or sequence differs from the log's";
}

// Compares one view row by row; both sides are in the order of entity and position.
Status compare_view(View view, Partition partition, const VerifyOptions& options, ViewReader& stored,
                    ViewReader& replayed, std::vector<Difference>& differences) {
  std::vector<Row> expected;
  const auto keep = [&expected](const Row& row) { expected.push_back(row); };
  if (Status read = for_each_row(replayed, view, partition, keep); !read) return read;
  std::size_t at = 0;
  const auto report = [&](const Row& row, const std::string& what) {
    if (differences.size() < kDifferencesMax) {
      differences.push_back(
          {partition, describe(view, row) + ": " + what + " (last touched at offset " +
                          std::to_string((row.to ? row.to->offset : row.from.offset).value()) + ")"});
    }
  };
  std::erase_if(expected, [&](const Row& row) { return !is_compared(options, view, key_of(view, row)); });
  const auto compare = [&](const Row& row) {
    if (!is_compared(options, view, key_of(view, row))) return;
    while (at < expected.size() && place_before(view, expected[at], row)) {
      report(expected[at++], "the row is missing in the table");
    }
    if (at >= expected.size() || place_before(view, row, expected[at])) {
      report(row, "the row is in the table, but not in the log");
      return;
    }
    if (!(row == expected[at])) report(row, difference_of(view, row, expected[at]));
    ++at;
  };
  if (Status read = for_each_row(stored, view, partition, compare); !read) return read;
  while (at < expected.size()) report(expected[at++], "the row is missing in the table");
  return ok();
}

std::string printed(const Mark& mark) {
  return mark.none ? "none"
                   : "offset " + std::to_string(mark.offset.value()) + ", hash " + std::to_string(mark.hash);
}

// What a checkpoint says of the log besides its digests.
void compare_checkpoint(Partition partition, const Checkpoint& stored, const Checkpoint& replayed,
                        std::vector<Difference>& differences) {
  const auto report = [&](const std::string& what, const std::string& is, const std::string& should) {
    differences.push_back({partition, "the checkpoint at offset " + std::to_string(stored.next.value()) +
                                          ": its " + what + " is " + is + ", the log says " + should});
  };
  const auto admission = [](const AdmissionState& state) {
    return "epoch " + std::to_string(state.epoch.value()) + ", index " + std::to_string(state.index.value());
  };
  if (!(stored.admission == replayed.admission))
    report("place in the epochs", admission(stored.admission), admission(replayed.admission));
  if (!(stored.mark == replayed.mark)) report("mark", printed(stored.mark), printed(replayed.mark));
  if (stored.at != replayed.at)
    report("time", format_rfc3339_micros(stored.at), format_rfc3339_micros(replayed.at));
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
    const std::string name{schema_of(view).name};
    if (!((*of_rows)[i] == checkpoint.digests[i])) {
      differences.push_back({partition, name + ": the rows do not add up to the checkpoint's digest"});
    }
    if (!(replay.fold.checkpoint().digests[i] == checkpoint.digests[i])) {
      differences.push_back({partition, name + ": the checkpoint's digest is not that of the log"});
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
      co_return Error{kMisplaced, "the log ends before the checkpoint at offset " +
                                      std::to_string(to.value()) +
                                      ": the checkpoint was moved, or the log was cut or exchanged"};
    }
    for (const LogRecord& record : batch->records) {
      if (record.offset >= to) break;
      const bool releases = !replay->fold.released_by(record).empty();
      const Status taken = releases ? co_await replay_ruling(log, replay, record) : replay->fold.take(record);
      if (!taken) co_return taken;
    }
    if (replay->fold.next() == from) {
      co_return Error{kMisplaced, "the checkpoint at offset " + std::to_string(to.value()) +
                                      " lies between two records of the log: it was moved"};
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
