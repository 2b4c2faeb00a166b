// Teleporter: what it compares, and what it tells the history of the cluster's clients.
#include "actors/agent_teleport.h"
#include "sim/shown.h"
#include "sim/teleporter.h"

namespace varve::sim {
namespace {

// What users have said, in order.
void note_texts(const std::vector<Message>& messages, Texts& texts) {
  for (const Message& message : messages) {
    if (message.role == Role::user) texts.push_back(text_of(message));
  }
}
void note_texts(const Event& event, Texts& texts) {
  if (const auto* created = std::get_if<AgentCreated>(&event)) note_texts(created->messages, texts);
  if (const auto* received = std::get_if<UserMessageReceived>(&event)) note_texts(received->messages, texts);
  if (const auto* imported = std::get_if<MessagesImported>(&event)) note_texts(imported->messages, texts);
}

}  // namespace

Task<Teleporter::Shown> Teleporter::shown(Where where, std::string agent, std::string cut) {
  const std::string past = cut.empty() ? "" : "&as_of=" + percent_encoded(cut);
  auto found = co_await get(where, "/v1/agents/" + agent + "?include=agent.blocks" + past);
  if (!found) co_return found.error();
  auto listed = co_await get(where, "/v1/agents/" + agent + "/messages?limit=1000&order=asc" + past);
  if (!listed) co_return listed.error();
  Shown shown;
  shown.status = std::max(found->status, listed->status);
  shown.answered = found->end == Exchange::End::whole && listed->end == Exchange::End::whole &&
                   shown.status < 500 && shown.status != 429 && !found->header("varve-view") &&
                   !listed->header("varve-view");
  const auto body = Json::parse(found->body);
  const auto messages = Json::parse(listed->body);
  if (shown.status != 200 || !body || !messages) co_return shown;
  shown.text = "name=" + member_text(*body, "name") + "\n" + shown_agent(*body) + shown_messages(*messages);
  co_return shown;
}

Task<> Teleporter::compare(TeleportPlan plan, Where where) {
  if (site_.views_go_back) co_return ok();
  for (const ArchiveStream& one : plan.archive->streams) {
    if (!one.stream.value().starts_with("agent-")) continue;
    auto then = co_await shown(Where::here, one.stream.value(), plan.archive->header.cut);
    if (!then) co_return then.error();
    const std::string carried = plan.renaming.stream(one.stream).value();
    if (where == Where::elsewhere && talked_to_.contains(carried)) continue;
    auto now = co_await shown(where, carried, "");
    if (!now) co_return now.error();
    if (!then->answered || then->status != 200 || !now->answered) continue;
    met("sometimes.teleport.compared");
    if (then->text == now->text) continue;
    found_.add("I4", carried + " was carried from " + one.stream.value() + " as of " +
                         plan.archive->header.cut + " and shows (" + std::to_string(now->status) + ")\n" +
                         now->text + "instead of\n" + then->text);
  }
  co_return ok();
}

// Agents that appear in the cluster with the seals of a fork: what they are, for the history of its clients.
void Teleporter::begin_births(const TeleportPlan& plan) {
  if (!births_.empty()) return;
  std::map<StreamId, ActorState> states;
  std::map<StreamId, Texts> texts;
  for (const ArchiveFrame& frame : plan.archive->frames) {
    const auto* record = std::get_if<ArchiveRecord>(&frame);
    if (record == nullptr) continue;
    const StreamId stream = plan.renaming.stream(record->stream);
    auto events = carried_events(plan.renaming.record(*record), plan.archive->header.source, record->stream);
    CHECK(events.has_value());
    ActorState& state = states[stream];
    state.stream = stream;
    for (EventTeleported& event : *events) {
      if (event.inner) note_texts(event.inner->event, texts[stream]);
      apply_carried(state, std::move(event));
    }
  }
  std::set<StreamId> born;
  for (const auto& [stream, state] : states) {
    const AgentState* agent = state.agent();
    if (agent == nullptr) continue;
    op::CreateAgent birth{stream.value(), agent->settings.name, agent->settings.tags, {}, texts[stream]};
    births_.push_back(history_.begin(id_, std::move(birth)));
    // Two agents may have one block.
    for (const BlockRef& ref : agent->blocks) {
      const auto found = states.find(ref.block);
      const BlockState* block = found != states.end() ? found->second.block() : nullptr;
      if (block == nullptr) continue;
      const op::CreateBlock made{ref.block.value(), block->value.label, block->value.value};
      if (born.insert(ref.block).second) births_.push_back(history_.begin(id_, made));
      births_.push_back(history_.begin(id_, op::AttachBlock{stream.value(), ref.block.value()}));
    }
  }
}

void Teleporter::end_births(bool settled) {
  for (const OpId id : births_) {
    Outcome outcome;
    outcome.answer = Answer::ok;
    outcome.settled = settled;
    history_.end(id, std::move(outcome));
  }
  births_.clear();
}

void Teleporter::note(const TeleportPlan& plan, Where where) {
  for (std::size_t i = 0; i < plan.streams.size(); ++i) {
    const StreamId& origin = plan.archive->streams[i].stream;
    const ArchiveStream& one = plan.streams[i];
    if (plan.kept.contains(one.stream)) {
      met("teleport.block_kept");
      continue;
    }
    carried_.emplace(std::pair{where, one.stream}, CarriedStream{origin, one.stream, one.events, false});
  }
}

void Teleporter::check(const LogOracle& cluster, Violations& violations) const {
  for (const Violation& violation : found_.list()) violations.add(violation.invariant, violation.what);
  for (const auto& [place, carried] : carried_) {
    const bool here = place.first == Where::here;
    check_carried(cluster, here ? cluster : site_.elsewhere.log(), carried, violations);
  }
  for (const auto& [agent, place] : moved_agents(cluster)) {
    if (!left_.contains(agent)) violations.add("I1", agent.value() + " has left, and nobody knows of it");
  }
}

}  // namespace varve::sim
