#include "actors/shard.h"

#include <algorithm>

#include "actors/agent_teleport.h"
#include "actors/catalogue.h"
#include "actors/sealed_state.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

bool starts_turn(const Command& command) {
  return std::holds_alternative<SendMessages>(command);
}

bool creates(const Command& command) {
  return std::holds_alternative<CreateAgent>(command) || std::holds_alternative<CreateBlock>(command);
}

// What is answered without one, see execute_otherwise().
bool has_mailbox(const Command& command) {
  return !(std::holds_alternative<ReadBlock>(command) || std::holds_alternative<ReadTools>(command) ||
           std::holds_alternative<SkipEvent>(command) || std::holds_alternative<PreviewTurn>(command) ||
           std::holds_alternative<SummarizeContext>(command));
}

bool ends_stream(const Command& command) {
  return std::holds_alternative<DeleteAgent>(command) || std::holds_alternative<EraseAgent>(command) ||
         std::holds_alternative<DeleteBlock>(command);
}

Error not_here_any_more() {
  return {Errc::unavailable, "the partition moves to another node; the request was not begun"};
}

Error shutting_down() {
  return {Errc::unavailable, "the server is shutting down"};
}

Error key_reused() {
  return {Errc::conflict, "the idempotency key was used before for another request; use a new key"};
}

// What became of a command, for metrics (docs/metrics.md).
std::string_view outcome_of(const Result<CommandAnswer>& answer) {
  if (answer) return "ok";
  switch (answer.error().code) {
    case Errc::invalid_argument:
    case Errc::not_found:
    case Errc::conflict:
      return "refused";
    case Errc::resource_exhausted:
      return "busy";
    case Errc::unavailable:
    case Errc::cancelled:
      return "unavailable";
    case Errc::outcome_unknown:
      return "unknown";
    case Errc::corrupt:
      return "corrupt";
  }
  return "refused";
}

Task<> nothing_to_wait_for() {
  co_return ok();
}

// What a decision writes; it is empty afterwards.
std::vector<Part> parts_of(const StreamId& stream, Sequence first, Decision& decision) {
  std::vector<Part> parts;
  parts.push_back({stream, first, {}});
  for (Event& event : decision.events) parts.back().events.emplace_back(std::move(event));
  for (Birth& birth : decision.births) {
    parts.push_back({birth.stream, Sequence{1}, {}});
    for (Event& event : birth.events) parts.back().events.emplace_back(std::move(event));
  }
  return parts;
}

// What a command that changes nothing was asked for, on top of what every answer says.
void add_what_was_read(const ActorState& state, const Command& command, std::vector<BlockFact> blocks,
                       CommandAnswer& answer) {
  if (std::holds_alternative<AppendTeleport>(command)) answer.payload = teleport_json(state);
  if (const auto* put = std::get_if<PutTool>(&command)) {
    answer.tools = tools_asked_for(state, {{}, {put->tool.name}});
  } else if (const auto* take = std::get_if<TakeTool>(&command)) {
    answer.tools = tools_asked_for(state, {{}, {take->tool.name}});
  } else if (const auto* update = std::get_if<UpdateTool>(&command)) {
    answer.tools = tools_asked_for(state, {{update->id}, {}});
  }
  if (const auto* resolve = std::get_if<ResolveLabel>(&command)) {
    for (BlockFact& fact : blocks) {
      if (fact.exists && fact.value.label == resolve->label && !answer.block) answer.block = std::move(fact);
    }
  }
}

}  // namespace

Shard::Shard(Env& env, Partition partition, NodeIdentity identity, Ports ports, PartitionOwner::Proof prove,
             ShardOptions options)
    : env_(env),
      partition_(partition),
      ports_(ports),
      options_(options),
      owner_(env, ports.log, partition, std::move(identity), *this, std::move(prove)),
      tasks_(env),
      last_round_(env.now()) {}

void Shard::start() {
  launch("shard " + std::to_string(partition_.value()), main());
  launch("housekeeping " + std::to_string(partition_.value()), housekeep());
}

