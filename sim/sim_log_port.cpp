// SimLog: the producer and the reader of one incarnation.
#include "sim/sim_log_port.h"

#include <algorithm>

#include "runtime/mutant.h"
#include "runtime/suspend.h"

namespace varve::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Duration kBackoff = milliseconds{50};
constexpr std::uint64_t kBackoffUs = 200'000;
constexpr Duration kUnreachable = milliseconds{50};

Error no_such_partition(Partition partition, std::uint32_t partitions) {
  return Error{Errc::invalid_argument, "the log has partitions 0 to " + std::to_string(partitions - 1) +
                                           ", not " + std::to_string(partition.value())};
}

Error no_leader(Partition partition) {
  return Error{Errc::unavailable,
               "the leader of partition " + std::to_string(partition.value()) + " cannot be reached"};
}

Error truncated(Partition partition, Offset end, Offset from) {
  return Error{Errc::corrupt, "the log of partition " + std::to_string(partition.value()) + " ends at " +
                                  std::to_string(end.value()) + ", a reader wants " +
                                  std::to_string(from.value()) + ": it was truncated or exchanged"};
}

ReadBatch batch_of(const std::vector<LogRecord>& records, Offset from, Offset view, ReadOptions options) {
  ReadBatch batch{{}, from};
  std::size_t bytes = 0;
  auto record =
      std::lower_bound(records.begin(), records.end(), from,
                       [](const LogRecord& a_record, Offset offset) { return a_record.offset < offset; });
  for (; record != records.end() && record->offset < view; ++record) {
    if (!batch.records.empty() && (batch.records.size() >= options.records_max || bytes >= options.bytes_max))
      break;
    bytes += record->bytes->size();
    batch.records.push_back(*record);
    batch.next = next(record->offset);
  }
  return batch;
}

}  // namespace

SimLogStorage::Port::Port(Env& its_env, std::shared_ptr<SimLogStorage> its_storage)
    : env(its_env),
      storage(std::move(its_storage)),
      producer(storage->next_producer_++),
      lanes(storage->partitions()) {}

void SimLogStorage::Port::post(std::function<void(Port&)> step) {
  env.post([weak = weak_from_this(), step = std::move(step)] {
    if (const auto self = live(weak)) step(*self);
  });
}

// ---- the producer

SimLogStorage::Port::Fate SimLogStorage::Port::draw_fate() {
  const Faults& faults = storage->faults_;
  if (storage->fault(On::lost, faults.lost_ppm, "fault.log.lost")) return Fate::lost;
  if (storage->fault(On::late, faults.late_ppm, "fault.log.late")) return Fate::late;
  if (storage->fault(On::lost_ack, faults.lost_ack_ppm, "fault.log.lost_ack")) return Fate::lost_ack;
  // Counted when it happens.
  if (storage->scheduler_.choices().chance(track(On::duplicate), faults.duplicate_ppm, 1'000'000))
    return Fate::twice;
  return Fate::normal;
}

Result<Delivery> SimLogStorage::Port::append(Partition partition, std::string bytes) {
  if (storage->fault(On::refused, storage->faults_.refused_ppm, "fault.log.refused")) {
    if (storage->choose(On::refused, 2) == 1)
      return Error{Errc::resource_exhausted, "the producer's queue is full"};
    return Error{Errc::unavailable, "the producer refuses"};
  }
  Lane& its_lane = lane(partition);
  ++records_in_flight;
  bytes_in_flight += bytes.size();
  auto delivery = std::make_shared<OneShot<Offset>>();
  Pending pending{std::make_shared<const std::string>(std::move(bytes)), delivery,
                  env.now() + storage->options_.timeout, draw_fate()};
  its_lane.pending.emplace(its_lane.next_sequence++, std::move(pending));
  send_more(partition);
  arm();
  return delivery;
}

void SimLogStorage::Port::send_more(Partition partition) {
  Lane& its_lane = lane(partition);
  if (its_lane.backing_off || cut) return;
  for (auto i = its_lane.pending.upper_bound(its_lane.sent); i != its_lane.pending.end(); ++i) {
    // A request that never arrives holds up those behind it until it is given up.
    if (i->second.fate == Fate::lost) return;
    if (!its_lane.pipe) its_lane.pipe = storage->connect(shared_from_this(), partition);
    Request request{Place{producer, i->first}, its_lane.epoch, i->second.bytes,
                    i->second.fate == Fate::twice};
    storage->send(its_lane.pipe, std::move(request), i->second.fate == Fate::late);
    i->second.sent = true;
    its_lane.sent = i->first;
  }
}

