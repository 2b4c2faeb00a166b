#include "actors/agent_approvals.h"

#include <algorithm>

namespace varve {
namespace {

std::string member_text(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

// The decisions of an approval message: {"approvals":[..]}.
std::vector<Json> decisions_of(const Message& approval) {
  const auto content = Json::parse(approval.content);
  const Json* listed = content ? content->find("approvals") : nullptr;
  return listed != nullptr ? listed->items() : std::vector<Json>{};
}

const ToolCall* call_of(const Message& waiting, const std::string& id) {
  const auto same = [&id](const ToolCall& call) { return call.id == id; };
  const auto found = std::find_if(waiting.tool_calls.begin(), waiting.tool_calls.end(), same);
  return found == waiting.tool_calls.end() ? nullptr : &*found;
}

bool is_return(const Json& decision) {
  return member_text(decision, "type") == "tool";
}

bool is_approval(const Json& decision) {
  const Json* approve = decision.find("approve");
  return approve != nullptr && approve->is_boolean() && approve->as_boolean();
}

std::string lines_of(const Json& decision, std::string_view key) {
  const Json* found = decision.find(key);
  return found != nullptr && found->is_array() && !found->items().empty() ? found->dump() : "";
}

Message answer_to(const ToolCall& call, const Message& waiting, const Json& decision) {
  Message message;
  message.role = Role::tool;
  message.tool_call_id = call.id;
  message.step_id = waiting.step_id;
  message.content.clear();
  if (is_return(decision)) {
    const Json* text = decision.find("tool_return");
    const bool plain = text != nullptr && text->is_string();
    append_json_string(message.content, plain ? text->as_string() : (text != nullptr ? text->dump() : ""));
    message.is_error = member_text(decision, "status") == "error";
    message.stdout_lines = lines_of(decision, "stdout");
    message.stderr_lines = lines_of(decision, "stderr");
    return message;
  }
  const std::string reason = member_text(decision, "reason");
  append_json_string(message.content, "Error: request to call tool denied." +
                                          (reason.empty() ? std::string() : " User reason: " + reason));
  message.is_error = true;
  return message;
}

}  // namespace

Status take_approvals(const Message& waiting, std::vector<Message>& messages) {
  std::vector<Message> returns;
  std::set<std::string> seen;
  for (const Message& message : messages) {
    if (message.role != Role::approval) continue;
    for (const Json& decision : decisions_of(message)) {
      const std::string id = member_text(decision, "tool_call_id");
      const ToolCall* call = call_of(waiting, id);
      if (call == nullptr) {
        return Error{Errc::invalid_argument, "no tool call '" + id + "' waits for approval; " + waiting.id +
                                                 " waits with '" + waiting.tool_calls.front().id + "'"};
      }
      if (!seen.insert(id).second) {
        return Error{Errc::invalid_argument, "the tool call '" + id + "' is decided twice"};
      }
      if (is_return(decision) || !is_approval(decision))
        returns.push_back(answer_to(*call, waiting, decision));
    }
  }
  messages.insert(messages.begin(), std::make_move_iterator(returns.begin()),
                  std::make_move_iterator(returns.end()));
  return ok();
}

std::set<std::string> approved_calls(const Message& waiting, const Message& approval) {
  std::set<std::string> approved;
  for (const ToolCall& call : waiting.tool_calls) approved.insert(call.id);
  for (const Json& decision : decisions_of(approval)) {
    if (is_return(decision) || !is_approval(decision)) approved.erase(member_text(decision, "tool_call_id"));
  }
  return approved;
}

}  // namespace varve
