// The Kafka log takes the exam of the port on a real broker; then what its topic, its readers and its login
// promise. Injected errors and time-outs: kafka_mock_test.cpp.
#include "eventlog/kafka_event_log.h"

#include "eventlog/kafka_fetch.h"
#include "eventlog/kafka_topic.h"
#include "tests/eventlog/kafka_support.h"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

KafkaEventLog::Options options_for(const std::string& topic) {
  KafkaEventLog::Options options;
  options.connection.brokers = service_addresses().kafka;
  options.topic = topic;
  return options;
}

class KafkaWorld final : public LogWorld {
 public:
  ~KafkaWorld() override { OtherProgram(service_addresses().kafka).delete_topic(topic_); }
  std::unique_ptr<EventLog> open(Env& env) override {
    auto log = KafkaEventLog::open(dynamic_cast<RealEnv&>(env), options_for(topic_));
    EXPECT_TRUE(log) << to_string(log ? Error{} : log.error());
    return log ? std::move(*log) : nullptr;
  }

 private:
  std::string topic_ = new_topic_name();
};

const LogCase kCases[] = {{"kafka", [] { return std::make_unique<KafkaWorld>(); }}};

INSTANTIATE_TEST_SUITE_P(Kafka, EventLogContract, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

class KafkaEventLogTest : public ::testing::Test {
 protected:
  ~KafkaEventLogTest() override { other_.delete_topic(topic_); }

  KafkaEventLog::Options options() const { return options_for(topic_); }
  std::string open_error(KafkaEventLog::Options options) { return KafkaLife(std::move(options)).error; }

  std::string topic_ = new_topic_name();
  OtherProgram other_{service_addresses().kafka};
};

// ---- the topic ----

TEST_F(KafkaEventLogTest, MakesATopicThatItAcceptsItself) {
  EXPECT_EQ("", open_error(options()));
  EXPECT_EQ("", open_error(options()));
}

TEST_F(KafkaEventLogTest, WhoOnlyReadsMakesNoTopic) {
  KafkaEventLog::Options to_read = options();
  to_read.make_topic = false;
  const std::string refused = "not_found: there is no topic '" + topic_ + "' at the Kafka brokers " +
                              to_read.connection.brokers + "; a server makes it when it starts";
  EXPECT_EQ(refused, open_error(to_read));
  EXPECT_EQ(refused, open_error(to_read));  // It was not made in passing.
  EXPECT_EQ("", open_error(options()));
  EXPECT_EQ("", open_error(to_read));
}

TEST_F(KafkaEventLogTest, RefusesATopicWithAnotherNumberOfPartitions) {
  other_.make_topic(topic_, 3);
  EXPECT_EQ(
      "invalid_argument: the topic '" + topic_ +
          "' has 3 partitions, the configuration says 4: the number of partitions is fixed when a log is "
          "made",
      open_error(options()));
}

TEST_F(KafkaEventLogTest, RefusesATopicThatCouldLoseOrHideARecord) {
  const std::pair<OtherProgram::Settings, std::string> cases[] = {
      {{{"cleanup.policy", "compact"}},
       "cleanup.policy=compact, expected delete: compaction would remove records"},
      {{{"cleanup.policy", "compact,delete"}},
       "cleanup.policy=compact,delete, expected delete: compaction would remove records"},
      {{{"retention.ms", "604800000"}}, "retention.ms=604800000, expected -1: the log must be kept for ever"},
      {{{"retention.bytes", "1000000000"}},
       "retention.bytes=1000000000, expected -1: the log must be kept for ever"},
      {{{"max.message.bytes", "10485760"}},
       "max.message.bytes=10485760, expected at least 10551296: a record may have 10 MiB"},
      {{{"unclean.leader.election.enable", "true"}},
       "unclean.leader.election.enable=true, expected false: a replica that is behind would forget "
       "acknowledged records"},
      {{{"min.insync.replicas", "2"}},
       "min.insync.replicas=2, expected 1 with 1 replica: no record could be written"}};
  for (const auto& [settings, expected] : cases) {
    const std::string topic = new_topic_name();
    other_.make_topic(topic, 4, settings);
    EXPECT_EQ("invalid_argument: the topic '" + topic + "' has " + expected, open_error(options_for(topic)));
    other_.delete_topic(topic);
  }
}

TEST(KafkaTopicTest, AsManyReplicasAcknowledgeThatLosingOneLosesNothing) {
  std::map<std::string, std::string> settings{{"cleanup.policy", "delete"},
                                              {"retention.ms", "-1"},
                                              {"retention.bytes", "-1"},
                                              {"max.message.bytes", "11000000"},
                                              {"unclean.leader.election.enable", "false"}};
  const auto judge = [&settings](std::uint32_t replicas, const std::string& in_sync) {
    settings["min.insync.replicas"] = in_sync;
    const Status judged = kafka::judge_topic("t", {4, replicas}, settings);
    return judged ? "ok" : judged.error().message;
  };
  EXPECT_EQ("ok", judge(1, "1"));
  EXPECT_EQ("ok", judge(2, "2"));
  EXPECT_EQ("ok", judge(3, "2"));
  EXPECT_EQ("ok", judge(3, "3"));
  EXPECT_EQ(
      "the topic 't' has min.insync.replicas=1, expected 2 to 3 with 3 replicas: an acknowledged record "
      "would be lost with one broker",
      judge(3, "1"));
  EXPECT_EQ(
      "the topic 't' has min.insync.replicas=1, expected 2 with 2 replicas: an acknowledged record would "
      "be lost with one broker",
      judge(2, "1"));
  EXPECT_EQ(
      "the topic 't' has min.insync.replicas=4, expected 2 to 3 with 3 replicas: no record could be "
      "written",
      judge(3, "4"));
  for (std::uint32_t replicas = 1; replicas <= 7; ++replicas) {
    EXPECT_EQ("ok", judge(replicas, std::to_string(kafka::replicas_in_sync(replicas))));
  }
}

// ---- the connection ----

TEST(KafkaConnectionTest, NoBrokerIsSaidWithinTheTime) {
  KafkaEventLog::Options options;
  options.connection.brokers = "127.0.0.1:1";
  options.open_time = 2s;
  const auto before = std::chrono::steady_clock::now();
  const std::string error = KafkaLife(options).error;
  EXPECT_EQ(0U, error.find("unavailable: no Kafka broker answers (brokers 127.0.0.1:1, after 2 s)")) << error;
  EXPECT_NE(std::string::npos, error.find("Connection refused")) << error;
  EXPECT_LT(std::chrono::steady_clock::now() - before, 5s);
}

KafkaEventLog::Options sasl_options(const std::string& user, const std::string& password) {
  KafkaEventLog::Options options = options_for(new_topic_name());
  options.connection.brokers = service_addresses().kafka_sasl;
  options.connection.properties = {{"security.protocol", "SASL_PLAINTEXT"},
                                   {"sasl.mechanism", "PLAIN"},
                                   {"sasl.username", user},
                                   {"sasl.password", password}};
  return options;
}

TEST(KafkaConnectionTest, ALoginPassesThrough) {
  const auto options = sasl_options("varve", "varve-sasl");
  KafkaLife life(options);
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0", life.outcome("a"));
  EXPECT_EQ("a", life.all());
  OtherProgram(service_addresses().kafka).delete_topic(options.topic);
}

TEST(KafkaConnectionTest, AWrongPasswordIsSaidAtOnce) {
  const auto before = std::chrono::steady_clock::now();
  const std::string error = KafkaLife(sasl_options("varve", "wrong")).error;
  EXPECT_EQ(0U, error.find("invalid_argument: the Kafka brokers refuse the login: ")) << error;
  EXPECT_LT(std::chrono::steady_clock::now() - before, 5s);
}

TEST(KafkaConnectionTest, AUserWithoutRightsIsToldWhichOnesAreMissing) {
  const auto options = sasl_options("stranger", "stranger-sasl");
  OtherProgram other(service_addresses().kafka);
  other.make_topic(options.topic, 4);
  EXPECT_EQ("invalid_argument: the Kafka user has no right to describe the topic '" + options.topic +
                "': it needs Describe, DescribeConfigs, Read and Write there",
            KafkaLife(options).error);
  other.delete_topic(options.topic);
}

TEST(KafkaConnectionTest, ASettingThatWouldBreakAPromiseIsRefusedByName) {
  const auto refusal = [](const std::string& name, const std::string& value) {
    const Status checked = kafka::check_properties({{name, value}});
    return checked ? "ok" : to_string(checked.error());
  };
  EXPECT_EQ(
      "invalid_argument: kafka.enable.idempotence cannot be set: without it appends could change their "
      "order",
      refusal("enable.idempotence", "false"));
  for (const char* name : {"acks", "isolation.level", "auto.offset.reset", "enable.auto.commit", "check.crcs",
                           "message.timeout.ms", "group.id", "bootstrap.servers", "client.rack"}) {
    EXPECT_EQ(0U,
              refusal(name, "1").find("invalid_argument: kafka." + std::string(name) + " cannot be set: "));
  }
  EXPECT_EQ(0U,
            refusal("no.such.thing", "1").find("invalid_argument: kafka.no.such.thing is no setting of "));
  EXPECT_EQ(0U, refusal("security.protocol", "x").find("invalid_argument: kafka.security.protocol: "));
  EXPECT_EQ("ok", refusal("ssl.ca.location", "/nowhere"));
  EXPECT_EQ("ok", refusal("linger.ms", "1"));
}

// ---- readers ----

TEST_F(KafkaEventLogTest, ReadersAtDifferentPlacesOfOnePartitionDoNotDisturbEachOther) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(life.append(std::to_string(i)));
  KafkaLife later(options());  // Its tail begins at 300.
  ASSERT_EQ("", later.error);
  EXPECT_EQ("", later.text(Offset{300}));

  // More at a time than there are consumers, each in small steps from its own place, while records arrive.
  auto sums = std::make_shared<std::vector<std::string>>();
  constexpr int kReaders = 10;
  const auto scan = [](EventLog* log, Offset from, std::shared_ptr<std::vector<std::string>> out) -> Task<> {
    std::string text;
    ReadOptions few;
    few.records_max = 7;
    while (from < Offset{300}) {
      auto batch = co_await log->read(Partition{0}, from, few);
      if (!batch) {
        text += to_string(batch.error());
        break;
      }
      if (batch->next > Offset{300}) batch->records.resize(300 - from.value());
      for (const LogRecord& record : batch->records) text += *record.bytes + " ";
      from = batch->next;
    }
    out->push_back(text);
    co_return ok();
  };
  std::vector<std::string> expected;
  for (int reader = 0; reader < kReaders; ++reader) {
    std::string text;
    for (int i = reader * 13; i < 300; ++i) text += std::to_string(i) + " ";
    expected.push_back(text);
    later.env.spawn("scan", scan(later.log.get(), Offset{static_cast<std::uint64_t>(reader * 13)}, sums));
  }
  for (int i = 0; i < 1000 && sums->size() < kReaders; ++i) ASSERT_TRUE(later.append("new"));
  std::sort(sums->begin(), sums->end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(expected, *sums);
  EXPECT_LE(later.counted("log_consumers_opened"), kafka::Cursors::kConsumersMax);
}

TEST_F(KafkaEventLogTest, WhatHasLeftTheTailIsReadFromTheBroker) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("", life.text(Offset{}));
  const std::string big(std::size_t{3} << 20U, 'x');
  std::vector<Offset> expected;
  for (int i = 0; i < 10; ++i) {
    const auto offset = life.append(std::to_string(i) + big);
    ASSERT_TRUE(offset);
    expected.push_back(*offset);
  }
  // The tail gets them a little later than they are written: until then it still holds the first ones.
  for (int i = 0; i < 1000 && life.counted("log_consumers_opened") == 0; ++i) {
    const auto records = run(life.env, read_to_end(life.log.get(), Partition{0}, Offset{}));
    ASSERT_TRUE(records);
    std::vector<Offset> found;
    std::string firsts;
    for (const LogRecord& record : *records) {
      found.push_back(record.offset);
      firsts += (*record.bytes)[0];
    }
    EXPECT_EQ(expected, found);
    EXPECT_EQ("0123456789", firsts);
  }
  EXPECT_EQ(1U, life.counted("log_consumers_opened"));
}

