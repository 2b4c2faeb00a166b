// GroupConsumer: one member of a Kafka consumer group, as librdkafka knows it. It holds a membership and
// nothing else: the partitions that it is assigned are paused, and what it commits nobody reads.
//
// Promises: nothing here waits for a broker. Rebalances are cooperative, and the group stands still until
// they are answered by assign() or unassign(). Never: an offset that is reset, a commit that was not asked
// for. A member that is destroyed without close() is missed by the others after the session time-out.
//
// Thread: the Env's (see eventlog/kafka_client.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "eventlog/ids.h"
#include "eventlog/kafka_client.h"

namespace varve::kafka {

// The coordinator's word about this member. The group waits for assign() or unassign() of exactly these
// partitions.
struct Rebalance {
  bool assigned = false;  // Else they are to be given back,
  bool lost = false;      // or are gone already.
  std::vector<Partition> partitions;
};
// What became of commit(ticket).
struct Committed {
  enum class Outcome : unsigned char {
    accepted,
    refused,      // The coordinator knows no such member in this generation, or is about to change it.
    unreachable,  // Anything else.
  };
  std::uint64_t ticket = 0;
  Outcome outcome = Outcome::unreachable;
  std::string message;
};
// Whether the member is on its way into a new generation. A commit that is sent now is refused, and costs the
// member all its partitions. Told every kStateInterval.
struct Joining {
  bool joining = false;
};
// The member cannot go on: another process has its group.instance.id.
struct Broken {
  std::string message;
};
using GroupEvent = std::variant<Rebalance, Committed, Joining, Broken>;

class GroupConsumer {
 public:
  struct Options {
    Connection connection;
    std::string topic;
    std::string group;
    std::string member;    // See KafkaAssignment::Options.
    std::string instance;  // group.instance.id; empty: a member without a name.
    Duration session_timeout{};
    Duration poll_interval_max{};  // How long the Env's thread may stand still before the member leaves.
    std::function<void(const GroupEvent&)> on_event;
    // When all that has come has been told.
    std::function<void()> on_settled;
  };
  // Also keeps the member alive: librdkafka counts on it that its events are asked for.
  static constexpr std::chrono::milliseconds kStateInterval{200};

  // Errc::invalid_argument names the setting that librdkafka refuses.
  static Result<std::unique_ptr<GroupConsumer>> open(RealEnv& env, Options options);
  ~GroupConsumer();
  GroupConsumer(const GroupConsumer&) = delete;
  GroupConsumer& operator=(const GroupConsumer&) = delete;

  // Joins. Once.
  Status subscribe();

  // Answers to a Rebalance.
  Status assign(const std::vector<Partition>& partitions);
  Status unassign(const std::vector<Partition>& partitions);
  // All that are assigned now.
  std::vector<Partition> assignment() const;
  // The coordinator's name for this member; another one after the coordinator had given it up.
  std::string member_id() const;

  // Sends a commit in the member's present generation. Committed{ticket} says what became of it.
  Status commit(Partition partition, std::uint64_t ticket);

  // Begins to leave: a Rebalance takes everything back first.
  Status close();
  bool closed() const;

 private:
  GroupConsumer(std::string topic, std::shared_ptr<Client> client)
      : topic_(std::move(topic)), client_(std::move(client)) {}

  std::string topic_;
  std::shared_ptr<Client> client_;
};

}  // namespace varve::kafka
