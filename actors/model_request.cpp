#include "actors/model_request.h"

#include <algorithm>

#include "actors/memory_tools.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

constexpr std::string_view kCutMark = "\n[cut: longer than 1 MiB]";

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string member_text(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

ModelTool tool_from_schema(const std::string& name, const Json& schema) {
  const Json* parameters = schema.find("parameters");
  const bool fits = parameters != nullptr && parameters->is_object();
  return {name, member_text(schema, "description"),
          fits ? parameters->dump() : R"({"type":"object","properties":{}})"};
}

bool flag_of(const std::string& json, std::string_view key) {
  const auto object = Json::parse(json);
  const Json* found = object ? object->find(key) : nullptr;
  return found != nullptr && found->is_boolean() && found->as_boolean();
}

// What the model is shown of a message of the context; null = nothing.
std::shared_ptr<const Message> shown(const std::shared_ptr<const Message>& message) {
  if (message->role == Role::approval) return nullptr;
  if (message->role != Role::summary) return message;
  auto summary = std::make_shared<Message>(*message);
  summary->role = Role::user;
  summary->content = json_string("[Summary of the conversation so far]\n" + text_of(*message));
  return summary;
}

// Brings `shown_context` up to the agent's context: what was added since the last step, if nothing else
// happened.
void show_context(const AgentState& agent, ShownContext& shown_context) {
  const auto& context = agent.context;
  const std::size_t known = shown_context.count;
  // What leaves a context leaves at its start, and a summary takes its place there.
  const bool goes_on = known > 1 && known <= context.size() && context[1].message == shown_context.first &&
                       context[known - 1].message == shown_context.last;
  if (!goes_on) shown_context = {};
  // The first message is the system message: it goes out compiled anew.
  for (std::size_t i = std::max<std::size_t>(shown_context.count, 1); i < context.size(); ++i) {
    auto message = shown(context[i].message);
    if (!message) continue;
    shown_context.messages.push_back(std::move(message));
    shown_context.tokens += context[i].tokens;
  }
  shown_context.count = context.size();
  shown_context.first = context.size() > 1 ? context[1].message : nullptr;
  shown_context.last = context.size() > 1 ? context.back().message : nullptr;
}

}  // namespace

std::string stored_output(std::string_view output) {
  std::string text = mend_text(output);
  if (text.size() <= kOutputBytesMax) return text;
  text = std::string(prefix_of_text(text, kOutputBytesMax - kCutMark.size()));
  text += kCutMark;
  return text;
}

std::string stored_content(std::string_view output) {
  return json_string(stored_output(output));
}

Json request_of(const AgentState& agent) {
  auto request = Json::parse(agent.turn->request);
  return request && request->is_object() ? std::move(*request) : Json::object();
}

std::string model_of(const AgentState& agent) {
  const Json request = request_of(agent);
  const Json* model = request.find("override_model");
  return model != nullptr && model->is_string() ? model->as_string() : agent.settings.model;
}

bool wants_tokens(const Json& request) {
  const Json* flag = request.find("stream_tokens");
  return flag != nullptr && flag->is_boolean() && flag->as_boolean();
}

std::vector<OfferedTool> tools_offered(const AgentState& agent, const std::vector<ToolValue>& custom,
                                       const Json& request, const ToolRules& rules) {
  std::vector<OfferedTool> offered;
  for (const std::string& ref : agent.settings.tools) {
    if (const ToolSchema* tool = find_builtin_tool(ref)) {
      const ModelTool described{ref, std::string(tool->description), std::string(tool->parameters)};
      offered.push_back({described, rules.approval.contains(ref)});
      continue;
    }
    for (const ToolValue& tool : custom) {
      if (tool.id != ref) continue;
      const auto schema = Json::parse(tool.json_schema);
      ModelTool described = tool_from_schema(tool.name, schema ? *schema : Json::object());
      if (described.description.empty()) described.description = tool.description.value_or("");
      const bool asks =
          flag_of(tool.extra, "default_requires_approval") || rules.approval.contains(tool.name);
      offered.push_back({std::move(described), asks});
    }
  }
  if (const Json* tools = request.find("client_tools"); tools != nullptr && tools->is_array()) {
    for (const Json& tool : tools->items()) {
      offered.push_back({tool_from_schema(member_text(tool, "name"), tool), true});
    }
  }
  return offered;
}

ModelRequest model_request(const AgentState& agent, ShownContext& shown_context,
                           const std::vector<BlockValue>& blocks, const std::vector<OfferedTool>& offered,
                           const ToolRules& rules) {
  ModelRequest request;
  request.model = model_of(agent);
  request.system = compile_prompt(agent.settings, blocks);
  show_context(agent, shown_context);
  request.messages = shown_context.messages;
  request.messages_tokens = shown_context.tokens;
  std::vector<std::string> names;
  for (const OfferedTool& one : offered) names.push_back(one.tool.name);
  const AllowedTools allowed = allowed_tools(rules, tools_called(agent), names);
  for (const OfferedTool& one : offered) {
    const auto& kept = allowed.names;
    if (std::find(kept.begin(), kept.end(), one.tool.name) != kept.end()) request.tools.push_back(one.tool);
  }
  if (allowed.forced) request.tool_choice = allowed.names.size() == 1 ? allowed.names.front() : "required";
  const auto extra = Json::parse(agent.settings.extra);
  const Json* settings = extra ? extra->find("model_settings") : nullptr;
  if (settings != nullptr && settings->is_object()) request.settings = settings->dump();
  return request;
}

void take_reply(RecordReply& record, const ModelReply& reply, const std::vector<OfferedTool>& offered) {
  record.message.role = Role::assistant;
  record.message.content = stored_content(reply.text);
  record.message.reasoning = stored_output(reply.reasoning);
  for (const ToolCall& call : reply.tool_calls) {
    const std::string name = stored_output(call.name);
    record.message.tool_calls.push_back({stored_output(call.id), name, stored_output(call.arguments)});
    const auto waits = [&name](const OfferedTool& one) { return one.needs_client && one.tool.name == name; };
    if (std::any_of(offered.begin(), offered.end(), waits)) record.message.is_approval_request = true;
  }
  record.usage = {reply.prompt_tokens, reply.completion_tokens, 1};
  if (reply.tool_calls.empty()) record.stop_reason = reply.stop_reason;
  if (record.message.is_approval_request) record.stop_reason = "requires_approval";
}

std::vector<std::string> custom_tools(const AgentState& agent) {
  std::vector<std::string> ids;
  for (const std::string& ref : agent.settings.tools) {
    if (ref.starts_with("tool-")) ids.push_back(ref);
  }
  return ids;
}

}  // namespace varve