// For the simulation (sim/owner_oracle.h): a command begins to be decided; it is answered without an event.
void Shard::trace(std::string_view what, const CommandId& command) const {
  if (!env_.tracing()) return;
  const std::string where = "shard p=" + std::to_string(partition_.value()) + " ";
  env_.trace(where + std::string(what) + " cmd=" + to_hex(command));
}

bool Shard::launch(std::string name, Task<> task) {
  return tasks_.spawn(std::move(name), std::move(task)).has_value();
}

void Shard::fence() {
  if (fenced_) return;
  stopping_ = true;
  fenced_ = true;
  owner_.stop();
  for (const auto& [stream, actor] : actors_) {
    for (auto* queue : {&actor->mailbox, &actor->turns_waiting}) {
      for (const PendingPtr& pending : *queue) pending->answer.set(not_here_any_more());
      queue->clear();
    }
    if (actor->turn) actor->turn->abandon();
    if (actor->model_call) actor->model_call->changed.notify_all();
  }
  fenced_now_.notify_all();
  erased_.notify_all();
  tasks_.close();
}

Task<> Shard::stop(MonoTime deadline) {
  fence();
  if (Status ended = co_await tasks_.join(deadline); !ended) co_return ended;
  co_return co_await owner_.join(deadline);
}

// Most commands go straight to their mailbox: a coroutine in between would hold one more copy of each.
Task<CommandAnswer> Shard::execute(CommandEnvelope envelope, CallLimits limits) {
  if (fenced_ || stopping_ || !owner_.owned() || !has_mailbox(envelope.command))
    return execute_otherwise(std::move(envelope), limits);
  Actor* actor = resident_actor(envelope.stream);
  if (actor == nullptr || actor->mailbox.size() >= options_.mailbox_max)
    return enqueue(std::move(envelope), limits, true);
  return answer_to(put_in_mailbox(*actor, std::move(envelope), limits));
}

Task<CommandAnswer> Shard::execute_otherwise(CommandEnvelope envelope, CallLimits limits) {
  if (fenced_) co_return not_here_any_more();
  if (stopping_) co_return shutting_down();
  if (!owner_.owned()) {
    const MonoTime patience = std::min(limits.deadline, env_.now() + options_.owner_wait);
    if (Status owned = co_await owner_.wait_owned(patience); !owned) co_return owned.error();
  }
  if (std::holds_alternative<ReadBlock>(envelope.command)) co_return co_await read_block(envelope.stream);
  if (auto* tools = std::get_if<ReadTools>(&envelope.command)) {
    co_return co_await read_tools(envelope.stream, std::move(*tools));
  }
  if (const auto* event = std::get_if<SkipEvent>(&envelope.command)) {
    co_return co_await skip(envelope.stream, *event, limits.deadline);
  }
  if (auto* preview = std::get_if<PreviewTurn>(&envelope.command)) {
    co_return co_await preview_turn(envelope.stream, std::move(*preview), limits.deadline);
  }
  if (std::holds_alternative<SummarizeContext>(envelope.command)) {
    co_return co_await summarize_on_demand(envelope.stream);
  }
  co_return co_await enqueue(std::move(envelope), limits, true);
}

Task<CommandAnswer> Shard::enqueue(CommandEnvelope envelope, CallLimits limits, bool bounded) {
  Actor* resident = resident_actor(envelope.stream);
  if (resident == nullptr) {
    auto activated = co_await activate(envelope.stream);
    if (!activated) co_return activated.error();
    resident = *activated;
  }
  if (fenced_) co_return not_here_any_more();
  if (stopping_ && bounded) co_return shutting_down();
  Actor& actor = *resident;
  if (bounded && actor.mailbox.size() >= options_.mailbox_max) {
    co_return Error{Errc::resource_exhausted, "too many requests wait for '" + envelope.stream.value() + "'"};
  }
  co_return co_await answer_to(put_in_mailbox(actor, std::move(envelope), limits));
}