TEST_F(KafkaEventLogTest, ARecordOfAnotherProgramIsJustBytes) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("0", life.outcome("ours"));
  other_.write(topic_, 0, "somebody else's");
  EXPECT_EQ("ours somebody else's", life.all());
  EXPECT_EQ("2", life.end());
}

TEST_F(KafkaEventLogTest, WhatATransactionLeavesBehindIsAGap) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("", life.text(Offset{}));  // One partition is followed meanwhile, the other is scanned.
  OtherProgram bank(service_addresses().kafka, {{"transactional.id", topic_}});
  ASSERT_EQ(nullptr, rd_kafka_init_transactions(bank.rk(), 20'000));
  for (const int partition : {0, 1}) {
    ASSERT_EQ(nullptr, rd_kafka_begin_transaction(bank.rk()));
    bank.write(topic_, partition, "a");
    ASSERT_EQ(nullptr, rd_kafka_commit_transaction(bank.rk(), 20'000));
    // Its end takes an offset and is no record.
    const auto batch = life.read(Offset{}, 5s, Partition(static_cast<std::uint32_t>(partition)));
    ASSERT_TRUE(batch);
    EXPECT_EQ("a", text_of(batch->records));
  }
  for (const Partition partition : {Partition{0}, Partition{1}}) {
    EXPECT_EQ("2", life.end(partition));
    EXPECT_EQ("", life.text(Offset{1}, 0s, partition));
    EXPECT_EQ("", life.text(Offset{2}, 0s, partition));
    EXPECT_EQ("2", life.outcome("b", partition));
    EXPECT_EQ("a b", life.all(partition));
    EXPECT_EQ("b", life.text(Offset{1}, 0s, partition));
  }
}

TEST_F(KafkaEventLogTest, ARecordIsReadBackSoonAfterItWasWritten) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  EXPECT_EQ("", life.text(Offset{}));
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(std::to_string(i), life.outcome("x"));
    const auto batch = life.read(Offset{static_cast<std::uint64_t>(i)}, 5s);
    ASSERT_TRUE(batch);
    EXPECT_EQ("x", text_of(batch->records));
  }
  EXPECT_EQ(0U, life.counted("log_consumers_opened")) << "the tail has it";
}

// ---- a log that is not the one it was ----

TEST_F(KafkaEventLogTest, RecordsThatWereDeletedAreMissed) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  for (const char* bytes : {"a", "b", "c"}) ASSERT_TRUE(life.append(bytes));
  other_.delete_records(topic_, 0, 2);
  KafkaLife later(options());
  ASSERT_EQ("", later.error);
  EXPECT_EQ("corrupt: the log of partition 0 begins at 2, a reader wants 0: records were deleted",
            later.text(Offset{}));
  EXPECT_EQ("c", later.text(Offset{2}));
}

