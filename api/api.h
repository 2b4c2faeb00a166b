// Api: the routes of the Letta V1 API as functions from a request to a response. It sends commands to their
// owners through CommandSender and reads only the views. It knows no sockets, so the simulation drives the
// same object.
//
// A write answers when its record is admitted and, by default (ack=view), when the views have passed it, so
// that every later read of the same client sees it. Thread: the Env's. Lifetime: outlives its requests.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "actors/command_sender.h"
#include "api/agent_file.h"
#include "api/body.h"
#include "api/opened_reader.h"
#include "api/queries.h"
#include "api/view_lag.h"
#include "projections/as_of.h"
#include "projections/view_progress.h"

namespace varve {

inline constexpr Duration kViewWait{std::chrono::seconds{5}};
inline constexpr std::uint64_t kAckLogLagRecords = 50'000;

struct ApiOptions {
  std::uint32_t partitions = kPartitionsDefault;
  KnownModels models;
  Duration view_wait{kViewWait};                    // How long a write waits for the views.
  Duration request_time{std::chrono::seconds{60}};  // Deadline of a request that names none.
  // What has stopped a part of the server for good, if anything; the health route says it.
  std::function<std::optional<Error>()> failure;
  // Answers GET /v1/ready/.
  std::function<boost::asio::awaitable<Response>()> ready;
  // While the views of a partition are further behind, writes to it with ack=log are answered 429.
  std::uint64_t ack_log_lag_records = kAckLogLagRecords;
  Duration turn_time{std::chrono::minutes{11}};  // Of one that waits for a turn.
};

class Api {
 public:
  struct Ports {
    CommandSender& sender;
    ViewStore& views;
    ViewProgress& progress;
    ViewLag& lag;
    EventLog& log;             // Read for as_of only.
    KeyStore* keys = nullptr;  // Null: no agent is erasable.
  };

  Api(Env& env, Ports ports, ApiOptions options);

  // Always answers; never throws.
  boost::asio::awaitable<Response> handle(Request request);
  // From the next request on.
  void set_models(KnownModels models) { options_.models = std::move(models); }

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

  // The route is for metrics; null = none fits.
  Answer dispatch(Request request, Target target, const Route** chosen);
  Answer run_route(const Route& route, Call call);
  Answer answer_gone(std::string agent, Response not_found);
  // What is the same for every route: the deadline, the command's id, Varve-Wait-For.
  std::optional<Response> prepare(Call& call, bool write);

  // ---- routes (agents_routes.cpp, blocks_routes.cpp, messages_routes.cpp) ----
  Answer health(Call call);
  Answer ready(Call call);
  Answer create_agent(Call call);
  Answer list_agents_route(Call call);
  Answer get_agent(Call call);
  Answer update_agent(Call call);
  Answer delete_agent(Call call);
  Answer erase_agent(Call call);
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
  Answer stream_messages(Call call);
  Answer create_messages_async(Call call);
  Answer preview_turn(Call call);
  Answer cancel_messages(Call call);
  Answer refuse_message_change(Call call);
  Answer list_all_messages(Call call);
  Answer get_message(Call call);
  Answer search_messages(Call call);
  Answer reset_messages(Call call);
  Answer summarize(Call call);
  Answer list_runs(Call call);  // runs_routes.cpp
  Answer get_run(Call call);
  Answer list_run_messages(Call call);
  Answer list_run_steps(Call call);
  Answer get_run_usage(Call call);
  Answer stream_run(Call call);
  Answer list_steps(Call call);
  Answer get_step(Call call);
  Answer count_agents(Call call);
  Answer get_core_memory(Call call);
  Answer get_context(Call call);
  Answer list_agent_tools(Call call);  // tools_routes.cpp
  Answer attach_tool(Call call);
  Answer detach_tool(Call call);
  Answer list_tools(Call call);
  Answer count_tools(Call call);
  Answer get_tool(Call call);
  Answer put_tool(Call call);
  Answer update_tool(Call call);
  Answer delete_tool(Call call);
  Answer search_tools(Call call);
  Answer list_tags(Call call);  // catalogue_routes.cpp
  Answer list_models(Call call);
  Answer list_embeddings(Call call);
  Answer count_blocks(Call call);
  Answer list_block_agents(Call call);
  Answer not_yet(Call call);
  Answer conversation_not_found(Call call);
  Answer list_conversation_messages(Call call);
  Answer send_to_conversation(Call call);
  Answer import_agents(Call call);  // agent_file_routes.cpp
  Answer export_agent(Call call);
  Answer fork_agent(Call call);  // fork_routes.cpp
  Answer list_messages_route(Call call);

