// varve serve: the composition root. Here, and in sim/, concrete types meet.
#include <signal.h>

#include <boost/asio/signal_set.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include "actors/echo_model.h"
#include "actors/scripted_model.h"
#include "api/http_server.h"
#include "api/node.h"
#include "cli/commands.h"
#include "eventlog/sqlite_event_log.h"
#include "projections/sqlite_snapshot_store.h"
#include "projections/sqlite_view_store.h"

namespace varve {
namespace {

constexpr std::chrono::minutes kReadyTime{30};
constexpr std::chrono::seconds kDrainTime{10};

int complain(const Error& error) {
  std::cerr << "varve serve: " << error.message << "\n";
  return kExitFailed;
}

Result<std::unique_ptr<ModelClient>> make_model(Env& env, const std::string& script_path) {
  if (script_path.empty()) return std::unique_ptr<ModelClient>(std::make_unique<EchoModel>());
  std::ifstream file(script_path, std::ios::binary);
  std::ostringstream script;
  script << file.rdbuf();
  if (!file) return Error{Errc::not_found, "cannot read the model script " + script_path};
  auto model = ScriptedModel::parse(env, script.str());
  if (!model) return model.error();
  return std::unique_ptr<ModelClient>(std::move(*model));
}

// Everything that runs, in the order in which it may be destroyed backwards.
struct Server {
  RealEnv env;
  std::unique_ptr<SqliteEventLog> log;
  std::unique_ptr<SqliteSnapshotStore> snapshots;
  std::unique_ptr<SqliteViewStore> views;
  std::unique_ptr<ModelClient> model;
  std::unique_ptr<Node> node;
  std::unique_ptr<HttpServer> http;
  int exit_code = kExitDone;

  ~Server() {
    http.reset();
    env.shut_down();  // Ends every task while what the tasks refer to is alive.
  }
};

Status open(Server& server, const ServeOptions& options) {
  auto log = SqliteEventLog::open(server.env, {options.data_dir, options.partitions});
  if (!log) return log.error();
  server.log = std::move(*log);
  auto snapshots = SqliteSnapshotStore::open(server.env, options.data_dir);
  if (!snapshots) return snapshots.error();
  server.snapshots = std::move(*snapshots);
  auto views = SqliteViewStore::open(server.env, {options.data_dir, 1});
  if (!views) return views.error();
  server.views = std::move(*views);
  auto model = make_model(server.env, options.model_script);
  if (!model) return model.error();
  server.model = std::move(*model);
  return ok();
}

NodeOptions node_options(const ModelClient& model) {
  NodeOptions options;
  options.models.handles = model.handles();
  options.models.default_handle = options.models.handles.front();
  return options;
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

Task<> start(Server& server, ServeOptions options) {
  server.node->start();
  Status ready = co_await server.node->wait_ready(server.env.now() + kReadyTime);
  if (!ready) {
    server.exit_code = complain(ready.error());
    server.env.stop();
    co_return ok();
  }
  HttpServer::Options listen;
  listen.host = options.host;
  listen.port = options.port;
  Handler handler = [&server](Request request) { return server.node->handle(std::move(request)); };
  auto http = HttpServer::listen(server.env, listen, std::move(handler));
  if (!http) {
    server.exit_code = complain(http.error());
    server.env.stop();
    co_return ok();
  }
  server.http = std::move(*http);
  server.env.log(LogLevel::info, "serving http://" + options.host + ":" +
                                     std::to_string(server.http->port()) + " from " + options.data_dir);
  co_return ok();
}

}  // namespace

int run_serve(const ServeOptions& options) {
  Server server;
  if (Status opened = open(server, options); !opened) {
    const int failed = complain(opened.error());
    return opened.error().code == Errc::conflict ? kExitInUse : failed;
  }
  NodeIdentity identity;
  identity.node = uuid4(server.env.rng());
  identity.url = "http://" + options.host + ":" + std::to_string(options.port);
  server.node = std::make_unique<Node>(
      server.env, std::move(identity),
      Node::Ports{*server.log, *server.snapshots, *server.views, *server.model}, node_options(*server.model));
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
  server.env.spawn("start", start(server, options));
  server.env.run();
  return server.exit_code;
}

}  // namespace varve
