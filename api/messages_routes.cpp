// Routes of messages: sending them (a turn) and listing them.
#include <array>

#include "actors/decide.h"
#include "api/api.h"
#include "api/http_status.h"
#include "api/more_queries.h"
#include "api/turn_events.h"

namespace varve {
namespace {

// HTTP status of a failed turn, by the type of its error, as the API's clients know it.
struct FailureStatus {
  std::string_view type;
  int status;
};
constexpr std::array<FailureStatus, 6> kFailureStatuses{{{"llm_bad_request", 400},
                                                         {"llm_authentication", 401},
                                                         {"llm_rate_limit", 429},
                                                         {"llm_timeout", 504},
                                                         {"turn_timeout", 504},
                                                         {"llm_error", 500}}};

// Marks the options of a turn whose caller does not wait.
std::string with_async(const std::string& request) {
  auto options = Json::parse(request);
  Json object = options && options->is_object() ? std::move(*options) : Json::object();
  object.set("background", Json::boolean(true));
  object.set("async", Json::boolean(true));
  return object.dump();
}

int status_of_failure(std::string_view type) {
  for (const FailureStatus& entry : kFailureStatuses) {
    if (entry.type == type) return entry.status;
  }
  return 500;
}

// What a client is told of a failed turn.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kFailureTexts{
    {{"llm_bad_request", "The request to the model's provider was invalid."},
     {"llm_authentication", "The model's provider refused this server's credentials."},
     {"llm_rate_limit", "The model's provider limits the rate of requests; try again later."},
     {"llm_timeout", "The model did not answer in time."},
     {"turn_timeout", "The turn did not end in time."}}};

Response failed_turn(const std::string& type, const std::string& message, const std::string& run_id) {
  std::string_view text = "The turn failed.";
  for (const auto& [known, sentence] : kFailureTexts) {
    if (known == type) text = sentence;
  }
  JsonWriter out;
  out.begin_object().key("error").begin_object().field("type", type);
  out.field("message", std::string(text) + " Your message is kept.").field("detail", message);
  out.end_object().end_object();
  Response response = json_response(out.take());
  response.status = status_of_failure(type);
  response.headers.emplace("x-run-id", run_id);
  // The message has been taken: sending it again would add it again.
  response.headers.emplace("x-should-retry", "false");
  return response;
}

// 409 while a tool call waits for the client, with what it waits for.
Response pending_approval_response(const std::string& waiting) {
  JsonWriter out;
  out.begin_object().key("detail").begin_object().field("code", "PENDING_APPROVAL");
  out.field(
      "message",
      "CONFLICT: the agent waits for a decision about a tool call. Approve or deny it, or send what your "
      "tool returned, before you send a new message.");
  out.field("pending_request_id", waiting).end_object().end_object();
  Response response = json_response(out.take());
  response.status = 409;
  response.headers.emplace("x-should-retry", "false");
  return response;
}

Response refused_message(const Error& error, bool keyless) {
  if (error.code == Errc::conflict && error.message.starts_with(kPendingApproval)) {
    return pending_approval_response(error.message.substr(kPendingApproval.size()));
  }
  return error_response(error, keyless);
}

// What a client without a key must not repeat: it would take effect again.
Error not_to_be_seen_yet(const std::string& why) {
  return {Errc::outcome_unknown, "the message was taken, and the turn's end cannot be shown yet: " + why};
}

}  // namespace

Response Api::turn_response(const TurnResult& turn, const MessageTypes& types) const {
  if (!turn.error_type.empty()) return failed_turn(turn.error_type, turn.error_message, turn.run_id);
  JsonWriter out;
  out.begin_object().key("messages").begin_array();
  for (const TurnMessage& message : turn.messages) render_message(out, view_of(message, turn.run_id), types);
  out.end_array().key("stop_reason").raw(stop_event(turn.stop_reason)).key("usage");
  render_usage(out, turn.usage);
  out.field_null("logprobs").field_null("turns").end_object();
  Response response = json_response(out.take());
  response.headers.emplace("x-run-id", turn.run_id);
  return response;
}

Api::Answer Api::create_messages(Call call) {
  co_return co_await send_messages(std::move(call), false, false);
}
Api::Answer Api::stream_messages(Call call) {
  co_return co_await send_messages(std::move(call), true, false);
}
Api::Answer Api::create_messages_async(Call call) {
  co_return co_await send_messages(std::move(call), false, true);
}

// What the model would be asked, as its provider would get it.
Api::Answer Api::preview_turn(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return refusal(body.error);
  auto parsed = parse_messages_request(*body.value, options_.models);
  if (!parsed.value) co_return refusal(parsed.error);
  SendMessages& turn = parsed.value->command;
  PreviewTurn preview{std::move(turn.messages), std::move(turn.request)};
  CommandEnvelope envelope{{}, StreamId{call.ids[0]}, std::move(preview)};
  const CallLimits limits{call.deadline};
  auto answer = co_await ports_.sender.send(std::move(envelope), limits);
  if (!answer) co_return refused_message(answer.error(), call.keyless);
  co_return json_response(std::move(answer->payload));
}

