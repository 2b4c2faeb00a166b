#include "actors/scripted_model.h"

#include "actors/actor_state.h"
#include "actors/echo_model.h"
#include "runtime/json_fields.h"
#include "runtime/suspend.h"

namespace varve {

Result<ScriptedModel::Reply> ScriptedModel::parse_reply(const Json& json, std::size_t number) {
  JsonFields fields(json, "model script, reply " + std::to_string(number), Errc::invalid_argument);
  Reply reply;
  reply.match = fields.optional_text("match").value_or("");
  reply.times = fields.integer_or("times", -1);
  reply.delay_ms = fields.integer_or("delay_ms", 0);
  reply.token_delay_ms = fields.integer_or("token_delay_ms", 0);
  reply.text = fields.optional_text("text");
  reply.then = fields.optional_text("then").value_or("done");
  reply.echo_context = fields.boolean_or("echo_context", false);
  if (json.find("tool_calls") != nullptr) {
    for (const Json& item : fields.list("tool_calls")) {
      JsonFields call(item, "tool call", Errc::invalid_argument);
      const std::string id = "call-" + std::to_string(number) + "-" + std::to_string(reply.tool_calls.size());
      reply.tool_calls.push_back({id, call.text("name"), call.json_or("arguments", "{}")});
      if (call.fault()) fields.set_fault(call.fault()->message);
    }
  }
  if (json.find("error") != nullptr) {
    JsonFields error(fields.object("error"), "error", Errc::invalid_argument);
    ModelFailure failure;
    failure.status = static_cast<int>(error.integer_or("status", 500));
    failure.error_type = error.optional_text("type").value_or("llm_error");
    failure.message = error.optional_text("message").value_or("the script says so");
    reply.error = std::move(failure);
  }
  if (fields.fault()) return *fields.fault();
  return reply;
}

Result<std::unique_ptr<ScriptedModel>> ScriptedModel::parse(Env& env, std::string_view script) {
  const auto json = Json::parse(script);
  if (!json) return Error{Errc::invalid_argument, "model script: " + json.error().message};
  std::unique_ptr<ScriptedModel> model(new ScriptedModel(env));
  JsonFields options(*json, "model script", Errc::invalid_argument);
  model->summarizes_ = options.boolean_or("summarizes", false);
  if (const Json* replies = json->find("replies")) {
    for (const Json& item : replies->items()) {
      auto reply = parse_reply(item, model->replies_.size() + 1);
      if (!reply) return reply.error();
      model->replies_.push_back(std::move(*reply));
    }
  }
  if (const Json* fallback = json->find("default")) {
    auto reply = parse_reply(*fallback, 0);
    if (!reply) return reply.error();
    model->default_ = std::move(*reply);
  }
  return model;
}

bool ScriptedModel::serves(std::string_view handle) const {
  return handle == "varve/scripted" || EchoModel{}.serves(handle);
}

std::vector<std::string> ScriptedModel::handles() const {
  auto all = EchoModel{}.handles();
  all.emplace_back("varve/scripted");
  return all;
}

ModelOutcome ScriptedModel::answer(const Reply& reply, const ModelRequest& request) const {
  if (reply.error) return *reply.error;
  ModelReply said;
  said.completion_tokens = 3;
  said.prompt_tokens = request.messages_tokens;
  const bool after_tools = !request.messages.empty() && request.messages.back()->role == Role::tool;
  if (reply.echo_context) {
    for (const auto& message : request.messages) {
      if (message->role == Role::user) said.text += (said.text.empty() ? "" : " | ") + text_of(*message);
    }
  } else if (after_tools) {
    said.text = reply.then;
  } else {
    said.text = reply.text.value_or("");
    said.tool_calls = reply.tool_calls;
    // A call's id must be new in its context, also when the same entry is used again.
    for (ToolCall& call : said.tool_calls) call.id += "-" + std::to_string(request.messages.size());
  }
  return said;
}

// Word by word, with a pause behind each if the script asks for one.
Task<ModelOutcome> ScriptedModel::spoken(ModelOutcome outcome, DeltaSink on_delta, std::int64_t pause_ms) {
  const auto* said = std::get_if<ModelReply>(&outcome);
  if (!on_delta || said == nullptr) co_return outcome;
  std::size_t at = 0;
  while (at < said->text.size()) {
    const std::size_t end = std::min(said->text.find(' ', at), said->text.size() - 1) + 1;
    on_delta({ModelDelta::Kind::text, said->text.substr(at, end - at), 0, "", ""});
    at = end;
    if (pause_ms > 0) co_await sleep_for(env_, std::chrono::milliseconds{pause_ms});
  }
  for (std::size_t i = 0; i < said->tool_calls.size(); ++i) {
    const ToolCall& call = said->tool_calls[i];
    on_delta({ModelDelta::Kind::tool_call, "", i, call.id, call.name});
    on_delta({ModelDelta::Kind::tool_call, call.arguments, i, call.id, ""});
  }
  co_return outcome;
}

Task<ModelOutcome> ScriptedModel::complete(ModelRequest request, MonoTime deadline) {
  ++calls_;
  const std::string text = last_user_text(request);
  const bool after_tools = !request.messages.empty() && request.messages.back()->role == Role::tool;
  const Reply* chosen = default_ ? &*default_ : nullptr;
  for (Reply& reply : replies_) {
    if (reply.times == 0 && !after_tools) continue;
    if (text.find(reply.match) == std::string::npos) continue;
    if (reply.times > 0 && !after_tools) --reply.times;
    chosen = &reply;
    break;
  }
  if (chosen == nullptr) {
    Reply echo;
    echo.text = "You said: " + text;
    ModelOutcome outcome = answer(echo, request);
    co_return co_await spoken(std::move(outcome), std::move(request.on_delta), 0);
  }
  const Reply reply = *chosen;
  if (reply.delay_ms > 0 && !after_tools) {
    const MonoTime until = env_.now() + std::chrono::milliseconds{reply.delay_ms};
    co_await sleep_until(env_, std::min(until, deadline));
    if (until > deadline) {
      co_return ModelOutcome{
          ModelFailure{504, "llm_timeout", "the model did not answer before the turn's deadline"}};
    }
  }
  ModelOutcome outcome = answer(reply, request);
  co_return co_await spoken(std::move(outcome), std::move(request.on_delta), reply.token_delay_ms);
}

}  // namespace varve
