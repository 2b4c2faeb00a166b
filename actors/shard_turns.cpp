// Shard: turns. What an open turn does next follows from its agent's state alone (next_action), so a driver
// can be lost at any moment and started again by anyone who owns the partition.
#include <algorithm>

#include "actors/memory_tools.h"
#include "actors/shard.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

constexpr std::string_view kCutMark = "\n[cut: longer than 1 MiB]";

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

// Output of models and tools becomes text that can be stored: mended, and cut with a mark.
std::string stored_output(std::string_view output) {
  std::string text = mend_text(output);
  if (text.size() <= kOutputBytesMax) return text;
  text = std::string(prefix_of_text(text, kOutputBytesMax - kCutMark.size()));
  text += kCutMark;
  return text;
}

std::string hex64(std::uint64_t value) {
  return to_hex(CommandHash{value});
}

TurnResult result_of(const std::string& run_id, const std::string& stop_reason, const Usage& usage) {
  TurnResult result;
  result.run_id = run_id;
  result.stop_reason = stop_reason;
  result.usage = usage;
  return result;
}

// The end that an event makes of a turn, if it does.
struct EndOfTurn {
  std::optional<TurnResult> operator()(const TurnFinished& event) const {
    return result_of(event.run_id, event.stop_reason, event.usage);
  }
  std::optional<TurnResult> operator()(const TurnFailed& event) const {
    TurnResult result = result_of(event.run_id, event.stop_reason, event.usage);
    result.error_type = event.error_type;
    result.error_message = event.message;
    return result;
  }
  std::optional<TurnResult> operator()(const TurnCancelled& event) const {
    return result_of(event.run_id, "cancelled", event.usage);
  }
  template <class E>
  std::optional<TurnResult> operator()(const E& /*event*/) const {
    return std::nullopt;
  }
};

Message tool_message(const ToolCall& call, std::string_view text, bool is_error) {
  Message message;
  message.role = Role::tool;
  message.name = call.name;
  message.tool_call_id = call.id;
  message.content = json_string(stored_output(text));
  message.is_error = is_error;
  return message;
}

// The model of the agent, unless the request asked for another one.
std::string model_of(const AgentState& agent) {
  const auto request = Json::parse(agent.turn->request);
  const Json* model = request ? request->find("override_model") : nullptr;
  return model != nullptr && model->is_string() ? model->as_string() : agent.settings.model;
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text = "[";
  for (const std::string& name : names) text += (text.size() > 1 ? ", '" : "'") + name + "'";
  return text + "]";
}

}  // namespace

// Called for every admitted commit after it was applied.
void Shard::publish(Actor& actor, const Commit& commit, const Part& part, Offset offset) {
  if (actor.state.agent() == nullptr) return;
  merge_position(actor.turn_positions, {partition_, offset});
  for (const StoredEvent& stored : part.events) {
    const auto* event = std::get_if<Event>(&stored);
    if (event == nullptr) continue;
    if (std::holds_alternative<UserMessageReceived>(*event)) {
      actor.turn = owner_.owned() ? std::make_shared<TurnChannel>() : nullptr;
      actor.turn_positions = {{partition_, offset}};
    }
    if (!actor.turn) continue;
    if (const auto* replied = std::get_if<AssistantReplied>(event)) {
      actor.turn->publish({replied->message, commit.at});
    } else if (const auto* returned = std::get_if<ToolReturned>(event)) {
      actor.turn->publish({returned->message, commit.at});
    }
    if (auto end = std::visit(EndOfTurn{}, *event)) actor.turn->finish(std::move(*end), actor.turn_positions);
  }
}

