#include "cluster/kafka_group.h"

#include <librdkafka/rdkafka.h>

#include <optional>
#include <string_view>

namespace varve::kafka {
namespace {

using PartitionList =
    std::unique_ptr<rd_kafka_topic_partition_list_t, decltype(&rd_kafka_topic_partition_list_destroy)>;

std::string millis(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

PartitionList list_of(const std::string& topic, const std::vector<Partition>& partitions,
                      std::int64_t offset) {
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())),
                     rd_kafka_topic_partition_list_destroy);
  for (const Partition partition : partitions) {
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), static_cast<std::int32_t>(partition.value()))
        ->offset = offset;
  }
  return list;
}

std::vector<Partition> partitions_of(const rd_kafka_topic_partition_list_t* list) {
  std::vector<Partition> partitions;
  for (int i = 0; list != nullptr && i < list->cnt; ++i)
    partitions.emplace_back(static_cast<std::uint32_t>(list->elems[i].partition));
  return partitions;
}

Status status_of(rd_kafka_error_t* error, std::string_view doing) {
  if (error == nullptr) return ok();
  Error made = error_of(rd_kafka_error_code(error), doing);
  rd_kafka_error_destroy(error);
  return made;
}

Status status_of(rd_kafka_resp_err_t error, std::string_view doing) {
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return ok();
  return error_of(error, doing);
}

Properties properties_of(const GroupConsumer::Options& options) {
  Properties ours = {
      {"group.id", options.group},
      {"session.timeout.ms", millis(options.session_timeout)},
      // A rebalance waits for the next one of every member.
      {"heartbeat.interval.ms", millis(options.session_timeout / 6)},
      {"max.poll.interval.ms", millis(options.poll_interval_max)},
      {"partition.assignment.strategy", "cooperative-sticky"},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"auto.offset.reset", "error"},
      {"isolation.level", "read_uncommitted"},
      {"check.crcs", "true"},
      // An unreachable coordinator is looked for at this pace: the time to prove is short.
      {"reconnect.backoff.max.ms", "1000"},
      {"statistics.interval.ms", millis(GroupConsumer::kStateInterval)},
  };
  if (!options.instance.empty()) ours["group.instance.id"] = options.instance;
  return ours;
}

Committed::Outcome outcome_of(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
      return Committed::Outcome::accepted;
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
    case RD_KAFKA_RESP_ERR__FATAL:
      return Committed::Outcome::refused;
    default:
      return Committed::Outcome::unreachable;
  }
}

Committed committed_of(rd_kafka_event_t& event) {
  Committed made;
  made.ticket = reinterpret_cast<std::uintptr_t>(rd_kafka_event_opaque(&event));
  rd_kafka_resp_err_t error = rd_kafka_event_error(&event);
  const auto* list = rd_kafka_event_topic_partition_list(&event);
  for (int i = 0; error == RD_KAFKA_RESP_ERR_NO_ERROR && list != nullptr && i < list->cnt; ++i)
    error = list->elems[i].err;
  made.outcome = outcome_of(error);
  made.message = rd_kafka_err2str(error);
  return made;
}

Rebalance rebalance_of(rd_kafka_event_t& event, rd_kafka_t* client) {
  Rebalance made;
  made.assigned = rd_kafka_event_error(&event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
  made.lost = !made.assigned && rd_kafka_assignment_lost(client) != 0;
  made.partitions = partitions_of(rd_kafka_event_topic_partition_list(&event));
  return made;
}

// The states of librdkafka's member in which its generation is about to change, as its statistics name them.
Joining joining_of(std::string_view statistics) {
  constexpr std::string_view kField = "\"join_state\": \"";
  const std::size_t at = statistics.find(kField);
  if (at == std::string_view::npos) return {};
  const std::string_view state = statistics.substr(at + kField.size());
  for (const std::string_view joining : {"init\"", "wait-join\"", "wait-metadata\"", "wait-sync\""}) {
    if (state.substr(0, joining.size()) == joining) return {true};
  }
  return {};
}

// Nothing: it is news for the log at most.
std::optional<GroupEvent> event_of(RealEnv& env, const std::string& group, rd_kafka_event_t& event,
                                   rd_kafka_t* client) {
  switch (rd_kafka_event_type(&event)) {
    case RD_KAFKA_EVENT_REBALANCE:
      return rebalance_of(event, client);
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
      return committed_of(event);
    case RD_KAFKA_EVENT_STATS:
      return joining_of(rd_kafka_event_stats(&event));
    case RD_KAFKA_EVENT_ERROR: {
      const std::string message = rd_kafka_event_error_string(&event);
      if (rd_kafka_event_error_is_fatal(&event) != 0) return Broken{message};
      env.count("kafka_group_errors");
      env.log(LogLevel::warning, "the group " + group + ": " + message);
      return std::nullopt;
    }
    default:  // Records among them: the answer to a fetch that was sent before the partition was paused.
      return std::nullopt;
  }
}

}  // namespace

