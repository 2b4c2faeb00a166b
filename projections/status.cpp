#include "projections/status.h"

#include <algorithm>
#include <memory>
#include <set>

#include "projections/fold.h"
#include "runtime/json.h"
#include "runtime/sync.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kLogTime{3};
constexpr std::int64_t kMicros = 1'000'000;

Task<> ask_views(ViewStore& views, std::shared_ptr<ProjectionStatus> status) {
  std::function<Status(ViewReader&)> work = [status](ViewReader& reader) -> Status {
    for (ProjectionPartition& partition : status->partitions) {
      auto checkpoint = reader.checkpoint(partition.partition);
      if (!checkpoint) return checkpoint.error();
      partition.checkpoint = std::move(*checkpoint);
    }
    auto rows = reader.quarantine();
    if (!rows) return rows.error();
    std::set<StreamId> seen;
    status->quarantine.clear();
    for (QuarantineRow& row : *rows) {
      if (seen.insert(row.stream).second) status->quarantine.push_back(std::move(row));
    }
    return ok();
  };
  co_return co_await views.read(std::move(work));
}

// The time of the oldest record that is not folded.
Task<std::optional<WallTime>> oldest(EventLog& log, Partition partition, Offset next) {
  ReadOptions options;
  options.records_max = 1;
  auto batch = co_await log.read(partition, next, options);
  if (!batch) co_return batch.error();
  if (batch->records.empty()) co_return std::optional<WallTime>{};
  const auto read = decoded(batch->records.front());
  if (!read) co_return read.error();
  co_return std::optional{time_of(**read)};
}

Task<> ask_log(Env& env, EventLog& log, std::shared_ptr<ProjectionStatus> status) {
  for (ProjectionPartition& partition : status->partitions) {
    auto end = co_await log.end(partition.partition);
    if (!end) {
      status->log_fault = end.error().message;
      co_return ok();
    }
    partition.end = *end;
    const Offset next = partition.checkpoint.next;
    if (next >= *end) {
      partition.behind_us = 0;
      continue;
    }
    auto at = co_await oldest(log, partition.partition, next);
    if (!at) {
      status->log_fault = at.error().message;
      continue;
    }
    const std::int64_t now = env.wall_now().value();
    partition.behind_us = *at ? std::max<std::int64_t>(0, now - (*at)->value()) : 0;
  }
  co_return ok();
}

std::int64_t number(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

void write_partition(JsonWriter& out, const ProjectionPartition& partition) {
  const Checkpoint& checkpoint = partition.checkpoint;
  out.begin_object().field_integer("partition", partition.partition.value());
  out.field_integer("version", number(checkpoint.version));
  out.field_integer("next_offset", number(checkpoint.next.value()));
  if (partition.end) {
    out.field_integer("end", number(partition.end->value()));
    out.field_integer("lag", number(*partition.lag()));
  } else {
    out.field_null("end").field_null("lag");
  }
  if (partition.behind_us) {
    out.field_integer("lag_seconds", (*partition.behind_us + kMicros - 1) / kMicros);
  } else {
    out.field_null("lag_seconds");
  }
  out.field("at", format_rfc3339_micros(checkpoint.at));
  out.key("digests").begin_object();
  for (const View view : all_views()) {
    const ViewDigest& digest = checkpoint.digests[static_cast<std::size_t>(view)];
    out.field(schema_of(view).name, to_hex(digest.rows) + ":" + to_hex(digest.closings));
  }
  out.end_object().end_object();
}

}  // namespace

std::optional<std::uint64_t> ProjectionPartition::lag() const {
  if (!end) return std::nullopt;
  return *end > checkpoint.next ? end->value() - checkpoint.next.value() : 0;
}

Task<ProjectionStatus> projection_status(Env& env, EventLog& log, ViewStore& views,
                                         Generations& generations) {
  const auto status = std::make_shared<ProjectionStatus>();
  for (std::uint32_t i = 0; i < log.partitions(); ++i) {
    status->partitions.push_back({Partition{i}, {}, {}, {}});
  }
  auto seen = co_await generations.look();
  if (!seen) co_return seen.error();
  status->generations = *seen;
  if (Status read = co_await ask_views(views, status); !read) co_return read.error();
  TaskGroup group(env);
  ignore_error(group.spawn("ends of the log", ask_log(env, log, status)), "the group is open");
  group.close();
  const Status asked = co_await group.join(env.now() + kLogTime);
  if (!asked && status->log_fault.empty()) status->log_fault = "the log does not answer";
  // A copy: what is late must not change what is being told.
  co_return *status;
}

std::string projection_json(const ProjectionStatus& status) {
  JsonWriter out;
  out.begin_object().field("projection", kCoreProjection);
  out.field_integer("generation", number(status.generations.active));
  if (status.generations.next) {
    out.field_integer("next", number(*status.generations.next));
  } else {
    out.field_null("next");
  }
  out.key("views").begin_array();
  for (const View view : all_views()) out.string(schema_of(view).name);
  out.end_array().key("partitions").begin_array();
  for (const ProjectionPartition& partition : status.partitions) write_partition(out, partition);
  out.end_array().key("quarantined").begin_array();
  for (const QuarantineRow& row : status.quarantine) {
    out.begin_object().field("stream", row.stream.value()).field_integer("partition", row.partition.value());
    out.field_integer("offset", number(row.offset.value())).field_integer("event", row.event);
    out.field("type", row.type).field("reason", row.reason).end_object();
  }
  out.end_array();
  if (status.log_fault.empty()) {
    out.field_null("log_fault");
  } else {
    out.field("log_fault", status.log_fault);
  }
  return out.end_object().take();
}

}  // namespace varve
