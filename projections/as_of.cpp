#include "projections/as_of.h"

#include <algorithm>
#include <limits>

namespace varve {
namespace {

constexpr WallTime kAnyTime{std::numeric_limits<std::int64_t>::max()};

// Where in the log a time lies: in the newest batch that had not gone past it when it began.
struct Place {
  Partition partition;
  TimesRow batch;
  Epoch epoch;  // Newest admitted before the batch.
  std::string cluster;
};

struct ViewEnd {
  Partition partition;
  Checkpoint checkpoint;
};

// ---- reads of the views ----

Result<std::optional<TimesRow>> batch_at_time(ViewReader& reader, Partition partition, Offset end,
                                              WallTime time) {
  std::optional<TimesRow> best;
  // It begins in [low, high). First the newest: most times are new.
  std::uint64_t low = 0;
  std::uint64_t high = end.value();
  std::uint64_t probe = high - 1;
  while (low < high) {
    auto batch = reader.batch_at(partition, Offset{probe});
    if (!batch) return batch.error();
    if (!*batch || (*batch)->first.value() < low) {
      low = probe + 1;
    } else if ((*batch)->first_at <= time) {
      best = **batch;
      low = probe + 1;  // None begins between it and the probe.
    } else {
      high = (*batch)->first.value();
    }
    probe = low + (high - low) / 2;
  }
  return best;
}

// What the records of a batch are judged by.
Result<Place> place_of(ViewReader& reader, Partition partition, const TimesRow& batch) {
  Place place{partition, batch, {}, {}};
  auto checkpoint = reader.checkpoint(partition);
  if (!checkpoint) return checkpoint.error();
  place.cluster = checkpoint->admission.cluster;
  if (batch.first == Offset{}) return place;
  Query owner{.view = View::shard_owners,
              .where = {{static_cast<int>(shard_owners::partition),
                         Filter::Op::equal,
                         {Value{std::int64_t{partition.value()}}}}},
              .limit = 1};
  owner.cut = Cut{{{partition, Offset{batch.first.value() - 1}}}};
  auto rows = reader.select(owner);
  if (!rows) return rows.error();
  if (!rows->empty())
    place.epoch = Epoch{static_cast<std::uint64_t>(rows->front().integer(shard_owners::epoch))};
  return place;
}

Task<std::vector<ViewEnd>> ends_of_views(ViewStore& views, std::vector<Partition> partitions) {
  auto ends = std::make_shared<std::vector<ViewEnd>>();
  std::function<Status(ViewReader&)> work = [ends, partitions](ViewReader& reader) -> Status {
    for (const Partition partition : partitions) {
      auto checkpoint = reader.checkpoint(partition);
      if (!checkpoint) return checkpoint.error();
      ends->push_back({partition, std::move(*checkpoint)});
    }
    return ok();
  };
  if (Status read = co_await views.read(std::move(work)); !read) co_return read.error();
  co_return std::move(*ends);
}

Task<std::vector<Place>> places_at_time(ViewStore& views, std::vector<Partition> partitions, WallTime time) {
  auto places = std::make_shared<std::vector<Place>>();
  std::function<Status(ViewReader&)> work = [places, partitions, time](ViewReader& reader) -> Status {
    for (const Partition partition : partitions) {
      const auto checkpoint = reader.checkpoint(partition);
      if (!checkpoint) return checkpoint.error();
      if (checkpoint->next == Offset{}) continue;
      const auto batch = batch_at_time(reader, partition, checkpoint->next, time);
      if (!batch) return batch.error();
      if (!*batch) continue;
      auto place = place_of(reader, partition, **batch);
      if (!place) return place.error();
      places->push_back(std::move(*place));
    }
    return ok();
  };
  if (Status read = co_await views.read(std::move(work)); !read) co_return read.error();
  co_return std::move(*places);
}

Task<std::optional<Place>> place_at_position(ViewStore& views, LogPosition position) {
  auto found = std::make_shared<std::optional<Place>>();
  std::function<Status(ViewReader&)> work = [found, position](ViewReader& reader) -> Status {
    const auto batch = reader.batch_at(position.partition, position.offset);
    if (!batch) return batch.error();
    if (!*batch) return ok();
    auto place = place_of(reader, position.partition, **batch);
    if (!place) return place.error();
    *found = std::move(*place);
    return ok();
  };
  if (Status read = co_await views.read(std::move(work)); !read) co_return read.error();
  co_return std::move(*found);
}

// ---- inside a batch ----

// Which records of a batch count. Admission needs the index at which the batch began, and nobody keeps that:
// instead a commit counts if its n is above all that came before in the batch. What that takes in wrongly is
// a record behind a gap, of an owner who stopped there; its `at` is not below that of any record which its
// owner had admitted before, so it is never taken for the last of a time that it does not belong to. And a
// duplicate of a record right before the batch, whose `at` is the newest before it, which changes nothing; an
// older one's `at` gives it away, because an owner writes none below one that it has read.
class Judge {
 public:
  explicit Judge(const Place& place)
      : epoch_(place.epoch), cluster_(place.cluster), at_least_(place.batch.first_at) {}

