#include "eventlog/kafka_tail.h"

#include <algorithm>

namespace varve::kafka {

void Tail::restart(Offset at) {
  records_.clear();
  bytes_ = 0;
  begin_ = at;
  end_ = at;
}

void Tail::add(LogRecord record) {
  bytes_ += record.bytes->size();
  end_ = next(record.offset);
  records_.push_back(std::move(record));
  if (records_.size() > kDecodedMax) {
    DecodeOnce& old = *records_[records_.size() - 1 - kDecodedMax].decode;
    old.result.reset();
    old.keep = false;
  }
  while (records_.size() > 1 && (records_.size() > records_max_ || bytes_ > bytes_max_)) {
    begin_ = next(records_.front().offset);
    bytes_ -= records_.front().bytes->size();
    records_.pop_front();
  }
}

ReadBatch Tail::read(Offset from, const ReadOptions& options) const {
  ReadBatch batch{{}, end_};
  std::size_t bytes = 0;
  auto record = std::lower_bound(records_.begin(), records_.end(), from,
                                 [](const LogRecord& each, Offset offset) { return each.offset < offset; });
  for (; record != records_.end(); ++record) {
    if (!batch.records.empty() &&
        (batch.records.size() >= options.records_max || bytes >= options.bytes_max)) {
      batch.next = next(batch.records.back().offset);
      break;
    }
    bytes += record->bytes->size();
    batch.records.push_back(*record);
  }
  return batch;
}

}  // namespace varve::kafka
