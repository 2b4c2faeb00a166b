// Routes of agent files: POST /v1/agents/import and GET /v1/agents/{agent_id}/export.
//
// An import is a series of commands with ids that derive from the request's: first the tools, to the
// catalogue, then one import per agent, which nobody sees before it is sealed. The same request with the same
// key sends them all again, and those that took effect change nothing: so it goes on where it stopped.
#include <algorithm>
#include <map>
#include <set>

#include "actors/catalogue.h"
#include "actors/memory_tools.h"
#include "api/agent_file.h"
#include "api/api.h"
#include "api/http_status.h"
#include "api/multipart.h"
#include "runtime/suspend.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

constexpr Duration kImportTime{std::chrono::minutes{10}};
constexpr Duration kImportViewWait{std::chrono::minutes{2}};
constexpr std::size_t kExportPage = 1'000;

// An upload taken apart.
struct Upload {
  AgentFile file;
  ImportOptions options;
  CommandHash hash;
};

Error form_error(std::string_view field, std::string what) {
  return {Errc::invalid_argument, "form." + std::string(field) + ": " + std::move(what)};
}

// A field of the form; the query answers for what the form leaves out.
std::optional<std::string> field_of(const std::vector<FormPart>& parts, const Target& target,
                                    std::string_view name) {
  const FormPart* part = find_part(parts, name);
  auto value =
      part != nullptr ? std::optional<std::string>{std::string(part->text)} : query_value(target, name);
  if (value && value->empty()) value.reset();
  return value;
}

Result<bool> flag_of(const std::vector<FormPart>& parts, const Target& target, std::string_view name,
                     bool otherwise) {
  const auto value = field_of(parts, target, name);
  if (!value) return otherwise;
  for (const char* yes : {"true", "True", "1"}) {
    if (*value == yes) return true;
  }
  for (const char* no : {"false", "False", "0"}) {
    if (*value == no) return false;
  }
  return form_error(name, "expected true or false, got '" + value->substr(0, 100) + "'");
}

Result<ImportOptions> options_of(const std::vector<FormPart>& parts, const Target& target) {
  ImportOptions options;
  for (const auto& [name, flag] : {std::pair{"append_copy_suffix", &ImportOptions::append_copy_suffix},
                                   {"override_existing_tools", &ImportOptions::override_existing_tools},
                                   {"strip_messages", &ImportOptions::strip_messages},
                                   {"erasable", &ImportOptions::erasable}}) {
    const auto value = flag_of(parts, target, name, options.*flag);
    if (!value) return value.error();
    options.*flag = *value;
  }
  for (const auto& [name, text] : {std::pair{"override_name", &ImportOptions::name},
                                   {"name", &ImportOptions::name},
                                   {"override_model_handle", &ImportOptions::model},
                                   {"model", &ImportOptions::model},
                                   {"override_embedding_handle", &ImportOptions::embedding},
                                   {"embedding", &ImportOptions::embedding}}) {
    auto value = field_of(parts, target, name);
    if (!value) continue;
    if (!is_text(*value)) return form_error(name, "must be well-formed UTF-8 without U+0000");
    options.*text = std::move(value);
  }
  for (const char* name : {"secrets", "env_vars_json"}) {
    const auto value = field_of(parts, target, name);
    if (value && *value != "{}" && *value != "null") {
      return form_error(name, "secrets cannot be kept safely yet; leave the field out");
    }
  }
  return options;
}

Result<Upload> take_apart(const std::string& content_type, const std::string& body, const Target& target) {
  const auto parts = parse_multipart(content_type, body);
  if (!parts) return parts.error();
  const FormPart* file = find_part(*parts, "file");
  if (file == nullptr) return form_error("file", "field required: the agent file");
  Upload upload;
  auto options = options_of(*parts, target);
  if (!options) return options.error();
  upload.options = std::move(*options);
  // Not over the body itself: its boundary is another one in every request.
  std::string canonical;
  for (const FormPart& part : *parts) {
    canonical += part.name + " " + std::to_string(part.text.size()) + " ";
    canonical += to_hex(command_hash(part.name, part.text)) + "\n";
  }
  upload.hash = command_hash("POST /v1/agents/import", canonical);
  auto parsed = parse_agent_file(file->text);
  if (!parsed) return parsed.error();
  upload.file = std::move(*parsed);
  return upload;
}

CommandId part_id(const CommandId& request, const std::string& part) {
  return command_id_from_text("import " + to_hex(request) + " " + part);
}

// The agents that are whole, for an error that ends an import of several.
Response import_failed(const Error& error, bool keyless, const std::vector<std::string>& whole) {
  if (whole.empty()) return error_response(error, keyless);
  std::string named;
  for (const std::string& id : whole) named += (named.empty() ? "" : ", ") + id;
  return error_response({error.code, error.message + "; imported before that: " + named}, keyless);
}

