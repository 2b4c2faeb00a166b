#include "eventlog/kafka_topic.h"

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <memory>
#include <optional>

#include "eventlog/record.h"

namespace varve::kafka {
namespace {

using Millis = std::chrono::milliseconds;

constexpr Millis kMetadataTime{500};
constexpr Millis kPollTime{100};
constexpr Millis kQueryTime{2000};
constexpr std::size_t kErrorText = 512;

template <auto free>
struct Free {
  template <class T>
  void operator()(T* it) const {
    free(it);
  }
};
using Queue = std::unique_ptr<rd_kafka_queue_t, Free<rd_kafka_queue_destroy>>;
using Event = std::unique_ptr<rd_kafka_event_t, Free<rd_kafka_event_destroy>>;
using NewTopic = std::unique_ptr<rd_kafka_NewTopic_t, Free<rd_kafka_NewTopic_destroy>>;
using AdminOptions = std::unique_ptr<rd_kafka_AdminOptions_t, Free<rd_kafka_AdminOptions_destroy>>;
using Resource = std::unique_ptr<rd_kafka_ConfigResource_t, Free<rd_kafka_ConfigResource_destroy>>;
using PartitionList =
    std::unique_ptr<rd_kafka_topic_partition_list_t, Free<rd_kafka_topic_partition_list_destroy>>;

Error wrong(std::string message) {
  return Error{Errc::invalid_argument, std::move(message)};
}

// One start: what it asks has one deadline, and what librdkafka reports meanwhile explains a failure.
class Preparation {
 public:
  Preparation(Client& client, const TopicSpec& spec, Duration limit)
      : client_(client), spec_(spec), deadline_(client.env().now() + limit), limit_(limit) {}

  Status run() {
    Error refused;
    topic_ = client_.topic(spec_.name, &refused);
    if (topic_ == nullptr) return refused;
    auto shape = ask_shape();
    if (!shape) return shape.error();
    if (!*shape) {
      if (!spec_.make) return missing();
      if (Status created = create(); !created) return created;
      shape = ask_shape();
      while (shape && !*shape && left() > Millis{0}) shape = ask_shape();
      if (!shape) return shape.error();
      if (!*shape) return late("the new topic '" + spec_.name + "' has no leaders yet");
    }
    if ((*shape)->partitions != spec_.partitions) {
      return wrong("the topic '" + spec_.name + "' has " + std::to_string((*shape)->partitions) +
                   " partitions, the configuration says " + std::to_string(spec_.partitions) +
                   ": the number of partitions is fixed when a log is made");
    }
    return spec_.check_settings ? check_settings(**shape) : ok();
  }

 private:
  Millis left() const {
    const Duration left = deadline_ - client_.env().now();
    return std::max(Millis{0}, std::chrono::duration_cast<Millis>(left));
  }
  Error missing() const {
    return Error{Errc::not_found, "there is no topic '" + spec_.name + "' at the Kafka brokers " +
                                      client_.connection().brokers + "; a server makes it when it starts"};
  }
  Error late(const std::string& what) const {
    std::string message = what + " (brokers " + client_.connection().brokers + ", after " +
                          std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit_).count()) +
                          " s)";
    if (!last_error_.empty()) message += "; the last thing heard: " + last_error_;
    return Error{Errc::unavailable, message};
  }

