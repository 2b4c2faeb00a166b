// KafkaEventLog: the log in a Kafka topic, one partition of ours in one of the topic's.
//
// Writing: one idempotent producer per node (kafka_producer.h). An unknown outcome finishes it: everything in
// flight is unknown, and the next append goes through a new one.
//
// Reading: readers of one partition are at different places (the owner and the projection at its end, scans
// and replays anywhere), and a librdkafka consumer has one place per partition. So:
// - One consumer follows the end of every partition that somebody reads. Its newest records are kept in
//   memory (the tail), where owners and projections read them without asking a broker. It begins at the end
//   and never waits for a reader: what is too old leaves the tail.
// - Who is behind the tail reads through a few further consumers (Cursors of kafka_fetch.h) until the tail
//   has what comes next.
// The alternative, a consumer per reader, would cost threads, connections and a copy of every record for
// each; one consumer that is moved about would throw away what it fetched ahead at every turn.
//
// What was read never changes: Kafka keeps it (kafka_topic.h checks that it must), but nothing keeps an
// operator from deleting the topic and making another one with its name. A place that is not there any more
// is an error with a sentence; and while records arrive, one that was read before is read again every
// two seconds: if it is another one, every reader is refused from then on. (librdkafka 2.0 knows neither
// the ids of topics nor KIP-320.)
//
// Threads: see kafka_client.h. Blocking calls (ends of partitions, stopping a fetch, closing) run on
// Lane::log. Promises, as every log: event_log.h. Never: a reset of an offset, a wait on the Env's thread
// after open().
//
// The Env must outlive the log, but may be shut down before or after it is destroyed.
#pragma once

#include <memory>
#include <string>

#include "eventlog/event_log.h"
#include "eventlog/kafka_client.h"
#include "runtime/real_env.h"

namespace varve {

class KafkaEventLog final : public EventLog {
 public:
  struct Options {
    kafka::Connection connection;
    std::string topic = "varve.events";
    std::uint32_t partitions = kPartitionsDefault;
    std::uint32_t replication_factor = 1;  // Of a topic that is made by open().
    bool make_topic = true;                // False, for who only reads: a topic that is missing is refused.
    std::string client_id = "varve";
    Duration open_time = std::chrono::seconds(10);  // How long open() tries.
    // False: the topic's settings are somebody else's business (librdkafka's mock cluster has none).
    bool check_topic_settings = true;
  };

  // Blocks for at most about open_time. Errc::invalid_argument: the settings, the login or the topic are
  // wrong, in a sentence that says what is expected. Errc::not_found: the topic is missing, and is not to be
  // made. Errc::unavailable: no broker answers.
  static Result<std::unique_ptr<KafkaEventLog>> open(RealEnv& env, Options options);
  ~KafkaEventLog() override;

  std::uint32_t partitions() const override;
  Result<Delivery> append(Partition partition, std::string key, std::string bytes) override;
  Task<ReadBatch> read(Partition partition, Offset from, ReadOptions options) override;
  Task<Offset> end(Partition partition) override;
  InFlight in_flight() const override;

 private:
  struct Impl;
  explicit KafkaEventLog(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace varve