Response import_answer(const std::vector<std::string>& agents, const std::vector<ReplacedModel>& replaced) {
  JsonWriter out;
  out.begin_object().key("agent_ids").begin_array();
  for (const std::string& id : agents) out.string(id);
  out.end_array();
  if (!replaced.empty()) {
    out.key("replaced_models").begin_array();
    for (const ReplacedModel& one : replaced) {
      out.begin_object().field("agent", one.agent).field("model", one.model);
      out.field("used", one.used).end_object();
    }
    out.end_array();
  }
  out.end_object();
  return json_response(out.take());
}

// ---- export ----

Query rows_where(View view, std::size_t column, std::vector<Value> values) {
  Query query;
  query.view = view;
  query.where.push_back({static_cast<int>(column), Filter::Op::one_of, std::move(values)});
  return query;
}

// Every message, in the context or not, oldest first, a page at a time.
Status add_messages(ViewReader& reader, const std::string& agent, AgentFileWriter& writer) {
  Query query = rows_where(View::messages, messages::agent_id, {Value{agent}});
  query.open_only = false;
  query.order_by = {kFromOffset, kFromOrdinal};
  query.limit = kExportPage;
  for (;;) {
    const auto rows = reader.select(query);
    if (!rows) return rows.error();
    for (const Row& row : *rows) writer.add_message(row);
    if (rows->size() < kExportPage) return ok();
    const RowFrom& last = rows->back().from;
    query.above =
        std::vector<Value>{Value{static_cast<std::int64_t>(last.offset.value())}, Value{last.ordinal}};
  }
}

Result<std::optional<std::string>> render_export(ViewReader& reader, const std::string& id, WallTime now) {
  auto agent = find_agent(reader, id, {});
  if (!agent) return agent.error();
  if (!*agent) return std::optional<std::string>{};
  ExportedAgent exported{std::move((*agent)->agent), std::move((*agent)->blocks), {}};
  std::vector<Value> references;
  const auto listed = Json::parse(exported.agent.text(agents::tools));
  for (const Json& reference : listed ? listed->items() : std::vector<Json>{}) {
    if (reference.is_string()) references.emplace_back(reference.as_string());
  }
  if (!references.empty()) {
    auto rows = reader.select(rows_where(View::tools, tools::id, std::move(references)));
    if (!rows) return rows.error();
    exported.tools = std::move(*rows);
  }
  AgentFileWriter writer(std::move(exported));
  if (Status added = add_messages(reader, id, writer); !added) return added.error();
  return std::optional<std::string>{writer.finish(now)};
}

}  // namespace

// Errc::unavailable and the like may leave the import half done; the same commands go on with it.
Task<CommandAnswer> Api::send_part(CommandRef whole, std::string part, StreamId stream, Command command,
                                   MonoTime deadline) {
  CommandEnvelope envelope{
      {part_id(whole.id, part), whole.hash, false, whole.request_id}, std::move(stream), std::move(command)};
  const CallLimits limits{deadline};
  return ports_.sender.send(std::move(envelope), limits);
}

Task<Api::ImportedTools> Api::import_tools(CommandRef whole, std::vector<ToolValue> tools, bool replace,
                                           MonoTime deadline) {
  ImportedTools imported;
  std::map<std::string, std::string>& ids = imported.ids;
  if (tools.empty()) co_return imported;
  const StreamId catalogue{kCatalogueStream};
  ReadTools question;
  for (const ToolValue& tool : tools) question.names.push_back(tool.name);
  if (!replace) {
    auto known = co_await send_part(whole, "known tools", catalogue, question, deadline);
    if (!known) co_return known.error();
    for (const ToolValue& tool : known->tools) ids[tool.name] = tool.id;
  }
  for (std::size_t i = 0; i < tools.size(); ++i) {
    if (ids.contains(tools[i].name)) continue;
    const std::string part = "tool " + std::to_string(i);
    Command put = PutTool{tools[i]};
    auto answer = co_await send_part(whole, part, catalogue, std::move(put), deadline);
    if (!answer) co_return answer.error();
    for (const ToolValue& tool : answer->tools) ids[tool.name] = tool.id;
    for (const LogPosition& position : answer->positions) merge_position(imported.positions, position);
  }
  co_return imported;
}

