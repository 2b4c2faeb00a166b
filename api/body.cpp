#include "api/body.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "api/body_reader.h"

namespace varve {
namespace {

constexpr std::int64_t kMaxStepsMax = 1'000;
constexpr std::size_t kClientToolsMax = 128;

constexpr std::array<std::string_view, 11> kMessageTypes{"system_message",
                                                         "user_message",
                                                         "assistant_message",
                                                         "reasoning_message",
                                                         "hidden_reasoning_message",
                                                         "tool_call_message",
                                                         "tool_return_message",
                                                         "approval_request_message",
                                                         "approval_response_message",
                                                         "summary_message",
                                                         "event_message"};

constexpr std::array<std::string_view, 9> kKeptBlockFields{
    "hidden",     "is_template",           "template_name", "template_id", "base_template_id",
    "project_id", "preserve_on_migration", "deployment_id", "entity_id"};

// The content of a message: a string, or a list of parts. Gives the JSON to keep.
std::optional<std::string> read_content(const Json& content, const std::string& path, BodyReader& outer) {
  if (content.is_string()) {
    if (content.as_string().empty()) outer.fail({400, "Message content is empty or invalid"});
    return content.dump();
  }
  if (!content.is_array()) {
    outer.fail(
        {422, path + ": expected a string or a list of parts, got " + std::string(content.kind_name())});
    return std::nullopt;
  }
  if (content.items().empty()) outer.fail({400, "Message content is empty or invalid"});
  for (std::size_t i = 0; i < content.items().size(); ++i) {
    const Json& part = content.items()[i];
    const std::string here = path + "." + std::to_string(i);
    const Json* type = part.find("type");
    const std::string kind = type != nullptr && type->is_string() ? type->as_string() : "";
    if (kind == "text") {
      const Json* text = part.find("text");
      if (text == nullptr || !text->is_string()) outer.fail({422, here + ".text: expected a string"});
    } else if (kind != "image") {
      outer.fail({422, here + ".type: expected 'text' or 'image'"});
    }
  }
  return content.dump();
}

void read_input(const Json& input, BodyReader& reader, std::vector<Message>& messages) {
  Message message;
  if (auto content = read_content(input, "body.input", reader)) message.content = std::move(*content);
  messages.push_back(std::move(message));
}

bool is_approval(const Json& item) {
  const Json* type = item.find("type");
  if (type == nullptr || !type->is_string()) return false;
  return type->as_string() == "approval" || type->as_string() == "tool_return";
}

// One decision about a waiting call: approve or not, or what the client's own tool returned.
void check_decision(const Json& decision, const std::string& path, BodyReader& outer) {
  if (!decision.is_object()) return outer.fail({422, path + ": expected an object"});
  BodyReader reader(decision, path);
  const std::string type = reader.text("type").value_or("approval");
  if (!reader.text("tool_call_id")) reader.missing("tool_call_id");
  if (type == "approval") {
    if (!reader.boolean("approve")) reader.missing("approve");
    reader.text("reason");
  } else if (type == "tool") {
    if (reader.find("tool_return") == nullptr) reader.missing("tool_return");
    const auto status = reader.text("status");
    if (status && *status != "success" && *status != "error") {
      reader.fail({422, path + ".status: expected 'success' or 'error', got '" + *status + "'"});
    }
    reader.texts("stdout");
    reader.texts("stderr");
  } else {
    reader.fail({422, path + ".type: expected 'approval' or 'tool', got '" + type + "'"});
  }
  if (reader.error()) outer.fail(*reader.error());
}

// {"type":"approval","approvals":[..]}, the older {"approve":..,"approval_request_id":..}, or
// {"type":"tool_return","tool_returns":[..]}. The message keeps them as {"approvals":[..]}.
std::optional<Message> read_approval(const Json& json, const std::string& path, BodyReader& outer) {
  BodyReader reader(json, path);
  const bool returns = reader.text("type").value_or("") == "tool_return";
  const char* key = returns ? "tool_returns" : "approvals";
  Json decisions = Json::array();
  if (const auto* listed = reader.list(key)) {
    for (std::size_t i = 0; i < listed->size(); ++i) {
      Json decision = (*listed)[i];
      if (returns && decision.is_object()) decision.set("type", Json::string("tool"));
      check_decision(decision, path + "." + key + "." + std::to_string(i), reader);
      decisions.push_back(std::move(decision));
    }
  }
  Json content = Json::object();
  content.set("approvals", std::move(decisions));
  const auto approve = reader.boolean("approve");
  if (approve) content.set("approve", Json::boolean(*approve));
  for (const char* kept : {"approval_request_id", "reason"}) {
    if (auto text = reader.text(kept)) content.set(kept, Json::string(std::move(*text)));
  }
  if (reader.find(key) == nullptr && !approve) reader.missing(key);
  Message message;
  message.role = Role::approval;
  message.content = content.dump();
  message.otid = reader.text("otid");
  message.group_id = reader.text("group_id");
  if (reader.error()) {
    outer.fail(*reader.error());
    return std::nullopt;
  }
  return message;
}

// Tools that the client runs itself: a name, a description and a JSON schema each.
void read_client_tools(BodyReader& reader, Json& kept) {
  const auto* tools = reader.list("client_tools");
  if (tools == nullptr || tools->empty()) return;
  if (tools->size() > kClientToolsMax) {
    return reader.fail({422, "body.client_tools: at most " + std::to_string(kClientToolsMax) + " tools"});
  }
  for (std::size_t i = 0; i < tools->size(); ++i) {
    const std::string path = "body.client_tools." + std::to_string(i);
    const Json& tool = (*tools)[i];
    if (!tool.is_object()) return reader.fail({422, path + ": expected an object"});
    BodyReader one(tool, path);
    if (!one.text("name")) one.missing("name");
    one.text("description");
    one.object("parameters");
    if (one.error()) return reader.fail(*one.error());
  }
  kept.set("client_tools", *reader.find("client_tools"));
}

}  // namespace

std::vector<std::string> each_once(const std::vector<std::string>& texts) {
  std::vector<std::string> kept;
  for (const std::string& text : texts) {
    if (!contains(kept, text)) kept.push_back(text);
  }
  return kept;
}

Json kept_fields(const Json& body, bool (*keeps)(std::string_view)) {
  Json kept = Json::object();
  for (const auto& [key, value] : body.members()) {
    if (keeps(key) && !value.is_null()) kept.set(key, value);
  }
  return kept;
}

void check_model(BodyReader& reader, std::string_view field, const std::string& handle,
                 const KnownModels& models) {
  if (handle.find('/') == std::string::npos) {
    return reader.fail({400, "body." + std::string(field) +
                                 ": a model handle is written provider/name, got '" + handle + "'"});
  }
  if (models.serves ? models.serves(handle) : contains(models.handles, handle)) return;
  std::string known;
  for (const std::string& one : models.handles) known += (known.empty() ? "" : ", ") + one;
  reader.fail(
      {404, "body." + std::string(field) + ": model '" + handle + "' not found; there are: " + known});
}

std::optional<BlockValue> read_block(const Json& json, const std::string& path, BodyReader& outer) {
  if (!json.is_object()) {
    outer.fail({422, path + ": expected an object, got " + std::string(json.kind_name())});
    return std::nullopt;
  }
  BodyReader reader(json, path);
  BlockValue block;
  if (auto label = reader.text("label")) {
    block.label = std::move(*label);
  } else {
    reader.missing("label");
  }
  block.value = reader.text("value").value_or("");
  block.limit = reader.integer("limit").value_or(block.limit);
  block.description = reader.text("description");
  block.read_only = reader.boolean("read_only").value_or(false);
  block.tags = reader.texts("tags").value_or(std::vector<std::string>{});
  block.metadata = reader.object("metadata").value_or("{}");
  block.extra = kept_fields(json, is_kept_block_field).dump();
  if (block.value.size() > kBlockBytesMax) {
    reader.fail({422, path + ".value: a block holds at most " + std::to_string(kBlockBytesMax) +
                          " bytes, got " + std::to_string(block.value.size())});
  }
  if (reader.error()) {
    outer.fail(*reader.error());
    return std::nullopt;
  }
  return block;
}

std::optional<Message> read_message_create(const Json& json, const std::string& path, BodyReader& outer) {
  if (!json.is_object()) {
    outer.fail({422, path + ": expected an object, got " + std::string(json.kind_name())});
    return std::nullopt;
  }
  BodyReader reader(json, path);
  Message message;
  const std::string type = reader.text("type").value_or("message");
  if (type != "message") {
    reader.fail({422, path + ".type: expected 'message', got '" + type + "'"});
  }
  const auto role = reader.text("role");
  if (!role) {
    if (json.find("role") == nullptr) reader.missing("role");
    reader.fail({422, path + ".role: expected 'user', 'system' or 'assistant'"});
  } else if (*role != "user" && *role != "system" && *role != "assistant") {
    reader.fail({422, path + ".role: expected 'user', 'system' or 'assistant', got '" + *role + "'"});
  } else {
    message.role = *parse_role(*role);
  }
  const Json* content = json.find("content");
  if (content == nullptr) {
    reader.missing("content");
  } else if (auto kept = read_content(*content, path + ".content", reader)) {
    message.content = std::move(*kept);
  }
  message.name = reader.text("name");
  message.sender_id = reader.text("sender_id");
  message.group_id = reader.text("group_id");
  message.otid = reader.text("otid");
  if (reader.error()) {
    outer.fail(*reader.error());
    return std::nullopt;
  }
  return message;
}

bool is_message_type(std::string_view name) {
  return contains(kMessageTypes, name);
}

bool is_kept_block_field(std::string_view name) {
  return contains(kKeptBlockFields, name);
}

Parsed<Json> parse_object(const Request& request) {
  if (request.body.empty()) return {std::nullopt, {422, "body: field required"}};
  const auto type = request.header("content-type");
  if (type && type->find("json") == std::string::npos) {
    return {std::nullopt, {422, "body: expected content-type application/json, got " + *type}};
  }
  auto json = Json::parse(request.body);
  if (!json) return {std::nullopt, {422, "body: " + json.error().message}};
  if (!json->is_object()) {
    return {std::nullopt, {422, "body: expected an object, got " + std::string(json->kind_name())}};
  }
  return {std::move(*json), {}};
}

Parsed<CreateBlock> parse_create_block(const Json& body) {
  BodyReader reader(body, "body");
  auto block = read_block(body, "body", reader);
  return parsed(CreateBlock{block.value_or(BlockValue{})}, reader);
}

Parsed<UpdateBlock> parse_update_block(const Json& body) {
  BodyReader reader(body, "body");
  Json patch = Json::object();
  for (const char* key : {"label", "value", "description"}) {
    if (auto text = reader.text(key)) patch.set(key, Json::string(std::move(*text)));
  }
  if (const auto limit = reader.integer("limit")) patch.set("limit", Json::integer(*limit));
  if (const auto read_only = reader.boolean("read_only")) patch.set("read_only", Json::boolean(*read_only));
  if (reader.texts("tags")) patch.set("tags", *reader.find("tags"));
  if (reader.object("metadata")) patch.set("metadata", *reader.find("metadata"));
  patch.set("extra", kept_fields(body, is_kept_block_field));
  if (const Json* value = patch.find("value");
      value != nullptr && value->as_string().size() > kBlockBytesMax) {
    reader.fail({422, "body.value: a block holds at most " + std::to_string(kBlockBytesMax) + " bytes, got " +
                          std::to_string(value->as_string().size())});
  }
  return parsed(UpdateBlock{patch.dump()}, reader);
}

Parsed<MessagesRequest> parse_messages_request(const Json& body, const KnownModels& models,
                                               bool always_streams) {
  BodyReader reader(body, "body");
  MessagesRequest request;
  const Json* input = reader.find("input");
  const auto* messages = reader.list("messages");
  if (input != nullptr && reader.find("messages") != nullptr) {
    reader.fail({422, "body: give either 'input' or 'messages', not both"});
  } else if (input == nullptr && reader.find("messages") == nullptr) {
    reader.fail({422, "body: one of 'input' and 'messages' is required"});
  }
  if (input != nullptr) read_input(*input, reader, request.command.messages);
  if (messages != nullptr) {
    if (messages->empty()) reader.fail({422, "body.messages: must not be empty", true});
    for (std::size_t i = 0; i < messages->size(); ++i) {
      const std::string path = "body.messages." + std::to_string(i);
      const Json& item = (*messages)[i];
      auto message =
          is_approval(item) ? read_approval(item, path, reader) : read_message_create(item, path, reader);
      if (!message) break;
      request.command.messages.push_back(std::move(*message));
    }
  }
  request.command.max_steps = reader.integer("max_steps").value_or(50);
  if (request.command.max_steps < 0 || request.command.max_steps > kMaxStepsMax) {
    reader.fail({422, "body.max_steps: must be 0 to " + std::to_string(kMaxStepsMax)});
  }
  request.streaming = reader.boolean("streaming").value_or(false) || always_streams;
  request.include_pings = reader.boolean("include_pings").value_or(true);
  request.stream_tokens = reader.boolean("stream_tokens").value_or(false);
  request.background = reader.boolean("background").value_or(false);
  for (const char* key : {"stream_tokens", "background"}) {
    if (reader.boolean(key).value_or(false) && !request.streaming) {
      reader.fail({422, "body." + std::string(key) + ": can only be true when streaming is true", true});
    }
  }
  Json kept = Json::object();
  read_client_tools(reader, kept);
  const bool assistant = reader.boolean("use_assistant_message").value_or(true);
  if (!assistant) kept.set("use_assistant_message", Json::boolean(false));
  if (request.stream_tokens) kept.set("stream_tokens", Json::boolean(true));
  if (request.background) kept.set("background", Json::boolean(true));
  if (auto model = reader.text("override_model")) {
    check_model(reader, "override_model", *model, models);
    kept.set("override_model", Json::string(std::move(*model)));
  }
  if (auto types = reader.texts("include_return_message_types")) {
    for (const std::string& type : *types) {
      if (!is_message_type(type)) {
        reader.fail({422, "body.include_return_message_types: '" + type + "' is not a message type"});
      }
    }
    if (request.streaming || request.background)
      kept.set("include_return_message_types", *reader.find("include_return_message_types"));
    request.return_types = std::move(*types);
  }
  request.command.request = kept.dump();
  return parsed(std::move(request), reader);
}

std::optional<std::string> query_value(const Target& target, std::string_view name) {
  std::optional<std::string> value;
  for (const auto& [key, text] : target.query) {
    if (key == name) value = text;
  }
  return value;
}

std::vector<std::string> query_values(const Target& target, std::string_view name) {
  std::vector<std::string> values;
  for (const auto& [key, text] : target.query) {
    if (key == name) values.push_back(text);
  }
  return values;
}

Parsed<Page> parse_page(const Target& target, std::int64_t limit_default, bool descending_default) {
  Page page{limit_default, descending_default, std::nullopt, std::nullopt};
  if (const auto limit = query_value(target, "limit")) {
    const char* end = limit->data() + limit->size();
    const auto [rest, error] = std::from_chars(limit->data(), end, page.limit);
    if (error != std::errc{} || rest != end) {
      return {std::nullopt, {422, "query.limit: expected an integer, got '" + *limit + "'"}};
    }
    if (page.limit < 0) return {std::nullopt, {422, "query.limit: must not be negative"}};
  }
  if (const auto order = query_value(target, "order")) {
    if (*order != "asc" && *order != "desc") {
      return {std::nullopt, {422, "query.order: expected 'asc' or 'desc', got '" + *order + "'"}};
    }
    page.descending = *order == "desc";
  }
  page.before = query_value(target, "before");
  page.after = query_value(target, "after");
  if (page.before && page.before->empty()) page.before.reset();
  if (page.after && page.after->empty()) page.after.reset();
  return {page, {}};
}

}  // namespace varve
