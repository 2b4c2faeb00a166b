// The Kafka log on librdkafka's mock cluster: error codes of brokers, brokers that are away, time-outs.
#include <librdkafka/rdkafka.h>
// (rdkafka.h first.)
#include <librdkafka/rdkafka_mock.h>

#include "tests/eventlog/kafka_support.h"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

// Numbers of requests in Kafka's protocol.
constexpr std::int16_t kProduce = 0;
constexpr std::int16_t kFetch = 1;
constexpr std::int16_t kListOffsets = 2;

class KafkaMockTest : public ::testing::Test {
 protected:
  KafkaMockTest() : host_("127.0.0.1:1"), cluster_(rd_kafka_mock_cluster_new(host_.rk(), 1)) {
    rd_kafka_mock_topic_create(cluster_, "log", 2, 1);
  }
  ~KafkaMockTest() override { rd_kafka_mock_cluster_destroy(cluster_); }

  KafkaEventLog::Options options() const {
    KafkaEventLog::Options options;
    options.connection.brokers = rd_kafka_mock_cluster_bootstraps(cluster_);
    options.topic = "log";
    options.partitions = 2;
    options.check_topic_settings = false;
    return options;
  }
  void next_answers(std::int16_t request, std::vector<rd_kafka_resp_err_t> errors) {
    rd_kafka_mock_push_request_errors_array(cluster_, request, errors.size(), errors.data());
  }
  // All in flight at once; "0 1 outcome_unknown".
  static std::string outcomes(KafkaLife& life, int count) {
    std::vector<Delivery> deliveries;
    for (int i = 0; i < count; ++i) {
      auto delivery = life.log->append(Partition{0}, "agent-1", std::to_string(i));
      EXPECT_TRUE(delivery);
      if (delivery) deliveries.push_back(std::move(*delivery));
    }
    std::string text;
    for (const Delivery& delivery : deliveries) {
      const auto offset = run(life.env, outcome_of(&life.env, delivery));
      text += (text.empty() ? "" : " ") +
              (offset ? std::to_string(offset->value()) : to_string(offset.error().code));
    }
    return text;
  }

  OtherProgram host_;
  rd_kafka_mock_cluster_t* cluster_;
};

TEST_F(KafkaMockTest, WritesAndReads) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("", life.text(Offset{}));
  EXPECT_EQ("0 1 2", outcomes(life, 3));
  EXPECT_EQ("0 1 2", life.all());
  EXPECT_EQ("3", life.end());
}

TEST_F(KafkaMockTest, ABrokerThatAsksToTryAgainChangesNothing) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  next_answers(kProduce, {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                          RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE});
  EXPECT_EQ("0 1 2", outcomes(life, 3));
  EXPECT_EQ("0 1 2", life.all());
  EXPECT_EQ(0U, life.counted("log_producers_finished"));
}

