#include "actors/sealed_state.h"

#include <algorithm>

#include "eventlog/personal_texts.h"

namespace varve {
namespace {

void visit_agent(AgentState& agent, const OnPersonalText& visit) {
  for_personal_texts(agent.settings, visit);
  agent.context_tokens = 0;
  for (ContextMessage& entry : agent.context) {
    Message message = *entry.message;
    for_personal_texts(message, visit);
    entry.tokens = tokens_of(message);
    agent.context_tokens += entry.tokens;
    entry.message = std::make_shared<const Message>(std::move(message));
  }
  if (agent.turn) visit(TextKind::json, kRequestField, agent.turn->request);
}

void visit_state(ActorState& state, const OnPersonalText& visit) {
  if (auto* agent = std::get_if<AgentState>(&state.body)) visit_agent(*agent, visit);
  if (auto* block = std::get_if<BlockState>(&state.body)) for_personal_texts(block->value, visit);
}

}  // namespace

void seal_state(ActorState& state, const TextSeal& seal) {
  visit_state(state, sealing(seal, "snapshot"));
}

void open_state(ActorState& state, const TextSeal& seal) {
  visit_state(state, opening(seal));
}

void seal_part(Part& part, const TextSeal& seal, const std::string& salt) {
  for (std::size_t i = 0; i < part.events.size(); ++i) {
    auto* event = std::get_if<Event>(&part.events[i]);
    if (event != nullptr) for_personal_texts(*event, sealing(seal, salt + " " + std::to_string(i)));
  }
}

Part opened_part(const Part& part, const TextSeal& seal) {
  Part opened = part;
  const OnPersonalText visit = opening(seal);
  for (StoredEvent& stored : opened.events) {
    if (auto* event = std::get_if<Event>(&stored)) for_personal_texts(*event, visit);
  }
  return opened;
}

bool begins_erasable(const Part& part) {
  return std::any_of(part.events.begin(), part.events.end(), [](const StoredEvent& stored) {
    const auto* event = std::get_if<Event>(&stored);
    return event != nullptr && begins_erasable(*event);
  });
}

const AgentErased* erasure_in(const Part& part) {
  for (const StoredEvent& stored : part.events) {
    const auto* event = std::get_if<Event>(&stored);
    const auto* erased = event == nullptr ? nullptr : std::get_if<AgentErased>(event);
    if (erased != nullptr) return erased;
  }
  return nullptr;
}

}  // namespace varve
