// ClusterReceiver: answers the requests of other nodes from the shards of this one. It never sends a request
// on: what is not owned here is answered with a hint.
//
// A request may arrive twice, late, or again because its answer was lost. Attempts of one call are carried
// out one after the other and only until one has a definite outcome; a call is not begun again after its
// caller has ceased to wait for it, nor under another ownership than it was meant for. So an answer that
// reached its caller is never followed by a late effect. (What a crash of this node forgets belonged to
// ownerships that ended with it.)
//
// Thread: the Env's. Lifetime: the Env's tasks end before it does.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cluster/member.h"
#include "cluster/messages.h"

namespace varve {

class ClusterReceiver {
 public:
  // Told what a caller elsewhere is about to wait for in the views, before it is answered.
  using Answers = std::function<void(const std::vector<LogPosition>&)>;
  ClusterReceiver(Env& env, const ClusterMember& member, OwnerTable& owners, std::uint32_t partitions,
                  Answers answers)
      : env_(env), member_(member), owners_(owners), partitions_(partitions), answers_(std::move(answers)) {}

  // Transport::Handler.
  Task<std::string> answer(std::string request);
  // News of an open turn of an agent whose partition is owned here.
  Task<NodeReply> follow(FollowedRun asked);
  // Keeps the channel of a turn that will be followed, so that its end is heard however soon it comes.
  void remember(const std::shared_ptr<TurnChannel>& channel);

 private:
  struct Call {
    std::uint64_t attempt = 0;
    bool settled = false;  // Its outcome is definite: further attempts get the same answer.
    std::shared_ptr<OneShot<std::string>> reply;
  };
  struct Caller {
    std::uint64_t oldest = 0;
    MonoTime heard;
    std::map<std::uint64_t, std::shared_ptr<Call>> calls;  // Invariant: no key below `oldest`.
  };
  struct Followed {
    std::shared_ptr<TurnChannel> channel;
    MonoTime asked;
  };

  Task<std::string> take(ForwardedCommand request);
  Task<NodeReply> carry_out(ForwardedCommand request);
  Caller& caller(const ForwardedCommand& request);
  NotOwner not_owner(Partition partition, const Shard* shard);

  Env& env_;
  const ClusterMember& member_;
  OwnerTable& owners_;
  std::uint32_t partitions_;
  Answers answers_;
  std::map<std::string, Caller> callers_;  // By ForwardedCommand::sender.
  std::map<std::string, Followed>
      followed_;  // By run: turns that are followed from here or elsewhere, ended ones for a while.
};

}  // namespace varve
