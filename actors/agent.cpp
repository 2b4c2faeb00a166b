// decide() for agents: creation with births, settings, attachments, turns.
#include <algorithm>
#include <set>

#include "actors/agent_approvals.h"
#include "actors/agent_block.h"
#include "actors/memory_tools.h"
#include "runtime/json_fields.h"

namespace varve {
namespace {

Error refuse(Errc code, std::string why) {
  return {code, std::move(why)};
}

Error no_such_agent(const Facts& facts) {
  return refuse(Errc::not_found, "Agent with ID " + facts.self.value() + " not found");
}

// A text as a JSON string.
std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

// What `from` has and `without` has not, in the order of `from`.
std::vector<std::string> difference(const std::vector<std::string>& from,
                                    const std::vector<std::string>& without) {
  std::vector<std::string> rest;
  for (const std::string& text : from) {
    if (std::find(without.begin(), without.end(), text) == without.end()) rest.push_back(text);
  }
  return rest;
}

const BlockFact* fact_of(const Facts& facts, const StreamId& block) {
  for (const BlockFact& fact : facts.blocks) {
    if (fact.block == block) return &fact;
  }
  return nullptr;
}

TurnCancelled cancelled(const OpenTurn& turn) {
  return {turn.run_id, turn.usage, turn.started_at, turn.request};
}

// Appends a ContextTrimmed if the context, with what is added to it, is over the agent's budget.
void trim_context(const AgentState& agent, const std::string& run_id, std::int64_t added_tokens,
                  std::vector<Event>& events) {
  auto leaving = messages_to_trim(agent, added_tokens, run_id);
  if (!leaving.empty()) events.emplace_back(ContextTrimmed{std::move(leaving)});
}

}  // namespace

Status check_settings(const AgentSettings& settings) {
  JsonWriter out;
  write_settings(out, settings);
  if (out.text().size() <= kSettingsBytesMax) return ok();
  return refuse(Errc::invalid_argument, "the agent's settings are larger than " +
                                            std::to_string(kSettingsBytesMax) + " bytes together");
}

Result<BornBlocks> born_blocks(const Facts& facts, const std::vector<BlockValue>& blocks, bool erasable) {
  const Partition home = partition_of(facts.self, facts.partitions);
  BornBlocks born;
  std::set<std::string> labels;
  std::uint64_t ordinal = 0;
  for (const BlockValue& block : blocks) {
    if (!labels.insert(block.label).second) continue;
    if (block.value.size() > kBlockBytesMax) return block_too_large(block.label, block.value.size());
    const StreamId id = derived_stream_in(facts.command, "block", ordinal++, home, facts.partitions);
    born.refs.push_back({id, block.label});
    born.values.push_back(block);
    born.births.push_back({id, {BlockCreated{block, erasable}}});
  }
  return born;
}

Result<Decision> AgentDecider::operator()(const CreateAgent& command) const {
  Decision decision;
  AgentCreated created;
  created.settings = command.settings;
  created.erasable = command.erasable;
  if (const Status fits = check_settings(created.settings); !fits) return fits.error();

  auto born = born_blocks(facts, command.new_blocks, command.erasable);
  if (!born) return born.error();
  created.blocks = std::move(born->refs);
  decision.births = std::move(born->births);
  std::vector<BlockValue> values = std::move(born->values);
  std::set<std::string> labels;
  for (const BlockRef& ref : created.blocks) labels.insert(ref.label);
  for (const StreamId& block : command.attach_blocks) {
    const BlockFact* fact = fact_of(facts, block);
    if (fact == nullptr || !fact->exists || !labels.insert(fact->value.label).second) continue;
    created.blocks.push_back({block, fact->value.label});
    values.push_back(fact->value);
  }

  Message system;
  system.id = "message-" + derived_uuid(facts.command, "message", 0);
  system.role = Role::system;
  system.content = json_string(compile_prompt(created.settings, values));
  created.messages.push_back(std::move(system));
  std::uint64_t number = 1;
  for (Message message : command.initial_messages) {
    message.id = "message-" + derived_uuid(facts.command, "message", number++);
    created.messages.push_back(std::move(message));
  }
  decision.events.emplace_back(std::move(created));
  return decision;
}

Result<Decision> AgentDecider::operator()(const UpdateAgent& command) const {
  if (!available()) return no_such_agent(facts);
  const auto patch = Json::parse(command.patch);
  if (!patch) return patch.error();
  auto settings = patched(agent().settings, *patch);
  if (!settings) return settings.error();
  if (const Status fits = check_settings(*settings); !fits) return fits.error();

  Decision decision;
  AgentUpdated updated;
  updated.tags_added = difference(settings->tags, agent().settings.tags);
  updated.tags_removed = difference(agent().settings.tags, settings->tags);
  updated.settings = std::move(*settings);
  updated.created_at = state.created_at;
  decision.events.emplace_back(std::move(updated));
  if (const Json* listed = patch->find("block_ids"); listed != nullptr && listed->is_array()) {
    if (const Status done = replace_blocks(*listed, decision); !done) return done.error();
  }
  return decision;
}

// A PATCH with block_ids replaces the attachments.
Status AgentDecider::replace_blocks(const Json& listed, Decision& decision) const {
  std::set<std::string> wanted;
  for (const Json& id : listed.items()) {
    if (id.is_string()) wanted.insert(id.as_string());
  }
  std::set<std::string> labels;
  for (const BlockRef& ref : agent().blocks) {
    if (wanted.contains(ref.block.value())) {
      labels.insert(ref.label);
      wanted.erase(ref.block.value());
    } else {
      decision.events.emplace_back(BlockDetached{ref.block});
    }
  }
  for (const Json& id : listed.items()) {
    if (!id.is_string() || wanted.erase(id.as_string()) == 0) continue;
    const StreamId block{id.as_string()};
    const BlockFact* fact = fact_of(facts, block);
    if (fact == nullptr || !fact->exists) {
      return refuse(Errc::not_found, "Block with id '" + block.value() + "' not found");
    }
    if (!labels.insert(fact->value.label).second) {
      return refuse(Errc::conflict, "two blocks of block_ids have the label '" + fact->value.label + "'");
    }
    decision.events.emplace_back(BlockAttached{{block, fact->value.label}});
  }
  return ok();
}

Result<Decision> AgentDecider::operator()(const DeleteAgent& /*command*/) const {
  // An import that is over can be deleted, so that its blocks can be.
  if (!state.exists() || import_goes_on(state, facts.log_time)) return no_such_agent(facts);
  Decision decision;
  if (agent().turn) decision.events.emplace_back(cancelled(*agent().turn));
  decision.events.emplace_back(AgentDeleted{});
  return decision;
}

Result<Decision> AgentDecider::operator()(const EraseAgent& command) const {
  const bool unknown = state.sequence == Sequence{} || state.agent() == nullptr;
  if (unknown || import_goes_on(state, facts.log_time)) return no_such_agent(facts);
  if (!state.erasable) {
    return refuse(Errc::invalid_argument, "query.erase: the agent " + facts.self.value() +
                                              " was not made erasable, so what the log has of it stays "
                                              "readable; without erase=true it can be deleted");
  }
  if (state.erased()) return Decision{};
  Decision decision;
  if (agent().turn) decision.events.emplace_back(cancelled(*agent().turn));
  AgentErased erased;
  erased.was_deleted = state.deleted;
  erased.blocks = state.born_with;
  std::erase_if(erased.blocks, [&command](const StreamId& block) {
    const auto& kept = command.keep_blocks;
    return std::find(kept.begin(), kept.end(), block) != kept.end();
  });
  decision.events.emplace_back(std::move(erased));
  return decision;
}

Result<Decision> AgentDecider::operator()(const AttachBlock& command) const {
  if (!available()) return no_such_agent(facts);
  const BlockFact* wanted = fact_of(facts, command.block);
  if (wanted == nullptr || !wanted->exists) {
    return refuse(Errc::not_found, "Block with id '" + command.block.value() + "' not found");
  }
  for (const BlockRef& ref : agent().blocks) {
    if (ref.block == command.block) return Decision{};  // Already so: a retry is not an error.
    const BlockFact* other = fact_of(facts, ref.block);
    const bool present = other == nullptr || other->exists;
    const std::string& label = other != nullptr && other->exists ? other->value.label : ref.label;
    if (present && label == wanted->value.label) {
      return refuse(Errc::conflict, "the agent already has a block with the label '" + label + "'");
    }
  }
  Decision decision;
  decision.events.emplace_back(BlockAttached{{command.block, wanted->value.label}});
  return decision;
}

Result<Decision> AgentDecider::operator()(const DetachBlock& command) const {
  if (!available()) return no_such_agent(facts);
  for (const BlockRef& ref : agent().blocks) {
    if (ref.block != command.block) continue;
    Decision decision;
    decision.events.emplace_back(BlockDetached{command.block});
    return decision;
  }
  return refuse(Errc::not_found, "Block with id '" + command.block.value() + "' is not attached to agent " +
                                     facts.self.value());
}

Result<Decision> AgentDecider::operator()(const DropDeletedBlock& command) const {
  if (!state.exists()) return Decision{};
  for (const BlockRef& ref : agent().blocks) {
    if (ref.block != command.block) continue;
    Decision decision;
    decision.events.emplace_back(BlockDetached{command.block});
    return decision;
  }
  return Decision{};
}

Result<Decision> AgentDecider::operator()(const ResolveLabel& command) const {
  if (!available()) return no_such_agent(facts);
  for (const BlockRef& ref : agent().blocks) {
    const BlockFact* fact = fact_of(facts, ref.block);
    if (fact != nullptr && fact->exists && fact->value.label == command.label) return Decision{};
  }
  return refuse(Errc::not_found,
                "No block with label '" + command.label + "' found for agent '" + facts.self.value() + "'");
}

Result<Decision> AgentDecider::operator()(const SendMessages& command) const {
  if (!available()) return no_such_agent(facts);
  CHECK(!agent().turn);  // The shard lets only one turn in at a time.
  UserMessageReceived received;
  received.run_id = "run-" + derived_uuid(facts.command, "run", 0);
  received.messages = command.messages;
  if (const Status taken = check_approvals(received.messages); !taken) return taken.error();
  std::int64_t added = 0;
  for (std::size_t i = 0; i < received.messages.size(); ++i) {
    Message& message = received.messages[i];
    message.id = "message-" + derived_uuid(facts.command, "message", i);
    if (message.step_id.empty()) message.step_id = step_id(facts.command, 0);
    // What a client sends has an otid: it tells the client's messages from the turn's own, among which are
    // the returns of tools.
    if (message.role != Role::tool && !received.messages[i].otid)
      received.messages[i].otid = derived_uuid(facts.command, "otid", i);
    added += tokens_of(received.messages[i]);
  }
  received.max_steps = command.max_steps;
  received.deadline = WallTime{facts.now.value() + kTurnMicros};
  received.request = command.request;

  Decision decision;
  std::vector<Event> trimmed;
  trim_context(agent(), received.run_id, added, trimmed);
  const std::string run_id = received.run_id;
  decision.events.emplace_back(std::move(received));
  std::move(trimmed.begin(), trimmed.end(), std::back_inserter(decision.events));
  if (command.max_steps <= 0)
    decision.events.emplace_back(TurnFinished{run_id, "end_turn", {}, facts.now, command.request});
  return decision;
}

// A reply whose calls wait for the client is answered first, and only it can be answered.
Status AgentDecider::check_approvals(std::vector<Message>& messages) const {
  const auto is_approval = [](const Message& message) { return message.role == Role::approval; };
  const bool approves = std::any_of(messages.begin(), messages.end(), is_approval);
  const Message* waiting = pending_approval(agent());
  if (waiting != nullptr && !approves) {
    return refuse(Errc::conflict, std::string(kPendingApproval) + waiting->id);
  }
  if (waiting == nullptr && approves) {
    return refuse(Errc::invalid_argument, "no tool call of this agent waits for approval");
  }
  return waiting != nullptr ? take_approvals(*waiting, messages) : ok();
}

Status AgentDecider::check_open(const std::string& run_id) const {
  if (state.exists() && agent().turn && agent().turn->run_id == run_id) return ok();
  return refuse(Errc::conflict, "the turn " + run_id + " is not open any more");
}

Result<Decision> AgentDecider::operator()(const RecordReply& command) const {
  if (const Status open = check_open(command.run_id); !open) return open.error();
  const OpenTurn& turn = *agent().turn;
  const std::int64_t step = turn.usage.steps;
  AssistantReplied replied{command.run_id, command.message,     command.usage,
                           command.model,  command.prompt_hash, command.blocks};
  replied.message.id = reply_id(facts.command);
  replied.message.step_id = step_id(turn.command, step);

  Decision decision;
  std::vector<Event> trimmed;
  trim_context(agent(), command.run_id, tokens_of(replied.message), trimmed);
  decision.events.emplace_back(std::move(replied));
  std::move(trimmed.begin(), trimmed.end(), std::back_inserter(decision.events));
  if (!command.stop_reason.empty()) {
    Usage usage = turn.usage;
    usage.prompt_tokens += command.usage.prompt_tokens;
    usage.completion_tokens += command.usage.completion_tokens;
    ++usage.steps;
    usage.context_tokens = command.usage.prompt_tokens + command.usage.completion_tokens;
    decision.events.emplace_back(
        TurnFinished{command.run_id, command.stop_reason, usage, turn.started_at, turn.request});
  }
  return decision;
}

Result<Decision> AgentDecider::operator()(const RecordToolReturn& command) const {
  if (const Status open = check_open(command.run_id); !open) return open.error();
  const OpenTurn& turn = *agent().turn;
  const NextAction action = next_action(agent());
  const auto* expected = std::get_if<RunTool>(&action);
  if (expected == nullptr || expected->call.id != command.message.tool_call_id) {
    return refuse(Errc::conflict,
                  "the turn does not wait for the result of call " + command.message.tool_call_id);
  }
  ToolReturned returned{command.run_id, command.message};
  returned.message.id = turn_message_id(turn, turn.usage.steps - 1, expected->ordinal + 1);
  returned.message.step_id = expected->step_id;

  Decision decision;
  std::vector<Event> trimmed;
  trim_context(agent(), command.run_id, tokens_of(returned.message), trimmed);
  // The last result of the last step ends the turn in the same commit.
  const NextAction after = next_action(agent(), returned.message.tool_call_id);
  std::string stop_reason;
  if (std::holds_alternative<TurnOver>(after)) stop_reason = "max_steps";
  if (!std::holds_alternative<RunTool>(after) && !command.stop_reason.empty())
    stop_reason = command.stop_reason;
  decision.events.emplace_back(std::move(returned));
  std::move(trimmed.begin(), trimmed.end(), std::back_inserter(decision.events));
  if (!stop_reason.empty()) {
    decision.events.emplace_back(
        TurnFinished{command.run_id, stop_reason, turn.usage, turn.started_at, turn.request});
  }
  return decision;
}

Result<Decision> AgentDecider::operator()(const FailTurn& command) const {
  if (const Status open = check_open(command.run_id); !open) return open.error();
  const OpenTurn& turn = *agent().turn;
  Decision decision;
  decision.events.emplace_back(TurnFailed{command.run_id, command.stop_reason, command.error_type,
                                          command.message, turn.usage, turn.started_at, turn.request});
  return decision;
}

Result<Decision> AgentDecider::operator()(const ResumeTurn& command) const {
  if (const Status open = check_open(command.run_id); !open) return open.error();
  const OpenTurn& turn = *agent().turn;
  Decision decision;
  const std::int64_t attempt = turn.handed_over ? turn.attempt : turn.attempt + 1;
  if (attempt > kTurnAttemptsMax) {
    decision.events.emplace_back(
        TurnFailed{command.run_id, "error", "internal_error",
                   "the turn was interrupted " + std::to_string(attempt) + " times and is given up",
                   turn.usage, turn.started_at, turn.request});
  } else {
    decision.events.emplace_back(TurnResumed{command.run_id, attempt});
  }
  return decision;
}

Result<Decision> AgentDecider::operator()(const HandOverTurn& command) const {
  if (const Status open = check_open(command.run_id); !open) return open.error();
  Decision decision;
  if (!agent().turn->handed_over) decision.events.emplace_back(TurnHandedOver{command.run_id});
  return decision;
}

NextAction next_action(const AgentState& agent, const std::string& also_returned) {
  if (!agent.turn) return TurnOver{};
  const OpenTurn& turn = *agent.turn;
  // The newest reply of the turn, and which of its calls have a result. A turn's messages end the context.
  std::set<std::string> returned{also_returned};
  const Message* approval = nullptr;  // The client's, if the turn began with one.
  for (auto entry = agent.context.rbegin(); entry != agent.context.rend(); ++entry) {
    const Message& message = *entry->message;
    const bool ours = entry->run_id == turn.run_id;
    if (ours && message.role == Role::tool) returned.insert(message.tool_call_id);
    if (ours && message.role == Role::approval) approval = &message;
    const bool reply = ours && message.role == Role::assistant && !message.otid;
    const bool waited = !ours && approval != nullptr && message.is_approval_request;
    if (ours && !reply) continue;
    if (!reply && !waited) break;
    const std::set<std::string> approved =
        waited ? approved_calls(message, *approval) : std::set<std::string>{};
    for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
      const ToolCall& call = message.tool_calls[i];
      if (returned.contains(call.id) || (waited && !approved.contains(call.id))) continue;
      return RunTool{call, message.step_id, static_cast<std::int64_t>(i)};
    }
    break;
  }
  if (turn.usage.steps >= turn.max_steps) return TurnOver{};
  return CallModel{};
}

