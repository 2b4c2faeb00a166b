#include "cluster/kafka_assignment.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "cluster/kafka_group.h"
#include "runtime/sync.h"

namespace varve {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLeavingTick{20};  // The end of a consumer is no event.

using Kind = AssignmentChange::Kind;

}  // namespace

struct KafkaAssignment::Member : std::enable_shared_from_this<Member> {
  struct Held {
    std::uint64_t grant = 0;  // One for each time that the partition is given to this member.
    std::string member;       // The coordinator's name for it then.
    bool revoked = false;     // The group wants it back,
    bool told = false;        // and the owner knows.
  };
  // The group waits for these: it takes them back together.
  struct Drain {
    std::vector<Partition> all;
    std::set<Partition> waiting;
    TimerId timer = 0;
  };

  Member(RealEnv& its_env, Options its_options) : env(its_env), options(std::move(its_options)) {}

  void on_event(const kafka::GroupEvent& event);
  void on_settled();
  void on_rebalance(const kafka::Rebalance& rebalance);
  void on_assigned(const std::vector<Partition>& partitions);
  void on_revoked(const std::vector<Partition>& partitions);
  void on_gone(const std::vector<Partition>& partitions);
  void on_broken(const kafka::Broken& what);
  void drain_time_is_over();
  void finish_drain();
  void change(Kind kind, std::vector<Partition> partitions);
  void answer(const Status& answered, const char* what);
  const Held* holds(Partition partition) const;

  RealEnv& env;
  Options options;
  std::unique_ptr<kafka::GroupConsumer> consumer;
  std::uint64_t generation = 0;
  std::uint64_t grants = 0;
  std::uint64_t tickets = 0;
  std::map<Partition, Held> held;
  std::optional<Drain> drain;
  std::map<std::uint64_t, std::shared_ptr<OneShot<kafka::Committed>>> proofs;
  std::vector<kafka::Committed> answers;  // To proofs, until on_settled().
  std::deque<AssignmentChange> changes;
  Notifier changed;
  std::optional<Error> broken;
  bool started = false;
  bool joining = false;
  bool left = false;
  bool closed = false;
};

void KafkaAssignment::Member::on_event(const kafka::GroupEvent& event) {
  if (const auto* rebalance = std::get_if<kafka::Rebalance>(&event)) on_rebalance(*rebalance);
  if (const auto* joins = std::get_if<kafka::Joining>(&event)) joining = joins->joining;
  if (const auto* what = std::get_if<kafka::Broken>(&event)) on_broken(*what);
  if (const auto* committed = std::get_if<kafka::Committed>(&event)) answers.push_back(*committed);
}

// An answer may overtake the news that the partitions are lost; news that has come by now counts first.
void KafkaAssignment::Member::on_settled() {
  for (const kafka::Committed& committed : answers) {
    const auto proof = proofs.find(committed.ticket);
    if (proof != proofs.end()) proof->second->set(committed);
  }
  answers.clear();
}

void KafkaAssignment::Member::change(Kind kind, std::vector<Partition> partitions) {
  if (partitions.empty() || left) return;
  changes.push_back({kind, generation, std::move(partitions)});
  changed.notify_all();
}

void KafkaAssignment::Member::answer(const Status& answered, const char* what) {
  if (answered) return;
  env.count("kafka_group_errors");
  env.log(LogLevel::error, "the group " + options.group + ": " + what + ": " + answered.error().message);
}

const KafkaAssignment::Member::Held* KafkaAssignment::Member::holds(Partition partition) const {
  const auto found = held.find(partition);
  return found == held.end() || found->second.revoked ? nullptr : &found->second;
}

void KafkaAssignment::Member::on_rebalance(const kafka::Rebalance& rebalance) {
  ++generation;
  env.count("kafka_rebalances");
  if (rebalance.assigned) {
    on_assigned(rebalance.partitions);
  } else if (rebalance.lost || left) {
    on_gone(rebalance.partitions);
  } else {
    on_revoked(rebalance.partitions);
  }
}