void SimLogStorage::Port::finish(Lane& its_lane, std::map<std::uint64_t, Pending>::iterator record,
                                 Result<Offset> outcome) {
  Pending pending = std::move(record->second);
  its_lane.pending.erase(record);
  --records_in_flight;
  bytes_in_flight -= pending.bytes->size();
  pending.delivery->set(std::move(outcome));
}

void SimLogStorage::Port::acked(Partition partition, std::uint64_t connection, std::uint64_t sequence,
                                Offset offset) {
  Lane& its_lane = lane(partition);
  if (!its_lane.pipe || its_lane.pipe->connection != connection) return;
  const auto found = its_lane.pending.find(sequence);
  if (found == its_lane.pending.end() || found->second.fate == Fate::lost_ack) return;
  finish(its_lane, found, offset);
}

void SimLogStorage::Port::reconnect(Partition partition) {
  Lane& its_lane = lane(partition);
  its_lane.pipe = nullptr;
  its_lane.sent = 0;
  send_more(partition);
}

void SimLogStorage::Port::on_reset(Partition partition, std::uint64_t connection) {
  Lane& its_lane = lane(partition);
  if (!its_lane.pipe || its_lane.pipe->connection != connection) return;
  its_lane.pipe = nullptr;
  its_lane.sent = 0;
  its_lane.backing_off = true;
  const std::uint64_t extra =
      storage->faults_.delay_us == 0 ? 0 : storage->spread_us(On::backoff, kBackoffUs);
  env.call_at(env.now() + kBackoff + microseconds{extra}, [weak = weak_from_this(), partition] {
    const auto self = live(weak);
    if (!self) return;
    self->lane(partition).backing_off = false;
    self->send_more(partition);
  });
}

void SimLogStorage::Port::on_heal() {
  for (std::uint32_t p = 0; p < lanes.size(); ++p) {
    for (auto& [sequence, pending] : lanes[p].pending) pending.fate = Fate::normal;
    reconnect(Partition{p});
  }
}

void SimLogStorage::Port::arm() {
  if (armed_) return;
  MonoTime first = kNever;
  for (const Lane& its_lane : lanes) {
    if (!its_lane.pending.empty()) first = std::min(first, its_lane.pending.begin()->second.deadline);
  }
  if (first == kNever) return;
  armed_ = true;
  env.call_at(first, [weak = weak_from_this()] {
    const auto self = live(weak);
    if (!self) return;
    self->armed_ = false;
    self->expire();
    self->arm();
  });
}

void SimLogStorage::Port::give_up(Partition partition, std::map<std::uint64_t, Pending>::iterator record) {
  Lane& its_lane = lane(partition);
  const bool landed = storage->part(partition).landed.contains(Place{producer, record->first});
  storage->counters_.add("sometimes.append.unknown");
  if (landed) storage->counters_.add("sometimes.append.unknown_was_committed");
  if (record->second.fate == Fate::lost) storage->counters_.add("sometimes.append.unknown_was_lost");
  if (!landed) its_lane.given_up.insert(record->first);
  storage->world_.trace("log p=" + std::to_string(partition.value()) + " gave-up producer=" +
                        std::to_string(producer) + " n=" + std::to_string(record->first));
  // What never left the producer can never land, and a producer may know that.
  const bool certain =
      !record->second.sent &&
      storage->fault(On::not_written, storage->faults_.not_written_ppm, "fault.log.not_written");
  if (certain || mutant(Mutant::false_not_written)) {
    finish(its_lane, record, Error{Errc::unavailable, "the record was not sent within the time-out"});
    return;
  }
  finish(its_lane, record, Error{Errc::outcome_unknown, "no answer from the log within the time-out"});
}

void SimLogStorage::Port::expire() {
  bool any = false;
  for (std::uint32_t p = 0; p < lanes.size(); ++p) {
    Lane& its_lane = lanes[p];
    bool here = false;
    while (!its_lane.pending.empty() && its_lane.pending.begin()->second.deadline <= env.now()) {
      give_up(Partition{p}, its_lane.pending.begin());
      here = true;
    }
    if (!here) continue;
    any = true;
    ++its_lane.epoch;
    reconnect(Partition{p});
  }
  if (any && storage->fault(On::replaced, storage->faults_.replaced_ppm, "fault.log.producer_replaced"))
    replace_producer();
}

// As a process does that drops its client and makes another: nothing is known about what was in flight.
void SimLogStorage::Port::replace_producer() {
  for (std::uint32_t p = 0; p < lanes.size(); ++p) {
    Lane& its_lane = lanes[p];
    while (!its_lane.pending.empty()) give_up(Partition{p}, its_lane.pending.begin());
    its_lane.given_up.clear();
    its_lane.next_sequence = 1;
    its_lane.epoch = 0;
    its_lane.pipe = nullptr;
    its_lane.sent = 0;
  }
  producer = storage->next_producer_++;
}

