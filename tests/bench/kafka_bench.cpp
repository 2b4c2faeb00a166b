// varve-bench-kafka: what a broker can take from one producer at the most, and how much of it the Kafka log
// gets, in one run: the same bytes, the same settings, the same number of records in flight.
//
// - raw: a librdkafka producer in a loop, its delivery reports polled by the same thread;
// - log: KafkaEventLog::append() with its outcomes awaited, without and with an owner that reads everything
//   back;
// - latency: one record in flight, until its outcome and until it is read back.
// It needs a broker (./dev services start), makes two topics of its own there and deletes them.
#include <librdkafka/rdkafka.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "eventlog/kafka_event_log.h"
#include "eventlog/kafka_topic.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Settings {
  std::string brokers = "127.0.0.1:9092";
  std::size_t records = 200'000;
  std::size_t bytes = 500;
  std::size_t in_flight = 4096;
  std::size_t single = 2'000;  // One by one, for the latency.
  std::string linger_ms = "0";
  std::size_t rounds = 3;
};

// ---- raw ----

double raw_rate(const Settings& settings, const std::string& name) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  const std::pair<const char*, std::string> wanted[] = {
      {"bootstrap.servers", settings.brokers},
      {"enable.idempotence", "true"},
      {"acks", "all"},
      {"linger.ms", settings.linger_ms},
      {"socket.nagle.disable", "true"},
      {"message.max.bytes", std::to_string(kafka::kBatchBytesMax)}};
  char text[512];
  for (const auto& [key, value] : wanted) rd_kafka_conf_set(conf, key, value.c_str(), text, sizeof(text));
  rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
  rd_kafka_t* rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
  rd_kafka_topic_t* topic = rd_kafka_topic_new(rk, name.c_str(), nullptr);
  rd_kafka_queue_t* queue = rd_kafka_queue_get_main(rk);
  std::string payload(settings.bytes, 'x');
  const std::string key = "agent-00000000-0000-4000-8000-000000000000";
  std::size_t in_flight = 0;
  const auto reap = [&](int wait) {
    while (rd_kafka_event_t* event = rd_kafka_queue_poll(queue, wait)) {
      in_flight -= rd_kafka_event_message_count(event);
      rd_kafka_event_destroy(event);
      wait = 0;
    }
  };
  const auto one = [&](std::size_t i) {
    if (rd_kafka_produce(topic, static_cast<std::int32_t>(i % 4), RD_KAFKA_MSG_F_COPY, payload.data(),
                         payload.size(), key.data(), key.size(), nullptr) == 0) {
      ++in_flight;
    }
  };
  one(0);  // Connected, with an id.
  while (in_flight > 0) reap(100);
  const auto start = Clock::now();
  for (std::size_t i = 0; i < settings.records; ++i) {
    while (in_flight >= settings.in_flight) reap(100);
    one(i);
  }
  while (in_flight > 0) reap(100);
  const double took = seconds_since(start);
  rd_kafka_queue_destroy(queue);
  rd_kafka_topic_destroy(topic);
  rd_kafka_destroy(rk);
  return static_cast<double>(settings.records) / took;
}

// ---- the log ----

struct Live {
  Live(const Settings& settings, const std::string& topic) {
    KafkaEventLog::Options options;
    options.connection.brokers = settings.brokers;
    options.connection.properties["linger.ms"] = settings.linger_ms;
    options.topic = topic;
    auto opened = KafkaEventLog::open(env, options);
    if (!opened) {
      std::fprintf(stderr, "%s\n", to_string(opened.error()).c_str());
      std::exit(1);
    }
    log = std::move(*opened);
  }
  ~Live() { env.shut_down(); }

  void run(Task<> task) {
    env.spawn("bench", stop_after(env, std::move(task)));
    env.io_context().restart();
    env.run();
  }
  static Task<> stop_after(RealEnv& env, Task<> task) {
    Status status = co_await std::move(task);
    if (!status) std::fprintf(stderr, "%s\n", to_string(status.error()).c_str());
    env.stop();
    co_return status;
  }

  RealEnv env{RealEnv::Options{.log_level = LogLevel::error}};
  std::unique_ptr<KafkaEventLog> log;
};

Task<> append_many(Live* live, std::size_t records, std::size_t bytes, std::size_t in_flight) {
  const std::string payload(bytes, 'x');
  const std::string key = "agent-00000000-0000-4000-8000-000000000000";
  std::deque<Delivery> deliveries;
  for (std::size_t i = 0; i < records; ++i) {
    while (deliveries.size() >= in_flight) {
      const Delivery first = deliveries.front();
      auto offset = co_await first->get(live->env, live->env.now() + std::chrono::seconds(20));
      if (!offset) co_return offset.error();
      while (!deliveries.empty() && deliveries.front()->ready()) deliveries.pop_front();
    }
    auto delivery = live->log->append(Partition(static_cast<std::uint32_t>(i % 4)), key, payload);
    if (!delivery) co_return delivery.error();
    deliveries.push_back(std::move(*delivery));
  }
  for (const Delivery& delivery : deliveries) {
    auto offset = co_await delivery->get(live->env, live->env.now() + std::chrono::seconds(20));
    if (!offset) co_return offset.error();
  }
  co_return ok();
}

Task<> read_back(Live* live, Partition partition, Offset from, std::size_t records) {
  std::size_t seen = 0;
  while (seen < records) {
    ReadOptions options;
    options.wait_until = live->env.now() + std::chrono::seconds(20);
    auto batch = co_await live->log->read(partition, from, options);
    if (!batch) co_return batch.error();
    seen += batch->records.size();
    from = batch->next;
  }
  co_return ok();
}