// A channel for a turn that was opened in another life: what it has published so far is in the context.
void Shard::open_channel(Actor& actor) {
  const AgentState& agent = *actor.state.agent();
  if (!agent.turn || (actor.turn && !actor.turn->finished() && !actor.turn->abandoned())) return;
  actor.turn = std::make_shared<TurnChannel>();
  // The newest ones: a client may have sent assistant messages of its own at the turn's beginning.
  std::vector<const Message*> published;
  for (const ContextMessage& entry : agent.context) {
    const bool ours = entry.message->role == Role::assistant || entry.message->role == Role::tool;
    if (entry.run_id == agent.turn->run_id && ours) published.push_back(entry.message.get());
  }
  const std::vector<WallTime>& times = agent.turn->message_times;
  for (std::size_t i = 0; i < times.size() && times.size() <= published.size(); ++i) {
    actor.turn->publish({*published[published.size() - times.size() + i], times[i]});
  }
}

void Shard::drive_if_open(Actor& actor) {
  if (actor.driving || actor.state.agent() == nullptr || !actor.state.agent()->turn) return;
  actor.driving = true;
  open_channel(actor);
  env_.spawn("turn", drive(&actor, false));
}

// Resumes every open turn, without waiting for a request.
Task<> Shard::resume_turns() {
  auto stored = co_await ports_.snapshots.open_turns(partition_);
  while (!stored && owner_.owned()) {
    co_await sleep_for(env_, std::chrono::milliseconds{100});
    stored = co_await ports_.snapshots.open_turns(partition_);
  }
  if (!stored) co_return stored.error();
  std::set<StreamId> candidates(stored->begin(), stored->end());
  for (const auto& [stream, parts] : tail_) candidates.insert(stream);
  for (const auto& [stream, actor] : actors_) candidates.insert(stream);
  for (const StreamId& stream : candidates) {
    auto activated = co_await activate(stream);
    if (!activated || !owner_.owned()) continue;
    Actor* actor = *activated;
    if (actor->driving || actor->state.corrupt) continue;
    if (actor->state.agent() == nullptr || !actor->state.agent()->turn) continue;
    actor->driving = true;
    open_channel(*actor);
    env_.count("turns_resumed");
    env_.spawn("resumed turn", drive(actor, true));
  }
  co_return ok();
}

Task<> Shard::drive(Actor* actor, bool resumed) {
  const std::string run_id = actor->state.agent()->turn->run_id;
  const StreamId stream = actor->state.stream;
  if (resumed) {
    Command resume = ResumeTurn{run_id};
    ignore_error(co_await submit(stream, std::move(resume)), "the state tells what came of it");
  }
  for (;;) {
    const AgentState* agent = actor->state.agent();
    if (stopping_ || agent == nullptr || !agent->turn || agent->turn->run_id != run_id) break;
    if (!owner_.owned()) {
      // A commit of this turn was lost with the ownership; whoever owns the partition next goes on.
      if (Status owned = co_await owner_.wait_owned(env_.now() + options_.owner_wait);
          !owned && owned.error().code != Errc::unavailable) {
        break;
      }
      continue;
    }
    const Status step = co_await drive_step(actor);
    if (step || step.error().code == Errc::conflict) continue;
    env_.count("turn_step_retries");
    if (step.error().code == Errc::corrupt) break;
    if (step.error().code == Errc::invalid_argument) {
      // What the step made can never be recorded, however often it is tried.
      Command give_up = FailTurn{run_id, "error", "internal_error", step.error().message};
      ignore_error(co_await submit(stream, std::move(give_up)), "the state tells what came of it");
      continue;
    }
    co_await sleep_for(env_, std::chrono::milliseconds{50});
  }
  actor->driving = false;
  const AgentState* agent = actor->state.agent();
  if (agent != nullptr && agent->turn && agent->turn->run_id != run_id && !stopping_) {
    drive_if_open(
        *actor);  // A message that waited has opened the next turn before this task came to its end.
  } else if (agent != nullptr && agent->turn && actor->turn) {
    actor->turn->abandon();
  }
  admit_waiting_turn(*actor);
  co_return ok();
}

