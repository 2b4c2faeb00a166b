#include "eventlog/event_log.h"

#include "runtime/hash.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

Error not_the_same_log(Partition partition, const Mark& mark, const std::string& what) {
  return Error{Errc::corrupt, "the record " + to_string(LogPosition{partition, mark.offset}) +
                                  " that was read before " + what + ": the log was truncated or exchanged"};
}

}  // namespace

Result<std::shared_ptr<const Record>> decoded(const LogRecord& record) {
  if (record.decode && record.decode->result) return *record.decode->result;
  auto fresh = decode_record(*record.bytes);
  Result<std::shared_ptr<const Record>> result =
      fresh ? Result<std::shared_ptr<const Record>>{std::make_shared<const Record>(std::move(*fresh))}
            : Result<std::shared_ptr<const Record>>{fresh.error()};
  if (record.decode && record.decode->keep) record.decode->result = result;
  return result;
}

Error not_readable_yet() {
  return Error{Errc::unavailable, "the newest records cannot be read yet"};
}

Mark mark_of(const LogRecord& record) {
  return Mark{false, record.offset, xxh64(*record.bytes)};
}

Task<> check_mark(EventLog& log, Partition partition, Mark mark) {
  if (mark.none) co_return ok();
  ReadOptions one;
  one.records_max = 1;
  one.bytes_max = 1;
  const auto batch = co_await log.read(partition, mark.offset, one);
  if (!batch) co_return batch.error();
  if (batch->records.empty() && !mutant(Mutant::lagging_view_is_truncation)) {
    // A reader may see an older end than another one did; the log's end says whether there is a record at
    // all.
    const auto end = co_await log.end(partition);
    if (!end) co_return end.error();
    if (*end > mark.offset) co_return not_readable_yet();
  }
  if (batch->records.empty() || batch->records.front().offset != mark.offset) {
    co_return not_the_same_log(partition, mark, "is not there");
  }
  if (mark_of(batch->records.front()) != mark)
    co_return not_the_same_log(partition, mark, "is another one now");
  co_return ok();
}

}  // namespace varve