Offset SimLogStorage::Port::view(Partition partition) const {
  const Offset end = storage->end(partition);
  const Lane& its_lane = lane(partition);
  return storage->world_.now() < its_lane.lag_until ? std::min(its_lane.lag_end, end) : end;
}

// ---- the port

SimLog::SimLog(Env& env, std::shared_ptr<SimLogStorage> storage)
    : port_(std::make_shared<SimLogStorage::Port>(env, std::move(storage))) {
  port_->storage->ports_.push_back(port_);
  port_->storage->lag_at_first(*port_);
}

SimLog::~SimLog() {
  port_->closed = true;
}

std::uint32_t SimLog::partitions() const {
  return port_->storage->partitions();
}

Result<Delivery> SimLog::append(Partition partition, std::string /*key*/, std::string bytes) {
  if (partition.value() >= partitions()) return no_such_partition(partition, partitions());
  if (bytes.size() > kRecordBytesMax) {
    return Error{Errc::resource_exhausted, "a record of " + std::to_string(bytes.size()) +
                                               " bytes is over the limit of " +
                                               std::to_string(kRecordBytesMax)};
  }
  if (port_->records_in_flight >= kRecordsInFlightMax ||
      port_->bytes_in_flight + bytes.size() > kBytesInFlightMax) {
    return Error{Errc::resource_exhausted, "too many records are in flight; try again later"};
  }
  return port_->append(partition, std::move(bytes));
}

Task<> SimLog::travel(std::shared_ptr<SimLogStorage::Port> port) {
  const std::uint64_t us =
      port->storage->spread_us(SimLogStorage::On::reading, port->storage->faults_.delay_us);
  if (us > 0) co_await sleep_for(port->env, microseconds{us});
  co_return ok();
}

// To the partition's leader. Errc::unavailable, after a moment, if there is no way.
Task<> SimLog::reach(std::shared_ptr<SimLogStorage::Port> port, Partition partition) {
  SimLogStorage& storage = *port->storage;
  if (port->cut || !storage.reachable(partition)) {
    co_await sleep_for(port->env, kUnreachable);
    co_return no_leader(partition);
  }
  if (storage.fault(SimLogStorage::On::read_error, storage.faults_.read_error_ppm, "fault.log.read_error"))
    co_return no_leader(partition);
  co_return ok();
}

Task<ReadBatch> SimLog::read(Partition partition, Offset from, ReadOptions options) {
  const auto port = port_;
  const auto storage = port->storage;
  if (partition.value() >= storage->partitions())
    co_return no_such_partition(partition, storage->partitions());
  ignore_error(co_await travel(port), "it only takes time");
  while (true) {
    const Status reached = co_await reach(port, partition);
    if (!reached) co_return reached.error();
    if (from > storage->end(partition)) co_return truncated(partition, storage->end(partition), from);
    if (from < port->view(partition) || port->env.now() >= options.wait_until) break;
    co_await port->lane(partition).grown.wait(port->env, options.wait_until);
  }
  if (storage->fault(SimLogStorage::On::short_batch, storage->faults_.short_batch_ppm,
                     "fault.log.short_batch"))
    options.records_max = 1 + storage->choose(SimLogStorage::On::short_batch, 3);
  const ReadBatch batch = batch_of(storage->records(partition), from, port->view(partition), options);
  ignore_error(co_await travel(port), "it only takes time");
  co_return batch;
}

Task<Offset> SimLog::end(Partition partition) {
  const auto port = port_;
  const auto storage = port->storage;
  if (partition.value() >= storage->partitions())
    co_return no_such_partition(partition, storage->partitions());
  ignore_error(co_await travel(port), "it only takes time");
  const Status reached = co_await reach(port, partition);
  if (!reached) co_return reached.error();
  const Offset end = storage->end(partition);
  ignore_error(co_await travel(port), "it only takes time");
  co_return end;
}

void SimLog::cut_off(bool cut) {
  if (port_->cut == cut) return;
  port_->cut = cut;
  if (cut) port_->storage->counters_.add("fault.log.cut_off");
  // Answers that were on their way are lost: what has none is sent again.
  if (!cut) {
    port_->post([](SimLogStorage::Port& port) {
      for (std::uint32_t p = 0; p < port.lanes.size(); ++p) port.reconnect(Partition{p});
    });
  }
}

}  // namespace varve::sim
