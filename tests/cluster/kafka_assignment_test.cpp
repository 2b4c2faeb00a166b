// Kafka's consumer group takes the exam of the Assignment port, on the broker that ./dev services has
// started. Members in processes of their own, stopped and killed: kafka_processes_test.py.
#include "cluster/kafka_assignment.h"

#include <librdkafka/rdkafka.h>
// (rdkafka.h first.)
#include <librdkafka/rdkafka_mock.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <thread>

#include "eventlog/kafka_client.h"
#include "runtime/real_env.h"
#include "tests/cluster/assignment_contract.h"
#include "tests/support/run.h"
#include "tests/support/services.h"

namespace varve::test {
namespace {

constexpr int kPartitions = 4;
constexpr int kAdminMs = 30'000;

std::string unique(const std::string& what) {
  RealEnv env;
  return what + "-" + std::to_string(env.rng().u64());
}

void make_topic(const std::string& brokers, const std::string& name) {
  std::array<char, 512> why{};
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), why.data(), why.size());
  rd_kafka_t* client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why.data(), why.size());
  ASSERT_NE(nullptr, client) << why.data();
  rd_kafka_NewTopic_t* topic = rd_kafka_NewTopic_new(name.c_str(), kPartitions, 1, why.data(), why.size());
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client);
  rd_kafka_CreateTopics(client, &topic, 1, nullptr, queue);
  rd_kafka_event_t* done = rd_kafka_queue_poll(queue, kAdminMs);
  ASSERT_NE(nullptr, done) << "no broker at " << brokers;
  EXPECT_EQ(RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_event_error(done)) << rd_kafka_event_error_string(done);
  rd_kafka_event_destroy(done);
  rd_kafka_queue_destroy(queue);
  rd_kafka_NewTopic_destroy(topic);
  rd_kafka_destroy(client);
}

class KafkaWorld final : public AssignmentWorld {
 public:
  KafkaWorld() { make_topic(brokers_, name_); }
  Env& env() override { return env_; }
  std::unique_ptr<Assignment> join(std::string /*member*/) override {
    KafkaAssignment::Options options;
    options.connection.brokers = brokers_;
    options.topic = name_;
    options.group = name_;
    auto opened = KafkaAssignment::open(env_, std::move(options));
    EXPECT_TRUE(opened.has_value());
    return std::move(*opened);
  }
  bool run_until(std::function<bool()> done, Duration longest) override {
    const MonoTime end = env_.now() + longest;
    env_.io_context().restart();
    while (!done() && env_.now() < end) env_.io_context().run_one_for(std::chrono::milliseconds{10});
    return done();
  }
  bool is_shared() const override { return true; }

 private:
  std::string brokers_ = service_addresses().kafka;
  std::string name_ = unique("assignment");
  RealEnv env_;
};

INSTANTIATE_TEST_SUITE_P(Kafka, AssignmentContract,
                         ::testing::Values(AssignmentCase{"kafka",
                                                          [] { return std::make_unique<KafkaWorld>(); }}),
                         [](const auto& info) { return info.param.name; });

// A member with every partition.
struct Holder {
  Holder(const std::string& brokers, const std::string& topic, const kafka::Properties& more) {
    kafka::Client::Options options;
    options.role = kafka::Client::Role::member;
    options.id = topic;
    options.connection.brokers = brokers;
    options.ours = {{"group.id", topic}, {"session.timeout.ms", "6000"}, {"heartbeat.interval.ms", "1000"}};
    options.ours.insert(more.begin(), more.end());
    options.events = RD_KAFKA_EVENT_REBALANCE;
    options.on_event = [this](rd_kafka_op_s& event) {
      if (rd_kafka_event_error(&event) != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) return;
      rd_kafka_assign(member->get(), rd_kafka_event_topic_partition_list(&event));
      partitions = rd_kafka_event_topic_partition_list(&event)->cnt;
    };
    auto opened = kafka::Client::open(*env, std::move(options));
    EXPECT_TRUE(opened);
    if (!opened) return;
    member = std::move(*opened);
    rd_kafka_topic_partition_list_t* topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, topic.c_str(), RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(member->get(), topics);
    rd_kafka_topic_partition_list_destroy(topics);
    run([this] { return partitions > 0; }, std::chrono::seconds{30});
  }
  void run(const std::function<bool()>& done, Duration longest) {
    const MonoTime end = env->now() + longest;
    while (!done() && env->now() < end) env->io_context().run_one_for(std::chrono::milliseconds{10});
  }
  // The process ends while the group waits, as at a stop for which there was no time left.
  void end() {
    std::promise<void> over;
    std::thread ends([&] {
      member.reset();
      env.reset();
      over.set_value();
    });
    if (over.get_future().wait_for(std::chrono::seconds{40}) == std::future_status::ready) {
      ends.join();
      return;
    }
    ends.detach();
    std::fputs("rd_kafka_destroy() does not return\n", stderr);
    std::abort();  // What the thread refers to may not end before it.
  }