TEST_F(KafkaMockTest, WhatTheBrokersTookIsCounted) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0", life.outcome("first"));
  EXPECT_EQ("1", life.outcome("second"));
  next_answers(kProduce, {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  EXPECT_EQ("outcome_unknown", life.outcome("third"));
  EXPECT_EQ(2U, life.counted("log_batches"));
  EXPECT_EQ(11U, life.counted("log_bytes"));
}

// Records are handed over together, behind the step that has appended them.
TEST_F(KafkaMockTest, WhatTheLibraryRefusesWasNotWrittenAndNothingBehindItTakesItsPlace) {
  KafkaEventLog::Options few = options();
  few.connection.properties["queue.buffering.max.messages"] = "3";
  KafkaLife life(few);
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0 1 2 unavailable unavailable", outcomes(life, 5));
  EXPECT_EQ("3", life.outcome("later"));
  EXPECT_EQ("0 1 2 later", life.all());
  EXPECT_EQ(0U, life.counted("log_producers_finished"));
}

TEST_F(KafkaMockTest, AFailedDeliveryIsUnknownAndTheNextAppendHasANewProducer) {
  const rd_kafka_resp_err_t errors[] = {
      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
      RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT};
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0", life.outcome("first"));
  std::uint64_t finished = 0;
  for (const rd_kafka_resp_err_t error : errors) {
    next_answers(kProduce, {error});
    EXPECT_EQ("outcome_unknown", life.outcome("x")) << rd_kafka_err2name(error);
    EXPECT_EQ(++finished, life.counted("log_producers_finished"));
    rd_kafka_mock_clear_request_errors(cluster_, kProduce);
    EXPECT_EQ(std::to_string(finished), life.outcome("y"));
  }
  EXPECT_EQ("first y y y y", life.all());
}

TEST_F(KafkaMockTest, WhatIsInFlightWithAFailedDeliveryIsUnknownToo) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0", life.outcome("first"));
  rd_kafka_mock_broker_set_rtt(cluster_, 1, 300);  // So that all of them are in flight.
  next_answers(kProduce, {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  std::vector<Delivery> deliveries;
  for (int i = 0; i < 50; ++i) {
    auto delivery = life.log->append(Partition(static_cast<std::uint32_t>(i) % 2), "agent-1", "x");
    ASSERT_TRUE(delivery);
    deliveries.push_back(std::move(*delivery));
  }
  EXPECT_EQ(50U, life.log->in_flight().records);
  EXPECT_EQ(50U, life.log->in_flight().bytes);
  int unknown = 0;
  for (const Delivery& delivery : deliveries) {
    const auto offset = run(life.env, outcome_of(&life.env, delivery));
    if (!offset && offset.error().code == Errc::outcome_unknown) ++unknown;
  }
  // Reports that arrived before it stand.
  EXPECT_GE(unknown, 1);
  EXPECT_EQ(0U, life.log->in_flight().records);
  EXPECT_EQ(1U, life.counted("log_producers_finished"));
  rd_kafka_mock_broker_set_rtt(cluster_, 1, 0);
  EXPECT_TRUE(life.append("and the log takes records again"));
}

TEST_F(KafkaMockTest, ABrokerThatIsAwayIsWaitedForAndThenTheOutcomeIsUnknown) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0", life.outcome("first"));
  rd_kafka_mock_broker_set_down(cluster_, 1);
  const MonoTime before = life.env.now();
  EXPECT_EQ("outcome_unknown", life.outcome("lost"));
  EXPECT_GE(life.env.now(), before + 14s);
  EXPECT_LE(life.env.now(), before + 19s);
  EXPECT_EQ(0U, life.end().find("unavailable: "));
  rd_kafka_mock_broker_set_up(cluster_, 1);
  EXPECT_EQ("1", life.outcome("second"));
  EXPECT_EQ("first second", life.all());
}

TEST_F(KafkaMockTest, ABrokerThatIsAwayForAMomentIsNotNoticed) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0", life.outcome("first"));
  EXPECT_EQ("first", life.text(Offset{}));
  rd_kafka_mock_broker_set_down(cluster_, 1);
  const auto delivery = life.log->append(Partition{0}, "agent-1", "second");
  ASSERT_TRUE(delivery);
  EXPECT_EQ("", life.text(Offset{1}, 300ms));
  rd_kafka_mock_broker_set_up(cluster_, 1);
  const auto offset = run(life.env, outcome_of(&life.env, *delivery));
  ASSERT_TRUE(offset) << to_string(offset.error());
  EXPECT_EQ("second", life.text(Offset{1}, 5s));
}

// What a reader of `from` gets in the end who tries again when he is told to.
std::string patient(KafkaLife& life, Offset from) {
  const MonoTime deadline = life.env.now() + 20s;
  std::string text;
  while (life.env.now() < deadline) {
    text = life.text(from, 200ms);
    if (!text.empty() && text.find("unavailable") != 0) break;
  }
  return text;
}

TEST_F(KafkaMockTest, AFetchThatFailsIsTriedAgain) {
  const rd_kafka_resp_err_t errors[] = {
      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
      RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART};
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("", life.text(Offset{}));
  std::uint64_t at = 0;
  for (const rd_kafka_resp_err_t error : errors) {
    next_answers(kFetch, {error, error, error});
    EXPECT_EQ(std::to_string(at), life.outcome("x"));
    EXPECT_EQ("x", patient(life, Offset{at})) << rd_kafka_err2name(error);
    ++at;
    rd_kafka_mock_clear_request_errors(cluster_, kFetch);
  }
  EXPECT_EQ("x x x x", life.all());
}

TEST_F(KafkaMockTest, AnOffsetThatIsThereAfterAllIsReadOn) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0 1 2", outcomes(life, 3));
  KafkaLife later(options());
  ASSERT_EQ("", later.error);
  EXPECT_EQ("", later.text(Offset{3}));
  next_answers(kFetch, {RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
                        RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE});
  EXPECT_EQ("0 1 2", patient(later, Offset{}));
  EXPECT_EQ("3", life.outcome("3"));
  EXPECT_EQ("3", patient(later, Offset{3}));
}

TEST_F(KafkaMockTest, AnEndThatCannotBeToldIsAskedForAgain) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0", life.outcome("a"));
  next_answers(kListOffsets, {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION});
  EXPECT_EQ("1", life.end());
  next_answers(kListOffsets, std::vector(1000, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED));
  EXPECT_EQ(0U, life.end().find("unavailable: ")) << "it never invents one";
  rd_kafka_mock_clear_request_errors(cluster_, kListOffsets);
  EXPECT_EQ("1", life.end());
}

}  // namespace
}  // namespace varve::test
