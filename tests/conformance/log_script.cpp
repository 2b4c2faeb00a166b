// log_script: a random script of appends, reads and ends, run on one log, and what came of each as JSON. The
// same script runs on the simulated Kafka and on the real one; log_conformance_test.py compares.
//
//   log_script sim SEED OPERATIONS                          every fault of the simulated log at some rate
//   log_script kafka SEED OPERATIONS BROKERS TOPIC          prints "running" when it begins
//
// Prints one object: {"operations":[..],"final":[[[offset,"id"],..] of each partition]} (sim: what the
// brokers have; kafka: what this log reads at the end). An operation has "begun" and "ended", places in one
// order of everything that this process saw.
#include <charconv>
#include <cstdio>
#include <iostream>
#include <string>

#include "eventlog/kafka_event_log.h"
#include "runtime/json.h"
#include "runtime/real_env.h"
#include "sim/sim_log.h"

namespace varve {
namespace {

constexpr std::uint32_t kPartitions = 2;
constexpr std::uint64_t kRecordBytesAbout = 2000;
constexpr std::chrono::seconds kSettleTime{90};

// "17:xxxx": an id and something to carry.
std::string id_of(const std::string& bytes) {
  return bytes.substr(0, bytes.find(':'));
}

class Script {
 public:
  // `pause_us`: how long it rests at most between two operations.
  Script(Env& env, EventLog& log, std::uint64_t seed, std::uint64_t operations, std::uint64_t pause_us)
      : env_(env), log_(log), rng_(seed), left_(operations), pause_us_(pause_us) {}

  // Ends when the outcome of everything is known.
  Task<> run() {
    while (left_-- > 0) {
      const std::uint64_t what = rng_.below(10);
      const Partition partition{static_cast<std::uint32_t>(rng_.below(kPartitions))};
      if (what < 6) {
        for (std::uint64_t burst = rng_.below(4) + 1; burst > 0; --burst) append(partition);
      } else if (what < 9) {
        ignore_error(co_await read(partition), "its outcome is in the operation");
      } else {
        ignore_error(co_await end(partition), "its outcome is in the operation");
      }
      co_await sleep_for(env_, std::chrono::microseconds{rng_.below(pause_us_) + 1});
    }
    const MonoTime deadline = env_.now() + kSettleTime;
    while (open_ > 0 && env_.now() < deadline) co_await settled_.wait(env_, deadline);
    co_return ok();
  }

  Json result() {
    Json operations = Json::array();
    for (Json& operation : operations_) operations.push_back(std::move(operation));
    return operations;
  }

 private:
  std::size_t begin(const char* what, Partition partition) {
    Json operation = Json::object();
    operation.set("what", Json::string(what));
    operation.set("partition", Json::integer(partition.value()));
    operation.set("begun", Json::integer(clock_++));
    operations_.push_back(std::move(operation));
    return operations_.size() - 1;
  }
  void finish(std::size_t operation, const std::string& outcome) {
    operations_[operation].set("outcome", Json::string(outcome));
    operations_[operation].set("ended", Json::integer(clock_++));
  }

  void append(Partition partition) {
    const std::size_t operation = begin("append", partition);
    const std::string id = std::to_string(operation);
    operations_[operation].set("id", Json::string(id));
    auto delivery =
        log_.append(partition, "agent-1", id + ":" + std::string(rng_.below(kRecordBytesAbout), 'x'));
    if (!delivery) return finish(operation, "refused " + std::string(to_string(delivery.error().code)));
    ++open_;
    env_.spawn("delivery", deliver(operation, *delivery));
  }
  Task<> deliver(std::size_t operation, Delivery delivery) {
    const auto offset = co_await delivery->get(env_, env_.now() + kSettleTime);
    if (offset)
      operations_[operation].set("offset", Json::integer(static_cast<std::int64_t>(offset->value())));
    finish(operation, offset ? "written" : to_string(offset.error().code));
    --open_;
    settled_.notify_all();
    co_return ok();
  }