Result<std::unique_ptr<GroupConsumer>> GroupConsumer::open(RealEnv& env, Options options) {
  Client::Options of_client;
  of_client.role = Client::Role::member;
  of_client.id = "varve group " + options.group + (options.member.empty() ? "" : " " + options.member);
  of_client.connection = options.connection;
  of_client.ours = properties_of(options);
  of_client.events = RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_STATS;
  // Known only when the client is there, which tells nothing before the next step.
  const auto handle = std::make_shared<std::weak_ptr<Client>>();
  of_client.on_event = [&env, group = options.group, tell = options.on_event, handle](rd_kafka_op_s& event) {
    const auto client = handle->lock();
    if (!client || client->get() == nullptr) return;
    if (const auto made = event_of(env, group, event, client->get())) tell(*made);
  };
  of_client.on_wake = [settled = options.on_settled] {
    settled();
    return false;
  };
  auto client = Client::open(env, std::move(of_client));
  if (!client) return client.error();
  *handle = *client;
  return std::unique_ptr<GroupConsumer>(new GroupConsumer(options.topic, std::move(*client)));
}

GroupConsumer::~GroupConsumer() {
  client_->close();
}

Status GroupConsumer::subscribe() {
  const PartitionList topics(rd_kafka_topic_partition_list_new(1), rd_kafka_topic_partition_list_destroy);
  rd_kafka_topic_partition_list_add(topics.get(), topic_.c_str(), RD_KAFKA_PARTITION_UA);
  return status_of(rd_kafka_subscribe(client_->get(), topics.get()), "joining the group");
}

Status GroupConsumer::assign(const std::vector<Partition>& partitions) {
  // From the end: nothing is there, and by the time that the end is known they are paused.
  const PartitionList list = list_of(topic_, partitions, RD_KAFKA_OFFSET_END);
  Status assigned =
      status_of(rd_kafka_incremental_assign(client_->get(), list.get()), "taking what is assigned");
  if (!assigned || partitions.empty()) return assigned;
  return status_of(rd_kafka_pause_partitions(client_->get(), list.get()), "pausing what is assigned");
}

Status GroupConsumer::unassign(const std::vector<Partition>& partitions) {
  const PartitionList list = list_of(topic_, partitions, RD_KAFKA_OFFSET_INVALID);
  return status_of(rd_kafka_incremental_unassign(client_->get(), list.get()), "giving back what is revoked");
}

std::vector<Partition> GroupConsumer::assignment() const {
  rd_kafka_topic_partition_list_t* list = nullptr;
  if (rd_kafka_assignment(client_->get(), &list) != RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  const PartitionList owned(list, rd_kafka_topic_partition_list_destroy);
  return partitions_of(owned.get());
}

std::string GroupConsumer::member_id() const {
  char* const id = rd_kafka_memberid(client_->get());
  if (id == nullptr) return {};
  std::string made = id;
  rd_kafka_mem_free(client_->get(), id);
  return made;
}

Status GroupConsumer::commit(Partition partition, std::uint64_t ticket) {
  // Offset 0 is a real one (a logical offset would not be sent), and nobody reads what is committed.
  const PartitionList list = list_of(topic_, {partition}, 0);
  void* const opaque = reinterpret_cast<void*>(static_cast<std::uintptr_t>(ticket));  // NOLINT
  return status_of(rd_kafka_commit_queue(client_->get(), list.get(), client_->queue(), nullptr, opaque),
                   "committing an offset");
}

Status GroupConsumer::close() {
  return client_->leave_group();
}

bool GroupConsumer::closed() const {
  return rd_kafka_consumer_closed(client_->get()) != 0;
}

}  // namespace varve::kafka
