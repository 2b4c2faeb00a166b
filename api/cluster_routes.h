// ClusterRoutes: what a node knows of its cluster, for people: GET /v1/varve/cluster, which `varve cluster
// status` prints. Nodes are those that own a partition, the one that was asked, and all that say in the
// shared table that they are alive (projections/process_table.h): these may own nothing.
//
// It asks the views and the log, and no other node, so that it answers whoever has gone. Owners are those of
// the newest claims that this node has read or that the views have. Thread: the Env's.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/http.h"
#include "cluster/member.h"
#include "cluster/owner_table.h"
#include "projections/process_table.h"
#include "projections/view_store.h"

namespace varve {

inline constexpr std::string_view kClusterPath = "/v1/varve/cluster";

// What is known of one partition.
struct PartitionStatus {
  Partition partition;
  std::optional<Owner> owner;  // Nothing: nobody has claimed it yet.
  std::string here;            // What this node does with it: "serving", "claiming", ""
  Offset folded;               // The views have everything before it.
  std::optional<Offset> end;   // Of the log; nothing if it could not be asked.
};

struct ClusterStatus {
  NodeIdentity node;  // That was asked.
  std::vector<std::string> roles;
  bool leaving = false;
  std::string log_fault;        // Why the log could not be asked; empty = it was.
  std::string processes_fault;  // The same of the table of processes.
  std::vector<ProcessSeen> processes;
  std::vector<PartitionStatus> partitions;
};

// {"cluster":"..","node":{"id","url","roles","leaving"},
//  "nodes":[{"id","url","partitions","roles","seen_seconds"}..],
//  "partitions":[{"partition","owner","url","epoch","here","end","folded","lag"}..],"log_fault":null,
//  "processes_fault":null}
// `lag` counts offsets, which have gaps: it is the number of records at most. `seen_seconds` is how long ago
// a node has said that it is alive; it and `roles` are null of one that has not for kProcessLife. Pure.
std::string cluster_json(const ClusterStatus& status);

class ClusterRoutes {
 public:
  // How long the log is asked for its ends.
  static constexpr Duration kLookTime = std::chrono::seconds{3};

  struct Ports {
    EventLog& log;
    ViewStore& views;
    const ClusterMember& member;
    ProcessTable* processes = nullptr;  // Null: nothing is shared.
  };
  ClusterRoutes(Env& env, Ports ports, NodeIdentity node, std::vector<std::string> roles)
      : env_(env), ports_(ports), node_(std::move(node)), roles_(std::move(roles)) {}

  boost::asio::awaitable<Response> status(Request request);

 private:
  Task<ClusterStatus> look();
  Task<> ask_views(std::shared_ptr<ClusterStatus> status);
  Task<> ask_log(std::shared_ptr<ClusterStatus> status);
  Task<> ask_processes(std::shared_ptr<ClusterStatus> status);

  Env& env_;
  Ports ports_;
  NodeIdentity node_;
  std::vector<std::string> roles_;
};

}  // namespace varve
