// EventLog: the log, read by partition and never by stream. Every implementation passes
// tests/eventlog/event_log_contract.h.
//
// Promises (rules 1 and 2 of the model):
// - A record is visible to a reader only once it is durable; what was read never changes or disappears; an
// offset
//   is never reused. Offsets of a partition increase and may have gaps.
// - append() that returns an error has written nothing and never will. Its Delivery ends in one of three
// ways:
//   the offset (written), Errc::unavailable (certainly not written) or Errc::outcome_unknown.
// - Appends to one partition by one EventLog land in the order in which they were made.
//
// Thread: the one of the Env it was made with.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/record.h"
#include "runtime/sync.h"
#include "runtime/task.h"

namespace varve {

// Only says how long to wait: a command is answered when its record is read back (rule 10).
using Delivery = std::shared_ptr<OneShot<Offset>>;

// What a record decodes to, once for all its readers of one process: the owner and the projection read the
// same newest records. The log lets go of it when the record is not among the newest any more.
struct DecodeOnce {
  std::optional<Result<std::shared_ptr<const Record>>> result;
  bool keep = true;
};

struct LogRecord {
  Offset offset;
  std::shared_ptr<const std::string> bytes;
  std::shared_ptr<DecodeOnce> decode = std::make_shared<DecodeOnce>();
};
// As decode_record().
Result<std::shared_ptr<const Record>> decoded(const LogRecord& record);

struct ReadOptions {
  std::size_t records_max = 1024;
  std::size_t bytes_max = std::size_t{4} << 20U;  // Exceeded by one record at most.
  MonoTime wait_until{};  // At the end of the log: when to come back empty-handed; the past = at once.
};

struct ReadBatch {
  std::vector<LogRecord> records;
  Offset next;  // Where to go on.
};

class EventLog {
 public:
  EventLog() = default;
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;
  virtual ~EventLog() = default;

  // Fixed when the log is made.
  virtual std::uint32_t partitions() const = 0;

  // Hands the record to the transport. `key` is the first stream's id (claims: empty).
  // Errc::resource_exhausted over kRecordBytesMax or when too much is in flight, Errc::unavailable when the
  // transport refuses: nothing was written.
  virtual Result<Delivery> append(Partition partition, std::string key, std::string bytes) = 0;

  // The records at `from` or behind it, in order. Errc::corrupt names the offset of a record that fails its
  // checksum, or says that `from` lies beyond the end (the log was truncated). Errc::unavailable: try again.
  virtual Task<ReadBatch> read(Partition partition, Offset from, ReadOptions options) = 0;

  // An offset behind every record that any reader has seen.
  virtual Task<Offset> end(Partition partition) = 0;

  // Records handed to append() whose outcome is open, for metrics; zero where nobody counts them.
  struct InFlight {
    std::uint64_t records = 0;
    std::uint64_t bytes = 0;
  };
  virtual InFlight in_flight() const { return {}; }
};

// A read came back empty-handed before an end that is known: a reader may see an older end than another one
// did. Errc::unavailable; it is never the end of the log.
Error not_readable_yet();

// The mark of a record.
Mark mark_of(const LogRecord& record);
// Re-reads the mark's record. Errc::corrupt if another one is there, or none: the log was truncated or
// exchanged.
Task<> check_mark(EventLog& log, Partition partition, Mark mark);

}  // namespace varve