// One action of the open turn. An Error says that it was not recorded: look at the state again.
Task<> Shard::drive_step(Actor* actor) {
  const OpenTurn& turn = *actor->state.agent()->turn;
  const StreamId stream = actor->state.stream;
  if (env_.wall_now() > turn.deadline) {
    FailTurn failed{turn.run_id, "error", "turn_timeout", "the turn did not end within its deadline"};
    auto answer = co_await submit(stream, std::move(failed));
    co_return answer ? ok() : Status{answer.error()};
  }
  NextAction action = next_action(*actor->state.agent());
  if (std::holds_alternative<CallModel>(action)) co_return co_await call_model(actor);
  if (auto* tool = std::get_if<RunTool>(&action)) co_return co_await run_tool(actor, std::move(*tool));
  FailTurn failed{turn.run_id, "max_steps", "max_steps", "the turn has used up its steps"};
  auto answer = co_await submit(stream, std::move(failed));
  co_return answer ? ok() : Status{answer.error()};
}

Task<> Shard::call_model(Actor* actor) {
  const StreamId stream = actor->state.stream;
  const std::string run_id = actor->state.agent()->turn->run_id;
  std::vector<StreamId> attached;
  for (const BlockRef& ref : actor->state.agent()->blocks) attached.push_back(ref.block);
  auto facts = co_await ask_blocks(stream, std::move(attached));
  if (!facts) co_return facts.error();
  const AgentState* agent = actor->state.agent();
  if (agent == nullptr || !agent->turn || agent->turn->run_id != run_id) co_return ok();

  RecordReply record;
  record.run_id = run_id;
  record.model = model_of(*agent);
  std::vector<BlockValue> values;
  for (const BlockFact& fact : *facts) {
    if (!fact.exists) continue;
    values.push_back(fact.value);
    record.blocks.push_back({fact.block, fact.sequence});
  }
  ModelRequest request;
  request.model = record.model;
  request.system = compile_prompt(agent->settings, values);
  for (std::size_t i = 1; i < agent->context.size(); ++i)
    request.messages.push_back(agent->context[i].message);
  for (const std::string& name : agent->settings.tools) {
    if (const ToolSchema* tool = find_builtin_tool(name)) {
      request.tools.push_back({name, std::string(tool->description), std::string(tool->parameters)});
    }
  }
  record.prompt_hash = hex64(xxh64(request.system));
  const std::int64_t left_us = agent->turn->deadline.value() - env_.wall_now().value();
  const MonoTime deadline = env_.now() + std::chrono::microseconds{left_us};

  auto outcome = co_await ports_.model.complete(std::move(request), deadline);
  if (!outcome) co_return outcome.error();
  if (const auto* failure = std::get_if<ModelFailure>(&*outcome)) {
    FailTurn failed{run_id, "llm_api_error", failure->error_type, stored_output(failure->message)};
    auto answer = co_await submit(stream, std::move(failed));
    co_return answer ? ok() : Status{answer.error()};
  }
  ModelReply& reply = std::get<ModelReply>(*outcome);
  record.message.role = Role::assistant;
  record.message.content = json_string(stored_output(reply.text));
  record.message.reasoning = stored_output(reply.reasoning);
  for (ToolCall& call : reply.tool_calls) {
    record.message.tool_calls.push_back(
        {stored_output(call.id), stored_output(call.name), stored_output(call.arguments)});
  }
  record.usage = {reply.prompt_tokens, reply.completion_tokens, 1};
  if (reply.tool_calls.empty()) record.stop_reason = reply.stop_reason;
  auto answer = co_await submit(stream, std::move(record));
  co_return answer ? ok() : Status{answer.error()};
}

Task<> Shard::run_tool(Actor* actor, RunTool action) {
  const StreamId stream = actor->state.stream;
  const std::string run_id = actor->state.agent()->turn->run_id;
  const auto& tools = actor->state.agent()->settings.tools;
  const bool attached = std::find(tools.begin(), tools.end(), action.call.name) != tools.end();
  RecordToolReturn record;
  record.run_id = run_id;
  if (!attached || find_builtin_tool(action.call.name) == nullptr) {
    record.message = tool_message(action.call,
                                  "[ToolConstraintError] Cannot call " + action.call.name +
                                      ", valid tools include: " + quoted_list(tools) + ".",
                                  true);
  } else {
    auto message = co_await memory_tool(actor, std::move(action));
    if (!message) co_return message.error();
    record.message = std::move(*message);
  }
  auto answer = co_await submit(stream, std::move(record));
  co_return answer ? ok() : Status{answer.error()};
}