Task<> append_and_read_back(Live* live, Settings settings, std::vector<Offset> ends) {
  TaskGroup readers(live->env);
  for (std::uint32_t p = 0; p < 4; ++p) {
    Status started = readers.spawn("reader", read_back(live, Partition{p}, ends[p], settings.records / 4));
    if (!started) co_return started.error();
  }
  Status appended = co_await append_many(live, settings.records, settings.bytes, settings.in_flight);
  if (!appended) co_return appended.error();
  readers.close();
  co_return co_await readers.join(live->env.now() + std::chrono::seconds(60));
}

double log_rate(const Settings& settings, const std::string& topic, bool with_readers) {
  Live live(settings, topic);
  live.run(append_many(&live, 4, settings.bytes, 1));
  std::vector<Offset> ends(4);
  for (std::uint32_t p = 0; p < 4 && with_readers; ++p) {
    live.run([](Live* here, std::uint32_t partition, std::vector<Offset>* out) -> Task<> {
      auto end = co_await here->log->end(Partition{partition});
      if (!end) co_return end.error();
      (*out)[partition] = *end;
      co_return ok();
    }(&live, p, &ends));
  }
  const auto start = Clock::now();
  live.run(with_readers ? append_and_read_back(&live, settings, ends)
                        : append_many(&live, settings.records, settings.bytes, settings.in_flight));
  return static_cast<double>(settings.records) / seconds_since(start);
}

struct Latencies {
  std::vector<double> acknowledged;
  std::vector<double> read;
};

Task<> one_by_one(Live* live, std::size_t count, std::size_t bytes, Latencies* out) {
  const std::string payload(bytes, 'x');
  auto from = co_await live->log->end(Partition{0});
  if (!from) co_return from.error();
  for (std::size_t i = 0; i < count; ++i) {
    const auto start = Clock::now();
    auto delivery = live->log->append(Partition{0}, "agent", payload);
    if (!delivery) co_return delivery.error();
    auto offset = co_await (*delivery)->get(live->env, live->env.now() + std::chrono::seconds(20));
    if (!offset) co_return offset.error();
    out->acknowledged.push_back(seconds_since(start) * 1000);
    ReadOptions options;
    options.wait_until = live->env.now() + std::chrono::seconds(20);
    auto batch = co_await live->log->read(Partition{0}, *from, options);
    if (!batch) co_return batch.error();
    from = batch->next;
    out->read.push_back(seconds_since(start) * 1000);
  }
  co_return ok();
}

void print_percentiles(const char* what, std::vector<double> times) {
  if (times.empty()) return;
  std::sort(times.begin(), times.end());
  std::printf("%-42s p50 %6.2f ms   p99 %6.2f ms   max %6.2f ms\n", what, times[times.size() / 2],
              times[times.size() * 99 / 100], times.back());
}

void delete_topic(const Settings& settings, const std::string& name) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char text[512];
  rd_kafka_conf_set(conf, "bootstrap.servers", settings.brokers.c_str(), text, sizeof(text));
  rd_kafka_t* rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
  rd_kafka_queue_t* queue = rd_kafka_queue_new(rk);
  rd_kafka_DeleteTopic_t* topic = rd_kafka_DeleteTopic_new(name.c_str());
  rd_kafka_DeleteTopics(rk, &topic, 1, nullptr, queue);
  if (rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 10'000)) rd_kafka_event_destroy(event);
  rd_kafka_DeleteTopic_destroy(topic);
  rd_kafka_queue_destroy(queue);
  rd_kafka_destroy(rk);
}

void run_all(const Settings& settings) {
  const std::string topic = "bench." + std::to_string(::getpid());
  { const Live make_topic(settings, topic); }
  std::printf("%zu records of %zu bytes, %zu in flight, linger.ms=%s; best of %zu rounds\n", settings.records,
              settings.bytes, settings.in_flight, settings.linger_ms.c_str(), settings.rounds);
  double raw = 0;
  double log = 0;
  double whole = 0;
  for (std::size_t i = 0; i < settings.rounds; ++i) {
    raw = std::max(raw, raw_rate(settings, topic));
    log = std::max(log, log_rate(settings, topic, false));
    whole = std::max(whole, log_rate(settings, topic, true));
  }
  std::printf("%-42s %10.0f/s\n", "raw librdkafka producer", raw);
  std::printf("%-42s %10.0f/s   ratio %.2f\n", "KafkaEventLog, appends", log, log / raw);
  std::printf("%-42s %10.0f/s   ratio %.2f\n", "KafkaEventLog, appends read back", whole, whole / raw);
  Latencies latencies;
  {
    Live live(settings, topic);
    live.run(one_by_one(&live, settings.single, settings.bytes, &latencies));
  }
  print_percentiles("append until its outcome", latencies.acknowledged);
  print_percentiles("append until it is read back", latencies.read);
  delete_topic(settings, topic);
}

}  // namespace
}  // namespace varve

int main(int argc, char** argv) {
  varve::Settings settings;
  CLI::App app("What a Kafka broker takes from one producer, and how much of it the Kafka log gets.");
  app.add_option("--brokers", settings.brokers, "host:port");
  app.add_option("--records", settings.records, "of each measurement");
  app.add_option("--bytes", settings.bytes, "of a record");
  app.add_option("--in-flight", settings.in_flight, "records at a time");
  app.add_option("--single", settings.single, "records one by one");
  app.add_option("--linger-ms", settings.linger_ms, "librdkafka's linger.ms");
  app.add_option("--rounds", settings.rounds, "the best one counts");
  CLI11_PARSE(app, argc, argv);
  varve::run_all(settings);
}
