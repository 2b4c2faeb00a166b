// Messages of agent files, both ways.

#include <array>

#include "api/agent_file.h"
#include "api/body_reader.h"

namespace varve {
namespace {

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

Json text_part(const std::string& text) {
  Json part = Json::object();
  part.set("type", Json::string("text"));
  part.set("text", Json::string(text));
  part.set("signature", Json::null());
  return part;
}

Json optional_string(const std::optional<std::string>& text) {
  return text ? Json::string(*text) : Json::null();
}

Json json_or_null(const std::string& text) {
  auto json = text.empty() ? Result<Json>{Json::null()} : Json::parse(text);
  return json ? std::move(*json) : Json::null();
}

Json reasoning_part(const std::string& text) {
  Json part = Json::object();
  part.set("type", Json::string("reasoning"));
  part.set("is_native", Json::boolean(true));
  part.set("reasoning", Json::string(text));
  part.set("signature", Json::null());
  return part;
}

// A text is one part, reasoning goes before it; nothing at all is null.
Json file_content(const Message& message) {
  const Json content = json_or_null(message.content);
  Json parts = Json::array();
  if (!message.reasoning.empty()) parts.push_back(reasoning_part(message.reasoning));
  if (content.is_string() && !content.as_string().empty()) parts.push_back(text_part(content.as_string()));
  for (const Json& part : content.items()) parts.push_back(part);
  return parts.items().empty() ? Json::null() : parts;
}

Json file_calls(const Message& message) {
  if (message.tool_calls.empty()) return Json::null();
  Json calls = Json::array();
  for (const ToolCall& call : message.tool_calls) {
    Json function = Json::object();
    function.set("arguments", Json::string(call.arguments));
    function.set("name", Json::string(call.name));
    Json one = Json::object();
    one.set("id", Json::string(call.id));
    one.set("function", std::move(function));
    one.set("type", Json::string("function"));
    calls.push_back(std::move(one));
  }
  return calls;
}

Json file_returns(const Message& message) {
  Json returns = Json::array();
  if (message.role != Role::tool) return returns;
  Json one = Json::object();
  one.set("tool_call_id", Json::string(message.tool_call_id));
  one.set("status", Json::string(message.is_error ? "error" : "success"));
  one.set("stdout", json_or_null(message.stdout_lines));
  one.set("stderr", json_or_null(message.stderr_lines));
  one.set("func_response", Json::string(text_of(message)));
  returns.push_back(std::move(one));
  return returns;
}

const std::string* text_member(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  return found != nullptr && found->is_string() ? &found->as_string() : nullptr;
}

// A client's decision: a message holds it as its content, a file beside the content.
struct DecisionMember {
  const char* in_file;
  const char* in_message;
};
constexpr std::array<DecisionMember, 4> kDecision{{{"approve", "approve"},
                                                   {"approval_request_id", "approval_request_id"},
                                                   {"denial_reason", "reason"},
                                                   {"approvals", "approvals"}}};

void write_decision(const Message& message, Json& json) {
  const Json decision = json_or_null(message.content);
  for (const DecisionMember& member : kDecision) {
    if (const Json* found = decision.find(member.in_message)) json.set(member.in_file, *found);
  }
}

void read_decision(BodyReader& reader, Message& message) {
  Json decision = Json::object();
  decision.set("approvals", Json::array());
  for (const DecisionMember& member : kDecision) {
    if (const Json* found = reader.find(member.in_file)) decision.set(member.in_message, *found);
  }
  reader.list("approvals");
  reader.boolean("approve");
  message.content = decision.dump();
}

// ---- content ----

void read_reasoning(const Json& part, Message& message) {
  if (const std::string* text = text_member(part, "reasoning")) message.reasoning += *text;
  const Json* summary = part.find("summary");
  if (summary == nullptr || !summary->is_array()) return;
  for (const Json& piece : summary->items()) {
    if (const std::string* text = text_member(piece, "text")) message.reasoning += *text;
  }
}

// A part that says in the content what other formats say beside it.
void read_other_part(const std::string& type, const Json& part, Message& message) {
  if (type.ends_with("reasoning")) return read_reasoning(part, message);
  const std::string* id = text_member(part, type == "tool_call" ? "id" : "tool_call_id");
  if (type == "tool_call" && id != nullptr) {
    const std::string* name = text_member(part, "name");
    const Json* input = part.find("input");
    message.tool_calls.push_back(
        {*id, name != nullptr ? *name : "", input != nullptr ? input->dump() : "{}"});
  } else if (type == "tool_return" && id != nullptr && message.tool_call_id.empty()) {
    message.tool_call_id = *id;
    const Json* failed = part.find("is_error");
    message.is_error = failed != nullptr && failed->is_boolean() && failed->as_boolean();
    if (const std::string* text = text_member(part, "content")) message.content = json_string(*text);
  }
}

void read_content(const Json& content, const std::string& path, BodyReader& reader, Message& message) {
  if (content.is_string()) {
    message.content = content.dump();
    return;
  }
  if (!content.is_array()) return reader.refuse("content", "a string, a list of parts or null", content);
  Json kept = Json::array();
  for (std::size_t i = 0; i < content.items().size(); ++i) {
    const Json& part = content.items()[i];
    const std::string here = path + ".content[" + std::to_string(i) + "]";
    const std::string* type = text_member(part, "type");
    if (type == nullptr) {
      return reader.fail({422, here + ".type: expected a string, as in {\"type\":\"text\"}"});
    }
    if (*type == "text" && text_member(part, "text") == nullptr) {
      return reader.fail({422, here + ".text: expected a string"});
    }
    if (*type == "text" || *type == "image") {
      kept.push_back(part);
    } else {
      read_other_part(*type, part, message);
    }
  }
  if (!kept.items().empty()) message.content = kept.dump();
}

// ---- calls and returns ----

void read_calls(const std::vector<Json>& calls, const std::string& path, BodyReader& reader,
                Message& message) {
  message.tool_calls.clear();  // Those beside the content count.
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::string here = path + ".tool_calls[" + std::to_string(i) + "]";
    const Json* function = calls[i].find("function");
    const Json& described = function != nullptr ? *function : calls[i];
    const std::string* id = text_member(calls[i], "id");
    const std::string* name = text_member(described, "name");
    const Json* arguments = described.find("arguments");
    if (id == nullptr) return reader.fail({422, here + ".id: expected a string"});
    if (name == nullptr) return reader.fail({422, here + ".function.name: expected a string"});
    if (arguments == nullptr) return reader.fail({422, here + ".function.arguments: field required"});
    message.tool_calls.push_back(
        {*id, *name, arguments->is_string() ? arguments->as_string() : arguments->dump()});
  }
}

void read_return(const Json& json, Message& message) {
  if (const std::string* id = text_member(json, "tool_call_id")) message.tool_call_id = *id;
  const std::string* status = text_member(json, "status");
  message.is_error = status != nullptr && *status == "error";
  const auto lines = [&json](std::string_view key) {
    const Json* found = json.find(key);
    return found != nullptr && found->is_array() ? found->dump() : std::string();
  };
  message.stdout_lines = lines("stdout");
  message.stderr_lines = lines("stderr");
}

// Keeps what the message does not say by itself.
void keep_rest(const Json& json, Message& message) {
  const Json said = file_message(message, "", "");
  Json rest = Json::object();
  for (const auto& [key, value] : json.members()) {
    if (key == "id" || key == "agent_id") continue;
    const Json* same = said.find(key);
    if (same == nullptr || *same != value) rest.set(key, value);
  }
  if (!rest.members().empty()) message.extra = rest.dump();
}

// The returns behind the first: a message each, because each answers a call of its own.
void add_other_returns(const std::vector<Json>& returns, std::vector<Message>& messages) {
  for (std::size_t i = 1; i < returns.size(); ++i) {
    Message other = messages.front();
    const std::string* response = text_member(returns[i], "func_response");
    read_return(returns[i], other);
    other.content = json_string(response != nullptr ? *response : "");
    Json rest = Json::object();
    rest.set(std::string(kContinues), Json::boolean(true));
    other.extra = rest.dump();
    messages.push_back(std::move(other));
  }
}

}  // namespace