Task<Message> Shard::memory_tool(Actor* actor, RunTool action) {
  auto parsed = parse_memory_tool_call(action.call);
  if (!parsed) co_return tool_message(action.call, parsed.error().message, true);
  const AgentState* agent = actor->state.agent();
  if (agent == nullptr || !agent->turn) co_return Error{Errc::conflict, "the turn is over"};
  const std::string intent =
      to_hex(agent->turn->command) + "/tool/" + action.step_id + "/" + std::to_string(action.ordinal);
  std::vector<StreamId> attached;
  for (const BlockRef& ref : agent->blocks) attached.push_back(ref.block);
  auto facts = co_await ask_blocks(actor->state.stream, std::move(attached));
  if (!facts) co_return facts.error();

  const BlockFact* target = nullptr;
  std::vector<std::string> labels;
  for (const BlockFact& fact : *facts) {
    if (!fact.exists) continue;
    labels.push_back(fact.value.label);
    if (fact.value.label == parsed->label && target == nullptr) target = &fact;
  }
  if (target == nullptr) {
    co_return tool_message(
        action.call,
        "Block field " + parsed->label + " does not exist (available sections = " + quoted_list(labels) + ")",
        true);
  }
  // The id is made of turn and call: however often the call is repeated, the block is edited once.
  CommandEnvelope envelope{{command_id_from_text(intent), command_hash(intent, action.call.arguments), true},
                           target->block,
                           parsed->edit};
  CallLimits limits{env_.now() + std::chrono::seconds{10}};
  auto edited = co_await ports_.sender.send(std::move(envelope), limits);
  if (!edited) {
    const Errc code = edited.error().code;
    if (code == Errc::invalid_argument || code == Errc::not_found) {
      co_return tool_message(action.call, edited.error().message, true);
    }
    co_return edited.error();
  }
  for (const LogPosition& position : edited->positions) merge_position(actor->turn_positions, position);
  const std::string text = edited->block ? edited->block->value.value : "";
  co_return tool_message(action.call, text, false);
}

// Ends a request when the turn ends. It holds no mailbox.
Task<> Shard::join_turn(std::shared_ptr<TurnChannel> channel, PendingPtr pending, CommandAnswer answer) {
  while (channel && !channel->finished() && !channel->abandoned() && !pending->abandoned) {
    co_await channel->wait(env_, pending->deadline);
    if (env_.now() >= pending->deadline) break;
  }
  if (channel && channel->finished()) {
    answer.turn = channel->result();
    for (const LogPosition& position : channel->positions()) merge_position(answer.positions, position);
    pending->answer.set(std::move(answer));
  } else if (!channel) {
    answer.replayed = true;  // It has ended already: its outcome is in the views.
    pending->answer.set(std::move(answer));
  } else if (channel->abandoned()) {
    pending->answer.set(Error{Errc::outcome_unknown, "the turn was interrupted and goes on; ask again"});
  }
  co_return ok();
}

// The next message that waited for the open turn.
void Shard::admit_waiting_turn(Actor& actor) {
  const bool open = actor.state.agent() != nullptr && actor.state.agent()->turn.has_value();
  if (open && !stopping_) return;
  if (actor.turns_waiting.empty()) return;
  if (stopping_) {
    for (const PendingPtr& pending : actor.turns_waiting) {
      pending->answer.set(Error{Errc::unavailable, "the server is shutting down"});
    }
    actor.turns_waiting.clear();
    return;
  }
  actor.mailbox.push_front(actor.turns_waiting.front());
  actor.turns_waiting.pop_front();
  pump_if_needed(actor);
}

}  // namespace varve
