// varve projections list | status: how far the views are, from a server that runs or from log and views
// themselves. Changes nothing.
#include <signal.h>

#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <iostream>
#include <vector>

#include "cli/projection_commands.h"
#include "cli/projection_stores.h"
#include "cli/server_client.h"
#include "cli/table.h"
#include "projections/status.h"
#include "runtime/hash.h"
#include "runtime/json.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kWatchEvery{1};
constexpr const char* kPath = "/v1/varve/projections";

// One line for all views of a partition: the whole is in --json.
std::string digest_of(const Json& partition) {
  const Json* digests = partition.find("digests");
  if (digests == nullptr) return "-";
  std::string all;
  for (const Json::Member& member : digests->members()) all += member.second.dump();
  return to_hex(xxh128(all)).substr(0, 16);
}

void print_quarantine(const Json& status) {
  const Json* parked = status.find("quarantined");
  if (parked == nullptr || parked->items().empty()) return;
  std::vector<TableLine> lines{{"QUARANTINED", "PARTITION", "OFFSET", "EVENT", "REASON"}};
  for (const Json& one : parked->items()) {
    const std::string reason = shown(one, "reason");
    lines.push_back({shown(one, "stream"), shown(one, "partition"), shown(one, "offset"), shown(one, "type"),
                     reason.substr(0, 100)});
  }
  std::cout << "\n";
  print_table(lines);
}

void print_status(const Json& status) {
  std::cout << "projection " << shown(status, "projection") << ", generation " << shown(status, "generation");
  if (shown(status, "next") != "-")
    std::cout << "; generation " << shown(status, "next") << " is being made, or was left by a rebuild";
  std::cout << "\n\n";
  std::vector<TableLine> lines{{"PARTITION", "FOLDED", "END", "LAG", "SECONDS", "NEWEST", "DIGEST"}};
  if (const Json* partitions = status.find("partitions")) {
    for (const Json& one : partitions->items()) {
      lines.push_back({shown(one, "partition"), shown(one, "next_offset"), shown(one, "end"),
                       shown(one, "lag"), shown(one, "lag_seconds"), shown(one, "at"), digest_of(one)});
    }
  }
  print_table(lines);
  print_quarantine(status);
  if (shown(status, "log_fault") != "-")
    std::cout << "\nthe log could not be asked: " << shown(status, "log_fault") << "\n";
}

void print_list(const Json& status) {
  std::int64_t lag = 0;
  std::int64_t seconds = 0;
  std::size_t partitions = 0;
  bool known = true;
  if (const Json* all = status.find("partitions")) {
    partitions = all->items().size();
    for (const Json& one : all->items()) {
      const auto records = one.find("lag") != nullptr ? one.find("lag") : nullptr;
      const auto late = one.find("lag_seconds");
      known = known && records != nullptr && records->is_number() && late != nullptr && late->is_number();
      if (!known) break;
      lag += records->as_integer().value_or(0);
      seconds = std::max(seconds, late->as_integer().value_or(0));
    }
  }
  std::vector<TableLine> lines{{"PROJECTION", "VIEW", "GENERATION", "PARTITIONS", "LAG", "SECONDS"}};
  if (const Json* views = status.find("views")) {
    for (const Json& view : views->items()) {
      lines.push_back({shown(status, "projection"), view.is_string() ? view.as_string() : "-",
                       shown(status, "generation"), std::to_string(partitions),
                       known ? std::to_string(lag) : "-", known ? std::to_string(seconds) : "-"});
    }
  }
  print_table(lines);
}

Status print(const std::string& body, const StatusCommand& options) {
  const auto json = Json::parse(body);
  if (!json) return json.error();
  if (options.json) {
    std::cout << body << "\n";
  } else if (options.list) {
    print_list(*json);
  } else {
    print_status(*json);
  }
  if (options.watch && !options.json) std::cout << "\n";
  std::cout << std::flush;
  return ok();
}

Task<std::string> ask(RealEnv& env, ProjectionStores* stores, std::string server, std::string password) {
  if (stores != nullptr) {
    auto status = co_await projection_status(env, *stores->log, *stores->views, *stores->generations);
    if (!status) co_return status.error();
    co_return projection_json(*status);
  }
  ServerQuestion question;
  question.path = kPath;
  const auto answer = ask_server({std::move(server), std::move(password)}, question);
  if (!answer) co_return answer.error();
  if (answer->status != 200) co_return Error{Errc::unavailable, said_by(*answer)};
  co_return answer->body;
}

Task<> tell(RealEnv& env, ProjectionStores* stores, StatusCommand options, std::string password,
            std::shared_ptr<Status> outcome) {
  do {
    auto body = co_await ask(env, stores, options.server, password);
    *outcome = body ? print(*body, options) : Status{body.error()};
    if (!*outcome) break;
    if (options.watch) co_await sleep_for(env, kWatchEvery);
  } while (options.watch);
  env.stop();
  co_return ok();
}

}  // namespace

int run_projections_status(const Config& config, const StatusCommand& options) {
  RealEnv env;
  std::unique_ptr<ProjectionStores> stores;
  const auto fail = [](const Error& error) {
    std::cerr << "varve projections: " << error.message << "\n";
    return kExitFailed;
  };
  if (options.server.empty()) {
    auto opened = open_to_look(env, config);
    if (!opened) return fail(opened.error());
    stores = std::move(*opened);
  }
  boost::asio::signal_set signals(env.io_context(), SIGINT, SIGTERM);
  signals.async_wait([&env](const boost::system::error_code& error, int /*signal*/) {
    if (!error) env.stop();
  });
  const auto outcome = std::make_shared<Status>(ok());
  env.spawn("status", tell(env, stores.get(), options, config.password, outcome));
  env.run();
  if (stores && stores->cut_off) stores->cut_off();
  env.shut_down();
  return *outcome ? kExitDone : fail(outcome->error());
}

}  // namespace varve
