// Shard: one action of an open turn: a model call, a tool, a summary of the context. An action that was not
// recorded is done again from the state; only what a model made of a step is kept until it is recorded, for
// calls cost money. A crash loses it, and the model is asked again.
#include <algorithm>

#include "actors/catalogue.h"
#include "actors/memory_tools.h"
#include "actors/shard.h"
#include "runtime/mutant.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

constexpr std::size_t kFoundMax = 50;
constexpr std::size_t kFoundTextBytesMax = 2'000;

Message tool_message(const ToolCall& call, std::string_view text, bool is_error) {
  Message message;
  message.role = Role::tool;
  message.name = call.name;
  message.tool_call_id = call.id;
  message.content = stored_content(text);
  message.is_error = is_error;
  return message;
}

// A tool that was run and failed.
Message failed_tool(const ToolCall& call, const std::string& why) {
  Message message = tool_message(call, why, true);
  JsonWriter out;
  out.begin_array().string(stored_output("Error executing function " + call.name + ": " + why)).end_array();
  message.stderr_lines = out.take();
  return message;
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

void count_model_call(Env& env, const Result<ModelOutcome>& outcome, Duration took) {
  std::string_view what = "error";
  if (outcome) what = std::holds_alternative<ModelReply>(*outcome) ? "reply" : "failure";
  env.observe({"model_call", what, {}, {}}, took);
  const auto* reply = outcome ? std::get_if<ModelReply>(&*outcome) : nullptr;
  if (reply == nullptr) return;
  env.count("model_tokens_prompt",
            static_cast<std::uint64_t>(std::max<std::int64_t>(0, reply->prompt_tokens)));
  env.count("model_tokens_completion",
            static_cast<std::uint64_t>(std::max<std::int64_t>(0, reply->completion_tokens)));
}

}  // namespace

Task<std::vector<ToolValue>> Shard::ask_tools(std::vector<std::string> ids) {
  std::vector<ToolValue> none;
  if (ids.empty()) co_return none;
  CommandEnvelope question{{}, StreamId{kCatalogueStream}, ReadTools{std::move(ids), {}}};
  CallLimits limits{env_.now() + std::chrono::seconds{5}};
  auto answer = co_await ports_.sender.send(std::move(question), limits);
  if (!answer) co_return answer.error();
  co_return std::move(answer->tools);
}

// Asks the model in a task of its own, so that a turn that is cancelled meanwhile need not wait for it.
// Errc::conflict if the turn has ended first.
Task<ModelOutcome> Shard::ask_model(Actor* actor, ModelRequest request, MonoTime deadline) {
  const auto call = std::make_shared<ModelCall>();
  actor->model_call = call;
  const std::string run_id = actor->state.agent()->turn ? actor->state.agent()->turn->run_id : "";
  // Not in the shard's group: a model may think on after the partition has moved.
  env_.spawn("model call", run_model_call(env_, ports_.model, call, std::move(request), deadline));
  const auto still_wanted = [this, actor, &run_id] {
    if (fenced_) return false;
    const AgentState* agent = actor->state.agent();
    return run_id.empty() || (agent != nullptr && agent->turn && agent->turn->run_id == run_id);
  };
  while (!call->outcome && still_wanted()) co_await call->changed.wait(env_, kNever);
  if (actor->model_call == call) actor->model_call.reset();
  if (!call->outcome && fenced_) co_return Error{Errc::unavailable, "the partition moves to another node"};
  if (!call->outcome) co_return Error{Errc::conflict, "the turn ended before the model answered"};
  co_return std::move(*call->outcome);
}

Task<> Shard::run_model_call(Env& env, ModelClient& model, std::shared_ptr<ModelCall> call,
                             ModelRequest request, MonoTime deadline) {
  const MonoTime asked = env.now();
  call->outcome = co_await model.complete(std::move(request), deadline);
  count_model_call(env, *call->outcome, env.now() - asked);
  call->changed.notify_all();
  co_return ok();
}

