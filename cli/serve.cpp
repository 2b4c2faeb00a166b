// varve serve: the composition root. Here, and in sim/, concrete types meet.
#include <signal.h>

#include <boost/asio/signal_set.hpp>
#include <iostream>

#include "api/access.h"
#include "api/http_server.h"
#include "api/node.h"
#include "cli/commands.h"
#include "cli/models.h"
#include "cli/old_views.h"
#include "eventlog/sqlite_event_log.h"
#include "projections/sqlite_snapshot_store.h"
#include "projections/sqlite_view_store.h"

namespace varve {
namespace {

constexpr std::chrono::minutes kReadyTime{30};
constexpr std::chrono::seconds kDrainTime{10};

LogLevel level_of(const std::string& name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "warning") return LogLevel::warning;
  return name == "error" ? LogLevel::error : LogLevel::info;
}

RealEnv::Options env_options(const Config& config) {
  RealEnv::Options options;
  options.log_level = level_of(config.log_level);
  options.read_threads = 2;  // A checkpoint of the views is one of their jobs.
  options.log_format = config.log_format == "json" ? LogFormat::json : LogFormat::text;
  return options;
}

// Everything that runs, in the order in which it may be destroyed backwards.
struct Server {
  explicit Server(const Config& chosen) : config(chosen), env(env_options(chosen)) {}

  const Config& config;
  RealEnv env;
  std::unique_ptr<SqliteEventLog> log;
  std::unique_ptr<SqliteSnapshotStore> snapshots;
  std::unique_ptr<SqliteViewStore> views;
  std::unique_ptr<ServerModels> models;
  std::unique_ptr<Node> node;
  std::unique_ptr<HttpServer> http;
  int exit_code = kExitDone;

  ~Server() {
    http.reset();
    env.shut_down();  // Ends every task while what the tasks refer to is alive.
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // In the form of the log where programs read it, else for people.
  int complain(const Error& error) {
    if (config.log_format == "json") {
      env.log(LogLevel::error, error.message);
    } else {
      std::cerr << "varve serve: " << error.message << "\n";
    }
    return kExitFailed;
  }
};

Status open(Server& server) {
  const Config& options = server.config;
  auto log = SqliteEventLog::open(server.env, {options.data_dir, options.partitions});
  if (!log) return log.error();
  server.log = std::move(*log);
  auto snapshots = SqliteSnapshotStore::open(server.env, options.data_dir);
  if (!snapshots) return snapshots.error();
  server.snapshots = std::move(*snapshots);
  auto views = SqliteViewStore::open(server.env, {options.data_dir, kViewsGeneration});
  if (!views) return views.error();
  server.views = std::move(*views);
  auto models = ServerModels::make(server.env, options);
  if (!models) return models.error();
  server.models = std::move(*models);
  return ok();
}

Task<> drain(Server& server) {
  const MonoTime deadline = server.env.now() + kDrainTime;
  if (server.http) {
    server.http->stop_accepting();
    ignore_error(co_await server.node->drain(deadline), "what is not snapshotted is read from the log again");
    ignore_error(co_await server.http->drain(deadline),
                 "requests that are cut off are told so by their connection");
  }
  server.env.stop();
  co_return ok();
}

// The present views have caught up, so nobody needs those of an older version of this program.
void drop_old_views(Server& server) {
  const OldViews old = remove_old_views(server.config.data_dir, kViewsGeneration);
  for (const std::string& name : old.removed)
    server.env.log(LogLevel::info, "removed " + name + ": views of an older generation");
  for (const std::string& why : old.failed)
    server.env.log(LogLevel::warning, "cannot remove old views: " + why);
}

Task<> start(Server& server) {
  const Config& options = server.config;
  if (Status listed = co_await server.models->refresh(); !listed) co_return listed.error();
  server.node->set_models(server.models->known());
  server.node->start();
  Status ready = co_await server.node->wait_ready(server.env.now() + kReadyTime);
  if (!ready) {
    server.exit_code = server.complain(ready.error());
    server.env.stop();
    co_return ok();
  }
  drop_old_views(server);
  HttpServer::Options listen;
  listen.host = options.host;
  listen.port = options.port;
  Handler handler = [&server](Request request) { return server.node->handle(std::move(request)); };
  const AccessPolicy policy{options.password, options.cors_origins};
  auto http = HttpServer::listen(server.env, listen, with_access(server.env, policy, std::move(handler)));
  if (!http) {
    server.exit_code = server.complain(http.error());
    server.env.stop();
    co_return ok();
  }
  server.http = std::move(*http);
  server.env.log(LogLevel::info,
                 "serving " + url_of(options.host, server.http->port()) + " from " + options.data_dir);
  server.env.log(LogLevel::info, "agents that name no model get " + server.models->known().default_handle);
  server.env.spawn("refresh models",
                   server.models->keep_fresh([&server] { server.node->set_models(server.models->known()); }));
  co_return ok();
}

}  // namespace

int run_serve(const Config& config) {
  Server server(config);
  if (config.password.empty() && !config.insecure && !is_loopback(config.host)) {
    server.complain(
        {Errc::invalid_argument,
         "other machines can reach " + config.host +
             ", and there is no password: give --password-file FILE (or VARVE_PASSWORD), listen on "
             "127.0.0.1, or say --insecure if everybody may do everything"});
    return kExitUsage;
  }
  if (Status opened = open(server); !opened) {
    const int failed = server.complain(opened.error());
    return opened.error().code == Errc::conflict ? kExitInUse : failed;
  }
  NodeIdentity identity;
  identity.node = uuid4(server.env.rng());
  identity.url = url_of(config.host, config.port);
  NodeOptions options;
  options.models = server.models->known();
  server.node = std::make_unique<Node>(
      server.env, std::move(identity),
      Node::Ports{*server.log, *server.snapshots, *server.views, server.models->client()}, options);
  boost::asio::signal_set signals(server.env.io_context(), SIGINT, SIGTERM);
  signals.async_wait([&server, &signals](const boost::system::error_code& error, int /*signal*/) {
    if (error) return;
    server.env.log(LogLevel::info, "stopping: no new requests, open turns go on at the next start");
    server.env.spawn("drain", drain(server));
    // A second signal does not wait.
    signals.async_wait([&server](const boost::system::error_code& again, int /*signal*/) {
      if (!again) server.env.stop();
    });
  });
  server.env.spawn("start", start(server));
  server.env.run();
  return server.exit_code;
}

}  // namespace varve
