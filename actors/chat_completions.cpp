#include "actors/chat_completions.h"

#include <algorithm>
#include <map>
#include <optional>

#include "runtime/utf8.h"

namespace varve {
namespace {

constexpr std::size_t kSpeakerNameMax = 64;
constexpr std::string_view kResultMissing = "The result of this call is missing.";

void write_image(JsonWriter& out, std::string_view url, std::string_view detail) {
  out.begin_object().field("type", "image_url").key("image_url").begin_object().field("url", url);
  out.field("detail", detail.empty() ? "auto" : detail).end_object().end_object();
}

// What OpenAI takes as the name of who speaks; with another one it would refuse the request.
bool is_provider_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kSpeakerNameMax && std::all_of(name.begin(), name.end(), fits);
}

void write_text_part(JsonWriter& out, std::string_view text) {
  out.begin_object().field("type", "text").field("text", text).end_object();
}

std::string_view string_at(const Json* object, std::string_view key) {
  const Json* member = object == nullptr ? nullptr : object->find(key);
  return member != nullptr && member->is_string() ? std::string_view{member->as_string()}
                                                  : std::string_view{};
}

// The URL of an image part, empty if it has none that a provider could read.
std::string url_of_image(const Json& part) {
  const Json* source = part.find("source");
  const std::string_view data = string_at(source, "data");
  if (data.empty()) return std::string{string_at(source, "url")};
  const std::string_view type = string_at(source, "media_type");
  std::string url = "data:";
  url.append(type.empty() ? "image/png" : type).append(";base64,").append(data);
  return url;
}

// A user's content: a string, or parts if there is more than one or an image.
void write_user_content(JsonWriter& out, const Message& message) {
  const auto content = Json::parse(message.content);
  if (!content || !content->is_array()) {
    out.string(text_of(message));
    return;
  }
  const auto& parts = content->items();
  const auto is_image = [](const Json& part) { return string_at(&part, "type") == "image"; };
  if (parts.size() < 2 && std::none_of(parts.begin(), parts.end(), is_image)) {
    out.string(text_of(message));
    return;
  }
  out.begin_array();
  for (const Json& part : parts) {
    const std::string url = is_image(part) ? url_of_image(part) : std::string{};
    if (!url.empty()) {
      write_image(out, url, string_at(part.find("source"), "detail"));
    } else if (const Json* text = part.find("text"); text != nullptr && text->is_string()) {
      write_text_part(out, text->as_string());
    } else {
      write_text_part(out, "[a part that cannot be shown]");
    }
  }
  out.end_array();
}

// Arguments that are no JSON object make some providers refuse the whole conversation.
std::string sound_arguments(const std::string& arguments) {
  const auto json = Json::parse(arguments);
  if (json && json->is_object()) return arguments;
  if (arguments.empty()) return "{}";
  return JsonWriter{}.begin_object().field("malformed_arguments", mend_text(arguments)).end_object().take();
}

void write_assistant(JsonWriter& out, const Message& message) {
  // "" and not null, which some servers refuse.
  out.begin_object().field("role", "assistant").field("content", text_of(message));
  if (!message.tool_calls.empty()) {
    out.key("tool_calls").begin_array();
    for (const ToolCall& call : message.tool_calls) {
      out.begin_object().field("id", call.id).field("type", "function").key("function").begin_object();
      out.field("name", call.name).field("arguments", sound_arguments(call.arguments));
      out.end_object().end_object();
    }
    out.end_array();
  }
  out.end_object();
}

void write_tool_result(JsonWriter& out, std::string_view id, std::string_view text) {
  out.begin_object().field("role", "tool").field("tool_call_id", id).field("content", text).end_object();
}

void write_messages(JsonWriter& out, const ModelRequest& request) {
  // Places of the results of each call, in their order.
  std::map<std::string, std::vector<std::size_t>, std::less<>> results;
  for (std::size_t i = 0; i < request.messages.size(); ++i) {
    const Message& message = *request.messages[i];
    if (message.role == Role::tool) results[message.tool_call_id].push_back(i);
  }
  for (std::size_t i = 0; i < request.messages.size(); ++i) {
    const Message& message = *request.messages[i];
    switch (message.role) {
      case Role::system:
        out.begin_object().field("role", "system").field("content", text_of(message)).end_object();
        break;
      case Role::user:
      case Role::summary:
        out.begin_object().field("role", "user").key("content");
        write_user_content(out, message);
        if (message.name && is_provider_name(*message.name)) out.field("name", *message.name);
        out.end_object();
        break;
      case Role::assistant:
        write_assistant(out, message);
        for (const ToolCall& call : message.tool_calls) {
          auto& places = results[call.id];
          std::erase_if(places, [i](std::size_t place) { return place < i; });
          if (places.empty()) {
            write_tool_result(out, call.id, kResultMissing);
          } else {
            write_tool_result(out, call.id, text_of(*request.messages[places.front()]));
            places.erase(places.begin());
          }
        }
        break;
      case Role::tool:  // Printed behind its call.
      case Role::approval:
        break;  // Its consequences are tool results.
    }
  }
}

void write_tools(JsonWriter& out, const ModelRequest& request) {
  out.key("tools").begin_array();
  for (const ModelTool& tool : request.tools) {
    const auto schema = Json::parse(tool.parameters);
    out.begin_object().field("type", "function").key("function").begin_object();
    out.field("name", tool.name).field("description", tool.description);
    const bool sound = schema && schema->is_object();
    out.field_raw("parameters", sound ? schema->dump() : R"({"type":"object","properties":{}})");
    out.end_object().end_object();
  }
  out.end_array();
  const std::string& choice = request.tool_choice;
  if (choice == "auto" || choice == "required" || choice == "none") {
    out.field("tool_choice", choice);
  } else if (!choice.empty()) {
    out.key("tool_choice").begin_object().field("type", "function").key("function").begin_object();
    out.field("name", choice).end_object().end_object();
  }
}

void write_settings_of(JsonWriter& out, const ModelRequest& request, const ChatDialect& dialect) {
  const auto settings = Json::parse(request.settings);
  if (!settings) return;
  const Json* temperature = settings->find("temperature");
  if (temperature != nullptr && temperature->is_number()) out.field_raw("temperature", temperature->dump());
  const Json* limit = settings->find("max_output_tokens");
  const auto tokens = limit != nullptr && limit->is_number() ? limit->as_integer() : std::nullopt;
  if (tokens && *tokens > 0 && !dialect.max_tokens_field.empty()) {
    out.field_integer(dialect.max_tokens_field, *tokens);
  }
  const Json* parallel = settings->find("parallel_tool_calls");
  if (parallel != nullptr && parallel->is_boolean() && !request.tools.empty()) {
    out.field_boolean("parallel_tool_calls", parallel->as_boolean());
  }
  const Json* format = settings->find("response_format");
  if (format != nullptr && format->is_object()) out.field_raw("response_format", format->dump());
}

// The four hexadecimal digits at `place`.
std::optional<unsigned> code_unit_at(std::string_view text, std::size_t place) {
  if (place + 4 > text.size()) return std::nullopt;
  unsigned unit = 0;
  for (const char c : text.substr(place, 4)) {
    const std::string_view digits = "0123456789abcdef";
    const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
    const auto digit = digits.find(lower);
    if (digit == std::string_view::npos) return std::nullopt;
    unit = unit * 16 + static_cast<unsigned>(digit);
  }
  return unit;
}

std::optional<unsigned> escaped_unit_at(std::string_view text, std::size_t place) {
  if (text.substr(std::min(place, text.size()), 2) != "\\u") return std::nullopt;
  return code_unit_at(text, place + 2);
}

// Replaces escapes of U+0000 and of halves of characters by that of U+FFFD.
std::string mend_escapes(std::string_view text) {
  std::string mended;
  mended.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      mended += text[i++];
      continue;
    }
    const auto unit = escaped_unit_at(text, i);
    if (!unit) {
      mended.append(text.substr(i, 2));
      i += 2;
      continue;
    }
    const bool high = *unit >= 0xd800 && *unit < 0xdc00;
    const auto next = high ? escaped_unit_at(text, i + 6) : std::nullopt;
    const bool paired = next && *next >= 0xdc00 && *next < 0xe000;
    const bool half = *unit >= 0xd800 && *unit < 0xe000 && !paired;
    const std::size_t length = paired ? 12 : 6;
    mended.append(*unit == 0 || half ? "\\ufffd" : text.substr(i, length));
    i += length;
  }
  return mended;
}

}  // namespace