class ExchangedTopicTest : public KafkaEventLogTest {
 protected:
  void exchange(std::initializer_list<const char*> records) {
    other_.delete_topic(topic_);
    other_.make_topic(topic_, 4);
    for (const char* bytes : records) other_.write(topic_, 0, bytes);
  }
  // What somebody who goes on reading is told in the end.
  static std::string told(KafkaLife& life, Offset from) {
    const MonoTime deadline = life.env.now() + 30s;
    while (life.env.now() < deadline) {
      const auto batch = life.read(from, 500ms);
      if (batch) from = batch->next;
      if (!batch && batch.error().code != Errc::unavailable) return to_string(batch.error());
    }
    return "nothing";
  }
};

TEST_F(ExchangedTopicTest, EveryReaderRefusesAShorterOne) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  for (const char* bytes : {"a", "b", "c"}) ASSERT_TRUE(life.append(bytes));
  EXPECT_EQ("a b c", life.all());
  exchange({"other"});
  EXPECT_EQ(0U, told(life, Offset{3}).find("corrupt: ")) << life.lines;
}

TEST_F(ExchangedTopicTest, EveryReaderRefusesALongerOne) {
  KafkaLife life(options());
  ASSERT_EQ("", life.error);
  for (const char* bytes : {"a", "b", "c"}) ASSERT_TRUE(life.append(bytes));
  EXPECT_EQ("a b c", life.all());
  exchange({"other", "records", "than", "there", "were"});
  const std::string waiting = told(life, Offset{3});
  EXPECT_NE(std::string::npos,
            waiting.find("the topic '" + topic_ + "' was truncated, or deleted and made again"))
      << waiting << life.lines;
  // From then on nobody reads, wherever he is, and nothing is written.
  EXPECT_EQ(waiting, life.text(Offset{}));
  EXPECT_EQ("unavailable", life.outcome("d"));
}

TEST_F(ExchangedTopicTest, WhoStartsAgainMissesTheRecordThatHeHadRead) {
  Mark mark;
  {
    KafkaLife life(options());
    ASSERT_EQ("", life.error);
    for (const char* bytes : {"a", "b"}) ASSERT_TRUE(life.append(bytes));
    const auto batch = life.read(Offset{});
    ASSERT_TRUE(batch);
    mark = mark_of(batch->records.back());
    EXPECT_TRUE(run(life.env, check_mark(*life.log, Partition{0}, mark)));
  }
  exchange({"other", "records", "than", "there", "were"});
  KafkaLife later(options());
  ASSERT_EQ("", later.error);
  const Status same = run(later.env, check_mark(*later.log, Partition{0}, mark));
  ASSERT_FALSE(same);
  EXPECT_EQ(Errc::corrupt, same.error().code);
}

}  // namespace
}  // namespace varve::test
