#include "sim/swarm.h"

#include "sim/cluster_oracles.h"
#include "sim/workload.h"

namespace varve::sim {
namespace {

constexpr std::uint64_t kStepsMax = 3'000'000;
constexpr std::chrono::seconds kChaosMax{120};
// Longer than a turn may take: a provider that fell silent before everything healed holds it as long.
constexpr std::chrono::seconds kDrainMax{900};
constexpr std::chrono::seconds kRest{2};
constexpr std::chrono::milliseconds kLookEvery{500};

// What can go wrong, each by itself or not at all in a run.
enum class Class : unsigned char {
  crash,
  pause,
  clock,
  log_outcome,
  log_order,
  log_read,
  leader,
  group,
  isolation,
  store,
  snapshots,
  network,
  partition,
  model,
};
constexpr std::size_t kClasses = 14;
constexpr const char* kClassNames[kClasses] = {
    "crash", "pause",     "clock", "log_outcome", "log_order", "log_read",  "leader",
    "group", "isolation", "store", "snapshots",   "network",   "partition", "model"};

struct Config {
  ClusterWorld::Options world;
  Workload::Options workload;
  std::vector<std::uint32_t> ppm = std::vector<std::uint32_t>(kClasses, 0);  // Intensity; 0 = switched off.
  PickPolicy pick = PickPolicy::uniform;

  std::uint32_t of(Class one) const { return ppm[static_cast<std::size_t>(one)]; }
  bool has(Class one) const { return of(one) > 0; }
};

// Log-uniform from 1,000 to 200,000 ppm: mostly mild.
std::uint32_t draw_intensity(Choices& choices) {
  std::uint64_t ppm = 1'000;
  for (std::uint64_t doubling = choices.choose(Domain::nemesis, 8); doubling > 0; --doubling) ppm *= 2;
  return static_cast<std::uint32_t>(ppm + choices.choose(Domain::nemesis, ppm));
}

Config draw(Choices& choices, std::uint64_t seed) {
  Config config;
  config.world.seed = seed;
  config.world.nodes = 1 + choices.choose(Domain::nemesis, 4);
  config.world.partitions = static_cast<std::uint32_t>(1 + choices.choose(Domain::nemesis, 4));
  config.world.sparse_log = choices.chance(Domain::nemesis, 1, 2);
  config.world.snapshot_records = 3 + choices.choose(Domain::nemesis, 40);
  config.world.idle = std::chrono::seconds{1 + choices.choose(Domain::nemesis, 30)};
  config.workload.clients = 1 + choices.choose(Domain::nemesis, 4);
  config.workload.operations = 4 + choices.choose(Domain::nemesis, 16);
  config.workload.tools = choices.chance(Domain::nemesis, 1, 2);
  for (std::size_t kind = 0; kind < Workload::kKinds; ++kind) {
    config.workload.kinds.push_back(choices.chance(Domain::nemesis, 2, 3));
  }
  config.pick = static_cast<PickPolicy>(choices.choose(Domain::nemesis, 4));
  const std::uint64_t kind = choices.choose(Domain::nemesis, 10);
  if (kind == 0) return config;  // Calm.
  if (kind == 1) {
    config.ppm[choices.choose(Domain::nemesis, kClasses)] = 200'000;
    return config;
  }
  for (std::uint32_t& ppm : config.ppm) {
    if (choices.chance(Domain::nemesis, 1, 2)) ppm = draw_intensity(choices);
  }
  return config;
}

std::string describe(const Config& config) {
  std::string text = "nodes=" + std::to_string(config.world.nodes) +
                     " partitions=" + std::to_string(config.world.partitions) +
                     " clients=" + std::to_string(config.workload.clients) +
                     " operations=" + std::to_string(config.workload.operations) +
                     (config.workload.tools ? " tools" : "");
  for (std::size_t i = 0; i < kClasses; ++i) {
    if (config.ppm[i] > 0) text += std::string(" ") + kClassNames[i] + "=" + std::to_string(config.ppm[i]);
  }
  return text;
}

class Swarm {
 public:
  explicit Swarm(const SwarmRun& run)
      : choices_(run.seed),
        config_(draw(choices_, run.seed)),
        world_(choices_, config_.world),
        log_view_(world_.log()),
        views_view_(*world_.views().storage()),
        states_view_(*world_.snapshots().storage(), [this] { return residents(); }),
        oracles_(log_view_, views_view_, &states_view_, oracle_options()),
        workload_(world_, history_, config_.workload,
                  [this](const std::vector<LogPosition>& positions) { oracles_.acknowledged(positions); }) {
    world_.scheduler().print_trace(run.print_trace);
    world_.scheduler().pick(config_.pick);
    world_.scheduler().on_trace(
        [this](Incarnation incarnation, std::string_view node, std::string_view line) {
          oracles_.on_trace(incarnation, node, line);
        });
  }

