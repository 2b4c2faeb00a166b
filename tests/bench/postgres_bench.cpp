// varve-bench-postgres: how fast the log becomes views in PostgreSQL, against raw COPY of the same rows into
// the same tables, in one run on one server.
//
// - fold: the events as batches, nothing stored;
// - live: ProjectionWorker from a log in memory into PostgreSQL, as the nodes do it; messages are indexed for
// search;
// - COPY: the rows that are there afterwards, bytes ready, all in one transaction into the empty tables of
// another
//   generation: with all indexes, as live has them, and without any (a bound that nothing which can be read
//   reaches);
// - one turn per batch: the latency of a commit, which a client with ack=view waits for;
// - round trips per batch, counted on the wire.
// It needs a migrated database (./dev services start; varve migrate) and uses generations of its own there,
// which it drops.
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <thread>

#include "eventlog/memory_event_log.h"
#include "projections/postgres_migrate.h"
#include "projections/postgres_view_store.h"
#include "projections/worker.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Settings {
  std::string url;
  std::size_t turns = 15'000;
  std::size_t agents = 200;
  std::size_t single = 500;  // Batches of one turn.
  std::size_t rounds = 3;
};

constexpr std::uint64_t kLive = 1;
constexpr std::uint64_t kCopied = 2;
constexpr std::uint64_t kBare = 3;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "varve-bench-postgres: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result) give_up(to_string(result.error()));
  return *std::move(result);
}

// ---- events ----

class Log {
 public:
  Log() { land(Claim{Epoch{1}, {}, "varve", "n", "http://127.0.0.1:1", 1, WallTime{1}}); }

  void create_agent(std::size_t number) {
    AgentCreated created;
    created.settings.name = "bench";
    created.settings.model = "varve/echo";
    created.settings.agent_type = "letta_v1_agent";
    created.settings.timezone = "UTC";
    created.settings.system = "Be kind.";
    created.messages = {message(Role::system, "Be kind.")};
    commit(number, {created});
  }

  // What a request with one answer makes: four events in two commits.
  void take_turn(std::size_t agent) {
    const std::string run_id = "run-" + uuid4(rng_);
    UserMessageReceived asked;
    asked.run_id = run_id;
    asked.messages = {message(Role::user, sentence(12))};
    commit(agent, {asked});
    AssistantReplied replied;
    replied.run_id = run_id;
    replied.message = message(Role::assistant, sentence(40));
    replied.message.step_id = "step-" + uuid4(rng_);
    replied.model = "varve/echo";
    replied.usage = {100, 50, 1, 150};
    TurnFinished finished;
    finished.run_id = run_id;
    finished.stop_reason = "end_turn";
    finished.usage = replied.usage;
    commit(agent, {replied, finished});
  }

  std::shared_ptr<MemoryLogStorage> storage() const { return storage_; }
  std::size_t events() const { return events_; }

