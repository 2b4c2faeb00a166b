// varve projections rebuild: makes the views anew. Without a server it does it itself; where one uses the
// data directory, that one does it, and this follows.
#include <signal.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <iostream>

#include "cli/projection_commands.h"
#include "cli/projection_stores.h"
#include "cli/server_client.h"
#include "projections/rebuild.h"
#include "runtime/json.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kTerminalEvery{200};
constexpr std::chrono::seconds kLineEvery{5};
constexpr std::chrono::milliseconds kAskEvery{500};
constexpr const char* kPath = "/v1/varve/projections/rebuild";
constexpr const char* kWhere = " (--server says where the server of the data directory listens)";
constexpr std::int64_t kMillis = 1'000;

int fail(const Error& error) {
  std::cerr << "varve projections rebuild: " << error.message << "\n";
  return kExitFailed;
}

// What is known of a rebuild, of this process or of a server's.
struct Seen {
  std::string phase;
  std::int64_t generation = 0;
  std::int64_t folded = 0;
  std::int64_t end = 0;
  std::int64_t resumed_at = 0;
  std::int64_t milliseconds = 0;
};

// "generation 3: loading, 45% of 2712345 records, 81234 records/s, 18 s left"
std::string line_of(const Seen& seen) {
  std::string line = "generation " + std::to_string(seen.generation) + ": " + seen.phase;
  if (seen.end == 0) return line;
  line +=
      ", " + std::to_string(seen.folded * 100 / seen.end) + "% of " + std::to_string(seen.end) + " records";
  const std::int64_t done = seen.folded - seen.resumed_at;
  if (done <= 0 || seen.milliseconds < kMillis) return line;
  const std::int64_t rate = done * kMillis / seen.milliseconds;
  line += ", " + std::to_string(rate) + " records/s";
  if (rate > 0 && seen.folded < seen.end)
    line += ", " + std::to_string((seen.end - seen.folded) / rate + 1) + " s left";
  return line;
}

// On a terminal one line that changes; else a line now and then, and one for every phase.
class ProgressLine {
 public:
  explicit ProgressLine(Env& env) : env_(env), terminal_(::isatty(STDERR_FILENO) == 1) {}

  void show(const Seen& seen) {
    const MonoTime now = env_.now();
    const Duration every = terminal_ ? Duration{kTerminalEvery} : Duration{kLineEvery};
    const bool due = !shown_ || now >= *shown_ + every || seen.phase != phase_;
    if (!due || seen.generation == 0) return;
    shown_ = now;
    phase_ = seen.phase;
    const std::string line = line_of(seen);
    if (terminal_) {
      std::cerr << "\r\x1b[K" << line << std::flush;
    } else {
      std::cerr << line << "\n";
    }
  }
  void end() const {
    if (terminal_ && shown_) std::cerr << "\n";
  }

 private:
  Env& env_;
  bool terminal_;
  std::optional<MonoTime> shown_;
  std::string phase_;
};

Seen seen_of(const RebuildProgress& progress, MonoTime now) {
  Seen seen;
  seen.phase = to_string(progress.phase);
  seen.generation = static_cast<std::int64_t>(progress.generation);
  seen.folded = static_cast<std::int64_t>(progress.folded);
  seen.end = static_cast<std::int64_t>(progress.end);
  seen.resumed_at = static_cast<std::int64_t>(progress.resumed_at);
  seen.milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now - progress.begun).count();
  return seen;
}

// ---- by this process

struct Work {
  Work(RealEnv& of, ProjectionStores& in, RebuildOptions options)
      : env(of), line(of), rebuild(of, *in.log, *in.generations, std::move(options)) {}
  RealEnv& env;
  ProgressLine line;
  Rebuild rebuild;
  bool ended = false;
  Status outcome = ok();
};

Task<> show_progress(Work& work) {
  while (!work.ended) {
    work.line.show(seen_of(work.rebuild.progress(), work.env.now()));
    co_await sleep_for(work.env, kTerminalEvery);
  }
  co_return ok();
}

Task<> do_rebuild(Work& work) {
  work.outcome = co_await work.rebuild.run();
  work.ended = true;
  work.line.show(seen_of(work.rebuild.progress(), work.env.now()));
  work.line.end();
  work.env.stop();
  co_return ok();
}

void say_done(std::int64_t generation, std::int64_t rows, Duration time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
  std::cout << "the views are generation " << generation << " now: " << rows << " row changes in "
            << ms / kMillis << "." << (ms % kMillis) / 100 << " s, verified\n";
}

