#include "inspect/causes.h"

#include "actors/memory_tools.h"
#include "inspect/columns.h"

namespace varve {
namespace {

struct RunOf {
  std::string operator()(const UserMessageReceived& event) const { return event.run_id; }
  std::string operator()(const AssistantReplied& event) const { return event.run_id; }
  std::string operator()(const ToolReturned& event) const { return event.run_id; }
  std::string operator()(const TurnResumed& event) const { return event.run_id; }
  std::string operator()(const TurnHandedOver& event) const { return event.run_id; }
  std::string operator()(const TurnFinished& event) const { return event.run_id; }
  std::string operator()(const TurnFailed& event) const { return event.run_id; }
  std::string operator()(const TurnCancelled& event) const { return event.run_id; }
  template <class E>
  std::string operator()(const E& /*event*/) const {
    return {};
  }
};

}  // namespace

std::string run_of(const Event& event) {
  return std::visit(RunOf{}, event);
}

const char* to_string(Cause::Kind kind) {
  switch (kind) {
    case Cause::Kind::client:
      return "client";
    case Cause::Kind::turn:
      return "turn";
    case Cause::Kind::tool_call:
      return "tool_call";
    case Cause::Kind::server:
      return "server";
  }
  return "?";
}

std::string describe(const Cause& cause) {
  std::string text;
  switch (cause.kind) {
    case Cause::Kind::client:
      text = "a client's request";
      break;
    case Cause::Kind::server:
      text = "the server itself";
      break;
    case Cause::Kind::turn:
      text = cause.run_id;
      break;
    case Cause::Kind::tool_call:
      text = "tool call " + cause.tool + " (" + cause.tool_call_id + ") in " + cause.message_id;
      if (cause.called_at) text += " at " + to_string(*cause.called_at);
      text += ", " + cause.run_id;
      break;
  }
  if (cause.opened_at) text += " opened at " + to_string(*cause.opened_at);
  if (!cause.request_id.empty()) text += ", request " + cause.request_id;
  return printable(std::move(text));
}

void write_cause(JsonWriter& out, const Cause& cause) {
  const auto text = [&out](const char* name, const std::string& value) {
    value.empty() ? out.field_null(name) : out.field(name, value);
  };
  const auto place = [&out](const char* name, const std::optional<LogPosition>& position) {
    position ? out.field(name, to_string(*position)) : out.field_null(name);
  };
  out.begin_object().field("kind", to_string(cause.kind));
  text("request", cause.request_id);
  text("run", cause.run_id);
  place("opened_at", cause.opened_at);
  text("opened_by", cause.opened_by);
  text("tool", cause.tool);
  text("tool_call", cause.tool_call_id);
  text("message", cause.message_id);
  place("called_at", cause.called_at);
  out.end_object();
}

void Causes::note(const Record& record, LogPosition position) {
  const auto* commit = std::get_if<Commit>(&record);
  if (commit == nullptr) return;
  const Part& part = commit->parts.front();
  for (const StoredEvent& stored : part.events) {
    const auto* event = std::get_if<Event>(&stored);
    if (event == nullptr) continue;
    if (const auto* received = std::get_if<UserMessageReceived>(event)) {
      runs_.insert_or_assign(received->run_id, Run{position, commit->command.id, commit->command.request_id});
      const auto reply = replies_.find(part.stream);
      if (reply != replies_.end()) note_calls(reply->second, received->run_id);
    }
    const auto* replied = std::get_if<AssistantReplied>(event);
    if (replied == nullptr) continue;
    replies_.erase(part.stream);
    if (replied->message.tool_calls.empty()) continue;
    Reply reply{position, {}};
    reply.message.id = replied->message.id;
    reply.message.step_id = replied->message.step_id;
    for (const ToolCall& call : replied->message.tool_calls) {
      reply.message.tool_calls.push_back({call.id, call.name, ""});
    }
    note_calls(reply, replied->run_id);
    replies_.emplace(part.stream, std::move(reply));
  }
}

void Causes::note_calls(const Reply& reply, const std::string& run_id) {
  const auto run = runs_.find(run_id);
  if (run == runs_.end()) return;
  std::int64_t ordinal = 0;
  for (const ToolCall& call : reply.message.tool_calls) {
    const std::string intent = tool_intent(run->second.command, reply.message.step_id, ordinal++);
    calls_.insert_or_assign(command_id_from_text(intent), Call{reply.at, run_id, reply.message.id, call});
  }
}

void Causes::tell_of_turn(Cause& cause, const std::string& run_id) const {
  cause.run_id = run_id;
  const auto run = runs_.find(run_id);
  if (run == runs_.end()) return;
  cause.opened_at = run->second.at;
  cause.opened_by = to_hex(run->second.command);
  if (cause.request_id.empty()) cause.request_id = run->second.request_id;
}

Cause Causes::of(const CommandRef& command, const Event* event) const {
  Cause cause;
  cause.request_id = command.request_id;
  if (const auto call = calls_.find(command.id); call != calls_.end()) {
    cause.kind = Cause::Kind::tool_call;
    cause.tool = call->second.call.name;
    cause.tool_call_id = call->second.call.id;
    cause.message_id = call->second.message_id;
    cause.called_at = call->second.at;
    tell_of_turn(cause, call->second.run_id);
    return cause;
  }
  const std::string run_id = event == nullptr ? "" : run_of(*event);
  const bool opens = event != nullptr && std::holds_alternative<UserMessageReceived>(*event);
  if (!run_id.empty() && !opens) {
    cause.kind = Cause::Kind::turn;
    tell_of_turn(cause, run_id);
    return cause;
  }
  const bool asked = command.client || !command.request_id.empty();
  cause.kind = asked ? Cause::Kind::client : Cause::Kind::server;
  return cause;
}

}  // namespace varve
