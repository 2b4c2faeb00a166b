#include "api/body.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "actors/memory_tools.h"

namespace varve {
namespace {

constexpr std::int64_t kContextWindowDefault = 128'000;
constexpr std::int64_t kMaxStepsMax = 1'000;

constexpr std::array<std::string_view, 9> kAgentTypes{
    "memgpt_agent",       "memgpt_v2_agent", "letta_v1_agent",    "react_agent",          "workflow_agent",
    "split_thread_agent", "sleeptime_agent", "voice_convo_agent", "voice_sleeptime_agent"};

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

constexpr std::array<std::string_view, 4> kEmbeddings{"openai/text-embedding-3-small",
                                                      "openai/text-embedding-3-large",
                                                      "openai/text-embedding-ada-002", "letta/letta-free"};

constexpr std::array<std::string_view, 32> kKeptAgentFields{"model_settings",
                                                            "llm_config",
                                                            "embedding_config",
                                                            "tool_rules",
                                                            "include_base_tool_rules",
                                                            "include_multi_agent_tools",
                                                            "include_default_source",
                                                            "message_buffer_autoclear",
                                                            "enable_sleeptime",
                                                            "compaction_settings",
                                                            "response_format",
                                                            "reasoning",
                                                            "max_tokens",
                                                            "max_reasoning_tokens",
                                                            "enable_reasoner",
                                                            "parallel_tool_calls",
                                                            "embedding_chunk_size",
                                                            "identity_ids",
                                                            "source_ids",
                                                            "folder_ids",
                                                            "hidden",
                                                            "project_id",
                                                            "template_id",
                                                            "base_template_id",
                                                            "template",
                                                            "project",
                                                            "max_files_open",
                                                            "per_file_view_window_char_limit",
                                                            "memory_variables",
                                                            "background_mode",
                                                            "deployment_id",
                                                            "entity_id"};

constexpr std::array<std::string_view, 9> kKeptBlockFields{
    "hidden",     "is_template",           "template_name", "template_id", "base_template_id",
    "project_id", "preserve_on_migration", "deployment_id", "entity_id"};

constexpr std::string_view kSystemDefault =
    "You are a helpful agent with a memory of your own. The blocks below are always in view; you edit them "
    "with "
    "your memory tools. Write down what is worth remembering, keep it short and true, and answer the user.";

template <class List>
bool contains(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// Reads members of a body and remembers the first that does not fit.
class BodyReader {
 public:
  BodyReader(const Json& body, std::string path) : body_(body), path_(std::move(path)) {}

  // Absent and null are the same to the API's clients.
  const Json* find(std::string_view key) const {
    const Json* found = body_.find(key);
    return found == nullptr || found->is_null() ? nullptr : found;
  }
  std::optional<std::string> text(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (found->is_string()) return found->as_string();
    refuse(key, "a string", *found);
    return std::nullopt;
  }
  std::optional<std::int64_t> integer(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (const auto value = found->as_integer()) return value;
    refuse(key, "an integer", *found);
    return std::nullopt;
  }
  std::optional<bool> boolean(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (found->is_boolean()) return found->as_boolean();
    refuse(key, "true or false", *found);
    return std::nullopt;
  }
  const std::vector<Json>* list(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return nullptr;
    if (found->is_array()) return &found->items();
    refuse(key, "a list", *found);
    return nullptr;
  }
  std::optional<std::vector<std::string>> texts(std::string_view key) {
    const auto* items = list(key);
    if (items == nullptr) return std::nullopt;
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < items->size(); ++i) {
      if (!(*items)[i].is_string()) {
        refuse(std::string(key) + "." + std::to_string(i), "a string", (*items)[i]);
        return std::nullopt;
      }
      texts.push_back((*items)[i].as_string());
    }
    return texts;
  }
  std::optional<std::string> object(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (found->is_object()) return found->dump();
    refuse(key, "an object", *found);
    return std::nullopt;
  }

  void refuse(std::string_view key, std::string_view expected, const Json& got) {
    fail({422, path_ + "." + std::string(key) + ": expected " + std::string(expected) + ", got " +
                   got.kind_name()});
  }
  void missing(std::string_view key) { fail({422, path_ + "." + std::string(key) + ": field required"}); }
  void fail(BodyError error) {
    if (!error_) error_ = std::move(error);
  }
  const std::optional<BodyError>& error() const { return error_; }

 private:
  const Json& body_;
  std::string path_;
  std::optional<BodyError> error_;
};

std::vector<std::string> each_once(const std::vector<std::string>& texts) {
  std::vector<std::string> kept;
  for (const std::string& text : texts) {
    if (!contains(kept, text)) kept.push_back(text);
  }
  return kept;
}

// What a name may not hold: it is used in file names and URLs by clients.
bool is_name(std::string_view name) {
  return name.find_first_of("/\\:*?\"<>|") == std::string_view::npos &&
         std::none_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

std::string made_up_name(std::string_view seed) {
  constexpr std::array<std::string_view, 16> kFirst{"Amber",  "Brisk", "Calm",  "Dapper", "Early", "Fabled",
                                                    "Gentle", "Hazel", "Ivory", "Jolly",  "Keen",  "Lucid",
                                                    "Mellow", "Noble", "Olive", "Quiet"};
  constexpr std::array<std::string_view, 16> kSecond{
      "Heron", "Otter", "Lynx",  "Wren",   "Badger", "Falcon", "Marten", "Osprey",
      "Tapir", "Ibis",  "Stoat", "Curlew", "Ermine", "Plover", "Vole",   "Kestrel"};
  const std::uint64_t hash = xxh64(seed);
  return std::string(kFirst[hash % 16]) + std::string(kSecond[hash / 16 % 16]) +
         std::to_string(hash / 256 % 1000);
}

Json kept_fields(const Json& body, bool (*keeps)(std::string_view)) {
  Json kept = Json::object();
  for (const auto& [key, value] : body.members()) {
    if (keeps(key) && !value.is_null()) kept.set(key, value);
  }
  return kept;
}

std::string tool_name_of(std::string_view id) {
  for (const ToolSchema& tool : memory_tool_schemas()) {
    if (tool_id(tool.name) == id) return std::string(tool.name);
  }
  return {};
}

// Names from `tools` and `tool_ids`; nothing if neither is given.
std::optional<std::vector<std::string>> read_tools(BodyReader& reader) {
  const auto names = reader.texts("tools");
  const auto ids = reader.texts("tool_ids");
  if (!names && !ids) return std::nullopt;
  std::vector<std::string> tools;
  for (const std::string& name : names.value_or(std::vector<std::string>{})) {
    if (find_memory_tool(name) == nullptr) reader.fail({400, "body.tools: there is no tool '" + name + "'"});
    tools.push_back(name);
  }
  for (const std::string& id : ids.value_or(std::vector<std::string>{})) {
    std::string name = tool_name_of(id);
    if (name.empty()) reader.fail({400, "body.tool_ids: there is no tool '" + id + "'"});
    tools.push_back(std::move(name));
  }
  return each_once(tools);
}

void refuse_secrets(BodyReader& reader) {
  for (const char* key : {"secrets", "tool_exec_environment_variables"}) {
    const Json* secrets = reader.find(key);
    if (secrets == nullptr) continue;
    if (secrets->is_object() && secrets->members().empty()) continue;
    if (secrets->is_array() && secrets->items().empty()) continue;
    reader.fail(
        {422, "body." + std::string(key) + ": secrets cannot be kept safely yet; leave the field out"});
  }
}

void check_model(BodyReader& reader, std::string_view field, const std::string& handle,
                 const KnownModels& models) {
  if (handle.find('/') == std::string::npos) {
    return reader.fail({400, "body." + std::string(field) +
                                 ": a model handle is written provider/name, got '" + handle + "'"});
  }
  if (contains(models.handles, handle)) return;
  std::string known;
  for (const std::string& one : models.handles) known += (known.empty() ? "" : ", ") + one;
  reader.fail(
      {404, "body." + std::string(field) + ": model '" + handle + "' not found; there are: " + known});
}

void check_embedding(BodyReader& reader, const std::string& handle) {
  if (contains(kEmbeddings, handle)) return;
  reader.fail({400, "body.embedding: embedding model '" + handle + "' not found"});
}

std::optional<std::string> read_model(BodyReader& reader, const KnownModels& models) {
  auto handle = reader.text("model");
  const Json* config = reader.find("llm_config");
  if (!handle && config != nullptr) {
    // The handle wins; older clients send only the provider's type and the name.
    if (const Json* in_config = config->find("handle"); in_config != nullptr && in_config->is_string()) {
      handle = in_config->as_string();
    } else if (const Json* name = config->find("model"); name != nullptr && name->is_string()) {
      const Json* type = config->find("model_endpoint_type");
      handle =
          (type != nullptr && type->is_string() ? type->as_string() : "openai") + "/" + name->as_string();
    }
  }
  if (handle) check_model(reader, "model", *handle, models);
  return handle;
}

std::string default_description(std::string_view label) {
  if (label == "human") {
    return "What you know about the person you talk to: their name, their work, what they like and what they "
           "want "
           "you to remember.";
  }
  if (label == "persona") return "Who you are: your character, your manner of speaking and how you work.";
  return {};
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

std::optional<Message> read_message_create(const Json& json, const std::string& path, BodyReader& outer) {
  if (!json.is_object()) {
    outer.fail({422, path + ": expected an object, got " + std::string(json.kind_name())});
    return std::nullopt;
  }
  BodyReader reader(json, path);
  Message message;
  const std::string type = reader.text("type").value_or("message");
  if (type != "message") {
    reader.fail({422, path + ".type: expected 'message'; '" + type + "' is not supported yet"});
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

template <class T>
Parsed<T> parsed(T value, const BodyReader& reader) {
  if (reader.error()) return {std::nullopt, *reader.error()};
  return {std::move(value), {}};
}

void read_input(const Json& input, BodyReader& reader, std::vector<Message>& messages) {
  Message message;
  if (auto content = read_content(input, "body.input", reader)) message.content = std::move(*content);
  messages.push_back(std::move(message));
}

}  // namespace

std::string tool_id(std::string_view name) {
  return "tool-" + derived_uuid(command_id_from_text("built-in tool"), name, 0);
}

bool is_message_type(std::string_view name) {
  return contains(kMessageTypes, name);
}
bool is_kept_agent_field(std::string_view name) {
  return contains(kKeptAgentFields, name);
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

Parsed<CreateAgent> parse_create_agent(const Json& body, const KnownModels& models,
                                       std::string_view name_seed) {
  BodyReader reader(body, "body");
  CreateAgent command;
  AgentSettings& settings = command.settings;
  settings.name = reader.text("name").value_or("");
  if (settings.name.empty()) settings.name = made_up_name(name_seed);
  if (!is_name(settings.name)) reader.fail({422, "body.name: must not hold any of / \\ : * ? \" < > |"});
  settings.description = reader.text("description");
  settings.system = reader.text("system").value_or(std::string(kSystemDefault));
  settings.agent_type = reader.text("agent_type").value_or("letta_v1_agent");
  if (!contains(kAgentTypes, settings.agent_type)) {
    reader.fail(
        {422, "body.agent_type: '" + settings.agent_type + "' is not an agent type; letta_v1_agent is"});
  }
  settings.model = read_model(reader, models).value_or(models.default_handle);
  settings.embedding = reader.text("embedding");
  if (settings.embedding && settings.embedding->empty()) settings.embedding.reset();
  if (settings.embedding) check_embedding(reader, *settings.embedding);
  settings.context_window = reader.integer("context_window_limit").value_or(kContextWindowDefault);
  if (settings.context_window < 0) reader.fail({422, "body.context_window_limit: must not be negative"});
  settings.timezone = reader.text("timezone").value_or("UTC");
  settings.tags = each_once(reader.texts("tags").value_or(std::vector<std::string>{}));
  settings.metadata = reader.object("metadata").value_or("null");
  settings.tools = read_tools(reader).value_or(std::vector<std::string>{});
  if (reader.boolean("include_base_tools").value_or(true)) {
    for (std::string& tool : base_tools()) {
      if (!contains(settings.tools, tool)) settings.tools.push_back(std::move(tool));
    }
  }
  refuse_secrets(reader);
  settings.extra = kept_fields(body, is_kept_agent_field).dump();

  if (const auto* blocks = reader.list("memory_blocks")) {
    for (std::size_t i = 0; i < blocks->size(); ++i) {
      auto block = read_block((*blocks)[i], "body.memory_blocks." + std::to_string(i), reader);
      if (!block) break;
      const std::string description = default_description(block->label);
      if (!block->description && !description.empty()) block->description = description;
      command.new_blocks.push_back(std::move(*block));
    }
  }
  for (std::string& id : reader.texts("block_ids").value_or(std::vector<std::string>{})) {
    command.attach_blocks.emplace_back(std::move(id));
  }
  if (const auto* messages = reader.list("initial_message_sequence")) {
    for (std::size_t i = 0; i < messages->size(); ++i) {
      auto message =
          read_message_create((*messages)[i], "body.initial_message_sequence." + std::to_string(i), reader);
      if (!message) break;
      command.initial_messages.push_back(std::move(*message));
    }
  }
  return parsed(std::move(command), reader);
}

Parsed<UpdateAgent> parse_update_agent(const Json& body, const KnownModels& models) {
  BodyReader reader(body, "body");
  Json patch = Json::object();
  for (const char* key : {"name", "description", "system", "timezone", "embedding"}) {
    if (auto text = reader.text(key)) patch.set(key, Json::string(std::move(*text)));
  }
  if (const Json* name = patch.find("name"); name != nullptr && !is_name(name->as_string())) {
    reader.fail({422, "body.name: must not hold any of / \\ : * ? \" < > |"});
  }
  if (const Json* embedding = patch.find("embedding")) check_embedding(reader, embedding->as_string());
  if (auto model = read_model(reader, models)) patch.set("model", Json::string(std::move(*model)));
  if (const auto window = reader.integer("context_window_limit")) {
    if (*window < 0) reader.fail({422, "body.context_window_limit: must not be negative"});
    patch.set("context_window", Json::integer(*window));
  }
  if (reader.texts("tags")) patch.set("tags", *reader.find("tags"));
  if (reader.object("metadata")) patch.set("metadata", *reader.find("metadata"));
  if (reader.texts("block_ids")) patch.set("block_ids", *reader.find("block_ids"));
  if (const auto tools = read_tools(reader)) {
    Json names = Json::array();
    for (const std::string& tool : *tools) names.push_back(Json::string(tool));
    patch.set("tools", std::move(names));
  }
  refuse_secrets(reader);
  patch.set("extra", kept_fields(body, is_kept_agent_field));
  return parsed(UpdateAgent{patch.dump()}, reader);
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

Parsed<MessagesRequest> parse_messages_request(const Json& body, const KnownModels& models) {
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
    if (messages->empty()) reader.fail({422, "body.messages: must not be empty"});
    for (std::size_t i = 0; i < messages->size(); ++i) {
      auto message = read_message_create((*messages)[i], "body.messages." + std::to_string(i), reader);
      if (!message) break;
      request.command.messages.push_back(std::move(*message));
    }
  }
  request.command.max_steps = reader.integer("max_steps").value_or(50);
  if (request.command.max_steps < 0 || request.command.max_steps > kMaxStepsMax) {
    reader.fail({422, "body.max_steps: must be 0 to " + std::to_string(kMaxStepsMax)});
  }
  const bool streaming = reader.boolean("streaming").value_or(false);
  for (const char* key : {"stream_tokens", "background"}) {
    if (reader.boolean(key).value_or(false) && !streaming) {
      reader.fail({422, "body." + std::string(key) + ": can only be true when streaming is true"});
    }
  }
  if (streaming) reader.fail({501, "body.streaming: streaming is not available yet; leave it out"});
  Json kept = Json::object();
  if (auto model = reader.text("override_model")) {
    check_model(reader, "override_model", *model, models);
    kept.set("override_model", Json::string(std::move(*model)));
  }
  request.command.request = kept.dump();
  if (auto types = reader.texts("include_return_message_types")) {
    for (const std::string& type : *types) {
      if (!is_message_type(type)) {
        reader.fail({422, "body.include_return_message_types: '" + type + "' is not a message type"});
      }
    }
    request.return_types = std::move(*types);
  }
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