  SwarmResult run(std::uint64_t seed) {
    for (std::size_t node = 0; node < world_.nodes(); ++node) world_.boot(node);
    set_faults();
    workload_.start();
    world_.world().spawn("nemesis", haunt(*this));
    const MonoTime chaos = world_.scheduler().now() + kChaosMax;
    while (!workload_.done() && world_.scheduler().now() < chaos && step()) {
    }
    settle();
    SwarmResult result;
    if (oracles_.clean()) oracles_.at_rest();
    result.violations = oracles_.violations();
    if (world_.scheduler().steps() >= kStepsMax) {
      result.violations.push_back({"I9", "the run took more than " + std::to_string(kStepsMax) + " steps"});
    }
    result.config = describe(config_);
    result.token = token_of(seed);
    result.steps = world_.scheduler().steps();
    result.trace_hash = world_.scheduler().trace_hash();
    result.simulated_ms = static_cast<std::uint64_t>(world_.scheduler().now().value() / 1'000'000) - 1000;
    result.answered = workload_.answered();
    result.operations = history_.entries().size();
    for (const History::Entry& entry : history_.entries()) {
      if (entry.outcome.answer == Answer::unknown) ++result.unknown;
    }
    result.counters = world_.counters().all();
    for (const auto& [name, count] : counted_) result.counters[name] += count;
    for (std::size_t node = 0; node < world_.nodes(); ++node) count_life(node, result.counters);
    return result;
  }

 private:
  using Counts = std::map<std::string, std::uint64_t, std::less<>>;

  ClusterOracles::Options oracle_options() {
    ClusterOracles::Options options;
    options.alive = [this](Incarnation incarnation) { return world_.scheduler().alive(incarnation); };
    options.history = &history_;
    options.snapshots_are_kept = !config_.has(Class::snapshots);
    return options;
  }

  std::vector<Resident> residents() {
    std::vector<Resident> all;
    for (std::size_t node = 0; node < world_.nodes(); ++node) {
      if (!world_.up(node)) continue;
      for (const auto& shard : world_.node(node).member().shards()) {
        if (!shard->owner().owned()) continue;
        all.push_back({ClusterWorld::place(node), shard->owner().partition(), shard->owner().next_offset(),
                       [shard](const StreamId& stream) { return shard->peek(stream); }});
      }
    }
    return all;
  }

  bool step() {
    if (world_.scheduler().steps() >= kStepsMax) return false;
    if (!world_.scheduler().step()) return false;
    oracles_.after_step();
    return oracles_.clean();
  }

  // Nothing is open, and no partition is on its way to another node.
  bool at_rest() {
    return workload_.done() && world_.owning().settled() && world_.folding().settled() && !oracles_.pending();
  }

  // After the faults: a world that is well must come to rest, and stay there.
  void settle() {
    haunting_ = false;
    world_.heal();
    for (std::size_t node = 0; node < world_.nodes(); ++node) {
      if (!world_.up(node)) {
        world_.boot(node);
      } else if (world_.env(node).paused()) {
        world_.env(node).resume();
      }
    }
    const MonoTime limit = world_.scheduler().now() + kDrainMax;
    MonoTime look = world_.scheduler().now();
    std::optional<MonoTime> resting;  // Since when nothing is open.
    while (step() && world_.scheduler().now() < limit) {
      if (world_.scheduler().now() < look) continue;
      look = world_.scheduler().now() + kLookEvery;
      if (!at_rest()) {
        resting.reset();
      } else if (!resting) {
        resting = world_.scheduler().now();
      } else if (world_.scheduler().now() - *resting >= kRest) {
        break;
      }
    }
    if (oracles_.clean()) oracles_.check_drained();
  }