  // Takes what librdkafka reports. An error if trying again is of no use.
  Status listen(Millis wait) {
    rd_kafka_event_t* event = rd_kafka_queue_poll(client_.queue(), static_cast<int>(wait.count()));
    for (; event != nullptr; event = rd_kafka_queue_poll(client_.queue(), 0)) {
      std::optional<Error> hopeless;
      if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR) {
        const rd_kafka_resp_err_t code = rd_kafka_event_error(event);
        last_error_ = rd_kafka_event_error_string(event);
        if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION) {
          hopeless = wrong("the Kafka brokers refuse the login: " + last_error_);
        }
        if (code == RD_KAFKA_RESP_ERR__SSL)
          hopeless = wrong("TLS to the Kafka brokers fails: " + last_error_);
      }
      client_.take(*event);
      if (hopeless) return *hopeless;
    }
    return ok();
  }

  // Nothing: there is no such topic, or not with all its leaders.
  Result<std::optional<TopicShape>> ask_shape() {
    while (true) {
      const rd_kafka_metadata_t* metadata = nullptr;
      const rd_kafka_resp_err_t code =
          rd_kafka_metadata(client_.get(), 0, topic_, &metadata, static_cast<int>(kMetadataTime.count()));
      std::optional<Result<std::optional<TopicShape>>> shape;
      if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        shape = shape_in(*metadata);
        rd_kafka_metadata_destroy(metadata);
      } else if (last_error_.empty()) {
        last_error_ = rd_kafka_err2str(code);
      }
      if (Status heard = listen(shape ? Millis{0} : kPollTime); !heard && !shape) return heard.error();
      if (shape) return *shape;
      if (left() == Millis{0}) return late("no Kafka broker answers");
    }
  }

  std::optional<Result<std::optional<TopicShape>>> shape_in(const rd_kafka_metadata_t& metadata) {
    using Found = Result<std::optional<TopicShape>>;
    if (metadata.topic_cnt != 1) return Found{std::optional<TopicShape>{}};
    const rd_kafka_metadata_topic_t& topic = metadata.topics[0];
    if (topic.err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return Found{std::optional<TopicShape>{}};
    if (topic.err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
      return Found{wrong("the Kafka user has no right to describe the topic '" + spec_.name +
                         "': it needs Describe, DescribeConfigs, Read and Write there")};
    }
    if (topic.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      last_error_ = "topic '" + spec_.name + "': " + rd_kafka_err2str(topic.err);
      return std::nullopt;
    }
    TopicShape shape;
    shape.partitions = static_cast<std::uint32_t>(topic.partition_cnt);
    for (int i = 0; i < topic.partition_cnt; ++i) {
      const rd_kafka_metadata_partition_t& partition = topic.partitions[i];
      if (partition.leader < 0) {
        last_error_ = "partition " + std::to_string(partition.id) + " has no leader";
        return std::nullopt;
      }
      const auto replicas = static_cast<std::uint32_t>(partition.replica_cnt);
      shape.replicas = i == 0 ? replicas : std::min(shape.replicas, replicas);
    }
    return Found{std::optional<TopicShape>{shape}};
  }

  AdminOptions admin_options(rd_kafka_admin_op_t operation) const {
    AdminOptions options(rd_kafka_AdminOptions_new(client_.get(), operation));
    const int time = std::max(1, static_cast<int>(left().count()));
    rd_kafka_AdminOptions_set_request_timeout(options.get(), time, nullptr, 0);
    if (operation == RD_KAFKA_ADMIN_OP_CREATETOPICS) {
      rd_kafka_AdminOptions_set_operation_timeout(options.get(), time, nullptr, 0);
    }
    return options;
  }
  // The answer to an admin call, or nothing within the time.
  Event answer(const Queue& queue) const {
    return Event(rd_kafka_queue_poll(queue.get(), static_cast<int>((left() + kPollTime).count())));
  }

  Status create() {
    std::array<char, kErrorText> text{};
    const NewTopic topic(rd_kafka_NewTopic_new(spec_.name.c_str(), static_cast<int>(spec_.partitions),
                                               static_cast<int>(spec_.replication_factor), text.data(),
                                               text.size()));
    if (!topic) return wrong("the topic '" + spec_.name + "': " + text.data());
    const std::map<std::string, std::string> settings{
        {"cleanup.policy", "delete"},
        {"retention.ms", "-1"},
        {"retention.bytes", "-1"},
        {"max.message.bytes", std::to_string(kBatchBytesMax)},
        {"unclean.leader.election.enable", "false"},
        // The broker's own time: by default it refuses records of a node whose clock is an hour ahead.
        {"message.timestamp.type", "LogAppendTime"},
        {"min.insync.replicas", std::to_string(replicas_in_sync(spec_.replication_factor))}};
    for (const auto& [name, value] : settings) {
      rd_kafka_NewTopic_set_config(topic.get(), name.c_str(), value.c_str());
    }
    const AdminOptions options = admin_options(RD_KAFKA_ADMIN_OP_CREATETOPICS);
    const Queue queue(rd_kafka_queue_new(client_.get()));
    rd_kafka_NewTopic_t* topics[] = {topic.get()};
    rd_kafka_CreateTopics(client_.get(), topics, 1, options.get(), queue.get());
    const Event event = answer(queue);
    const std::string doing = "the topic '" + spec_.name + "' cannot be made";
    if (!event) return late(doing);
    if (rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return error_of(rd_kafka_event_error(event.get()), doing);
    }
    std::size_t count = 0;
    const auto* results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
    const rd_kafka_resp_err_t code =
        count == 1 ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
      client_.env().log(LogLevel::info, "made the Kafka topic '" + spec_.name + "'");
      return ok();
    }
    if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) return ok();  // Another node was first.
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) {
      return wrong("the topic '" + spec_.name +
                   "' does not exist, and the Kafka user has no right to make it");
    }
    const char* said = count == 1 ? rd_kafka_topic_result_error_string(results[0]) : nullptr;
    const Error error = error_of(code, doing);
    return Error{error.code, error.message + (said != nullptr ? ": " + std::string(said) : "")};
  }

  Result<std::map<std::string, std::string>> ask_settings() const {
    const Resource resource(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, spec_.name.c_str()));
    const AdminOptions options = admin_options(RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    const Queue queue(rd_kafka_queue_new(client_.get()));
    rd_kafka_ConfigResource_t* resources[] = {resource.get()};
    rd_kafka_DescribeConfigs(client_.get(), resources, 1, options.get(), queue.get());
    const Event event = answer(queue);
    const std::string doing = "the settings of the topic '" + spec_.name + "' cannot be read";
    if (!event) return late(doing);
    rd_kafka_resp_err_t code = rd_kafka_event_error(event.get());
    std::size_t count = 0;
    const rd_kafka_ConfigResource_t** results = nullptr;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
      results = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event.get()),
                                                          &count);
      code = count == 1 ? rd_kafka_ConfigResource_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
    }
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
      return wrong(doing + ": the Kafka user has no right to do so, it needs DescribeConfigs there");
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return error_of(code, doing);
    std::map<std::string, std::string> settings;
    const rd_kafka_ConfigEntry_t** entries = rd_kafka_ConfigResource_configs(results[0], &count);
    for (std::size_t i = 0; i < count; ++i) {
      const char* value = rd_kafka_ConfigEntry_value(entries[i]);
      settings[rd_kafka_ConfigEntry_name(entries[i])] = value != nullptr ? value : "";
    }
    return settings;
  }

  Status check_settings(const TopicShape& shape) {
    const auto settings = ask_settings();
    if (!settings) return settings.error();
    if (Status judged = judge_topic(spec_.name, shape, *settings); !judged) return judged;
    if (shape.replicas < spec_.replication_factor) {
      client_.env().log(LogLevel::warning, "the topic '" + spec_.name + "' has " +
                                               std::to_string(shape.replicas) +
                                               " replicas, the configuration would make " +
                                               std::to_string(spec_.replication_factor));
    }
    return ok();
  }

  Client& client_;
  const TopicSpec& spec_;
  MonoTime deadline_;
  Duration limit_;
  rd_kafka_topic_t* topic_ = nullptr;
  std::string last_error_;
};

