#include "sim/disk_swarm.h"

#include <limits>

#include "sim/cluster_oracles.h"
#include "sim/disk_node.h"
#include "sim/rebuilder.h"
#include "sim/sim_model.h"
#include "sim/workload.h"

namespace varve::sim {
namespace {

constexpr std::chrono::seconds kChaosMax{60};
constexpr std::chrono::seconds kDrainMax{900};
constexpr std::chrono::seconds kRest{2};
constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kSpaceMax = 150'000;  // Left on a disk that will be full soon.
constexpr std::uint64_t kDownUs = 3'000'000;
constexpr std::chrono::seconds kAnswerMax{70};  // Whoever ends a rebuild waits until it has stopped.
constexpr const char* kUrl = "http://node:8283";

struct Config {
  std::uint64_t seed = 0;
  std::uint32_t partitions = 4;
  Workload::Options workload;
  std::uint64_t snapshot_records = 5;
  Duration idle{std::chrono::seconds{5}};
  PickPolicy pick = PickPolicy::uniform;
  int log_pages = 0;           // After which the log is checkpointed; 0 = as in production.
  std::uint32_t kill_ppm = 0;  // Of a tenth of a second, as the next two.
  std::uint32_t power_ppm = 0;
  std::uint32_t full_ppm = 0;
  Disk::Faults disk;
  Network::Faults network;
  std::uint32_t model_ppm = 0;
  bool rebuilds = false;
};

constexpr Track kWorldTrack{Domain::config};
constexpr Track kKindsTrack{Domain::config, 1};
constexpr Track kFaultsTrack{Domain::config, 2};
constexpr Track kRebuildTrack{Domain::config, 3};

// Always the same number of decisions.
Config draw(Choices& choices, std::uint64_t seed) {
  const auto drawn = [&choices](std::uint64_t bound) { return choices.choose(kWorldTrack, bound); };
  Config config;
  config.seed = seed;
  config.partitions = static_cast<std::uint32_t>(1 + drawn(4));
  config.workload.clients = 1 + drawn(3);
  config.workload.operations = 4 + drawn(10);
  config.workload.tools = choices.chance(kWorldTrack, 1, 2);
  config.workload.compare_values = !config.workload.tools;
  config.workload.restless = choices.chance(kWorldTrack, 1, 2);
  config.workload.keyless = choices.chance(kWorldTrack, 1, 3);
  config.snapshot_records = 3 + drawn(20);
  config.idle = std::chrono::seconds{1 + drawn(10)};
  config.pick = static_cast<PickPolicy>(drawn(4));
  // As often as production's, or so often that crashes and failed syncs fall into checkpoints.
  config.log_pages = choices.chance(kWorldTrack, 1, 2) ? 4 + static_cast<int>(drawn(40)) : 0;
  for (std::size_t kind = 0; kind < Workload::kKinds; ++kind) {
    config.workload.kinds.push_back(choices.chance(kKindsTrack, 2, 3));
  }
  const bool calm = choices.choose(kFaultsTrack, 10) == 0;
  config.workload.streams_settle = calm;
  const auto rate = [&choices, calm](std::uint32_t ppm) {
    return choices.chance(kFaultsTrack, 1, 2) && !calm ? ppm : 0U;
  };
  config.kill_ppm = rate(30'000);
  config.power_ppm = rate(30'000);
  config.full_ppm = rate(10'000);
  config.disk.read_error_ppm = rate(200);
  config.disk.short_read_ppm = rate(2'000);
  config.disk.write_error_ppm = rate(1'000);
  config.disk.sync_error_ppm = rate(5'000);
  config.disk.garbage_ppm = rate(200'000);
  config.network.reset_ppm = rate(20'000);
  config.network.late_ppm = rate(20'000);
  config.network.lost_ppm = rate(10'000);
  config.model_ppm = rate(50'000);
  config.rebuilds = choices.chance(kRebuildTrack, 1, 2);
  return config;
}

std::string describe(const Config& config) {
  std::string text = "disk partitions=" + std::to_string(config.partitions) +
                     " clients=" + std::to_string(config.workload.clients) +
                     " operations=" + std::to_string(config.workload.operations) +
                     (config.workload.tools ? " tools" : "") + (config.workload.restless ? " restless" : "") +
                     (config.workload.keyless ? " keyless" : "") + (config.rebuilds ? " rebuilds" : "") +
                     (config.log_pages > 0 ? " log_pages=" + std::to_string(config.log_pages) : "");
  const auto say = [&text](const char* name, std::uint32_t ppm) {
    if (ppm > 0) text += std::string(" ") + name + "=" + std::to_string(ppm);
  };
  say("kill", config.kill_ppm);
  say("power", config.power_ppm);
  say("full", config.full_ppm);
  say("read_error", config.disk.read_error_ppm);
  say("short_read", config.disk.short_read_ppm);
  say("write_error", config.disk.write_error_ppm);
  say("sync_error", config.disk.sync_error_ppm);
  say("garbage", config.disk.garbage_ppm);
  say("reset", config.network.reset_ppm);
  say("late", config.network.late_ppm);
  say("lost", config.network.lost_ppm);
  say("model", config.model_ppm);
  return text;
}

DiskNode::Options node_options(const Config& config, ModelProvider& provider, PositionWatch& watch) {
  DiskNode::Options made;
  made.seed = config.seed;
  made.partitions = config.partitions;
  made.model = [&provider](Env& env) -> std::unique_ptr<ModelClient> {
    // A DiskNode's Env is one of the simulation.
    return std::make_unique<SimModel>(static_cast<SimEnv&>(env), "node", provider);
  };
  made.node.models.handles = {"varve/sim"};
  made.node.models.default_handle = "varve/sim";
  made.node.shard.snapshot_records = config.snapshot_records;
  made.node.shard.idle = config.idle;
  made.checkpoint_pages = 30;  // Often, so that crashes fall into checkpoints.
  made.log_checkpoint_pages = config.log_pages;
  made.generations = config.rebuilds;
  made.watch = &watch;
  return made;
}

class DiskSwarm {
 public:
  explicit DiskSwarm(const SwarmRun& run)
      : choices_(choices_of(run.seed, run.tape, run.record)),
        steps_max_(run.steps_max),
        config_(draw(choices_, run.seed)),
        scheduler_(choices_),
        world_(scheduler_, "world", run.seed ^ 0x30bULL),
        network_(scheduler_, world_, counters_),
        provider_(scheduler_, counters_),
        disk_(scheduler_, counters_, {}),
        watch_(config_.partitions),
        node_(scheduler_, disk_, node_options(config_, provider_, watch_)),
        workload_({scheduler_, network_, counters_, {kUrl}, config_.partitions, run.seed}, history_,
                  config_.workload, [this](const std::vector<LogPosition>& positions) {
                    acknowledged_.insert(acknowledged_.end(), positions.begin(), positions.end());
                  }) {
    scheduler_.print_trace(run.print_trace);
    scheduler_.on_line(run.on_line);
    scheduler_.pick(config_.pick);
    set_faults();
  }
  ~DiskSwarm() {
    scheduler_.on_line({});  // What the world's end traces is not the run's.
    haunting_ = false;
    scheduler_.on_line({});
    listening_.reset();
    world_.kill();
  }
  DiskSwarm(const DiskSwarm&) = delete;
  DiskSwarm& operator=(const DiskSwarm&) = delete;

  SwarmResult run(std::uint64_t seed) {
    boot();
    workload_.start();
    world_.spawn("nemesis", haunt(this));
    if (config_.rebuilds) {
      rebuilder_.emplace(rebuilder_site());
      rebuilder_->start();
    }
    const MonoTime chaos = scheduler_.now() + kChaosMax;
    while (!workload_.done() && scheduler_.now() < chaos && step()) {
    }
    settle();
    SwarmResult result;
    result.violations = violations_.list();
    result.config = describe(config_);
    result.token = token_of(seed);
    result.tape = choices_.tape();
    result.steps = scheduler_.steps();
    result.trace_hash = scheduler_.trace_hash();
    result.simulated_ms = static_cast<std::uint64_t>(scheduler_.now().value() / 1'000'000) - 1000;
    result.answered = workload_.answered();
    result.operations = history_.entries().size();
    for (const History::Entry& entry : history_.entries()) {
      if (entry.asked && entry.outcome.answer == Answer::unknown) ++result.unknown;
    }
    result.counters = counters_.all();
    result.tape = choices_.tape();
    return result;
  }

 private:
  bool step() {
    if (scheduler_.steps() >= steps_max_) {
      // A limit of whoever runs it says nothing about the world.
      if (violations_.list().empty())
        fail(steps_max_ == kSwarmStepsMax ? "I9" : "Steps", "the run took too many steps");
      return false;
    }
    const bool stepped = scheduler_.step();
    for (const std::string& what : watch_.broken()) fail("I6", what);
    if (rebuilder_) {
      for (const std::string& what : rebuilder_->broken()) fail("I5", what);
    }
    return stepped && violations_.list().empty();
  }
  void fail(std::string invariant, std::string what) {
    violations_.add(std::move(invariant), std::move(what));
  }
  // Each decides on a track of its own.
  enum class Strike : unsigned char { process, power, full };
  static Track track(Strike one) { return {Domain::nemesis, static_cast<std::size_t>(one)}; }

  void set_faults() {
    disk_.set_faults(config_.disk);
    Network::Faults network = config_.network;
    network.delay_us = 1'000;
    network.late_us = 2'000'000;
    network_.set_faults(network);
    ModelProvider::Faults model;
    model.busy_ppm = config_.model_ppm;
    model.broken_ppm = config_.model_ppm;
    model.think_us = 500'000;
    model.piece_us = 20'000;
    provider_.set_faults(model);
    ModelProvider::Habits habits;
    if (config_.workload.tools) {
      habits.tools_ppm = 500'000;
      habits.more_tools_ppm = 300'000;
      habits.wrong_tools_ppm = 100'000;
    }
    habits.reasoning_ppm = 200'000;
    provider_.set_habits(habits);
  }

  // ---- the machine

  void boot() {
    if (const Status booted = node_.boot(); !booted) {
      scheduler_.trace("boot failed: " + booted.error().message);
      counters_.add("sometimes.disk.boot_failed");
      if (!haunting_) return fail("I9", "the server does not start: " + booted.error().message);
      boot_later();
      return;
    }
    listening_ = network_.listen(kUrl, node_.env(),
                                 [this](Request request) { return node_.node().handle(std::move(request)); });
    look("after a boot");
  }
  void boot_later() {
    const std::uint64_t down_us = 1'000 + choices_.spread(track(Strike::process), kDownUs);
    world_.call_at(world_.now() + std::chrono::microseconds{down_us}, [this] {
      if (!node_.up()) boot();
    });
  }
  void crash(DiskNode::Death death) {
    // What the views have folded was shown to a reader, so it is durable.
    if (const auto image = node_.image()) {
      for (const auto& [partition, checkpoint] : image->views.checkpoints) {
        if (!checkpoint.mark.none && marks_[partition].offset <= checkpoint.mark.offset)
          marks_[partition] = checkpoint.mark;
        Offset& wanted = to_fold_again_[partition];
        if (death == DiskNode::Death::power) wanted = std::max(wanted, checkpoint.next);
      }
      // Commits of the views are not synced one by one: a power cut may take the newest.
      if (death == DiskNode::Death::power) history_.views_lost();
    }
    if (death == DiskNode::Death::power) watch_.lost();
    listening_.reset();
    node_.crash(death);
  }

  // Whether the views have everything again that they had before the last power cut.
  void look_at_views() {
    if (to_fold_again_.empty() || !node_.up()) return;
    const auto image = node_.image();
    if (!image) return;
    for (const auto& [partition, wanted] : to_fold_again_) {
      const auto now = image->views.checkpoints.find(partition);
      if (now == image->views.checkpoints.end() || now->second.next < wanted) return;
    }
    to_fold_again_.clear();
    history_.views_caught_up();
  }

  static Task<> haunt(DiskSwarm* self) {
    const Config& config = self->config_;
    const auto strikes = [self](Strike one, std::uint32_t ppm) {
      return self->choices_.chance(track(one), ppm, 1'000'000);
    };
    while (self->haunting_) {
      co_await sleep_for(self->world_, std::chrono::milliseconds{100});
      if (!self->haunting_) break;
      self->look_at_views();
      if (strikes(Strike::full, config.full_ppm)) {
        self->counters_.add("fault.disk.full");
        self->disk_.set_capacity(self->disk_.used() + self->choices_.choose(track(Strike::full), kSpaceMax));
        const std::uint64_t full_us = self->choices_.spread(track(Strike::full), kDownUs);
        self->world_.call_at(self->world_.now() + std::chrono::microseconds{full_us},
                             [self] { self->disk_.set_capacity(kNoLimit); });
      }
      const bool power = strikes(Strike::power, config.power_ppm);
      const bool kill = strikes(Strike::process, config.kill_ppm);
      if (!power && !kill) continue;
      if (!self->node_.up()) continue;
      self->counters_.add(power ? "fault.disk.power_cut" : "fault.node.crash");
      self->crash(power ? DiskNode::Death::power : DiskNode::Death::process);
      self->boot_later();
    }
    co_return ok();
  }

  // ---- who rebuilds

  Rebuilder::Site rebuilder_site() {
    const auto left_over = [this](Rebuilder::Rest rest) {
      const auto idle = node_.idle_views(rest);
      return idle ? *idle : std::vector<std::string>{idle.error().message};
    };
    return {world_, choices_, counters_,
            [this](Request request) { return ask_to_rebuild(std::move(request)); }, left_over};
  }
  Task<Response> ask_to_rebuild(Request request) {
    if (!node_.up()) co_return Error{Errc::unavailable, "connection refused"};
    const auto answer = std::make_shared<OneShot<Response>>();
    node_.env().spawn("request", rebuild_route(node_.projections(), std::move(request), answer, &world_));
    co_return co_await answer->get(world_, world_.now() + kAnswerMax);
  }
  static Task<> rebuild_route(ProjectionRoutes* routes, Request request,
                              std::shared_ptr<OneShot<Response>> answer, SimEnv* world) {
    Response response = co_await routes->handle(std::move(request));
    world->post([answer, response = std::move(response)] { answer->set(response); });
    co_return ok();
  }

  // ---- what is judged

  // The files as they are now.
  void look(const std::string& when) {
    const auto image = node_.image();
    if (!image) return fail("I4", when + ": the files cannot be read: " + image.error().message);
    judge(*image, when, false);
    // The first file was made at once, with all that belongs to it.
    if (indexes_ == 0) indexes_ = image->indexes;
    if (image->indexes != indexes_) fail("I4", when + ": the views that are shown lack indexes");
    for (const auto& [partition, mark] : marks_) {
      const auto& records = image->log->records(partition);
      const auto place = static_cast<std::size_t>(mark.offset.value());
      if (place < records.size() && mark_of(records[place]) == mark) continue;
      fail("I1", when + ": record " + to_string(LogPosition{partition, mark.offset}) +
                     ", which the views had folded, is gone");
    }
  }

  // True: the world is at rest. At the end everything is judged, before it only what always holds.
  bool judge(const DiskNode::Image& image, const std::string& when, bool at_end) {
    const StorageLogView<MemoryLogStorage> log(*image.log);
    MemoryViewsView views(image.views);
    MemoryStatesView states(image.snapshots, [this] { return residents(); });
    ClusterOracles::Options options;
    options.snapshots_are_kept = true;
    ClusterOracles oracles(log, views, &states, options);
    oracles.acknowledged(acknowledged_);
    oracles.after_step();
    if (at_end) {
      why_ = pending(image, oracles.log());
      if (!why_.empty()) return false;
    }
    oracles.at_rest();
    for (const Violation& violation : oracles.violations()) {
      fail(violation.invariant, when + ": " + violation.what);
    }
    if (!at_end) return true;
    const Witness witness(oracles.log());
    witness.resolve(workload_.evidence(), history_);
    witness.check(workload_.evidence(), violations_);
    for (const Violation& violation : check(history_, {}).violations) {
      fail(violation.invariant, violation.what);
    }
    return true;
  }

  // Why the server is not at rest; empty if it is.
  std::string pending(const DiskNode::Image& image, const LogOracle& log) {
    if (history_.open() > 0) return "an operation is open: " + history_.oldest_open();
    if (rebuilder_ && !rebuilder_->done()) return "the views are rebuilt: " + rebuilder_->state();
    if (!node_.up() || !node_.node().member().owns_what_is_assigned()) return "a partition is not owned";
    for (const auto& [stream, run] : log.open_turns()) return stream.value() + " has an open turn: " + run;
    for (std::uint32_t i = 0; i < log.partitions(); ++i) {
      const auto& judged = log.judged(Partition{i});
      const auto stored = image.views.checkpoints.find(Partition{i});
      const Offset folded = stored == image.views.checkpoints.end() ? Offset{} : stored->second.next;
      if (judged.empty() || judged.back().offset < folded) continue;
      return "the views of partition " + std::to_string(i) + " are behind";
    }
    return {};
  }

  std::vector<Resident> residents() {
    std::vector<Resident> all;
    if (!node_.up()) return all;
    for (const auto& shard : node_.node().member().shards()) {
      if (!shard->owner().owned()) continue;
      all.push_back({"node", shard->owner().partition(), shard->owner().next_offset(),
                     [shard](const StreamId& stream) { return shard->peek(stream); }});
    }
    return all;
  }

  void settle() {
    haunting_ = false;
    scheduler_.trace("heal");
    disk_.set_faults({});
    disk_.set_capacity(kNoLimit);
    network_.set_faults({});
    network_.heal();
    provider_.set_faults({});
    if (rebuilder_) rebuilder_->settle();
    if (!violations_.list().empty()) return;
    // What stopped because of a fault begins anew.
    crash(DiskNode::Death::process);
    boot();
    const MonoTime limit = scheduler_.now() + kDrainMax;
    MonoTime look_at = scheduler_.now() + kRest;
    world_.call_at(limit, [] {});
    while (scheduler_.now() < limit && step()) {
      if (!workload_.done() || (rebuilder_ && !rebuilder_->done()) || scheduler_.now() < look_at) continue;
      look_at = scheduler_.now() + kRest;
      world_.call_at(look_at, [] {});
      const auto image = node_.image();
      if (!image) return fail("I4", "at the end: the files cannot be read: " + image.error().message);
      if (judge(*image, "at the end", true)) {
        if (image->indexes != indexes_) fail("I4", "at the end: the views that are shown lack indexes");
        return;
      }
    }
    if (rebuilder_ && !rebuilder_->done()) why_ = "the views are rebuilt: " + rebuilder_->state();
    if (violations_.list().empty()) fail("I9", why_.empty() ? history_.oldest_open() : why_);
  }

  Choices choices_;
  std::uint64_t steps_max_;
  Config config_;
  Scheduler scheduler_;
  SimEnv world_;
  Counters counters_;
  Network network_;
  ModelProvider provider_;
  Disk disk_;
  PositionWatch watch_;
  DiskNode node_;
  std::optional<Rebuilder> rebuilder_;
  std::unique_ptr<Network::Listening> listening_;
  History history_;
  Workload workload_;
  Violations violations_;
  std::vector<LogPosition> acknowledged_;
  std::map<Partition, Mark> marks_;
  std::size_t indexes_ = 0;                    // Of the views.
  std::map<Partition, Offset> to_fold_again_;  // Where checkpoints were before a power cut.
  std::string why_;                            // The world is not at rest.
  bool haunting_ = true;
};

}  // namespace

bool is_disk_seed(std::uint64_t seed) {
  return seed % 8 == 5;
}

std::uint64_t disk_seed(std::uint64_t number) {
  return number * 8 + 5;
}

SwarmResult run_disk_swarm(const SwarmRun& run) {
  DiskSwarm swarm(run);
  return swarm.run(run.seed);
}

}  // namespace varve::sim
