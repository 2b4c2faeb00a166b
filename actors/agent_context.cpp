// decide() for agents: what concerns the context, the tools and the end of a turn by command.
#include <algorithm>
#include <set>

#include "actors/agent_block.h"

namespace varve {
namespace {

Error no_such_agent(const Facts& facts) {
  return {Errc::not_found, "Agent with ID " + facts.self.value() + " not found"};
}

}  // namespace

Result<Decision> AgentDecider::operator()(const ChangeTools& command) const {
  if (!available()) return no_such_agent(facts);
  AgentSettings settings = agent().settings;
  for (const std::string& tool : command.detach) std::erase(settings.tools, tool);
  for (const std::string& tool : command.attach) {
    const auto found = std::find(settings.tools.begin(), settings.tools.end(), tool);
    if (found == settings.tools.end()) settings.tools.push_back(tool);
  }
  Decision decision;
  if (settings == agent().settings) return decision;
  if (settings.tools.size() > kAgentToolsMax) {
    return Error{Errc::invalid_argument,
                 "an agent has at most " + std::to_string(kAgentToolsMax) + " tools; detach some first"};
  }
  decision.events.emplace_back(AgentUpdated{std::move(settings), {}, {}, state.created_at});
  return decision;
}

Result<Decision> AgentDecider::operator()(const CancelTurn& command) const {
  if (!available()) return no_such_agent(facts);
  const auto& turn = agent().turn;
  const auto& wanted = command.run_ids;
  const bool asked =
      turn && (wanted.empty() || std::find(wanted.begin(), wanted.end(), turn->run_id) != wanted.end());
  if (!asked) {
    return Error{Errc::conflict, "No active runs to cancel for agent " + facts.self.value()};
  }
  Decision decision;
  decision.events.emplace_back(TurnCancelled{turn->run_id, turn->usage, turn->started_at, turn->request});
  return decision;
}

Result<Decision> AgentDecider::operator()(const FollowTurn& command) const {
  if (!available()) return no_such_agent(facts);
  if (!agent().turn || agent().turn->run_id != command.run_id) {
    return Error{Errc::not_found, "the turn " + command.run_id + " is not open"};
  }
  return Decision{};
}

Result<Decision> AgentDecider::operator()(const ResetMessages& /*command*/) const {
  if (!available()) return no_such_agent(facts);
  if (agent().turn) {
    return Error{Errc::conflict,
                 "the agent is working on " + agent().turn->run_id + "; cancel it or wait for its end"};
  }
  std::vector<std::string> leaving;
  for (std::size_t i = 1; i < agent().context.size(); ++i) leaving.push_back(agent().context[i].message->id);
  Decision decision;
  if (!leaving.empty()) decision.events.emplace_back(ContextTrimmed{std::move(leaving)});
  return decision;
}

Result<Decision> AgentDecider::operator()(const PreviewTurn& /*command*/) const {
  if (!available()) return no_such_agent(facts);
  return Decision{};  // The shard imagines the turn.
}

Result<Decision> AgentDecider::operator()(const SummarizeContext& /*command*/) const {
  if (!available()) return no_such_agent(facts);
  return Decision{};  // The shard asks the model and records what it says with RecordSummary.
}

Result<Decision> AgentDecider::operator()(const RecordSummary& command) const {
  if (!available()) return no_such_agent(facts);
  const std::set<std::string_view> wanted(command.message_ids.begin(), command.message_ids.end());
  ContextSummarized summarized;
  for (std::size_t i = 1; i < agent().context.size(); ++i) {
    const std::string& id = agent().context[i].message->id;
    if (wanted.contains(id)) summarized.message_ids.push_back(id);
  }
  Decision decision;
  if (summarized.message_ids.empty()) return decision;  // They have left already.
  summarized.summary.id = "message-" + derived_uuid(facts.command, "summary", 0);
  summarized.summary.role = Role::summary;
  summarized.summary.content.clear();
  append_json_string(summarized.summary.content, command.text);
  decision.events.emplace_back(std::move(summarized));
  return decision;
}

bool context_is_nearly_full(const AgentState& agent) {
  return agent.context_tokens * 10 > agent.settings.context_window * 9;
}

std::vector<std::string> messages_to_summarize(const AgentState& agent, const std::string& run_id) {
  const std::vector<ContextMessage>& context = agent.context;
  const std::int64_t wanted = agent.context_tokens * 3 / 10;
  std::int64_t tokens = 0;
  std::vector<std::string> leaving;
  std::size_t i = context.empty() ? 0 : 1;  // The compiled system message stays.
  while (i < context.size() && (leaving.empty() || tokens < wanted)) {
    const std::string& run = context[i].run_id;
    if (!run.empty() && run == run_id) break;
    do {
      tokens += context[i].tokens;
      leaving.push_back(context[i].message->id);
      ++i;
    } while (!run.empty() && i < context.size() && context[i].run_id == run);
  }
  return leaving;
}

Message transcript_of(const AgentState& agent, const std::vector<std::string>& message_ids) {
  const std::set<std::string_view> wanted(message_ids.begin(), message_ids.end());
  std::string text;
  for (const ContextMessage& entry : agent.context) {
    const Message& said = *entry.message;
    if (!wanted.contains(said.id)) continue;
    text += std::string(to_string(said.role)) + ": " + text_of(said);
    for (const ToolCall& call : said.tool_calls) text += "\n[calls " + call.name + " " + call.arguments + "]";
    text += "\n\n";
  }
  Message transcript;
  transcript.role = Role::user;
  transcript.content.clear();
  append_json_string(transcript.content, text);
  return transcript;
}

const Message* pending_approval(const AgentState& agent) {
  if (agent.turn || agent.context.empty()) return nullptr;
  const Message& last = *agent.context.back().message;
  return last.is_approval_request ? &last : nullptr;
}

}  // namespace varve
