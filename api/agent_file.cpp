// Reading agent files: the formats, the agents with their blocks and tools.
#include "api/agent_file.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "actors/memory_tools.h"
#include "api/body_reader.h"
#include "api/json_place.h"

namespace varve {
namespace {

constexpr std::int64_t kContextWindowDefault = 128'000;
constexpr std::size_t kEncodingsMax = 2;  // A JSON text within a JSON text.
constexpr std::size_t kDepthMax = 40;     // What is kept lies deeper in a record, and that has a limit too.

std::string at(const std::string& path, std::string_view list, std::size_t i) {
  return path + (path.empty() ? "" : ".") + std::string(list) + "[" + std::to_string(i) + "]";
}

// An older file is one agent, with everything else inside of it.
bool is_older(const Json& root) {
  return root.find("agents") == nullptr && root.find("core_memory") != nullptr &&
         root.find("messages") != nullptr;
}

bool is_deeper_than(const Json& json, std::size_t levels) {
  if (!json.is_array() && !json.is_object()) return false;
  if (levels == 0) return true;
  const auto deeper = [levels](const Json& item) { return is_deeper_than(item, levels - 1); };
  if (std::any_of(json.items().begin(), json.items().end(), deeper)) return true;
  return std::any_of(json.members().begin(), json.members().end(),
                     [&deeper](const Json::Member& member) { return deeper(member.second); });
}

// The text in `object.key`, if there is one.
std::optional<std::string> text_in(const Json* object, std::string_view key) {
  const Json* found = object != nullptr ? object->find(key) : nullptr;
  if (found == nullptr || !found->is_string() || found->as_string().empty()) return std::nullopt;
  return found->as_string();
}

class FileReader {
 public:
  explicit FileReader(const Json& root) : root_(root), top_(root, "file") {}

  Result<AgentFile> read() {
    if (is_older(root_)) {
      read_tools("file");
      read_agent(root_, "file", true);
    } else {
      read_tools("");
      read_blocks();
      read_agents();
    }
    if (top_.error()) return Error{Errc::invalid_argument, top_.error()->detail};
    return std::move(file_);
  }

 private:
  void refuse(std::string what) { top_.fail({422, std::move(what)}); }

  // ---- tools ----

  void read_tools(const std::string& path) {
    const auto* tools = top_.list("tools");
    if (tools == nullptr) return;
    for (std::size_t i = 0; i < tools->size() && !top_.error(); ++i) {
      read_tool((*tools)[i], at(path, "tools", i));
    }
  }
  void read_tool(const Json& json, const std::string& path) {
    if (!json.is_object()) {
      return refuse(path + ": expected an object, got " + std::string(json.kind_name()));
    }
    BodyReader reader(json, path);
    ToolValue tool;
    tool.name = reader.text("name").value_or("");
    if (tool.name.empty()) reader.missing("name");
    tool.description = reader.text("description");
    tool.source_type = reader.text("source_type").value_or("python");
    tool.source_code = reader.text("source_code").value_or("");
    tool.json_schema = reader.object("json_schema").value_or("{}");
    tool.tags = reader.texts("tags").value_or(std::vector<std::string>{});
    tool.return_char_limit = reader.integer("return_char_limit").value_or(tool.return_char_limit);
    Json extra = Json::object();
    for (const auto& [key, value] : json.members()) {
      if (!is_live_tool_member(key)) extra.set(key, value);
    }
    tool.extra = extra.dump();
    if (reader.error()) return top_.fail(*reader.error());
    if (const Json* id = json.find("id"); id != nullptr && id->is_string()) {
      tool_names_[id->as_string()] = tool.name;
    }
    tools_in_order_.push_back(tool.name);
    if (find_builtin_tool(tool.name) != nullptr) {
      builtin_.insert_or_assign(tool.name, json);
    } else {
      file_.tools.push_back(std::move(tool));
    }
  }

