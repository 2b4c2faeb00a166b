#include "tests/bench/kafka_loops.h"

#include <librdkafka/rdkafka.h>

#include <deque>

#include "eventlog/kafka_topic.h"
#include "tests/bench/actor_node.h"

namespace varve::bench {
namespace {

constexpr std::uint32_t kPartitions = 4;
constexpr std::chrono::seconds kPatience{20};
constexpr const char* kKey = "agent-00000000-0000-4000-8000-000000000000";

// ---- the producer alone

class RawProducer {
 public:
  explicit RawProducer(const Loop& loop) : loop_(loop), payload_(loop.bytes, 'x') {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", loop.brokers);
    set(conf, "enable.idempotence", "true");
    set(conf, "acks", "all");
    set(conf, "linger.ms", loop.linger_ms);
    set(conf, "socket.nagle.disable", "true");
    set(conf, "message.max.bytes", std::to_string(kafka::kBatchBytesMax));
    if (loop.batch_max > 0) set(conf, "batch.num.messages", std::to_string(loop.batch_max));
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
    char text[512];
    rk_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (rk_ == nullptr) give_up({Errc::invalid_argument, text});
    topic_ = rd_kafka_topic_new(rk_, loop.topic.c_str(), nullptr);
    queue_ = rd_kafka_queue_get_main(rk_);
  }
  ~RawProducer() {
    rd_kafka_queue_destroy(queue_);
    rd_kafka_topic_destroy(topic_);
    rd_kafka_destroy(rk_);
  }
  RawProducer(const RawProducer&) = delete;
  RawProducer& operator=(const RawProducer&) = delete;

  void write(std::size_t records) {
    for (std::size_t i = 0; i < records; ++i) {
      while (in_flight_ >= loop_.in_flight) reap(100);
      one(i);
    }
    while (in_flight_ > 0) reap(100);
  }
  // Reports so far: each is of one batch.
  std::size_t batches() const { return batches_; }

 private:
  static void set(rd_kafka_conf_t* conf, const char* name, const std::string& value) {
    char text[512];
    if (rd_kafka_conf_set(conf, name, value.c_str(), text, sizeof(text)) != RD_KAFKA_CONF_OK)
      give_up({Errc::invalid_argument, text});
  }
  void one(std::size_t i) {
    const auto partition = static_cast<std::int32_t>(i % kPartitions);
    if (rd_kafka_produce(topic_, partition, RD_KAFKA_MSG_F_COPY, payload_.data(), payload_.size(), kKey,
                         std::char_traits<char>::length(kKey), nullptr) != 0) {
      give_up({Errc::unavailable, rd_kafka_err2str(rd_kafka_last_error())});
    }
    ++in_flight_;
  }
  void reap(int wait_ms) {
    while (rd_kafka_event_t* event = rd_kafka_queue_poll(queue_, wait_ms)) {
      wait_ms = 0;
      const std::size_t reported = rd_kafka_event_message_count(event);
      in_flight_ -= reported;
      if (reported > 0) ++batches_;
      while (const rd_kafka_message_t* message = rd_kafka_event_message_next(event)) {
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
          give_up({Errc::unavailable, rd_kafka_err2str(message->err)});
      }
      rd_kafka_event_destroy(event);
    }
  }

  const Loop& loop_;
  std::string payload_;
  rd_kafka_t* rk_ = nullptr;
  rd_kafka_topic_t* topic_ = nullptr;
  rd_kafka_queue_t* queue_ = nullptr;
  std::size_t in_flight_ = 0;
  std::size_t batches_ = 0;
};

// ---- the log

struct Live {
  explicit Live(const Loop& loop) : log(open_log(env, loop)) {}
  ~Live() { env.shut_down(); }
  Live(const Live&) = delete;
  Live& operator=(const Live&) = delete;

  void run(Task<> task) {
    env.spawn("bench", stop_after(env, std::move(task)));
    env.io_context().restart();
    env.run();
  }
  static Task<> stop_after(RealEnv& env, Task<> task) {
    Status status = co_await std::move(task);
    if (!status) give_up(status.error());
    env.stop();
    co_return ok();
  }
  std::uint64_t batches() const {
    const auto found = env.counters().find("log_batches");
    return found == env.counters().end() ? 0 : found->second;
  }

