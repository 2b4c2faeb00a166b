#include "cluster/receiver.h"

#include <algorithm>

namespace varve {
namespace {

// A caller that is silent for so long is gone, with all it waited for.
constexpr std::chrono::minutes kCallerForgotten{30};
constexpr std::size_t kCallsMax = 8192;  // Of one caller; beyond it what is settled is forgotten first.
constexpr std::chrono::seconds kRunForgotten{60};
constexpr std::chrono::seconds kFollowWaitMax{30};

bool is_definite(const NodeReply& reply) {
  if (std::holds_alternative<NotOwner>(reply)) return false;
  const Error* error = std::get_if<Error>(&reply);
  return error == nullptr || (error->code != Errc::unavailable && error->code != Errc::outcome_unknown &&
                              error->code != Errc::resource_exhausted && error->code != Errc::cancelled);
}

}  // namespace

Task<std::string> ClusterReceiver::answer(std::string request) {
  auto decoded = decode_request(request);
  if (!decoded) co_return encode_reply(decoded.error());
  if (auto* run = std::get_if<FollowedRun>(&*decoded)) {
    auto news = co_await follow(std::move(*run));
    if (!news) co_return encode_reply(news.error());
    co_return encode_reply(*news);
  }
  co_return co_await take(std::move(std::get<ForwardedCommand>(*decoded)));
}

ClusterReceiver::Caller& ClusterReceiver::caller(const ForwardedCommand& request) {
  if (!callers_.contains(request.sender)) {
    std::erase_if(callers_,
                  [this](const auto& entry) { return env_.now() - entry.second.heard > kCallerForgotten; });
  }
  Caller& from = callers_[request.sender];
  from.heard = env_.now();
  if (request.oldest > from.oldest) {
    from.oldest = request.oldest;
    from.calls.erase(from.calls.begin(), from.calls.lower_bound(request.oldest));
  }
  return from;
}

Task<std::string> ClusterReceiver::take(ForwardedCommand request) {
  Caller& from = caller(request);
  if (request.call < from.oldest) {
    co_return encode_reply(Error{Errc::outcome_unknown, "the caller has ceased to wait for this"});
  }
  std::shared_ptr<Call>& entry = from.calls[request.call];
  if (!entry) entry = std::make_shared<Call>();
  const std::shared_ptr<Call> call = entry;
  if (from.calls.size() > kCallsMax) {
    const auto settled = [](const auto& one) { return one.second->settled; };
    const auto found = std::find_if(from.calls.begin(), from.calls.end(), settled);
    if (found != from.calls.end()) {
      from.oldest = std::max(from.oldest, found->first + 1);
      from.calls.erase(from.calls.begin(), from.calls.lower_bound(from.oldest));
    }
  }
  const bool under_way = call->reply && !call->reply->ready();
  if (call->reply && (call->settled || under_way || request.attempt <= call->attempt)) {
    env_.count("forwarded_again");
    const auto reply = call->reply;
    auto same = co_await reply->get(env_, env_.now() + request.left);
    if (!same) co_return encode_reply(Error{Errc::outcome_unknown, "the command is still being carried out"});
    co_return std::move(*same);
  }
  call->attempt = request.attempt;
  call->reply = std::make_shared<OneShot<std::string>>();
  const auto reply = call->reply;
  env_.count("forwarded_in");
  auto outcome = co_await carry_out(std::move(request));
  const NodeReply told = outcome ? std::move(*outcome) : NodeReply{outcome.error()};
  call->settled = is_definite(told);
  std::string text = encode_reply(told);
  reply->set(text);
  co_return text;
}

NotOwner ClusterReceiver::not_owner(Partition partition, const Shard* shard) {
  if (shard != nullptr && shard->owner().newest_claim()) {
    owners_.learn(partition, *shard->owner().newest_claim());
  }
  env_.count("forwarded_astray");
  return {"this node does not own the partition", owners_.known(partition)};
}

Task<NodeReply> ClusterReceiver::carry_out(ForwardedCommand request) {
  const Partition partition = partition_of(request.envelope.stream, partitions_);
  const std::shared_ptr<Shard> shard = member_.shard(partition);
  const bool owned = shard && shard->owner().owned();
  if (!owned || shard->owner().admission().epoch != request.epoch) {
    NodeReply moved = not_owner(partition, shard.get());
    co_return moved;
  }
  CallLimits limits{request.left >= kForever ? kNever : env_.now() + request.left, request.turn};
  auto answer = co_await shard->execute(std::move(request.envelope), limits);
  if (!answer) {
    NodeReply refused{answer.error()};
    co_return refused;
  }
  answers_(answer->positions);
  Answered answered{std::move(*answer), {}};
  if (const auto channel = std::exchange(answered.answer.channel, nullptr)) {
    answered.run_id = channel->run_id();
    remember(channel);
  }
  NodeReply reply{std::move(answered)};
  co_return reply;
}

void ClusterReceiver::remember(const std::shared_ptr<TurnChannel>& channel) {
  std::erase_if(followed_,
                [this](const auto& entry) { return env_.now() - entry.second.asked > kRunForgotten; });
  followed_[channel->run_id()] = {channel, env_.now()};
}

Task<NodeReply> ClusterReceiver::follow(FollowedRun asked) {
  const MonoTime deadline = env_.now() + std::min<Duration>(asked.wait, kFollowWaitMax);
  std::shared_ptr<TurnChannel> channel;
  if (const auto found = followed_.find(asked.run_id); found != followed_.end()) {
    channel = found->second.channel;
    found->second.asked = env_.now();
  } else {
    const Partition partition = partition_of(asked.agent, partitions_);
    const std::shared_ptr<Shard> shard = member_.shard(partition);
    if (!shard || !shard->owner().owned()) {
      NodeReply moved = not_owner(partition, shard.get());
      co_return moved;
    }
    CommandEnvelope envelope{{}, asked.agent, FollowTurn{asked.run_id}};
    CallLimits limits{deadline, CallLimits::Turn::opened};
    auto answer = co_await shard->execute(std::move(envelope), limits);
    if (!answer) co_return answer.error();
    if (!answer->channel) co_return Error{Errc::not_found, "the turn is not open"};
    channel = answer->channel;
    remember(channel);
  }
  auto news = news_of(*channel, asked);
  while (!news && env_.now() < deadline) {
    co_await channel->wait(env_, deadline);
    news = news_of(*channel, asked);
  }
  if (news) answers_(news->positions);
  if (news && news->abandoned) followed_.erase(asked.run_id);
  NodeReply reply{news ? std::move(*news) : RunNews{}};
  co_return reply;
}

}  // namespace varve
