// varve-bench-kafka: what a broker can take from one producer at the most, and how much of it Varve gets, in
// one run: the same bytes, the same settings, the same number of records in flight.
//
// - the log: raw librdkafka producer, KafkaEventLog::append(), the same with everything read back; and one
//   record at a time, until its outcome and until it is read back;
// - durable commands through actors (a whole node alone, views off, many agents with one command in flight
//   each) against the raw producer with as many records of the same size in flight. What the ratio is made of
//   is told by the steps between the two, by the mean batch of each, and by the processor's time of each
//   record: of this process, and of the thread on which actors live. The broker runs beside, on the same
//   machine.
// It needs a broker (./dev services start), makes topics of its own there and deletes them.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "projections/memory_snapshot_store.h"
#include "projections/memory_view_store.h"
#include "tests/bench/actor_node.h"
#include "tests/bench/kafka_loops.h"

namespace varve::bench {
namespace {

struct Settings {
  std::string brokers = "127.0.0.1:9092";
  std::size_t records = 200'000;
  std::size_t bytes = 500;
  std::size_t in_flight = 4096;
  std::size_t single = 2'000;  // One by one, for the latency.
  std::string linger_ms = "0";
  std::size_t rounds = 3;
  std::size_t commands = 40'000;
  std::vector<std::size_t> agents = {64, 1024};
};

// A topic of this run, which is gone afterwards.
class Topic {
 public:
  Topic(const Settings& settings, const std::string& name)
      : brokers_(settings.brokers), name_("bench." + std::to_string(::getpid()) + "." + name) {}
  ~Topic() { delete_topic(brokers_, name_); }
  Topic(const Topic&) = delete;
  Topic& operator=(const Topic&) = delete;

  Loop loop(const Settings& settings) const {
    return {brokers_, name_, settings.linger_ms, settings.records, settings.bytes, settings.in_flight, 0};
  }
  void make(const Settings& settings) const {
    RealEnv env{RealEnv::Options{.log_level = LogLevel::error}};
    { const auto log = open_log(env, loop(settings)); }
    env.shut_down();
  }

 private:
  std::string brokers_;
  std::string name_;
};

// ---- the log

void print_percentiles(const char* what, std::vector<double> times) {
  if (times.empty()) return;
  std::sort(times.begin(), times.end());
  std::printf("%-42s p50 %6.2f ms   p99 %6.2f ms   max %6.2f ms\n", what, times[times.size() / 2],
              times[times.size() * 99 / 100], times.back());
}

void compare_log(const Settings& settings) {
  if (settings.records == 0) return;
  const Topic topic(settings, "log");
  topic.make(settings);
  const Loop loop = topic.loop(settings);
  std::printf("%zu records of %zu bytes, %zu in flight, linger.ms=%s; best of %zu rounds\n", settings.records,
              settings.bytes, settings.in_flight, settings.linger_ms.c_str(), settings.rounds);
  double raw = 0;
  double log = 0;
  double whole = 0;
  for (std::size_t i = 0; i < settings.rounds; ++i) {
    raw = std::max(raw, raw_loop(loop).cost.per_second);
    log = std::max(log, append_loop(loop).cost.per_second);
    whole = std::max(whole, read_back_loop(loop).cost.per_second);
  }
  std::printf("%-42s %10.0f/s\n", "raw librdkafka producer", raw);
  std::printf("%-42s %10.0f/s   ratio %.2f\n", "KafkaEventLog, appends", log, log / raw);
  std::printf("%-42s %10.0f/s   ratio %.2f\n", "KafkaEventLog, appends read back", whole, whole / raw);
  const Latencies latencies = one_by_one(loop, settings.single);
  print_percentiles("append until its outcome", latencies.acknowledged);
  print_percentiles("append until it is read back", latencies.read);
}

// ---- actors

// The figures of one kind, a round each.
struct Rounds {
  std::vector<double> per_second, batch, process_us, thread_us;

