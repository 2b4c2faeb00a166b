#include "api/render.h"

#include <algorithm>
#include <array>

#include "actors/memory_tools.h"
#include "api/body.h"

namespace varve {
namespace {

constexpr const char* kUser = "user-00000000-0000-4000-8000-000000000000";

struct DefaultField {
  std::string_view name;
  std::string_view json;
};

// Members of an agent that nothing has set, as the API's clients get them.
constexpr std::array<DefaultField, 19> kAgentDefaults{{{"tool_rules", "[]"},
                                                       {"response_format", "null"},
                                                       {"project_id", "null"},
                                                       {"template_id", "null"},
                                                       {"base_template_id", "null"},
                                                       {"deployment_id", "null"},
                                                       {"entity_id", "null"},
                                                       {"identity_ids", "[]"},
                                                       {"message_buffer_autoclear", "false"},
                                                       {"enable_sleeptime", "null"},
                                                       {"max_files_open", "10"},
                                                       {"per_file_view_window_char_limit", "25000"},
                                                       {"hidden", "null"},
                                                       {"tool_exec_environment_variables", "[]"},
                                                       {"secrets", "[]"},
                                                       {"sources", "[]"},
                                                       {"identities", "[]"},
                                                       {"pending_approval", "null"},
                                                       {"multi_agent_group", "null"}}};

constexpr std::string_view kCompactionDefault =
    R"({"model":null,"model_settings":null,"prompt":null,"prompt_acknowledgement":false,"clip_chars":50000,)"
    R"("mode":"sliding_window","sliding_window_percentage":0.3})";

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
  const std::string provider = handle.substr(0, slash);
  const std::string name = slash == std::string::npos ? handle : handle.substr(slash + 1);
  const Json* max_tokens = extra.find("max_tokens");
  const auto limit = max_tokens != nullptr ? max_tokens->as_integer() : std::nullopt;
  out.key("llm_config").begin_object().field("model", name).field_null("display_name");
  out.field("model_endpoint_type", "openai").field_null("model_endpoint").field("provider_name", provider);
  out.field("provider_category", "base")
      .field_null("model_wrapper")
      .field_integer("context_window", context_window);
  out.field_boolean("put_inner_thoughts_in_kwargs", false)
      .field("handle", handle)
      .field_raw("temperature", "1.0");
  out.field_integer("max_tokens", limit.value_or(16384)).field_boolean("enable_reasoner", false);
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
  out.field_null("embedding_endpoint");
  out.field("embedding_model", slash == std::string::npos ? handle : handle.substr(slash + 1));
  out.field_integer("embedding_dim", 1536).field_integer("embedding_chunk_size", 300).field("handle", handle);
  out.field_integer("batch_size", 32).field_null("azure_endpoint").field_null("azure_version");
  out.field_null("azure_deployment").end_object();
}

void render_tools(JsonWriter& out, const std::string& names_json) {
  const Json names = parsed_or_empty(names_json);
  out.key("tools").begin_array();
  for (const Json& name : names.items()) {
    const ToolSchema* tool = find_builtin_tool(name.as_string());
    if (tool == nullptr) continue;
    out.begin_object().field("id", tool_id(tool->name)).field("tool_type", tool->tool_type);
    out.field("description", tool->description).field("source_type", "python").field("name", tool->name);
    out.key("tags").begin_array().string(tool->tool_type).end_array().field_null("source_code");
    out.key("json_schema").begin_object().field("name", tool->name).field("description", tool->description);
    out.field_raw("parameters", tool->parameters).end_object().field_null("args_json_schema");
    out.field_integer("return_char_limit", 50000)
        .field_null("pip_requirements")
        .field_null("npm_requirements");
    out.field_null("default_requires_approval").field_boolean("enable_parallel_execution", false);
    out.field("created_by_id", kUser).field("last_updated_by_id", kUser).field_raw("metadata_", "{}");
    out.field_null("project_id").end_object();
  }
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

// ---- messages ----

// What the API prints of a message, from a row or from an event.
struct MessageView {
  std::string id;
  std::int64_t created_at = 0;
  std::optional<std::string> name, sender_id, otid, step_id, run_id;
  std::string role;
  std::string content;
  std::string reasoning;
  std::vector<ToolCall> tool_calls;
  std::string tool_call_id;
  bool is_error = false;
};

std::optional<std::string> optional_of(const Row& row, std::size_t column) {
  if (row.is_null(column)) return std::nullopt;
  return row.text(column);
}

std::string plain_text(const std::string& content) {
  Message message;
  message.content = content;
  return text_of(message);
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

class MessageRenderer {
 public:
  MessageRenderer(JsonWriter& out, const MessageView& view,
                  const std::optional<std::vector<std::string>>& types)
      : out_(out), view_(view), types_(types) {}

  void render() {
    if (view_.role == "tool") return tool_return();
    if (view_.role == "assistant") return assistant();
    if (!begin(view_.role == "system" ? "system_message" : "user_message", view_.otid)) return;
    content();
    out_.end_object();
  }

 private:
  bool begin(std::string_view type, const std::optional<std::string>& otid) {
    if (types_ && std::find(types_->begin(), types_->end(), type) == types_->end()) return false;
    out_.begin_object()
        .field("id", view_.id)
        .field("date", format_rfc3339_seconds(WallTime{view_.created_at}));
    out_.field_optional("name", view_.name).field("message_type", type).field_optional("otid", otid);
    out_.field_optional("sender_id", view_.sender_id).field_optional("step_id", view_.step_id);
    out_.field_null("is_err").field_null("seq_id").field_optional("run_id", view_.run_id);
    return true;
  }
  std::string part_otid() { return otid_of_part(view_.id, part_++); }

  void content() {
    const Json json = parsed_or_empty(view_.content);
    if (!json.is_array()) {
      out_.field_raw("content", view_.content);
      return;
    }
    out_.key("content").begin_array();
    for (Json part : json.items()) {
      const Json* type = part.find("type");
      const bool text = type != nullptr && type->is_string() && type->as_string() == "text";
      if (text && part.find("signature") == nullptr) part.set("signature", Json::null());
      out_.raw(part.dump());
    }
    out_.end_array();
  }

  void assistant() {
    if (!view_.reasoning.empty() && begin("reasoning_message", part_otid())) {
      out_.field("source", "reasoner_model")
          .field("reasoning", view_.reasoning)
          .field_null("signature")
          .end_object();
    }
    const std::string text = plain_text(view_.content);
    if ((!text.empty() || view_.tool_calls.empty()) && begin("assistant_message", part_otid())) {
      out_.field("content", text).end_object();
    }
    if (view_.tool_calls.empty() || !begin("tool_call_message", part_otid())) return;
    out_.key("tool_call");
    call(view_.tool_calls.front());
    out_.key("tool_calls").begin_array();
    for (const ToolCall& one : view_.tool_calls) call(one);
    out_.end_array().end_object();
  }
  void call(const ToolCall& one) {
    out_.begin_object().field("name", one.name).field("arguments", one.arguments);
    out_.field("tool_call_id", one.id).end_object();
  }

  void tool_return() {
    if (!begin("tool_return_message", part_otid())) return;
    const std::string text = plain_text(view_.content);
    returned(text);
    out_.key("tool_returns").begin_array().begin_object().field("type", "tool");
    returned(text);
    out_.end_object().end_array().end_object();
  }
  void returned(const std::string& text) {
    out_.field("tool_return", text).field("status", view_.is_error ? "error" : "success");
    out_.field("tool_call_id", view_.tool_call_id).field_null("stdout").field_null("stderr");
  }

  JsonWriter& out_;
  const MessageView& view_;
  const std::optional<std::vector<std::string>>& types_;
  unsigned part_ = 0;
};

}  // namespace

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
  out.field_raw("compaction_settings", merged(kCompactionDefault, extra.find("compaction_settings")).dump());
  nullable_text(out, "description", agent, agents::description);
  out.field_raw("metadata", agent.text(agents::metadata));
  out.key("memory").begin_object().field("agent_type", agent.text(agents::agent_type));
  out.field_boolean("git_enabled", false).key("blocks");
  render_blocks(out, parts.blocks, include.blocks);
  out.key("file_blocks").begin_array().end_array().field("prompt_template", "").end_object();
  out.key("blocks");
  render_blocks(out, parts.blocks, include.blocks);
  render_tools(out, include.tools ? agent.text(agents::tools) : "[]");
  out.field_raw("tags", include.tags ? agent.text(agents::tags) : "[]");
  for (const DefaultField& field : kAgentDefaults) {
    const Json* kept = extra.find(field.name);
    out.field_raw(field.name, kept != nullptr ? kept->dump() : std::string(field.json));
  }
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

void render_message(JsonWriter& out, const Row& row, const std::optional<std::vector<std::string>>& types) {
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
  view.reasoning = optional_of(row, messages::reasoning).value_or("");
  view.tool_call_id = optional_of(row, messages::tool_call_id).value_or("");
  view.is_error = row.integer(messages::is_error) != 0;
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
  MessageRenderer(out, view, types).render();
}

void render_turn_message(JsonWriter& out, const TurnMessage& message, const std::string& run_id,
                         const std::optional<std::vector<std::string>>& types) {
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
  MessageRenderer(out, view, types).render();
}

void render_usage(JsonWriter& out, const Usage& usage) {
  const std::int64_t total = usage.prompt_tokens + usage.completion_tokens;
  out.begin_object().field("message_type", "usage_statistics");
  out.field_integer("completion_tokens", usage.completion_tokens);
  out.field_integer("prompt_tokens", usage.prompt_tokens).field_integer("total_tokens", total);
  out.field_integer("step_count", usage.steps).field_null("run_ids").field_integer("cached_input_tokens", 0);
  out.field_integer("cache_write_tokens", 0).field_integer("reasoning_tokens", 0);
  out.field_integer("context_tokens", total).end_object();
}

}  // namespace varve
