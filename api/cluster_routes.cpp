#include "api/cluster_routes.h"

#include <algorithm>
#include <map>

#include "api/http_status.h"
#include "projections/schema.h"
#include "runtime/json.h"

namespace varve {
namespace {

std::int64_t signed_of(std::uint64_t number) {
  return static_cast<std::int64_t>(number);
}

void write_owner(JsonWriter& out, const std::optional<Owner>& owner) {
  if (!owner) {
    out.field_null("owner").field_null("url").field_null("epoch");
    return;
  }
  out.field("owner", owner->node).field("url", owner->url);
  out.field_integer("epoch", signed_of(owner->epoch.value()));
}

void write_partition(JsonWriter& out, const PartitionStatus& partition) {
  out.begin_object().field_integer("partition", partition.partition.value());
  write_owner(out, partition.owner);
  out.field("here", partition.here);
  out.field_integer("folded", signed_of(partition.folded.value()));
  if (partition.end) {
    const std::uint64_t end = partition.end->value();
    const std::uint64_t folded = partition.folded.value();
    out.field_integer("end", signed_of(end)).field_integer("lag", signed_of(end > folded ? end - folded : 0));
  } else {
    out.field_null("end").field_null("lag");
  }
  out.end_object();
}

struct NodeLine {
  std::string url;
  std::int64_t partitions = 0;
  std::optional<std::vector<std::string>> roles;
  std::optional<std::int64_t> seen_seconds;
};

std::map<std::string, NodeLine> nodes_of(const ClusterStatus& status) {
  std::map<std::string, NodeLine> nodes;  // By id.
  for (const ProcessSeen& process : status.processes)
    nodes[process.node] = {process.url, 0, process.roles, process.seen_seconds};
  NodeLine& asked = nodes[status.node.node];
  asked.url = status.node.url;
  asked.roles = status.roles;
  asked.seen_seconds = 0;  // It answers.
  for (const PartitionStatus& partition : status.partitions) {
    if (!partition.owner) continue;
    NodeLine& node = nodes[partition.owner->node];
    node.url = partition.owner->url;
    ++node.partitions;
  }
  return nodes;
}

void write_node(JsonWriter& out, const std::string& id, const NodeLine& node) {
  out.begin_object().field("id", id).field("url", node.url).field_integer("partitions", node.partitions);
  if (node.roles) {
    out.key("roles").begin_array();
    for (const std::string& role : *node.roles) out.string(role);
    out.end_array();
  } else {
    out.field_null("roles");
  }
  if (node.seen_seconds) {
    out.field_integer("seen_seconds", *node.seen_seconds);
  } else {
    out.field_null("seen_seconds");
  }
  out.end_object();
}

void write_fault(JsonWriter& out, std::string_view name, const std::string& fault) {
  if (fault.empty()) {
    out.field_null(name);
  } else {
    out.field(name, fault);
  }
}

Owner owner_of(const Claim& claim) {
  return {claim.epoch, claim.node, claim.url};
}

}  // namespace

std::string cluster_json(const ClusterStatus& status) {
  JsonWriter out;
  out.begin_object().field("cluster", status.node.cluster);
  out.key("node").begin_object().field("id", status.node.node).field("url", status.node.url);
  out.key("roles").begin_array();
  for (const std::string& role : status.roles) out.string(role);
  out.end_array().field_boolean("leaving", status.leaving).end_object();
  out.key("nodes").begin_array();
  for (const auto& [id, node] : nodes_of(status)) write_node(out, id, node);
  out.end_array().key("partitions").begin_array();
  for (const PartitionStatus& partition : status.partitions) write_partition(out, partition);
  out.end_array();
  write_fault(out, "log_fault", status.log_fault);
  write_fault(out, "processes_fault", status.processes_fault);
  return out.end_object().take();
}

boost::asio::awaitable<Response> ClusterRoutes::status(Request request) {
  if (request.method != "GET") {
    Response wrong = detail_response(405, "Method Not Allowed");
    wrong.headers.emplace("allow", "GET");
    co_return wrong;
  }
  auto status = co_await look();
  Response response = status ? json_response(cluster_json(*status)) : error_response(status.error(), false);
  co_return response;
}

Task<ClusterStatus> ClusterRoutes::look() {
  const auto status = std::make_shared<ClusterStatus>();
  status->node = node_;
  status->roles = roles_;
  status->leaving = ports_.member.leaving();
  for (std::uint32_t number = 0; number < ports_.log.partitions(); ++number) {
    PartitionStatus& partition = status->partitions.emplace_back();
    partition.partition = Partition{number};
  }
  if (Status read = co_await ask_views(status); !read) co_return read.error();
  for (PartitionStatus& partition : status->partitions) {
    const auto shard = ports_.member.shard(partition.partition);
    if (!shard) continue;
    partition.here = shard->owner().owned() ? "serving" : "claiming";
    const auto& claim = shard->owner().newest_claim();
    if (claim && (!partition.owner || partition.owner->epoch < claim->epoch))
      partition.owner = owner_of(*claim);
  }
  TaskGroup group(env_);
  const MonoTime deadline = env_.now() + kLookTime;
  ignore_error(group.spawn("ends of the log", ask_log(status)), "the group is open");
  group.close();
  TaskGroup beside(env_);
  if (ports_.processes != nullptr) {
    status->processes_fault = "the table of processes does not answer";
    ignore_error(beside.spawn("processes", ask_processes(status)), "the group is open");
  }
  beside.close();
  const Status asked = co_await group.join(deadline);
  if (!asked && status->log_fault.empty()) status->log_fault = "the log does not answer";
  ignore_error(co_await beside.join(deadline), "the fault is said until it has answered");
  // A copy: what is late must not change what is being told.
  co_return *status;
}

Task<> ClusterRoutes::ask_views(std::shared_ptr<ClusterStatus> status) {
  std::function<Status(ViewReader&)> work = [status](ViewReader& reader) -> Status {
    Query query;
    query.view = View::shard_owners;
    query.limit = kRowsPerQueryMax;
    auto rows = reader.select(query);
    if (!rows) return rows.error();
    for (const Row& row : *rows) {
      const auto number = static_cast<std::size_t>(row.integer(shard_owners::partition));
      if (number >= status->partitions.size()) continue;
      status->partitions[number].owner =
          Owner{Epoch{static_cast<std::uint64_t>(row.integer(shard_owners::epoch))},
                row.text(shard_owners::node), row.text(shard_owners::url)};
    }
    for (PartitionStatus& partition : status->partitions) {
      auto checkpoint = reader.checkpoint(partition.partition);
      if (!checkpoint) return checkpoint.error();
      partition.folded = checkpoint->next;
    }
    return ok();
  };
  co_return co_await ports_.views.read(std::move(work));
}

Task<> ClusterRoutes::ask_log(std::shared_ptr<ClusterStatus> status) {
  for (PartitionStatus& partition : status->partitions) {
    auto end = co_await ports_.log.end(partition.partition);
    if (!end) {
      status->log_fault = end.error().message;
      co_return ok();  // It is told; the others would wait as long.
    }
    partition.end = *end;
  }
  co_return ok();
}

Task<> ClusterRoutes::ask_processes(std::shared_ptr<ClusterStatus> status) {
  auto seen = co_await ports_.processes->seen(node_.cluster);
  status->processes_fault = seen ? "" : seen.error().message;
  if (seen) status->processes = std::move(*seen);
  co_return ok();
}

}  // namespace varve