Task<> Shard::call_model(Actor* actor) {
  const StreamId stream = actor->state.stream;
  const std::string run_id = actor->state.agent()->turn->run_id;
  const std::int64_t step = actor->state.agent()->turn->usage.steps;
  if (actor->made && actor->made->run_id == run_id && actor->made->step == step) {
    co_return co_await record_step(actor);
  }
  actor->made.reset();
  if (context_is_nearly_full(*actor->state.agent())) {
    ignore_error(co_await summarize(actor), "the context is trimmed instead");
  }
  const auto open = [actor, &run_id] {
    const AgentState* agent = actor->state.agent();
    return agent != nullptr && agent->turn && agent->turn->run_id == run_id;
  };
  if (!open()) co_return ok();
  std::vector<StreamId> attached;
  for (const BlockRef& ref : actor->state.agent()->blocks) attached.push_back(ref.block);
  auto facts = co_await ask_blocks(stream, std::move(attached));
  if (!facts) co_return facts.error();
  if (!open()) co_return ok();
  auto custom = co_await ask_tools(custom_tools(*actor->state.agent()));
  if (!custom) co_return custom.error();
  if (!open()) co_return ok();

  const AgentState& agent = *actor->state.agent();
  const OpenTurn& turn = *agent.turn;
  RecordReply record;
  record.run_id = run_id;
  std::vector<BlockValue> values;
  for (const BlockFact& fact : *facts) {
    if (!fact.exists) continue;
    values.push_back(fact.value);
    record.blocks.push_back({fact.block, fact.sequence});
  }
  const Json asked = request_of(agent);
  const ToolRules rules = tool_rules_of(agent.settings);
  const std::vector<OfferedTool> offered = tools_offered(agent, *custom, asked, rules);
  ModelRequest request = model_request(agent, actor->shown, values, offered, rules);
  record.model = request.model;
  record.prompt_hash = to_hex(CommandHash{xxh64(request.system)});
  // The id of the command that will record the reply, and with it the reply's own id, is known before: it
  // names the reply while it is being made. Every call of the model has another one.
  const CommandId command = command_id_from_text("internal " + uuid4(env_.rng()));
  if (wants_tokens(asked) && actor->turn) {
    const auto channel = actor->turn;
    channel->begin_reply({reply_id(command), step_id(turn.command, turn.usage.steps), env_.wall_now(), {}});
    request.on_delta = [channel](const ModelDelta& delta) { channel->add_delta(delta); };
  }
  auto outcome = co_await ask_model(actor, std::move(request), actor->turn_ends);
  if (!outcome) co_return outcome.error();
  if (const auto* failure = std::get_if<ModelFailure>(&*outcome)) {
    FailTurn failed{run_id, "llm_api_error", failure->error_type, stored_output(failure->message)};
    actor->made = MadeStep{run_id, step, std::move(failed), command};
    co_return co_await record_step(actor);
  }
  take_reply(record, std::get<ModelReply>(*outcome), offered);
  actor->made = MadeStep{run_id, step, std::move(record), command};
  co_return co_await record_step(actor);
}

// Records what the model made of the step. If that fails it is kept for the next try.
Task<> Shard::record_step(Actor* actor) {
  Command record = actor->made->record;
  const CommandId id = actor->made->id;
  auto answer = co_await submit(actor->state.stream, std::move(record), kNever, id);
  if (!answer) co_return answer.error();
  actor->made.reset();
  co_return ok();
}

Task<> Shard::run_tool(Actor* actor, RunTool action) {
  const StreamId stream = actor->state.stream;
  const std::string run_id = actor->state.agent()->turn->run_id;
  auto custom = co_await ask_tools(custom_tools(*actor->state.agent()));
  if (!custom) co_return custom.error();
  const AgentState* agent = actor->state.agent();
  if (agent == nullptr || !agent->turn || agent->turn->run_id != run_id) co_return ok();
  const ToolRules rules = tool_rules_of(agent->settings);
  std::vector<std::string> valid;
  bool is_custom = false;
  for (const std::string& ref : agent->settings.tools) {
    if (find_builtin_tool(ref) != nullptr) valid.push_back(ref);
  }
  for (const ToolValue& tool : *custom) {
    valid.push_back(tool.name);
    is_custom = is_custom || tool.name == action.call.name;
  }
  RecordToolReturn record;
  record.run_id = run_id;
  if (rules.last.contains(action.call.name)) record.stop_reason = "tool_rule";
  if (std::find(valid.begin(), valid.end(), action.call.name) == valid.end()) {
    record.message = tool_message(action.call,
                                  "[ToolConstraintError] Cannot call " + action.call.name +
                                      ", valid tools include: [" + quoted_list(valid) + "].",
                                  true);
  } else if (is_custom) {
    record.message =
        failed_tool(action.call, "the tool '" + action.call.name +
                                     "' is known to this server, but it cannot run custom tools yet");
  } else {
    const bool search = action.call.name == kConversationSearch;
    auto message = search ? co_await search_tool(actor, std::move(action))
                          : co_await memory_tool(actor, std::move(action));
    if (!message) co_return message.error();
    record.message = std::move(*message);
  }
  auto answer = co_await submit(stream, std::move(record));
  co_return answer ? ok() : Status{answer.error()};
}

