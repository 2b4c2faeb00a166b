// varve-bench: what this machine can do at the most, and how much of it Varve gets, in one run.
//
// - the raw limits: one synced write, and a plain SQLite loop that inserts the same payload in batches of the
// mean
//   size that Varve's group commit had;
// - durable commands through actors (64 agents at once), with the views off and on;
// - POST messages and GET messages over HTTP against a real server process;
// - memory per activated, idle agent with a full window of command ids.
// Everything runs on loopback and in a directory of its own, bounded in count and time, and is removed
// afterwards.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "eventlog/sqlite_event_log.h"
#include "projections/sqlite_snapshot_store.h"
#include "projections/sqlite_view_store.h"
#include "tests/bench/actor_node.h"

namespace varve::bench {
namespace {

struct Settings {
  std::string directory = "build/bench";
  std::size_t commands = 20'000;
  std::size_t agents = 64;
  std::size_t requests = 8'000;
  std::size_t idle_agents = 2'000;
};

std::string fresh(const Settings& settings, const std::string& name) {
  const std::string directory = settings.directory + "/" + name;
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  return directory;
}

// ---- raw limits ----

double synced_write_ms(const Settings& settings) {
  const std::string path = fresh(settings, "sync") + "/file";
  const int file = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  std::vector<char> page(4096, 'x');
  std::vector<double> times;
  for (int i = 0; i < 500; ++i) {
    const auto start = Clock::now();
    if (::pwrite(file, page.data(), page.size(), i * 4096) != 4096 || ::fdatasync(file) != 0) return 0;
    times.push_back(seconds_since(start) * 1000);
  }
  ::close(file);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// Rows a second of a loop that inserts `bytes` per row, `batch` rows per synced transaction.
double raw_sqlite_rows(const Settings& settings, std::size_t rows, std::size_t bytes, double batch) {
  const std::string path = fresh(settings, "raw") + "/raw.db";
  sqlite3* database = nullptr;
  sqlite3_open(path.c_str(), &database);
  sqlite3_exec(
      database,
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE records(partition INTEGER, offset "
      "INTEGER, key TEXT, checksum INTEGER, bytes BLOB, PRIMARY KEY(partition, offset)) WITHOUT ROWID",
      nullptr, nullptr, nullptr);
  sqlite3_stmt* insert = nullptr;
  sqlite3_prepare_v2(database, "INSERT INTO records VALUES (?, ?, ?, ?, ?)", -1, &insert, nullptr);
  const std::string payload(bytes, 'x');
  const std::string key = "agent-00000000-0000-4000-8000-000000000000";
  const auto start = Clock::now();
  std::size_t done = 0;
  double due = 0;
  while (done < rows) {
    due += batch;
    sqlite3_exec(database, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
    for (; static_cast<double>(done) < due && done < rows; ++done) {
      sqlite3_bind_int64(insert, 1, static_cast<sqlite3_int64>(done % 4));
      sqlite3_bind_int64(insert, 2, static_cast<sqlite3_int64>(done / 4));
      sqlite3_bind_text(insert, 3, key.data(), static_cast<int>(key.size()), SQLITE_STATIC);
      sqlite3_bind_int64(insert, 4, 1);
      sqlite3_bind_blob(insert, 5, payload.data(), static_cast<int>(payload.size()), SQLITE_STATIC);
      sqlite3_step(insert);
      sqlite3_reset(insert);
    }
    sqlite3_exec(database, "COMMIT", nullptr, nullptr, nullptr);
  }
  const double took = seconds_since(start);
  sqlite3_finalize(insert);
  sqlite3_close(database);
  return static_cast<double>(rows) / took;
}

// ---- commands through actors ----

ActorNode::Open in_files(const std::string& directory) {
  return [directory](RealEnv& env) {
    return ActorNode::Stores{must(SqliteEventLog::open(env, {directory, kPartitionsDefault})),
                             must(SqliteSnapshotStore::open(env, directory)),
                             must(SqliteViewStore::open(env, {directory, kViewsGeneration}))};
  };
}

struct ActorRun {
  ActorFigures figures;
  double lag_seconds = 0;  // Until the views had caught up afterwards.
};

Task<> catch_up(ActorNode& server) {
  const MonoTime deadline = server.env().now() + std::chrono::seconds{60};
  co_return co_await server.node().wait_ready(deadline);
}

ActorRun through_actors(const Settings& settings, bool fold) {
  ActorNode server(in_files(fresh(settings, fold ? "views-on" : "views-off")), fold);
  server.run(prepare(server, settings.agents));
  ActorRun run;
  run.figures = measure_updates(server, settings.agents, settings.commands);
  const auto drained = Clock::now();
  if (fold) server.run(catch_up(server));
  run.lag_seconds = seconds_since(drained);
  return run;
}

// ---- memory per agent ----

Task<> fill_windows(ActorNode& server, std::size_t agents) {
  for (std::size_t n = 0; n < agents; ++n) {
    TaskGroup group(server.env());
    std::size_t left = kRecentCommandsMax;
    if (Status started = group.spawn("fill", update_loop(server, n, left)); !started) co_return started;
    if (Status done = co_await group.join(kNever); !done) co_return done;
  }
  co_return ok();
}

std::size_t heap_in_use() {
  return ::mallinfo2().uordblks;
}

Task<> passivate(ActorNode& server) {
  for (std::uint32_t i = 0; i < kPartitionsDefault; ++i) {
    Status done = co_await server.node().shard(Partition{i})->passivate_idle(Duration{0});
    if (!done) co_return done;
  }
  co_return ok();
}

Task<> activate(ActorNode& server, std::size_t agents) {
  const CallLimits limits;
  for (std::size_t n = 0; n < agents; ++n) {
    CommandEnvelope envelope = command_to(server, nth_agent(n), ResolveLabel{"none"});
    ignore_error(co_await server.node().sender().send(std::move(envelope), limits), "it only activates");
  }
  co_return ok();
}

double bytes_per_agent(const Settings& settings) {
  const std::size_t agents = std::min<std::size_t>(settings.idle_agents, 200);
  ActorNode server(in_files(fresh(settings, "memory")), false);
  server.run(prepare(server, agents));
  server.run(fill_windows(server, agents));
  server.run(passivate(server));
  const std::size_t before = heap_in_use();
  server.run(activate(server, agents));
  return static_cast<double>(heap_in_use() - before) / static_cast<double>(agents);
}

// ---- HTTP against a real process ----

class ServerProcess {
 public:
  ServerProcess(std::string binary, std::string directory, int port) : port_(port) {
    pid_ = ::fork();
    if (pid_ == 0) {
      const std::string listen = "127.0.0.1:" + std::to_string(port);
      ::execl(binary.c_str(), binary.c_str(), "serve", "--data-dir", directory.c_str(), "--listen",
              listen.c_str(), nullptr);
      ::_exit(127);
    }
  }
  ~ServerProcess() {
    ::kill(pid_, SIGTERM);
    int status = 0;
    ::waitpid(pid_, &status, 0);
  }
  int port() const { return port_; }

 private:
  pid_t pid_ = -1;
  int port_;
};

std::string output_of(const std::string& command_line) {
  std::string output;
  FILE* pipe = ::popen(command_line.c_str(), "r");
  if (pipe == nullptr) return output;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof(buffer), pipe)) output.append(buffer, got);
  ::pclose(pipe);
  return output;
}

double number_in(const std::string& json, const char* key) {
  const auto parsed = Json::parse(json);
  const Json* found = parsed ? parsed->find(key) : nullptr;
  return found != nullptr && found->is_number() ? std::stod(found->number_text()) : 0;
}

void over_http(const Settings& settings, const std::string& bin) {
  const std::string directory = fresh(settings, "http");
  const ServerProcess server(bin + "/varve", directory, 18299);
  const std::string ids = settings.directory + "/agents.txt";
  const std::string load = bin + "/varve-load --port " + std::to_string(server.port());
  for (int i = 0; i < 100; ++i) {  // Until it answers; 10 seconds at most.
    if (number_in(output_of(load + " --connections 1 --requests 1 --path /v1/health/ 2>/dev/null"),
                  "requests") > 0)
      break;
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }
  std::ofstream file(ids);
  for (int i = 0; i < 16; ++i) {
    // The id of an agent derives from the key of the request that creates it.
    const std::string key = "bench-" + std::to_string(i);
    output_of(
        load + " --connections 1 --requests 1 --mode post --path /v1/agents/ --header 'idempotency-key: " +
        key + "' --body '{\"name\":\"bench\",\"memory_blocks\":[{\"label\":\"human\",\"value\":\"x\"}]}'");
    file << "agent-" << derived_uuid(command_id_from_text("key POST /v1/agents/\n" + key), "agent", 0)
         << "\n";
  }
  file.close();
  const std::string agents = load + " --agents-from-file " + ids;
  const std::string post = " --mode post --path '/v1/agents/{}/messages' --body '{\"input\":\"hello {n}\"}'";
  const auto print = [](const char* what, const std::string& json) {
    std::printf("%-58s %8.0f/s   p50 %7.2f ms   p99 %7.2f ms   errors %.0f\n", what,
                number_in(json, "requests_per_second"), number_in(json, "p50_us") / 1000,
                number_in(json, "p99_us") / 1000, number_in(json, "errors"));
  };
  print("POST messages, 1 client (echo, ack=view)",
        output_of(agents + " --connections 1 --requests 500" + post));
  print("POST messages, 16 agents, 16 clients (echo, ack=view)",
        output_of(agents + " --connections 16 --requests " + std::to_string(settings.requests) + post));
  print("GET messages?limit=20, 16 clients",
        output_of(agents + " --connections 16 --requests 60000 --path '/v1/agents/{}/messages?limit=20'"));
}

int run(const Settings& settings, const std::string& bin) {
  const double sync_ms = synced_write_ms(settings);
  std::printf("one synced 4 KiB write (fdatasync), p50                    %8.2f ms\n", sync_ms);
  for (const bool fold : {false, true}) {
    const ActorRun measured = through_actors(settings, fold);
    const ActorFigures& actors = measured.figures;
    const double raw =
        raw_sqlite_rows(settings, settings.commands, static_cast<std::size_t>(actors.bytes), actors.batch);
    std::printf(
        "durable commands, %zu agents at once, views %-3s              %8.0f/s   mean batch %.1f, %.0f "
        "bytes\n",
        settings.agents, fold ? "on" : "off", actors.cost.per_second, actors.batch, actors.bytes);
    std::printf("  raw SQLite loop, same payload and batch                  %8.0f/s   ratio %.2f\n", raw,
                actors.cost.per_second / raw);
    if (fold)
      std::printf("  views behind the log at the end                          %8.2f s\n",
                  measured.lag_seconds);
  }
  std::printf("memory per activated, idle agent (256 command ids)         %8.0f bytes\n",
              bytes_per_agent(settings));
  over_http(settings, bin);
  std::filesystem::remove_all(settings.directory);
  return 0;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  CLI::App app{"varve-bench: what this machine can do at the most, and how much of it Varve gets"};
  varve::bench::Settings settings;
  app.add_option("--dir", settings.directory, "where to write; removed afterwards")->capture_default_str();
  app.add_option("--commands", settings.commands, "commands through actors")->capture_default_str();
  app.add_option("--requests", settings.requests, "POST requests over HTTP")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const std::string bin = std::filesystem::path(argv[0]).parent_path().string();
  return varve::bench::run(settings, bin.empty() ? "." : bin);
}
