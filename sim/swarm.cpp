#include "sim/swarm.h"

#include "sim/archivist.h"
#include "sim/cluster_oracles.h"
#include "sim/disk_swarm.h"
#include "sim/effects.h"
#include "sim/erasure_oracle.h"
#include "sim/nemesis.h"
#include "sim/sometimes.h"
#include "sim/spec_check.h"
#include "sim/swarm_config.h"
#include "sim/teleporter.h"
#include "sim/truncation.h"

namespace varve::sim {
namespace {

constexpr std::chrono::seconds kChaosMax{120};
// Longer than a turn may take: a provider that fell silent before everything healed holds it as long.
constexpr std::chrono::seconds kDrainMax{900};
constexpr std::chrono::seconds kRest{2};
constexpr std::chrono::milliseconds kLookEvery{500};
constexpr std::string_view kElsewhereLine = "elsewhere: ";  // Begins lines of a place with a log of its own.

class Swarm {
 public:
  explicit Swarm(const SwarmRun& run)
      : choices_(choices_of(run.seed, run.tape, run.record)),
        steps_max_(run.steps_max),
        config_(draw_config(choices_, run.seed)),
        world_(choices_, config_.world),
        log_view_(world_.log()),
        views_view_(*world_.views().storage()),
        states_view_(*world_.snapshots().storage(), [this] { return world_.residents(); }),
        oracles_(log_view_, views_view_, &states_view_, oracle_options()),
        effects_(oracles_.log(), world_.provider().journal(), history_, effects_world()),
        nemesis_(world_, config_, history_, oracles_,
                 [this](std::size_t node) { count_life(node, counted_); }),
        workload_(site(), history_, config_.workload,
                  [this](const std::vector<LogPosition>& positions) { acknowledged(positions); }) {
    if (config_.archives) archivist_.emplace(archive_site(), history_, config_.workload.clients);
    if (config_.teleports) {
      const OtherPlace::Site there{world_.scheduler(), world_.network(), config_.places, run.seed};
      elsewhere_.emplace(there);
      teleporter_.emplace(teleport_site(), history_, config_.workload.clients + 1);
    }
    if (config_.world.keys) {
      workload_.on_erased([this](const std::string& agent) {
        if (world_.keys().has(StreamId{agent}))
          told_.add("Erased", agent + " is told to be erased, and has its key");
      });
    }
    world_.scheduler().print_trace(run.print_trace);
    world_.scheduler().pick(config_.pick);
    world_.scheduler().on_line(
        [this, reader = run.on_line](MonoTime at, std::uint64_t step, std::string_view line) {
          if (!line.starts_with(kElsewhereLine)) watch_.on_line(line);
          if (reader) reader(at, step, line);
        });
    world_.scheduler().on_trace(
        [this](Incarnation incarnation, std::string_view node, std::string_view line) {
          if (node == OtherPlace::kName) return elsewhere_->on_trace(incarnation, line);
          oracles_.on_trace(incarnation, node, line);
          spec_.on_trace(incarnation, node, line);
          if (truncation_) truncation_->on_trace(node, line);
        });
  }

  // What the world's end traces is not the run's.
  ~Swarm() { world_.scheduler().on_line({}); }
  Swarm(const Swarm&) = delete;
  Swarm& operator=(const Swarm&) = delete;

  SwarmResult run(std::uint64_t seed) {
    for (std::size_t node = 0; node < world_.nodes(); ++node) world_.boot(node);
    set_faults(world_, config_);
    workload_.start();
    if (archivist_) archivist_->start();
    if (teleporter_) {
      elsewhere_->boot();
      teleporter_->start();
    }
    nemesis_.start();
    const MonoTime chaos = world_.scheduler().now() + kChaosMax;
    while (!clients_done() && world_.scheduler().now() < chaos && step()) {
    }
    settle();
    SwarmResult result;
    result.violations = judge();
    if (config_.truncated && result.violations.empty()) {
      truncation_.emplace(world_, oracles_.log());
      result.violations = truncation_->run([this] { return go_on(); });
    }
    if (world_.scheduler().steps() >= steps_max_) {
      // A limit of whoever runs it says nothing about the world.
      result.violations.push_back({steps_max_ == kSwarmStepsMax ? "I9" : "Steps",
                                   "the run took more than " + std::to_string(steps_max_) + " steps"});
    }
    result.tape = choices_.tape();
    result.config = describe(config_);
    result.token = token_of(seed);
    result.steps = world_.scheduler().steps();
    result.trace_hash = world_.scheduler().trace_hash();
    result.simulated_ms = static_cast<std::uint64_t>(world_.scheduler().now().value() / 1'000'000) - 1000;
    result.answered = workload_.answered();
    result.operations = history_.entries().size();
    for (const History::Entry& entry : history_.entries()) {
      if (entry.asked && entry.outcome.answer == Answer::unknown) ++result.unknown;
    }
    result.counters = world_.counters().all();
    for (const auto& [name, count] : counted_) result.counters[name] += count;
    result.counters["spec.steps"] = spec_.steps();
    for (std::size_t node = 0; node < world_.nodes(); ++node) count_life(node, result.counters);
    return result;
  }

 private:
  using Counts = std::map<std::string, std::uint64_t, std::less<>>;