void KafkaAssignment::Member::on_assigned(const std::vector<Partition>& partitions) {
  answer(consumer->assign(partitions), "partitions cannot be taken");
  joining = false;
  if (left) return;
  // The group speaks of what is new. What the coordinator gave under another name of this member was lost in
  // between, unnoticed: it is given anew.
  const std::string member = consumer->member_id();
  std::vector<Partition> lost;
  std::vector<Partition> assigned;
  const std::vector<Partition> all = consumer->assignment();
  for (const Partition partition : all) {
    const auto found = held.find(partition);
    if (found != held.end() && found->second.member == member) continue;
    if (found != held.end()) lost.push_back(partition);
    held[partition] = Held{++grants, member, false, false};
    assigned.push_back(partition);
  }
  for (const auto& [partition, its] : held) {
    if (std::find(all.begin(), all.end(), partition) == all.end()) lost.push_back(partition);
  }
  std::erase_if(held, [&all](const auto& entry) {
    return std::find(all.begin(), all.end(), entry.first) == all.end();
  });
  change(Kind::lost, std::move(lost));
  change(Kind::assigned, std::move(assigned));
}

void KafkaAssignment::Member::on_revoked(const std::vector<Partition>& partitions) {
  drain = Drain{partitions, {}, 0};
  std::vector<Partition> revoked;
  for (const Partition partition : partitions) {
    const auto found = held.find(partition);
    if (found == held.end()) continue;
    found->second.revoked = true;
    drain->waiting.insert(partition);
    revoked.push_back(partition);
  }
  change(Kind::revoked, std::move(revoked));
  if (drain->waiting.empty()) {
    finish_drain();
    return;
  }
  drain->timer = env.call_at(env.now() + options.drain_time, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->drain_time_is_over();
  });
}

void KafkaAssignment::Member::on_gone(const std::vector<Partition>& partitions) {
  std::vector<Partition> lost;
  for (const Partition partition : partitions) {
    if (held.erase(partition) > 0) lost.push_back(partition);
  }
  if (!lost.empty()) env.count("kafka_assignments_lost");
  change(Kind::lost, std::move(lost));
  answer(consumer->unassign(partitions), "partitions cannot be given up");
}

void KafkaAssignment::Member::on_broken(const kafka::Broken& what) {
  if (broken) return;
  broken = Error{Errc::conflict, "the group " + options.group + " has put this member out: " + what.message};
  env.log(LogLevel::error, broken->message);
  std::vector<Partition> lost;
  for (const auto& [partition, its] : held) lost.push_back(partition);
  held.clear();
  if (drain) env.cancel(drain->timer);
  drain.reset();
  change(Kind::lost, std::move(lost));
  changed.notify_all();
}

void KafkaAssignment::Member::drain_time_is_over() {
  if (!drain) return;
  env.count("kafka_drains_cut_short");
  std::vector<Partition> lost(drain->waiting.begin(), drain->waiting.end());
  for (const Partition partition : lost) held.erase(partition);
  change(Kind::lost, std::move(lost));
  finish_drain();
}

void KafkaAssignment::Member::finish_drain() {
  env.cancel(drain->timer);
  const std::vector<Partition> all = std::move(drain->all);
  drain.reset();
  answer(consumer->unassign(all), "partitions cannot be given back");
}

Result<std::unique_ptr<KafkaAssignment>> KafkaAssignment::open(RealEnv& env, Options options) {
  if (options.group.empty() || options.topic.empty())
    return Error{Errc::invalid_argument, "a Kafka assignment needs a topic and a group"};
  if (options.drain_time > options.session_timeout)
    return Error{Errc::invalid_argument, "the drain time of a group is at most its session time-out"};
  kafka::GroupConsumer::Options of_consumer;
  of_consumer.connection = options.connection;
  of_consumer.topic = options.topic;
  of_consumer.group = options.group;
  of_consumer.member = options.member;
  of_consumer.instance = options.instance;
  of_consumer.session_timeout = options.session_timeout;
  // Longer than any drain: the group waits as long for a member that still gives something back.
  of_consumer.poll_interval_max = 2 * options.session_timeout;
  const auto member = std::make_shared<Member>(env, std::move(options));
  of_consumer.on_event = [weak = std::weak_ptr(member)](const kafka::GroupEvent& event) {
    if (const auto self = weak.lock()) self->on_event(event);
  };
  of_consumer.on_settled = [weak = std::weak_ptr(member)] {
    if (const auto self = weak.lock()) self->on_settled();
  };
  auto consumer = kafka::GroupConsumer::open(env, std::move(of_consumer));
  if (!consumer) return consumer.error();
  member->consumer = std::move(*consumer);
  return std::unique_ptr<KafkaAssignment>(new KafkaAssignment(member));
}

