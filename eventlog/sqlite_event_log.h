// SqliteEventLog: the embedded log, one file in a directory that one server owns. SqliteLogReader: the same
// file for reading, also from another process, whether a server runs or not.
//
// Promises: a record is shown to readers after its transaction was synced. Appends made while one transaction
// is being written share the next one. Offsets are dense from 0; a missing one, or a record that fails its
// checksum, is named and never skipped. An error before COMMIT is "not written", one of COMMIT itself
// "unknown". Never: a second writer (the lock file refuses it), a wait for the disk on the Env's thread after
// open().
//
// The Env must outlive its use of the log, but may be shut down before or after the log is destroyed.
#pragma once

#include <memory>
#include <string>

#include "eventlog/event_log.h"
#include "runtime/env.h"

namespace varve {

namespace sqlite {
class LogFiles;
}

class SqliteEventLog final : public EventLog {
 public:
  struct Options {
    std::string directory;
    std::uint32_t partitions = kPartitionsDefault;
    std::shared_ptr<sqlite::LogFiles> files = nullptr;  // Null: those of the operating system.
  };

  // In flight: handed to append(), outcome not known yet.
  static constexpr std::size_t kRecordsInFlightMax = 8192;
  static constexpr std::size_t kBytesInFlightMax = std::size_t{64} << 20U;
  // The newest records of each partition stay in memory: owners and projections read there.
  static constexpr std::size_t kTailRecordsMax = 4096;
  static constexpr std::size_t kTailBytesMax = std::size_t{16} << 20U;

  // Blocks. Errc::conflict if another server holds the directory, Errc::invalid_argument if the log was made
  // with another number of partitions or by a newer program.
  static Result<std::unique_ptr<SqliteEventLog>> open(Env& env, Options options);
  ~SqliteEventLog() override;

  std::uint32_t partitions() const override;
  Result<Delivery> append(Partition partition, std::string key, std::string bytes) override;
  Task<ReadBatch> read(Partition partition, Offset from, ReadOptions options) override;
  Task<Offset> end(Partition partition) override;
  InFlight in_flight() const override;

 private:
  struct Impl;
  explicit SqliteEventLog(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

class SqliteLogReader final : public EventLog {
 public:
  // Blocks. Errc::not_found if there is no log in `directory`.
  static Result<std::unique_ptr<SqliteLogReader>> open(Env& env, std::string directory);
  ~SqliteLogReader() override;

  std::uint32_t partitions() const override;
  // Refuses: Errc::unavailable.
  Result<Delivery> append(Partition partition, std::string key, std::string bytes) override;
  // Waits at the end by looking again every 20 ms.
  Task<ReadBatch> read(Partition partition, Offset from, ReadOptions options) override;
  Task<Offset> end(Partition partition) override;

 private:
  struct Impl;
  explicit SqliteLogReader(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace varve
