#include "sim/client_answers.h"

#include <algorithm>

#include "runtime/json.h"

namespace varve::sim {
namespace {

std::string text_of(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

// One listed message as it is compared: a tool's return names when it ran, so only its outcome counts.
std::pair<std::string, std::string> part_of(const Json& message) {
  std::string type = text_of(message, "message_type");
  if (type == "tool_call_message") {
    const Json* call = message.find("tool_call");
    return {std::move(type), call != nullptr ? text_of(*call, "tool_call_id") : ""};
  }
  if (type == "tool_return_message") return {std::move(type), text_of(message, "status")};
  const Json* content = message.find(type == "reasoning_message" ? "reasoning" : "content");
  const bool plain = content != nullptr && content->is_string();
  std::string text = plain ? content->as_string() : content != nullptr ? content->dump() : "";
  return {std::move(type), std::move(text)};
}

std::string reply_text(const std::pair<std::string, std::string>& part) {
  return part.first + ":" + part.second;
}

std::vector<TurnSeen> turns_of(const Json& messages) {
  std::vector<TurnSeen> turns;
  for (const Json& message : messages.items()) {
    const std::string type = text_of(message, "message_type");
    if (type == "system_message") continue;
    if (type == "user_message") {
      turns.push_back({text_of(message, "content"), {}});
    } else if (!turns.empty()) {
      turns.back().replies.push_back(reply_text(part_of(message)));
    }
  }
  return turns;
}

std::vector<op::BlockBirth> blocks_of(const Json& agent) {
  std::vector<op::BlockBirth> blocks;
  const Json* listed = agent.find("blocks");
  for (const Json& block : listed != nullptr ? listed->items() : std::vector<Json>{}) {
    blocks.push_back({text_of(block, "id"), text_of(block, "label"), text_of(block, "value")});
  }
  return blocks;
}

// The texts of the user's messages in an agent file.
Texts texts_of_file(const Json& file) {
  Texts texts;
  const Json* agents = file.find("agents");
  if (agents == nullptr || agents->items().empty()) return texts;
  const Json* messages = agents->items().front().find("messages");
  for (const Json& message : messages != nullptr ? messages->items() : std::vector<Json>{}) {
    if (text_of(message, "role") != "user") continue;
    std::string text = text_of(message, "content");
    const Json* content = message.find("content");
    for (const Json& part : content != nullptr ? content->items() : std::vector<Json>{}) {
      text += text_of(part, "text");
    }
    texts.push_back(std::move(text));
  }
  return texts;
}

// Of a success with a body.
void see(const Op& op, const Json& body, Seen& seen) {
  if (const auto* sent = std::get_if<op::SendMessage>(&op)) {
    if (!sent->waits) return;
    const Json* messages = body.find("messages");
    TurnSeen turn{sent->text, {}};
    if (messages != nullptr) {
      for (const Json& message : messages->items()) turn.replies.push_back(reply_text(part_of(message)));
    }
    seen.turns = {std::move(turn)};
  } else if (std::holds_alternative<op::ReadMessages>(op)) {
    if (body.is_array()) {
      seen.turns = turns_of(body);
    } else {
      seen.texts = texts_of_file(body);
    }
  } else if (std::holds_alternative<op::ReadBlock>(op)) {
    seen.label = text_of(body, "label");
    seen.value = text_of(body, "value");
  } else if (std::holds_alternative<op::ReadAgent>(op)) {
    seen.name = text_of(body, "name");
    seen.blocks = blocks_of(body);
  } else if (std::holds_alternative<op::ListAgents>(op)) {
    Texts ids;
    for (const Json& agent : body.items()) ids.push_back(text_of(agent, "id"));
    std::sort(ids.begin(), ids.end());
    seen.ids = std::move(ids);
  }
}

// ---- streams ----

class StreamReader {
 public:
  StreamRead read(std::string_view body) {
    for (std::size_t at = 0; at < body.size();) {
      const std::size_t end = body.find("\n\n", at);
      if (end == std::string_view::npos) break;  // Cut off within an event.
      take(body.substr(at, end - at));
      at = end + 2;
    }
    return std::move(read_);
  }

 private:
  void take(std::string_view event) {
    const std::size_t start = event.find("data: ");
    if (start == std::string_view::npos) return;
    const std::string_view data = event.substr(start + 6);
    if (data == "[DONE]") {
      read_.done = true;
      return;
    }
    const auto json = Json::parse(data);
    if (!json) return;
    if (const std::string run = text_of(*json, "run_id"); !run.empty()) read_.run = run;
    const std::string type = text_of(*json, "message_type");
    if (type == "error_message") {
      read_.error = text_of(*json, "error_type");
    } else if (type == "stop_reason") {
      read_.stop_reason = text_of(*json, "stop_reason");
    } else if (type != "ping" && type != "usage_statistics") {
      take_part(*json);
    }
  }

  void take_part(const Json& json) {
    const std::string id = text_of(json, "id");
    const Json* number = json.find("seq_id");
    const std::int64_t carried = number != nullptr && number->is_number() ? *number->as_integer() : 0;
    auto [type, text] = part_of(json);
    auto& messages = read_.messages;
    if (messages.empty() || messages.back().id != id) messages.push_back({id, 0, {}});
    StreamedMessage& message = messages.back();
    message.number = std::max(message.number, carried);
    read_.newest = std::max(read_.newest, carried);
    const bool goes_on = !message.parts.empty() && message.parts.back().first == type;
    if (!goes_on) {
      message.parts.emplace_back(std::move(type), std::move(text));
    } else if (type != "tool_call_message") {
      message.parts.back().second += text;
    }
  }

  StreamRead read_;
};

}  // namespace

StreamRead read_stream(std::string_view body) {
  return StreamReader{}.read(body);
}

Texts replies_of(const std::vector<StreamedMessage>& messages) {
  Texts replies;
  for (const StreamedMessage& message : messages) {
    for (const auto& part : message.parts) replies.push_back(reply_text(part));
  }
  return replies;
}

Outcome outcome_of(const Op& op, const Exchange& came) {
  Outcome outcome;
  if (came.end != Exchange::End::whole) return outcome;
  // 410: it was here, and has moved or was erased.
  if (came.status == 404 || came.status == 410) outcome.answer = Answer::not_found;
  if (came.status == 409) outcome.answer = Answer::conflict;
  if (came.status == 400 || came.status == 422) outcome.answer = Answer::refused;
  if (came.status < 200 || came.status >= 300) return outcome;
  outcome.answer = Answer::ok;
  outcome.settled = !came.header("varve-view").has_value();
  if (const auto body = Json::parse(came.body)) see(op, *body, outcome.seen);
  return outcome;
}

TurnTold turn_told(const Exchange& came) {
  const auto run = came.header("x-run-id");
  const auto body = Json::parse(came.body);
  const Json* stop = body ? body->find("stop_reason") : nullptr;
  if (!run || stop == nullptr) return {};
  return {*run, text_of(*stop, "stop_reason")};
}

Texts runs_cancelled(const Exchange& came) {
  Texts runs;
  const auto body = Json::parse(came.body);
  if (!body || came.status != 200) return runs;
  for (const auto& [run, state] : body->members()) {
    if (state.is_string() && state.as_string() == "cancelled") runs.push_back(run);
  }
  return runs;
}

Texts agents_imported(const Exchange& came) {
  Texts agents;
  const auto body = Json::parse(came.body);
  const Json* ids = body && came.status == 200 ? body->find("agent_ids") : nullptr;
  for (const Json& id : ids != nullptr ? ids->items() : std::vector<Json>{}) {
    if (id.is_string()) agents.push_back(id.as_string());
  }
  return agents;
}

}  // namespace varve::sim
