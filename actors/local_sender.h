// LocalCommandSender: brings commands to the shards of this process.
#pragma once

#include <map>

#include "actors/shard.h"

namespace varve {

class LocalCommandSender final : public CommandSender {
 public:
  explicit LocalCommandSender(std::uint32_t partitions) : partitions_(partitions) {}
  // `shard` must outlive the sender's use.
  void add(Partition partition, Shard& shard) { shards_[partition] = &shard; }

  Task<CommandAnswer> send(CommandEnvelope envelope, CallLimits limits) override {
    const auto found = shards_.find(partition_of(envelope.stream, partitions_));
    if (found == shards_.end())
      co_return Error{Errc::unavailable, "the partition has no owner in this process"};
    co_return co_await found->second->execute(std::move(envelope), limits);
  }

 private:
  std::uint32_t partitions_;
  std::map<Partition, Shard*> shards_;
};

}  // namespace varve
