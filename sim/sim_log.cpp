// The brokers of a SimLog: leaders, replication, what is visible.
#include "sim/sim_log.h"

#include <algorithm>

#include "runtime/check.h"
#include "sim/sim_log_port.h"

namespace varve::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// The least that each step takes.
constexpr Duration kTravel = microseconds{200};
constexpr Duration kReplication = microseconds{300};

// The least, and the longest besides, that an episode lasts.
constexpr Duration kElection = milliseconds{5};
constexpr Duration kEpisode = milliseconds{100};
constexpr std::uint64_t kElectionUs = 3'000'000;
constexpr std::uint64_t kFewReplicasUs = 5'000'000;
constexpr std::uint64_t kStallUs = 20'000'000;
constexpr std::uint64_t kLateUs = 30'000'000;
constexpr std::uint64_t kLagUs = 3'000'000;

constexpr std::uint64_t kMillion = 1'000'000;

std::string at_partition(const char* what, Partition partition) {
  return std::string("log p=") + std::to_string(partition.value()) + " " + what;
}

std::vector<LogRecord>::const_iterator first_at(const std::vector<LogRecord>& records, Offset from) {
  return std::lower_bound(records.begin(), records.end(), from,
                          [](const LogRecord& record, Offset offset) { return record.offset < offset; });
}

}  // namespace

SimLogStorage::SimLogStorage(Scheduler& scheduler, SimEnv& world, Counters& counters, Options options)
    : scheduler_(scheduler), world_(world), counters_(counters), options_(options) {
  CHECK(options.partitions > 0 && options.partitions <= kPartitionsMax);
  parts_.resize(options.partitions);
}

SimLogStorage::~SimLogStorage() = default;

const SimLogStorage::Part& SimLogStorage::part(Partition partition) const {
  CHECK(partition.value() < parts_.size());
  return parts_[partition.value()];
}

SimLogStorage::Part& SimLogStorage::part(Partition partition) {
  CHECK(partition.value() < parts_.size());
  return parts_[partition.value()];
}

std::shared_ptr<SimLogStorage::Port> SimLogStorage::live(const std::weak_ptr<Port>& port) {
  auto locked = port.lock();
  return locked && !locked->closed ? locked : nullptr;
}

std::vector<std::shared_ptr<SimLogStorage::Port>> SimLogStorage::live_ports() {
  std::erase_if(ports_, [](const std::weak_ptr<Port>& port) { return live(port) == nullptr; });
  std::vector<std::shared_ptr<Port>> ports;
  for (const auto& weak : ports_) ports.push_back(weak.lock());
  return ports;
}

bool SimLogStorage::fault(On what, std::uint32_t ppm, const char* counter) {
  if (!scheduler_.choices().chance(track(what), ppm, kMillion)) return false;
  counters_.add(counter);
  return true;
}

std::uint64_t SimLogStorage::spread_us(On what, std::uint64_t longest) {
  return scheduler_.choices().spread(track(what), longest);
}

std::uint64_t SimLogStorage::choose(On what, std::uint64_t bound) {
  return scheduler_.choices().choose(track(what), bound);
}

MonoTime SimLogStorage::after(On what, Duration least) {
  return world_.now() + least + microseconds{spread_us(what, faults_.delay_us)};
}

void SimLogStorage::at(MonoTime when, std::function<void(SimLogStorage&)> work) {
  world_.call_at(when, [weak = weak_from_this(), work = std::move(work)] {
    if (const auto self = weak.lock()) work(*self);
  });
}

bool SimLogStorage::reachable(Partition partition) const {
  return world_.now() >= part(partition).electing_until;
}

// ---- from the producer to the leader

std::shared_ptr<SimLogStorage::Pipe> SimLogStorage::connect(const std::shared_ptr<Port>& port,
                                                            Partition partition) {
  auto pipe = std::make_shared<Pipe>();
  pipe->port = port;
  pipe->partition = partition;
  pipe->connection = next_connection_++;
  pipe->leader = part(partition).leader;
  return pipe;
}

void SimLogStorage::send(const std::shared_ptr<Pipe>& pipe, Request request, bool late) {
  const Duration extra = late ? options_.timeout + microseconds{spread_us(On::late, kLateUs)} : Duration{};
  pipe->last_at = std::max(pipe->last_at, after(On::travel, kTravel + extra));
  pipe->requests.push_back(std::move(request));
  // Whatever comes first takes the front: things of one moment run in any order.
  at(pipe->last_at, [pipe](SimLogStorage& self) { self.arrive(pipe); });
}