  // ---- blocks ----

  std::optional<BlockValue> block_of(const Json& json, const std::string& path) {
    auto block = read_block(json, path, top_);
    if (!block) return std::nullopt;
    if (json.find("metadata") == nullptr) {
      const Json* older = json.find("metadata_");
      if (older != nullptr && older->is_object()) block->metadata = older->dump();
    }
    // read_block has kept the members that it knows.
    auto extra = Json::parse(block->extra);
    Json kept = extra ? std::move(*extra) : Json::object();
    for (const auto& [key, value] : json.members()) {
      const bool nothing = value.is_null() && (key == "tags" || key == "metadata");
      if (!is_live_block_member(key) || nothing) kept.set(key, value);
    }
    block->extra = kept.dump();
    return block;
  }
  void read_blocks() {
    const auto* blocks = top_.list("blocks");
    if (blocks == nullptr) return;
    for (std::size_t i = 0; i < blocks->size() && !top_.error(); ++i) {
      const std::string path = at("", "blocks", i);
      auto block = block_of((*blocks)[i], path);
      if (!block) return;
      const auto id = text_in(&(*blocks)[i], "id");
      if (!id) return refuse(path + ".id: expected a string");
      blocks_.insert_or_assign(*id, std::move(*block));
    }
  }

  // ---- agents ----

  void read_agents() {
    const auto* agents = top_.list("agents");
    if (agents == nullptr || agents->empty()) {
      return refuse(
          "agents: expected a list of at least one agent; this is neither an agent file of the current "
          "format (agents, blocks, tools ..) nor of the older one (core_memory, messages ..)");
    }
    if (agents->size() > kAgentsPerFileMax) {
      return refuse("agents: a file holds at most " + std::to_string(kAgentsPerFileMax) + " agents, got " +
                    std::to_string(agents->size()));
    }
    for (std::size_t i = 0; i < agents->size() && !top_.error(); ++i) {
      read_agent((*agents)[i], at("", "agents", i), false);
    }
  }

  void read_agent(const Json& json, const std::string& path, bool older) {
    if (!json.is_object()) {
      return refuse(path + ": expected an object, got " + std::string(json.kind_name()));
    }
    BodyReader reader(json, path);
    ImportedAgent agent;
    read_settings(reader, json, path, agent.settings);
    if (older) {
      agent.tool_names = each_once(tools_in_order_);
    } else {
      read_tool_ids(reader, path, agent);
      read_block_ids(reader, path, agent);
    }
    for (const char* key : {"core_memory", "memory_blocks"}) {
      const auto* inside = older || key != std::string_view("core_memory") ? reader.list(key) : nullptr;
      for (std::size_t i = 0; inside != nullptr && i < inside->size(); ++i) {
        auto block = block_of((*inside)[i], at(path, key, i));
        if (!block) break;
        agent.blocks.push_back(std::move(*block));
      }
    }
    keep_rest(json, older, agent);
    if (!reader.error()) read_messages(reader, path, agent);
    if (reader.error()) return top_.fail(*reader.error());
    check_sizes(path, agent);
    file_.agents.push_back(std::move(agent));
  }

