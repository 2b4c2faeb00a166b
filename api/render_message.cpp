#include "api/render_message.h"

#include <algorithm>

namespace varve {
namespace {

Json parsed_or_empty(const std::string& text) {
  auto json = Json::parse(text);
  return json ? std::move(*json) : Json::object();
}

std::optional<std::string> optional_of(const Row& row, std::size_t column) {
  if (row.is_null(column)) return std::nullopt;
  return row.text(column);
}

std::string text_or_empty(const Row& row, std::size_t column) {
  return row.is_null(column) ? "" : row.text(column);
}

std::string plain_text(const std::string& content) {
  Message message;
  message.content = content;
  return text_of(message);
}

bool wanted(const MessageTypes& types, std::string_view type) {
  return !types || std::find(types->begin(), types->end(), type) != types->end();
}

// The id's uuid with its low 7 bits replaced by the part's number, as the API's clients know it.
std::string otid_of_part(const std::string& message_id, unsigned part) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string otid = message_id.substr(message_id.find('-') + 1);
  if (otid.size() < 2) return otid;
  const std::size_t high = kDigits.find(otid[otid.size() - 2]);
  const unsigned byte = (high != std::string_view::npos && high >= 8 ? 0x80U : 0U) | (part & 0x7fU);
  otid[otid.size() - 2] = kDigits[byte >> 4U];
  otid[otid.size() - 1] = kDigits[byte & 15U];
  return otid;
}

struct Head {
  std::string_view type;
  std::optional<std::string> otid;
  std::optional<std::int64_t> seq_id;
};

void begin(JsonWriter& out, const MessageView& view, const Head& head) {
  out.begin_object().field("id", view.id).field("date", format_rfc3339_seconds(WallTime{view.created_at}));
  out.field_optional("name", view.name).field("message_type", head.type).field_optional("otid", head.otid);
  out.field_optional("sender_id", view.sender_id)
      .field_optional("step_id", view.step_id)
      .field_null("is_err");
  if (head.seq_id) {
    out.field_integer("seq_id", *head.seq_id);
  } else {
    out.field_null("seq_id");
  }
  out.field_optional("run_id", view.run_id);
}

// An image that was sent within its message is kept there, and shown as the archived server shows images that
// it has taken: with the id of a file, which here is made of the image itself, so that one image has one id.
void show_kept_image(Json& part) {
  const Json* source = part.find("source");
  const auto text_at = [source](std::string_view key) {
    const Json* found = source != nullptr ? source->find(key) : nullptr;
    return found != nullptr && found->is_string() ? found->as_string() : std::string{};
  };
  const std::string data = text_at("data");
  if (text_at("type") != "base64" || data.empty()) return;
  Json shown = Json::object();
  shown.set("type", Json::string("letta"));
  shown.set("file_id", Json::string("file-" + derived_uuid(command_id_from_text(data), "image", 0)));
  const std::string media_type = text_at("media_type");
  shown.set("media_type", media_type.empty() ? Json::null() : Json::string(media_type));
  shown.set("data", Json::string(data));
  const Json* detail = source->find("detail");
  shown.set("detail", detail != nullptr ? *detail : Json::null());
  part.set("source", std::move(shown));
}

void render_content(JsonWriter& out, const std::string& content) {
  const Json json = parsed_or_empty(content);
  if (!json.is_array()) {
    out.field_raw("content", content);
    return;
  }
  // One text alone is printed as a text, however it was sent.
  if (json.items().size() == 1 && json.items().front().find("text") != nullptr) {
    const Json* only = json.items().front().find("text");
    if (only->is_string()) {
      out.field("content", only->as_string());
      return;
    }
  }
  out.key("content").begin_array();
  for (Json part : json.items()) {
    const Json* type = part.find("type");
    const bool text = type != nullptr && type->is_string() && type->as_string() == "text";
    if (text && part.find("signature") == nullptr) part.set("signature", Json::null());
    show_kept_image(part);
    out.raw(part.dump());
  }
  out.end_array();
}

void render_call(JsonWriter& out, const ToolCall& call) {
  out.begin_object().field("name", call.name).field("arguments", call.arguments);
  out.field("tool_call_id", call.id).end_object();
}

void lines_field(JsonWriter& out, std::string_view name, const std::string& lines) {
  if (lines.empty()) {
    out.field_null(name);
  } else {
    out.field_raw(name, lines);
  }
}

// Makes the parts; numbers them when it knows how many there are.
class Parts {
 public:
  Parts(const MessageView& view, const MessageTypes& types, std::optional<std::int64_t> seq_id)
      : view_(view), types_(types), seq_id_(seq_id) {}

