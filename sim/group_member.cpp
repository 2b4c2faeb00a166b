// The member's side of a simulated consumer group.
#include "sim/group_member.h"

#include <algorithm>

namespace varve::sim {

void GroupCoordinator::Port::change(AssignmentChange::Kind kind, std::vector<Partition> partitions) {
  if (partitions.empty()) return;
  changes.push_back({kind, generation, std::move(partitions)});
  changed.notify_all();
}

void GroupCoordinator::Port::hurry() {
  hurried_ = true;
  hurry_.notify_all();
}

GroupCoordinator::Ask GroupCoordinator::Port::ask(Ask::Kind kind) const {
  Ask asked;
  asked.kind = kind;
  asked.name = name;
  asked.member = member;
  asked.generation = generation;
  for (const auto& [partition, its] : held) {
    if (its.released) asked.released.push_back({partition, its.granted, true});
  }
  return asked;
}

Task<GroupCoordinator::Answer> GroupCoordinator::Port::call(std::shared_ptr<Port> port, Ask ask,
                                                            MonoTime deadline) {
  auto answer = std::make_shared<OneShot<Answer>>();
  port->group->receive(port, std::move(ask), answer);
  co_return co_await answer->get(port->env, deadline);
}

Task<> GroupCoordinator::Port::run(std::shared_ptr<Port> port) {
  port->answered = port->env.now();
  while (!port->left && !port->closed) {
    port->hurried_ = false;
    const Ask ask = port->ask(port->member == 0 ? Ask::Kind::join : Ask::Kind::heartbeat);
    const MonoTime deadline = port->env.now() + port->group->options_.call_timeout;
    const auto answer = co_await call(port, ask, deadline);
    if (port->left || port->closed) break;
    if (answer) {
      port->apply(ask, *answer);
    } else {
      port->unanswered();
    }
    const MonoTime next_beat = port->env.now() + port->group->options_.heartbeat;
    if (!port->hurried_) co_await port->hurry_.wait(port->env, next_beat);
  }
  co_return ok();
}

void GroupCoordinator::Port::lose_all() {
  member = 0;
  std::vector<Partition> lost;
  for (const auto& [partition, its] : held) {
    if (!its.released) lost.push_back(partition);
  }
  held.clear();
  if (!lost.empty()) group->counters_.add("sometimes.group.lost");
  change(AssignmentChange::Kind::lost, std::move(lost));
  hurry();
}

void GroupCoordinator::Port::unanswered() {
  // Who has heard nothing for so long has been expelled, as far as it can know.
  if (member != 0 && answered + group->options_.session_timeout <= env.now()) {
    group->counters_.add("sometimes.group.noticed_alone");
    lose_all();
  }
}

void GroupCoordinator::Port::apply(const Ask& asked, const Answer& answer) {
  // The assignment may have been given up while the question was on its way.
  if (asked.member != member) return;
  answered = env.now();
  if (answer.member == 0) {
    lose_all();
    return;
  }
  member = answer.member;
  generation = std::max(generation, answer.generation);
  std::vector<Partition> assigned;
  std::vector<Partition> revoked;
  std::map<Partition, Held> now;
  for (const Grant& grant : answer.grants) {
    const auto before = held.find(grant.partition);
    const bool known = before != held.end() && before->second.granted == grant.generation;
    Held its = known ? before->second : Held{grant.generation, false, false, false};
    if (!known) assigned.push_back(grant.partition);
    if (grant.revoked && !its.revoked) {
      its.revoked = true;
      revoked.push_back(grant.partition);
    }
    now.emplace(grant.partition, its);
  }
  // What is missing was released, and the coordinator knows by now.
  held = std::move(now);
  change(AssignmentChange::Kind::assigned, std::move(assigned));
  change(AssignmentChange::Kind::revoked, std::move(revoked));
}

SimAssignment::SimAssignment(Env& env, std::shared_ptr<GroupCoordinator> group, std::string member)
    : port_(std::make_shared<GroupCoordinator::Port>(env, std::move(group), std::move(member))) {}

SimAssignment::~SimAssignment() {
  port_->closed = true;
  port_->hurry();
}

Task<AssignmentChange> SimAssignment::next(MonoTime deadline) {
  const auto port = port_;
  if (!port->started && !port->left) {
    port->started = true;
    port->env.spawn("group member", GroupCoordinator::Port::run(port));
  }
  while (port->changes.empty() && port->env.now() < deadline) {
    co_await port->changed.wait(port->env, deadline);
  }
  if (port->changes.empty()) co_return Error{Errc::unavailable, "the assignment has not changed"};
  AssignmentChange change = std::move(port->changes.front());
  port->changes.pop_front();
  if (change.kind == AssignmentChange::Kind::revoked) {
    for (const Partition partition : change.partitions) {
      const auto held = port->held.find(partition);
      if (held != port->held.end()) held->second.told = held->second.revoked;
    }
  }
  co_return change;
}

Task<bool> SimAssignment::prove(Partition partition) {
  const auto port = port_;
  const auto held = port->held.find(partition);
  if (held == port->held.end() || held->second.revoked || held->second.released) co_return false;
  GroupCoordinator::Ask ask = port->ask(GroupCoordinator::Ask::Kind::prove);
  ask.partition = partition;
  const GroupCoordinator::MemberId member = port->member;
  const MonoTime deadline = port->env.now() + port->group->options_.call_timeout;
  const auto answer = co_await GroupCoordinator::Port::call(port, std::move(ask), deadline);
  if (!answer) co_return Error{Errc::unavailable, "the group's coordinator cannot be reached"};
  if (port->left || port->member != member) co_return false;
  if (answer->loses_all) port->lose_all();
  co_return answer->proven;
}

void SimAssignment::release(std::vector<Partition> partitions) {
  for (const Partition partition : partitions) {
    const auto found = port_->held.find(partition);
    // Whoever drains for long may speak of a grant that was lost meanwhile, and given again.
    if (found != port_->held.end() && found->second.told) found->second.released = true;
  }
  port_->hurry();
}

Task<> SimAssignment::leave(MonoTime deadline) {
  const auto port = port_;
  port->left = true;
  port->hurry();
  port->held.clear();
  port->changes.clear();
  const GroupCoordinator::Ask ask = port->ask(GroupCoordinator::Ask::Kind::leave);
  while (port->member != 0 && port->env.now() < deadline) {
    const MonoTime patience = std::min(deadline, port->env.now() + port->group->options_.call_timeout);
    const auto answer = co_await GroupCoordinator::Port::call(port, ask, patience);
    if (answer) {
      port->member = 0;
    } else if (port->env.now() < patience) {
      co_await port->changed.wait(port->env, patience);  // Refused at once: not again before the time is up.
    }
  }
  if (port->member != 0) co_return Error{Errc::unavailable, "the group's coordinator cannot be reached"};
  co_return ok();
}

}  // namespace varve::sim
