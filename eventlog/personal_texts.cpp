#include "eventlog/personal_texts.h"

#include <utility>

namespace varve {
namespace {

void visit_if(const OnPersonalText& visit, TextKind kind, std::string_view field,
              std::optional<std::string>& text) {
  if (text) visit(kind, field, *text);
}

struct Texts {
  const OnPersonalText& visit;

  void of(std::vector<Message>& messages) const {
    for (Message& message : messages) for_personal_texts(message, visit);
  }
  void request(std::string& json) const { visit(TextKind::json, kRequestField, json); }

  void operator()(AgentCreated& event) const {
    for_personal_texts(event.settings, visit);
    of(event.messages);
  }
  void operator()(AgentUpdated& event) const { for_personal_texts(event.settings, visit); }
  void operator()(ContextSummarized& event) const { for_personal_texts(event.summary, visit); }
  void operator()(UserMessageReceived& event) const {
    of(event.messages);
    request(event.request);
  }
  void operator()(AssistantReplied& event) const { for_personal_texts(event.message, visit); }
  void operator()(ToolReturned& event) const { for_personal_texts(event.message, visit); }
  void operator()(TurnFinished& event) const { request(event.request); }
  void operator()(TurnFailed& event) const {
    visit(TextKind::text, "runs.error_message", event.message);
    request(event.request);
  }
  void operator()(TurnCancelled& event) const { request(event.request); }
  void operator()(MessagesImported& event) const { of(event.messages); }
  void operator()(BlockCreated& event) const { for_personal_texts(event.block, visit); }
  void operator()(BlockUpdated& event) const { for_personal_texts(event.block, visit); }

  void operator()(AgentDeleted& /*event*/) const {}
  void operator()(AgentErased& /*event*/) const {}
  void operator()(AgentMoved& /*event*/) const {}
  void operator()(AgentForked& /*event*/) const {}
  void operator()(BlockAttached& /*event*/) const {}  // A label is a name of a field, as "human" is.
  void operator()(BlockDetached& /*event*/) const {}
  void operator()(BlockDeleted& /*event*/) const {}
  void operator()(ContextTrimmed& /*event*/) const {}
  void operator()(TurnResumed& /*event*/) const {}
  void operator()(TurnHandedOver& /*event*/) const {}
  void operator()(ImportBegun& /*event*/) const {}
  void operator()(ImportSealed& /*event*/) const {}
  // Tools are shared by all agents, and an erasable agent is not carried to other servers.
  void operator()(ToolCreated& /*event*/) const {}
  void operator()(ToolUpdated& /*event*/) const {}
  void operator()(ToolDeleted& /*event*/) const {}
  void operator()(EventTeleported& /*event*/) const {}
  void operator()(TeleportSealed& /*event*/) const {}
};

}  // namespace

void for_personal_texts(AgentSettings& settings, const OnPersonalText& visit) {
  visit(TextKind::text, "agents.name", settings.name);
  visit_if(visit, TextKind::text, "agents.description", settings.description);
  visit(TextKind::text, "agents.system", settings.system);
  visit(TextKind::json, "agents.metadata", settings.metadata);
  visit(TextKind::json, "agents.extra", settings.extra);
}

void for_personal_texts(BlockValue& block, const OnPersonalText& visit) {
  visit(TextKind::text, "blocks.value", block.value);
  visit_if(visit, TextKind::text, "blocks.description", block.description);
  visit(TextKind::json, "blocks.metadata", block.metadata);
  visit(TextKind::json, "blocks.extra", block.extra);
}

void for_personal_texts(Message& message, const OnPersonalText& visit) {
  visit(TextKind::json, "messages.content", message.content);
  visit_if(visit, TextKind::text, "messages.name", message.name);
  for (ToolCall& call : message.tool_calls) visit(TextKind::text, "messages.tool_calls", call.arguments);
  visit(TextKind::text, "messages.reasoning", message.reasoning);
  visit(TextKind::json, "messages.stdout_lines", message.stdout_lines);
  visit(TextKind::json, "messages.stderr_lines", message.stderr_lines);
  visit(TextKind::json, "messages.extra", message.extra);
}

void for_personal_texts(Event& event, const OnPersonalText& visit) {
  std::visit(Texts{visit}, event);
}

OnPersonalText sealing(const TextSeal& seal, std::string salt) {
  return [seal, salt = std::move(salt)](TextKind kind, std::string_view field, std::string& text) {
    text = seal.seal(kind, field, salt, text);
  };
}

OnPersonalText opening(const TextSeal& seal) {
  return [seal](TextKind kind, std::string_view field, std::string& text) {
    if (auto opened = seal.open(kind, field, text)) text = std::move(*opened);
  };
}

bool begins_erasable(const Event& event) {
  if (const auto* agent = std::get_if<AgentCreated>(&event)) return agent->erasable;
  if (const auto* block = std::get_if<BlockCreated>(&event)) return block->erasable;
  return false;
}

}  // namespace varve