Shard::PendingPtr Shard::put_in_mailbox(Actor& actor, CommandEnvelope envelope, CallLimits limits) {
  auto pending = std::make_shared<Pending>();
  pending->envelope = std::move(envelope);
  pending->deadline = limits.deadline;
  pending->asked = env_.now();
  pending->turn = limits.turn;
  actor.mailbox.push_back(pending);
  if (mutant(Mutant::order_by_address)) std::sort(actor.mailbox.begin(), actor.mailbox.end());
  pump_if_needed(actor);
  return pending;
}

Task<CommandAnswer> Shard::answer_to(PendingPtr pending) {
  Reply& reply = pending->answer;
  const MonoTime deadline = pending->deadline;
  while (!reply.given && env_.now() < deadline) co_await reply.ready.wait(env_, deadline);
  if (reply.given) co_return std::move(*reply.given);
  pending->abandoned = true;
  if (!pending->decided) co_return Error{Errc::unavailable, "the deadline came before the request was begun"};
  co_return Error{Errc::outcome_unknown, "the deadline came before the outcome was known"};
}

void Shard::pump_if_needed(Actor& actor) {
  actor.used = env_.now();
  if (actor.pumping || actor.mailbox.empty()) return;
  actor.pumping = true;
  launch("mailbox", pump(&actor));
}

Task<> Shard::pump(Actor* actor) {
  while (!actor->mailbox.empty()) {
    const PendingPtr pending = actor->mailbox.front();
    actor->mailbox.pop_front();
    if (is_dealt_with(*actor, pending)) continue;
    ignore_error(co_await handle(actor, pending), "the caller has got it");
  }
  actor->pumping = false;
  actor->used = env_.now();
  co_return ok();
}

// The answer to what has opened a turn or found it open: now, with the channel, or when the turn ends.
void Shard::answer_turn(Actor& actor, const PendingPtr& pending, CommandAnswer answer) {
  if (pending->turn == CallLimits::Turn::opened) {
    answer.channel = actor.turn;
    pending->answer.set(std::move(answer));
    return;
  }
  if (launch("join turn", join_turn(actor.turn, pending, std::move(answer)))) return;
  pending->answer.set(Error{Errc::outcome_unknown, "the turn was interrupted and goes on; ask again"});
}

// A retry of the request that has opened the turn joins it - if it is the same request.
void Shard::join_open_turn(Actor& actor, const PendingPtr& pending) {
  if (const auto before = replayed(actor.state, pending->envelope); before && !*before) {
    pending->answer.set(before->error());
    return;
  }
  open_channel(actor);
  pending->decided = true;
  CommandAnswer answer = answer_from(actor.state);
  answer.replayed = true;
  answer_turn(actor, pending, std::move(answer));
}

bool Shard::is_dealt_with(Actor& actor, const PendingPtr& pending) {
  if (pending->abandoned || env_.now() >= pending->deadline) {
    pending->answer.set(Error{Errc::unavailable, "the deadline came before the request was begun"});
    return true;
  }
  if (fenced_) {
    pending->answer.set(not_here_any_more());
    return true;
  }
  const CommandEnvelope& envelope = pending->envelope;
  const bool opens = starts_turn(envelope.command);
  if (opens && stopping_) {
    pending->answer.set(shutting_down());  // Its turn would not be driven here.
    return true;
  }
  if (actor.state.corrupt) return false;
  if (opens && actor.state.has_open_turn()) {
    wait_for_turn(actor, pending);
    return true;
  }
  if (std::holds_alternative<EraseAgent>(envelope.command)) return false;
  auto before = replayed(actor.state, envelope);
  if (before) give_answer(actor, pending, std::move(*before));
  return before.has_value();
}

