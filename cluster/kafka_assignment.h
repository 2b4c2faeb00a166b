// KafkaAssignment: the assignment of a node that shares a topic's partitions with others by a Kafka consumer
// group. The consumer holds membership and proof; the log is read by others.
//
// A proof is an offset commit that the coordinator accepts under the member's generation: it does from a
// member that has been heard of within the session time-out, never from one that was stopped for longer.
// Commits are sent when somebody asks, never on a timer: one that meets a rebalance costs the member all its
// partitions. A partition that is revoked stays here until it is released, or until the drain time is over:
// then it is lost.
//
// Promises: as of the port; a generation is a rebalance that this member was told of, counted from 1. Never:
// a wait for a broker on the Env's thread. A member that is destroyed without leave() is missed after the
// session time-out, as one that crashed.
//
// Thread: the Env's. The Env outlives it, and tasks that wait in it end before it does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cluster/assignment.h"
#include "eventlog/kafka_client.h"

namespace varve {

class KafkaAssignment final : public Assignment {
 public:
  struct Options {
    kafka::Connection connection;
    std::string topic = "varve.events";
    std::string group;
    // The process: a part of client.id, and so of the member's id. Members are given partitions in the order
    // of their ids, so the members of one process get the same partitions in each of its groups, most of the
    // time.
    std::string member;
    // A name that outlives the process: who comes back with it within the session time-out keeps its
    // partitions, and leave() gives nothing back before that time-out is over. Empty: none.
    std::string instance;
    Duration session_timeout = std::chrono::seconds{6};  // Kafka's least.
    Duration drain_time = std::chrono::seconds{5};       // For partitions that are revoked.
    Duration proof_time = std::chrono::seconds{3};       // How long prove() waits for the coordinator.
  };

  // Joins nothing yet, and needs no broker. Errc::invalid_argument says which option cannot be.
  static Result<std::unique_ptr<KafkaAssignment>> open(RealEnv& env, Options options);
  ~KafkaAssignment() override;

  // Errc::conflict: another process has taken this one's instance name; nothing will come any more.
  Task<AssignmentChange> next(MonoTime deadline) override;
  Task<bool> prove(Partition partition) override;
  void release(std::vector<Partition> partitions) override;
  Task<> leave(MonoTime deadline) override;

 private:
  struct Member;
  explicit KafkaAssignment(std::shared_ptr<Member> member);
  std::shared_ptr<Member> member_;
};

}  // namespace varve