  std::unique_ptr<RealEnv> env = std::make_unique<RealEnv>();
  std::shared_ptr<kafka::Client> member;
  int partitions = 0;
};

TEST(KafkaGroup, AMemberEndsAlthoughItLeavesAndItsLastRebalanceIsNotAnswered) {
  const std::string topic = unique("leaving");
  make_topic(service_addresses().kafka, topic);
  Holder holder(service_addresses().kafka, topic, {});
  ASSERT_EQ(kPartitions, holder.partitions);
  ASSERT_TRUE(holder.member->leave_group());
  holder.end();
}

// One request at a time to a broker that does not answer: behind a heartbeat, the LeaveGroup is never sent.
TEST(KafkaGroup, AMemberEndsAlthoughItsLeaveGroupIsNotSent) {
  std::array<char, 512> why{};
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set_log_cb(conf, nullptr);
  rd_kafka_t* host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why.data(), why.size());
  rd_kafka_mock_cluster_t* cluster = rd_kafka_mock_cluster_new(host, 1);
  rd_kafka_mock_topic_create(cluster, "leaving", kPartitions, 1);
  {
    Holder holder(rd_kafka_mock_cluster_bootstraps(cluster), "leaving", {{"max.in.flight", "1"}});
    ASSERT_EQ(kPartitions, holder.partitions);
    constexpr int kLongMs = 3'600'000;
    rd_kafka_mock_broker_set_rtt(cluster, 1, kLongMs);
    // Two heartbeats: one is on its way then. (Without one, less is tested.)
    holder.run([] { return false; }, std::chrono::seconds{2});
    ASSERT_TRUE(holder.member->leave_group());
    holder.end();
  }
  rd_kafka_mock_cluster_destroy(cluster);
  rd_kafka_destroy(host);
}

// ---- without a broker

KafkaAssignment::Options nowhere() {
  KafkaAssignment::Options options;
  options.connection.brokers = "127.0.0.1:1";
  options.group = "nobody";
  return options;
}

TEST(KafkaAssignment, WithoutABrokerItIsUnavailableAndLeavesInTime) {
  RealEnv env({.log_sink = [](LogLevel, std::string_view) {}});
  auto opened = KafkaAssignment::open(env, nowhere());
  ASSERT_TRUE(opened.has_value());
  Assignment& assignment = **opened;
  const auto change = run(env, assignment.next(env.now() + std::chrono::seconds{1}));
  ASSERT_FALSE(change.has_value());
  EXPECT_EQ(Errc::unavailable, change.error().code);
  const auto proven = run(env, assignment.prove(Partition{0}));
  EXPECT_TRUE(proven.has_value() && !*proven);
  const MonoTime start = env.now();
  const Status left = run(env, assignment.leave(start + std::chrono::seconds{1}));
  if (!left) EXPECT_EQ(Errc::unavailable, left.error().code);
  EXPECT_LT(env.now() - start, std::chrono::seconds{3});
}

TEST(KafkaAssignment, ImpossibleOptionsAreRefusedByName) {
  RealEnv env({.log_sink = [](LogLevel, std::string_view) {}});
  KafkaAssignment::Options options = nowhere();
  options.drain_time = std::chrono::minutes{1};
  const auto too_long = KafkaAssignment::open(env, options);
  ASSERT_FALSE(too_long.has_value());
  EXPECT_EQ(Errc::invalid_argument, too_long.error().code);
  options = nowhere();
  options.group.clear();
  const auto no_group = KafkaAssignment::open(env, options);
  ASSERT_FALSE(no_group.has_value());
  EXPECT_EQ(Errc::invalid_argument, no_group.error().code);
  options = nowhere();
  options.connection.properties["no.such.setting"] = "1";
  const auto unknown = KafkaAssignment::open(env, options);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(Errc::invalid_argument, unknown.error().code);
  EXPECT_NE(std::string::npos, unknown.error().message.find("no.such.setting")) << unknown.error().message;
}

}  // namespace
}  // namespace varve::test
