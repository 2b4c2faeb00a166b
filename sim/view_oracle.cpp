#include "sim/view_oracle.h"

#include <algorithm>

#include "projections/digest.h"
#include "projections/quarantine.h"

namespace varve::sim {
namespace {

std::string named(Partition partition) {
  return "partition " + std::to_string(partition.value());
}

// The column that names the stream whose event made a row; in the other views it is the partition's number,
// or all rows belong to the catalogue.
std::optional<std::size_t> stream_column(View view) {
  switch (view) {
    case View::messages:
      return messages::agent_id;
    case View::runs:
      return runs::agent_id;
    case View::blocks:
      return blocks::id;
    case View::agents:
      return agents::id;
    case View::agent_activity:
      return agent_activity::agent_id;
    case View::attachments:
      return attachments::agent_id;
    case View::tags:
      return tags::agent_id;
    case View::steps:
      return steps::agent_id;
    case View::tools:
    case View::shard_owners:
      break;
  }
  return std::nullopt;
}

// Where an entity is at home; nothing if its first columns do not tell.
std::optional<Partition> home_of(View view, const std::vector<Value>& values, std::uint32_t partitions) {
  if (view == View::tools) return partition_of(StreamId{"catalogue"}, partitions);
  if (view == View::shard_owners) {
    return Partition{static_cast<std::uint32_t>(std::get<std::int64_t>(values[0]))};
  }
  const auto column = stream_column(view);
  if (!column || *column >= values.size()) return std::nullopt;
  return partition_of(StreamId{std::get<std::string>(values[*column])}, partitions);
}

LogRecord record_of(const LogView& log, Partition partition, std::size_t index) {
  return log.records(partition)[index];
}

}  // namespace

ViewOracle::ViewOracle(LogOracle& log, ViewsView& views, Violations& violations)
    : log_(log), views_(views), violations_(violations) {
  for (std::uint32_t i = 0; i < log.partitions(); ++i) shadows_.emplace_back(Partition{i});
}

void ViewOracle::look() {
  for (std::uint32_t i = 0; i < shadows_.size(); ++i) {
    Shadow& shadow = shadows_[i];
    if (views_.version(Partition{i}) == shadow.version && !shadow.went_back) continue;
    if (!log_.given_up(Partition{i})) compare(Partition{i}, shadow);
  }
  compare_count();
}

void ViewOracle::went_back() {
  for (Shadow& shadow : shadows_) shadow.went_back = true;
}

void ViewOracle::compare_count() {
  const std::uint64_t rows = views_.rows();
  if (rows == rows_ || rows == ViewsView::kNotCounted) return;
  for (std::uint32_t i = 0; i < shadows_.size(); ++i) {
    if (log_.given_up(Partition{i})) return;
  }
  violations_.add("I5", "there are " + std::to_string(rows) +
                            " rows in the views; those of the checkpoints are " + std::to_string(rows_));
  rows_ = rows;  // Said once.
}

void ViewOracle::compare(Partition partition, Shadow& shadow) {
  const auto read = views_.reader().checkpoint(partition);
  if (!read) return violations_.add("I4", named(partition) + ": " + read.error().message);
  const Checkpoint& stored = *read;
  if (stored.version < shadow.version && !shadow.went_back) {
    violations_.add("I5", named(partition) + ": the checkpoint's version went from " +
                              std::to_string(shadow.version) + " to " + std::to_string(stored.version));
  }
  if (stored.next < shadow.stored_next && !shadow.went_back) {
    violations_.add("I5", named(partition) + ": the checkpoint went back from offset " +
                              std::to_string(shadow.stored_next.value()) + " to " +
                              std::to_string(stored.next.value()));
  }
  if (shadow.went_back || stored.next < shadow.fold.next()) {
    rows_ -= shadow.rows;
    const bool quarantined = shadow.quarantined;
    shadow = Shadow(partition);
    shadow.quarantined = quarantined;
  }
  shadow.version = stored.version;
  shadow.stored_next = stored.next;
  log_.look(partition);

  const auto quarantine = views_.reader().quarantine();
  const bool waits = !quarantine || std::any_of(quarantine->begin(), quarantine->end(),
                                                [partition](const QuarantineRow& row) {
                                                  return row.partition == partition;
                                                });
  if (waits || log_.has_rulings(partition)) shadow.quarantined = true;
  if (!shadow.quarantined && !advance(partition, shadow, stored.next)) return;
  if (shadow.quarantined) {
    Refold whole(partition);
    if (const Status done = refold(partition, stored, whole); !done) {
      return violations_.add("I4", named(partition) + ": " + done.error().message);
    }
    rows_ += whole.rows - shadow.rows;
    shadow.rows = whole.rows;
    shadow.fold = whole.fold;
  }
  compare_checkpoint(partition, shadow, stored);
  if (stored.version % kRowsEvery != 0) return;
  const auto of_rows = digest_of_rows(views_.reader(), partition);
  if (!of_rows || !(*of_rows == stored.digests)) {
    violations_.add("I5", named(partition) + ": the rows are not those of their checkpoint");
  }
}

// False: the fold has parked a stream, and has to be made as the views are.
bool ViewOracle::advance(Partition partition, Shadow& shadow, Offset to) {
  const auto& judged = log_.judged(partition);
  while (shadow.next < judged.size() && judged[shadow.next].offset < to) {
    const JudgedRecord& record = judged[shadow.next];
    if (record.admitted()) {
      const Status taken = shadow.fold.take(record_of(log_.log(), partition, shadow.next));
      if (!taken) {
        violations_.add("I4", named(partition) + ": the log cannot be folded: " + taken.error().message);
        return false;
      }
    }
    ++shadow.next;
  }
  if (shadow.fold.empty()) return true;
  const Batch batch = shadow.fold.take_batch();
  check_homes(partition, batch);
  for (const RowChange& change : batch.changes) {
    if (!std::holds_alternative<RowInsert>(change)) continue;
    ++shadow.rows;
    ++rows_;
  }
  if (!batch.quarantined.empty()) shadow.quarantined = true;
  return true;
}

void ViewOracle::check_homes(Partition partition, const Batch& batch) {
  for (const RowChange& change : batch.changes) {
    std::optional<Partition> home;
    std::string what;
    if (const auto* insert = std::get_if<RowInsert>(&change)) {
      home = home_of(insert->view, insert->row.values, log_.partitions());
      if (insert->row.from.partition == partition && home == partition) continue;
      what = "inserts " + describe(insert->view, insert->row);
    } else {
      const auto& close = std::get<RowClose>(change);
      home = home_of(close.view, close.key, log_.partitions());
      if (!home || *home == partition) continue;
      what = "closes " + describe_entity(close.view, close.key);
    }
    violations_.add("I12", "the fold of " + named(partition) + " " + what + ", which is not its own");
  }
}

void ViewOracle::compare_checkpoint(Partition partition, const Shadow& shadow, const Checkpoint& stored) {
  const auto fail = [this, partition](const std::string& what) {
    violations_.add("I4", named(partition) + ": " + what);
  };
  if (!(shadow.fold.checkpoint().digests == stored.digests)) {
    fail("the views are not the fold of the log up to offset " + std::to_string(stored.next.value()));
  }
  const auto& judged = log_.judged(partition);
  const std::size_t end = log_.index_of(partition, stored.next);
  if (end == judged.size() && !judged.empty() && stored.next > next(judged.back().offset)) {
    fail("the checkpoint lies beyond the end of the log");
  }
  if (end == 0) {
    if (!(stored.admission == AdmissionState{}))
      fail("the checkpoint has an admission state before any record");
    return;
  }
  const JudgedRecord& last = judged[end - 1];
  if (!(stored.admission == last.after)) {
    fail("the checkpoint's admission state is epoch " + std::to_string(stored.admission.epoch.value()) +
         ", index " + std::to_string(stored.admission.index.value()) +
         "; that of a reader from the start is epoch " + std::to_string(last.after.epoch.value()) +
         ", index " + std::to_string(last.after.index.value()));
  }
  if (stored.at != last.newest_at) fail("the checkpoint's time is not the newest that was admitted");
  const LogRecord& record = log_.log().records(partition)[end - 1];
  if (stored.mark.none || stored.mark.offset != last.offset || stored.mark.hash != xxh64(*record.bytes)) {
    fail("the checkpoint's mark is not the last record before it");
  }
}

// ---- the whole fold ----

// Where the fold must park, though it might go on: at every event with a ruling, and where the views wait.
Result<EventPlaces> ViewOracle::stops(Partition partition, const Checkpoint& stored) {
  auto rows = views_.reader().quarantine();
  if (!rows) return rows.error();
  std::erase_if(*rows, [partition](const QuarantineRow& row) { return row.partition != partition; });
  const auto earlier = [](const QuarantineRow& a, const QuarantineRow& b) {
    return std::tie(a.offset, a.stream, a.event) < std::tie(b.offset, b.stream, b.event);
  };
  std::sort(rows->begin(), rows->end(), earlier);
  EventPlaces places = PartitionFold{partition, stored, *rows}.parked_at();
  for (const std::size_t index : log_.rulings(partition)) {
    const JudgedRecord& record = log_.judged(partition)[index];
    if (record.offset < stored.next) places.insert(place_of(std::get<Ruling>(*record.record)));
  }
  return places;
}

Status ViewOracle::apply(Refold& out) {
  if (out.fold.empty()) return ok();
  const Batch batch = out.fold.take_batch();
  for (const RowChange& change : batch.changes) {
    if (std::holds_alternative<RowInsert>(change)) ++out.rows;
  }
  auto applied = apply_batch(out.storage, batch);
  if (!applied)
    return Error{applied.error().code, "the fold does not fit its own rows: " + applied.error().message};
  return ok();
}

Status ViewOracle::refold_record(Partition partition, const LogRecord& record, Refold& out) {
  const std::vector<Offset> released = out.fold.released_by(record);
  if (released.empty()) return out.fold.take(record);
  if (Status applied = apply(out); !applied) return applied;
  std::vector<LogRecord> waiting;
  for (const Offset offset : released) {
    waiting.push_back(record_of(log_.log(), partition, log_.index_of(partition, offset)));
  }
  if (Status taken = out.fold.take_ruling(record, waiting); !taken) return taken;
  MemoryViewReader reader(out.storage);
  auto open = open_rows(reader, partition, out.fold.to_fit());
  if (!open) return open.error();
  out.fold.fit(std::move(*open));
  return apply(out);
}

Status ViewOracle::refold(Partition partition, const Checkpoint& stored, Refold& out) {
  auto places = stops(partition, stored);
  if (!places) return places.error();
  out.fold.stop_at(*places);
  const auto& judged = log_.judged(partition);
  for (std::size_t i = 0; i < judged.size() && judged[i].offset < stored.next; ++i) {
    if (!judged[i].admitted()) continue;
    const Status taken = refold_record(partition, record_of(log_.log(), partition, i), out);
    if (!taken) return taken;
  }
  return apply(out);
}

void ViewOracle::compare_rows(Partition partition, const Checkpoint& stored, const Refold& replay) {
  const auto of_rows = digest_of_rows(views_.reader(), partition);
  if (!of_rows) return violations_.add("I5", named(partition) + ": " + of_rows.error().message);
  if (!(*of_rows == stored.digests)) {
    violations_.add("I5", named(partition) + ": the rows are not those of their checkpoint");
  }
  MemoryViewReader replayed(replay.storage);
  for (const View view : all_views()) {
    std::vector<Row> expected;
    std::size_t at = 0;
    bool same = true;
    const Status kept =
        for_each_row(replayed, view, partition, [&expected](const Row& row) { expected.push_back(row); });
    const Status read = for_each_row(views_.reader(), view, partition, [&](const Row& row) {
      const auto home = home_of(view, row.values, log_.partitions());
      if (home != row.from.partition)
        violations_.add("I12", describe(view, row) + " belongs to another partition");
      if (same && (at >= expected.size() || !(expected[at] == row))) {
        same = false;
        violations_.add("I4", describe(view, row) + " is not what the log says");
      }
      ++at;
    });
    if (!kept || !read) violations_.add("I4", named(partition) + ": a view cannot be read");
    if (same && at < expected.size()) {
      violations_.add("I4", describe(view, expected[at]) + " is missing in the views");
    }
  }
}

void ViewOracle::at_rest() {
  look();
  for (std::uint32_t i = 0; i < shadows_.size(); ++i) {
    const Partition partition{i};
    if (log_.given_up(partition)) continue;
    const auto stored = views_.reader().checkpoint(partition);
    if (!stored) {
      violations_.add("I4", named(partition) + ": " + stored.error().message);
      continue;
    }
    Refold whole(partition);
    if (const Status done = refold(partition, *stored, whole); !done) {
      violations_.add("I4", named(partition) + ": " + done.error().message);
      continue;
    }
    if (!(whole.fold.checkpoint().digests == stored->digests)) {
      violations_.add("I4", named(partition) + ": the views are not the whole fold of the log");
    }
    compare_rows(partition, *stored, whole);
  }
}

std::string ViewOracle::pending() {
  for (std::uint32_t i = 0; i < shadows_.size(); ++i) {
    const auto& judged = log_.judged(Partition{i});
    if (judged.empty() || log_.given_up(Partition{i})) continue;
    const Offset wanted = judged.back().offset;
    if (shadows_[i].stored_next <= wanted) {
      return "the views of " + named(Partition{i}) + " are behind: next is " +
             std::to_string(shadows_[i].stored_next.value()) + ", the last record is " +
             std::to_string(wanted.value());
    }
  }
  return "";
}

}  // namespace varve::sim
