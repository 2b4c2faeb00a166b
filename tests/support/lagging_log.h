// A log whose reader lags, as a follower after a change of leader: the end that others have seen is known,
// and from an offset on nothing of it is visible here yet.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "eventlog/event_log.h"

namespace varve::test {

class LaggingLog final : public EventLog {
 public:
  explicit LaggingLog(EventLog& log, Offset visible = {}) : log_(log), visible_(visible) {}
  std::uint32_t partitions() const override { return log_.partitions(); }
  Result<Delivery> append(Partition partition, std::string key, std::string bytes) override {
    return log_.append(partition, std::move(key), std::move(bytes));
  }
  Task<ReadBatch> read(Partition partition, Offset from, ReadOptions options) override {
    if (from >= visible_) co_return ReadBatch{{}, from};
    auto batch = co_await log_.read(partition, from, options);
    if (!batch) co_return batch.error();
    std::erase_if(batch->records, [this](const LogRecord& record) { return record.offset >= visible_; });
    batch->next = std::min(batch->next, visible_);
    co_return batch;
  }
  Task<Offset> end(Partition partition) override { return log_.end(partition); }

 private:
  EventLog& log_;
  Offset visible_;
};

}  // namespace varve::test
