// varve serve: the composition root. Here, and in sim/, concrete types meet.
#include <signal.h>

#include <boost/asio/signal_set.hpp>
#include <iostream>

#include "api/access.h"
#include "api/cluster_routes.h"
#include "api/http_server.h"
#include "api/http_status.h"
#include "api/http_transport.h"
#include "api/node.h"
#include "api/presence.h"
#include "api/projection_routes.h"
#include "api/prometheus_text.h"
#include "api/teleport_routes.h"
#include "cli/backends.h"
#include "cli/commands.h"
#include "cli/models.h"
#include "cli/old_views.h"
#include "cli/verify_words.h"
#include "projections/sqlite_generations.h"
#include "projections/verify_continuous.h"
#include "runtime/sync.h"

namespace varve {
namespace {

constexpr std::chrono::minutes kReadyTime{30};
constexpr std::chrono::seconds kLastAnswers{1};
constexpr std::chrono::milliseconds kFarewell{500};
constexpr std::chrono::seconds kOwnerSearch{10};
constexpr std::chrono::milliseconds kFirstLook{4};
constexpr std::chrono::milliseconds kFailureInterval{250};

LogLevel level_of(const std::string& name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "warning") return LogLevel::warning;
  return name == "error" ? LogLevel::error : LogLevel::info;
}

RealEnv::Options env_options(const Config& config) {
  RealEnv::Options options;
  options.log_level = level_of(config.log_level);
  options.read_threads = 2;  // A checkpoint of the views is one of their jobs.
  // A connection is for writing, as a rule.
  if (config.store == "postgres")
    options.read_threads = std::min<std::size_t>(config.postgres.connections - 1, 8);
  options.log_format = config.log_format == "json" ? LogFormat::json : LogFormat::text;
  return options;
}

// Everything that runs, in the order in which it may be destroyed backwards.
struct Server {
  explicit Server(const Config& chosen) : config(chosen), env(env_options(chosen)) {}

  const Config& config;
  RealEnv env;
  std::unique_ptr<Backends> backends;
  std::unique_ptr<HttpTransport> transport;  // Null: there are no other nodes.
  std::unique_ptr<ServerModels> models;
  std::unique_ptr<Node> node;
  std::unique_ptr<ClusterRoutes> cluster;
  std::unique_ptr<Presence> presence;  // Null: nobody would look.
  std::unique_ptr<ProjectionRoutes> projections;
  std::unique_ptr<TeleportRoutes> teleport;
  std::unique_ptr<ContinuousVerify> verify;  // Null: the configuration does not want it.
  Handler requests;                          // Of clients, to the node.
  Handler clients;                           // The same, behind the password.
  bool ready = false;                        // The node may be asked.
  std::unique_ptr<HttpServer> http;
  int exit_code = kExitDone;

