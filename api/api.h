// Api: the routes of the Letta V1 API as functions from a request to a response. It sends commands to their
// owners through CommandSender and reads only the views. It knows no sockets, so the simulation drives the
// same object.
//
// A write answers when its record is admitted and, by default (ack=view), when the views have passed it, so
// that every later read of the same client sees it. Thread: the Env's. Lifetime: outlives its requests.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "actors/command_sender.h"
#include "api/body.h"
#include "api/queries.h"
#include "projections/view_progress.h"

namespace varve {

inline constexpr Duration kViewWait{std::chrono::seconds{5}};

struct ApiOptions {
  std::uint32_t partitions = kPartitionsDefault;
  KnownModels models;
  Duration view_wait{kViewWait};                    // How long a write waits for the views.
  Duration request_time{std::chrono::seconds{60}};  // Deadline of a request that names none.
  // What has stopped a part of the server for good, if anything; the health route says it.
  std::function<std::optional<Error>()> failure;
  Duration turn_time{std::chrono::minutes{11}};  // Of one that waits for a turn.
};

class Api {
 public:
  struct Ports {
    CommandSender& sender;
    ViewStore& views;
    ViewProgress& progress;
  };

  Api(Env& env, Ports ports, ApiOptions options);

  // Always answers; never throws.
  boost::asio::awaitable<Response> handle(Request request);

 private:
  // A request taken apart.
  struct Call {
    Request request;
    Target target;
    std::vector<std::string> ids;  // The variable segments of the path, decoded.
    bool keyless = true;
    CommandRef command;  // Of a write.
    MonoTime deadline;
  };
  using Answer = boost::asio::awaitable<Response>;
  using RouteFunction = Answer (Api::*)(Call);
  struct Route {
    std::string_view method;
    std::string_view pattern;  // "/v1/agents/{agent_id}"
    RouteFunction function;
  };
  static const std::vector<Route>& routes();

  Answer dispatch(Request request, Target target);
  Answer run_route(const Route& route, Call call);
  // What is the same for every route: the deadline, the command's id, Varve-Wait-For.
  std::optional<Response> prepare(Call& call, bool write);

  // ---- routes (agents_routes.cpp, blocks_routes.cpp, messages_routes.cpp) ----
  Answer health(Call call);
  Answer create_agent(Call call);
  Answer list_agents_route(Call call);
  Answer get_agent(Call call);
  Answer update_agent(Call call);
  Answer delete_agent(Call call);
  Answer list_core_blocks(Call call);
  Answer get_core_block(Call call);
  Answer update_core_block(Call call);
  Answer attach_block(Call call);
  Answer detach_block(Call call);
  Answer create_block(Call call);
  Answer list_blocks_route(Call call);
  Answer get_block(Call call);
  Answer update_block(Call call);
  Answer delete_block(Call call);
  Answer create_messages(Call call);
  Answer list_messages_route(Call call);

  // ---- shared by the routes ----
  Task<CommandAnswer> send(const Call& call, StreamId stream, Command command);
  // Waits until the views have passed what was written; says so in the headers that it returns.
  boost::asio::awaitable<Headers> settle(const CommandAnswer& answer, const Call& call);
  boost::asio::awaitable<Headers> settle_at(StreamId stream, std::vector<LogPosition> positions, bool ack_log,
                                            MonoTime deadline);
  // Renders from the views; while they are behind, from the command's own events.
  using Render = std::function<Result<std::optional<std::string>>(ViewReader&)>;
  Answer answer_write(Call call, CommandAnswer answer, Render render);
  Answer answer_read(Call call, Render render, std::string not_found);
  Task<std::optional<std::string>> read_views(Render render);
  Answer attach_or_detach(Call call, bool attach);
  Answer change_block(Call call, StreamId block, UpdateBlock update);
  Answer replayed_turn(Call call, CommandAnswer answer, std::optional<std::vector<std::string>> types);
  Response turn_response(const TurnResult& turn, const std::optional<std::vector<std::string>>& types) const;
  Relationships relationships_of(const Call& call, std::string& fault) const;

  Env& env_;
  Ports ports_;
  ApiOptions options_;
};

// True for clients that get relationships only when they ask for them (the 1.x SDKs).
bool is_sdk_client(const Request& request);

}  // namespace varve
