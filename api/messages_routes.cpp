// Routes of messages: sending them (a turn) and listing them.
#include <array>

#include "api/api.h"
#include "api/http_status.h"

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

int status_of_failure(std::string_view type) {
  for (const FailureStatus& entry : kFailureStatuses) {
    if (entry.type == type) return entry.status;
  }
  return 500;
}

Response failed_turn(const std::string& type, const std::string& message, const std::string& run_id) {
  JsonWriter out;
  out.begin_object().key("error").begin_object().field("type", type);
  out.field("message", "The turn failed; your message is kept.").field("detail", message);
  out.field("run_id", run_id).end_object().end_object();
  Response response = json_response(out.take());
  response.status = status_of_failure(type);
  // The message has been taken: sending it again would add it again.
  response.headers.emplace("x-should-retry", "false");
  return response;
}

void render_stop(JsonWriter& out, const std::string& stop_reason, const Usage& usage) {
  out.key("stop_reason")
      .begin_object()
      .field("message_type", "stop_reason")
      .field("stop_reason", stop_reason);
  out.end_object().key("usage");
  render_usage(out, usage);
  out.field_null("logprobs").field_null("turns");
}

}  // namespace

Response Api::turn_response(const TurnResult& turn,
                            const std::optional<std::vector<std::string>>& types) const {
  if (!turn.error_type.empty()) return failed_turn(turn.error_type, turn.error_message, turn.run_id);
  JsonWriter out;
  out.begin_object().key("messages").begin_array();
  for (const TurnMessage& message : turn.messages) render_turn_message(out, message, turn.run_id, types);
  out.end_array();
  render_stop(out, turn.stop_reason, turn.usage);
  out.end_object();
  return json_response(out.take());
}

Api::Answer Api::create_messages(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return unprocessable(body.error.detail);
  auto parsed = parse_messages_request(*body.value, options_.models);
  if (!parsed.value) {
    Response refused = parsed.error.status == 422 ? unprocessable(parsed.error.detail)
                                                  : detail_response(parsed.error.status, parsed.error.detail);
    co_return refused;
  }
  auto answer = co_await send(call, StreamId{call.ids[0]}, std::move(parsed.value->command));
  if (!answer) {
    Response refused = error_response(answer.error(), call.keyless);
    co_return refused;
  }
  if (!answer->turn) {
    Response replayed =
        co_await replayed_turn(std::move(call), std::move(*answer), parsed.value->return_types);
    co_return replayed;
  }
  Response response = turn_response(*answer->turn, parsed.value->return_types);
  Headers headers = co_await settle(*answer, call);
  response.headers.merge(headers);
  co_return response;
}

// The turn has ended before this request: its outcome is read from the views.
Api::Answer Api::replayed_turn(Call call, CommandAnswer answer,
                               std::optional<std::vector<std::string>> types) {
  const std::string run_id = "run-" + derived_uuid(call.command.id, "run", 0);
  Headers headers = co_await settle(answer, call);
  auto found = std::make_shared<std::optional<RunParts>>();
  std::function<Status(ViewReader&)> work = [run_id, found](ViewReader& reader) -> Status {
    auto run = find_run(reader, run_id);
    if (!run) return run.error();
    *found = std::move(*run);
    return ok();
  };
  const Status read = co_await ports_.views.read(std::move(work));
  Response response;
  if (!read) {
    response = error_response(read.error(), call.keyless);
  } else if (!*found) {
    response =
        error_response({Errc::unavailable, "the turn has taken effect, its views are not ready yet"}, false);
  } else if ((*found)->run.text(runs::status) == "failed") {
    const Row& run = (*found)->run;
    response = failed_turn(run.text(runs::error_type),
                           run.is_null(runs::error_message) ? "" : run.text(runs::error_message), run_id);
  } else {
    const Row& run = (*found)->run;
    JsonWriter out;
    out.begin_object().key("messages").begin_array();
    for (const Row& row : (*found)->messages) render_message(out, row, types);
    out.end_array();
    const Usage usage{run.integer(runs::prompt_tokens), run.integer(runs::completion_tokens),
                      run.integer(runs::steps)};
    render_stop(out, run.is_null(runs::stop_reason) ? "" : run.text(runs::stop_reason), usage);
    out.end_object();
    response = json_response(out.take());
  }
  response.headers.merge(headers);
  co_return response;
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
    for (const Row& row : *rows) render_message(out, row, types);
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  Response response = co_await answer_read(std::move(call), std::move(render), "Agent not found");
  co_return response;
}

}  // namespace varve
