// The coordinator's side of a simulated consumer group.
#include "sim/group.h"

#include <algorithm>

#include "runtime/check.h"
#include "sim/group_member.h"

namespace varve::sim {
namespace {

using std::chrono::microseconds;

constexpr Duration kTravel = microseconds{200};
constexpr std::uint64_t kMovingUs = 3'000'000;

}  // namespace

GroupCoordinator::GroupCoordinator(Scheduler& scheduler, SimEnv& world, Counters& counters,
                                   std::uint32_t partitions)
    : GroupCoordinator(scheduler, world, counters, Options{.partitions = partitions}) {}

GroupCoordinator::GroupCoordinator(Scheduler& scheduler, SimEnv& world, Counters& counters, Options options)
    : scheduler_(scheduler), world_(world), counters_(counters), options_(std::move(options)) {
  CHECK(options_.partitions > 0 && options_.partitions <= kPartitionsMax);
  seats_.resize(options_.partitions);
}

GroupCoordinator::~GroupCoordinator() = default;

std::shared_ptr<GroupCoordinator::Port> GroupCoordinator::live(const std::weak_ptr<Port>& port) {
  auto locked = port.lock();
  return locked && !locked->closed ? locked : nullptr;
}

Track GroupCoordinator::track(Fault one) const {
  return {Domain::group, options_.first_track + static_cast<std::size_t>(one)};
}

bool GroupCoordinator::fault(Fault one, std::uint32_t ppm, const char* counter) {
  if (!scheduler_.choices().chance(track(one), ppm, 1'000'000)) return false;
  counters_.add(counter);
  return true;
}

MonoTime GroupCoordinator::after(Duration least) {
  return world_.now() + least +
         microseconds{scheduler_.choices().spread(track(Fault::travel), faults_.delay_us)};
}

void GroupCoordinator::at(MonoTime when, std::function<void(GroupCoordinator&)> work) {
  world_.call_at(when, [weak = weak_from_this(), work = std::move(work)] {
    if (const auto self = weak.lock()) work(*self);
  });
}

void GroupCoordinator::trace(const std::string& what) {
  world_.trace(options_.name + " g=" + std::to_string(generation_) + " " + what);
}

const std::string& GroupCoordinator::name_of(MemberId member) const {
  static const std::string kNobody;
  const auto found = members_.find(member);
  return found == members_.end() ? kNobody : found->second.name;
}

std::string GroupCoordinator::holder(Partition partition) const {
  CHECK(partition.value() < seats_.size());
  return name_of(seats_[partition.value()].holder);
}

std::size_t GroupCoordinator::kept_by(MemberId member) const {
  return static_cast<std::size_t>(std::count_if(seats_.begin(), seats_.end(), [member](const Seat& seat) {
    return seat.holder == member && !seat.revoked;
  }));
}

bool GroupCoordinator::settled() const {
  if (members_.empty()) return false;
  const std::size_t least = seats_.size() / members_.size();
  const std::size_t most = least + (seats_.size() % members_.size() == 0 ? 0 : 1);
  const bool even = std::all_of(members_.begin(), members_.end(), [&](const auto& member) {
    const std::size_t kept = kept_by(member.first);
    return kept >= least && kept <= most;
  });
  return even && std::none_of(seats_.begin(), seats_.end(),
                              [](const Seat& seat) { return seat.holder == 0 || seat.revoked; });
}

// ---- requests

void GroupCoordinator::receive(std::weak_ptr<Port> port, Ask ask, std::shared_ptr<OneShot<Answer>> answer) {
  if (cut_.contains(ask.name) ||
      fault(Fault::request_lost, faults_.request_lost_ppm, "fault.group.request_lost"))
    return;
  at(after(kTravel), [port = std::move(port), ask = std::move(ask), answer](GroupCoordinator& self) {
    Result<Answer> result = self.handle(ask);
    if (self.cut_.contains(ask.name)) return;
    if (self.fault(Fault::answer_lost, self.faults_.answer_lost_ppm, "fault.group.answer_lost")) return;
    self.at(self.after(kTravel), [port, answer, result = std::move(result)](GroupCoordinator& /*self*/) {
      const auto its_port = live(port);
      if (its_port) its_port->env.post([answer, result] { answer->set(result); });
    });
  });
}

Result<GroupCoordinator::Answer> GroupCoordinator::handle(const Ask& ask) {
  if (fault(Fault::moved, faults_.moved_ppm, "fault.group.moved")) move();
  if (world_.now() < moving_until_) return Error{Errc::unavailable, "the group's coordinator is moving"};
  if (ask.kind == Ask::Kind::join) {
    const MemberId member = next_member_++;
    members_[member] = Member{ask.name, world_.now()};
    trace("joined " + ask.name + " member=" + std::to_string(member));
    rebalance("join");
    arm();
    return answer_for(member);
  }
  const auto found = members_.find(ask.member);
  if (found == members_.end()) {
    Answer unknown;
    unknown.generation = generation_;
    if (ask.kind == Ask::Kind::prove) counters_.add("sometimes.group.zombie_proof_was_refused");
    return unknown;
  }
  found->second.seen = world_.now();
  switch (ask.kind) {
    case Ask::Kind::join:
      break;
    case Ask::Kind::heartbeat:
      release(ask.member, ask.released);
      if (fault(Fault::rebalance, faults_.rebalance_ppm, "fault.group.rebalance")) take_one();
      break;
    case Ask::Kind::prove: {
      Answer answer = answer_for(ask.member);
      answer.proven = prove(ask);
      if (!answer.proven)
        answer.loses_all = fault(Fault::proof, faults_.proof_loses_ppm, "fault.group.proof_lost_all");
      return answer;
    }
    case Ask::Kind::leave:
      expel(ask.member, "left");
      rebalance("leave");
      return Answer{};
  }
  return answer_for(ask.member);
}

GroupCoordinator::Answer GroupCoordinator::answer_for(MemberId member) const {
  Answer answer;
  answer.member = member;
  answer.generation = generation_;
  for (std::uint32_t p = 0; p < seats_.size(); ++p) {
    const Seat& seat = seats_[p];
    if (seat.holder == member) answer.grants.push_back({Partition{p}, seat.granted, seat.revoked});
  }
  return answer;
}

bool GroupCoordinator::prove(const Ask& ask) {
  if (ask.partition.value() >= seats_.size()) return false;
  const Seat& seat = seats_[ask.partition.value()];
  const bool holds = seat.holder == ask.member && !seat.revoked;
  if (holds && ask.generation != generation_) counters_.add("sometimes.group.old_generation_was_refused");
  if (!holds || ask.generation != generation_) return false;
  trace("proved p=" + std::to_string(ask.partition.value()) + " member=" + std::to_string(ask.member));
  return true;
}

void GroupCoordinator::release(MemberId member, const std::vector<Grant>& released) {
  bool any = false;
  for (const Grant& grant : released) {
    if (grant.partition.value() >= seats_.size()) continue;
    Seat& seat = seats_[grant.partition.value()];
    // A late request may speak of a grant that is over.
    if (seat.holder != member || seat.granted != grant.generation) continue;
    seat = Seat{0, member, 0, false, {}};
    any = true;
  }
  if (any) rebalance("release");
}

// ---- rebalancing

void GroupCoordinator::expel(MemberId member, const char* why) {
  trace(std::string("expelled ") + name_of(member) + " member=" + std::to_string(member) + " " + why);
  for (Seat& seat : seats_) {
    if (seat.holder == member) seat = Seat{0, member, 0, false, {}};
  }
  members_.erase(member);
}

void GroupCoordinator::revoke(Seat& seat, Partition partition) {
  seat.revoked = true;
  seat.deadline = world_.now() + options_.rebalance_timeout;
  trace("revoked p=" + std::to_string(partition.value()) + " from=" + name_of(seat.holder));
}

GroupCoordinator::MemberId GroupCoordinator::next_holder(const Seat& seat) const {
  const auto rank = [&](MemberId member) {
    return std::tuple{kept_by(member), member == seat.former, member};
  };
  MemberId best = members_.begin()->first;
  for (const auto& [member, its] : members_) {
    if (rank(member) < rank(best)) best = member;
  }
  return best;
}

void GroupCoordinator::rebalance(const char* why) {
  ++generation_;
  trace(std::string("rebalance ") + why);
  if (members_.empty()) return;
  // Those that have most keep most: nothing moves that need not.
  std::vector<std::pair<std::size_t, MemberId>> order;
  for (const auto& [member, its] : members_) order.emplace_back(kept_by(member), member);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  const std::size_t least = seats_.size() / order.size();
  const std::size_t extra = seats_.size() % order.size();
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t most = least + (i < extra ? 1 : 0);
    for (std::uint32_t p = partitions(); p > 0 && kept_by(order[i].second) > most; --p) {
      Seat& seat = seats_[p - 1];
      if (seat.holder == order[i].second && !seat.revoked) revoke(seat, Partition{p - 1});
    }
  }
  for (std::uint32_t p = 0; p < partitions(); ++p) {
    Seat& seat = seats_[p];
    if (seat.holder != 0) continue;
    const MemberId holder = next_holder(seat);
    seat = Seat{holder, seat.former, generation_, false, {}};
    trace("granted p=" + std::to_string(p) + " to=" + name_of(holder) + " member=" + std::to_string(holder));
  }
  arm();
}

