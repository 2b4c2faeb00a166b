#include "api/more_queries.h"

#include <algorithm>
#include <set>

#include "actors/actor_state.h"
#include "actors/memory_tools.h"

namespace varve {
namespace {

constexpr std::size_t kRowsMax = 10'000;
constexpr const char* kUser = "user-00000000-0000-4000-8000-000000000000";

Filter equal(std::size_t column, std::string value) {
  return {static_cast<int>(column), Filter::Op::equal, {Value{std::move(value)}}};
}

Filter one_of(std::size_t column, const std::vector<std::string>& values) {
  Filter filter{static_cast<int>(column), Filter::Op::one_of, {}};
  for (const std::string& value : values) filter.values.emplace_back(value);
  return filter;
}

Query open_rows(View view, std::vector<Filter> where) {
  Query query;
  query.view = view;
  query.where = std::move(where);
  query.limit = kRowsMax;
  return query;
}

std::size_t row_limit(std::int64_t limit) {
  return limit == 0 ? kRowsMax : std::min(static_cast<std::size_t>(limit), kRowsMax);
}

Result<std::optional<Row>> first_row(ViewReader& reader, Query query) {
  query.limit = 1;
  auto rows = reader.select(query);
  if (!rows) return rows.error();
  if (rows->empty()) return std::optional<Row>{};
  return std::optional<Row>{std::move(rows->front())};
}

bool contains(const std::vector<std::string>& texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

std::string ascii_lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

Json parsed_or_empty(const std::string& text) {
  auto json = Json::parse(text);
  return json ? std::move(*json) : Json::object();
}

std::string member_or(const Json& object, std::string_view key, std::string_view otherwise) {
  const Json* found = object.find(key);
  return found != nullptr ? found->dump() : std::string(otherwise);
}

bool fits(const ToolView& tool, const ToolFilter& filter) {
  if (!filter.names.empty() && !contains(filter.names, tool.name)) return false;
  if (!filter.ids.empty() && !contains(filter.ids, tool.id)) return false;
  if (!filter.types.empty() && !contains(filter.types, tool.tool_type)) return false;
  if (contains(filter.not_types, tool.tool_type)) return false;
  if (filter.only_builtin && tool.tool_type == "custom") return false;
  if (!filter.search) return true;
  return ascii_lower(tool.name).find(ascii_lower(*filter.search)) != std::string::npos;
}

void nullable(JsonWriter& out, std::string_view name, const Row& row, std::size_t column) {
  if (row.is_null(column)) {
    out.field_null(name);
  } else {
    out.field(name, row.text(column));
  }
}

// Place of a row in (created_at, id).
std::vector<Value> creation_of(const Row& row, std::size_t created_at, std::size_t id) {
  return {row.values[created_at], row.values[id]};
}

std::string time_text(std::int64_t micros) {
  return format_rfc3339_micros(WallTime{micros});
}

Result<std::set<std::string>> existing_agents(ViewReader& reader) {
  Query query = open_rows(
      View::agents, {{static_cast<int>(agents::importing), Filter::Op::equal, {Value{std::int64_t{0}}}}});
  query.order_by = {static_cast<int>(agents::created_at), static_cast<int>(agents::id)};
  std::set<std::string> ids;
  for (;;) {
    auto rows = reader.select(query);
    if (!rows) return rows.error();
    for (const Row& row : *rows) ids.insert(row.text(agents::id));
    if (rows->size() < kRowsMax) return ids;
    query.above = creation_of(rows->back(), agents::created_at, agents::id);
  }
}

}  // namespace

ToolView builtin_tool_view(std::string_view name) {
  const ToolSchema* tool = find_builtin_tool(name);
  CHECK(tool != nullptr);
  ToolView view{builtin_tool_id(name), std::string(name), std::string(tool->tool_type), ""};
  JsonWriter out;
  out.begin_object().field("id", view.id).field("tool_type", tool->tool_type);
  out.field("description", tool->description).field("source_type", "python").field("name", tool->name);
  out.key("tags").begin_array().string(tool->tool_type).end_array().field_null("source_code");
  out.key("json_schema").begin_object().field("name", tool->name).field("description", tool->description);
  out.field_raw("parameters", tool->parameters).end_object().field_null("args_json_schema");
  out.field_integer("return_char_limit", 50000).field_null("pip_requirements").field_null("npm_requirements");
  out.field_null("default_requires_approval");
  // Searches change nothing, so they may run side by side.
  out.field_boolean("enable_parallel_execution", name == kConversationSearch);
  out.field("created_by_id", kUser).field("last_updated_by_id", kUser).field_raw("metadata_", "{}");
  out.field_null("project_id").end_object();
  view.json = out.take();
  return view;
}

ToolView tool_view(const ToolValue& tool) {
  const Json extra = parsed_or_empty(tool.extra);
  ToolView view{tool.id, tool.name, "custom", ""};
  JsonWriter out;
  out.begin_object().field("id", tool.id).field("tool_type", "custom");
  out.field_optional("description", tool.description).field("source_type", tool.source_type);
  out.field("name", tool.name).key("tags").begin_array();
  for (const std::string& tag : tool.tags) out.string(tag);
  out.end_array().field("source_code", tool.source_code).field_raw("json_schema", tool.json_schema);
  out.field_raw("args_json_schema", member_or(extra, "args_json_schema", "{}"));
  out.field_integer("return_char_limit", tool.return_char_limit);
  for (const char* kept : {"pip_requirements", "npm_requirements", "default_requires_approval"}) {
    out.field_raw(kept, member_or(extra, kept, "null"));
  }
  out.field_raw("enable_parallel_execution", member_or(extra, "enable_parallel_execution", "false"));
  out.field("created_by_id", kUser).field("last_updated_by_id", kUser);
  out.field_raw("metadata_", member_or(extra, "metadata_", "{}")).field_null("project_id").end_object();
  view.json = out.take();
  return view;
}

ToolView tool_view(const Row& row) {
  ToolValue tool;
  tool.id = row.text(tools::id);
  tool.name = row.text(tools::name);
  if (!row.is_null(tools::description)) tool.description = row.text(tools::description);
  tool.source_type = row.text(tools::source_type);
  tool.source_code = row.text(tools::source_code);
  tool.json_schema = row.text(tools::json_schema);
  const Json tags = parsed_or_empty(row.text(tools::tags));
  for (const Json& tag : tags.items()) tool.tags.push_back(tag.as_string());
  tool.return_char_limit = row.integer(tools::return_char_limit);
  tool.extra = row.text(tools::extra);
  return tool_view(tool);
}

std::vector<ToolView> page_of_tools(std::vector<ToolView> all, const Page& page) {
  if (page.descending) std::reverse(all.begin(), all.end());
  const auto place = [&all](const std::optional<std::string>& id) {
    return std::find_if(all.begin(), all.end(), [&id](const ToolView& tool) { return id && tool.id == *id; });
  };
  if (const auto after = place(page.after); after != all.end()) all.erase(all.begin(), std::next(after));
  if (const auto before = place(page.before); before != all.end()) all.erase(before, all.end());
  const std::size_t limit = row_limit(page.limit);
  if (all.size() > limit) all.resize(limit);
  return all;
}

Result<std::vector<ToolView>> list_tools(ViewReader& reader, const Page& page, const ToolFilter& filter) {
  std::vector<ToolView> all;
  const auto add = [&all, &filter](ToolView tool) {
    if (fits(tool, filter)) all.push_back(std::move(tool));
  };
  for (const ToolSchema& tool : builtin_tools()) add(builtin_tool_view(tool.name));
  Query query = open_rows(View::tools, {});
  query.order_by = {static_cast<int>(tools::created_at), static_cast<int>(tools::id)};
  auto rows = reader.select(query);
  if (!rows) return rows.error();
  for (const Row& row : *rows) add(tool_view(row));
  return page_of_tools(std::move(all), page);
}

Result<std::optional<ToolView>> find_tool(ViewReader& reader, const std::string& id) {
  for (const ToolSchema& tool : builtin_tools()) {
    if (builtin_tool_id(tool.name) == id) return std::optional<ToolView>{builtin_tool_view(tool.name)};
  }
  auto row = first_row(reader, open_rows(View::tools, {equal(tools::id, id)}));
  if (!row) return row.error();
  if (!*row) return std::optional<ToolView>{};
  return std::optional<ToolView>{tool_view(**row)};
}

Result<std::vector<ToolView>> tools_of(ViewReader& reader, const std::string& references_json) {
  const Json references = parsed_or_empty(references_json);
  std::vector<ToolView> found;
  for (const Json& reference : references.items()) {
    const std::string& text = reference.as_string();
    if (find_builtin_tool(text) != nullptr) {
      found.push_back(builtin_tool_view(text));
      continue;
    }
    auto tool = find_tool(reader, text);
    if (!tool) return tool.error();
    if (*tool) found.push_back(std::move(**tool));
  }
  return found;
}

Result<std::vector<Row>> list_runs(ViewReader& reader, const Page& page, const RunFilter& filter) {
  Query query = open_rows(View::runs, {});
  if (!filter.agent_ids.empty()) query.where.push_back(one_of(runs::agent_id, filter.agent_ids));
  if (!filter.statuses.empty()) query.where.push_back(one_of(runs::status, filter.statuses));
  if (filter.active) query.where.push_back(equal(runs::status, "running"));
  if (filter.stop_reason) query.where.push_back(equal(runs::stop_reason, *filter.stop_reason));
  if (filter.background) {
    // `request` is compact JSON of ours.
    if (!*filter.background) return std::vector<Row>{};
    query.where.push_back({static_cast<int>(runs::request),
                           Filter::Op::contains,
                           {Value{std::string(R"("background":true)")}}});
  }
  query.order_by = {static_cast<int>(runs::created_at), static_cast<int>(runs::id)};
  query.descending = page.descending;
  query.limit = row_limit(page.limit);
  for (const bool after : {true, false}) {
    const auto& cursor = after ? page.after : page.before;
    if (!cursor) continue;
    auto row = first_row(reader, open_rows(View::runs, {equal(runs::id, *cursor)}));
    if (!row) return row.error();
    if (!*row) continue;
    const bool newer = (after != page.descending) != filter.reversed_cursors;
    (newer ? query.above : query.below) = creation_of(**row, runs::created_at, runs::id);
  }
  return reader.select(query);
}

std::string render_run(const Row& run) {
  const Json request = parsed_or_empty(run.text(runs::request));
  const bool background = member_or(request, "background", "false") == "true";
  const bool async = member_or(request, "async", "false") == "true";
  const bool open = run.is_null(runs::completed_at);
  JsonWriter out;
  out.begin_object().field("id", run.text(runs::id)).field("status", run.text(runs::status));
  out.field("created_at", time_text(run.integer(runs::created_at)));
  if (open) {
    out.field_null("completed_at");
  } else {
    out.field("completed_at", time_text(run.integer(runs::completed_at)));
  }
  out.field("agent_id", run.text(runs::agent_id))
      .field_null("conversation_id")
      .field_null("base_template_id");
  out.field_boolean("background", background).key("metadata").begin_object();
  out.field("run_type", async ? "send_message_async" : "send_message");
  if (async) out.field_null("lettuce");
  out.end_object().key("request_config").begin_object();
  out.field_raw("use_assistant_message", member_or(request, "use_assistant_message", "true"));
  out.field("assistant_message_tool_name", "send_message").field("assistant_message_tool_kwarg", "message");
  out.field_raw("include_return_message_types", member_or(request, "include_return_message_types", "null"));
  out.end_object();
  nullable(out, "stop_reason", run, runs::stop_reason);
  for (const char* none :
       {"callback_url", "callback_sent_at", "callback_status_code", "callback_error", "ttft_ns"}) {
    out.field_null(none);
  }
  if (open) {
    out.field_null("total_duration_ns");
  } else {
    out.field_integer("total_duration_ns",
                      (run.integer(runs::completed_at) - run.integer(runs::created_at)) * 1000);
  }
  out.end_object();
  return out.take();
}

TurnResult turn_of(const RunParts& run) {
  TurnResult turn;
  const Row& row = run.run;
  turn.run_id = row.text(runs::id);
  turn.stop_reason = row.is_null(runs::stop_reason) ? "" : row.text(runs::stop_reason);
  turn.usage = {row.integer(runs::prompt_tokens), row.integer(runs::completion_tokens),
                row.integer(runs::steps), run.context_tokens};
  turn.error_type = row.is_null(runs::error_type) ? "" : row.text(runs::error_type);
  turn.error_message = row.is_null(runs::error_message) ? "" : row.text(runs::error_message);
  for (const Row& said : run.messages) {
    const MessageView view = view_of(said);
    TurnMessage message;
    message.at = WallTime{view.created_at};
    message.message.id = view.id;
    message.message.role = parse_role(view.role).value_or(Role::assistant);
    message.message.content = view.content;
    message.message.name = view.name;
    message.message.sender_id = view.sender_id;
    message.message.otid = view.otid;
    message.message.step_id = view.step_id.value_or("");
    message.message.reasoning = view.reasoning;
    message.message.tool_calls = view.tool_calls;
    message.message.tool_call_id = view.tool_call_id;
    message.message.is_error = view.is_error;
    message.message.is_approval_request = view.is_approval_request;
    message.message.stdout_lines = view.stdout_lines;
    message.message.stderr_lines = view.stderr_lines;
    turn.messages.push_back(std::move(message));
  }
  return turn;
}

Result<std::vector<Row>> messages_of_run(ViewReader& reader, const std::string& run_id) {
  Query query = open_rows(View::messages, {equal(messages::run_id, run_id)});
  query.open_only = false;
  query.order_by = {kFromOffset, kFromOrdinal};
  return reader.select(query);
}

Result<std::vector<Row>> steps_of_run(ViewReader& reader, const std::string& run_id) {
  Query query = open_rows(View::steps, {equal(steps::run_id, run_id)});
  query.order_by = {kFromOffset, kFromOrdinal};
  return reader.select(query);
}

Result<std::vector<Row>> list_steps(ViewReader& reader, const Page& page,
                                    const std::optional<std::string>& agent,
                                    const std::optional<std::string>& run) {
  Query query = open_rows(View::steps, {});
  if (agent) query.where.push_back(equal(steps::agent_id, *agent));
  if (run) query.where.push_back(equal(steps::run_id, *run));
  query.order_by = {static_cast<int>(steps::created_at), static_cast<int>(steps::id)};
  query.descending = page.descending;
  query.limit = row_limit(page.limit);
  for (const bool after : {true, false}) {
    const auto& cursor = after ? page.after : page.before;
    if (!cursor) continue;
    auto row = find_step(reader, *cursor);
    if (!row) return row.error();
    if (!*row) continue;
    const bool lower = after != page.descending;
    (lower ? query.above : query.below) = creation_of(**row, steps::created_at, steps::id);
  }
  return reader.select(query);
}

Result<std::optional<Row>> find_step(ViewReader& reader, const std::string& id) {
  return first_row(reader, open_rows(View::steps, {equal(steps::id, id)}));
}

std::string render_step(const Row& step) {
  const std::string& handle = step.text(steps::model);
  const std::size_t slash = handle.find('/');
  const std::int64_t prompt = step.integer(steps::prompt_tokens);
  const std::int64_t completion = step.integer(steps::completion_tokens);
  JsonWriter out;
  out.begin_object().field("id", step.text(steps::id)).field_null("origin");
  out.field("organization_id", "org-00000000-0000-4000-8000-000000000000").field_null("provider_id");
  out.field("run_id", step.text(steps::run_id)).field("agent_id", step.text(steps::agent_id));
  out.field("provider_name", "openai").field("provider_category", "base");
  out.field("model", slash == std::string::npos ? handle : handle.substr(slash + 1));
  out.field("model_handle", handle).field("model_endpoint", "");
  out.field_integer("context_window_limit", 128'000).field_integer("completion_tokens", completion);
  out.field_integer("prompt_tokens", prompt).field_integer("total_tokens", prompt + completion);
  for (const char* none : {"cached_input_tokens", "cache_write_tokens", "reasoning_tokens"})
    out.field_null(none);
  out.field_raw("completion_tokens_details", R"({"reasoning_tokens":0})");
  out.field_raw("prompt_tokens_details",
                R"({"cached_tokens":0,"cache_read_tokens":0,"cache_creation_tokens":0})");
  nullable(out, "stop_reason", step, steps::stop_reason);
  out.key("tags").begin_array().end_array();
  for (const char* none : {"tid", "trace_id", "request_id"}) out.field_null(none);
  out.key("messages").begin_array().end_array();
  for (const char* none : {"feedback", "project_id", "error_type", "error_data"}) out.field_null(none);
  out.field("status", "success").end_object();
  return out.take();
}

Result<std::vector<std::string>> all_tags(ViewReader& reader) {
  auto existing = existing_agents(reader);
  if (!existing) return existing.error();
  Query query = open_rows(View::tags, {});
  query.order_by = {static_cast<int>(tags::tag), static_cast<int>(tags::agent_id)};
  std::set<std::string> found;
  for (;;) {
    auto rows = reader.select(query);
    if (!rows) return rows.error();
    for (const Row& row : *rows) {
      if (existing->contains(row.text(tags::agent_id))) found.insert(row.text(tags::tag));
    }
    if (rows->size() < kRowsMax) break;
    query.above = creation_of(rows->back(), tags::tag, tags::agent_id);
  }
  return std::vector<std::string>(found.begin(), found.end());
}

Result<std::vector<Row>> list_all_messages(ViewReader& reader, const Page& page) {
  auto existing = existing_agents(reader);
  if (!existing) return existing.error();
  Query query = open_rows(View::messages, {});
  query.open_only = false;
  query.order_by = {static_cast<int>(messages::created_at), kFromPartition, kFromOffset, kFromOrdinal};
  query.descending = page.descending;
  const auto place = [](const Row& row) {
    return std::vector<Value>{row.values[messages::created_at],
                              static_cast<std::int64_t>(row.from.partition.value()),
                              static_cast<std::int64_t>(row.from.offset.value()), row.from.ordinal};
  };
  for (const bool after : {true, false}) {
    const auto& cursor = after ? page.after : page.before;
    if (!cursor) continue;
    auto row = find_message(reader, *cursor);
    if (!row) return row.error();
    if (!*row) return Error{Errc::not_found, "No message found with id '" + *cursor + "'."};
    (after ? query.above : query.below) = place(**row);
  }
  std::vector<Row> found;
  const std::size_t limit = row_limit(page.limit);
  if (page.limit == 0) return found;
  for (;;) {
    auto rows = reader.select(query);
    if (!rows) return rows.error();
    for (Row& row : *rows) {
      if (found.size() < limit && existing->contains(row.text(messages::agent_id))) found.push_back(row);
    }
    if (rows->size() < kRowsMax || found.size() >= limit) break;
    (page.descending ? query.below : query.above) = place(rows->back());
  }
  if (page.descending) std::reverse(found.begin(), found.end());
  return found;
}

Result<std::optional<Row>> find_message(ViewReader& reader, const std::string& id) {
  Query query = open_rows(View::messages, {equal(messages::id, id)});
  query.open_only = false;
  return first_row(reader, std::move(query));
}

Result<std::vector<std::string>> agents_with_block(ViewReader& reader, const std::string& block_id) {
  auto rows = reader.select(open_rows(View::attachments, {equal(attachments::block_id, block_id)}));
  if (!rows) return rows.error();
  std::vector<std::string> ids;
  for (const Row& row : *rows) ids.push_back(row.text(attachments::agent_id));
  return ids;
}

Result<std::string> render_context(ViewReader& reader, const AgentParts& agent) {
  Query in_context = open_rows(View::messages, {equal(messages::agent_id, agent.agent.text(agents::id))});
  in_context.order_by = {kFromOffset, kFromOrdinal};
  auto rows = reader.select(in_context);
  if (!rows) return rows.error();
  Query all = in_context;
  all.open_only = false;
  auto total = reader.count(all);
  if (!total) return total.error();

  const std::string& system = agent.agent.text(agents::system);
  std::int64_t message_tokens = 0;
  std::int64_t summary_tokens = 0;
  std::string summary;
  JsonWriter listed;
  listed.begin_array();
  for (const Row& row : *rows) {
    const MessageView view = view_of(row);
    Message said;
    said.content = view.content;
    said.reasoning = view.reasoning;
    said.tool_calls = view.tool_calls;
    if (view.role == "summary") {
      summary = text_of(said);
      summary_tokens += tokens_of(said);
    } else {
      message_tokens += tokens_of(said);
    }
    render_message(listed, view, std::nullopt);
  }
  listed.end_array();
  std::int64_t tool_bytes = 0;
  for (const ToolView& tool : agent.tools) tool_bytes += static_cast<std::int64_t>(tool.json.size());
  JsonWriter memory;
  render_memory(memory, agent, true);
  const auto system_tokens = static_cast<std::int64_t>(system.size() / 4);
  const auto memory_tokens = static_cast<std::int64_t>(memory.text().size() / 4);
  const std::int64_t used = message_tokens + summary_tokens + tool_bytes / 4;
  JsonWriter out;
  out.begin_object();
  out.field_integer("context_window_size_max", agent.agent.integer(agents::context_window));
  out.field_integer("context_window_size_current", used);
  out.field_integer("num_messages", static_cast<std::int64_t>(rows->size()));
  out.field_integer("num_archival_memory", 0).field_integer("num_recall_memory", *total);
  out.field_integer("num_tokens_external_memory_summary", 0).field("external_memory_summary", "");
  out.field_integer("num_tokens_system", system_tokens).field("system_prompt", system);
  out.field_integer("num_tokens_core_memory", memory_tokens).field("core_memory", memory.text());
  out.field_integer("num_tokens_summary_memory", summary_tokens);
  if (summary.empty()) {
    out.field_null("summary_memory");
  } else {
    out.field("summary_memory", summary);
  }
  out.field_integer("num_tokens_functions_definitions", tool_bytes / 4).key("functions_definitions");
  out.begin_array();
  for (const ToolView& tool : agent.tools) out.raw(tool.json);
  out.end_array().field_integer("num_tokens_messages", message_tokens).field_raw("messages", listed.text());
  out.end_object();
  return out.take();
}

}  // namespace varve