Task<std::vector<LogPosition>> Api::import_agent(CommandRef whole, std::size_t number, ImportedAgent agent,
                                                 MonoTime deadline) {
  const std::string part = "agent " + std::to_string(number);
  const StreamId stream{"agent-" + derived_uuid(whole.id, "agent", number)};
  BeginImport begin;
  begin.system_message = lacks_system_message(agent);
  std::vector<AppendImport> records = records_of(agent);
  begin.settings = std::move(agent.settings);
  begin.new_blocks = std::move(agent.blocks);
  begin.records = static_cast<std::int64_t>(records.size());
  begin.hash = to_hex(whole.hash);
  begin.origin = agent.origin;
  begin.origin_cut = agent.origin_cut;
  begin.erasable = agent.erasable;
  Command first = std::move(begin);
  auto answer = co_await send_part(whole, part, stream, std::move(first), deadline);
  if (!answer) co_return answer.error();
  for (AppendImport& record : records) {
    const std::string here = part + " record " + std::to_string(record.ordinal);
    Command append = std::move(record);
    answer = co_await send_part(whole, here, stream, std::move(append), deadline);
    if (!answer) co_return answer.error();
  }
  Command seal = SealImport{};
  answer = co_await send_part(whole, part + " seal", stream, std::move(seal), deadline);
  if (!answer) co_return answer.error();
  co_return std::move(answer->positions);
}

Api::Answer Api::import_agents(Call call) {
  if (!call.request.header("x-stainless-timeout")) call.deadline = env_.now() + kImportTime;
  const auto body = std::make_shared<std::string>(std::move(call.request.body));
  const std::string content_type = call.request.header("content-type").value_or("");
  std::function<Result<Upload>()> work = [body, content_type, target = call.target] {
    auto upload = take_apart(content_type, *body, target);
    body->clear();
    body->shrink_to_fit();
    return upload;
  };
  auto upload = co_await offload(env_, Lane::read, std::move(work));
  if (!upload) {
    Response refused = error_response(upload.error(), call.keyless);
    co_return refused;
  }
  const auto replaced = apply_options(upload->file, upload->options, options_.models);
  if (!replaced) {
    Response refused = error_response(replaced.error(), call.keyless);
    co_return refused;
  }
  call.command.hash = upload->hash;
  const bool ack_log = query_value(call.target, "ack") == "log";
  for (std::size_t i = 0; ack_log && i < upload->file.agents.size(); ++i) {
    // Before anything is written, so that no import stops half way for it.
    const StreamId stream{"agent-" + derived_uuid(call.command.id, "agent", i)};
    const Partition partition = partition_of(stream, options_.partitions);
    Status follow = co_await ports_.lag.check(partition, options_.ack_log_lag_records);
    if (follow) continue;
    Response refused = error_response(follow.error(), call.keyless);
    co_return refused;
  }
  auto tools = co_await import_tools(call.command, std::move(upload->file.tools),
                                     upload->options.override_existing_tools, call.deadline);
  if (!tools) {
    Response refused = error_response(tools.error(), call.keyless);
    co_return refused;
  }
  std::vector<std::string> whole;
  const std::map<std::string, std::string>& ids = tools->ids;
  std::vector<LogPosition> positions = tools->positions;
  std::vector<ImportedAgent> agents = std::move(upload->file.agents);
  for (std::size_t i = 0; i < agents.size(); ++i) {
    for (const std::string& name : agents[i].tool_names) {
      const auto id = ids.find(name);
      const bool built_in = find_builtin_tool(name) != nullptr;
      if (built_in || id != ids.end()) agents[i].settings.tools.push_back(built_in ? name : id->second);
    }
    auto imported = co_await import_agent(call.command, i, std::move(agents[i]), call.deadline);
    if (!imported) {
      Response refused = import_failed(imported.error(), call.keyless, whole);
      co_return refused;
    }
    for (const LogPosition& position : *imported) merge_position(positions, position);
    whole.push_back("agent-" + derived_uuid(call.command.id, "agent", i));
  }
  Response response = import_answer(whole, *replaced);
  const StreamId first{whole.front()};
  // Much was written at once: the views may need longer than after one command. settle_at() says the outcome.
  const MonoTime patience = std::min(call.deadline, env_.now() + kImportViewWait);
  if (!ack_log) co_await ports_.progress.wait_for(positions, patience);
  Headers headers = co_await settle_at(first, std::move(positions), ack_log, call.deadline);
  response.headers.merge(headers);
  co_return response;
}

Api::Answer Api::export_agent(Call call) {
  if (query_value(call.target, "use_legacy_format") == "true") {
    co_return detail_response(400, "query.use_legacy_format: the older format is read, not written");
  }
  const std::string id = call.ids[0];
  Render render = [id, now = env_.wall_now()](ViewReader& reader) { return render_export(reader, id, now); };
  Response response =
      co_await answer_read(std::move(call), std::move(render), "Agent with ID " + id + " not found");
  co_return response;
}

}  // namespace varve
