#include "eventlog/log_copy.h"

namespace varve {
namespace {

// For one record to be reported; a transport gives up before that.
constexpr std::chrono::seconds kDeliveryTime{60};
// A read at the end of the target's own records, which it has told of but may not have fetched yet.
constexpr std::chrono::seconds kReadTime{10};

std::string place(Partition partition, Offset offset) {
  return to_string(LogPosition{partition, offset});
}

Error other_there(Partition partition, Offset offset, const std::string& why) {
  return Error{Errc::conflict, "the target is no copy of this log: at " + place(partition, offset) + " " +
                                   why + "; copy into an empty log"};
}

class PartitionCopy {
 public:
  PartitionCopy(Env& env, EventLog& from, EventLog& to, Partition partition)
      : env_(env), from_(from), to_(to), partition_(partition) {}

  Task<CopiedPartition> run(CopyProgress progress) {
    const auto end = co_await from_.end(partition_);
    if (!end) co_return end.error();
    auto there = co_await to_.end(partition_);
    if (!there) co_return there.error();
    target_end_ = *there;
    Offset at{0};
    while (at < *end) {
      ReadOptions options;
      options.records_max = kCopyRecordsMax;
      options.bytes_max = kCopyBytesMax;
      auto batch = co_await from_.read(partition_, at, options);
      if (!batch) co_return batch.error();
      // Appended to after all: what came later is not this copy's.
      while (!batch->records.empty() && batch->records.back().offset >= *end) batch->records.pop_back();
      std::vector<LogRecord> records = std::move(batch->records);
      at = std::max(batch->next, at);
      if (Status taken = co_await take(std::move(records)); !taken) co_return taken.error();
      if (progress) progress(partition_, done_);
    }
    if (target_end_ > *end) co_return other_there(partition_, *end, "it goes on, where the original ends");
    co_return done_;
  }

 private:
  // Compares what is there, and appends what is not.
  Task<> take(std::vector<LogRecord> records) {
    std::vector<LogRecord> missing;
    for (const LogRecord& record : records) {
      if (record.offset >= target_end_) {
        missing.push_back(record);
        continue;
      }
      if (Status same = co_await compare(record); !same) co_return same;
    }
    co_return co_await append(std::move(missing));
  }

  Task<> compare(LogRecord record) {
    while (ahead_.empty() || ahead_.back().offset < record.offset) {
      ahead_.clear();
      ReadOptions options;
      options.records_max = kCopyRecordsMax;
      options.wait_until = env_.now() + kReadTime;
      auto batch = co_await to_.read(partition_, record.offset, options);
      if (!batch) co_return batch.error();
      if (batch->records.empty()) {
        co_return Error{Errc::unavailable,
                        "the target does not show its record at " + place(partition_, record.offset)};
      }
      ahead_ = std::move(batch->records);
    }
    for (const LogRecord& there : ahead_) {
      if (there.offset != record.offset) continue;
      if (*there.bytes != *record.bytes)
        co_return other_there(partition_, record.offset, "there is another record");
      ++done_.compared;
      co_return ok();
    }
    co_return other_there(partition_, record.offset, "there is no record");
  }

  Task<> append(std::vector<LogRecord> records) {
    std::vector<Delivery> deliveries;
    for (const LogRecord& record : records) {
      // Its key is only where a broker would put it, and the partition is named.
      auto delivery = to_.append(partition_, "", *record.bytes);
      if (!delivery) co_return delivery.error();
      deliveries.push_back(*delivery);
    }
    for (std::size_t i = 0; i < records.size(); ++i) {
      const auto landed = co_await deliveries[i]->get(env_, env_.now() + kDeliveryTime);
      if (!landed) co_return landed.error();
      if (*landed != records[i].offset) {
        co_return Error{Errc::conflict, "the record at " + place(partition_, records[i].offset) +
                                            " came to offset " + std::to_string(landed->value()) +
                                            " in the target: the original has a gap there, or the target is "
                                            "written to by somebody else; copy into an empty log"};
      }
      ++done_.copied;
      done_.bytes += records[i].bytes->size();
      target_end_ = Offset{landed->value() + 1};
    }
    co_return ok();
  }

  Env& env_;
  EventLog& from_;
  EventLog& to_;
  Partition partition_;
  Offset target_end_;
  std::vector<LogRecord> ahead_;  // Of the target, to be compared.
  CopiedPartition done_;
};

}  // namespace

Task<CopiedPartition> copy_partition(Env& env, EventLog& from, EventLog& to, Partition partition,
                                     CopyProgress progress) {
  if (from.partitions() != to.partitions()) {
    co_return Error{Errc::invalid_argument, "the log has " + std::to_string(from.partitions()) +
                                                " partitions, the target " + std::to_string(to.partitions()) +
                                                ": they must be as many"};
  }
  PartitionCopy copy(env, from, to, partition);
  co_return co_await copy.run(std::move(progress));
}

}  // namespace varve