  ~Server() {
    http.reset();
    if (transport) transport->close();
    if (backends && backends->cut_off) backends->cut_off();
    env.shut_down();  // Ends every task while what the tasks refer to is alive.
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  bool clustered() const { return config.log == "kafka"; }

  // In the form of the log where programs read it, else for people.
  int complain(const Error& error) {
    if (config.log_format == "json") {
      env.log(LogLevel::error, error.message);
    } else {
      std::cerr << "varve serve: " << error.message << "\n";
    }
    return kExitFailed;
  }
  void give_up(const Error& error) {
    exit_code = complain(error);
    env.stop();
  }
};

Status open(Server& server) {
  auto backends = open_backends(server.env, server.config);
  if (!backends) return backends.error();
  server.backends = std::move(*backends);
  auto models = ServerModels::make(server.env, server.config);
  if (!models) return models.error();
  server.models = std::move(*models);
  if (server.clustered()) {
    HttpTransport::Options options;
    options.secret = server.config.cluster_secret;
    server.transport = std::make_unique<HttpTransport>(server.env, std::move(options));
  }
  return ok();
}

std::vector<std::string> names_of(const Roles& roles) {
  std::vector<std::string> names;
  if (roles.api) names.emplace_back("api");
  if (roles.actors) names.emplace_back("actors");
  if (roles.projections) names.emplace_back("projections");
  return names;
}

void make_node(Server& server, const std::string& own_url) {
  const Config& config = server.config;
  NodeIdentity identity;
  identity.cluster = config.cluster;
  identity.node = uuid4(server.env.rng());
  identity.url = config.node_url.empty() ? own_url : config.node_url;
  NodeOptions options;
  options.models = server.models->known();
  options.ready = {config.ready_lag_records, config.ready_lag};
  options.ack_log_lag_records = config.ack_log_lag_records;
  options.owner_search = kOwnerSearch;
  options.first_look = kFirstLook;
  if (!config.roles.api) options.gather = Duration{};
  Backends& backends = *server.backends;
  if (backends.hand_back_time > Duration{}) options.hand_back_time = backends.hand_back_time;
  const Node::Ports ports{*backends.log,           *backends.snapshots,   *backends.views,
                          server.models->client(), backends.owning.get(), backends.folding.get(),
                          server.transport.get(),  backends.keys.get()};
  server.node = std::make_unique<Node>(server.env, identity, ports, std::move(options));
  MetricsOptions metrics;
  metrics.version = kVersion;
  metrics.connections = [&server] { return server.http ? server.http->connections() : 0; };
  metrics.verify = [&server]() -> std::optional<VerifyGauges> {
    if (!server.verify) return std::nullopt;
    const VerifyProgress& progress = server.verify->progress();
    return VerifyGauges{static_cast<std::int64_t>(progress.differing.size()), progress.round_ended.value()};
  };
  Handler routes = [&server](Request request) { return server.node->handle(std::move(request)); };
  server.requests = with_metrics(server.env, *server.node, std::move(metrics), std::move(routes));
  const ClusterRoutes::Ports seen{*backends.log, *backends.views, server.node->member(),
                                  backends.processes.get()};
  const ProcessSelf self{identity.cluster, identity.node, identity.url, names_of(config.roles)};
  if (backends.processes) server.presence = std::make_unique<Presence>(server.env, *backends.processes, self);
  server.cluster =
      std::make_unique<ClusterRoutes>(server.env, seen, std::move(identity), names_of(config.roles));
  const ProjectionRoutes::Ports folded{*backends.log, *backends.views, *backends.generations};
  server.projections = std::make_unique<ProjectionRoutes>(server.env, folded);
  const TeleportRoutes::Ports carried{*backends.log, server.node->progress(), server.node->sender()};
  server.teleport = std::make_unique<TeleportRoutes>(server.env, carried);
}

// Compares the views with the log for as long as the server runs.
void verify_continuously(Server& server) {
  VerifyPace pace;
  pace.per_second = server.config.verify_rate;
  pace.between_rounds = server.config.verify_pause;
  Backends& backends = *server.backends;
  const ContinuousVerify::Ports ports{*backends.log, *backends.views, *backends.generations};
  server.verify =
      std::make_unique<ContinuousVerify>(server.env, ports, pace, [&server](const Difference& difference) {
        server.env.log(LogLevel::error, "verify: partition " + std::to_string(difference.partition.value()) +
                                            ": " + difference.what +
                                            "; repair: " + rebuild_command(server.config));
      });
  server.env.spawn("continuous verification", server.verify->run());
}

// Other nodes may fold what clients of this one wait for.
void hear_of_others(Server& server) {
  if (server.presence) server.presence->start();
  if (!server.backends->news || !server.config.roles.api) return;
  PostgresListener::Hearing hearing;
  hearing.moved = [&server](Partition partition) { server.node->progress().hint(partition); };
  hearing.begun = [&server] { server.node->progress().hint_all(); };
  server.backends->news->start(std::move(hearing));
}

// What a process answers whatever its roles are, and before it is ready.
bool is_about_itself(std::string_view path) {
  for (const std::string_view own : {"/v1/health", "/v1/health/", "/v1/ready", "/v1/ready/", "/metrics"}) {
    if (path == own) return true;
  }
  return false;
}

boost::asio::awaitable<Response> answer_client(Server& server, Request request) {
  const auto target = parse_target(request.target);
  const std::string path = target ? target->path : "";
  if (server.node && path == kClusterPath) co_return co_await server.cluster->status(std::move(request));
  if (server.node && ProjectionRoutes::serves(path)) {
    co_return co_await server.projections->handle(std::move(request));
  }
  if (server.node && server.ready && server.config.roles.api && TeleportRoutes::serves(path)) {
    co_return co_await server.teleport->handle(std::move(request));
  }
  if (!server.node || (!server.ready && !is_about_itself(path))) {
    co_return error_response({Errc::unavailable, "this node is starting"}, false);
  }
  if (!server.config.roles.api && !is_about_itself(path)) {
    co_return detail_response(404, "this process serves no API: its roles do not say so");
  }
  co_return co_await server.requests(std::move(request));
}

// Nodes have a secret of their own, so their route stands beside the clients' password.
boost::asio::awaitable<Response> answer(Server& server, Request request) {
  const auto target = parse_target(request.target);
  if (server.transport && target && target->path == kNodePath) {
    return server.transport->answer(std::move(request));
  }
  return server.clients(std::move(request));
}

Status listen(Server& server) {
  HttpServer::Options options;
  options.host = server.config.host;
  options.port = server.config.port;
  const AccessPolicy policy{server.config.password, server.config.cors_origins, server.config.open_metrics};
  server.clients = with_access(
      server.env, policy, [&server](Request request) { return answer_client(server, std::move(request)); });
  auto http = HttpServer::listen(server.env, options,
                                 [&server](Request request) { return answer(server, std::move(request)); });
  if (!http) return http.error();
  server.http = std::move(*http);
  return ok();
}

// What is under way gets the time until a moment before the end, in which the last answers leave.
Task<> drain(Server& server) {
  if (server.verify) server.verify->stop();
  const Duration time = server.config.drain_timeout;
  const MonoTime begun = server.env.now();
  const MonoTime deadline = begun + time;
  if (server.http) {
    server.http->stop_accepting();
    const MonoTime for_node = begun + (time - std::min<Duration>(time / 4, kLastAnswers));
    if (server.node) {
      // In a task of its own: a broker or a database that hangs may keep it longer than it was given.
      TaskGroup group(server.env);
      ignore_error(group.spawn("drain node", server.node->drain(for_node)), "the group is open");
      group.close();
      ignore_error(co_await group.join(for_node), "what is not snapshotted is read from the log again");
    }
    ignore_error(co_await server.http->drain(deadline),
                 "requests that are cut off are told so by their connection");
  }
  if (server.presence) {
    ignore_error(co_await server.presence->stop(server.env.now() + kFarewell), "its row grows old by itself");
  }
  server.env.stop();
  co_return ok();
}

// The present views have caught up, so nobody needs those of an older version of this program.
void drop_old_views(Server& server) {
  if (server.config.store != "sqlite") return;
  const auto generation = active_generation_in(server.config.data_dir);
  if (!generation) return;
  const OldViews old = remove_old_views(server.config.data_dir, *generation);
  for (const std::string& name : old.removed)
    server.env.log(LogLevel::info, "removed " + name + ": views of an older generation");
  for (const std::string& why : old.failed)
    server.env.log(LogLevel::warning, "cannot remove old views: " + why);
}

// Ends the process when it is at the wrong place: a log of another cluster, a member's name that is taken.
// What is wrong with the log itself stays to be asked for: the other nodes would find it, too.
Task<> watch(Server& server) {
  for (;;) {
    const auto failure = server.node->failure();
    if (failure && (failure->code == Errc::invalid_argument || failure->code == Errc::conflict)) {
      server.give_up(*failure);
      co_return ok();
    }
    co_await sleep_for(server.env, kFailureInterval);
  }
}

Task<> start(Server& server) {
  const Config& config = server.config;
  if (Status listed = co_await server.models->refresh(); !listed) co_return listed.error();
  // Other nodes must reach a member of a cluster before it is ready: it may be waiting for them.
  if (server.clustered()) {
    if (Status listening = listen(server); !listening) {
      server.give_up(listening.error());
      co_return ok();
    }
  }
  make_node(server, url_of(config.host, server.http ? server.http->port() : config.port));
  server.node->start();
  hear_of_others(server);
  const Status ready = co_await server.node->wait_ready(server.env.now() + kReadyTime);
  if (!ready) {
    server.give_up(ready.error());
    co_return ok();
  }
  drop_old_views(server);
  server.ready = true;
  if (server.clustered()) server.env.spawn("watch", watch(server));
  if (!server.http) {
    if (Status listening = listen(server); !listening) {
      server.give_up(listening.error());
      co_return ok();
    }
  }
  server.env.log(LogLevel::info,
                 "serving " + url_of(config.host, server.http->port()) + " from " + server.backends->place);
  if (config.verify_continuous) verify_continuously(server);
  server.env.log(LogLevel::info, "agents that name no model get " + server.models->known().default_handle);
  server.env.spawn("refresh models",
                   server.models->keep_fresh([&server] { server.node->set_models(server.models->known()); }));
  co_return ok();
}

}  // namespace

int run_serve(const Config& config) {
  Server server(config);
  if (Status fits = check_server(config); !fits) {
    server.complain(fits.error());
    return kExitUsage;
  }
  if (Status opened = open(server); !opened) {
    const int failed = server.complain(opened.error());
    return opened.error().code == Errc::conflict ? kExitInUse : failed;
  }
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
