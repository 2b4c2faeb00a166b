// The loops that varve-bench-kafka compares: librdkafka's producer alone, and the Kafka log without actors.
// Same bytes, same settings, same number of records in flight.
//
// Each makes its own client, is warm before it is measured, and writes to a topic of four partitions that is
// there. What fails ends the process (tests/bench/actor_node.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "eventlog/kafka_event_log.h"
#include "tests/bench/measure.h"

namespace varve::bench {

struct Loop {
  std::string brokers;
  std::string topic;
  std::string linger_ms;
  std::size_t records = 0;
  std::size_t bytes = 0;      // Of a record.
  std::size_t in_flight = 0;  // Records at a time.
  std::size_t batch_max = 0;  // Records in one batch of the raw producer; 0 = as many as there are.
};

struct LoopFigures {
  Cost cost;         // Of a record.
  double batch = 0;  // Records in one batch, as a mean.
};

// A librdkafka producer in a loop; its delivery reports are polled by the same thread.
LoopFigures raw_loop(const Loop& loop);
// KafkaEventLog::append() with its outcomes awaited.
LoopFigures append_loop(const Loop& loop);
// The same, and a reader for each partition that reads everything back.
LoopFigures read_back_loop(const Loop& loop);

std::unique_ptr<KafkaEventLog> open_log(RealEnv& env, const Loop& loop);
void delete_topic(const std::string& brokers, const std::string& name);

struct Latencies {  // In milliseconds.
  std::vector<double> acknowledged;
  std::vector<double> read;
};
// So many records one by one: until the outcome, and until it is read back.
Latencies one_by_one(const Loop& loop, std::size_t count);

}  // namespace varve::bench
