#include "sim/world_oracles.h"

namespace varve::sim {

WorldOracles::WorldOracles(World& world, const History* history, Owners owners)
    : world_(world),
      log_(world.log()),
      views_(world.views()),
      states_(world.snapshots(), [this] { return residents(); }) {
  ClusterOracles::Options options;
  options.alive = [this](Incarnation incarnation) { return world_.scheduler().alive(incarnation); };
  options.history = history;
  oracles_.emplace(log_, views_, &states_, options);
  if (owners == Owners::unwatched) return;
  world.scheduler().on_trace([this](Incarnation who, std::string_view node, std::string_view line) {
    oracles_->on_trace(who, node, line);
  });
}

std::vector<Resident> WorldOracles::residents() {
  std::vector<Resident> all;
  for (std::uint32_t i = 0; world_.up() && i < world_.options().partitions; ++i) {
    const Shard* shard = world_.node().shard(Partition{i});
    if (shard == nullptr) continue;
    all.push_back({"node", Partition{i}, shard->owner().next_offset(),
                   [shard](const StreamId& stream) { return shard->peek(stream); }});
  }
  return all;
}

bool WorldOracles::step() {
  const bool stepped = world_.scheduler().step();
  oracles_->after_step();
  return stepped;
}

}  // namespace varve::sim