  ClusterOracles::Options oracle_options() {
    ClusterOracles::Options options;
    options.alive = [this](Incarnation incarnation) { return world_.scheduler().alive(incarnation); };
    options.history = &history_;
    if (config_.world.keys) options.keys = &world_.keys();
    options.snapshots_are_kept = !config_.has(FaultClass::snapshots) && !config_.has(FaultClass::vanish);
    return options;
  }

  // Everything that every oracle has to say, at rest.
  std::vector<Violation> judge() {
    const Witness witness(oracles_.log());
    witness.resolve(workload_.evidence(), history_);
    if (oracles_.clean()) oracles_.at_rest();
    spec_.at_rest();
    effects_.at_rest();
    Violations shown = told_;
    if (config_.world.keys) {
      const ErasableWorld erasable{oracles_.log(), world_.keys(), *world_.snapshots().storage(),
                                   *world_.views().storage()};
      check_erasures(erasable, world_.counters(), shown);
    }
    witness.check(workload_.evidence(), shown);
    if (archivist_) archivist_->check(oracles_.log(), shown);
    if (teleporter_) {
      elsewhere_->at_rest();
      teleporter_->check(oracles_.log(), shown);
      for (const Violation& one : elsewhere_->violations())
        shown.add(one.invariant, "elsewhere: " + one.what);
    }
    std::vector<Violation> all;
    for (const auto* some :
         {&oracles_.violations(), &spec_.violations(), &effects_.violations(), &shown.list()}) {
      all.insert(all.end(), some->begin(), some->end());
    }
    return all;
  }

  Effects::World effects_world() {
    return {[this] { return world_.scheduler().now(); },
            [this](const CommandId& id, const std::string& value) {
              return workload_.has_sent(id) || workload_.has_written(value);
            }};
  }

  Workload::Site site() {
    std::vector<std::string> urls;
    for (std::size_t node = 0; node < world_.nodes(); ++node) urls.push_back(world_.url(node));
    return {world_.scheduler(), world_.network(),         world_.counters(),
            std::move(urls),    config_.world.partitions, config_.world.seed};
  }

  void acknowledged(const std::vector<LogPosition>& positions) {
    oracles_.acknowledged(positions);
    written_.insert(written_.end(), positions.begin(), positions.end());
  }

  Archivist::Site archive_site() {
    Workload::Site here = site();
    return {here.scheduler,
            here.network,
            here.counters,
            std::move(here.urls),
            here.seed,
            config_.has(FaultClass::failover),
            [this] { return workload_.agents(); },
            [this] { return written_; },
            [this](const std::vector<LogPosition>& positions) { oracles_.acknowledged(positions); }};
  }

  Teleporter::Site teleport_site() {
    Workload::Site here = site();
    return {here.scheduler,
            here.network,
            here.counters,
            std::move(here.urls),
            here.seed,
            *elsewhere_,
            config_.has(FaultClass::crash),
            config_.has(FaultClass::failover),
            [this] { return workload_.agents(); },
            [this](const std::vector<LogPosition>& positions) { oracles_.acknowledged(positions); },
            [this](std::string agent) { workload_.adopt(std::move(agent)); }};
  }

  bool clients_done() const {
    return workload_.done() && (!archivist_ || archivist_->done()) && (!teleporter_ || teleporter_->done());
  }

  bool go_on() { return world_.scheduler().steps() < steps_max_ && world_.scheduler().step(); }

  bool step() {
    if (!go_on()) return false;
    oracles_.after_step();
    effects_.look();
    if (elsewhere_) elsewhere_->after_step();
    return oracles_.clean() && spec_.violations().empty() && effects_.violations().empty() &&
           (!elsewhere_ || elsewhere_->violations().empty());
  }

  // Nothing is open, and no partition is on its way to another node.
  bool at_rest() {
    return clients_done() && world_.owning().settled() && world_.folding().settled() && !oracles_.pending() &&
           (!elsewhere_ || !elsewhere_->pending());
  }

  // After the faults: a world that is well must come to rest, and stay there.
  void settle() {
    nemesis_.stop();
    world_.heal();
    if (teleporter_) teleporter_->settle();
    for (std::size_t node = 0; node < world_.nodes(); ++node) {
      world_.end_twin(node);
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
      nemesis_.look();
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

  // What the node's parts have counted in this incarnation.
  void count_life(std::size_t node, Counts& counts) {
    if (!world_.up(node)) return;
    for (const auto& [name, count] : world_.env(node).counters()) counts["node." + name] += count;
  }

  Choices choices_;
  std::uint64_t steps_max_;
  SwarmConfig config_;
  ClusterWorld world_;
  History history_;
  StorageLogView<SimLogStorage> log_view_;
  MemoryViewsView views_view_;
  MemoryStatesView states_view_;
  ClusterOracles oracles_;
  SpecCheck spec_{[this](Partition partition) -> const std::vector<LogRecord>& {
    return world_.log().records(partition);
  }};
  Effects effects_;
  Nemesis nemesis_;
  SometimesWatch watch_{world_.counters()};
  Workload workload_;
  std::vector<LogPosition> written_;  // That clients of the workload were told.
  std::optional<Archivist> archivist_;
  std::optional<OtherPlace> elsewhere_;
  std::optional<Teleporter> teleporter_;
  std::optional<Truncation> truncation_;
  Violations told_;  // While it went on.
  Counts counted_;
};

}  // namespace

SwarmResult run_swarm(const SwarmRun& run) {
  if (is_disk_seed(run.seed)) return run_disk_swarm(run);
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