KafkaAssignment::KafkaAssignment(std::shared_ptr<Member> member) : member_(std::move(member)) {}

KafkaAssignment::~KafkaAssignment() {
  member_->left = true;
  member_->closed = true;
}

Task<AssignmentChange> KafkaAssignment::next(MonoTime deadline) {
  const auto member = member_;
  if (!member->started && !member->left) {
    if (Status joined = member->consumer->subscribe(); !joined) {
      co_await sleep_until(member->env, deadline);
      co_return joined.error();
    }
    member->started = true;
  }
  while (member->changes.empty() && (!member->broken || member->left) && member->env.now() < deadline)
    co_await member->changed.wait(member->env, deadline);
  if (member->changes.empty() && member->broken && !member->left) co_return *member->broken;
  if (member->changes.empty()) co_return Error{Errc::unavailable, "the assignment has not changed"};
  AssignmentChange change = std::move(member->changes.front());
  member->changes.pop_front();
  if (change.kind == Kind::revoked) {
    for (const Partition partition : change.partitions) {
      const auto found = member->held.find(partition);
      if (found != member->held.end()) found->second.told = found->second.revoked;
    }
  }
  co_return change;
}

Task<bool> KafkaAssignment::prove(Partition partition) {
  const auto member = member_;
  if (!member->started || member->left) co_return false;
  const Member::Held* const held = member->holds(partition);
  // While a member joins, a commit is refused and costs it all that it holds.
  if (held == nullptr || member->broken || member->joining) co_return false;
  if (held->member != member->consumer->member_id()) co_return false;
  const std::uint64_t grant = held->grant;
  const std::uint64_t ticket = ++member->tickets;
  const auto answer = std::make_shared<OneShot<kafka::Committed>>();
  member->proofs.emplace(ticket, answer);
  const Status sent = member->consumer->commit(partition, ticket);
  if (!sent) answer->set(sent.error());
  const auto committed = co_await answer->get(member->env, member->env.now() + member->options.proof_time);
  member->proofs.erase(ticket);
  if (!committed) {
    co_return Error{Errc::unavailable,
                    "the group's coordinator cannot be reached: " + committed.error().message};
  }
  const Member::Held* const now = member->holds(partition);
  if (now == nullptr || now->grant != grant || member->left) co_return false;
  if (committed->outcome == kafka::Committed::Outcome::unreachable)
    co_return Error{Errc::unavailable, "the group's coordinator cannot be reached: " + committed->message};
  co_return committed->outcome == kafka::Committed::Outcome::accepted;
}

void KafkaAssignment::release(std::vector<Partition> partitions) {
  if (!member_->drain || member_->left) return;
  for (const Partition partition : partitions) {
    const auto found = member_->held.find(partition);
    // Whoever drains for long may speak of what was lost meanwhile, and given again.
    if (found == member_->held.end() || !found->second.told) continue;
    if (member_->drain->waiting.erase(partition) > 0) member_->held.erase(found);
  }
  if (member_->drain->waiting.empty()) member_->finish_drain();
}

Task<> KafkaAssignment::leave(MonoTime deadline) {
  const auto member = member_;
  const bool first = !member->left;
  member->left = true;
  member->held.clear();
  member->changes.clear();
  if (!member->started || member->broken) member->closed = true;
  if (first && !member->closed) {
    if (member->drain) member->finish_drain();
    const Status closing = member->consumer->close();
    if (!closing) co_return closing.error();
  }
  while (!member->closed) {
    member->closed = member->consumer->closed();
    if (member->closed) break;
    if (member->env.now() >= deadline)
      co_return Error{Errc::unavailable, "the group's coordinator cannot be reached"};
    co_await sleep_until(member->env, std::min(deadline, member->env.now() + kLeavingTick));
  }
  co_return ok();
}

}  // namespace varve
