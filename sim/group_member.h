// What a SimAssignment shares with its heartbeat task and the answers on their way: what this member
// believes. Internal to sim/group.cpp and sim/group_member.cpp. Everything here runs in steps of the member's
// Env.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/env.h"
#include "sim/group.h"

namespace varve::sim {

struct GroupCoordinator::Port : std::enable_shared_from_this<Port> {
  struct Held {
    std::uint64_t granted = 0;
    bool revoked = false;   // The coordinator wants it back,
    bool told = false;      // and the owner knows.
    bool released = false;  // The coordinator is to be told.
  };

  Port(Env& its_env, std::shared_ptr<GroupCoordinator> its_group, std::string its_name)
      : env(its_env), group(std::move(its_group)), name(std::move(its_name)) {}

  // The heartbeats, until the member leaves or ends.
  static Task<> run(std::shared_ptr<Port> port);
  static Task<Answer> call(std::shared_ptr<Port> port, Ask ask, MonoTime deadline);

  Ask ask(Ask::Kind kind) const;
  void apply(const Ask& asked, const Answer& answer);
  void unanswered();
  void lose_all();
  void hurry();

  Env& env;
  std::shared_ptr<GroupCoordinator> group;
  std::string name;
  MemberId member = 0;
  std::uint64_t generation = 0;
  std::map<Partition, Held> held;
  std::deque<AssignmentChange> changes;
  Notifier changed;
  MonoTime answered{};
  bool started = false;
  bool left = false;
  bool closed = false;

 private:
  void change(AssignmentChange::Kind kind, std::vector<Partition> partitions);

  bool hurried_ = false;
  Notifier hurry_;
};

}  // namespace varve::sim