  void set_faults() {
    SimLogStorage::Faults log;
    log.delay_us = 5'000;
    const std::uint32_t outcome = config_.of(Class::log_outcome);
    log.refused_ppm = outcome;
    log.lost_ppm = outcome;
    log.lost_ack_ppm = outcome;
    log.reset_ppm = outcome;
    const std::uint32_t order = config_.of(Class::log_order);
    log.late_ppm = order;
    log.duplicate_ppm = order;
    log.replaced_ppm = order;
    log.orphan_lost_ppm = order;
    log.orphan_late_ppm = order;
    const std::uint32_t read = config_.of(Class::log_read);
    log.lag_ppm = read;
    log.read_error_ppm = read;
    log.short_batch_ppm = read;
    const std::uint32_t leader = config_.of(Class::leader);
    log.few_replicas_ppm = leader / 4;
    log.stall_ppm = leader / 4;
    log.leader_change_ppm = leader / 4;
    world_.log().set_faults(log);

    GroupCoordinator::Faults group;
    const std::uint32_t ppm = config_.of(Class::group);
    group.delay_us = ppm > 0 ? 200'000 : 2'000;
    group.request_lost_ppm = ppm;
    group.answer_lost_ppm = ppm;
    group.rebalance_ppm = ppm / 8;
    group.moved_ppm = ppm / 32;
    group.proof_loses_ppm = ppm;
    world_.owning().set_faults(group);
    world_.folding().set_faults(group);

    StoreFaults store;
    const std::uint32_t stores = config_.of(Class::store);
    store.unreachable_ppm = stores;
    store.aborted_ppm = stores;
    store.serialization_ppm = stores;
    store.lost_ack_ppm = stores;
    store.lost_commit_ppm = stores;
    store.late_ppm = stores;
    store.read_ppm = stores / 4;
    store.delay_us = 2'000;
    store.late_us = 3'000'000;
    world_.views().link().set_faults(store);
    world_.snapshots().link().set_faults(store);

    Network::Faults network;
    const std::uint32_t net = config_.of(Class::network);
    network.lost_ppm = net / 2;
    network.late_ppm = net;
    network.duplicate_ppm = net;
    network.reset_ppm = net;
    network.silent_ppm = net;
    network.delay_us = 1'000;
    network.late_us = 2'000'000;
    world_.network().set_faults(network);
    set_model();
  }

  void set_model() {
    ModelProvider::Faults model;
    const std::uint32_t models = config_.of(Class::model);
    model.busy_ppm = models;
    model.refusal_ppm = models / 4;
    model.broken_ppm = models;
    model.silence_ppm = models / 64;
    model.think_us = 500'000;
    model.piece_us = 20'000;
    world_.provider().set_faults(model);
    ModelProvider::Habits habits;
    if (config_.workload.tools) {
      habits.tools_ppm = 500'000;
      habits.more_tools_ppm = 300'000;
      habits.wrong_tools_ppm = 100'000;
    }
    habits.reasoning_ppm = 200'000;
    world_.provider().set_habits(habits);
  }