  static void read_settings(BodyReader& reader, const Json& json, const std::string& path,
                            AgentSettings& settings) {
    settings.name = reader.text("name").value_or("");
    if (settings.name.empty()) reader.missing("name");
    settings.description = reader.text("description");
    settings.system = reader.text("system").value_or("");
    settings.agent_type = reader.text("agent_type").value_or("letta_v1_agent");
    settings.timezone = reader.text("timezone").value_or("UTC");
    settings.tags = each_once(reader.texts("tags").value_or(std::vector<std::string>{}));
    const bool named_anew = json.find("metadata") == nullptr && json.find("metadata_") != nullptr;
    settings.metadata = reader.object(named_anew ? "metadata_" : "metadata").value_or("null");
    const Json* llm = reader.find("llm_config");
    const Json* embedding = reader.find("embedding_config");
    for (const char* key : {"llm_config", "embedding_config"}) reader.object(key);
    auto model = reader.text("model");
    if (!model) model = text_in(llm, "handle");
    if (!model && text_in(llm, "model")) {
      model = text_in(llm, "model_endpoint_type").value_or("openai") + "/" + *text_in(llm, "model");
    }
    settings.model = model.value_or("");
    settings.embedding = reader.text("embedding");
    if (!settings.embedding) settings.embedding = text_in(embedding, "handle");
    const Json* window = llm != nullptr ? llm->find("context_window") : nullptr;
    const auto configured = window != nullptr ? window->as_integer() : std::nullopt;
    settings.context_window =
        reader.integer("context_window_limit").value_or(configured.value_or(kContextWindowDefault));
    if (settings.context_window <= 0) settings.context_window = kContextWindowDefault;
    refuse_secrets(reader, json, path);
  }

  // Only names of secrets travel: their values cannot be kept safely yet.
  static void refuse_secrets(BodyReader& reader, const Json& json, const std::string& path) {
    const auto is_secret = [](const Json* value) {
      return value != nullptr && !value->is_null() && !(value->is_string() && value->as_string().empty());
    };
    for (const char* key : {"secrets", "tool_exec_environment_variables"}) {
      const Json* secrets = json.find(key);
      if (secrets == nullptr) continue;
      bool found = false;
      for (const auto& [name, value] : secrets->members()) found = found || is_secret(&value);
      for (const Json& entry : secrets->items()) found = found || is_secret(entry.find("value"));
      if (found) {
        reader.fail({422, path + "." + key + ": secrets cannot be kept safely yet; empty their values"});
      }
    }
  }

  void read_tool_ids(BodyReader& reader, const std::string& path, ImportedAgent& agent) {
    const auto ids = reader.texts("tool_ids").value_or(std::vector<std::string>{});
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto found = tool_names_.find(ids[i]);
      if (found == tool_names_.end()) {
        return reader.fail({422, at(path, "tool_ids", i) + ": the file has no tool '" + ids[i] + "'"});
      }
      agent.tool_names.push_back(found->second);
    }
    agent.tool_names = each_once(agent.tool_names);
  }
  void read_block_ids(BodyReader& reader, const std::string& path, ImportedAgent& agent) {
    const auto ids = reader.texts("block_ids").value_or(std::vector<std::string>{});
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto found = blocks_.find(ids[i]);
      if (found == blocks_.end()) {
        return reader.fail({422, at(path, "block_ids", i) + ": the file has no block '" + ids[i] + "'"});
      }
      agent.blocks.push_back(found->second);
    }
  }

  // What the file has besides goes into the settings.
  void keep_rest(const Json& json, bool older, ImportedAgent& agent) const {
    Json rest = Json::object();
    Json extra = kept_fields(json, is_kept_agent_field);
    for (const auto& [key, value] : json.members()) {
      const bool list_of_tools = older && key == "tools";
      if (!is_live_agent_member(key) && extra.find(key) == nullptr && !list_of_tools) rest.set(key, value);
    }
    Json around = Json::object();
    for (const auto& [key, value] : root_.members()) {
      const bool taken = key == "agents" || key == "blocks" || key == "tools" || key == "created_at";
      if (!older && !taken) around.set(key, value);
    }
    Json tools = Json::object();
    for (const std::string& name : agent.tool_names) {
      const auto found = builtin_.find(name);
      if (found == builtin_.end()) continue;
      Json tool = found->second;
      tool.remove("id");
      tools.set(name, std::move(tool));
    }
    Json kept = Json::object();
    kept.set("agent", std::move(rest));
    kept.set("file", std::move(around));
    kept.set("tools", std::move(tools));
    extra.set(std::string(kAgentFileField), std::move(kept));
    agent.settings.extra = extra.dump();
  }