std::string format_file_time(WallTime time) {
  std::string text = format_rfc3339_micros(time);
  if (text.ends_with('Z')) text.pop_back();
  return text + "+00:00";
}

Json file_message(const Message& message, const std::string& id, const std::string& agent_id) {
  const bool asks = message.is_approval_request || message.role == Role::approval;
  Json json = Json::object();
  json.set("type", Json::string("message"));
  json.set("role", Json::string(asks ? "approval" : to_string(message.role)));
  json.set("content", file_content(message));
  json.set("name", optional_string(message.name));
  json.set("otid", optional_string(message.otid));
  json.set("sender_id", optional_string(message.sender_id));
  json.set("batch_item_id", Json::null());
  json.set("group_id", optional_string(message.group_id));
  json.set("id", Json::string(id));
  json.set("model", Json::null());
  json.set("agent_id", Json::string(agent_id));
  json.set("tool_calls", file_calls(message));
  json.set("tool_call_id", message.tool_call_id.empty() ? Json::null() : Json::string(message.tool_call_id));
  json.set("tool_returns", file_returns(message));
  json.set("created_at", Json::string(format_file_time(message.sent_at)));
  for (const char* key : {"approve", "approval_request_id", "denial_reason"}) json.set(key, Json::null());
  json.set("approvals", Json::array());
  if (message.role == Role::approval) write_decision(message, json);
  if (message.extra.empty()) return json;
  const Json rest = json_or_null(message.extra);
  for (const auto& [key, value] : rest.members()) json.set(key, value);
  return json;
}