  std::vector<std::string> make() {
    const std::string& role = view_.role;
    if (role == "tool") {
      tool_return();
    } else if (role == "assistant") {
      assistant();
    } else if (role == "approval") {
      approval_response();
    } else if (role == "summary") {
      part(
          "summary_message", view_.otid, [this](JsonWriter& out) { out.field("summary", text()); }, true);
    } else {
      const bool system = role == "system";
      const auto content = [this](JsonWriter& out) { render_content(out, view_.content); };
      part(system ? "system_message" : "user_message", view_.otid, content, true);
    }
    return std::move(parts_);
  }

 private:
  std::string text() const { return plain_text(view_.content); }
  std::string next_otid() { return otid_of_part(view_.id, number_++); }

  template <class Body>
  void part(std::string_view type, std::optional<std::string> otid, const Body& body, bool last) {
    if (!wanted(types_, type)) return;
    Head head{type, std::move(otid), std::nullopt};
    if (seq_id_) head.seq_id = last ? *seq_id_ : *seq_id_ - 1;
    JsonWriter out;
    begin(out, view_, head);
    body(out);
    out.end_object();
    parts_.push_back(out.take());
  }

  void assistant() {
    const std::string said = text();
    const bool calls = !view_.tool_calls.empty();
    const bool speaks = !said.empty() || !calls;
    if (!view_.reasoning.empty()) {
      const auto body = [this](JsonWriter& out) {
        out.field("source", "reasoner_model").field("reasoning", view_.reasoning).field_null("signature");
      };
      part("reasoning_message", next_otid(), body, !speaks && !calls);
    }
    if (speaks) {
      const auto body = [&said](JsonWriter& out) { out.field("content", said); };
      part("assistant_message", next_otid(), body, !calls);
    }
    if (!calls) return;
    const auto body = [this](JsonWriter& out) {
      out.key("tool_call");
      render_call(out, view_.tool_calls.front());
      out.key("tool_calls").begin_array();
      for (const ToolCall& call : view_.tool_calls) render_call(out, call);
      out.end_array();
    };
    if (view_.is_approval_request) {
      part("approval_request_message", view_.id, body, true);
    } else {
      part("tool_call_message", next_otid(), body, true);
    }
  }

  void tool_return() {
    const std::string said = text();
    const auto returned = [this, &said](JsonWriter& out) {
      out.field("tool_return", said).field("status", view_.is_error ? "error" : "success");
      out.field("tool_call_id", view_.tool_call_id);
      lines_field(out, "stdout", view_.stdout_lines);
      lines_field(out, "stderr", view_.stderr_lines);
    };
    const auto body = [&returned](JsonWriter& out) {
      returned(out);
      out.key("tool_returns").begin_array().begin_object().field("type", "tool");
      returned(out);
      out.end_object().end_array();
    };
    part("tool_return_message", next_otid(), body, true);
  }

  void approval_response() {
    const Json content = parsed_or_empty(view_.content);
    const auto kept = [&content](std::string_view key, std::string_view otherwise) {
      const Json* found = content.find(key);
      return found != nullptr ? found->dump() : std::string(otherwise);
    };
    const auto body = [&kept](JsonWriter& out) {
      out.field_raw("approvals", kept("approvals", "[]")).field_raw("approve", kept("approve", "null"));
      out.field_raw("approval_request_id", kept("approval_request_id", "null"));
      out.field_raw("reason", kept("reason", "null"));
    };
    part("approval_response_message", view_.otid, body, true);
  }

  const MessageView& view_;
  const MessageTypes& types_;
  std::optional<std::int64_t> seq_id_;
  std::vector<std::string> parts_;
  unsigned number_ = 0;
};

}  // namespace