Task<Message> Shard::memory_tool(Actor* actor, RunTool action) {
  auto parsed = parse_memory_tool_call(action.call);
  if (!parsed) co_return failed_tool(action.call, parsed.error().message);
  const AgentState* agent = actor->state.agent();
  if (agent == nullptr || !agent->turn) co_return Error{Errc::conflict, "the turn is over"};
  const std::string intent = tool_intent(agent->turn->command, action.step_id, action.ordinal) +
                             (mutant(Mutant::tool_call_without_id) ? uuid4(env_.rng()) : "");
  std::string request_id = agent->turn->request_id;
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
    co_return failed_tool(action.call, "Block field " + parsed->label +
                                           " does not exist (available sections = " + quoted_list(labels) +
                                           ")");
  }
  // The id is made of turn and call: however often the call is repeated, the block is edited once.
  CommandEnvelope envelope{{command_id_from_text(intent), command_hash(intent, action.call.arguments), true,
                            std::move(request_id)},
                           target->block,
                           parsed->edit};
  CallLimits limits{env_.now() + std::chrono::seconds{10}};
  auto edited = co_await ports_.sender.send(std::move(envelope), limits);
  if (!edited) {
    const Errc code = edited.error().code;
    if (code == Errc::invalid_argument || code == Errc::not_found) {
      co_return failed_tool(action.call, edited.error().message);
    }
    co_return edited.error();
  }
  for (const LogPosition& position : edited->positions) merge_position(actor->turn_positions, position);
  const std::string text = edited->block ? edited->block->value.value : "";
  co_return tool_message(action.call, text, false);
}

// conversation_search: what the agent said and heard, also what it sees no more.
Task<Message> Shard::search_tool(Actor* actor, RunTool action) {
  auto question = parse_search_call(action.call);
  if (!question) co_return failed_tool(action.call, question.error().message);
  if (ports_.search == nullptr) co_return failed_tool(action.call, "this server cannot search messages");
  question->agent = actor->state.stream;
  question->limit = std::min(question->limit, kFoundMax);
  auto found = co_await ports_.search->search(std::move(*question));
  if (!found) co_return found.error();
  JsonWriter out;
  out.begin_object().field("message", "Showing " + std::to_string(found->size()) + " results:");
  out.key("results").begin_array();
  for (const FoundMessage& one : *found) {
    out.begin_object().field("timestamp", format_rfc3339_seconds(one.at)).field("role", one.role);
    out.field("content", prefix_of_text(one.text, kFoundTextBytesMax)).end_object();
  }
  out.end_array().end_object();
  co_return tool_message(action.call, found->empty() ? "No results found." : out.text(), false);
}

Task<SummaryResult> Shard::summarize(Actor* actor) {
  const StreamId stream = actor->state.stream;
  const AgentState& agent = *actor->state.agent();
  const std::string run_id = agent.turn ? agent.turn->run_id : "";
  SummaryResult result;
  result.messages_before = static_cast<std::int64_t>(agent.context.size());
  result.messages_after = result.messages_before;
  RecordSummary record;
  record.message_ids = messages_to_summarize(agent, run_id);
  if (record.message_ids.empty()) co_return result;
  ModelRequest request;
  request.model = agent.turn ? model_of(agent) : agent.settings.model;
  if (!ports_.model.summarizes(request.model)) {
    co_return Error{Errc::invalid_argument, "the model '" + request.model + "' cannot summarise"};
  }
  request.system = std::string(kSummaryPrompt);
  const auto transcript = std::make_shared<const Message>(transcript_of(agent, record.message_ids));
  request.messages.push_back(transcript);
  request.messages_tokens = tokens_of(*transcript);
  auto outcome = co_await ask_model(actor, std::move(request), env_.now() + std::chrono::minutes{2});
  if (!outcome) co_return outcome.error();
  if (const auto* failure = std::get_if<ModelFailure>(&*outcome)) {
    co_return Error{Errc::unavailable, "the model could not summarise: " + failure->message};
  }
  record.text = stored_output(std::get<ModelReply>(*outcome).text);
  if (record.text.empty()) co_return Error{Errc::unavailable, "the model gave an empty summary"};
  result.text = record.text;
  auto answer = co_await submit(stream, std::move(record));
  if (!answer) co_return answer.error();
  if (actor->state.agent() != nullptr) {
    result.messages_after = static_cast<std::int64_t>(actor->state.agent()->context.size());
  }
  co_return result;
}