// What would open a turn, while one is open.
void Shard::wait_for_turn(Actor& actor, const PendingPtr& pending) {
  const CommandEnvelope& envelope = pending->envelope;
  if (actor.state.agent()->turn->command == envelope.command_ref.id) {
    join_open_turn(actor, pending);
  } else if (auto before = replayed(actor.state, envelope)) {
    give_answer(actor, pending, std::move(*before));
  } else if (actor.stuck) {
    pending->answer.set(turn_is_stuck());
  } else if (actor.turns_waiting.size() >= options_.turns_waiting_max) {
    pending->answer.set(Error{Errc::resource_exhausted, "too many messages wait for the agent's open turn"});
  } else {
    actor.turns_waiting.push_back(pending);
  }
}

// An erasure is answered when the keys are gone.
Task<CommandAnswer> Shard::erased(StreamId stream, CommandAnswer answer, MonoTime deadline) {
  if (Status destroyed = co_await keys_destroyed(std::move(stream), deadline); !destroyed)
    co_return destroyed.error();
  if (owner_.newest_admitted()) merge_position(answer.positions, {partition_, *owner_.newest_admitted()});
  co_return answer;
}

Histogram& Shard::time_of(const Command& command, const Result<CommandAnswer>& answer) {
  if (!answer) return env_.timing({"command", type_of(command), outcome_of(answer), {}});
  Histogram*& known = times_[command.index()];
  if (known == nullptr) known = &env_.timing({"command", type_of(command), outcome_of(answer), {}});
  return *known;
}

void Shard::give_answer(Actor& actor, const PendingPtr& pending, Result<CommandAnswer> answer) {
  const Command& command = pending->envelope.command;
  time_of(command, answer).add(env_.now() - pending->asked);
  const bool took_effect = answer && answer->commit != nullptr;
  if (starts_turn(command) && took_effect) {
    answer_turn(actor, pending, std::move(*answer));
    drive_if_open(actor);
  } else if (std::holds_alternative<FollowTurn>(command) && answer) {
    open_channel(actor);
    answer_turn(actor, pending, std::move(*answer));
  } else {
    pending->answer.set(std::move(answer));
  }
  admit_waiting_turn(actor);
}

Task<> Shard::handle(Actor* actor, PendingPtr pending) {
  const auto sent = send_at_once(*actor, *pending);
  if (!sent) return handle_long(actor, std::move(pending));
  if (*sent) return handle_sent(actor, std::move(pending), (*sent)->fate, (*sent)->first);
  give_answer(*actor, pending, sent->error());
  return nothing_to_wait_for();
}

Task<> Shard::handle_sent(Actor* actor, PendingPtr pending, PartitionOwner::FatePtr fate, Sequence first) {
  auto admitted = co_await owner_.outcome(std::move(fate), kNever);
  give_answer_of(*actor, pending, first, admitted);
  co_return ok();
}

void Shard::give_answer_of(Actor& actor, const PendingPtr& pending, Sequence first,
                           const Result<Admitted>& admitted) {
  pending->decided = admitted || admitted.error().code == Errc::outcome_unknown;
  if (!admitted) return give_answer(actor, pending, admitted.error());
  give_answer(actor, pending, answer_of(actor, pending->envelope.command, first, *admitted));
}

Task<> Shard::handle_long(Actor* actor, PendingPtr pending) {
  auto answer = co_await carry_out(actor, pending);
  if (answer && std::holds_alternative<EraseAgent>(pending->envelope.command)) {
    Task<CommandAnswer> erasing = erased(pending->envelope.stream, std::move(*answer), pending->deadline);
    answer = co_await std::move(erasing);
  }
  give_answer(*actor, pending, std::move(answer));
  co_return ok();
}