std::vector<Message> read_file_message(const Json& json, const std::string& path, BodyReader& outer) {
  if (!json.is_object()) {
    outer.fail({422, path + ": expected an object, got " + std::string(json.kind_name())});
    return {};
  }
  BodyReader reader(json, path);
  std::vector<Message> messages(1);
  Message& message = messages.front();
  const auto role_name = reader.text("role");
  const auto role = role_name ? parse_role(*role_name) : std::nullopt;
  if (!role_name) {
    reader.missing("role");
  } else if (!role) {
    reader.fail({422, path + ".role: expected system, user, assistant, tool, approval or summary, got '" +
                          *role_name + "'"});
  }
  message.role = role.value_or(Role::user);
  message.tool_call_id = reader.text("tool_call_id").value_or("");
  const auto* returns = reader.list("tool_returns");
  if (returns != nullptr && !returns->empty() && message.role == Role::tool) {
    read_return(returns->front(), message);
    const std::string* response = text_member(returns->front(), "func_response");
    if (response != nullptr) message.content = json_string(*response);
  }
  if (const Json* content = reader.find("content")) read_content(*content, path, reader, message);
  if (const auto* calls = reader.list("tool_calls"); calls != nullptr && !calls->empty()) {
    read_calls(*calls, path, reader, message);
  }
  message.name = reader.text("name");
  message.otid = reader.text("otid");
  message.sender_id = reader.text("sender_id");
  message.group_id = reader.text("group_id");
  if (const auto time = reader.text("created_at")) {
    const auto at = parse_rfc3339(*time);
    if (!at) {
      reader.fail({422, path +
                            ".created_at: expected a time such as 2025-10-10T07:14:29.912336+00:00, got '" +
                            *time + "'"});
    }
    message.sent_at = at.value_or(WallTime{});
  }
  if (message.role == Role::approval && !message.tool_calls.empty()) {
    message.role = Role::assistant;
    message.is_approval_request = true;
  } else if (message.role == Role::approval) {
    read_decision(reader, message);
  }
  if (reader.error()) {
    outer.fail(*reader.error());
    return {};
  }
  const bool many = returns != nullptr && message.role == Role::tool;
  keep_rest(json, message);
  if (many) add_other_returns(*returns, messages);
  return messages;
}

Message message_of_row(const Row& row) {
  const auto text = [&row](std::size_t column) { return row.is_null(column) ? "" : row.text(column); };
  const auto optional = [&row](std::size_t column) {
    return row.is_null(column) ? std::optional<std::string>{} : std::optional<std::string>{row.text(column)};
  };
  Message message;
  message.role = parse_role(row.text(messages::role)).value_or(Role::user);
  message.content = row.text(messages::content);
  message.name = optional(messages::name);
  message.sender_id = optional(messages::sender_id);
  message.group_id = optional(messages::group_id);
  message.otid = optional(messages::otid);
  message.reasoning = text(messages::reasoning);
  message.tool_call_id = text(messages::tool_call_id);
  message.is_error = row.integer(messages::is_error) != 0;
  message.stdout_lines = text(messages::stdout_lines);
  message.stderr_lines = text(messages::stderr_lines);
  message.is_approval_request = row.integer(messages::is_approval_request) != 0;
  message.sent_at = WallTime{row.integer(messages::created_at)};
  message.extra = text(messages::extra);
  const Json calls = json_or_null(text(messages::tool_calls));
  for (const Json& call : calls.items()) {
    const auto member = [&call](std::string_view key) {
      const Json* found = call.find(key);
      return found != nullptr && found->is_string() ? found->as_string() : std::string();
    };
    message.tool_calls.push_back({member("id"), member("name"), member("arguments")});
  }
  return message;
}

}  // namespace varve