std::string chat_request_body(const ModelRequest& request, const ChatDialect& dialect) {
  JsonWriter out;
  out.begin_object().field("model", dialect.model).key("messages").begin_array();
  if (!request.system.empty()) {
    out.begin_object().field("role", "system").field("content", request.system).end_object();
  }
  write_messages(out, request);
  out.end_array();
  if (!request.tools.empty()) write_tools(out, request);
  write_settings_of(out, request, dialect);
  if (request.on_delta) {
    out.field_boolean("stream", true).key("stream_options").begin_object();
    out.field_boolean("include_usage", true).end_object();
  }
  return out.end_object().take();
}

std::string ModelClient::payload(const ModelRequest& request) const {
  return chat_request_body(request, {request.model.substr(request.model.find('/') + 1)});
}

std::string provider_words(const Json& body) {
  if (body.is_array()) return body.items().empty() ? std::string{} : provider_words(body.items().front());
  const Json* error = body.find("error");
  std::string_view words = string_at(error, "message");
  if (words.empty()) words = string_at(&body, "error");
  if (words.empty()) words = string_at(&body, "message");
  if (words.empty()) words = string_at(&body, "detail");
  return std::string{prefix_of_text(words, kProviderWordsMax)};
}

ModelFailure failure_of_status(std::string_view provider, int status, std::string_view body) {
  ModelFailure failure;
  if (status == 400 || status == 404 || status == 422) {
    failure = {400, "llm_bad_request", ""};
  } else if (status == 401 || status == 403) {
    failure = {401, "llm_authentication", ""};
  } else if (status == 429) {
    failure = {429, "llm_rate_limit", ""};
  } else if (status == 408 || status == 504) {
    failure = {504, "llm_timeout", ""};
  }
  failure.message = std::string{provider} + " answered HTTP " + std::to_string(status);
  const auto json = parse_mended_json(body);
  const std::string words = json ? provider_words(*json) : std::string{};
  if (!words.empty()) failure.message += ": " + words;
  return failure;
}