Task<CommandAnswer> Shard::carry_out(Actor* actor, PendingPtr pending) {
  const CommandEnvelope& envelope = pending->envelope;
  if (actor->state.corrupt) {
    co_return Error{Errc::corrupt, "the history of '" + envelope.stream.value() + "' is damaged at offset " +
                                       std::to_string(actor->state.bad_offset.value()) + ": " +
                                       actor->state.why_corrupt};
  }
  if (auto before = replayed(actor->state, envelope)) co_return std::move(*before);
  if (is_locked(*actor) && !ends_stream(envelope.command)) co_return key_is_missing(envelope.stream);
  trace("asked", envelope.command_ref.id);

  Facts facts{envelope.stream,     envelope.command_ref.id, env_.wall_now(), ports_.log.partitions(), {},
              owner_.admitted_at()};
  const auto wanted = blocks_to_ask(actor->state, envelope.command);
  if (!wanted.empty()) {
    auto blocks = co_await ask_blocks(envelope.stream, wanted);
    if (!blocks) co_return blocks.error();
    facts.blocks = std::move(*blocks);
  }

  bool hidden = false;
  if (const BlockState* block = actor->state.block(); block != nullptr && block->imported()) {
    const StreamId agent = block->imported_with;
    auto asked = co_await is_hidden(agent);
    if (!asked) co_return asked.error();
    hidden = *asked;
  }
  static const ActorState kUnborn;
  auto decision = decide(hidden ? kUnborn : actor->state, envelope.command, facts);
  if (!decision || decision->events.empty()) {
    // A refusal, or a success without an event, may come from a stale owner: it needs the present.
    if (!mutant(Mutant::refusal_without_end)) {
      if (Status present = co_await owner_.present(pending->deadline); !present) co_return present.error();
    }
    trace("refused", envelope.command_ref.id);
    if (!decision) co_return decision.error();
    CommandAnswer answer = answer_from(actor->state);
    add_what_was_read(actor->state, envelope.command, std::move(facts.blocks), answer);
    co_return answer;
  }

  std::vector<Part> parts = parts_of(envelope.stream, next(actor->state.sequence), *decision);
  const Sequence first = parts.front().first;
  if (is_to_be_sealed(*actor, parts)) {
    if (Status sealed = co_await seal_parts(actor, &parts, envelope.command_ref.id); !sealed)
      co_return sealed.error();
  }
  pending->decided = true;
  if (mutant(Mutant::decision_grows_old)) co_await sleep_for(env_, std::chrono::seconds{5});
  // Without a deadline: the actor may not go on before the fate of its append is known. The caller's own
  // deadline is watched in enqueue().
  auto admitted = co_await owner_.commit(std::move(parts), envelope.command_ref, kNever);
  if (!admitted) {
    pending->decided = admitted.error().code == Errc::outcome_unknown;
    co_return admitted.error();
  }
  co_return answer_of(*actor, envelope.command, first, *admitted);
}

CommandAnswer Shard::answer_of(const Actor& actor, const Command& command, Sequence first,
                               const Admitted& admitted) const {
  CommandAnswer answer = answer_from(actor.state);
  answer.positions = {{partition_, admitted.offset}};
  answer.first = first;
  answer.commit = admitted.commit;
  answer.offset = admitted.offset;
  if (const auto* put = std::get_if<PutTool>(&command)) {
    answer.tools = tools_asked_for(actor.state, {{}, {put->tool.name}});
  } else if (const auto* take = std::get_if<TakeTool>(&command)) {
    answer.tools = tools_asked_for(actor.state, {{}, {take->tool.name}});
  }
  return answer;
}

// The usual way of a command, of which carry_out() is the long one: a coroutine keeps what it knows in memory
// for as long as it waits, this forgets it.
std::optional<Result<Shard::Sent>> Shard::send_at_once(Actor& actor, Pending& pending) {
  const CommandEnvelope& envelope = pending.envelope;
  const BlockState* block = actor.state.block();
  if (actor.state.corrupt || is_locked(actor) || (block != nullptr && block->imported())) return std::nullopt;
  if (std::holds_alternative<EraseAgent>(envelope.command) || mutant(Mutant::decision_grows_old))
    return std::nullopt;
  if (!blocks_to_ask(actor.state, envelope.command).empty()) return std::nullopt;
  const Facts facts{
      envelope.stream,     envelope.command_ref.id, env_.wall_now(), ports_.log.partitions(), {},
      owner_.admitted_at()};
  auto decision = decide(actor.state, envelope.command, facts);
  if (!decision || decision->events.empty()) return std::nullopt;
  std::vector<Part> parts = parts_of(envelope.stream, next(actor.state.sequence), *decision);
  if (is_to_be_sealed(actor, parts)) return std::nullopt;
  const Sequence first = parts.front().first;
  trace("asked", envelope.command_ref.id);
  auto begun = owner_.begin(std::move(parts), envelope.command_ref);
  if (!begun) return Result<Sent>{begun.error()};
  pending.decided = true;
  return Result<Sent>{Sent{std::move(*begun), first}};
}

