#include "eventlog/memory_event_log.h"

#include <algorithm>

#include "eventlog/record.h"
#include "runtime/check.h"

namespace varve {
namespace {

Error no_such_partition(Partition partition, std::uint32_t partitions) {
  return Error{Errc::invalid_argument, "the log has partitions 0 to " + std::to_string(partitions - 1) +
                                           ", not " + std::to_string(partition.value())};
}

std::vector<LogRecord>::const_iterator first_at(const std::vector<LogRecord>& records, Offset from) {
  return std::lower_bound(records.begin(), records.end(), from,
                          [](const LogRecord& record, Offset offset) { return record.offset < offset; });
}

}  // namespace

// What a log shares with the steps that it posted: they find it gone when its incarnation is.
struct MemoryLogStorage::Port : std::enable_shared_from_this<Port> {
  struct Accepted {
    Partition partition;
    std::shared_ptr<const std::string> bytes;
    Delivery delivery;
  };

  Port(Env& its_env, std::shared_ptr<MemoryLogStorage> its_storage)
      : env(its_env), storage(std::move(its_storage)), grown(storage->partitions()) {}

  void post(void (Port::*step)()) {
    env.post([weak = weak_from_this(), step] {
      if (const auto self = weak.lock()) ((*self).*step)();
    });
  }
  void land_first();
  void report_first();

  Env& env;
  std::shared_ptr<MemoryLogStorage> storage;
  std::vector<Notifier> grown;  // By partition.
  // Queues, because posted steps may run in any order, but records land in the order of their appends.
  std::deque<Accepted> accepted;
  std::deque<std::pair<Delivery, Result<Offset>>> landed;
  std::size_t records_in_flight = 0;
  std::size_t bytes_in_flight = 0;
};

void MemoryLogStorage::Port::land_first() {
  Accepted record = std::move(accepted.front());
  accepted.pop_front();
  --records_in_flight;
  bytes_in_flight -= record.bytes->size();

  Result<Offset> outcome = Error{Errc::outcome_unknown, "the outcome of the append is not known"};
  if (storage->faults_.empty()) {
    outcome = storage->land(record.partition, std::move(record.bytes));
  } else {
    const Fault fault = storage->faults_.front();
    storage->faults_.pop_front();
    if (fault == Fault::not_written) outcome = Error{Errc::unavailable, "the record was not written"};
    if (fault == Fault::unknown_landed) storage->land(record.partition, std::move(record.bytes));
  }
  landed.emplace_back(std::move(record.delivery), std::move(outcome));
  post(&Port::report_first);
}

void MemoryLogStorage::Port::report_first() {
  auto [delivery, outcome] = std::move(landed.front());
  landed.pop_front();
  delivery->set(std::move(outcome));
}

MemoryLogStorage::MemoryLogStorage(Options options) : sparse_(options.sparse != 0) {
  CHECK(options.partitions > 0 && options.partitions <= kPartitionsMax);
  Rng rng(options.sparse);
  parts_.resize(options.partitions);
  for (Part& part : parts_) part.gaps = Rng(rng.u64());
}

const MemoryLogStorage::Part& MemoryLogStorage::part(Partition partition) const {
  CHECK(partition.value() < parts_.size());
  return parts_[partition.value()];
}

MemoryLogStorage::Part& MemoryLogStorage::part(Partition partition) {
  CHECK(partition.value() < parts_.size());
  return parts_[partition.value()];
}

Offset MemoryLogStorage::land(Partition partition, std::shared_ptr<const std::string> bytes) {
  Part& its_part = part(partition);
  const std::uint64_t gap = sparse_ && its_part.gaps.chance(1, 2) ? its_part.gaps.between(1, 5) : 0;
  const Offset offset{its_part.end.value() + gap};
  its_part.records.push_back({offset, std::move(bytes)});
  its_part.end = next(offset);
  std::erase_if(ports_, [](const std::weak_ptr<Port>& port) { return port.expired(); });
  for (const auto& weak : ports_) {
    if (const auto port = weak.lock()) port->grown[partition.value()].notify_all();
  }
  return offset;
}

void MemoryLogStorage::truncate(Partition partition, Offset end) {
  Part& its_part = part(partition);
  its_part.records.erase(first_at(its_part.records, end), its_part.records.end());
  its_part.end = std::min(its_part.end, end);
}

MemoryEventLog::MemoryEventLog(Env& env, std::shared_ptr<MemoryLogStorage> storage)
    : port_(std::make_shared<MemoryLogStorage::Port>(env, std::move(storage))) {
  port_->storage->ports_.push_back(port_);
}

MemoryEventLog::~MemoryEventLog() = default;

std::uint32_t MemoryEventLog::partitions() const {
  return port_->storage->partitions();
}

Result<Delivery> MemoryEventLog::append(Partition partition, std::string /*key*/, std::string bytes) {
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
  ++port_->records_in_flight;
  port_->bytes_in_flight += bytes.size();
  auto delivery = std::make_shared<OneShot<Offset>>();
  port_->accepted.push_back({partition, std::make_shared<const std::string>(std::move(bytes)), delivery});
  port_->post(&MemoryLogStorage::Port::land_first);
  return delivery;
}

Task<ReadBatch> MemoryEventLog::read(Partition partition, Offset from, ReadOptions options) {
  const auto port = port_;
  const auto storage = port->storage;
  if (partition.value() >= storage->partitions())
    co_return no_such_partition(partition, storage->partitions());
  while (from == storage->end(partition) && port->env.now() < options.wait_until) {
    co_await port->grown[partition.value()].wait(port->env, options.wait_until);
  }
  const Offset end = storage->end(partition);
  if (from > end) {
    co_return Error{Errc::corrupt, "the log of partition " + std::to_string(partition.value()) + " ends at " +
                                       std::to_string(end.value()) + ", a reader wants " +
                                       std::to_string(from.value()) + ": it was truncated or exchanged"};
  }
  ReadBatch batch{{}, from};
  std::size_t bytes = 0;
  const auto& records = storage->records(partition);
  for (auto i = first_at(records, from); i != records.end(); ++i) {
    if (!batch.records.empty() && (batch.records.size() >= options.records_max || bytes >= options.bytes_max))
      break;
    bytes += i->bytes->size();
    batch.records.push_back(*i);
    batch.next = next(i->offset);
  }
  co_return batch;
}

Task<Offset> MemoryEventLog::end(Partition partition) {
  const auto storage = port_->storage;
  if (partition.value() >= storage->partitions())
    co_return no_such_partition(partition, storage->partitions());
  co_return storage->end(partition);
}

}  // namespace varve
