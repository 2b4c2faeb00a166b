// What the tests of the Kafka log share: topics of their own on a real broker, and a second program that
// writes, deletes and makes what it likes there.
#pragma once

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "eventlog/kafka_event_log.h"
#include "tests/eventlog/event_log_contract.h"
#include "tests/support/services.h"

namespace varve::test {

inline std::string new_topic_name() {
  static int count = 0;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return "test." + std::to_string(::getpid()) + "." + std::to_string(now.count()) + "." +
         std::to_string(++count);
}

// A client that knows nothing of Varve.
class OtherProgram {
 public:
  using Settings = std::map<std::string, std::string>;

  explicit OtherProgram(const std::string& brokers, Settings settings = {}) {
    settings["bootstrap.servers"] = brokers;
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char text[512];
    for (const auto& [name, value] : settings) {
      EXPECT_EQ(RD_KAFKA_CONF_OK, rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text, sizeof(text)))
          << text;
    }
    rd_kafka_conf_set_log_cb(conf, nullptr);
    rk_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    EXPECT_NE(nullptr, rk_) << text;
    queue_ = rd_kafka_queue_new(rk_);
  }
  ~OtherProgram() {
    rd_kafka_queue_destroy(queue_);
    rd_kafka_destroy(rk_);
  }
  OtherProgram(const OtherProgram&) = delete;
  OtherProgram& operator=(const OtherProgram&) = delete;

  rd_kafka_t* rk() { return rk_; }

  // A topic as the log wants it, but for `settings`.
  void make_topic(const std::string& name, int partitions, Settings settings = {}) {
    const Settings wanted{{"cleanup.policy", "delete"},
                          {"retention.ms", "-1"},
                          {"retention.bytes", "-1"},
                          {"max.message.bytes", "11000000"},
                          {"unclean.leader.election.enable", "false"},
                          {"min.insync.replicas", "1"}};
    settings.insert(wanted.begin(), wanted.end());
    char text[512];
    rd_kafka_NewTopic_t* topic = rd_kafka_NewTopic_new(name.c_str(), partitions, 1, text, sizeof(text));
    for (const auto& [setting, value] : settings) {
      rd_kafka_NewTopic_set_config(topic, setting.c_str(), value.c_str());
    }
    // Right after its namesake was deleted it may have to be tried again.
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; i < 100; ++i) {
      rd_kafka_CreateTopics(rk_, &topic, 1, nullptr, queue_);
      rd_kafka_event_t* event = rd_kafka_queue_poll(queue_, 10'000);
      ASSERT_NE(nullptr, event);
      std::size_t count = 0;
      const auto* results =
          rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
      code = count == 1 ? rd_kafka_topic_result_error(results[0]) : rd_kafka_event_error(event);
      rd_kafka_event_destroy(event);
      if (code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) break;
      rd_kafka_poll(rk_, 20);
    }
    rd_kafka_NewTopic_destroy(topic);
    ASSERT_EQ(RD_KAFKA_RESP_ERR_NO_ERROR, code) << rd_kafka_err2str(code);
  }
  void delete_topic(const std::string& name) {
    rd_kafka_DeleteTopic_t* topic = rd_kafka_DeleteTopic_new(name.c_str());
    rd_kafka_DeleteTopics(rk_, &topic, 1, nullptr, queue_);
    rd_kafka_event_t* event = rd_kafka_queue_poll(queue_, 10'000);
    ASSERT_NE(nullptr, event);
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteTopic_destroy(topic);
  }
  // Everything before `offset` is gone.
  void delete_records(const std::string& name, int partition, std::int64_t offset) {
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, name.c_str(), partition)->offset = offset;
    rd_kafka_DeleteRecords_t* records = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk_, &records, 1, nullptr, queue_);
    rd_kafka_event_t* event = rd_kafka_queue_poll(queue_, 10'000);
    ASSERT_NE(nullptr, event);
    EXPECT_EQ(RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_event_error(event));
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteRecords_destroy(records);
    rd_kafka_topic_partition_list_destroy(list);
  }
  // Tries until it is there: a new topic may need a moment.
  void write(const std::string& topic, int partition, const std::string& bytes) {
    ASSERT_EQ(RD_KAFKA_RESP_ERR_NO_ERROR,
              rd_kafka_producev(rk_, RD_KAFKA_VTYPE_TOPIC, topic.c_str(), RD_KAFKA_VTYPE_PARTITION, partition,
                                RD_KAFKA_VTYPE_VALUE, bytes.data(), bytes.size(), RD_KAFKA_VTYPE_MSGFLAGS,
                                RD_KAFKA_MSG_F_COPY, RD_KAFKA_VTYPE_END));
    ASSERT_EQ(RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_flush(rk_, 20'000));
  }

 private:
  rd_kafka_t* rk_ = nullptr;
  rd_kafka_queue_t* queue_ = nullptr;
};

// One life of a process that has the log open; what it logs is kept.
struct KafkaLife {
  explicit KafkaLife(KafkaEventLog::Options options)
      : env(RealEnv::Options{
            .log_sink = [this](LogLevel, std::string_view line) { lines += std::string(line) + "\n"; }}) {
    auto opened = KafkaEventLog::open(env, std::move(options));
    if (opened) log = std::move(*opened);
    if (!opened) error = to_string(opened.error());
  }
  ~KafkaLife() { env.shut_down(); }

  Result<Offset> append(std::string bytes, Partition partition = Partition{0}) {
    auto delivery = log->append(partition, "agent-1", std::move(bytes));
    if (!delivery) return delivery.error();
    return run(env, outcome_of(&env, std::move(*delivery)));
  }
  std::string outcome(std::string bytes, Partition partition = Partition{0}) {
    const auto offset = append(std::move(bytes), partition);
    return offset ? std::to_string(offset->value()) : to_string(offset.error().code);
  }
  Result<ReadBatch> read(Offset from, Duration patience = Duration{0}, Partition partition = Partition{0}) {
    ReadOptions options;
    if (patience > Duration{0}) options.wait_until = env.now() + patience;
    return run(env, read_once(log.get(), partition, from, options));
  }
  // The records' bytes, or the error.
  std::string text(Offset from, Duration patience = Duration{0}, Partition partition = Partition{0}) {
    const auto batch = read(from, patience, partition);
    return batch ? text_of(batch->records) : to_string(batch.error());
  }
  std::string all(Partition partition = Partition{0}) {
    const auto records = run(env, read_to_end(log.get(), partition, Offset{}));
    return records ? text_of(*records) : to_string(records.error());
  }
  std::string end(Partition partition = Partition{0}) {
    const auto offset = run(env, read_end(log.get(), partition));
    return offset ? std::to_string(offset->value()) : to_string(offset.error());
  }
  std::uint64_t counted(const std::string& counter) {
    const auto found = env.counters().find(counter);
    return found == env.counters().end() ? 0 : found->second;
  }

  std::string lines;
  RealEnv env;
  std::unique_ptr<KafkaEventLog> log;
  std::string error;  // Of open().
};

}  // namespace varve::test
