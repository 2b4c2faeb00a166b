// Writing agent files, and what turns a file that was read into commands.
#include <algorithm>
#include <array>

#include "actors/memory_tools.h"
#include "api/agent_file.h"
#include "api/body_reader.h"
#include "api/render.h"

namespace varve {
namespace {

constexpr std::array<std::string_view, 16> kLiveAgentMembers{"id",
                                                             "name",
                                                             "system",
                                                             "agent_type",
                                                             "description",
                                                             "metadata",
                                                             "metadata_",
                                                             "tags",
                                                             "timezone",
                                                             "tool_ids",
                                                             "block_ids",
                                                             "messages",
                                                             "core_memory",
                                                             "memory_blocks",
                                                             "in_context_message_ids",
                                                             "in_context_message_indices"};
constexpr std::array<std::string_view, 8> kLiveBlockMembers{"id",          "label",     "value", "limit",
                                                            "description", "read_only", "tags",  "metadata"};
constexpr std::array<std::string_view, 8> kLiveToolMembers{
    "id", "name", "description", "source_type", "source_code", "json_schema", "tags", "return_char_limit"};

struct DefaultMember {
  std::string_view name;
  std::string_view json;  // Empty: it is never absent.
};

// Members in the order in which the format's other writer has them.
constexpr std::array<DefaultMember, 52> kAgentMembers{{{"name", ""},
                                                       {"memory_blocks", "[]"},
                                                       {"tools", "[]"},
                                                       {"tool_ids", ""},
                                                       {"source_ids", "[]"},
                                                       {"folder_ids", "null"},
                                                       {"block_ids", ""},
                                                       {"tool_rules", "[]"},
                                                       {"tags", ""},
                                                       {"system", ""},
                                                       {"agent_type", ""},
                                                       {"initial_message_sequence", "null"},
                                                       {"include_base_tools", "false"},
                                                       {"include_multi_agent_tools", "false"},
                                                       {"include_base_tool_rules", "false"},
                                                       {"include_default_source", "false"},
                                                       {"description", ""},
                                                       {"metadata", ""},
                                                       {"llm_config", ""},
                                                       {"embedding_config", ""},
                                                       {"model", ""},
                                                       {"embedding", ""},
                                                       {"model_settings", "null"},
                                                       {"compaction_settings", "null"},
                                                       {"context_window_limit", ""},
                                                       {"embedding_chunk_size", "null"},
                                                       {"max_tokens", "null"},
                                                       {"max_reasoning_tokens", "null"},
                                                       {"enable_reasoner", "false"},
                                                       {"reasoning", "null"},
                                                       {"from_template", "null"},
                                                       {"template", "false"},
                                                       {"project", "null"},
                                                       {"tool_exec_environment_variables", "{}"},
                                                       {"secrets", "null"},
                                                       {"memory_variables", "null"},
                                                       {"project_id", "null"},
                                                       {"template_id", "null"},
                                                       {"base_template_id", "null"},
                                                       {"identity_ids", "null"},
                                                       {"message_buffer_autoclear", "false"},
                                                       {"enable_sleeptime", "false"},
                                                       {"response_format", "null"},
                                                       {"timezone", ""},
                                                       {"max_files_open", ""},
                                                       {"per_file_view_window_char_limit", ""},
                                                       {"hidden", "null"},
                                                       {"parallel_tool_calls", "null"},
                                                       {"id", ""},
                                                       {"in_context_message_ids", ""},
                                                       {"files_agents", "[]"},
                                                       {"group_ids", "[]"}}};

constexpr std::array<DefaultMember, 17> kBlockMembers{{{"value", ""},
                                                       {"limit", ""},
                                                       {"project_id", "null"},
                                                       {"template_name", "null"},
                                                       {"is_template", "false"},
                                                       {"template_id", "null"},
                                                       {"base_template_id", "null"},
                                                       {"deployment_id", "null"},
                                                       {"entity_id", "null"},
                                                       {"preserve_on_migration", "false"},
                                                       {"label", ""},
                                                       {"read_only", ""},
                                                       {"description", ""},
                                                       {"metadata", ""},
                                                       {"hidden", "null"},
                                                       {"tags", ""},
                                                       {"id", ""}}};

constexpr std::array<DefaultMember, 18> kToolMembers{{{"id", ""},
                                                      {"tool_type", R"("custom")"},
                                                      {"description", ""},
                                                      {"source_type", ""},
                                                      {"name", ""},
                                                      {"tags", ""},
                                                      {"source_code", ""},
                                                      {"json_schema", ""},
                                                      {"args_json_schema", "null"},
                                                      {"return_char_limit", ""},
                                                      {"pip_requirements", "null"},
                                                      {"npm_requirements", "null"},
                                                      {"default_requires_approval", "null"},
                                                      {"enable_parallel_execution", "false"},
                                                      {"created_by_id", "null"},
                                                      {"last_updated_by_id", "null"},
                                                      {"metadata_", "{}"},
                                                      {"project_id", "null"}}};

constexpr std::array<DefaultMember, 6> kFileMembers{{{"groups", "[]"},
                                                     {"files", "[]"},
                                                     {"sources", "[]"},
                                                     {"mcp_servers", "[]"},
                                                     {"skills", "[]"},
                                                     {"metadata", R"({"revision_id":"varve"})"}}};

Json json_of(std::string_view text) {
  auto json = Json::parse(text);
  return json ? std::move(*json) : Json::null();
}

Json object_in(const Json& json, std::string_view key) {
  const Json* found = json.find(key);
  return found != nullptr && found->is_object() ? *found : Json::object();
}

Json text_or_null(const Row& row, std::size_t column) {
  return row.is_null(column) ? Json::null() : Json::string(row.text(column));
}

// `live` wins over what was kept, that over the defaults; what is kept besides follows.
template <class Members>
Json in_order(const Members& members, const Json& live, const Json& kept) {
  Json out = Json::object();
  for (const DefaultMember& member : members) {
    const Json* found = live.find(member.name);
    if (found == nullptr) found = kept.find(member.name);
    if (found != nullptr) {
      out.set(std::string(member.name), *found);
    } else {
      out.set(std::string(member.name), member.json.empty() ? Json::null() : json_of(member.json));
    }
  }
  for (const auto& [key, value] : kept.members()) {
    if (out.find(key) == nullptr) out.set(key, value);
  }
  return out;
}

Json file_block(const Row& row, const std::string& id) {
  Json live = Json::object();
  live.set("value", Json::string(row.text(blocks::value)));
  live.set("limit", Json::integer(row.integer(blocks::limit)));
  live.set("label", Json::string(row.text(blocks::label)));
  live.set("read_only", Json::boolean(row.integer(blocks::read_only) != 0));
  live.set("description", text_or_null(row, blocks::description));
  live.set("metadata", json_of(row.text(blocks::metadata)));
  live.set("tags", json_of(row.text(blocks::tags)));
  live.set("id", Json::string(id));
  const Json kept = json_of(row.text(blocks::extra));
  for (const char* key : {"tags", "metadata"}) {
    // The file had null for nothing.
    const Json& now = *live.find(key);
    if (now.items().empty() && now.members().empty() && kept.find(key) != nullptr) live.remove(key);
  }
  return in_order(kBlockMembers, live, kept);
}

Json file_tool(const Row& row, const std::string& id) {
  Json live = Json::object();
  live.set("id", Json::string(id));
  live.set("description", text_or_null(row, tools::description));
  live.set("source_type", Json::string(row.text(tools::source_type)));
  live.set("name", Json::string(row.text(tools::name)));
  live.set("tags", json_of(row.text(tools::tags)));
  const std::string& code = row.text(tools::source_code);
  live.set("source_code", code.empty() ? Json::null() : Json::string(code));
  live.set("json_schema", json_of(row.text(tools::json_schema)));
  live.set("return_char_limit", Json::integer(row.integer(tools::return_char_limit)));
  return in_order(kToolMembers, live, json_of(row.text(tools::extra)));
}

Json file_builtin_tool(const ToolSchema& tool, const std::string& id, const Json& kept) {
  Json live = Json::object();
  live.set("id", Json::string(id));
  if (const Json* as_it_came = kept.find(tool.name)) {
    for (const auto& [key, value] : as_it_came->members()) live.set(key, value);
    return live;
  }
  Json schema = Json::object();
  schema.set("name", Json::string(std::string(tool.name)));
  schema.set("description", Json::string(std::string(tool.description)));
  schema.set("parameters", json_of(tool.parameters));
  Json tags = Json::array();
  tags.push_back(Json::string(std::string(tool.tool_type)));
  live.set("tool_type", Json::string(std::string(tool.tool_type)));
  live.set("description", Json::string(std::string(tool.description)));
  live.set("source_type", Json::string("python"));
  live.set("name", Json::string(std::string(tool.name)));
  live.set("tags", std::move(tags));
  live.set("json_schema", std::move(schema));
  live.set("return_char_limit", Json::integer(50000));
  return in_order(kToolMembers, live, Json::object());
}

// ---- models ----

std::string name_in(const std::string& handle) {
  const std::size_t slash = handle.find('/');
  return slash == std::string::npos ? handle : handle.substr(slash + 1);
}

// The file's own words while the agent uses what they led to; else what it uses now.
void write_models(const Row& row, const Json& extra, const Json& kept, Json& live) {
  const Json used = object_in(kept, "used");
  const Json as_it_came = object_in(kept, "agent");
  const auto unchanged = [&used](std::string_view key, const Json& now) {
    const Json* then = used.find(key);
    return then != nullptr && *then == now;
  };
  const auto copy = [&](const char* key) {
    const Json* found = as_it_came.find(key);
    live.set(key, found != nullptr ? *found : Json::null());
  };
  const Json model = Json::string(row.text(agents::model));
  const Json window = Json::integer(row.integer(agents::context_window));
  Json llm = object_in(extra, "llm_config");
  const bool described = !llm.members().empty();
  if (unchanged("model", model)) {
    copy("model");
  } else {
    live.set("model", model);
    llm.set("model", Json::string(name_in(model.as_string())));
    if (!described) llm.set("model_endpoint_type", Json::string("openai"));
    llm.set("handle", model);
  }
  if (unchanged("context_window", window)) {
    copy("context_window_limit");
  } else {
    live.set("context_window_limit", window);
    llm.set("context_window", window);
  }
  live.set("llm_config", llm.members().empty() ? Json::null() : std::move(llm));

  const Json embedding = text_or_null(row, agents::embedding);
  Json config = object_in(extra, "embedding_config");
  if (unchanged("embedding", embedding)) {
    copy("embedding");
  } else {
    live.set("embedding", embedding);
    if (embedding.is_null()) {
      config = Json::object();
    } else {
      config.set("embedding_model", Json::string(name_in(embedding.as_string())));
      config.set("handle", embedding);
    }
  }
  live.set("embedding_config", config.members().empty() ? Json::null() : std::move(config));
}

// Those of the agent's context window, unless others were kept.
void write_file_limits(const Row& row, const Json& kept, Json& live) {
  const FileLimits& limits = file_limits(row.integer(agents::context_window));
  for (const auto& [name, limit] : {std::pair{"max_files_open", limits.files_open},
                                    {"per_file_view_window_char_limit", limits.chars_in_view}}) {
    if (kept.find(name) == nullptr) live.set(name, Json::integer(limit));
  }
}

std::string numbered(std::string_view kind, std::size_t number) {
  return std::string(kind) + "-" + std::to_string(number);
}

}  // namespace

bool is_live_agent_member(std::string_view name) {
  return contains(kLiveAgentMembers, name);
}
bool is_live_block_member(std::string_view name) {
  return contains(kLiveBlockMembers, name);
}
bool is_live_tool_member(std::string_view name) {
  return contains(kLiveToolMembers, name);
}

AgentFileWriter::AgentFileWriter(ExportedAgent agent) : agent_(std::move(agent)) {
  messages_.begin_array();
}

void AgentFileWriter::add_message(const Row& row) {
  const Message message = message_of_row(row);
  if (!message.extra.empty() && json_of(message.extra).find(kContinues) != nullptr) return;
  const std::string id = numbered("message", count_++);
  if (message.is_approval_request) requests_[row.text(messages::id)] = id;
  Json json = file_message(message, id, "agent-0");
  if (const Json* asked = json.find("approval_request_id"); asked != nullptr && asked->is_string()) {
    const auto found = requests_.find(asked->as_string());
    if (found != requests_.end()) json.set("approval_request_id", Json::string(found->second));
  }
  messages_.raw(json.dump());
  if (!row.to) in_context_.push_back(id);
}

std::string AgentFileWriter::finish(WallTime now) {
  messages_.end_array();
  const Row& row = agent_.agent;
  const Json extra = json_of(row.text(agents::extra));
  const Json kept = object_in(extra, kAgentFileField);
  Json live = Json::object();
  live.set("id", Json::string("agent-0"));
  live.set("memory_blocks", Json::array());
  for (const auto& [name, column] : {std::pair{"name", agents::name},
                                     {"system", agents::system},
                                     {"agent_type", agents::agent_type},
                                     {"timezone", agents::timezone}}) {
    live.set(name, Json::string(row.text(column)));
  }
  live.set("description", text_or_null(row, agents::description));
  live.set("metadata", json_of(row.text(agents::metadata)));
  live.set("tags", json_of(row.text(agents::tags)));
  write_models(row, extra, kept, live);

  Json listed_tools = Json::array();
  Json tool_ids = Json::array();
  const Json kept_tools = object_in(kept, "tools");
  const Json references = json_of(row.text(agents::tools));
  for (const Json& reference : references.items()) {
    const std::string id = numbered("tool", tool_ids.items().size());
    const ToolSchema* builtin = find_builtin_tool(reference.as_string());
    const auto custom = std::find_if(agent_.tools.begin(), agent_.tools.end(), [&](const Row& tool) {
      return tool.text(tools::id) == reference.as_string();
    });
    if (builtin == nullptr && custom == agent_.tools.end()) continue;  // Deleted since.
    listed_tools.push_back(builtin != nullptr ? file_builtin_tool(*builtin, id, kept_tools)
                                              : file_tool(*custom, id));
    tool_ids.push_back(Json::string(id));
  }
  live.set("tool_ids", std::move(tool_ids));
  Json listed_blocks = Json::array();
  Json block_ids = Json::array();
  for (const Row& block : agent_.blocks) {
    const std::string id = numbered("block", block_ids.items().size());
    listed_blocks.push_back(file_block(block, id));
    block_ids.push_back(Json::string(id));
  }
  live.set("block_ids", std::move(block_ids));
  Json in_context = Json::array();
  for (const std::string& id : in_context_) in_context.push_back(Json::string(id));
  live.set("in_context_message_ids", std::move(in_context));

  Json besides = object_in(kept, "agent");
  for (const auto& [key, value] : extra.members()) {
    if (key != kAgentFileField) besides.set(key, value);
  }
  write_file_limits(row, besides, live);
  const Json agent = in_order(kAgentMembers, live, besides);
  const Json around = in_order(kFileMembers, Json::object(), object_in(kept, "file"));
  JsonWriter out;
  out.begin_object().key("agents").begin_array().begin_object();
  for (const auto& [key, value] : agent.members()) {
    out.field_raw(key, value.dump());
    if (key == "in_context_message_ids") out.field_raw("messages", messages_.text());
  }
  out.end_object().end_array();
  out.field_raw("blocks", listed_blocks.dump()).field_raw("tools", listed_tools.dump());
  for (const auto& [key, value] : around.members()) {
    out.field_raw(key, value.dump());
  }
  out.field("created_at", format_file_time(now)).end_object();
  return out.take();
}

}  // namespace varve