// A turn: its answer when it ends, its events as they come, or (`async`) its run at once.
Api::Answer Api::send_messages(Call call, bool always_streams, bool async) {
  auto body = parse_object(call.request);
  if (!body.value) co_return refusal(body.error);
  auto parsed = parse_messages_request(*body.value, options_.models, always_streams);
  if (!parsed.value) co_return refusal(parsed.error);
  MessagesRequest& request = *parsed.value;
  const bool asked = request.streaming && !always_streams;
  if (asked && !is_sdk_client(call.request)) {
    co_return detail_response(422, "streaming=true is only supported for SDK v1.0+ clients.");
  }
  if (async) request.command.request = with_async(request.command.request);
  CommandEnvelope envelope{call.command, StreamId{call.ids[0]}, std::move(request.command)};
  CallLimits limits{call.deadline};
  if (request.streaming || async) limits.turn = CallLimits::Turn::opened;
  auto answer = co_await write(call, std::move(envelope), limits);
  if (!answer) co_return refused_message(answer.error(), call.keyless);
  if (async) co_return co_await opened_run(std::move(call), std::move(*answer));
  StreamOptions options;
  options.pings = request.include_pings;
  options.tokens = request.stream_tokens;
  options.types = request.return_types;
  options.settle = settling(StreamId{call.ids[0]}, query_value(call.target, "ack") == "log");
  if (request.streaming && answer->channel) {
    options.opened = answer->positions;
    co_return stream_response(turn_events(env_, answer->channel, std::move(options)));
  }
  if (!request.streaming && answer->turn) {
    Response response = turn_response(*answer->turn, request.return_types);
    Headers headers = co_await settle(*answer, call);
    response.headers.merge(headers);
    co_return response;
  }
  // The turn has ended before this request: its outcome is read from the views.
  const std::string run_id = "run-" + derived_uuid(call.command.id, "run", 0);
  Headers headers = co_await settle(*answer, call);
  auto ended = co_await ended_turn(run_id);
  if (!ended) co_return error_response(not_to_be_seen_yet(ended.error().message), call.keyless);
  Response response;
  if (!*ended) {
    response = error_response(not_to_be_seen_yet("its views are not ready yet"), call.keyless);
  } else if (request.streaming) {
    response = stream_response(ended_turn_events(env_, std::move(**ended), std::move(options)));
  } else {
    response = turn_response(**ended, request.return_types);
  }
  response.headers.merge(headers);
  // What an erased agent has said is in no view any more, or sealed for ever.
  co_return co_await answer_gone(call.ids[0], std::move(response));
}

// For the end of a stream: waits until the views have passed what the turn wrote.
std::function<boost::asio::awaitable<void>(std::vector<LogPosition>)> Api::settling(StreamId stream,
                                                                                    bool ack_log) {
  return [this, stream, ack_log](std::vector<LogPosition> positions) -> boost::asio::awaitable<void> {
    return settle_quietly(stream, std::move(positions), ack_log);
  };
}

boost::asio::awaitable<void> Api::settle_quietly(StreamId stream, std::vector<LogPosition> positions,
                                                 bool ack_log) {
  const Headers ignored = co_await settle_at(stream, std::move(positions), ack_log, kNever);
}

// A run as the views have it; nothing while it is open or unknown.
Task<std::optional<TurnResult>> Api::ended_turn(std::string run_id) {
  auto found = std::make_shared<std::optional<TurnResult>>();
  std::function<Status(ViewReader&)> work = [run_id, found](ViewReader& reader) -> Status {
    found->reset();  // It is asked again when keys are there, and may see less.
    auto run = find_run(reader, run_id);
    if (!run) return run.error();
    if (*run && (*run)->run.text(runs::status) != "running") *found = turn_of(**run);
    return ok();
  };
  if (Status read = co_await read_opened(ports_.keys, ports_.views, std::move(work)); !read)
    co_return read.error();
  co_return std::move(*found);
}

Api::Answer Api::list_messages_route(Call call) {
  const auto page = parse_page(call.target, 100, true);
  if (!page.value) co_return unprocessable(page.error.detail);
  const auto order_by = query_value(call.target, "order_by");
  if (order_by && *order_by != "created_at") {
    co_return unprocessable("query.order_by: expected 'created_at', got '" + *order_by + "'");
  }
  for (const char* flag : {"use_assistant_message", "include_err"}) {
    const auto value = query_value(call.target, flag);
    if (value && *value != "true" && *value != "false") {
      co_return unprocessable("query." + std::string(flag) + ": expected true or false, got '" + *value +
                              "'");
    }
  }
  std::optional<std::vector<std::string>> types;
  if (auto asked = query_values(call.target, "include_return_message_types"); !asked.empty()) {
    for (const std::string& type : asked) {
      if (!is_message_type(type)) {
        co_return unprocessable("query.include_return_message_types: '" + type + "' is not a message type");
      }
    }
    types = std::move(asked);
  }
  const auto conversation = query_value(call.target, "conversation_id");
  const bool elsewhere = (conversation && *conversation != "default" && !conversation->empty()) ||
                         query_value(call.target, "group_id").has_value();
  const std::string id = call.ids[0];
  Render render = [id, page = *page.value, types,
                   elsewhere](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto exists = agent_exists(reader, id);
    if (!exists) return exists.error();
    if (!*exists) return std::optional<std::string>{};
    if (elsewhere) return std::optional<std::string>{"[]"};
    auto rows = list_messages(reader, id, page);
    if (!rows) return rows.error();
    JsonWriter out;
    out.begin_array();
    for (const Row& row : *rows) render_message(out, view_of(row), types);
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  Response response = co_await answer_read(std::move(call), std::move(render), "Agent not found");
  co_return response;
}

}  // namespace varve