 private:
  Message message(Role role, const std::string& text) {
    Message out;
    out.id = "message-" + uuid4(rng_);
    out.role = role;
    out.content.clear();
    append_json_string(out.content, text);
    return out;
  }
  std::string sentence(std::size_t words) {
    static constexpr std::array kCommon{"the", "of", "and", "to", "a", "in", "is", "you", "that", "it"};
    std::string out;
    for (std::size_t i = 0; i < words; ++i) {
      if (i > 0) out += ' ';
      const bool common = rng_.chance(1, 2);
      out += common ? kCommon[rng_.below(kCommon.size())] : "word" + std::to_string(rng_.below(20'000));
    }
    return out;
  }
  void commit(std::size_t agent, const std::vector<Event>& events) {
    const std::string stream = "agent-" + derived_uuid(command_id_from_text("bench"), "agent", agent);
    Part part{StreamId{stream}, Sequence{sequences_[agent] + 1}, {events.begin(), events.end()}};
    sequences_[agent] += events.size();
    events_ += events.size();
    ++n_;
    const CommandRef command{command_id_from_text(std::to_string(n_)), CommandHash{1}, true};
    land(Commit{Epoch{1}, Index{n_}, "n", WallTime{static_cast<std::int64_t>(1000 * n_)}, command, {part}});
  }
  void land(const Record& record) {
    storage_->land(Partition{0}, std::make_shared<const std::string>(must(encode_record(record))));
  }

  Rng rng_{1};
  std::shared_ptr<MemoryLogStorage> storage_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{1, 0});
  std::map<std::size_t, std::uint64_t> sequences_;
  std::uint64_t n_ = 0;
  std::size_t events_ = 0;
};

// ---- the server ----

class Server {
 public:
  explicit Server(const std::string& url) : connection_(PQconnectdb(url.c_str())) {
    if (PQstatus(connection_) != CONNECTION_OK) give_up(PQerrorMessage(connection_));
    sql("SET client_min_messages = warning");
  }
  ~Server() { PQfinish(connection_); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The first column of every row.
  std::vector<std::string> sql(const std::string& statement) {
    PGresult* result = PQexec(connection_, statement.c_str());
    const auto status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) give_up(PQerrorMessage(connection_));
    std::vector<std::string> values;
    for (int row = 0; row < PQntuples(result); ++row) values.emplace_back(PQgetvalue(result, row, 0));
    PQclear(result);
    return values;
  }
  // The table as COPY's lines, in pieces.
  std::vector<std::string> copy_out(const std::string& table) {
    PQclear(PQexec(connection_, ("COPY " + table + " TO STDOUT").c_str()));
    std::vector<std::string> pieces{""};
    char* line = nullptr;
    for (int size = 0; (size = PQgetCopyData(connection_, &line, 0)) > 0; PQfreemem(line)) {
      if (pieces.back().size() > 60'000) pieces.emplace_back();
      pieces.back().append(line, static_cast<std::size_t>(size));
    }
    PQclear(PQgetResult(connection_));
    return pieces;
  }
  void copy_in(const std::string& table, const std::vector<std::string>& pieces) {
    PQclear(PQexec(connection_, ("COPY " + table + " FROM STDIN").c_str()));
    for (const std::string& piece : pieces) {
      if (PQputCopyData(connection_, piece.data(), static_cast<int>(piece.size())) != 1) give_up("COPY");
    }
    if (PQputCopyEnd(connection_, nullptr) != 1) give_up("COPY");
    PGresult* result = PQgetResult(connection_);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) give_up(PQerrorMessage(connection_));
    PQclear(result);
    PQclear(PQgetResult(connection_));
  }
  std::string generation(std::uint64_t number) {
    return sql("SELECT views_prefix()")[0] + "_views_" + std::to_string(number);
  }
  void drop(std::uint64_t number) { sql("DROP SCHEMA IF EXISTS " + generation(number) + " CASCADE"); }

 private:
  PGconn* connection_;
};

// ---- round trips ----

// Passes bytes on between one client at a time and the server, and counts how often the client speaks after
// the server has: round trips.
class CountingProxy {
 public:
  CountingProxy(const std::string& host, const std::string& port) : host_(host), port_(port) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 4) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      give_up("no port for the proxy");
    }
    listening_ = ntohs(address.sin_port);
    thread_ = std::thread{[this] { serve(); }};
  }
  // When the client has gone.
  ~CountingProxy() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  CountingProxy(const CountingProxy&) = delete;
  CountingProxy& operator=(const CountingProxy&) = delete;

  std::string port() const { return std::to_string(listening_); }
  std::size_t round_trips() const { return round_trips_; }

 private:
  void serve() {
    for (int client = 0; (client = ::accept(listener_, nullptr, nullptr)) >= 0;) {
      const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port_)));
      ::inet_pton(AF_INET, host_.c_str(), &address.sin_addr);
      if (::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0)
        pass(client, server);
      ::close(client);
      ::close(server);
    }
  }
  void pass(int client, int server) {
    bool server_spoke = true;
    std::vector<char> bytes(1U << 16U);
    for (;;) {
      pollfd ends[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (::poll(ends, 2, -1) < 0) return;
      const bool from_client = ends[0].revents != 0;
      const ssize_t size = ::read(from_client ? client : server, bytes.data(), bytes.size());
      if (size <= 0) return;
      if (from_client && server_spoke) ++round_trips_;
      server_spoke = !from_client;
      for (ssize_t sent = 0; sent < size;) {
        const ssize_t more = ::write(from_client ? server : client, bytes.data() + sent,
                                     static_cast<std::size_t>(size - sent));
        if (more <= 0) return;
        sent += more;
      }
    }
  }

  std::string host_;
  std::string port_;
  int listener_ = -1;
  std::uint16_t listening_ = 0;
  std::atomic<std::size_t> round_trips_{0};
  std::thread thread_;
};

// ---- measurements ----

