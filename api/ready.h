// Readiness: whether a node can be sent requests now. decide_ready() is the rule, a pure function of what was
// found; NodeStatus finds it: it asks the log for its ends and the views for their checkpoints.
//
// Promises: an answer within kLookTime, also when the log hangs; no more than one look at a time and a few a
// second, however often it is asked, because nobody needs a password to ask. Thread: the Env's. Lifetime: the
// Env's tasks end before it does.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/http.h"
#include "api/view_lag.h"
#include "cluster/member.h"

namespace varve {

struct ReadyLimits {
  // The views of a partition may be this far behind; both must hold.
  std::uint64_t lag_records = 10'000;
  Duration lag{std::chrono::seconds{30}};
};

// What was found out about one partition.
struct PartitionFacts {
  Partition partition;
  bool assigned = false;     // To this node.
  bool owned = false;        // By this node.
  bool owner_known = false;  // It is owned here, or another node is known as its owner.
  Epoch epoch;               // Newest admitted; of an assigned one.
  Offset end;                // Of the log, as far as known.
  Offset folded;             // Where the views' next batch begins.
  ViewLag::Behind behind;
};

struct NodeFacts {
  std::optional<Error> failure;  // A part of the node has stopped for good.
  bool leaving = false;          // drain() has begun.
  std::optional<Error> log;      // Why the log could not be asked; the ends are old then.
  std::optional<Error> views;    // Why the views could not be read; what they have passed is old then.
  std::vector<PartitionFacts> partitions;
  std::uint64_t quarantine_events = 0;
  std::uint64_t quarantine_streams = 0;
};

struct Readiness {
  struct Check {
    std::string detail;  // Why not; empty = it holds.
    bool holds() const { return detail.empty(); }
  };
  Check node;
  Check log;
  Check partitions;
  Check views;
  bool ready() const { return node.holds() && log.holds() && partitions.holds() && views.holds(); }
};

Readiness decide_ready(const NodeFacts& facts, const ReadyLimits& limits);

// 200, or 503 with Retry-After; the same JSON in both cases: every check, and the numbers it went by.
Response ready_response(const NodeFacts& facts, const ReadyLimits& limits);

class NodeStatus {
 public:
  static constexpr Duration kLookTime = std::chrono::seconds{2};
  static constexpr Duration kFresh = std::chrono::milliseconds{200};

  struct Parts {
    EventLog& log;
    ViewStore& views;
    ViewProgress& progress;
    ClusterMember& member;
    ViewLag& lag;
  };
  NodeStatus(Env& env, Parts parts, std::string url, std::function<std::optional<Error>()> failure)
      : env_(env), parts_(parts), url_(std::move(url)), failure_(std::move(failure)) {}

  // Not older than kFresh. At kLookTime it says that the log did not answer.
  boost::asio::awaitable<std::shared_ptr<const NodeFacts>> facts();

 private:
  struct Found;  // In the views.
  Task<> look();
  Task<> ask_log(std::shared_ptr<NodeFacts> facts);
  Task<> ask_views(std::shared_ptr<NodeFacts> facts);
  void add_what_is_here(NodeFacts& facts) const;

  Env& env_;
  Parts parts_;
  std::string url_;
  std::function<std::optional<Error>()> failure_;
  bool looking_ = false;
  Notifier looked_;
  std::shared_ptr<const NodeFacts> last_;
  MonoTime last_at_;
};

}  // namespace varve