  Task<> read(Partition partition) {
    // Where it has been before, or on from there.
    Offset& next = next_[partition.value()];
    const Offset from{rng_.below(3) == 0 ? rng_.below(next.value() + 1) : next.value()};
    const std::size_t operation = begin("read", partition);
    operations_[operation].set("from", Json::integer(static_cast<std::int64_t>(from.value())));
    ReadOptions options;
    options.records_max = rng_.below(50) + 1;
    options.wait_until = env_.now() + std::chrono::milliseconds{rng_.below(20)};
    auto batch = co_await log_.read(partition, from, options);
    if (!batch) {
      finish(operation, to_string(batch.error().code));
      co_return ok();
    }
    Json records = Json::array();
    for (const LogRecord& record : batch->records) {
      Json pair = Json::array();
      pair.push_back(Json::integer(static_cast<std::int64_t>(record.offset.value())));
      pair.push_back(Json::string(id_of(*record.bytes)));
      records.push_back(std::move(pair));
    }
    operations_[operation].set("records", std::move(records));
    operations_[operation].set("next", Json::integer(static_cast<std::int64_t>(batch->next.value())));
    next = std::max(next, batch->next);
    finish(operation, "read");
    co_return ok();
  }

  Task<> end(Partition partition) {
    const std::size_t operation = begin("end", partition);
    const auto offset = co_await log_.end(partition);
    if (offset)
      operations_[operation].set("offset", Json::integer(static_cast<std::int64_t>(offset->value())));
    finish(operation, offset ? "end" : to_string(offset.error().code));
    co_return ok();
  }