MessageView view_of(const Row& row) {
  MessageView view;
  view.id = row.text(messages::id);
  view.created_at = row.integer(messages::created_at);
  view.name = optional_of(row, messages::name);
  view.sender_id = optional_of(row, messages::sender_id);
  view.otid = optional_of(row, messages::otid);
  view.step_id = optional_of(row, messages::step_id);
  view.run_id = optional_of(row, messages::run_id);
  view.role = row.text(messages::role);
  view.content = row.text(messages::content);
  view.reasoning = text_or_empty(row, messages::reasoning);
  view.tool_call_id = text_or_empty(row, messages::tool_call_id);
  view.is_error = row.integer(messages::is_error) != 0;
  view.is_approval_request = row.integer(messages::is_approval_request) != 0;
  view.stdout_lines = text_or_empty(row, messages::stdout_lines);
  view.stderr_lines = text_or_empty(row, messages::stderr_lines);
  if (const auto calls = optional_of(row, messages::tool_calls)) {
    const Json parsed = parsed_or_empty(*calls);
    for (const Json& call : parsed.items()) {
      const auto text = [&call](std::string_view name) {
        const Json* found = call.find(name);
        return found != nullptr && found->is_string() ? found->as_string() : std::string();
      };
      view.tool_calls.push_back({text("id"), text("name"), text("arguments")});
    }
  }
  return view;
}

MessageView view_of(const TurnMessage& message, const std::string& run_id) {
  const Message& said = message.message;
  MessageView view;
  view.id = said.id;
  view.created_at = message.at.value();
  view.name = said.name;
  view.sender_id = said.sender_id;
  view.otid = said.otid;
  view.step_id = said.step_id;
  view.run_id = run_id;
  view.role = to_string(said.role);
  view.content = said.content;
  view.reasoning = said.reasoning;
  view.tool_calls = said.tool_calls;
  view.tool_call_id = said.tool_call_id;
  view.is_error = said.is_error;
  view.is_approval_request = said.is_approval_request;
  view.stdout_lines = said.stdout_lines;
  view.stderr_lines = said.stderr_lines;
  return view;
}

std::vector<std::string> message_parts(const MessageView& view, const MessageTypes& types,
                                       std::optional<std::int64_t> seq_id) {
  return Parts(view, types, seq_id).make();
}

void render_message(JsonWriter& out, const MessageView& view, const MessageTypes& types) {
  for (const std::string& part : message_parts(view, types)) out.raw(part);
}

std::string delta_part(const LiveReply& live, const ModelDelta& delta, const std::string& run_id,
                       unsigned part, std::int64_t seq_id, const MessageTypes& types) {
  std::string_view type = "assistant_message";
  if (delta.kind == ModelDelta::Kind::reasoning) type = "reasoning_message";
  if (delta.kind == ModelDelta::Kind::tool_call) type = "tool_call_message";
  if (!wanted(types, type)) return {};
  MessageView view;
  view.id = live.message_id;
  view.created_at = live.at.value();
  view.step_id = live.step_id;
  view.run_id = run_id;
  JsonWriter out;
  begin(out, view, {type, otid_of_part(live.message_id, part), seq_id});
  if (delta.kind == ModelDelta::Kind::text) out.field("content", delta.text);
  if (delta.kind == ModelDelta::Kind::reasoning) {
    out.field("source", "reasoner_model").field("reasoning", delta.text).field_null("signature");
  }
  if (delta.kind == ModelDelta::Kind::tool_call) {
    for (const char* member : {"tool_call", "tool_calls"}) {
      out.key(member).begin_object();
      if (!delta.call_name.empty()) out.field("name", delta.call_name);
      if (!delta.text.empty()) out.field("arguments", delta.text);
      out.field("tool_call_id", delta.call_id).end_object();
    }
  }
  out.end_object();
  return out.take();
}

void render_usage(JsonWriter& out, const Usage& usage, bool tokens) {
  const std::int64_t total = usage.prompt_tokens + usage.completion_tokens;
  out.begin_object().field("message_type", "usage_statistics");
  out.field_integer("completion_tokens", usage.completion_tokens);
  out.field_integer("prompt_tokens", usage.prompt_tokens).field_integer("total_tokens", total);
  out.field_integer("step_count", usage.steps).field_null("run_ids");
  for (const char* detail : {"cached_input_tokens", "cache_write_tokens", "reasoning_tokens"}) {
    if (usage.steps > 0 && !tokens) {
      out.field_integer(detail, 0);
    } else {
      out.field_null(detail);
    }
  }
  if (usage.steps > 0) {
    out.field_integer("context_tokens", usage.context_tokens > 0 ? usage.context_tokens : total);
  } else {
    out.field_null("context_tokens");
  }
  out.end_object();
}

std::string stop_event(const std::string& stop_reason) {
  JsonWriter out;
  out.begin_object().field("message_type", "stop_reason").field("stop_reason", stop_reason).end_object();
  return out.take();
}

}  // namespace varve
