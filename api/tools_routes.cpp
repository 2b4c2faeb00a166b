// Routes of tools: the catalogue, and which of them an agent has.
#include <algorithm>

#include "actors/catalogue.h"
#include "actors/memory_tools.h"
#include "api/api.h"
#include "api/body_reader.h"
#include "api/http_status.h"
#include "api/more_queries.h"
#include "api/python_tool.h"

namespace varve {
namespace {

const StreamId kCatalogue{kCatalogueStream};

std::string rendered(const std::vector<ToolView>& tools) {
  JsonWriter out;
  out.begin_array();
  for (const ToolView& tool : tools) out.raw(tool.json);
  out.end_array();
  return out.take();
}

std::string tool_not_found(const std::string& id) {
  return "Tool not found with id='" + id + "'";
}

const ToolSchema* builtin_with_id(const std::string& id) {
  for (const ToolSchema& tool : builtin_tools()) {
    if (builtin_tool_id(tool.name) == id) return &tool;
  }
  return nullptr;
}

// Members that are kept with a tool and returned.
bool is_kept_tool_field(std::string_view name) {
  return name == "args_json_schema" || name == "pip_requirements" || name == "npm_requirements" ||
         name == "default_requires_approval" || name == "enable_parallel_execution" || name == "metadata_";
}

void read_tool_types(BodyReader& reader) {
  reader.boolean("default_requires_approval");
  reader.boolean("enable_parallel_execution");
  for (const char* list : {"pip_requirements", "npm_requirements"}) reader.list(list);
  reader.object("args_json_schema");
  const auto limit = reader.integer("return_char_limit");
  if (limit && (*limit < 1 || *limit > 1'000'000)) {
    reader.fail({422, "body.return_char_limit: must be 1 to 1000000"});
  }
}

// The schema: as given, else read from the source.
std::optional<Json> schema_in(BodyReader& reader, const std::string& source) {
  if (reader.object("json_schema")) return *reader.find("json_schema");
  auto derived = schema_of_python(source);
  if (derived) return std::move(*derived);
  reader.fail({400, derived.error().message});
  return std::nullopt;
}

Parsed<PutTool> parse_put_tool(const Json& body) {
  BodyReader reader(body, "body");
  PutTool command;
  ToolValue& tool = command.tool;
  if (auto source = reader.text("source_code")) {
    tool.source_code = std::move(*source);
  } else {
    reader.missing("source_code");
  }
  tool.source_type = reader.text("source_type").value_or("json");
  tool.description = reader.text("description");
  tool.tags = each_once(reader.texts("tags").value_or(std::vector<std::string>{}));
  tool.return_char_limit = reader.integer("return_char_limit").value_or(tool.return_char_limit);
  read_tool_types(reader);
  Json extra = kept_fields(body, is_kept_tool_field);
  // Tells clients whether a source is the one that they have.
  const Json* metadata = extra.find("metadata_");
  Json marked = metadata != nullptr && metadata->is_object() ? *metadata : Json::object();
  marked.set("tool_hash", Json::string(to_hex(command_id_from_text(tool.source_code + "||")).substr(0, 12)));
  extra.set("metadata_", std::move(marked));
  tool.extra = extra.dump();
  if (reader.error()) return {std::nullopt, *reader.error()};
  if (const auto schema = schema_in(reader, tool.source_code)) {
    tool.json_schema = schema->dump();
    const Json* name = schema->find("name");
    if (name == nullptr || !name->is_string() || name->as_string().empty()) {
      reader.fail({400, "body.json_schema.name: the tool has no name"});
    } else {
      tool.name = name->as_string();
    }
    const Json* description = schema->find("description");
    if (!tool.description && description != nullptr && description->is_string()) {
      tool.description = description->as_string();
    }
  }
  return parsed(std::move(command), reader);
}

Parsed<UpdateTool> parse_update_tool(const Json& body, const std::string& id) {
  BodyReader reader(body, "body");
  Json patch = Json::object();
  for (const char* key : {"description", "source_type", "source_code"}) {
    if (auto text = reader.text(key)) patch.set(key, Json::string(std::move(*text)));
  }
  if (reader.texts("tags")) patch.set("tags", *reader.find("tags"));
  if (const auto limit = reader.integer("return_char_limit"))
    patch.set("return_char_limit", Json::integer(*limit));
  read_tool_types(reader);
  if (!reader.error() && (reader.find("json_schema") != nullptr || patch.find("source_code") != nullptr)) {
    const Json* source = patch.find("source_code");
    if (const auto schema = schema_in(reader, source != nullptr ? source->as_string() : "")) {
      patch.set("json_schema", *schema);
      const Json* name = schema->find("name");
      if (name != nullptr && name->is_string()) patch.set("name", *name);
    }
  }
  patch.set("extra", kept_fields(body, is_kept_tool_field));
  return parsed(UpdateTool{id, patch.dump()}, reader);
}

}  // namespace

Task<std::vector<ToolValue>> Api::tools_named_in(Json body, MonoTime deadline) {
  ReadTools question;
  const auto collect = [&body](std::string_view key, std::vector<std::string>& into) {
    const Json* listed = body.find(key);
    if (listed == nullptr || !listed->is_array()) return;
    for (const Json& item : listed->items()) {
      if (item.is_string()) into.push_back(item.as_string());
    }
  };
  collect("tools", question.names);
  collect("tool_ids", question.ids);
  std::erase_if(question.names, [](const std::string& name) { return find_builtin_tool(name) != nullptr; });
  std::erase_if(question.ids, [](const std::string& id) { return builtin_with_id(id) != nullptr; });
  std::vector<ToolValue> none;
  if (question.names.empty() && question.ids.empty()) co_return none;
  CommandEnvelope envelope{{}, kCatalogue, std::move(question)};
  CallLimits limits{deadline};
  auto answer = co_await ports_.sender.send(std::move(envelope), limits);
  if (!answer) co_return answer.error();
  co_return std::move(answer->tools);
}

Api::Answer Api::list_tools(Call call) {
  const auto page = parse_page(call.target, 50, true);
  if (!page.value) co_return refusal(page.error);
  ToolFilter filter;
  filter.names = query_values(call.target, "names");
  if (const auto name = query_value(call.target, "name")) filter.names.push_back(*name);
  filter.ids = query_values(call.target, "tool_ids");
  filter.search = query_value(call.target, "search");
  filter.types = query_values(call.target, "tool_types");
  filter.not_types = query_values(call.target, "exclude_tool_types");
  filter.only_builtin = query_value(call.target, "return_only_letta_tools").value_or("") == "true";
  Render render = [page = *page.value, filter](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto tools = varve::list_tools(reader, page, filter);
    if (!tools) return tools.error();
    return std::optional<std::string>{rendered(*tools)};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::count_tools(Call call) {
  Render render = [](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto tools = varve::list_tools(reader, Page{0, true, std::nullopt, std::nullopt}, {});
    if (!tools) return tools.error();
    return std::optional<std::string>{std::to_string(tools->size())};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::get_tool(Call call) {
  const std::string id = call.ids[0];
  Render render = [id](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto tool = find_tool(reader, id);
    if (!tool) return tool.error();
    if (!*tool) return std::optional<std::string>{};
    return std::optional<std::string>{(*tool)->json};
  };
  co_return co_await answer_read(std::move(call), std::move(render), tool_not_found(id));
}

// POST and PUT: the tool of a name is made, or gets this value.
Api::Answer Api::put_tool(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return refusal(body.error);
  auto parsed = parse_put_tool(*body.value);
  if (!parsed.value) co_return refusal(parsed.error);
  const std::string name = parsed.value->tool.name;
  auto answer = co_await send(call, kCatalogue, std::move(*parsed.value));
  if (!answer) co_return error_response(answer.error(), call.keyless);
  if (answer->tools.empty()) {
    // A retry: it has taken effect before.
    CommandEnvelope question{{}, kCatalogue, ReadTools{{}, {name}}};
    CallLimits limits{call.deadline};
    auto now = co_await ports_.sender.send(std::move(question), limits);
    if (!now) co_return error_response(now.error(), call.keyless);
    answer->tools = std::move(now->tools);
  }
  Response response = json_response(answer->tools.empty() ? "null" : tool_view(answer->tools.front()).json);
  Headers headers = co_await settle(*answer, call);
  response.headers.merge(headers);
  co_return response;
}

Api::Answer Api::update_tool(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return refusal(body.error);
  const std::string id = call.ids[0];
  if (builtin_with_id(id) != nullptr) co_return detail_response(400, "a built-in tool cannot be changed");
  auto parsed = parse_update_tool(*body.value, id);
  if (!parsed.value) co_return refusal(parsed.error);
  auto answer = co_await send(call, kCatalogue, std::move(*parsed.value));
  if (!answer) co_return error_response(answer.error(), call.keyless);
  Render render = [id](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto tool = find_tool(reader, id);
    if (!tool) return tool.error();
    if (!*tool) return std::optional<std::string>{};
    return std::optional<std::string>{(*tool)->json};
  };
  co_return co_await answer_write(std::move(call), std::move(*answer), std::move(render), OwnRows::are_all);
}

Api::Answer Api::delete_tool(Call call) {
  const std::string id = call.ids[0];
  if (builtin_with_id(id) != nullptr) co_return detail_response(400, "a built-in tool cannot be deleted");
  Command deletion = DeleteTool{id};
  auto answer = co_await send(call, kCatalogue, std::move(deletion));
  if (!answer && answer.error().code == Errc::not_found) {
    co_return detail_response(404, answer.error().message);
  }
  if (!answer) co_return error_response(answer.error(), call.keyless);
  Response response = json_response("null");
  Headers headers = co_await settle(*answer, call);
  response.headers.merge(headers);
  co_return response;
}

Api::Answer Api::search_tools(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return refusal(body.error);
  BodyReader reader(*body.value, "body");
  ToolFilter filter;
  filter.search = reader.text("query");
  filter.types = reader.texts("tool_types").value_or(std::vector<std::string>{});
  const std::int64_t limit = reader.integer("limit").value_or(50);
  if (limit < 1 || limit > 100) reader.fail({422, "body.limit: must be 1 to 100"});
  if (reader.error()) co_return refusal(*reader.error());
  Render render = [filter, limit](ViewReader& views) -> Result<std::optional<std::string>> {
    auto tools = varve::list_tools(views, Page{limit, true, std::nullopt, std::nullopt}, filter);
    if (!tools) return tools.error();
    JsonWriter out;
    out.begin_array();
    for (const ToolView& tool : *tools) {
      out.begin_object().field_raw("tool", tool.json).field_null("embedded_text").field_null("fts_rank");
      out.field_null("vector_rank").field_raw("combined_score", "1.0").end_object();
    }
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::list_agent_tools(Call call) {
  const auto page = parse_page(call.target, 10, true);
  if (!page.value) co_return refusal(page.error);
  const std::string id = call.ids[0];
  Render render = [id, page = *page.value](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto agent = find_agent(reader, id, {false, false, true});
    if (!agent) return agent.error();
    if (!*agent) return std::optional<std::string>{};
    return std::optional<std::string>{rendered(page_of_tools(std::move((*agent)->tools), page))};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "Agent with ID " + id + " not found");
}

Api::Answer Api::attach_tool(Call call) {
  co_return co_await change_tools(std::move(call), true);
}
Api::Answer Api::detach_tool(Call call) {
  co_return co_await change_tools(std::move(call), false);
}

Api::Answer Api::change_tools(Call call, bool attach) {
  const std::string tool_id = call.ids[1];
  const ToolSchema* builtin = builtin_with_id(tool_id);
  if (builtin == nullptr && attach) {
    CommandEnvelope question{{}, kCatalogue, ReadTools{{tool_id}, {}}};
    CallLimits limits{call.deadline};
    auto known = co_await ports_.sender.send(std::move(question), limits);
    if (!known) co_return error_response(known.error(), call.keyless);
    if (known->tools.empty()) co_return detail_response(404, tool_not_found(tool_id));
  }
  std::vector<std::string> changed{builtin != nullptr ? std::string(builtin->name) : tool_id};
  ChangeTools command;
  (attach ? command.attach : command.detach) = std::move(changed);
  auto answer = co_await send(call, StreamId{call.ids[0]}, std::move(command));
  if (!answer) co_return error_response(answer.error(), call.keyless);
  const bool whole = !is_sdk_client(call.request);
  co_return co_await agent_after(std::move(call), std::move(*answer), whole);
}

}  // namespace varve