void SimLogStorage::break_connection(const std::shared_ptr<Pipe>& pipe) {
  if (pipe->broken) return;
  pipe->broken = true;
  at(after(On::travel, kTravel), [pipe](SimLogStorage& /*self*/) {
    if (const auto port = live(pipe->port)) {
      port->post([partition = pipe->partition, connection = pipe->connection](Port& its_port) {
        its_port.on_reset(partition, connection);
      });
    }
  });
}

bool SimLogStorage::admit_orphan(const std::shared_ptr<Pipe>& pipe) {
  if (!pipe->orphan) {
    pipe->orphan = true;
    if (fault(On::orphan_lost, faults_.orphan_lost_ppm, "fault.log.orphan_lost")) pipe->broken = true;
    if (fault(On::orphan_late, faults_.orphan_late_ppm, "fault.log.orphan_late"))
      pipe->late_until = world_.now() + microseconds{spread_us(On::orphan_late, kLateUs)};
  }
  if (world_.now() >= pipe->late_until) return true;
  at(pipe->late_until, [pipe](SimLogStorage& self) { self.arrive(pipe); });
  return false;
}

// An arrival may find the leader in trouble.
void SimLogStorage::disturb(Partition partition) {
  Part& its_part = part(partition);
  if (fault(On::leader, faults_.leader_change_ppm, "fault.log.leader_change")) change_leader(partition);
  if (fault(On::few_replicas, faults_.few_replicas_ppm, "fault.log.few_replicas")) {
    its_part.few_replicas_until =
        world_.now() + kEpisode + microseconds{spread_us(On::few_replicas, kFewReplicasUs)};
  }
  if (fault(On::stall, faults_.stall_ppm, "fault.log.stall"))
    its_part.stalled_until = world_.now() + kEpisode + microseconds{spread_us(On::stall, kStallUs)};
}

void SimLogStorage::arrive(const std::shared_ptr<Pipe>& pipe) {
  if (!live(pipe->port) && !admit_orphan(pipe)) return;
  if (pipe->requests.empty()) return;
  Request request = std::move(pipe->requests.front());
  pipe->requests.pop_front();
  if (pipe->broken) return;
  disturb(pipe->partition);
  const Part& its_part = part(pipe->partition);
  // Who is no leader any more, or has too few replicas, refuses; the producer tries again.
  if (pipe->leader != its_part.leader || !reachable(pipe->partition) ||
      world_.now() < its_part.few_replicas_until) {
    break_connection(pipe);
    return;
  }
  if (fault(On::reset, faults_.reset_ppm, "fault.log.reset")) {
    if (choose(On::reset, 2) == 1) accept(pipe, std::move(request));
    break_connection(pipe);
    return;
  }
  accept(pipe, std::move(request));
}

void SimLogStorage::accept(const std::shared_ptr<Pipe>& pipe, Request request) {
  Part& its_part = part(pipe->partition);
  ProducerState& state = its_part.producers[request.place.first];
  const auto known = its_part.landed.find(request.place);
  if (request.epoch < state.epoch) {
    // Given up, and the producer has gone on.
    if (known == its_part.landed.end()) counters_.add("sometimes.append.unknown_was_lost");
    return;
  }
  if (known != its_part.landed.end()) {
    counters_.add("sometimes.append.retry_was_recognised");
    state.epoch = request.epoch;
    const Offset offset = known->second;
    if (offset < its_part.end) return acknowledge(pipe, request.place, offset);
    for (Unreplicated& record : its_part.suffix) {
      // The newest connection hears of it: an older one may be in use no more.
      if (record.place == request.place && record.pipe->connection < pipe->connection) record.pipe = pipe;
    }
    return;
  }
  const std::uint64_t sequence = request.place.second;
  const bool gap = request.epoch == state.epoch && state.last != 0 && sequence != state.last + 1;
  if (gap || sequence <= state.last) {
    counters_.add("sometimes.append.out_of_order");
    return break_connection(pipe);
  }
  state = {request.epoch, sequence};
  if (request.twice) {
    at(world_.now() + microseconds{spread_us(On::duplicate, kLateUs)},
       [partition = pipe->partition, bytes = request.bytes](SimLogStorage& self) {
         if (!self.reachable(partition)) return;
         self.counters_.add("fault.log.duplicate");
         self.add_to_suffix(partition, Place{}, bytes, nullptr);
       });
  }
  add_to_suffix(pipe->partition, request.place, std::move(request.bytes), pipe);
}