struct Node {
  explicit Node(const std::string& url, std::uint64_t generation)
      : pool(must(PostgresPool::make(env, options(url)))),
        store(*pool, {generation, PostgresViewStore::Reads::generation}) {
    run(store.prepare());
  }
  ~Node() { env.shut_down(); }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  static PostgresOptions options(const std::string& url) {
    PostgresOptions chosen;
    chosen.url = url;
    chosen.connections = 2;
    return chosen;
  }
  void run(Task<> task) {
    env.spawn("bench", stop_after(env, std::move(task)));
    env.io_context().restart();
    env.run();
  }
  static Task<> stop_after(RealEnv& env, Task<> task) {
    (void)must(co_await std::move(task));
    env.stop();
    co_return ok();
  }

  RealEnv env;
  std::unique_ptr<PostgresPool> pool;
  PostgresViewStore store;
};

void migrate(const std::string& url) {
  RealEnv env;
  const auto pool = must(PostgresPool::make(env, Node::options(url)));
  struct Migration {
    static Task<> run(RealEnv* of, PostgresPool* to) {
      (void)must(co_await migrate_postgres(*to, known_migrations()));
      of->stop();
      co_return ok();
    }
  };
  env.spawn("migrate", Migration::run(&env, pool.get()));
  env.run();
  env.shut_down();
}

std::vector<Batch> fold_all(const Log& log, std::size_t changes_max) {
  std::vector<Batch> batches;
  PartitionFold fold(Partition{0}, {}, {});
  for (const LogRecord& record : log.storage()->records(Partition{0})) {
    (void)must(fold.take(record));
    if (fold.changes() >= changes_max) batches.push_back(fold.take_batch());
  }
  if (!fold.empty()) batches.push_back(fold.take_batch());
  return batches;
}

Task<> commit_all(PostgresViewStore& store, std::vector<Batch> batches, std::vector<double>& times) {
  for (Batch& batch : batches) {
    const auto start = Clock::now();
    const CommitOutcome outcome = must(co_await store.commit(std::move(batch)));
    if (outcome != CommitOutcome::committed) give_up("a race was lost");
    times.push_back(seconds_since(start) * 1000);
  }
  co_return ok();
}

// Until the worker's views hold the whole log.
Task<> follow(Node& node, ProjectionWorker& worker, ViewProgress& progress, Offset end) {
  node.env.spawn("worker", worker.run());
  while (progress.next(Partition{0}) < end && !worker.failure()) {
    co_await sleep_for(node.env, std::chrono::milliseconds{2});
  }
  if (worker.failure()) co_return *worker.failure();
  worker.stop();
  co_return ok();
}

struct Live {
  double seconds = 0;
  std::size_t batches = 0;
};

Live live(const Settings& settings, const Log& log) {
  Node node(settings.url, kLive);
  MemoryEventLog port(node.env, log.storage());
  ViewProgress progress(node.env, node.store);
  ProjectionWorker worker(node.env, port, node.store, progress, Partition{0});
  const auto start = Clock::now();
  node.run(follow(node, worker, progress, log.storage()->end(Partition{0})));
  Live out{seconds_since(start), node.env.counters().at("projection_batches")};
  node.env.shut_down();
  return out;
}

// The rows of the live generation by COPY into another one; seconds.
double copy_rows(Server& server, std::uint64_t to, bool indexes) {
  server.drop(to);
  server.sql("SELECT make_generation(" + std::to_string(to) + ", 1)");
  std::map<std::string, std::vector<std::string>> tables;
  for (const View view : all_views()) {
    const std::string name{schema_of(view).name};
    tables[name] = server.copy_out(server.generation(kLive) + "." + name);
    if (indexes) continue;
    const std::string table = server.generation(to) + "." + name;
    server.sql("ALTER TABLE " + table + " DROP CONSTRAINT " + name + "_pkey");
    for (const std::string& index :
         server.sql("SELECT indexrelid::regclass FROM pg_index WHERE indrelid = '" + table + "'::regclass")) {
      server.sql("DROP INDEX " + index);
    }
  }
  const std::string schema = server.generation(to);
  server.sql("CHECKPOINT");
  const auto start = Clock::now();
  server.sql("BEGIN");
  for (const auto& [name, pieces] : tables) server.copy_in(schema + "." + name, pieces);
  server.sql("COMMIT");
  return seconds_since(start);
}