// A topic that is not there may only be unknown to a broker that has just started.
Error not_told(rd_kafka_resp_err_t code, const std::string& doing) {
  Error error = error_of(code, doing);
  if (error.code == Errc::not_found) error.code = Errc::unavailable;
  return error;
}

std::string place(const std::string& topic, Partition partition) {
  return "partition " + std::to_string(partition.value()) + " of the topic '" + topic + "'";
}

}  // namespace

std::uint32_t replicas_in_sync(std::uint32_t replication_factor) {
  return replication_factor / 2 + 1;
}

Status judge_topic(const std::string& topic, TopicShape shape,
                   const std::map<std::string, std::string>& settings) {
  const auto value = [&](const char* name) {
    const auto found = settings.find(name);
    return found == settings.end() ? std::string("(not told)") : found->second;
  };
  const auto number = [&](const char* name) {
    const std::string text = value(name);
    std::int64_t parsed = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), parsed);
    return end.ec == std::errc{} ? parsed : std::int64_t{0};
  };
  const auto refuse = [&](const char* name, const std::string& expected, const char* why) {
    return wrong("the topic '" + topic + "' has " + name + "=" + value(name) + ", expected " + expected +
                 ": " + why);
  };
  if (value("cleanup.policy") != "delete") {
    return refuse("cleanup.policy", "delete", "compaction would remove records");
  }
  for (const char* name : {"retention.ms", "retention.bytes"}) {
    if (value(name) != "-1") return refuse(name, "-1", "the log must be kept for ever");
  }
  if (number("max.message.bytes") < static_cast<std::int64_t>(kBatchBytesMax)) {
    return refuse("max.message.bytes", "at least " + std::to_string(kBatchBytesMax),
                  "a record may have 10 MiB");
  }
  if (value("unclean.leader.election.enable") != "false") {
    return refuse("unclean.leader.election.enable", "false",
                  "a replica that is behind would forget acknowledged records");
  }
  const std::int64_t in_sync = number("min.insync.replicas");
  const std::uint32_t needed = shape.replicas > 1 ? 2 : 1;
  const std::string replicas = std::to_string(shape.replicas);
  if (in_sync < needed || in_sync > shape.replicas) {
    const std::string range =
        needed == shape.replicas ? replicas : std::to_string(needed) + " to " + replicas;
    return refuse("min.insync.replicas",
                  range + " with " + replicas + (shape.replicas > 1 ? " replicas" : " replica"),
                  in_sync < needed ? "an acknowledged record would be lost with one broker"
                                   : "no record could be written");
  }
  return ok();
}