// ---- replication

Offset SimLogStorage::add_to_suffix(Partition partition, Place place,
                                    std::shared_ptr<const std::string> bytes, std::shared_ptr<Pipe> pipe) {
  Part& its_part = part(partition);
  std::uint64_t gap = 0;
  if (options_.sparse && scheduler_.choices().chance(track(On::gaps), 1, 2)) gap = 1 + choose(On::gaps, 5);
  const Offset offset{its_part.tail.value() + gap};
  its_part.tail = next(offset);
  if (place.first != 0) its_part.landed.emplace(place, offset);
  its_part.suffix.push_back({{offset, std::move(bytes)}, place, std::move(pipe)});
  world_.trace(at_partition("landed o=", partition) + std::to_string(offset.value()) +
               " producer=" + std::to_string(place.first) + " n=" + std::to_string(place.second));
  its_part.replicated_at = std::max(its_part.replicated_at, after(On::replication, kReplication));
  at(its_part.replicated_at,
     [partition, leader = its_part.leader](SimLogStorage& self) { self.replicate(partition, leader); });
  return offset;
}

void SimLogStorage::replicate(Partition partition, std::uint64_t leader) {
  Part& its_part = part(partition);
  if (its_part.leader != leader || its_part.suffix.empty()) return;
  if (world_.now() < its_part.stalled_until) {
    at(its_part.stalled_until,
       [partition, leader](SimLogStorage& self) { self.replicate(partition, leader); });
    return;
  }
  make_visible(partition);
}

void SimLogStorage::make_visible(Partition partition) {
  Part& its_part = part(partition);
  const Offset old_end = its_part.end;
  Unreplicated first = std::move(its_part.suffix.front());
  its_part.suffix.pop_front();
  const Offset offset = first.record.offset;
  its_part.records.push_back(std::move(first.record));
  its_part.end = next(offset);
  world_.trace(at_partition("visible o=", partition) + std::to_string(offset.value()));
  if (first.pipe) {
    const auto port = live(first.pipe->port);
    if (!port) counters_.add("sometimes.zombie.append_landed");
    if (port && port->producer == first.place.first &&
        port->lane(partition).given_up.contains(first.place.second)) {
      counters_.add("sometimes.append.unknown_was_committed");
    }
    acknowledge(first.pipe, first.place, offset);
  }
  if (on_visible_) on_visible_(partition, its_part.records.back());
  wake_readers(partition, old_end);
}

void SimLogStorage::acknowledge(const std::shared_ptr<Pipe>& pipe, Place place, Offset offset) {
  if (pipe->broken || !live(pipe->port)) return;
  at(after(On::travel, kTravel), [pipe, sequence = place.second, offset](SimLogStorage& /*self*/) {
    const auto port = live(pipe->port);
    if (!port || port->cut) return;
    port->post([partition = pipe->partition, connection = pipe->connection, sequence,
                offset](Port& its_port) { its_port.acked(partition, connection, sequence, offset); });
  });
}

void SimLogStorage::wake_readers(Partition partition, Offset old_end) {
  for (const auto& port : live_ports()) {
    Port::Lane& lane = port->lane(partition);
    if (world_.now() >= lane.lag_until && fault(On::lag, faults_.lag_ppm, "fault.log.lag")) {
      lane.lag_end = old_end;
      lane.lag_until = world_.now() + microseconds{1 + spread_us(On::lag, kLagUs)};
      at(lane.lag_until, [weak = std::weak_ptr<Port>(port), partition](SimLogStorage& /*self*/) {
        if (const auto its_port = live(weak)) its_port->lane(partition).grown.notify_all();
      });
      continue;
    }
    lane.grown.notify_all();
  }
}