  Env& env_;
  EventLog& log_;
  Rng rng_;
  std::uint64_t left_;
  std::uint64_t pause_us_;
  std::vector<Json> operations_;
  std::int64_t clock_ = 0;
  std::size_t open_ = 0;
  Notifier settled_;
  Offset next_[kPartitions];
};

Json final_of(const std::vector<std::vector<LogRecord>>& partitions) {
  Json all = Json::array();
  for (const auto& records : partitions) {
    Json list = Json::array();
    for (const LogRecord& record : records) {
      Json pair = Json::array();
      pair.push_back(Json::integer(static_cast<std::int64_t>(record.offset.value())));
      pair.push_back(Json::string(id_of(*record.bytes)));
      list.push_back(std::move(pair));
    }
    all.push_back(std::move(list));
  }
  return all;
}

void print(Json operations, const std::vector<std::vector<LogRecord>>& partitions) {
  Json all = Json::object();
  all.set("operations", std::move(operations));
  all.set("final", final_of(partitions));
  std::cout << all.dump() << "\n";
}

// ---- the simulated log

sim::SimLogStorage::Faults faults_of(Rng& rng) {
  const auto rate = [&rng](std::uint32_t most) {
    return rng.below(2) == 0 ? 0U : static_cast<std::uint32_t>(rng.below(most));
  };
  sim::SimLogStorage::Faults faults;
  faults.delay_us = rate(20'000);
  faults.refused_ppm = rate(30'000);
  faults.lost_ppm = rate(30'000);
  faults.not_written_ppm = rate(300'000);
  faults.late_ppm = rate(30'000);
  faults.lost_ack_ppm = rate(30'000);
  faults.reset_ppm = rate(50'000);
  faults.few_replicas_ppm = rate(20'000);
  faults.stall_ppm = rate(20'000);
  faults.leader_change_ppm = rate(20'000);
  faults.replaced_ppm = rate(1'000'000);
  faults.lag_ppm = rate(30'000);
  faults.read_error_ppm = rate(30'000);
  faults.short_batch_ppm = rate(100'000);
  return faults;
}

Task<> mark_done(Script* script, bool* done) {
  Status status = co_await script->run();
  *done = true;
  co_return status;
}

int run_simulated(std::uint64_t seed, std::uint64_t operations) {
  sim::Scheduler scheduler(seed);
  sim::SimEnv world(scheduler, "world", 1);
  sim::Counters counters;
  const auto storage = std::make_shared<sim::SimLogStorage>(
      scheduler, world, counters,
      sim::SimLogStorage::Options{.partitions = kPartitions, .sparse = seed % 2 == 1});
  Rng rng(seed);
  storage->set_faults(faults_of(rng));
  sim::SimEnv env(scheduler, "node", 1);
  sim::SimLog log(env, storage);
  Script script(env, log, seed, operations, 20'000);
  bool done = false;
  env.spawn("script", mark_done(&script, &done));
  while (!done && scheduler.step()) {
  }
  // What is late still comes.
  storage->heal();
  const MonoTime rested = scheduler.now() + std::chrono::minutes{5};
  while (scheduler.now() < rested && scheduler.step()) {
  }
  std::vector<std::vector<LogRecord>> partitions;
  for (std::uint32_t number = 0; number < kPartitions; ++number)
    partitions.push_back(storage->records(Partition{number}));
  print(script.result(), partitions);
  env.kill();
  return done ? 0 : 1;
}

// ---- the real one

Task<> read_all(Env* env, EventLog* log, std::vector<std::vector<LogRecord>>* partitions) {
  for (std::uint32_t number = 0; number < kPartitions; ++number) {
    partitions->emplace_back();
    const MonoTime deadline = env->now() + kSettleTime;
    Result<Offset> end = co_await log->end(Partition{number});
    while (!end && env->now() < deadline) {
      co_await sleep_for(*env, std::chrono::milliseconds{100});
      end = co_await log->end(Partition{number});
    }
    if (!end) co_return end.error();
    Offset at{0};
    while (at < *end) {
      ReadOptions options;
      options.wait_until = env->now() + std::chrono::seconds{1};
      auto batch = co_await log->read(Partition{number}, at, options);
      if (!batch && (batch.error().code != Errc::unavailable || env->now() >= deadline))
        co_return batch.error();
      if (!batch) continue;
      at = batch->next;
      for (LogRecord& record : batch->records) partitions->back().push_back(std::move(record));
    }
  }
  co_return ok();
}

Task<> run_kafka_script(RealEnv* env, EventLog* log, Script* script,
                        std::vector<std::vector<LogRecord>>* partitions, int* exit_code) {
  ignore_error(co_await script->run(), "outcomes are in its result");
  const Status read = co_await read_all(env, log, partitions);
  if (!read) std::cerr << "log_script: " << read.error().message << "\n";
  *exit_code = read ? 0 : 1;
  env->stop();
  co_return ok();
}

int run_kafka(std::uint64_t seed, std::uint64_t operations, const std::string& brokers,
              const std::string& topic) {
  RealEnv env;
  KafkaEventLog::Options options;
  options.connection.brokers = brokers;
  options.topic = topic;
  options.partitions = kPartitions;
  auto log = KafkaEventLog::open(env, std::move(options));
  if (!log) {
    std::cerr << "log_script: " << log.error().message << "\n";
    return 1;
  }
  std::cout << "running" << std::endl;
  Script script(env, **log, seed, operations, 40'000);
  std::vector<std::vector<LogRecord>> partitions;
  int exit_code = 1;
  env.spawn("script", run_kafka_script(&env, log->get(), &script, &partitions, &exit_code));
  env.run();
  print(script.result(), partitions);
  env.shut_down();
  return exit_code;
}

std::uint64_t number(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace
}  // namespace varve

int main(int count, char** values) {
  const std::vector<std::string> words(values + 1, values + count);
  if (words.size() == 3 && words[0] == "sim")
    return varve::run_simulated(varve::number(words[1]), varve::number(words[2]));
  if (words.size() == 5 && words[0] == "kafka")
    return varve::run_kafka(varve::number(words[1]), varve::number(words[2]), words[3], words[4]);
  std::cerr << "log_script sim SEED OPERATIONS | log_script kafka SEED OPERATIONS BROKERS TOPIC\n";
  return 2;
}
