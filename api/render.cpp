#include "api/render.h"

#include <algorithm>
#include <array>
#include <limits>

#include "actors/decide.h"
#include "api/body.h"

namespace varve {
namespace {

constexpr const char* kUser = "user-00000000-0000-4000-8000-000000000000";

struct DefaultField {
  std::string_view name;
  std::string_view json;
};

// Members of an agent that nothing has set, as the API's clients get them.
constexpr std::array<DefaultField, 17> kAgentDefaults{{{"tool_rules", "[]"},
                                                       {"response_format", "null"},
                                                       {"project_id", "null"},
                                                       {"template_id", "null"},
                                                       {"base_template_id", "null"},
                                                       {"deployment_id", "null"},
                                                       {"entity_id", "null"},
                                                       {"identity_ids", "[]"},
                                                       {"message_buffer_autoclear", "false"},
                                                       {"enable_sleeptime", "null"},
                                                       {"hidden", "null"},
                                                       {"tool_exec_environment_variables", "[]"},
                                                       {"secrets", "[]"},
                                                       {"sources", "[]"},
                                                       {"identities", "[]"},
                                                       {"pending_approval", "null"},
                                                       {"multi_agent_group", "null"}}};

constexpr std::array<FileLimits, 5> kFileLimits{{{8'000, 3, 5'000},
                                                 {32'000, 5, 15'000},
                                                 {128'000, 10, 25'000},
                                                 {200'000, 10, 40'000},
                                                 {std::numeric_limits<std::int64_t>::max(), 15, 40'000}}};

void render_file_limits(JsonWriter& out, std::int64_t context_window, const Json& extra) {
  const FileLimits& limits = file_limits(context_window);
  const auto limit = [&](std::string_view name, std::int64_t otherwise) {
    const Json* kept = extra.find(name);
    out.field_raw(name, kept != nullptr ? kept->dump() : std::to_string(otherwise));
  };
  limit("max_files_open", limits.files_open);
  limit("per_file_view_window_char_limit", limits.chars_in_view);
}

// Kept and returned; a summary is the work of the agent's own model.
constexpr std::string_view kCompactionDefault =
    R"({"model":"openai/gpt-5-mini","model_settings":null,"prompt":null,"prompt_acknowledgement":false,)"
    R"("clip_chars":50000,"mode":"sliding_window","sliding_window_percentage":0.3})";

constexpr std::string_view kModelSettingsDefault =
    R"({"max_output_tokens":16384,"parallel_tool_calls":true,"provider_type":"openai","temperature":1.0,)"
    R"("reasoning":{"reasoning_effort":"minimal"},"response_format":null,"strict":false})";

Json parsed_or_empty(const std::string& text) {
  auto json = Json::parse(text);
  return json ? std::move(*json) : Json::object();
}

void nullable_text(JsonWriter& out, std::string_view name, const Row& row, std::size_t column) {
  if (row.is_null(column)) {
    out.field_null(name);
  } else {
    out.field(name, row.text(column));
  }
}

void time_field(JsonWriter& out, std::string_view name, std::int64_t micros) {
  out.field(name, format_rfc3339_micros(WallTime{micros}));
}

// A kept object, over the defaults of its members.
Json merged(std::string_view defaults, const Json* kept) {
  Json result = parsed_or_empty(std::string(defaults));
  if (kept == nullptr || !kept->is_object()) return result;
  for (const auto& [key, value] : kept->members()) result.set(key, value);
  return result;
}

void render_llm_config(JsonWriter& out, const std::string& handle, std::int64_t context_window,
                       const Json& extra) {
  const std::size_t slash = handle.find('/');
  // An OpenAI-compatible provider behind another URL is still called by its kind.
  std::string provider = handle.substr(0, slash);
  if (provider.ends_with("-proxy")) provider.resize(provider.size() - std::string_view("-proxy").size());
  const std::string name = slash == std::string::npos ? handle : handle.substr(slash + 1);
  const Json* max_tokens = extra.find("max_tokens");
  const auto limit = max_tokens != nullptr ? max_tokens->as_integer() : std::nullopt;
  out.key("llm_config").begin_object().field("model", name).field_null("display_name");
  out.field("model_endpoint_type", "openai").field("model_endpoint", "").field("provider_name", provider);
  out.field("provider_category", "base")
      .field_null("model_wrapper")
      .field_integer("context_window", context_window);
  out.field_boolean("put_inner_thoughts_in_kwargs", false)
      .field("handle", handle)
      .field_raw("temperature", "1.0");
  const Json* reasons = extra.find("enable_reasoner");
  out.field_integer("max_tokens", limit.value_or(16384));
  out.field_boolean("enable_reasoner", reasons != nullptr && reasons->is_boolean() && reasons->as_boolean());
  out.field_null("reasoning_effort").field_integer("max_reasoning_tokens", 0).field_null("effort");
  out.field_null("frequency_penalty")
      .field_null("compatibility_type")
      .field_null("verbosity")
      .field_null("tier");
  out.field_boolean("parallel_tool_calls", false)
      .field_null("response_format")
      .field_boolean("strict", false);
  out.field_boolean("return_logprobs", false)
      .field_null("top_logprobs")
      .field_boolean("return_token_ids", false);
  out.field_null("tool_call_parser").end_object();
}

void render_embedding_config(JsonWriter& out, const Row& agent) {
  if (agent.is_null(agents::embedding)) {
    out.field_null("embedding").field_null("embedding_config");
    return;
  }
  const std::string& handle = agent.text(agents::embedding);
  const std::size_t slash = handle.find('/');
  out.field("embedding", handle)
      .key("embedding_config")
      .begin_object()
      .field("embedding_endpoint_type", "openai");
  out.field("embedding_endpoint", "");
  out.field("embedding_model", slash == std::string::npos ? handle : handle.substr(slash + 1));
  out.field_integer("embedding_dim", 1536).field_integer("embedding_chunk_size", 300).field("handle", handle);
  out.field_integer("batch_size", 32).field_null("azure_endpoint").field_null("azure_version");
  out.field_null("azure_deployment").end_object();
}

void render_tools(JsonWriter& out, const std::vector<ToolView>& tools) {
  out.key("tools").begin_array();
  for (const ToolView& tool : tools) out.raw(tool.json);
  out.end_array();
}

void render_blocks(JsonWriter& out, const std::vector<Row>& blocks, bool include) {
  out.begin_array();
  if (include) {
    for (const Row& block : blocks) render_block(out, block);
  }
  out.end_array();
}

void render_activity(JsonWriter& out, const std::optional<Row>& activity) {
  if (!activity || activity->is_null(agent_activity::last_run_completion)) {
    out.field_null("last_run_completion").field_null("last_run_duration_ms").field_null("last_stop_reason");
    return;
  }
  time_field(out, "last_run_completion", activity->integer(agent_activity::last_run_completion));
  out.field_integer("last_run_duration_ms", activity->integer(agent_activity::last_run_duration_ms));
  nullable_text(out, "last_stop_reason", *activity, agent_activity::last_stop_reason);
}

}  // namespace

const FileLimits& file_limits(std::int64_t context_window) {
  const auto fits = [context_window](const FileLimits& row) {
    return context_window <= row.context_window_max;
  };
  return *std::find_if(kFileLimits.begin(), kFileLimits.end(), fits);
}

void render_memory(JsonWriter& out, const AgentParts& parts, bool include_blocks) {
  out.begin_object().field("agent_type", parts.agent.text(agents::agent_type));
  out.field_boolean("git_enabled", false).key("blocks");
  render_blocks(out, parts.blocks, include_blocks);
  out.key("file_blocks").begin_array().end_array().field("prompt_template", "").end_object();
}

void render_agent(JsonWriter& out, const AgentParts& parts, const Relationships& include) {
  const Row& agent = parts.agent;
  const Json extra = parsed_or_empty(agent.text(agents::extra));
  out.begin_object().field("created_by_id", kUser).field("last_updated_by_id", kUser);
  time_field(out, "created_at", agent.integer(agents::created_at));
  time_field(out, "updated_at", agent.integer(agents::updated_at));
  out.field("id", agent.text(agents::id)).field("name", agent.text(agents::name));
  out.key("message_ids").begin_array();
  for (const std::string& id : parts.message_ids) out.string(id);
  out.end_array()
      .field("system", agent.text(agents::system))
      .field("agent_type", agent.text(agents::agent_type));
  render_llm_config(out, agent.text(agents::model), agent.integer(agents::context_window), extra);
  render_embedding_config(out, agent);
  out.field("model", agent.text(agents::model));
  out.field_raw("model_settings", merged(kModelSettingsDefault, extra.find("model_settings")).dump());
  Json compaction = merged(kCompactionDefault, extra.find("compaction_settings"));
  const Json* prompt = compaction.find("prompt");
  if (prompt == nullptr || prompt->is_null()) {
    compaction.set("prompt", Json::string(std::string(kSummaryPrompt)));
  }
  out.field_raw("compaction_settings", compaction.dump());
  nullable_text(out, "description", agent, agents::description);
  out.field_raw("metadata", agent.text(agents::metadata));
  out.key("memory");
  render_memory(out, parts, include.blocks);
  out.key("blocks");
  render_blocks(out, parts.blocks, include.blocks);
  render_tools(out, parts.tools);
  out.field_raw("tags", include.tags ? agent.text(agents::tags) : "[]");
  for (const DefaultField& field : kAgentDefaults) {
    const Json* kept = extra.find(field.name);
    out.field_raw(field.name, kept != nullptr ? kept->dump() : std::string(field.json));
  }
  render_file_limits(out, agent.integer(agents::context_window), extra);
  out.field_null("managed_group");
  render_activity(out, parts.activity);
  out.field("timezone", agent.text(agents::timezone)).end_object();
}

void render_block(JsonWriter& out, const Row& block) {
  const Json extra = parsed_or_empty(block.text(blocks::extra));
  const auto kept = [&](std::string_view name, std::string_view otherwise) {
    const Json* found = extra.find(name);
    out.field_raw(name, found != nullptr ? found->dump() : std::string(otherwise));
  };
  out.begin_object()
      .field("value", block.text(blocks::value))
      .field_integer("limit", block.integer(blocks::limit));
  for (const char* name : {"project_id", "template_name"}) kept(name, "null");
  kept("is_template", "false");
  for (const char* name : {"template_id", "base_template_id", "deployment_id", "entity_id"})
    kept(name, "null");
  kept("preserve_on_migration", "false");
  out.field("label", block.text(blocks::label))
      .field_boolean("read_only", block.integer(blocks::read_only) != 0);
  nullable_text(out, "description", block, blocks::description);
  out.field_raw("metadata", block.text(blocks::metadata));
  kept("hidden", "null");
  out.field("id", block.text(blocks::id)).field_null("created_by_id").field_null("last_updated_by_id");
  out.field_raw("tags", block.text(blocks::tags)).end_object();
}

}  // namespace varve