  bool counts(const Record& record) {
    if (const auto* claim = std::get_if<Claim>(&record)) {
      if (claim->cluster != cluster_ || claim->epoch != next(epoch_)) return false;
      epoch_ = claim->epoch;
      newest_ = Index{};
      return true;
    }
    if (time_of(record) < at_least_) return false;
    if (const auto* commit = std::get_if<Commit>(&record)) return is_next(commit->epoch, commit->n);
    if (const auto* ruling = std::get_if<Ruling>(&record)) return is_next(ruling->epoch, ruling->n);
    return false;
  }

 private:
  bool is_next(Epoch epoch, Index n) {
    if (epoch != epoch_ || n <= newest_) return false;
    newest_ = n;
    return true;
  }

  Epoch epoch_;
  std::string cluster_;
  WallTime at_least_;
  Index newest_;
};

struct LastRecord {
  std::optional<Offset> offset;
  WallTime at;  // That of the record; without one, the newest before the batch.
};

// The last record of the batch that counts, has `at` <= time and lies at `until` or before.
Task<LastRecord> last_record(EventLog& log, Place place, WallTime time, Offset until) {
  LastRecord last{std::nullopt, place.batch.first_at};
  Judge judge(place);
  const Offset end = next(std::min(until, place.batch.last));
  Offset from = place.batch.first;
  while (from < end) {
    ReadOptions options;
    auto read = co_await log.read(place.partition, from, options);
    if (!read) co_return read.error();
    if (read->next <= from) co_return not_readable_yet();
    for (const LogRecord& record : read->records) {
      if (record.offset >= end) break;
      const auto decoded_record = decoded(record);
      if (!decoded_record) co_return decoded_record.error();
      const WallTime at = time_of(**decoded_record);
      if (judge.counts(**decoded_record) && at <= time) last = {record.offset, at};
    }
    from = read->next;
  }
  co_return last;
}

// ---- the three kinds ----

std::vector<Partition> partitions_of(const EventLog& log) {
  std::vector<Partition> partitions;
  for (std::uint32_t number = 0; number < log.partitions(); ++number)
    partitions.emplace_back(Partition{number});
  return partitions;
}

Status check_partitions(const EventLog& log, const std::vector<LogPosition>& positions) {
  for (const LogPosition& position : positions) {
    if (position.partition.value() < log.partitions()) continue;
    return Error{Errc::invalid_argument, to_string(position) + " names no partition of this log, which has " +
                                             std::to_string(log.partitions()) + ", numbered from 0"};
  }
  return ok();
}

// The views have passed these positions.
Task<> wait_for(AsOfSources sources, std::vector<LogPosition> positions, MonoTime deadline) {
  if (sources.progress.has_passed(positions)) co_return ok();
  std::vector<Partition> partitions;
  for (const LogPosition& position : positions) partitions.push_back(position.partition);
  auto ends = co_await ends_of_views(sources.views, std::move(partitions));
  if (!ends) co_return ends.error();
  for (const ViewEnd& end : *ends) sources.progress.advance(end.partition, end.checkpoint.next);
  if (co_await sources.progress.wait_for(positions, deadline)) co_return ok();
  for (const LogPosition& position : positions) {
    std::vector<LogPosition> one{position};
    if (sources.progress.has_passed(one)) continue;
    const auto end = co_await sources.log.end(position.partition);
    if (!end) co_return end.error();
    if (position.offset < *end) continue;
    co_return Error{
        Errc::not_found,
        to_string(position) + " lies beyond the log's end: partition " +
            std::to_string(position.partition.value()) +
            (*end == Offset{} ? " is empty" : " ends before offset " + std::to_string(end->value()))};
  }
  co_return Error{Errc::unavailable, "the views have not reached the position in time"};
}

// True if the views of these partitions hold all that the log has now. False at the deadline.
Task<bool> catch_up(AsOfSources sources, std::vector<Partition> partitions, MonoTime deadline) {
  std::vector<LogPosition> positions;
  for (const Partition partition : partitions) {
    const auto end = co_await sources.log.end(partition);
    if (!end) co_return end.error();
    if (*end > Offset{}) positions.push_back({partition, Offset{end->value() - 1}});
  }
  co_return co_await sources.progress.wait_for(std::move(positions), deadline);
}

// Of these partitions what the views hold of this time and before it.
Task<Cut> held_of(EventLog& log, ViewStore& views, std::vector<Partition> partitions, WallTime time) {
  Cut cut;
  auto places = co_await places_at_time(views, std::move(partitions), time);
  if (!places) co_return places.error();
  for (const Place& place : *places) {
    if (place.batch.last_at <= time) {
      cut.set({place.partition, place.batch.last});
      continue;
    }
    const auto last = co_await last_record(log, place, time, place.batch.last);
    if (!last) co_return last.error();
    if (last->offset) {
      cut.set({place.partition, *last->offset});
    } else if (place.batch.first > Offset{}) {
      cut.set({place.partition, Offset{place.batch.first.value() - 1}});
    }
  }
  co_return cut;
}

Task<ResolvedCut> cut_at_time(AsOfSources sources, std::vector<Partition> partitions, WallTime time,
                              MonoTime deadline) {
  auto ends = co_await ends_of_views(sources.views, partitions);
  if (!ends) co_return ends.error();
  std::vector<Partition> open;  // More of this time may be on its way into the views.
  for (const ViewEnd& end : *ends) {
    sources.progress.advance(end.partition, end.checkpoint.next);
    if (end.checkpoint.at <= time) open.push_back(end.partition);
  }
  ResolvedCut resolved;
  if (!open.empty()) {
    const auto caught_up = co_await catch_up(sources, std::move(open), deadline);
    if (!caught_up) co_return caught_up.error();
    resolved.behind = !*caught_up;
  }
  auto cut = co_await held_of(sources.log, sources.views, std::move(partitions), time);
  if (!cut) co_return cut.error();
  resolved.cut = std::move(*cut);
  co_return resolved;
}

Task<ResolvedCut> cut_at_position(AsOfSources sources, LogPosition position, MonoTime deadline) {
  std::vector<LogPosition> positions{position};
  if (Status there = co_await wait_for(sources, std::move(positions), deadline); !there)
    co_return there.error();
  const auto place = co_await place_at_position(sources.views, position);
  if (!place) co_return place.error();
  ResolvedCut resolved;
  if (*place) {
    const auto last = co_await last_record(sources.log, **place, kAnyTime, position.offset);
    if (!last) co_return last.error();
    std::vector<Partition> others = partitions_of(sources.log);
    std::erase(others, position.partition);
    auto rest = co_await cut_at_time(sources, std::move(others), last->at, deadline);
    if (!rest) co_return rest.error();
    resolved = std::move(*rest);
  }
  resolved.cut.set(position);
  co_return resolved;
}

}  // namespace

Result<AsOf> parse_as_of(std::string_view text) {
  if (!text.empty() && text.find_first_not_of("0123456789:,") == std::string_view::npos) {
    if (text.find(',') != std::string_view::npos) {
      auto cut = parse_cut(text);
      if (!cut) return cut.error();
      return AsOf{std::move(*cut)};
    }
    if (text.find(':') != std::string_view::npos) {
      const auto positions = parse_positions(text);
      if (!positions) return positions.error();
      return AsOf{positions->front()};
    }
  }
  // A plus sign that nobody has escaped arrives as a space.
  std::string time{text};
  constexpr std::size_t kBehindTheDay = 11;
  if (const std::size_t space = time.find(' ', kBehindTheDay); space != std::string::npos) time[space] = '+';
  if (const auto parsed = parse_rfc3339(time)) return AsOf{*parsed};
  return Error{Errc::invalid_argument,
               "expected a time as 2026-01-31T12:00:00Z, a position as 0:17 or a cut as 0:17,1:88, got '" +
                   std::string(text) + "'"};
}

Task<ResolvedCut> resolve_as_of(AsOfSources sources, AsOf asked, MonoTime deadline) {
  if (const auto* time = std::get_if<WallTime>(&asked)) {
    std::vector<Partition> all = partitions_of(sources.log);
    co_return co_await cut_at_time(sources, std::move(all), *time, deadline);
  }
  std::vector<LogPosition> positions;
  if (const auto* position = std::get_if<LogPosition>(&asked)) positions.push_back(*position);
  if (const auto* cut = std::get_if<Cut>(&asked)) positions = cut->positions();
  if (Status known = check_partitions(sources.log, positions); !known) co_return known.error();
  if (std::holds_alternative<LogPosition>(asked))
    co_return co_await cut_at_position(sources, positions.front(), deadline);
  if (Status there = co_await wait_for(sources, std::move(positions), deadline); !there)
    co_return there.error();
  ResolvedCut resolved{std::get<Cut>(std::move(asked)), false};
  co_return resolved;
}

Task<Cut> held_up_to(EventLog& log, ViewStore& views, WallTime time) {
  std::vector<Partition> all = partitions_of(log);
  co_return co_await held_of(log, views, std::move(all), time);
}

Task<std::optional<CountedRecord>> newest_counted(EventLog& log, ViewStore& views, LogPosition position,
                                                  Offset from) {
  for (;;) {
    const auto place = co_await place_at_position(views, position);
    if (!place) co_return place.error();
    if (!*place) co_return std::optional<CountedRecord>{};
    const auto last = co_await last_record(log, **place, kAnyTime, position.offset);
    if (!last) co_return last.error();
    if (last->offset) {
      if (*last->offset < from) co_return std::optional<CountedRecord>{};
      const CountedRecord found{{position.partition, *last->offset}, last->at};
      co_return std::optional{found};
    }
    const Offset first = (*place)->batch.first;
    if (first <= from) co_return std::optional<CountedRecord>{};
    position.offset = Offset{first.value() - 1};
  }
}

}  // namespace varve