  void add(const Cost& cost, double mean_batch) {
    per_second.push_back(cost.per_second);
    batch.push_back(mean_batch);
    process_us.push_back(cost.process_us);
    thread_us.push_back(cost.thread_us);
  }
  void add(const LoopFigures& figures) { add(figures.cost, figures.batch); }
  // `actors`: the rate that is compared with this one.
  void print(const char* what, double actors) const {
    const double rate = median(per_second);
    std::printf("  %-42s %8.0f/s   ratio %.2f   batch %5.1f   processor %5.1f us, this thread %5.1f us\n",
                what, rate, actors / rate, median(batch), median(process_us), median(thread_us));
  }
};

ActorFigures through_actors(const Settings& settings, const Loop& loop, std::size_t agents) {
  const ActorNode::Open on_kafka = [&loop](RealEnv& env) {
    return ActorNode::Stores{
        open_log(env, loop),
        std::make_unique<MemorySnapshotStore>(env, std::make_shared<MemorySnapshotStorage>()),
        std::make_unique<MemoryViewStore>(env, std::make_shared<MemoryViewStorage>())};
  };
  ActorNode server(on_kafka, false);
  server.run(prepare(server, agents));
  return measure_updates(server, agents, settings.commands);
}

void compare_actors(const Settings& settings, std::size_t agents) {
  const Topic raw_topic(settings, "raw-" + std::to_string(agents));
  raw_topic.make(settings);
  Rounds actors, raw, same_batch, appends, whole;
  double bytes = 0;
  for (std::size_t round = 0; round < settings.rounds; ++round) {
    const Topic topic(settings, "actors-" + std::to_string(agents) + "-" + std::to_string(round));
    const ActorFigures figures = through_actors(settings, topic.loop(settings), agents);
    actors.add(figures.cost, figures.batch);
    bytes = figures.bytes;
    Loop loop = raw_topic.loop(settings);
    loop.records = settings.commands;
    loop.bytes = static_cast<std::size_t>(std::lround(figures.bytes));
    loop.in_flight = agents;
    raw.add(raw_loop(loop));
    appends.add(append_loop(loop));
    whole.add(read_back_loop(loop));
    loop.batch_max = static_cast<std::size_t>(std::max(1L, std::lround(figures.batch)));
    same_batch.add(raw_loop(loop));
  }
  const double rate = median(actors.per_second);
  std::printf(
      "%zu agents, one command in flight each, %zu commands, records of %.0f bytes; medians of %zu rounds\n",
      agents, settings.commands, bytes, settings.rounds);
  actors.print("durable commands through actors", rate);
  whole.print("KafkaEventLog, appends read back", rate);
  appends.print("KafkaEventLog, appends", rate);
  same_batch.print("raw librdkafka producer, batches as actors'", rate);
  raw.print("raw librdkafka producer", rate);
}

void run_all(const Settings& settings) {
  std::printf("broker and this process share the machine's %ld processors\n",
              ::sysconf(_SC_NPROCESSORS_ONLN));
  compare_log(settings);
  for (const std::size_t agents : settings.agents) compare_actors(settings, agents);
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  varve::bench::Settings settings;
  CLI::App app("What a Kafka broker takes from one producer, and how much of it Varve gets.");
  app.add_option("--brokers", settings.brokers, "host:port");
  app.add_option("--records", settings.records, "of each measurement of the log; 0 = none of them");
  app.add_option("--bytes", settings.bytes, "of a record");
  app.add_option("--in-flight", settings.in_flight, "records at a time");
  app.add_option("--single", settings.single, "records one by one");
  app.add_option("--linger-ms", settings.linger_ms, "librdkafka's linger.ms");
  app.add_option("--rounds", settings.rounds, "of the log the best one counts, of actors the median");
  app.add_option("--commands", settings.commands, "through actors, in each round");
  app.add_option("--agents", settings.agents,
                 "that have a command in flight each; several = one after the other");
  CLI11_PARSE(app, argc, argv);
  varve::bench::run_all(settings);
}
