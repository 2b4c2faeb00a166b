// Shard: turns. What an open turn does next follows from its agent's state alone (next_action), so a driver
// can be lost at any moment and started again by anyone who owns the partition.
#include <algorithm>

#include "actors/memory_tools.h"
#include "actors/shard.h"
#include "runtime/mutant.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

// How long a turn that cannot be recorded keeps its callers waiting.
constexpr std::chrono::seconds kTurnPatience{3};
// Between two tries of a step that was not recorded.
constexpr Duration kStepPause = std::chrono::milliseconds{50};
constexpr Duration kStepPauseMax = std::chrono::seconds{5};

// A turn has its time by the clock of its driver that is never set. Who resumes it gives it the time of a new
// one: what is left by the clocks of its former owners may be anything. But what was over so long ago is
// given up, nobody waits for it any more; so wrong no clock is.
constexpr std::chrono::microseconds kTurnTime{kTurnMicros};
constexpr std::chrono::hours kOverLongAgo{1};

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

// How a turn has ended and when it began, for metrics.
struct TurnsEnd {
  std::string_view outcome;
  WallTime started_at;
};
std::optional<TurnsEnd> end_of_turn(const Event& event) {
  if (const auto* finished = std::get_if<TurnFinished>(&event))
    return TurnsEnd{"finished", finished->started_at};
  if (const auto* failed = std::get_if<TurnFailed>(&event)) return TurnsEnd{"failed", failed->started_at};
  if (const auto* cancelled = std::get_if<TurnCancelled>(&event)) {
    return TurnsEnd{"cancelled", cancelled->started_at};
  }
  return std::nullopt;
}

}  // namespace

// By its owner alone: what is read again after a failover has been counted before.
void Shard::count_turn(const Event& event, WallTime at) {
  if (!owner_.owned()) return;
  if (std::holds_alternative<UserMessageReceived>(event)) env_.count("turns_opened");
  if (const auto end = end_of_turn(event)) {
    const std::chrono::microseconds took{at.value() - end->started_at.value()};
    env_.observe({"turn", end->outcome, {}, {}}, took);
  }
}

void Shard::set_driving(Actor& actor, bool driving) {
  if (actor.driving == driving) return;
  actor.driving = driving;
  driving ? ++turns_driven_ : --turns_driven_;
}

// Called for every admitted commit after it was applied.
void Shard::publish(Actor& actor, const Commit& commit, const Part& part, Offset offset) {
  if (actor.state.agent() == nullptr) return;
  merge_position(actor.turn_positions, {partition_, offset});
  for (const StoredEvent& stored : part.events) {
    const auto* event = std::get_if<Event>(&stored);
    if (event == nullptr) continue;
    count_turn(*event, commit.at);
    if (std::holds_alternative<UserMessageReceived>(*event)) {
      const auto& received = std::get<UserMessageReceived>(*event);
      actor.turn = owner_.owned() ? std::make_shared<TurnChannel>(received.run_id) : nullptr;
      actor.turn_positions = {{partition_, offset}};
      // What a client's own tools returned is part of the answer.
      for (const Message& message : received.messages) {
        if (actor.turn && message.role == Role::tool) actor.turn->publish({message, commit.at});
      }
    }
    if (!actor.turn) continue;
    if (const auto* replied = std::get_if<AssistantReplied>(event)) {
      actor.turn->publish({replied->message, commit.at});
    } else if (const auto* returned = std::get_if<ToolReturned>(event)) {
      actor.turn->publish({returned->message, commit.at});
    }
    if (auto end = std::visit(EndOfTurn{}, *event)) {
      actor.turn->finish(std::move(*end), actor.turn_positions);
      if (actor.model_call) actor.model_call->changed.notify_all();
    }
  }
}

