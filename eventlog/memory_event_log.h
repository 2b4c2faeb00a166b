// MemoryEventLog: the reference implementation of the log, and the base of the simulated one.
//
// MemoryLogStorage is the world: it outlives incarnations. A MemoryEventLog belongs to one of them: it
// accepts a record, lands it in a later step and reports it in a step after that, so that a crash can fall in
// between. What an incarnation has accepted and not landed when it ends is lost.
//
// Thread: one at a time, for the storage and all its logs.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "runtime/env.h"
#include "runtime/rng.h"

namespace varve {

class MemoryEventLog;

class MemoryLogStorage {
 public:
  struct Options {
    std::uint32_t partitions = kPartitionsDefault;
    std::uint64_t sparse = 0;  // Seed of gaps between offsets, as brokers leave them; 0 = none.
  };

  MemoryLogStorage() : MemoryLogStorage(Options{}) {}
  explicit MemoryLogStorage(Options options);

  std::uint32_t partitions() const { return static_cast<std::uint32_t>(parts_.size()); }
  // All records of a partition, for oracles.
  const std::vector<LogRecord>& records(Partition partition) const { return part(partition).records; }
  Offset end(Partition partition) const { return part(partition).end; }

  // Adds a record at the end and wakes waiting readers.
  Offset land(Partition partition, std::shared_ptr<const std::string> bytes);
  // What no good log does: forgets every record at `end` and behind it.
  void truncate(Partition partition, Offset end);

  // What happens to the next records that reach the storage, one entry each.
  enum class Fault : unsigned char { not_written, unknown_landed, unknown_lost };
  void fail_next(Fault fault) { faults_.push_back(fault); }

 private:
  friend class MemoryEventLog;
  struct Part {
    std::vector<LogRecord> records;  // Invariant: offsets increase and lie below `end`.
    Offset end;
    Rng gaps{0};
  };
  struct Port;

  const Part& part(Partition partition) const;
  Part& part(Partition partition);

  bool sparse_;
  std::vector<Part> parts_;
  std::deque<Fault> faults_;
  std::vector<std::weak_ptr<Port>> ports_;
};

class MemoryEventLog final : public EventLog {
 public:
  static constexpr std::size_t kRecordsInFlightMax = 8192;
  static constexpr std::size_t kBytesInFlightMax = std::size_t{64} << 20U;

  MemoryEventLog(Env& env, std::shared_ptr<MemoryLogStorage> storage);
  ~MemoryEventLog() override;

  std::uint32_t partitions() const override;
  Result<Delivery> append(Partition partition, std::string key, std::string bytes) override;
  Task<ReadBatch> read(Partition partition, Offset from, ReadOptions options) override;
  Task<Offset> end(Partition partition) override;

 private:
  std::shared_ptr<MemoryLogStorage::Port> port_;
};

}  // namespace varve