  void read_messages(BodyReader& reader, const std::string& path, ImportedAgent& agent) {
    std::set<std::string> ids;
    const auto listed = reader.texts("in_context_message_ids");
    if (listed) ids.insert(listed->begin(), listed->end());
    std::set<std::int64_t> places;
    const auto* indices = reader.list("in_context_message_indices");
    for (std::size_t i = 0; indices != nullptr && i < indices->size(); ++i) {
      const auto place = (*indices)[i].as_integer();
      if (!place) {
        return reader.fail({422, at(path, "in_context_message_indices", i) + ": expected an integer, got " +
                                     std::string((*indices)[i].kind_name())});
      }
      places.insert(*place);
    }
    const auto* messages = reader.list("messages");
    for (std::size_t i = 0; messages != nullptr && i < messages->size(); ++i) {
      const std::string here = at(path, "messages", i);
      auto read = read_file_message((*messages)[i], here, reader);
      if (reader.error()) return;
      const auto id = text_in(&(*messages)[i], "id");
      const bool known = listed || indices != nullptr;
      const bool inside =
          !known || (id && ids.contains(*id)) || places.contains(static_cast<std::int64_t>(i));
      for (Message& message : read) {
        check_message(reader, here, message);
        agent.messages.push_back(std::move(message));
        agent.in_context.push_back(inside);
      }
    }
  }

  static void check_message(BodyReader& reader, const std::string& path, const Message& message) {
    std::size_t bytes = message.content.size() + message.reasoning.size() + message.extra.size();
    bytes += message.stdout_lines.size() + message.stderr_lines.size();
    for (const ToolCall& call : message.tool_calls) bytes += call.name.size() + call.arguments.size();
    if (bytes > kImportMessageBytesMax) {
      reader.fail({422, path + ": a message holds at most " + std::to_string(kImportMessageBytesMax) +
                            " bytes, got " + std::to_string(bytes)});
    }
  }

  void check_sizes(const std::string& path, const ImportedAgent& agent) {
    JsonWriter settings;
    write_settings(settings, agent.settings);
    if (settings.text().size() > kSettingsBytesMax) {
      return refuse(path + ": the agent's settings, with what the file has besides, are larger than " +
                    std::to_string(kSettingsBytesMax) + " bytes together");
    }
    JsonWriter blocks;
    blocks.begin_array();
    for (const BlockValue& block : agent.blocks) write_block_value(blocks, block);
    if (blocks.text().size() > kImportBlocksBytesMax) {
      refuse(path + ": the agent's blocks are larger than " + std::to_string(kImportBlocksBytesMax) +
             " bytes together");
    }
  }

  const Json& root_;
  BodyReader top_;
  AgentFile file_;
  std::map<std::string, std::string> tool_names_;  // By the file's id.
  std::vector<std::string> tools_in_order_;
  std::map<std::string, Json> builtin_;  // By name: how the file describes what is code here.
  std::map<std::string, BlockValue> blocks_;
};

}  // namespace

Result<AgentFile> parse_agent_file(std::string_view text) {
  std::string inner;
  for (std::size_t encoding = 0;; ++encoding) {
    auto root = Json::parse(text);
    if (!root) {
      return Error{Errc::invalid_argument,
                   "file: " + root.error().message + place_of_error(text, root.error())};
    }
    if (root->is_string() && encoding < kEncodingsMax) {
      inner = root->as_string();
      text = inner;
      continue;
    }
    if (!root->is_object()) {
      return Error{Errc::invalid_argument,
                   "file: expected a JSON object, got " + std::string(root->kind_name())};
    }
    if (is_deeper_than(*root, kDepthMax)) {
      return Error{Errc::invalid_argument,
                   "file: nesting is deeper than " + std::to_string(kDepthMax) + " levels"};
    }
    return FileReader(*root).read();
  }
}

}  // namespace varve
