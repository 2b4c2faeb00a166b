#include "sim/world.h"

namespace varve::sim {
namespace {

std::unique_ptr<ScriptedModel> model_from(Env& env, const std::string& script) {
  auto model = ScriptedModel::parse(env, script);
  CHECK(model.has_value());
  return std::move(*model);
}

NodeIdentity identity_of(Env& env) {
  NodeIdentity identity;
  identity.node = uuid4(env.rng());
  identity.url = "http://sim";
  return identity;
}

NodeOptions node_options(const ModelClient& model, const World::Options& world) {
  NodeOptions options;
  options.models.handles = model.handles();
  options.models.default_handle = options.models.handles.front();
  options.models.models = model.models();
  options.shard.snapshot_records = 5;  // Often, so that recovery from snapshots is the normal case.
  if (world.adjust) world.adjust(options);
  return options;
}

}  // namespace

World::Life::Life(World& world, std::uint64_t seed)
    : env(world.scheduler_, "node", seed),
      log(env, world.log_),
      snapshots(env, world.snapshots_),
      views(env, world.views_),
      keys(env, world.keys_),
      model(model_from(env, world.options_.model_script)),
      node(env, identity_of(env),
           Node::Ports{log, snapshots, views, *model, nullptr, nullptr, nullptr, &keys},
           node_options(*model, world.options_)) {}

World::World(Options options)
    : options_(std::move(options)),
      scheduler_(options_.seed),
      seeds_(options_.seed ^ 0x5eedULL),
      log_(std::make_shared<MemoryLogStorage>(
          MemoryLogStorage::Options{options_.partitions, options_.sparse_log ? options_.seed : 0})),
      views_(std::make_shared<MemoryViewStorage>()),
      snapshots_(std::make_shared<MemorySnapshotStorage>()),
      keys_(std::make_shared<MemoryKeyStorage>()),
      client_(scheduler_, "client", options_.seed ^ 0xc11e47ULL) {}

World::~World() {
  crash();
  client_.kill();
}

void World::boot() {
  CHECK(!life_);
  life_ = std::make_unique<Life>(*this, seeds_.u64());
  scheduler_.trace("boot");
  life_->node.start();
}

void World::crash() {
  if (!life_) return;
  scheduler_.trace("crash");
  life_.reset();
}

std::optional<Stage::Running> World::running() {
  if (!life_) return std::nullopt;
  return Running{life_->env, life_->node, nullptr};
}

}  // namespace varve::sim