  // ---- shared by the routes ----
  Task<CommandAnswer> send(const Call& call, StreamId stream, Command command);
  // What a client writes. Errc::resource_exhausted: with ack=log, if the views are too far behind.
  Task<CommandAnswer> write(const Call& call, CommandEnvelope envelope, CallLimits limits);
  Task<CommandAnswer> write_if_views_follow(CommandEnvelope envelope, CallLimits limits);
  // Waits until the views have passed what was written; says so in the headers that it returns.
  boost::asio::awaitable<Headers> settle(const CommandAnswer& answer, const Call& call);
  boost::asio::awaitable<Headers> settle_at(StreamId stream, std::vector<LogPosition> positions, bool ack_log,
                                            MonoTime deadline);
  // Renders from the views; while they are behind, from the command's own events.
  using Render = std::function<Result<std::optional<std::string>>(ViewReader&)>;
  // Whether the command's own events make all the rows that its answer prints.
  enum class OwnRows : unsigned char { are_all, are_some };
  Answer answer_write(Call call, CommandAnswer answer, Render render, OwnRows own);
  // As of the cut that the query's as_of means, if there is one.
  Answer answer_read(Call call, Render render, std::string not_found);
  Task<ResolvedCut> resolve(std::string as_of, MonoTime deadline);
  Task<std::optional<std::string>> read_views(Render render);
  // From the rows that a commit's own events make.
  Task<std::optional<std::string>> render_commit(std::shared_ptr<const Commit> commit, LogPosition position,
                                                 Render render);
  Answer attach_or_detach(Call call, bool attach);
  Answer change_block(Call call, StreamId block, UpdateBlock update);
  Answer send_messages(Call call, bool always_streams, bool async);
  Answer opened_run(Call call, CommandAnswer answer);
  Task<std::optional<TurnResult>> ended_turn(std::string run_id);
  std::function<boost::asio::awaitable<void>(std::vector<LogPosition>)> settling(StreamId stream,
                                                                                 bool ack_log);
  boost::asio::awaitable<void> settle_quietly(StreamId stream, std::vector<LogPosition> positions,
                                              bool ack_log);
  Response turn_response(const TurnResult& turn, const MessageTypes& types) const;
  // The custom tools that a body names, asked of the catalogue.
  Task<std::vector<ToolValue>> tools_named_in(Json body, MonoTime deadline);
  Answer change_tools(Call call, bool attach);
  Answer agent_after(Call call, CommandAnswer answer, bool whole);
  // Commands of an import, with ids of their own that derive from the request's.
  Task<CommandAnswer> send_part(CommandRef whole, std::string part, StreamId stream, Command command,
                                MonoTime deadline);
  struct ImportedTools {
    std::map<std::string, std::string> ids;  // By name.
    std::vector<LogPosition> positions;
  };
  Task<ImportedTools> import_tools(CommandRef whole, std::vector<ToolValue> tools, bool replace,
                                   MonoTime deadline);
  Task<std::vector<LogPosition>> import_agent(CommandRef whole, std::size_t number, ImportedAgent agent,
                                              MonoTime deadline);
  Task<ImportedAgent> read_fork(StreamId origin, Cut cut);
  Relationships relationships_of(const Call& call, std::string& fault) const;

  Env& env_;
  Ports ports_;
  ApiOptions options_;
};

// True for clients that get relationships only when they ask for them (the 1.x SDKs).
bool is_sdk_client(const Request& request);

}  // namespace varve