int rebuild_here(RealEnv& env, ProjectionStores& stores, const RebuildCommand& command) {
  RebuildOptions options;
  options.jobs = command.jobs;
  // Without a server nobody reads a directory's old views.
  options.grace = stores.control ? Duration{} : Duration{std::chrono::seconds{command.grace_seconds}};
  Work work{env, stores, std::move(options)};
  boost::asio::signal_set signals(env.io_context(), SIGINT, SIGTERM);
  signals.async_wait([&work](const boost::system::error_code& error, int /*signal*/) {
    if (!error) work.rebuild.stop();
  });
  env.spawn("rebuild", do_rebuild(work));
  env.spawn("progress", show_progress(work));
  env.run();
  if (stores.cut_off) stores.cut_off();
  env.shut_down();
  if (!work.outcome) return fail(work.outcome.error());
  const RebuildProgress& progress = work.rebuild.progress();
  say_done(static_cast<std::int64_t>(progress.generation), static_cast<std::int64_t>(progress.rows),
           env.now() - progress.begun);
  return kExitDone;
}

Task<> do_abort(RealEnv& env, Generations& generations, std::shared_ptr<Result<bool>> outcome) {
  *outcome = co_await generations.abort();
  env.stop();
  co_return ok();
}

int abort_here(RealEnv& env, ProjectionStores& stores) {
  const auto outcome = std::make_shared<Result<bool>>();
  env.spawn("abort", do_abort(env, *stores.generations, outcome));
  env.run();
  if (stores.cut_off) stores.cut_off();
  env.shut_down();
  if (!*outcome) return fail(outcome->error());
  std::cout << (**outcome ? "what the rebuild had made is gone\n" : "there was no rebuild\n");
  return kExitDone;
}

// ---- by the server that uses the directory

Result<Json> ask(const ServerPlace& place, const char* method, const std::string& body) {
  ServerQuestion question;
  question.method = method;
  question.path = kPath;
  question.body = body;
  if (!body.empty()) question.headers["content-type"] = "application/json";
  auto answer = ask_server(place, question);
  if (!answer) return Error{answer.error().code, answer.error().message + kWhere};
  return body_of(answer);
}

std::int64_t integer(const Json& json, std::string_view key) {
  const Json* value = json.find(key);
  return value != nullptr && value->is_number() ? value->as_integer().value_or(0) : 0;
}

std::string text(const Json& json, std::string_view key) {
  const Json* value = json.find(key);
  return value != nullptr && value->is_string() ? value->as_string() : "";
}

Task<> follow_server(RealEnv& env, ServerPlace place, std::shared_ptr<int> exit_code) {
  ProgressLine line{env};
  for (;;) {
    const auto json = ask(place, "GET", "");
    if (!json) {
      *exit_code = fail(json.error());
      break;
    }
    const std::string state = text(*json, "state");
    line.show({text(*json, "phase"), integer(*json, "generation"), integer(*json, "folded"),
               integer(*json, "end"), integer(*json, "resumed_at"), integer(*json, "milliseconds")});
    if (state == "running") {
      co_await sleep_for(env, kAskEvery);
      continue;
    }
    line.end();
    if (state == "done") {
      say_done(integer(*json, "generation"), integer(*json, "rows"),
               std::chrono::milliseconds{integer(*json, "milliseconds")});
      *exit_code = kExitDone;
    } else {
      const std::string why = text(*json, "error");
      *exit_code = fail({Errc::unavailable, why.empty() ? "the server knows of no rebuild" : why});
    }
    break;
  }
  env.stop();
  co_return ok();
}

int rebuild_there(RealEnv& env, const Config& config, const RebuildCommand& command) {
  const ServerPlace place{command.server, config.password};
  if (command.abort) {
    const auto done = ask(place, "DELETE", "");
    if (!done) return fail(done.error());
    const Json* any = done->find("removed");
    const bool removed = any != nullptr && any->is_boolean() && any->as_boolean();
    std::cout << (removed ? "what the rebuild had made is gone\n" : "there was no rebuild\n");
    return kExitDone;
  }
  JsonWriter body;
  body.begin_object().field_integer("jobs", static_cast<std::int64_t>(command.jobs));
  body.field_integer("grace_seconds", command.grace_seconds).end_object();
  const auto begun = ask(place, "POST", body.take());
  if (!begun) return fail(begun.error());
  const auto exit_code = std::make_shared<int>(kExitFailed);
  env.spawn("follow", follow_server(env, place, exit_code));
  env.run();
  env.shut_down();
  return *exit_code;
}

RealEnv::Options env_options(const RebuildCommand& command) {
  RealEnv::Options options;
  options.read_threads = command.jobs + 2;
  return options;
}

}  // namespace

int run_rebuild(const Config& config, const RebuildCommand& command) {
  RealEnv env{env_options(command)};
  auto stores = open_to_rebuild(env, config, command.jobs);
  if (!stores) {
    const bool in_use = stores.error().code == Errc::conflict && config.store != "postgres";
    if (!in_use) return fail(stores.error());
    return rebuild_there(env, config, command);
  }
  return command.abort ? abort_here(env, **stores) : rebuild_here(env, **stores, command);
}

}  // namespace varve
