#include "projections/quarantine.h"

#include <algorithm>

namespace varve {
namespace {

constexpr int kAttemptsMax = 20;
constexpr std::chrono::milliseconds kRaceWait{20};

// Tells the fold which rows are there, as of its checkpoint: if that has moved, its batch loses the race.
Task<> fit(ViewStore& store, Partition partition, PartitionFold& fold) {
  const std::set<RowKey> keys = fold.to_fit();
  const auto open = std::make_shared<std::set<RowKey>>();
  std::function<Status(ViewReader&)> work = [partition, keys, open](ViewReader& views) -> Status {
    auto found = open_rows(views, partition, keys);
    if (!found) return found.error();
    *open = std::move(*found);
    return ok();
  };
  if (!keys.empty()) {
    if (Status read = co_await store.read(std::move(work)); !read) co_return read;
  }
  fold.fit(std::move(*open));
  co_return ok();
}

// One attempt, on the checkpoint as it is now. Nothing = another transaction was first.
Task<std::optional<RetryOutcome>> retry_once(EventLog& log, ViewStore& store, Partition partition,
                                             StreamId stream) {
  auto loaded = co_await store.load(partition);
  if (!loaded) co_return loaded.error();
  const Checkpoint checkpoint = loaded->checkpoint;
  PartitionFold fold(partition, checkpoint, loaded->quarantine);
  std::vector<Offset> offsets = fold.waiting_at(stream);
  if (offsets.empty()) co_return std::optional{RetryOutcome::not_parked};
  const EventPlaces before = fold.parked_at();

  auto end = co_await log.end(partition);
  if (!end) co_return end.error();
  const Offset to = *end;
  auto stops = co_await ruled_later(log, partition, checkpoint, to);
  if (!stops) co_return stops.error();
  fold.stop_at(*stops);
  const Offset start;
  const AdmissionState unclaimed;
  auto rulings = co_await rulings_in(log, partition, start, checkpoint.next, unclaimed);
  if (!rulings) co_return rulings.error();
  auto waiting = co_await records_at(log, partition, std::move(offsets));
  if (!waiting) co_return waiting.error();

  if (Status tried = fold.try_again(stream, *waiting, *rulings); !tried) co_return tried.error();
  if (Status fitted = co_await fit(store, partition, fold); !fitted) co_return fitted.error();
  const EventPlaces after = fold.parked_at();
  const bool released = fold.waiting_at(stream).empty();
  const RetryOutcome outcome = released ? RetryOutcome::released : RetryOutcome::parked_again;
  if (after == before) co_return std::optional{outcome};  // It could not be folded: nothing to write.
  Batch batch = fold.take_batch();
  auto committed = co_await store.commit(std::move(batch));
  if (!committed) co_return committed.error();
  if (*committed == CommitOutcome::lost_race) co_return std::optional<RetryOutcome>{};
  co_return std::optional{outcome};
}

}  // namespace

Task<RetryOutcome> retry(Env& env, EventLog& log, ViewStore& store, StreamId stream) {
  const Partition partition = partition_of(stream, log.partitions());
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    auto outcome = co_await retry_once(log, store, partition, stream);
    if (!outcome) co_return outcome.error();
    if (*outcome) co_return **outcome;
    env.count("quarantine_races_lost");
    co_await sleep_for(env, kRaceWait);
  }
  co_return Error{Errc::unavailable,
                  "the views moved on during every try to release '" + stream.value() + "'; try again"};
}

Task<EventPlaces> ruled_later(EventLog& log, Partition partition, Checkpoint checkpoint, Offset to) {
  auto rulings = co_await rulings_in(log, partition, checkpoint.next, to, checkpoint.admission);
  if (!rulings) co_return rulings.error();
  EventPlaces places;
  for (const FoundRuling& found : *rulings) places.insert(place_of(found.ruling));
  co_return places;
}

Task<> take_ruling(EventLog& log, ViewStore& store, Partition partition, PartitionFold& fold,
                   LogRecord record) {
  std::vector<Offset> offsets = fold.released_by(record);
  auto waiting = co_await records_at(log, partition, std::move(offsets));
  if (!waiting) co_return waiting.error();
  if (Status taken = fold.take_ruling(record, *waiting); !taken) co_return taken;
  co_return co_await fit(store, partition, fold);
}

Task<> check_late_ruling(EventLog& log, Partition partition, EventPlace place, Offset at) {
  const Offset start;
  const AdmissionState unclaimed;
  auto rulings = co_await rulings_in(log, partition, start, at, unclaimed);
  if (!rulings) co_return rulings.error();
  for (const FoundRuling& found : *rulings) {
    if (place_of(found.ruling) == place) co_return ok();
  }
  std::vector<Offset> offsets{place.offset};
  auto records = co_await records_at(log, partition, std::move(offsets));
  if (!records) co_return records.error().code == Errc::corrupt ? ok() : Status{records.error()};
  const auto read = decoded(records->front());
  const auto* commit = read ? std::get_if<Commit>(&**read) : nullptr;
  if (commit == nullptr) co_return ok();
  for (const Part& part : commit->parts) {
    const auto events = static_cast<std::int64_t>(part.events.size());
    if (part.stream != place.stream || place.event < 0 || place.event >= events) continue;
    co_return Error{Errc::corrupt, "the ruling " + to_string(LogPosition{partition, at}) +
                                       " says that event " + std::to_string(place.event) + " of '" +
                                       place.stream.value() + "' at offset " +
                                       std::to_string(place.offset.value()) +
                                       " is absent, but these views have folded it: rebuild them"};
  }
  co_return ok();
}

Result<std::set<RowKey>> open_rows(ViewReader& views, Partition partition, const std::set<RowKey>& keys) {
  std::set<RowKey> open;
  for (const RowKey& key : keys) {
    Query query;
    query.view = key.first;
    for (std::size_t i = 0; i < key.second.size(); ++i) {
      query.where.push_back({static_cast<int>(i), Filter::Op::equal, {key.second[i]}});
    }
    query.where.push_back({kFromPartition, Filter::Op::equal, {std::int64_t{partition.value()}}});
    const auto rows = views.select(query);
    if (!rows) return rows.error();
    if (!rows->empty()) open.insert(key);
  }
  return open;
}

}  // namespace varve
