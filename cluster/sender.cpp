#include "cluster/sender.h"

#include <algorithm>

#include "runtime/mutant.h"

namespace varve {
namespace {

// How long a command waits for the shard of this node to appear, or to own its partition.
constexpr std::chrono::seconds kShardWait{3};
constexpr std::chrono::milliseconds kOwnWait{250};
// How long one attempt at another node waits: an answer that was lost is asked for again.
constexpr std::chrono::seconds kAttemptTime{5};
constexpr Duration kPause = std::chrono::milliseconds{20};
constexpr Duration kPauseMax = std::chrono::seconds{1};
constexpr std::chrono::seconds kFollowWait{2};
constexpr std::chrono::seconds kFollowTime{4};
// How long nothing is heard of a turn before those who follow it are told to ask again.
constexpr std::chrono::seconds kFollowPatience{20};

// Changes nothing, or only what may be changed twice.
bool is_question(const Command& command) {
  return std::holds_alternative<ReadBlock>(command) || std::holds_alternative<ReadTools>(command) ||
         std::holds_alternative<FollowTurn>(command) || std::holds_alternative<PreviewTurn>(command) ||
         std::holds_alternative<ResolveLabel>(command);
}

// A summary is no command of its stream: its id is remembered nowhere, and a second one costs a second call
// of the model.
bool is_repeatable(const CommandEnvelope& envelope) {
  if (is_question(envelope.command)) return true;
  return envelope.command_ref.client && !std::holds_alternative<SummarizeContext>(envelope.command);
}

bool opens_turn(const Command& command) {
  return std::holds_alternative<SendMessages>(command) || std::holds_alternative<FollowTurn>(command);
}

// An attempt that ended so says nothing about those before it.
bool says_nothing(Errc code) {
  return code == Errc::resource_exhausted || code == Errc::corrupt || code == Errc::cancelled;
}

Error may_have_been_applied(const std::string& last) {
  return {Errc::outcome_unknown, "the outcome is not known; it may still take effect (" + last + ")"};
}

Duration left_until(MonoTime deadline, MonoTime now) {
  return deadline == kNever ? kForever : std::clamp<Duration>(deadline - now, Duration{}, kForever);
}

}  // namespace

ClusterSender::ClusterSender(Env& env, Ports ports, NodeIdentity identity, std::uint32_t partitions)
    : env_(env), ports_(ports), identity_(std::move(identity)), partitions_(partitions) {}

Task<CommandAnswer> ClusterSender::send(CommandEnvelope envelope, CallLimits limits) {
  if (ports_.transport != nullptr) return send_anywhere(std::move(envelope), limits);
  auto shard = ports_.member.shard(partition_of(envelope.stream, partitions_));
  if (!shard) return send_here(std::move(envelope), limits);
  Task<CommandAnswer> execution = shard->execute(std::move(envelope), limits);
  return keeping(std::move(shard), std::move(execution));
}

// Whoever executes a command holds the shard.
Task<CommandAnswer> ClusterSender::keeping([[maybe_unused]] std::shared_ptr<Shard> shard,
                                           Task<CommandAnswer> execution) {
  co_return co_await std::move(execution);
}

Task<CommandAnswer> ClusterSender::send_anywhere(CommandEnvelope envelope, CallLimits limits) {
  const auto call = std::make_shared<Call>();
  call->partition = partition_of(envelope.stream, partitions_);
  call->repeatable = is_repeatable(envelope);
  call->envelope = std::move(envelope);
  call->limits = limits;
  auto answer = co_await send_until(call);
  close(*call);
  co_return answer;
}

MonoTime ClusterSender::search_ends(MonoTime heard) const {
  return ports_.owner_search >= kForever ? kNever : heard + ports_.owner_search;
}

void ClusterSender::close(Call& call) {
  open_calls_.erase(call.number);
  call.number = 0;
}

// One attempt, at the shard of this process.
Task<CommandAnswer> ClusterSender::send_here(CommandEnvelope envelope, CallLimits limits) {
  const Partition partition = partition_of(envelope.stream, partitions_);
  std::shared_ptr<Shard> shard = ports_.member.shard(partition);
  const MonoTime patience = std::min(limits.deadline, env_.now() + kShardWait);
  while (!shard && env_.now() < patience) {
    co_await ports_.member.wait(patience);
    shard = ports_.member.shard(partition);
  }
  if (!shard) co_return Error{Errc::unavailable, "the partition has no owner in this process"};
  // On a line of its own: what lies in a co_await's line stays in memory for as long as it waits.
  Task<CommandAnswer> execution = shard->execute(std::move(envelope), limits);
  co_return co_await std::move(execution);
}

Task<CommandAnswer> ClusterSender::send_until(CallPtr call) {
  bool unknown = false;
  Duration pause = kPause;
  MonoTime heard = env_.now();  // Of an owner.
  for (;;) {
    call->asked = false;
    call->news = false;
    auto answer = co_await attempt(call);
    if (answer) co_return answer;
    const Error& error = answer.error();
    if (call->asked || error.code != Errc::unavailable) heard = env_.now();
    if (error.code == Errc::outcome_unknown) {
      unknown = true;
      if (!call->repeatable) co_return error;
    } else if (error.code == Errc::unavailable) {
      if (call->asked && !call->repeatable) co_return error;
    } else if (!unknown || !says_nothing(error.code)) {
      co_return error;
    }
    const Duration wait = Duration{static_cast<std::int64_t>(env_.rng().between(
        static_cast<std::uint64_t>(pause.count() / 2), static_cast<std::uint64_t>(pause.count())))};
    const MonoTime deadline = std::min(call->limits.deadline, search_ends(heard));
    // A node that stops leaves it to its callers to ask another one.
    if (ports_.member.leaving() || env_.now() + wait >= deadline)
      co_return unknown ? may_have_been_applied(error.message) : error;
    if (unknown && mutant(Mutant::retry_with_new_id))
      call->envelope.command_ref.id = command_id_from_text(uuid4(env_.rng()));
    if (call->news) continue;  // The owner is known now.
    env_.count("commands_sent_again");
    co_await sleep_for(env_, wait);
    pause = std::min(pause * 2, kPauseMax);
  }
}

std::shared_ptr<Shard> ClusterSender::owning_shard(Partition partition) const {
  auto shard = ports_.member.shard(partition);
  return shard && shard->owner().owned() ? shard : nullptr;
}

// Who owns the partition, if that is another node.
Task<std::optional<Owner>> ClusterSender::other_owner(Partition partition) {
  if (const auto shard = ports_.member.shard(partition); shard && shard->owner().newest_claim()) {
    ports_.owners.learn(partition, *shard->owner().newest_claim());
  }
  auto owner = co_await ports_.owners.find(partition);
  if (!owner) co_return owner.error();
  if (*owner && (*owner)->url == identity_.url) {
    ports_.owners.doubt(partition);  // It was this node, before.
    co_return std::optional<Owner>{};
  }
  co_return owner;
}

Task<CommandAnswer> ClusterSender::attempt(CallPtr call) {
  std::shared_ptr<Shard> here = owning_shard(call->partition);
  if (!here) {
    auto owner = co_await other_owner(call->partition);
    if (owner && *owner) co_return co_await forward(call, **owner);
    // Nobody else is known: it may be about to be ours.
    const auto shard = ports_.member.shard(call->partition);
    const MonoTime patience = std::min(call->limits.deadline, env_.now() + kOwnWait);
    if (shard) ignore_error(co_await shard->wait_ready(patience), "looked at again below");
    here = owning_shard(call->partition);
    if (!here) co_return Error{Errc::unavailable, "the partition has no owner at present"};
  }
  call->asked = true;
  Task<CommandAnswer> execution = here->execute(call->envelope, call->limits);
  auto answer = co_await std::move(execution);
  if (answer && answer->channel && !mutant(Mutant::stream_ends_with_shard)) {
    // The shard's own channel would end with the shard.
    ports_.receiver.remember(answer->channel);
    answer->channel = follow_from_here(call->envelope.stream, answer->channel->run_id());
  }
  co_return answer;
}

Task<CommandAnswer> ClusterSender::forward(CallPtr call, Owner owner) {
  const MonoTime now = env_.now();
  if (call->number == 0) {
    call->number = next_call_++;
    open_calls_.insert(call->number);
  }
  ForwardedCommand request;
  request.sender = identity_.node;
  request.call = call->number;
  request.attempt = ++call->attempts;
  request.oldest = *open_calls_.begin();
  request.epoch = owner.epoch;
  request.left = left_until(call->limits.deadline, now);
  const bool turn = opens_turn(call->envelope.command);
  request.turn = turn ? CallLimits::Turn::opened : CallLimits::Turn::ended;
  request.envelope = call->envelope;
  const MonoTime patience =
      call->repeatable ? std::min(call->limits.deadline, now + kAttemptTime) : call->limits.deadline;
  env_.count("commands_forwarded");
  std::string text = encode_request(NodeRequest{std::move(request)});
  auto reply = co_await ask(call->partition, owner, std::move(text), patience);
  if (!reply) co_return reply.error();
  if (const auto* refused = std::get_if<Error>(&*reply)) {
    call->asked = true;
    co_return *refused;
  }
  if (const auto* moved = std::get_if<NotOwner>(&*reply)) {
    call->news = moved->owner && moved->owner->epoch > owner.epoch;
    co_return Error{Errc::unavailable, moved->why};
  }
  auto* answered = std::get_if<Answered>(&*reply);
  if (answered == nullptr) co_return Error{Errc::outcome_unknown, "the owner's answer is none"};
  close(*call);  // It has its answer; should its turn be lost, that is another call.
  CommandAnswer answer = std::move(answered->answer);
  if (answered->run_id.empty()) co_return answer;
  answer.channel = follow_from_here(call->envelope.stream, answered->run_id);
  if (call->limits.turn == CallLimits::Turn::opened) co_return answer;
  co_return co_await finish_turn(std::move(answer), call->limits.deadline);
}

Task<NodeReply> ClusterSender::ask(Partition partition, Owner owner, std::string request, MonoTime deadline) {
  auto text = co_await ports_.transport->call(owner.url, std::move(request), deadline);
  if (!text) {
    ports_.owners.doubt(partition);
    if (text.error().code == Errc::unavailable) co_return text.error();
    co_return Error{Errc::outcome_unknown, text.error().message};
  }
  auto reply = decode_reply(*text);
  if (!reply) co_return Error{Errc::outcome_unknown, "the owner's answer: " + reply.error().message};
  if (const auto* moved = std::get_if<NotOwner>(&*reply)) {
    ports_.owners.doubt(partition);
    if (moved->owner) ports_.owners.learn(partition, *moved->owner);
  }
  co_return reply;
}

// ---- turns, here and at other nodes ----

Task<CommandAnswer> ClusterSender::finish_turn(CommandAnswer answer, MonoTime deadline) {
  const auto channel = std::exchange(answer.channel, nullptr);
  while (!channel->finished() && !channel->abandoned() && env_.now() < deadline) {
    co_await channel->wait(env_, deadline);
  }
  if (!channel->finished()) {
    co_return Error{Errc::outcome_unknown, "the turn was begun and has not ended; ask again"};
  }
  answer.turn = channel->result();
  for (const LogPosition& position : channel->positions()) merge_position(answer.positions, position);
  co_return answer;
}

std::shared_ptr<TurnChannel> ClusterSender::follow_from_here(const StreamId& agent,
                                                             const std::string& run_id) {
  auto channel = std::make_shared<TurnChannel>(run_id);
  env_.spawn("follow turn", follow(channel, agent));
  return channel;
}

// Feeds `weak` until the turn ends, nobody reads it any more, or nothing has been heard for too long.
Task<> ClusterSender::follow(std::weak_ptr<TurnChannel> weak, StreamId agent) {
  MonoTime heard = env_.now();
  for (auto channel = weak.lock(); channel && !channel->finished(); channel = weak.lock()) {
    FollowedRun asked = followed(*channel, agent, kFollowWait);
    channel.reset();  // Whoever reads it keeps it.
    auto reply = co_await ask_for_news(std::move(asked));
    channel = weak.lock();
    if (!channel) break;
    auto* news = reply ? std::get_if<RunNews>(&*reply) : nullptr;
    const bool abandoned = news != nullptr && news->abandoned;
    if (news != nullptr) take_news(*channel, std::move(*news));
    // Also of a turn that runs elsewhere: whoever reads it here must go.
    const bool leaving = ports_.member.leaving() && !channel->finished();
    if (news != nullptr && !abandoned && !leaving) {
      heard = env_.now();
      continue;
    }
    const auto* error = reply ? std::get_if<Error>(&*reply) : nullptr;
    const bool over = error != nullptr && error->code == Errc::not_found;
    if (over || leaving || env_.now() - heard > kFollowPatience) {
      channel->abandon();
      break;
    }
    channel.reset();
    const std::uint64_t wait_ms = env_.rng().between(20, 200);
    co_await sleep_for(env_, std::chrono::milliseconds{wait_ms});
  }
  co_return ok();
}

Task<NodeReply> ClusterSender::ask_for_news(FollowedRun asked) {
  const Partition partition = partition_of(asked.agent, partitions_);
  // The turn may have come here.
  if (owning_shard(partition)) co_return co_await ports_.receiver.follow(std::move(asked));
  auto owner = co_await other_owner(partition);
  if (!owner) co_return owner.error();
  if (!*owner) co_return Error{Errc::unavailable, "the partition has no owner at present"};
  std::string text = encode_request(NodeRequest{std::move(asked)});
  co_return co_await ask(partition, **owner, std::move(text), env_.now() + kFollowTime);
}

}  // namespace varve
