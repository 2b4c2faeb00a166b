#include "cli/logs.h"

#include "eventlog/kafka_event_log.h"
#include "eventlog/sqlite_event_log.h"

namespace varve {

namespace {

Result<std::unique_ptr<EventLog>> open_topic(RealEnv& env, const Config& config, std::uint32_t partitions,
                                             bool make) {
  KafkaEventLog::Options options;
  options.connection = {brokers_of(config.kafka), config.kafka.properties};
  options.topic = config.kafka.topic;
  options.partitions = partitions;
  options.replication_factor = config.kafka.replication_factor;
  options.make_topic = make;
  options.client_id = "varve-" + config.cluster;
  auto log = KafkaEventLog::open(env, std::move(options));
  if (!log) return log.error();
  return std::unique_ptr<EventLog>(std::move(*log));
}

}  // namespace

std::string brokers_of(const KafkaConfig& config) {
  std::string all;
  for (const std::string& broker : config.brokers) all += (all.empty() ? "" : ",") + broker;
  return all;
}

Result<std::unique_ptr<EventLog>> open_kafka_log(RealEnv& env, const Config& config,
                                                 std::uint32_t partitions) {
  return open_topic(env, config, partitions, true);
}

Result<std::unique_ptr<EventLog>> open_log_to_read(RealEnv& env, const Config& config) {
  if (config.log == "kafka") return open_topic(env, config, config.partitions, false);
  auto log = SqliteLogReader::open(env, config.data_dir);
  if (!log) return log.error();
  return std::unique_ptr<EventLog>(std::move(*log));
}

}  // namespace varve
