// SentRecord: a record as it was handed to the log, kept until it is read back. Whoever reads byte for byte
// what was sent need not decode it once more: the value is here.
//
// Promises: as() gives what decode_record() would give for these bytes, and gives nothing where that is not
// certain: other bytes, opaque JSON that the parser would print in another way, text that it would refuse, an
// event that only reading completes. Then decode. Never: a word on whether the record counts; that is judged
// by what was read. Pure.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "eventlog/event_log.h"
#include "eventlog/record.h"

namespace varve {

class SentRecord {
 public:
  // Errc::resource_exhausted over kRecordBytesMax.
  static Result<SentRecord> of(Commit commit);

  const std::string& bytes() const { return *bytes_; }
  std::shared_ptr<const Commit> commit() const { return {record_, &std::get<Commit>(*record_)}; }
  // The value, if `bytes` were sent and decode to it; else null.
  std::shared_ptr<const Record> as(std::string_view bytes) const;

 private:
  SentRecord(std::shared_ptr<const Record> record, std::shared_ptr<const std::string> bytes)
      : record_(std::move(record)), bytes_(std::move(bytes)) {}

  std::shared_ptr<const Record> record_;
  std::shared_ptr<const std::string> bytes_;
};

// As decoded(record), without decoding if `sent` was read. The log's other readers of this process share it.
Result<std::shared_ptr<const Record>> decoded_as(const LogRecord& record, const SentRecord& sent);

}  // namespace varve
