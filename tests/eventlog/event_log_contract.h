// The exam that every EventLog takes; its questions are in event_log_contract.cpp. A test file names its
// implementation by a LogCase and instantiates EventLogContract; how the implementation fails (full disk,
// kill, lost connection) is tested in its own file.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "eventlog/record.h"
#include "runtime/real_env.h"
#include "tests/support/run.h"

namespace varve::test {

// What outlives a log object: a directory, a storage, a topic.
class LogWorld {
 public:
  virtual ~LogWorld() = default;
  // A log of 4 partitions; called again after the log before was destroyed.
  virtual std::unique_ptr<EventLog> open(Env& env) = 0;
};

struct LogCase {
  std::string name;
  std::function<std::unique_ptr<LogWorld>()> make_world;

  friend std::ostream& operator<<(std::ostream& out, const LogCase& log_case) { return out << log_case.name; }
};

inline Task<ReadBatch> read_once(EventLog* log, Partition partition, Offset from, ReadOptions options) {
  co_return co_await log->read(partition, from, options);
}

inline Task<Offset> read_end(EventLog* log, Partition partition) {
  co_return co_await log->end(partition);
}

inline Task<Offset> outcome_of(Env* env, Delivery delivery) {
  const MonoTime deadline = env->now() + std::chrono::seconds(20);
  co_return co_await delivery->get(*env, deadline);
}

// Everything behind `from`, batch by batch, the way a worker reads.
inline Task<std::vector<LogRecord>> read_to_end(EventLog* log, Partition partition, Offset from) {
  std::vector<LogRecord> records;
  while (true) {
    ReadOptions options;
    options.records_max = 100;
    const auto batch = co_await log->read(partition, from, options);
    if (!batch) co_return batch.error();
    if (batch->records.empty()) co_return records;
    records.insert(records.end(), batch->records.begin(), batch->records.end());
    from = batch->next;
  }
}

inline std::string text_of(const std::vector<LogRecord>& records) {
  std::string text;
  for (const LogRecord& record : records) text += (text.empty() ? "" : " ") + *record.bytes;
  return text;
}

class EventLogContract : public ::testing::TestWithParam<LogCase> {
 protected:
  static constexpr Partition kHere{1};
  static constexpr Partition kThere{2};

  void SetUp() override {
    world_ = GetParam().make_world();
    open();
  }
  void TearDown() override { close(); }

  void open() {
    env_ = std::make_unique<RealEnv>();
    log_ = world_->open(*env_);
    ASSERT_NE(log_, nullptr);
  }
  void close() {
    if (env_) env_->shut_down();
    log_ = nullptr;
    env_ = nullptr;
  }
  void reopen() {
    close();
    open();
  }

  Delivery hand_over(Partition partition, std::string bytes) {
    auto delivery = log_->append(partition, "agent-1", std::move(bytes));
    EXPECT_TRUE(delivery) << to_string(delivery ? Error{} : delivery.error());
    return delivery ? *delivery : nullptr;
  }
  // The offset at which `bytes` were written.
  Offset write(Partition partition, std::string bytes) {
    const Delivery delivery = hand_over(partition, std::move(bytes));
    if (!delivery) return Offset{};
    const auto offset = run(*env_, outcome_of(env_.get(), delivery));
    EXPECT_TRUE(offset) << to_string(offset ? Error{} : offset.error());
    return offset ? *offset : Offset{};
  }
  // The records' bytes, or the error's code.
  std::string read(Partition partition, Offset from, ReadOptions options = {}) {
    const auto batch = run(*env_, read_once(log_.get(), partition, from, options));
    return batch ? text_of(batch->records) : to_string(batch.error().code);
  }
  std::string read_all(Partition partition, Offset from = Offset{}) {
    const auto records = run(*env_, read_to_end(log_.get(), partition, from));
    return records ? text_of(*records) : to_string(records.error().code);
  }
  Offset end(Partition partition) {
    const auto offset = run(*env_, read_end(log_.get(), partition));
    EXPECT_TRUE(offset);
    return offset ? *offset : Offset{};
  }
  std::string check(Partition partition, Mark mark) {
    const Status status = run(*env_, check_mark(*log_, partition, mark));
    return status ? "ok" : to_string(status.error());
  }

  std::unique_ptr<LogWorld> world_;
  std::unique_ptr<RealEnv> env_;
  std::unique_ptr<EventLog> log_;
};

}  // namespace varve::test
