// A consumer group in a simulated world: GroupCoordinator, and SimAssignment, the Assignment port of one
// member's incarnation.
//
// The coordinator outlives incarnations. It hands each partition to one member at a time, evenly; every
// rebalance is a new generation. A partition moves cooperatively: its holder is told to release it, and the
// next one gets it when that is done. A member that is not heard of for the session time-out, or does not
// release in time, is expelled; it notices at its next heartbeat, so until then it is a zombie that believes
// its old assignment. A proof is accepted from who holds the partition and knows the present generation.
//
// Promises: a partition is never granted twice under one generation; a proof after an expulsion is refused;
// after heal(), all partitions are held by living members, evenly, within a few time-outs.
// Never: a choice without a fault that is switched on; a call into an incarnation that has ended. A
// SimAssignment ends before its Env does. Thread: the scheduler's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cluster/assignment.h"
#include "runtime/sync.h"
#include "sim/counters.h"
#include "sim/scheduler.h"

namespace varve::sim {

class GroupCoordinator : public std::enable_shared_from_this<GroupCoordinator> {
 public:
  struct Options {
    std::uint32_t partitions = kPartitionsDefault;
    std::string name = "group";   // In traces.
    std::size_t first_track = 0;  // From there on its decisions' tracks are.
    Duration heartbeat = std::chrono::milliseconds{500};
    Duration session_timeout = std::chrono::seconds{6};
    Duration rebalance_timeout = std::chrono::seconds{10};
    Duration call_timeout = std::chrono::seconds{1};  // How long a member waits for an answer.
  };
  // Rates in parts per million, per request, answer or heartbeat.
  struct Faults {
    std::uint32_t delay_us = 0;  // Longest extra delay of each request and answer.
    std::uint32_t request_lost_ppm = 0;
    std::uint32_t answer_lost_ppm = 0;
    std::uint32_t rebalance_ppm = 0;  // Without a reason; one partition is taken from its holder.
    std::uint32_t moved_ppm = 0;      // The coordinator forgets everybody: all must join again.
    std::uint32_t proof_loses_ppm =
        0;  // A refused proof costs a member its assignment (librdkafka does that).
  };

  GroupCoordinator(Scheduler& scheduler, SimEnv& world, Counters& counters, std::uint32_t partitions);
  GroupCoordinator(Scheduler& scheduler, SimEnv& world, Counters& counters, Options options);
  ~GroupCoordinator();
  GroupCoordinator(const GroupCoordinator&) = delete;
  GroupCoordinator& operator=(const GroupCoordinator&) = delete;

  void set_faults(const Faults& faults) { faults_ = faults; }
  const Faults& faults() const { return faults_; }
  // No faults from now on, nobody is cut off, and the coordinator answers.
  void heal();

  // What the nemesis does.
  void cut_off(const std::string& member, bool cut);
  void take_one();  // A rebalance that takes a partition from its holder.
  void move();      // To another broker, which knows nobody.

  std::uint32_t partitions() const { return static_cast<std::uint32_t>(seats_.size()); }
  std::uint64_t generation() const { return generation_; }
  // The member that the partition is granted to; empty: nobody.
  std::string holder(Partition partition) const;
  std::size_t members() const { return members_.size(); }
  // Every partition has a holder that keeps it, evenly.
  bool settled() const;

 private:
  friend class SimAssignment;
  struct Port;
  using MemberId = std::uint64_t;  // Of one joining; 0 = nobody.
  // Of one partition, as a member sees it. A grant is known by the generation in which it was given.
  struct Grant {
    Partition partition;
    std::uint64_t generation = 0;
    bool revoked = false;
  };
  struct Ask {
    enum class Kind : unsigned char { join, heartbeat, prove, leave };
    Kind kind = Kind::join;
    std::string name;
    MemberId member = 0;
    std::uint64_t generation = 0;
    Partition partition;
    std::vector<Grant> released;
  };
  struct Answer {
    MemberId member = 0;  // 0: unknown to the coordinator.
    std::uint64_t generation = 0;
    std::vector<Grant> grants;  // All of the member's.
    bool proven = false;
    bool loses_all = false;
  };
  struct Member {
    std::string name;
    MonoTime seen{};
  };
  struct Seat {
    MemberId holder = 0;
    MemberId former = 0;
    std::uint64_t granted = 0;
    bool revoked = false;
    MonoTime deadline{};  // Of the release.
  };

  static std::shared_ptr<Port> live(const std::weak_ptr<Port>& port);
  // Each decides on a track of its own.
  enum class Fault : unsigned char { travel, request_lost, answer_lost, rebalance, moved, proof };
  bool fault(Fault one, std::uint32_t ppm, const char* counter);
  Track track(Fault one) const;
  MonoTime after(Duration least);
  void at(MonoTime when, std::function<void(GroupCoordinator&)> work);
  void trace(const std::string& what);
  const std::string& name_of(MemberId member) const;

  void receive(std::weak_ptr<Port> port, Ask ask, std::shared_ptr<OneShot<Answer>> answer);
  Result<Answer> handle(const Ask& ask);
  Answer answer_for(MemberId member) const;
  bool prove(const Ask& ask);
  void release(MemberId member, const std::vector<Grant>& released);

  void expel(MemberId member, const char* why);
  void revoke(Seat& seat, Partition partition);
  std::size_t kept_by(MemberId member) const;
  // Who gets a free partition: who has least, rather not its former holder.
  MemberId next_holder(const Seat& seat) const;
  void rebalance(const char* why);
  void arm();
  void check_timeouts();

  Scheduler& scheduler_;
  SimEnv& world_;
  Counters& counters_;
  Options options_;
  Faults faults_;
  std::map<MemberId, Member> members_;
  std::vector<Seat> seats_;  // By partition.
  std::set<std::string> cut_;
  MemberId next_member_ = 1;
  std::uint64_t generation_ = 0;
  MonoTime moving_until_{};
  MonoTime armed_for_ = kNever;
};

class SimAssignment final : public Assignment {
 public:
  SimAssignment(Env& env, std::shared_ptr<GroupCoordinator> group, std::string member);
  ~SimAssignment() override;

  Task<AssignmentChange> next(MonoTime deadline) override;
  Task<bool> prove(Partition partition) override;
  void release(std::vector<Partition> partitions) override;
  Task<> leave(MonoTime deadline) override;

 private:
  std::shared_ptr<GroupCoordinator::Port> port_;
};

}  // namespace varve::sim