// SummarizeContext, as a client asks for it. It holds no mailbox while the model works.
Task<CommandAnswer> Shard::summarize_on_demand(StreamId stream) {
  auto activated = co_await activate(stream);
  if (!activated) co_return activated.error();
  Actor* actor = *activated;
  Command check = SummarizeContext{};
  auto exists = co_await submit(stream, std::move(check));
  if (!exists) co_return exists.error();
  if (actor->driving || actor->model_call) {
    co_return Error{Errc::conflict, "the agent is working; cancel its run or wait for the end"};
  }
  set_driving(*actor, true);  // A turn that opens meanwhile begins when this is over.
  auto result = co_await summarize(actor);
  set_driving(*actor, false);
  drive_if_open(*actor);
  if (!result) co_return result.error();
  CommandAnswer answer = answer_from(actor->state);
  answer.summary = std::move(*result);
  co_return answer;
}

// PreviewTurn: the turn is decided and applied on a copy of the agent, which is then forgotten.
Task<CommandAnswer> Shard::preview_turn(StreamId stream, PreviewTurn command, MonoTime deadline) {
  Command check = PreviewTurn{};
  auto exists = co_await submit(stream, std::move(check), deadline);
  if (!exists) co_return exists.error();
  auto activated = co_await activate(stream);
  if (!activated) co_return activated.error();
  ActorState imagined = (*activated)->state;
  auto* agent = std::get_if<AgentState>(&imagined.body);
  if (agent == nullptr || !imagined.exists()) {
    co_return Error{Errc::not_found, "Agent with ID " + stream.value() + " not found"};
  }
  agent->turn.reset();
  const WallTime now = env_.wall_now();
  const CommandId id = command_id_from_text("preview " + uuid4(env_.rng()));
  const Facts facts{stream, id, now, ports_.log.partitions(), {}, owner_.admitted_at()};
  Command begin = SendMessages{std::move(command.messages), 1, std::move(command.request)};
  auto decision = decide(imagined, begin, facts);
  if (!decision) co_return decision.error();
  Commit commit;
  commit.at = now;
  commit.command.id = id;
  Part part{stream, next(imagined.sequence), {}};
  for (Event& event : decision->events) part.events.emplace_back(std::move(event));
  apply_part(imagined, commit, part, Offset{}, true);
  std::vector<StreamId> attached;
  for (const BlockRef& ref : agent->blocks) attached.push_back(ref.block);
  // In nobody's name: who asks drops its deleted blocks, which would be an event.
  auto blocks = co_await ask_blocks(StreamId{}, std::move(attached));
  if (!blocks) co_return blocks.error();
  auto custom = co_await ask_tools(custom_tools(*agent));
  if (!custom) co_return custom.error();
  std::vector<BlockValue> values;
  for (const BlockFact& fact : *blocks) {
    if (fact.exists) values.push_back(fact.value);
  }
  const Json asked = request_of(*agent);
  const ToolRules rules = tool_rules_of(agent->settings);
  ShownContext shown_context;
  ModelRequest request =
      model_request(*agent, shown_context, values, tools_offered(*agent, *custom, asked, rules), rules);
  if (wants_tokens(asked)) request.on_delta = [](const ModelDelta& /*delta*/) {};
  CommandAnswer answer = answer_from(imagined);
  answer.payload = ports_.model.payload(request);
  co_return answer;
}

}  // namespace varve