std::optional<Result<CommandAnswer>> Shard::replayed(const ActorState& state,
                                                     const CommandEnvelope& envelope) const {
  const CommandRef& ref = envelope.command_ref;
  if (!ref.client || mutant(Mutant::command_ids_ignored)) return std::nullopt;
  Sequence first;
  if (creates(envelope.command) && state.sequence > Sequence{}) {
    // For ever, also after deletion: the id of what it created derives from the command's.
    if (state.created_by.id != ref.id || state.created_by.hash != ref.hash)
      return Result<CommandAnswer>{key_reused()};
    first = Sequence{1};
  } else if (const RecentCommand* recent = state.recent.find(ref.id)) {
    if (recent->hash != ref.hash) return Result<CommandAnswer>{key_reused()};
    first = recent->first;
  } else {
    return std::nullopt;
  }
  env_.count("commands_replayed");
  CommandAnswer answer = answer_from(state);
  answer.replayed = true;
  answer.first = first;
  return Result<CommandAnswer>{std::move(answer)};
}

CommandAnswer Shard::answer_from(const ActorState& state) const {
  CommandAnswer answer;
  answer.stream = state.stream;
  if (owner_.newest_admitted()) answer.positions = {{partition_, *owner_.newest_admitted()}};
  if (const BlockState* block = state.block()) {
    answer.block = BlockFact{state.stream, state.sequence, state.exists(), block->value};
  }
  return answer;
}

// The actor of a stream whose history is sound, for a question that needs no mailbox.
Task<Shard::Actor*> Shard::sound_actor(StreamId stream) {
  auto activated = co_await activate(stream);
  if (!activated) co_return activated.error();
  Actor* actor = *activated;
  actor->used = env_.now();
  if (actor->state.corrupt) {
    co_return Error{Errc::corrupt, "the history of '" + stream.value() + "' is damaged"};
  }
  if (is_locked(*actor)) co_return key_is_missing(stream);
  co_return actor;
}

Task<bool> Shard::is_hidden(StreamId imported_with) {
  auto activated = co_await activate(imported_with);
  if (!activated) co_return activated.error();
  const AgentState* agent = (*activated)->state.agent();  // Of a damaged history what came before.
  co_return agent != nullptr && agent->importing;
}

Task<CommandAnswer> Shard::read_block(StreamId stream) {
  auto actor = co_await sound_actor(stream);
  if (!actor) co_return actor.error();
  CommandAnswer answer = answer_from((*actor)->state);
  const BlockFact nothing{stream, (*actor)->state.sequence, false, {}};
  if (!answer.block || !answer.block->exists) answer.block = nothing;
  const BlockState* block = (*actor)->state.block();
  if (block == nullptr || !block->imported()) co_return answer;
  const StreamId agent = block->imported_with;
  auto hidden = co_await is_hidden(agent);
  if (!hidden) co_return hidden.error();
  if (*hidden) answer.block = BlockFact{stream, Sequence{}, false, {}};
  co_return answer;
}

Task<CommandAnswer> Shard::read_tools(StreamId stream, ReadTools question) {
  auto actor = co_await sound_actor(stream);
  if (!actor) co_return actor.error();
  CommandAnswer answer = answer_from((*actor)->state);
  answer.tools = tools_asked_for((*actor)->state, question);
  co_return answer;
}