void SimLogStorage::lag_at_first(Port& port) {
  for (std::uint32_t p = 0; p < partitions(); ++p) {
    const auto& records = part(Partition{p}).records;
    if (records.empty() || !fault(On::first_lag, faults_.lag_ppm, "fault.log.lag")) continue;
    const std::size_t missing = 1 + choose(On::first_lag, std::min<std::size_t>(records.size(), 4));
    Port::Lane& lane = port.lanes[p];
    // Just behind a record: a reader in a gap before it would find nothing, again and again.
    const std::size_t shown = records.size() - missing;
    lane.lag_end = shown == 0 ? Offset{} : next(records[shown - 1].offset);
    lane.lag_until = world_.now() + microseconds{1 + spread_us(On::first_lag, kLagUs)};
    at(lane.lag_until, [weak = port.weak_from_this(), p](SimLogStorage& /*self*/) {
      if (const auto its_port = live(weak)) its_port->lanes[p].grown.notify_all();
    });
  }
}

// ---- leaders

void SimLogStorage::forget_from(Part& its_part, Offset end) {
  std::erase_if(its_part.landed, [end](const auto& entry) { return entry.second >= end; });
  for (auto& [producer, state] : its_part.producers) {
    const auto behind = its_part.landed.lower_bound(Place{producer + 1, 0});
    const bool any = behind != its_part.landed.begin() && std::prev(behind)->first.first == producer;
    state.last = any ? std::prev(behind)->first.second : 0;
  }
}

// The new leader has what the old one had, but for the last `lost` records that nobody has seen.
void SimLogStorage::new_leader(Partition partition, std::size_t lost) {
  Part& its_part = part(partition);
  for (; lost > 0; --lost) its_part.suffix.pop_back();
  while (!its_part.suffix.empty()) make_visible(partition);
  its_part.tail = its_part.end;
  forget_from(its_part, its_part.end);
  ++its_part.leader;
  its_part.replicated_at = MonoTime{};
  its_part.electing_until = world_.now() + kElection + microseconds{spread_us(On::leader, kElectionUs)};
  for (const auto& port : live_ports()) {
    if (port->lane(partition).pipe) break_connection(port->lane(partition).pipe);
  }
}

void SimLogStorage::change_leader(Partition partition) {
  const std::size_t unreplicated = part(partition).suffix.size();
  const std::size_t lost = choose(On::leader, unreplicated + 1);
  world_.trace(at_partition("leader-change lost=", partition) + std::to_string(lost));
  if (lost > 0) counters_.add("sometimes.log.unreplicated_was_lost", lost);
  new_leader(partition, lost);
}

void SimLogStorage::truncate(Partition partition, Offset end) {
  Part& its_part = part(partition);
  world_.trace(at_partition("truncated end=", partition) + std::to_string(end.value()));
  counters_.add("fault.log.truncate");
  its_part.records.erase(first_at(its_part.records, end), its_part.records.end());
  its_part.end = std::min(its_part.end, end);
  new_leader(partition, its_part.suffix.size());
  // Producers go on behind what they know to be written, though it is gone.
  for (auto& [producer, state] : its_part.producers) state.last = 0;
  for (const auto& port : live_ports()) {
    Port::Lane& lane = port->lane(partition);
    lane.lag_end = std::min(lane.lag_end, its_part.end);
    lane.grown.notify_all();
  }
}

Offset SimLogStorage::land(Partition partition, std::string bytes) {
  Part& its_part = part(partition);
  const Offset offset =
      add_to_suffix(partition, Place{}, std::make_shared<const std::string>(std::move(bytes)), nullptr);
  while (!its_part.suffix.empty()) make_visible(partition);
  return offset;
}

void SimLogStorage::heal() {
  faults_ = {};
  world_.trace("log heal");
  for (Part& its_part : parts_) {
    its_part.electing_until = its_part.few_replicas_until = its_part.stalled_until = MonoTime{};
  }
  for (std::uint32_t p = 0; p < partitions(); ++p) {
    // What was stalled is replicated now: its own events find nothing later.
    while (!part(Partition{p}).suffix.empty()) make_visible(Partition{p});
  }
  for (const auto& port : live_ports()) {
    port->cut = false;
    for (Port::Lane& lane : port->lanes) {
      lane.lag_until = MonoTime{};
      lane.grown.notify_all();
    }
    port->post([](Port& its_port) { its_port.on_heal(); });
  }
}

}  // namespace varve::sim
