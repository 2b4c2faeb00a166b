// ClusterSender: brings commands to the owner of their partition: a shard of this node, or another node over
// Transport. Until the deadline it sends the same command, under the same id, again and again, to whoever
// owns the partition then.
//
// - What certainly was not applied is sent again. What may have been applied is sent again only if that is
//   harmless: a client's command, whose id its stream remembers, or a question. Anything else is sent again
//   only as long as no shard has seen it.
// - Once an attempt may have been applied, the caller never hears "certainly not applied".
// - A turn is followed from here, wherever it runs: the caller gets a channel of its own, or its result. When
//   its owner stops, it goes on with what the next one makes of it; only a node that drains itself abandons
//   the channels of its callers, and tries nothing again: they ask another node.
// - Without a Transport there is one attempt, at the shard of this process.
//
// Thread: the Env's. Lifetime: the Env's tasks end before it does.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "cluster/member.h"
#include "cluster/messages.h"
#include "cluster/receiver.h"
#include "cluster/transport.h"

namespace varve {

class ClusterSender final : public CommandSender {
 public:
  struct Ports {
    ClusterMember& member;
    OwnerTable& owners;
    ClusterReceiver& receiver;  // For turns that have come here.
    Transport* transport = nullptr;
    // How long a command looks for an owner of its partition, or has heard nothing of one, before its caller
    // is told to come back: a caller may have more patience than is good for it.
    Duration owner_search{kForever};
  };
  ClusterSender(Env& env, Ports ports, NodeIdentity identity, std::uint32_t partitions);

  Task<CommandAnswer> send(CommandEnvelope envelope, CallLimits limits) override;

 private:
  // One send(): what is the same in all its attempts.
  struct Call {
    CommandEnvelope envelope;
    CallLimits limits;
    Partition partition;
    std::uint64_t number = 0;  // In ForwardedCommand::call; 0 = none is open.
    std::uint64_t attempts = 0;
    bool repeatable = false;
    // Of the last attempt:
    bool asked = false;  // A shard has answered it.
    bool news = false;   // It has taught who the owner is.
  };
  using CallPtr = std::shared_ptr<Call>;

  Task<CommandAnswer> send_anywhere(CommandEnvelope envelope, CallLimits limits);
  static Task<CommandAnswer> keeping(std::shared_ptr<Shard> shard, Task<CommandAnswer> execution);
  Task<CommandAnswer> send_here(CommandEnvelope envelope, CallLimits limits);
  Task<CommandAnswer> send_until(CallPtr call);
  void close(Call& call);
  MonoTime search_ends(MonoTime heard) const;
  Task<CommandAnswer> attempt(CallPtr call);
  Task<CommandAnswer> forward(CallPtr call, Owner owner);
  // A question to the owner. NotOwner has been learnt from, and is Errc::unavailable.
  Task<NodeReply> ask(Partition partition, Owner owner, std::string request, MonoTime deadline);
  Task<std::optional<Owner>> other_owner(Partition partition);
  std::shared_ptr<Shard> owning_shard(Partition partition) const;

  // ---- turns, here and at other nodes ----
  Task<CommandAnswer> finish_turn(CommandAnswer answer, MonoTime deadline);
  std::shared_ptr<TurnChannel> follow_from_here(const StreamId& agent, const std::string& run_id);
  Task<> follow(std::weak_ptr<TurnChannel> channel, StreamId agent);
  Task<NodeReply> ask_for_news(FollowedRun asked);

  Env& env_;
  Ports ports_;
  NodeIdentity identity_;
  std::uint32_t partitions_;
  std::uint64_t next_call_ = 1;
  std::set<std::uint64_t> open_calls_;
};

}  // namespace varve