void GroupCoordinator::take_one() {
  std::vector<std::uint32_t> kept;
  for (std::uint32_t p = 0; p < partitions(); ++p) {
    if (seats_[p].holder != 0 && !seats_[p].revoked) kept.push_back(p);
  }
  if (!kept.empty()) {
    const std::uint32_t p = kept[scheduler_.choices().choose(track(Fault::rebalance), kept.size())];
    revoke(seats_[p], Partition{p});
  }
  rebalance("no reason");
}

void GroupCoordinator::move() {
  ++generation_;
  trace("moved");
  members_.clear();
  for (Seat& seat : seats_) seat = Seat{0, seat.holder, 0, false, {}};
  moving_until_ = world_.now() + microseconds{scheduler_.choices().spread(track(Fault::moved), kMovingUs)};
}

// ---- time-outs

void GroupCoordinator::arm() {
  MonoTime first = kNever;
  for (const auto& [id, member] : members_) first = std::min(first, member.seen + options_.session_timeout);
  for (const Seat& seat : seats_) {
    if (seat.revoked) first = std::min(first, seat.deadline);
  }
  if (first >= armed_for_) return;
  armed_for_ = first;
  at(first, [first](GroupCoordinator& self) {
    if (self.armed_for_ != first) return;  // An earlier one was set since.
    self.armed_for_ = kNever;
    self.check_timeouts();
    self.arm();
  });
}

void GroupCoordinator::check_timeouts() {
  std::map<MemberId, const char*> late;
  for (const auto& [id, member] : members_) {
    if (member.seen + options_.session_timeout <= world_.now()) late.emplace(id, "session");
  }
  for (const Seat& seat : seats_) {
    if (seat.revoked && seat.deadline <= world_.now()) late.emplace(seat.holder, "rebalance");
  }
  for (const auto& [id, why] : late) {
    const bool session = std::string_view(why) == "session";
    counters_.add(session ? "sometimes.group.expelled_session" : "sometimes.group.expelled_rebalance");
    expel(id, why);
  }
  if (!late.empty()) rebalance("expelled");
}

// ---- the nemesis

void GroupCoordinator::cut_off(const std::string& member, bool cut) {
  if (!cut) {
    cut_.erase(member);
  } else if (cut_.insert(member).second) {
    counters_.add("fault.group.cut_off");
  }
}

void GroupCoordinator::heal() {
  faults_ = {};
  cut_.clear();
  moving_until_ = MonoTime{};
  trace("heal");
}

}  // namespace varve::sim
