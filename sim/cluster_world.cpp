#include "sim/cluster_world.h"

namespace varve::sim {
namespace {

NodeIdentity identity_of(SimEnv& env, std::size_t number) {
  NodeIdentity identity;
  identity.node = uuid4(env.rng());
  identity.url = "http://" + ClusterWorld::place(number) + ":9000";
  return identity;
}

NodeOptions node_options(const ModelClient& model, const ClusterWorld::Options& world) {
  NodeOptions options;
  options.models.handles = model.handles();
  options.models.default_handle = options.models.handles.front();
  options.models.models = model.models();
  options.shard.snapshot_records = world.snapshot_records;
  options.shard.idle = world.idle;
  options.batch_changes_max = world.batch_changes;
  return options;
}

GroupCoordinator::Options group_options(const ClusterWorld::Options& world, std::string name,
                                        std::size_t first_track) {
  GroupCoordinator::Options options;
  options.partitions = world.partitions;
  options.name = std::move(name);
  options.first_track = first_track;
  return options;
}

SimLogStorage::Options log_options(const ClusterWorld::Options& world) {
  SimLogStorage::Options options;
  options.partitions = world.partitions;
  options.sparse = world.sparse_log;
  return options;
}

}  // namespace

ClusterWorld::Life::Life(ClusterWorld& world, std::size_t number, std::uint64_t seed)
    : env(world.scheduler_, place(number), seed),
      log(env, world.log_),
      owning(env, world.owning_, place(number)),
      folding(env, world.folding_, place(number)),
      snapshots(env, world.snapshots_, place(number)),
      views(env, world.views_),
      keys(world.options_.keys ? world.keys_.store(env) : nullptr),
      transport(env, world.network_, "http://" + place(number) + ":9000"),
      model(env, place(number), world.provider_),
      node(env, identity_of(env, number),
           Node::Ports{log, snapshots, views, model, &owning, &folding, &transport, keys.get()},
           node_options(model, world.options_)),
      teleport(env, {log, node.progress(), node.sender()}) {
  http = world.network_.listen(world.url(number), env,
                               [this](Request request) { return answer(std::move(request)); });
}

boost::asio::awaitable<Response> ClusterWorld::Life::answer(Request request) {
  const std::string_view path = std::string_view(request.target).substr(0, request.target.find('?'));
  if (TeleportRoutes::serves(path)) return teleport.handle(std::move(request));
  return node.handle(std::move(request));
}

ClusterWorld::ClusterWorld(Choices& choices, Options options)
    : options_(options),
      scheduler_(choices),
      seeds_(options.seed ^ 0x5eedULL),
      world_(scheduler_, "world", options.seed ^ 0x30bULL),
      log_(std::make_shared<SimLogStorage>(scheduler_, world_, counters_, log_options(options))),
      owning_(std::make_shared<GroupCoordinator>(scheduler_, world_, counters_,
                                                 group_options(options, "owning", 0))),
      folding_(std::make_shared<GroupCoordinator>(scheduler_, world_, counters_,
                                                  group_options(options, "folding", kTracksOfDomain / 2))),
      views_(choices, world_, counters_, std::make_shared<MemoryViewStorage>(), options.store_history),
      snapshots_(choices, world_, counters_, std::make_shared<MemorySnapshotStorage>(),
                 options.store_history),
      keys_(choices, counters_),
      network_(scheduler_, world_, counters_),
      provider_(scheduler_, counters_),
      machines_(options.nodes) {}

ClusterWorld::~ClusterWorld() {
  for (std::size_t node = 0; node < machines_.size(); ++node) crash(node);
  world_.kill();
}

std::string ClusterWorld::url(std::size_t node) const {
  return "http://" + place(node) + ":8283";
}

void ClusterWorld::boot(std::size_t node) {
  CHECK(!machines_.at(node).life);
  scheduler_.trace("boot " + place(node));
  ignite(node);
}

void ClusterWorld::ignite(std::size_t node) {
  Machine& machine = machines_.at(node);
  machine.life = std::make_unique<Life>(*this, node, seeds_.u64());
  machine.life->env.set_clock(machine.clock);
  machine.life->log.cut_off(machine.cut);
  machine.life->node.start();
}

void ClusterWorld::crash(std::size_t node) {
  Machine& machine = machines_.at(node);
  end_twin(node);
  if (!machine.life) return;
  scheduler_.trace("crash " + place(node));
  machine.life.reset();
}

void ClusterWorld::begin_twin(std::size_t node) {
  Machine& machine = machines_.at(node);
  CHECK(machine.life && !machine.former);
  scheduler_.trace("twin " + place(node));
  machine.life->env.pause();
  machine.former = std::move(machine.life);
  ignite(node);
}

void ClusterWorld::resume_twin(std::size_t node) {
  Machine& machine = machines_.at(node);
  if (machine.former && machine.former->env.paused()) machine.former->env.resume();
}

void ClusterWorld::end_twin(std::size_t node) {
  Machine& machine = machines_.at(node);
  if (!machine.former) return;
  scheduler_.trace("end the twin of " + place(node));
  machine.former.reset();
}

std::vector<Resident> ClusterWorld::residents() {
  std::vector<Resident> all;
  for (std::size_t number = 0; number < nodes(); ++number) {
    if (!up(number)) continue;
    for (const auto& shard : node(number).member().shards()) {
      if (!shard->owner().owned()) continue;
      all.push_back({place(number), shard->owner().partition(), shard->owner().next_offset(),
                     [shard](const StreamId& stream) { return shard->peek(stream); }});
    }
  }
  return all;
}

void ClusterWorld::set_clock(std::size_t node, NodeClock clock) {
  Machine& machine = machines_.at(node);
  // A rate that changes under timers that are set is for the next incarnation.
  machine.clock = clock;
  scheduler_.trace("clock " + place(node) + " drift_ppm=" + std::to_string(clock.drift_ppm) +
                   " wall_us=" + std::to_string(clock.wall_offset_us));
  if (!machine.life) return;
  const NodeClock jumped{machine.life->env.clock().drift_ppm, clock.wall_offset_us};
  machine.life->env.set_clock(jumped);
}

void ClusterWorld::cut_off(std::size_t node, bool cut) {
  Machine& machine = machines_.at(node);
  if (machine.cut != cut) scheduler_.trace((cut ? "cut-off " : "reconnect ") + place(node));
  machine.cut = cut;
  owning_->cut_off(place(node), cut);
  folding_->cut_off(place(node), cut);
  if (machine.life) machine.life->log.cut_off(cut);
  if (machine.former) machine.former->log.cut_off(cut);
}

void ClusterWorld::heal() {
  scheduler_.trace("heal");
  for (std::size_t node = 0; node < machines_.size(); ++node) cut_off(node, false);
  log_->heal();
  owning_->heal();
  folding_->heal();
  views_.link().set_faults({});
  snapshots_.link().set_faults({});
  keys_.set_faults(0);
  network_.set_faults({});
  network_.heal();
  provider_.set_faults({});
}

}  // namespace varve::sim
