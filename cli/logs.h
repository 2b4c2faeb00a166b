// Logs for the commands that look at one or copy one: the embedded log of a data directory, or a Kafka topic,
// as the configuration says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cli/config.h"
#include "eventlog/event_log.h"
#include "runtime/real_env.h"

namespace varve {

// "a:9092,b:9092"
std::string brokers_of(const KafkaConfig& config);

// The topic of the configuration, which is made if it is missing, for who writes. Blocks. Errors:
// KafkaEventLog::open.
Result<std::unique_ptr<EventLog>> open_kafka_log(RealEnv& env, const Config& config,
                                                 std::uint32_t partitions);

// Also while a server runs on it. It must be there: nothing is made. Blocks.
Result<std::unique_ptr<EventLog>> open_log_to_read(RealEnv& env, const Config& config);

}  // namespace varve