std::size_t rows_of(Server& server, std::uint64_t generation) {
  std::size_t rows = 0;
  for (const View view : all_views()) {
    rows += std::stoull(server.sql("SELECT count(*) FROM " + server.generation(generation) + "." +
                                   std::string{schema_of(view).name})[0]);
  }
  return rows;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void measure_rates(const Settings& settings, Server& server, const Log& log) {
  const auto start = Clock::now();
  std::size_t changes = 0;
  for (const Batch& batch : fold_all(log, kBatchChangesMax)) changes += batch.changes.size();
  const auto events = static_cast<double>(log.events());
  std::printf("fold alone: %.0f events/s\n", events / seconds_since(start));

  std::vector<double> live_seconds;
  std::vector<double> copy_seconds;
  std::vector<double> bare_seconds;
  double rows = 0;
  for (std::size_t round = 0; round < settings.rounds; ++round) {
    server.drop(kLive);
    server.sql("CHECKPOINT");
    const Live ran = live(settings, log);
    rows = static_cast<double>(rows_of(server, kLive));
    live_seconds.push_back(ran.seconds);
    copy_seconds.push_back(copy_rows(server, kCopied, true));
    bare_seconds.push_back(copy_rows(server, kBare, false));
    std::printf(
        "round %zu: live %.0f events/s, %.0f rows/s in %zu batches; COPY %.0f rows/s, without indexes %.0f\n",
        round + 1, events / ran.seconds, rows / ran.seconds, ran.batches, rows / copy_seconds.back(),
        rows / bare_seconds.back());
  }
  const double took = median(live_seconds);
  std::printf("%zu events are %zu changes and leave %.0f rows; medians of %zu rounds:\n", log.events(),
              changes, rows, settings.rounds);
  std::printf("live %.0f events/s, %.0f rows/s, %.0f changes/s\n", events / took, rows / took,
              static_cast<double>(changes) / took);
  std::printf("live / COPY into the same tables: %.2f (rows/s); / COPY without any index: %.2f\n",
              median(copy_seconds) / took, median(bare_seconds) / took);
}

void measure_commits(const Settings& settings, Server& server) {
  Log log;
  log.create_agent(0);
  for (std::size_t i = 0; i < settings.single; ++i) log.take_turn(0);
  server.drop(kLive);
  const std::string host = server.sql("SELECT host(inet_server_addr())")[0];
  const std::string port = server.sql("SELECT inet_server_port()")[0];
  CountingProxy proxy(host, port);
  std::string url = settings.url;
  if (const auto at = url.find(":" + port); at != std::string::npos)
    url.replace(at + 1, port.size(), proxy.port());
  std::vector<double> times;
  {
    Node node(url, kLive);
    std::vector<Batch> batches = fold_all(log, 1);
    std::vector<double> first;
    const std::vector<Batch> start(batches.begin(), batches.begin() + 2);
    node.run(commit_all(node.store, start, first));
    batches.erase(batches.begin(), batches.begin() + 2);
    const std::size_t before = proxy.round_trips();
    node.run(commit_all(node.store, batches, times));
    std::printf("round trips: %zu for %zu batches, %.2f a batch\n", proxy.round_trips() - before,
                batches.size(),
                static_cast<double>(proxy.round_trips() - before) / static_cast<double>(batches.size()));
    node.env.shut_down();
  }
  std::sort(times.begin(), times.end());
  std::printf("a batch of one command: p50 %.2f ms, p99 %.2f ms (through the proxy that counts)\n",
              times[times.size() / 2], times[times.size() * 99 / 100]);
}

}  // namespace
}  // namespace varve

int main(int argc, char** argv) {
  varve::Settings settings;
  std::string server_url;
  CLI::App app{"Live projection into PostgreSQL against raw COPY."};
  app.add_option("--url", server_url, "of a server: postgresql://user:password@127.0.0.1:port/database")
      ->required();
  app.add_option("--turns", settings.turns, "four events each");
  app.add_option("--agents", settings.agents);
  app.add_option("--single", settings.single, "batches of one command");
  app.add_option("--rounds", settings.rounds);
  CLI11_PARSE(app, argc, argv);
  const std::string name = "varve_bench_" + std::to_string(::getpid());
  varve::Server whole(server_url);
  whole.sql("CREATE DATABASE " + name);
  settings.url = server_url.substr(0, server_url.rfind('/') + 1) + name;
  varve::migrate(settings.url);
  varve::Log log;
  for (std::size_t i = 0; i < settings.agents; ++i) log.create_agent(i);
  for (std::size_t i = 0; i < settings.turns; ++i) log.take_turn(i * 7 % settings.agents);
  {
    varve::Server server(settings.url);
    varve::measure_rates(settings, server, log);
    varve::measure_commits(settings, server);
  }
  whole.sql("DROP DATABASE " + name + " WITH (FORCE)");
  return 0;
}