Status prepare_topic(Client& client, const TopicSpec& spec, Duration limit) {
  static_assert(kBatchBytesMax == kRecordBytesMax + (std::size_t{64} << 10U));
  return Preparation(client, spec, limit).run();
}

Result<Watermarks> query_watermarks(rd_kafka_s* rk, const std::string& topic, Partition partition) {
  std::int64_t low = 0;
  std::int64_t high = 0;
  const auto id = static_cast<std::int32_t>(partition.value());
  const rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(rk, topic.c_str(), id, &low, &high,
                                                                    static_cast<int>(kQueryTime.count()));
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
    return not_told(code, "asking for the ends of " + place(topic, partition));
  return Watermarks{Offset{static_cast<std::uint64_t>(low)}, Offset{static_cast<std::uint64_t>(high)}};
}

Result<Ends> query_ends(rd_kafka_s* rk, const std::string& topic, const std::vector<Partition>& partitions) {
  const PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
  for (const Partition partition : partitions) {
    const auto id = static_cast<std::int32_t>(partition.value());
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), id)->offset = RD_KAFKA_OFFSET_END;
  }
  const rd_kafka_resp_err_t code =
      rd_kafka_offsets_for_times(rk, list.get(), static_cast<int>(kQueryTime.count()));
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
    return not_told(code, "asking for the ends of the topic '" + topic + "'");
  Ends ends;
  for (const Partition partition : partitions) {
    const auto* found = rd_kafka_topic_partition_list_find(list.get(), topic.c_str(),
                                                           static_cast<std::int32_t>(partition.value()));
    if (found == nullptr || found->err != RD_KAFKA_RESP_ERR_NO_ERROR || found->offset < 0) {
      const rd_kafka_resp_err_t its_code = found != nullptr && found->err != RD_KAFKA_RESP_ERR_NO_ERROR
                                               ? found->err
                                               : RD_KAFKA_RESP_ERR__NO_OFFSET;
      ends.emplace_back(not_told(its_code, "asking for the end of " + place(topic, partition)));
    } else {
      ends.emplace_back(Offset{static_cast<std::uint64_t>(found->offset)});
    }
  }
  return ends;
}

}  // namespace varve::kafka