std::vector<std::string> messages_to_trim(const AgentState& agent, std::int64_t added_tokens,
                                          const std::string& run_id) {
  std::int64_t tokens = agent.context_tokens + added_tokens;
  std::vector<std::string> leaving;
  const std::vector<ContextMessage>& context = agent.context;
  // The first message is the compiled system message: it stays.
  std::size_t i = context.empty() ? 0 : 1;
  while (tokens > agent.settings.context_window && i < context.size()) {
    const std::string& run = context[i].run_id;
    if (!run.empty() && run == run_id) break;
    // A whole turn, or one message outside of any.
    do {
      tokens -= context[i].tokens;
      leaving.push_back(context[i].message->id);
      ++i;
    } while (!run.empty() && i < context.size() && context[i].run_id == run);
  }
  return leaving;
}

std::string compile_prompt(const AgentSettings& settings, const std::vector<BlockValue>& blocks) {
  std::string prompt = settings.system;
  if (blocks.empty()) return prompt;
  prompt += "\n\n<memory_blocks>\nThese blocks are your memory. You see their present values.\n";
  for (const BlockValue& block : blocks) {
    prompt += "\n<" + block.label + ">\n";
    if (block.description) prompt += "<description>\n" + *block.description + "\n</description>\n";
    prompt += "<metadata>\n- characters: " + std::to_string(block.value.size());
    if (block.read_only) prompt += "\n- read only: you cannot edit this block";
    prompt += "\n</metadata>\n<value>\n" + block.value + "\n</value>\n</" + block.label + ">\n";
  }
  prompt += "</memory_blocks>";
  return prompt;
}

}  // namespace varve