  RealEnv env{RealEnv::Options{.log_level = LogLevel::error}};
  std::unique_ptr<KafkaEventLog> log;
};

Task<> append_many(Live* live, std::size_t records, std::size_t bytes, std::size_t in_flight) {
  const std::string payload(bytes, 'x');
  std::deque<Delivery> deliveries;
  for (std::size_t i = 0; i < records; ++i) {
    while (deliveries.size() >= in_flight) {
      const Delivery first = deliveries.front();
      auto offset = co_await first->get(live->env, live->env.now() + kPatience);
      if (!offset) co_return offset.error();
      while (!deliveries.empty() && deliveries.front()->ready()) deliveries.pop_front();
    }
    auto delivery = live->log->append(Partition(static_cast<std::uint32_t>(i % kPartitions)), kKey, payload);
    if (!delivery) co_return delivery.error();
    deliveries.push_back(std::move(*delivery));
  }
  for (const Delivery& delivery : deliveries) {
    auto offset = co_await delivery->get(live->env, live->env.now() + kPatience);
    if (!offset) co_return offset.error();
  }
  co_return ok();
}

Task<> find_ends(Live* live, std::vector<Offset>* ends) {
  for (std::uint32_t number = 0; number < kPartitions; ++number) {
    auto end = co_await live->log->end(Partition{number});
    if (!end) co_return end.error();
    ends->push_back(*end);
  }
  co_return ok();
}

Task<> read_back(Live* live, Partition partition, Offset from, std::size_t records) {
  std::size_t seen = 0;
  while (seen < records) {
    ReadOptions options;
    options.wait_until = live->env.now() + kPatience;
    auto batch = co_await live->log->read(partition, from, options);
    if (!batch) co_return batch.error();
    seen += batch->records.size();
    from = batch->next;
  }
  co_return ok();
}

Task<> append_and_read_back(Live* live, Loop loop, std::vector<Offset> ends) {
  TaskGroup readers(live->env);
  for (std::uint32_t number = 0; number < kPartitions; ++number) {
    // Record i goes to partition i modulo their number.
    const std::size_t its = (loop.records + kPartitions - 1 - number) / kPartitions;
    Status started = readers.spawn("reader", read_back(live, Partition{number}, ends[number], its));
    if (!started) co_return started;
  }
  Status appended = co_await append_many(live, loop.records, loop.bytes, loop.in_flight);
  if (!appended) co_return appended;
  readers.close();
  co_return co_await readers.join(live->env.now() + std::chrono::seconds{60});
}

LoopFigures log_loop(const Loop& loop, bool with_readers) {
  Live live(loop);
  live.run(append_many(&live, kPartitions, loop.bytes, 1));
  std::vector<Offset> ends;
  live.run(find_ends(&live, &ends));
  const std::uint64_t batches = live.batches();
  const Stopwatch watch;
  live.run(with_readers ? append_and_read_back(&live, loop, ends)
                        : append_many(&live, loop.records, loop.bytes, loop.in_flight));
  const Cost cost = watch.stop(loop.records);
  const auto written = static_cast<double>(std::max<std::uint64_t>(1, live.batches() - batches));
  return {cost, static_cast<double>(loop.records) / written};
}

Task<> measure_one_by_one(Live* live, std::size_t count, std::size_t bytes, Latencies* out) {
  const std::string payload(bytes, 'x');
  auto from = co_await live->log->end(Partition{0});
  if (!from) co_return from.error();
  for (std::size_t i = 0; i < count; ++i) {
    const auto start = Clock::now();
    auto delivery = live->log->append(Partition{0}, "agent", payload);
    if (!delivery) co_return delivery.error();
    auto offset = co_await (*delivery)->get(live->env, live->env.now() + kPatience);
    if (!offset) co_return offset.error();
    out->acknowledged.push_back(seconds_since(start) * 1000);
    ReadOptions options;
    options.wait_until = live->env.now() + kPatience;
    auto batch = co_await live->log->read(Partition{0}, *from, options);
    if (!batch) co_return batch.error();
    from = batch->next;
    out->read.push_back(seconds_since(start) * 1000);
  }
  co_return ok();
}

}  // namespace

LoopFigures raw_loop(const Loop& loop) {
  RawProducer producer(loop);
  producer.write(kPartitions);  // Connected to all, with an id.
  const std::size_t batches = producer.batches();
  const Stopwatch watch;
  producer.write(loop.records);
  const Cost cost = watch.stop(loop.records);
  const auto written = static_cast<double>(std::max<std::size_t>(1, producer.batches() - batches));
  return {cost, static_cast<double>(loop.records) / written};
}

LoopFigures append_loop(const Loop& loop) {
  return log_loop(loop, false);
}

LoopFigures read_back_loop(const Loop& loop) {
  return log_loop(loop, true);
}

Latencies one_by_one(const Loop& loop, std::size_t count) {
  Live live(loop);
  Latencies latencies;
  live.run(measure_one_by_one(&live, count, loop.bytes, &latencies));
  return latencies;
}

std::unique_ptr<KafkaEventLog> open_log(RealEnv& env, const Loop& loop) {
  KafkaEventLog::Options options;
  options.connection.brokers = loop.brokers;
  options.connection.properties["linger.ms"] = loop.linger_ms;
  options.topic = loop.topic;
  options.partitions = kPartitions;
  return must(KafkaEventLog::open(env, std::move(options)));
}

void delete_topic(const std::string& brokers, const std::string& name) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char text[512];
  rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), text, sizeof(text));
  rd_kafka_t* rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
  rd_kafka_queue_t* queue = rd_kafka_queue_new(rk);
  rd_kafka_DeleteTopic_t* topic = rd_kafka_DeleteTopic_new(name.c_str());
  rd_kafka_DeleteTopics(rk, &topic, 1, nullptr, queue);
  if (rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 10'000)) rd_kafka_event_destroy(event);
  rd_kafka_DeleteTopic_destroy(topic);
  rd_kafka_queue_destroy(queue);
  rd_kafka_destroy(rk);
}

}  // namespace varve::bench