Task<std::vector<BlockFact>> Shard::ask_blocks(StreamId asking, std::vector<StreamId> blocks) {
  std::vector<BlockFact> facts;
  for (const StreamId& block : blocks) {
    CommandEnvelope question{{}, block, ReadBlock{}};
    CallLimits limits{env_.now() + std::chrono::seconds{5}};
    auto answer = co_await ports_.sender.send(std::move(question), limits);
    if (!answer) co_return answer.error();
    facts.push_back(std::move(*answer->block));
  }
  // A block that was deleted is detached from whoever learns it.
  const auto asker = actors_.find(asking);
  if (asker != actors_.end() && asker->second->state.agent() != nullptr) {
    for (const BlockFact& fact : facts) {
      const auto& attached = asker->second->state.agent()->blocks;
      const bool ours = std::any_of(attached.begin(), attached.end(),
                                    [&](const BlockRef& ref) { return ref.block == fact.block; });
      if (ours && !fact.exists && fact.sequence > Sequence{}) {
        auto pending = std::make_shared<Pending>();
        pending->envelope = {{}, asking, DropDeletedBlock{fact.block}};
        if (!mutant(Mutant::command_without_id))
          pending->envelope.command_ref.id = command_id_from_text("internal " + uuid4(env_.rng()));
        pending->deadline = kNever;
        pending->asked = env_.now();
        asker->second->mailbox.push_back(std::move(pending));
        pump_if_needed(*asker->second);
      }
    }
  }
  co_return facts;
}

Task<CommandAnswer> Shard::submit(StreamId stream, Command command, MonoTime deadline,
                                  std::optional<CommandId> id) {
  CommandEnvelope envelope{{}, std::move(stream), std::move(command)};
  // What a turn does carries the id of the request that has opened it.
  if (const auto found = actors_.find(envelope.stream); found != actors_.end()) {
    const AgentState* agent = found->second->state.agent();
    if (agent != nullptr && agent->turn) envelope.command_ref.request_id = agent->turn->request_id;
  }
  // Unique among what is in flight; never remembered.
  envelope.command_ref.id = id ? *id : command_id_from_text("internal " + uuid4(env_.rng()));
  CallLimits limits{deadline};
  co_return co_await enqueue(std::move(envelope), limits, false);
}

std::optional<ActorState> Shard::peek(const StreamId& stream) const {
  const auto found = actors_.find(stream);
  if (found == actors_.end()) return std::nullopt;
  return found->second->state;
}

void Shard::on_commit(const Commit& commit, Offset offset) {
  ++records_since_round_;
  std::shared_ptr<const Commit> kept;
  const auto keep = [&] {
    if (!kept) kept = std::make_shared<const Commit>(commit);
    return kept;
  };
  for (std::size_t i = 0; i < commit.parts.size(); ++i) {
    const Part& part = commit.parts[i];
    const Offset before = known_.last(part.stream);
    const bool birth = part.first == Sequence{1} && before == Offset{};
    if (birth) ++streams_;
    known_.note(part.stream, offset);
    note_erasure(part);
    auto found = actors_.find(part.stream);
    if (found == actors_.end()) {
      if (!birth || activating_.contains(part.stream)) {
        keep_in_tail(part.stream, before, {keep(), i, offset});
        continue;
      }
      found = actors_.emplace(part.stream, std::make_unique<Actor>()).first;
      found->second->state.stream = part.stream;
      found->second->used = env_.now();
    }
    if (unread_.contains(part.stream)) keep_in_tail(part.stream, before, {keep(), i, offset});
    Actor& actor = *found->second;
    if (actor.seal) {
      const Part opened = opened_part(part, *actor.seal);
      take_part(actor, commit, opened, offset, {});
      publish(actor, commit, opened, offset);
    } else {
      take_part(actor, commit, part, offset, {});
      publish(actor, commit, part, offset);
    }
  }
}

void Shard::on_owned() {
  if (!mutant(Mutant::turns_not_resumed)) launch("resume turns", resume_turns());
  reread_ruled();
  if (!mutant(Mutant::erasure_not_finished)) finish_erasures();
}

void Shard::on_stopped() {
  env_.count("partitions_lost");
}

}  // namespace varve
