#include "sim/other_place.h"

#include "actors/echo_model.h"
#include "api/node.h"
#include "api/teleport_routes.h"
#include "eventlog/memory_event_log.h"
#include "projections/memory_key_store.h"
#include "projections/memory_snapshot_store.h"
#include "projections/memory_view_store.h"

namespace varve::sim {
namespace {

constexpr const char* kHandle = "varve/elsewhere";
constexpr std::uint64_t kSnapshotRecords = 4;
constexpr std::chrono::seconds kIdle{3};

// Whatever model an agent names, this one answers.
class AnyModel final : public ModelClient {
 public:
  bool serves(std::string_view /*handle*/) const override { return true; }
  std::vector<std::string> handles() const override { return {kHandle}; }
  bool summarizes(std::string_view /*handle*/) const override { return false; }
  Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) override {
    return echo_.complete(std::move(request), deadline);
  }

 private:
  EchoModel echo_;
};

NodeIdentity identity_of(SimEnv& env) {
  NodeIdentity identity;
  identity.node = uuid4(env.rng());
  identity.url = OtherPlace::kUrl;
  identity.cluster = OtherPlace::kName;
  return identity;
}

NodeOptions node_options() {
  NodeOptions options;
  options.models.handles = {kHandle};
  options.models.default_handle = kHandle;
  options.shard.snapshot_records = kSnapshotRecords;
  options.shard.idle = kIdle;
  return options;
}

}  // namespace

// What outlives the machine's deaths, and how oracles see it.
struct OtherPlace::Stores {
  Stores(std::uint32_t partitions, std::function<std::vector<Resident>()> residents)
      : log(std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{partitions, 0})),
        log_view(*log),
        views_view(*views),
        states_view(*snapshots, std::move(residents)) {}

  std::shared_ptr<MemoryLogStorage> log;
  std::shared_ptr<MemoryViewStorage> views = std::make_shared<MemoryViewStorage>();
  std::shared_ptr<MemorySnapshotStorage> snapshots = std::make_shared<MemorySnapshotStorage>();
  std::shared_ptr<MemoryKeyStorage> keys = std::make_shared<MemoryKeyStorage>();
  StorageLogView<MemoryLogStorage> log_view;
  MemoryViewsView views_view;
  MemoryStatesView states_view;
};

struct OtherPlace::Life {
  Life(OtherPlace& place, std::uint64_t seed)
      : env(place.site_.scheduler, kName, seed),
        log(env, place.stores_->log),
        snapshots(env, place.stores_->snapshots),
        views(env, place.stores_->views),
        keys(env, place.stores_->keys),
        node(env, identity_of(env),
             Node::Ports{log, snapshots, views, model, nullptr, nullptr, nullptr, &keys}, node_options()),
        teleport(env, {log, node.progress(), node.sender()}) {
    http =
        place.site_.network.listen(kUrl, env, [this](Request request) { return answer(std::move(request)); });
  }
  ~Life() { env.kill(); }
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;

  boost::asio::awaitable<Response> answer(Request request) {
    const std::string_view path = std::string_view(request.target).substr(0, request.target.find('?'));
    if (TeleportRoutes::serves(path)) return teleport.handle(std::move(request));
    return node.handle(std::move(request));
  }

  SimEnv env;
  MemoryEventLog log;
  MemorySnapshotStore snapshots;
  MemoryViewStore views;
  MemoryKeyStore keys;
  AnyModel model;
  Node node;
  TeleportRoutes teleport;
  std::unique_ptr<Network::Listening> http;
};

OtherPlace::OtherPlace(Site site)
    : site_(site),
      seeds_(site.seed ^ 0xe15e3ULL),
      world_(site_.scheduler, "around elsewhere", site.seed ^ 0xe15e4ULL),
      stores_(std::make_unique<Stores>(site.partitions, [this] { return residents(); })) {
  ClusterOracles::Options options;
  options.alive = [this](Incarnation incarnation) { return site_.scheduler.alive(incarnation); };
  options.snapshots_are_kept = true;
  oracles_ = std::make_unique<ClusterOracles>(stores_->log_view, stores_->views_view, &stores_->states_view,
                                              std::move(options));
}

OtherPlace::~OtherPlace() {
  crash();
  world_.kill();
}

void OtherPlace::boot() {
  if (life_) return;
  site_.scheduler.trace(std::string("boot ") + kName);
  life_ = std::make_unique<Life>(*this, seeds_.u64());
  life_->node.start();
}

void OtherPlace::crash() {
  if (!life_) return;
  site_.scheduler.trace(std::string("crash ") + kName);
  life_.reset();
}

void OtherPlace::crash_for(Duration down) {
  crash();
  world_.call_at(world_.now() + down, [this] { boot(); });
}

void OtherPlace::on_trace(Incarnation incarnation, std::string_view line) {
  oracles_->on_trace(incarnation, kName, line);
}

std::vector<Resident> OtherPlace::residents() {
  std::vector<Resident> all;
  if (!life_) return all;
  for (const auto& shard : life_->node.member().shards()) {
    if (!shard->owner().owned()) continue;
    all.push_back({kName, shard->owner().partition(), shard->owner().next_offset(),
                   [shard](const StreamId& stream) { return shard->peek(stream); }});
  }
  return all;
}

}  // namespace varve::sim