ModelFailure llm_error(std::string_view provider, std::string_view what) {
  return {500, "llm_error", std::string{provider} + ": " + std::string{what}};
}

ModelFailure llm_timeout(std::string_view provider, std::string_view what) {
  return {504, "llm_timeout", std::string{provider} + ": " + std::string{what}};
}

Result<std::vector<ListedModel>> parse_model_list(std::string_view body) {
  const auto json = parse_mended_json(body);
  if (!json) return Error{Errc::invalid_argument, "the list of models is not JSON"};
  const Json* data = json->find("data");
  if (data == nullptr || !data->is_array()) {
    return Error{Errc::invalid_argument, "the list of models has no 'data'"};
  }
  std::vector<ListedModel> models;
  for (const Json& item : data->items()) {
    const std::string_view name = string_at(&item, "id");
    if (name.empty() || name.size() > kModelNameMax || models.size() >= kListedModelsMax) continue;
    ListedModel model{std::string{name}, 0};
    // vLLM says the first, OpenRouter the second.
    for (const char* key : {"max_model_len", "context_length"}) {
      const Json* window = item.find(key);
      const auto tokens = window != nullptr && window->is_number() ? window->as_integer() : std::nullopt;
      if (tokens && *tokens > 0) model.context_window = *tokens;
    }
    models.push_back(std::move(model));
  }
  return models;
}

bool is_embedding_model(std::string_view name) {
  return name.find("embed") != std::string_view::npos;
}

std::int64_t embedding_dim_of(std::string_view name) {
  return name.find("3-large") == std::string_view::npos ? 1536 : 3072;
}

Result<Json> parse_mended_json(std::string_view text) {
  auto json = Json::parse(text);
  if (json) return json;
  return Json::parse(mend_escapes(mend_text(text)));
}

}  // namespace varve