// A channel for a turn that was opened in another life: what it has published so far is in the context.
void Shard::open_channel(Actor& actor) {
  const AgentState& agent = *actor.state.agent();
  if (!agent.turn || (actor.turn && !actor.turn->finished() && !actor.turn->abandoned())) return;
  actor.turn = std::make_shared<TurnChannel>(agent.turn->run_id);
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
  if (actor.driving || !actor.state.has_open_turn()) return;
  set_driving(actor, true);
  open_channel(actor);
  launch("turn", drive(&actor, false));
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
  while (!candidates.empty()) {
    std::set<StreamId> unread;
    for (const StreamId& stream : candidates) {
      auto activated = co_await activate(stream);
      if (!owner_.owned()) co_return ok();
      if (activated) {
        resume(**activated);
      } else if (activated.error().code == Errc::unavailable && !mutant(Mutant::unread_turns_not_resumed)) {
        unread.insert(stream);  // Nobody else asks for it.
      }
    }
    candidates = std::move(unread);
    if (!candidates.empty()) co_await sleep_for(env_, std::chrono::milliseconds{100});
  }
  co_return ok();
}

void Shard::resume(Actor& actor) {
  if (actor.driving || actor.state.corrupt || is_locked(actor) || !actor.state.has_open_turn()) return;
  set_driving(actor, true);
  open_channel(actor);
  env_.count("turns_resumed");
  launch("resumed turn", drive(&actor, true));
}

// The open turn cannot be recorded at present. It goes on when it can; its callers, and those that wait for
// its end, are told to ask again.
void Shard::release_callers(Actor& actor) {
  actor.stuck = true;
  if (actor.turn) actor.turn->abandon();
  for (const PendingPtr& pending : actor.turns_waiting) pending->answer.set(turn_is_stuck());
  actor.turns_waiting.clear();
}

Error Shard::turn_is_stuck() {
  return {Errc::unavailable, "the agent's open turn cannot be recorded at present; try again later"};
}

Task<> Shard::drive(Actor* actor, bool resumed) {
  const std::string run_id = actor->state.agent()->turn->run_id;
  const StreamId stream = actor->state.stream;
  std::optional<MonoTime> failing_since;
  Duration pause = kStepPause;
  const std::chrono::microseconds over_for{env_.wall_now().value() -
                                           actor->state.agent()->turn->deadline.value()};
  const bool given_up = resumed && over_for > kOverLongAgo;
  actor->turn_ends = given_up ? env_.now() : env_.now() + kTurnTime;
  if (resumed) {
    Command resume = ResumeTurn{run_id};
    ignore_error(co_await submit(stream, std::move(resume)), "the state tells what came of it");
  }
  for (;;) {
    const AgentState* agent = actor->state.agent();
    if (stopping_ || agent == nullptr || !agent->turn || agent->turn->run_id != run_id) break;
    // What cannot be recorded (a full disk) is tried again, but nobody is kept waiting for it.
    if (failing_since && env_.now() - *failing_since > kTurnPatience) release_callers(*actor);
    if (!owner_.owned()) {
      if (!failing_since) failing_since = env_.now();
      // A commit of this turn was lost with the ownership; whoever owns the partition next goes on.
      if (Status owned = co_await owner_.wait_owned(env_.now() + options_.owner_wait);
          !owned && owned.error().code != Errc::unavailable) {
        break;
      }
      continue;
    }
    const Status step = co_await drive_step(actor);
    if (step) {
      failing_since.reset();
      actor->stuck = false;
      pause = kStepPause;
    }
    if (step || step.error().code == Errc::conflict) continue;
    if (!failing_since) failing_since = env_.now();
    env_.count("turn_step_retries");
    if (step.error().code == Errc::corrupt) break;
    if (step.error().code == Errc::invalid_argument) {
      // What the step made can never be recorded, however often it is tried.
      Command give_up = FailTurn{run_id, "error", "internal_error", step.error().message};
      ignore_error(co_await submit(stream, std::move(give_up)), "the state tells what came of it");
      continue;
    }
    if (!fenced_) co_await fenced_now_.wait(env_, env_.now() + pause);
    pause = std::min<Duration>(pause * 2, kStepPauseMax);
  }
  set_driving(*actor, false);
  actor->stuck = false;
  actor->made.reset();
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
  if (env_.now() >= actor->turn_ends) {
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
  if (actor.state.has_open_turn() && !stopping_) return;
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
