// Bodies of agents: POST and PATCH /v1/agents/.
#include <algorithm>
#include <array>

#include "actors/decide.h"
#include "actors/memory_tools.h"
#include "api/body_reader.h"

namespace varve {
namespace {

constexpr std::int64_t kContextWindowDefault = 128'000;

constexpr std::array<std::string_view, 9> kAgentTypes{
    "memgpt_agent",       "memgpt_v2_agent", "letta_v1_agent",    "react_agent",          "workflow_agent",
    "split_thread_agent", "sleeptime_agent", "voice_convo_agent", "voice_sleeptime_agent"};

constexpr std::array<std::string_view, 4> kEmbeddings{"letta/letta-free", "openai/text-embedding-3-large",
                                                      "openai/text-embedding-3-small",
                                                      "openai/text-embedding-ada-002"};

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

constexpr std::string_view kSystemDefault =
    "You are a helpful agent with a memory of your own. The blocks below are always in view; you edit them "
    "with "
    "your memory tools. Write down what is worth remembering, keep it short and true, and answer the user.";

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

// References of the tools that `tools` (names) and `tool_ids` name; nothing if neither is given.
std::optional<std::vector<std::string>> read_tools(BodyReader& reader, const std::vector<ToolValue>& custom) {
  const auto names = reader.texts("tools");
  const auto ids = reader.texts("tool_ids");
  if (!names && !ids) return std::nullopt;
  std::vector<std::string> tools;
  const auto add = [&](const std::string& wanted, const char* field) {
    for (const ToolSchema& tool : builtin_tools()) {
      if (tool.name == wanted || builtin_tool_id(tool.name) == wanted) {
        tools.emplace_back(tool.name);
        return;
      }
    }
    for (const ToolValue& tool : custom) {
      if (tool.name == wanted || tool.id == wanted) {
        tools.push_back(tool.id);
        return;
      }
    }
    reader.fail({400, "body." + std::string(field) + ": there is no tool '" + wanted + "'"});
  };
  for (const std::string& name : names.value_or(std::vector<std::string>{})) add(name, "tools");
  for (const std::string& id : ids.value_or(std::vector<std::string>{})) add(id, "tool_ids");
  if (tools.size() > kAgentToolsMax) {
    reader.fail({422, "body.tools: an agent has at most " + std::to_string(kAgentToolsMax) + " tools"});
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

void check_embedding(BodyReader& reader, const std::string& handle, const KnownModels& models) {
  const auto is_it = [&handle](const ModelInfo& model) { return model.handle == handle; };
  const std::vector<ModelInfo> known = known_embeddings(models);
  if (std::any_of(known.begin(), known.end(), is_it)) return;
  // Under the provider's own name, too.
  const auto serves = [&](const ModelInfo& model) { return model.embedding && is_it(model); };
  if (std::any_of(models.models.begin(), models.models.end(), serves)) return;
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

}  // namespace

// A proxy of OpenAI serves the models that are known under OpenAI's name.
static std::string well_known_handle(const std::string& handle) {
  constexpr std::string_view kProxy = "openai-proxy/";
  return handle.starts_with(kProxy) ? "openai/" + handle.substr(kProxy.size()) : handle;
}

std::vector<ModelInfo> known_embeddings(const KnownModels& models) {
  std::vector<ModelInfo> known;
  for (const std::string_view handle : kEmbeddings) {
    ModelInfo model;
    model.handle = handle;
    model.provider_type = "openai";
    model.embedding = true;
    model.embedding_dim = handle.ends_with("-large") ? 3072 : 1536;
    known.push_back(std::move(model));
  }
  for (const ModelInfo& model : models.models) {
    if (!model.embedding) continue;
    const std::string handle = well_known_handle(model.handle);
    const auto same = [&handle](const ModelInfo& other) { return other.handle == handle; };
    const auto found = std::find_if(known.begin(), known.end(), same);
    if (found == known.end()) {
      known.push_back(model);
    } else if (found->endpoint.empty()) {
      found->endpoint = model.endpoint;
    }
  }
  return known;
}

bool is_kept_agent_field(std::string_view name) {
  return contains(kKeptAgentFields, name);
}

Parsed<CreateAgent> parse_create_agent(const Json& body, const KnownModels& models,
                                       const std::vector<ToolValue>& custom, std::string_view name_seed) {
  BodyReader reader(body, "body");
  CreateAgent command;
  AgentSettings& settings = command.settings;
  settings.name = reader.text("name").value_or("");
  if (reader.find("name") == nullptr) settings.name = made_up_name(name_seed);
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
  if (settings.embedding) check_embedding(reader, *settings.embedding, models);
  settings.context_window = reader.integer("context_window_limit").value_or(kContextWindowDefault);
  if (settings.context_window < 0) reader.fail({422, "body.context_window_limit: must not be negative"});
  settings.timezone = reader.text("timezone").value_or("UTC");
  settings.tags = each_once(reader.texts("tags").value_or(std::vector<std::string>{}));
  settings.metadata = reader.object("metadata").value_or("null");
  settings.tools = read_tools(reader, custom).value_or(std::vector<std::string>{});
  if (reader.boolean("include_base_tools").value_or(true)) {
    for (std::string& tool : base_tools()) {
      if (!contains(settings.tools, tool)) settings.tools.push_back(std::move(tool));
    }
  }
  command.erasable = reader.boolean("erasable").value_or(false);
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

Parsed<UpdateAgent> parse_update_agent(const Json& body, const KnownModels& models,
                                       const std::vector<ToolValue>& custom) {
  BodyReader reader(body, "body");
  Json patch = Json::object();
  for (const char* key : {"name", "description", "system", "timezone", "embedding"}) {
    if (auto text = reader.text(key)) patch.set(key, Json::string(std::move(*text)));
  }
  if (const Json* name = patch.find("name"); name != nullptr && !is_name(name->as_string())) {
    reader.fail({422, "body.name: must not hold any of / \\ : * ? \" < > |"});
  }
  if (const Json* embedding = patch.find("embedding"))
    check_embedding(reader, embedding->as_string(), models);
  if (auto model = read_model(reader, models)) patch.set("model", Json::string(std::move(*model)));
  if (const auto window = reader.integer("context_window_limit")) {
    if (*window < 0) reader.fail({422, "body.context_window_limit: must not be negative"});
    patch.set("context_window", Json::integer(*window));
  }
  if (reader.texts("tags")) patch.set("tags", *reader.find("tags"));
  if (reader.object("metadata")) patch.set("metadata", *reader.find("metadata"));
  if (reader.texts("block_ids")) patch.set("block_ids", *reader.find("block_ids"));
  if (const auto tools = read_tools(reader, custom)) {
    Json names = Json::array();
    for (const std::string& tool : *tools) names.push_back(Json::string(tool));
    patch.set("tools", std::move(names));
  }
  refuse_secrets(reader);
  Json kept = kept_fields(body, is_kept_agent_field);
  // Whoever changes the model or its window gets that model's settings anew, and new ones let it reason.
  const bool configures = patch.find("model") != nullptr || patch.find("context_window") != nullptr ||
                          kept.find("max_tokens") != nullptr;
  if (configures && kept.find("llm_config") == nullptr && kept.find("enable_reasoner") == nullptr) {
    kept.set("enable_reasoner", Json::boolean(true));
  }
  patch.set("extra", std::move(kept));
  return parsed(UpdateAgent{patch.dump()}, reader);
}

}  // namespace varve