  // The nemesis: every so often something happens to some node.
  static Task<> haunt(Swarm& self) {
    Choices& choices = self.choices_;
    while (self.haunting_) {
      co_await sleep_for(self.world_.world(), std::chrono::milliseconds{100});
      if (!self.haunting_) break;
      for (std::size_t one = 0; one < kClasses; ++one) {
        // The intensity is that of a request; of a tenth of a second it is half of it, and not too much.
        if (self.config_.ppm[one] == 0) continue;
        if (!choices.chance(Domain::nemesis, std::min(self.config_.ppm[one] / 2, 60'000U), 1'000'000))
          continue;
        const std::size_t node = choices.choose(Domain::nemesis, self.world_.nodes());
        self.strike(static_cast<Class>(one), node);
      }
    }
    co_return ok();
  }

  void strike(Class one, std::size_t node) {
    Counters& counters = world_.counters();
    const auto longest = static_cast<std::uint64_t>(15'000'000);
    const Duration time = std::chrono::microseconds{1000 + choices_.spread(Domain::nemesis, longest)};
    switch (one) {
      case Class::crash:
        if (!world_.up(node)) return;
        counters.add("fault.node.crash");
        count_life(node, counted_);
        world_.crash(node);
        later(time, [this, node] {
          if (!world_.up(node)) world_.boot(node);
        });
        return;
      case Class::pause:
        if (!world_.up(node) || world_.env(node).paused()) return;
        counters.add("fault.node.pause");
        world_.env(node).pause();
        later(time, [this, node] {
          if (world_.up(node)) world_.env(node).resume();
        });
        return;
      case Class::clock: {
        counters.add("fault.node.clock");
        NodeClock clock;
        clock.drift_ppm = static_cast<std::int64_t>(choices_.choose(Domain::clock, 100'000)) - 50'000;
        clock.wall_offset_us = static_cast<std::int64_t>(choices_.spread(Domain::clock, 3'600'000'000ULL));
        if (choices_.chance(Domain::clock, 1, 2)) clock.wall_offset_us = -clock.wall_offset_us;
        world_.set_clock(node, clock);
        return;
      }
      case Class::isolation:
        counters.add("fault.node.cut_off");
        world_.cut_off(node, true);
        later(time, [this, node] { world_.cut_off(node, false); });
        return;
      case Class::partition:
        counters.add("fault.node.partition");
        world_.network().cut(kEverybody, ClusterWorld::place(node));
        later(time, [this, node] { world_.network().mend(kEverybody, ClusterWorld::place(node)); });
        return;
      case Class::leader:
        world_.log().change_leader(Partition{
            static_cast<std::uint32_t>(choices_.choose(Domain::nemesis, world_.options().partitions))});
        return;
      case Class::group:
        world_.owning().take_one();
        return;
      case Class::snapshots:
        harm_snapshots();
        return;
      default:
        return;  // Of requests only.
    }
  }

  // Rows are damaged at any time. They are lost while every node is down, as by a database that was restored:
  // a running shard takes a stream without a row for one that never was (DESIGN.md, section 5).
  void harm_snapshots() {
    const auto& rows = world_.snapshots().storage()->snapshots;
    if (rows.empty()) return;
    auto row = rows.begin();
    std::advance(row, static_cast<std::ptrdiff_t>(choices_.choose(Domain::nemesis, rows.size())));
    const StreamId stream = row->first;
    const std::uint64_t how = choices_.choose(Domain::nemesis, 8);
    if (how % 2 == 1 && how != 7) {
      world_.snapshots().damage_snapshot(stream);
      return;
    }
    for (std::size_t node = 0; node < world_.nodes(); ++node) strike(Class::crash, node);
    if (how == 7) {
      world_.snapshots().lose_all();
    } else {
      world_.snapshots().lose_snapshot(stream);
    }
  }

  void later(Duration time, Callback work) {
    world_.world().call_at(world_.world().now() + time, std::move(work));
  }

  // What the node's parts have counted in this incarnation.
  void count_life(std::size_t node, Counts& counts) {
    if (!world_.up(node)) return;
    for (const auto& [name, count] : world_.env(node).counters()) counts["node." + name] += count;
  }

  Choices choices_;
  Config config_;
  ClusterWorld world_;
  History history_;
  StorageLogView<SimLogStorage> log_view_;
  MemoryViewsView views_view_;
  MemoryStatesView states_view_;
  ClusterOracles oracles_;
  Workload workload_;
  bool haunting_ = true;
  Counts counted_;
};

}  // namespace

SwarmResult run_swarm(const SwarmRun& run) {
  Swarm swarm(run);
  return swarm.run(run.seed);
}

std::string token_of(std::uint64_t seed) {
  return "v1:" + std::to_string(seed);
}

Result<std::uint64_t> seed_of(std::string_view token) {
  const Error wrong{Errc::invalid_argument, "a token looks like v1:4711"};
  if (!token.starts_with("v1:") || token.size() < 4 || token.size() > 22) return wrong;
  std::uint64_t seed = 0;
  for (const char digit : token.substr(3)) {
    if (digit < '0' || digit > '9') return wrong;
    seed = seed * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  return seed;
}

}  // namespace varve::sim
