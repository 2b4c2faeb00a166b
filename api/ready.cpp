#include "api/ready.h"

#include <algorithm>
#include <set>

#include "api/http_status.h"
#include "runtime/json.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

std::int64_t as_signed(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

std::int64_t in_ms(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

bool is_late(const PartitionFacts& one, const ReadyLimits& limits) {
  return one.behind.records > limits.lag_records || one.behind.time > limits.lag;
}

// "2, 5 and 3 more": sentences stay short, the numbers are in the lists.
std::string named(const std::vector<Partition>& partitions) {
  constexpr std::size_t kNamedMax = 8;
  std::string text;
  for (std::size_t i = 0; i < partitions.size() && i < kNamedMax; ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(partitions[i].value());
  }
  if (partitions.size() <= kNamedMax) return text;
  return text + " and " + std::to_string(partitions.size() - kNamedMax) + " more";
}

std::vector<Partition> not_owned(const NodeFacts& facts) {
  std::vector<Partition> found;
  for (const PartitionFacts& one : facts.partitions) {
    if (one.assigned && !one.owned) found.push_back(one.partition);
  }
  return found;
}
// Of those that are not assigned to this node.
std::vector<Partition> without_owner(const NodeFacts& facts) {
  std::vector<Partition> found;
  for (const PartitionFacts& one : facts.partitions) {
    if (!one.assigned && !one.owner_known) found.push_back(one.partition);
  }
  return found;
}
std::vector<Partition> late(const NodeFacts& facts, const ReadyLimits& limits) {
  std::vector<Partition> found;
  for (const PartitionFacts& one : facts.partitions) {
    if (is_late(one, limits)) found.push_back(one.partition);
  }
  return found;
}

void write_list(JsonWriter& out, std::string_view key, const std::vector<Partition>& partitions) {
  out.key(key).begin_array();
  for (const Partition partition : partitions) out.integer(partition.value());
  out.end_array();
}

void begin_check(JsonWriter& out, std::string_view name, const Readiness::Check& check) {
  out.key(name).begin_object().field_boolean("ok", check.holds());
  if (!check.holds()) out.field("detail", mend_text(check.detail));
}

void write_partitions(JsonWriter& out, const Readiness::Check& check, const NodeFacts& facts) {
  const auto count = [&facts](bool PartitionFacts::*which) {
    return std::count_if(facts.partitions.begin(), facts.partitions.end(),
                         [which](const PartitionFacts& one) { return one.*which; });
  };
  begin_check(out, "partitions", check);
  out.field_integer("partitions", as_signed(facts.partitions.size()));
  out.field_integer("assigned", count(&PartitionFacts::assigned));
  out.field_integer("owned", count(&PartitionFacts::owned));
  write_list(out, "not_owned", not_owned(facts));
  write_list(out, "without_owner", without_owner(facts));
  out.end_object();
}

void write_views(JsonWriter& out, const Readiness::Check& check, const NodeFacts& facts,
                 const ReadyLimits& limits) {
  std::uint64_t records = 0;
  Duration time{};
  for (const PartitionFacts& one : facts.partitions) {
    records = std::max(records, one.behind.records);
    time = std::max(time, one.behind.time);
  }
  begin_check(out, "views", check);
  out.field_integer("behind_records", as_signed(records)).field_integer("behind_ms", in_ms(time));
  out.field_integer("limit_records", as_signed(limits.lag_records));
  out.field_integer("limit_ms", in_ms(limits.lag)).key("late").begin_array();
  for (const PartitionFacts& one : facts.partitions) {
    if (!is_late(one, limits)) continue;
    out.begin_object().field_integer("partition", one.partition.value());
    out.field_integer("behind_records", as_signed(one.behind.records));
    out.field_integer("behind_ms", in_ms(one.behind.time)).end_object();
  }
  out.end_array().end_object();
}

}  // namespace

Readiness decide_ready(const NodeFacts& facts, const ReadyLimits& limits) {
  Readiness readiness;
  if (facts.failure) {
    readiness.node.detail = facts.failure->message;
  } else if (facts.leaving) {
    readiness.node.detail = "the server is shutting down";
  }
  if (facts.log) readiness.log.detail = "the log cannot be reached: " + facts.log->message;
  if (const auto waiting = not_owned(facts); !waiting.empty()) {
    readiness.partitions.detail = "assigned to this node, but not owned yet: " + named(waiting);
  } else if (const auto lost = without_owner(facts); !lost.empty()) {
    readiness.partitions.detail = "no owner is known: " + named(lost);
  }
  if (facts.views) {
    readiness.views.detail = "the views cannot be read: " + facts.views->message;
  } else if (const auto slow = late(facts, limits); !slow.empty()) {
    readiness.views.detail = "too far behind the log: " + named(slow);
  }
  return readiness;
}

Response ready_response(const NodeFacts& facts, const ReadyLimits& limits) {
  const Readiness readiness = decide_ready(facts, limits);
  JsonWriter out;
  out.begin_object().field("status", readiness.ready() ? "ready" : "not_ready");
  out.key("checks").begin_object();
  begin_check(out, "node", readiness.node);
  out.end_object();
  begin_check(out, "log", readiness.log);
  out.end_object();
  write_partitions(out, readiness.partitions, facts);
  write_views(out, readiness.views, facts, limits);
  out.end_object().end_object();
  Response response = json_response(out.take());
  if (readiness.ready()) return response;
  response.status = 503;
  response.headers.emplace("retry-after", kRetryAfterSeconds);
  return response;
}

// ---- finding out ----

struct NodeStatus::Found {
  std::vector<Offset> next;                 // By partition.
  std::map<Partition, std::string> owners;  // Their addresses.
  std::uint64_t quarantine_events = 0;
  std::uint64_t quarantine_streams = 0;
};

boost::asio::awaitable<std::shared_ptr<const NodeFacts>> NodeStatus::facts() {
  const MonoTime asked = env_.now();
  const MonoTime deadline = asked + kLookTime;
  const bool fresh = last_ && asked - last_at_ <= kFresh;
  if (!fresh && !looking_) {
    looking_ = true;
    env_.spawn("status", look());
  }
  while (!fresh && looking_ && env_.now() < deadline) co_await looked_.wait(env_, deadline);
  auto facts = std::make_shared<NodeFacts>();
  if (last_) *facts = *last_;
  if (!fresh && looking_) {
    const auto waited = std::chrono::duration_cast<std::chrono::seconds>(kLookTime).count();
    facts->log = Error{Errc::unavailable, "no answer within " + std::to_string(waited) + " s"};
  }
  add_what_is_here(*facts);
  co_return facts;
}

Task<> NodeStatus::look() {
  auto facts = std::make_shared<NodeFacts>();
  for (std::uint32_t number = 0; number < parts_.log.partitions(); ++number) {
    PartitionFacts one;
    one.partition = Partition{number};
    facts->partitions.push_back(one);
  }
  // In this order: what the views have passed is never beyond an end that was asked before by much.
  if (Status asked = co_await ask_log(facts); !asked) facts->log = asked.error();
  if (Status asked = co_await ask_views(facts); !asked) facts->views = asked.error();
  last_ = facts;
  last_at_ = env_.now();
  looking_ = false;
  looked_.notify_all();
  co_return ok();
}

Task<> NodeStatus::ask_log(std::shared_ptr<NodeFacts> facts) {
  for (std::uint32_t number = 0; number < facts->partitions.size(); ++number) {
    const Partition partition{number};
    auto end = co_await parts_.log.end(partition);
    if (!end) co_return end.error();
    facts->partitions[number].end = *end;
    parts_.lag.saw_end(partition, *end);
  }
  co_return ok();
}

Task<> NodeStatus::ask_views(std::shared_ptr<NodeFacts> facts) {
  auto found = std::make_shared<Found>();
  const std::uint32_t partitions = parts_.log.partitions();
  std::function<Status(ViewReader&)> work = [found, partitions](ViewReader& reader) -> Status {
    for (std::uint32_t number = 0; number < partitions; ++number) {
      auto checkpoint = reader.checkpoint(Partition{number});
      if (!checkpoint) return checkpoint.error();
      found->next.push_back(checkpoint->next);
    }
    Query query;
    query.view = View::shard_owners;
    auto owners = reader.select(query);
    if (!owners) return owners.error();
    for (const Row& row : *owners) {
      const auto number = static_cast<std::uint32_t>(row.integer(shard_owners::partition));
      found->owners[Partition{number}] = row.text(shard_owners::url);
    }
    auto quarantine = reader.quarantine();
    if (!quarantine) return quarantine.error();
    std::set<StreamId> streams;
    for (const QuarantineRow& row : *quarantine) streams.insert(row.stream);
    found->quarantine_events = quarantine->size();
    found->quarantine_streams = streams.size();
    return ok();
  };
  if (Status read = co_await parts_.views.read(std::move(work)); !read) co_return read.error();
  for (PartitionFacts& one : facts->partitions) {
    one.folded = found->next[one.partition.value()];
    parts_.progress.advance(one.partition, one.folded);
    const auto owner = found->owners.find(one.partition);
    // A claim of this node's address that it does not own by is one of its former lives.
    one.owner_known = owner != found->owners.end() && owner->second != url_;
  }
  facts->quarantine_events = found->quarantine_events;
  facts->quarantine_streams = found->quarantine_streams;
  co_return ok();
}

// What needs no waiting, as of now.
void NodeStatus::add_what_is_here(NodeFacts& facts) const {
  facts.failure = failure_();
  facts.leaving = parts_.member.leaving();
  if (facts.partitions.empty()) {
    for (std::uint32_t number = 0; number < parts_.log.partitions(); ++number) {
      PartitionFacts one;
      one.partition = Partition{number};
      facts.partitions.push_back(one);
    }
  }
  for (PartitionFacts& one : facts.partitions) {
    one.behind = parts_.lag.behind(one.partition);
    one.folded = std::max(one.folded, parts_.progress.next(one.partition));
    const auto shard = parts_.member.shard(one.partition);
    if (!shard) continue;
    one.assigned = true;
    one.owned = shard->owner().owned();
    one.epoch = shard->owner().admission().epoch;
    one.owner_known = one.owner_known || one.owned;
  }
}

}  // namespace varve
