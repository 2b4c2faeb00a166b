#include "sim/disk_lifecycle.h"

#include "actors/scripted_model.h"
#include "runtime/hash.h"
#include "sim/cluster_oracles.h"
#include "sim/fate_oracle.h"
#include "sim/stories/lifecycle.h"
#include "sim/stories/rebuild.h"

namespace varve::sim {
namespace {

constexpr std::uint64_t kStepsMax = 4'000'000;
constexpr int kNemesisStrikes = 6;
constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kSpaceMax = 150'000;  // Left on a disk that will be full soon.
// A turn that was interrupted so often is given up, and the client is told so: that is no failure here.
constexpr const char* kGivenUp = "is given up";
constexpr std::chrono::seconds kRest{2};

DiskNode::Options node_options(const DiskRunOptions& options, PositionWatch& watch, Env& env) {
  const auto make_model = [](Env& its_env) -> std::unique_ptr<ModelClient> {
    auto model = ScriptedModel::parse(its_env, LifecycleStory::model_script());
    CHECK(model.has_value());
    return std::move(*model);
  };
  const auto model = make_model(env);
  DiskNode::Options made;
  made.seed = options.seed;
  made.model = make_model;
  made.node.models.handles = model->handles();
  made.node.models.default_handle = made.node.models.handles.front();
  made.node.models.models = model->models();
  made.node.shard.snapshot_records = 5;
  made.checkpoint_pages = 30;  // Often, so that crashes fall into checkpoints.
  made.generations = options.tale == DiskTale::rebuild;
  made.watch = &watch;
  return made;
}

class DiskWorld final : public Stage, public DiskStage {
 public:
  explicit DiskWorld(const DiskRunOptions& options)
      : options_(options),
        choices_(choices_of(options.seed, options.tape, options.record)),
        scheduler_(choices_),
        disk_(scheduler_, result_.counters, {}),
        client_(scheduler_, "client", options.seed ^ 0xc11e47ULL),
        watch_(kPartitionsDefault),
        node_(scheduler_, disk_, node_options(options, watch_, client_)),
        story_(make_story()) {
    scheduler_.print_trace(options.print_trace);
    scheduler_.on_trace(
        [this](Incarnation, std::string_view, std::string_view line) { fates_.on_trace(line); });
    scheduler_.on_line(options.on_line);
    disk_.set_faults(options.faults);
    disk_.crash_at_operation(options.crash_at_operation);
  }
  ~DiskWorld() override { client_.kill(); }

  DiskRunResult run() {
    boot();
    story_->start(client_);
    if (options_.nemesis) strike_later(kNemesisStrikes);
    while (!(story_->done() && strikes_left_ == 0) && scheduler_.steps() < kStepsMax && step()) {
    }
    if (!story_->done()) fail("the story did not end");
    disk_.set_faults({});
    disk_.set_capacity(kNoLimit);
    if (options_.nemesis) restart();  // What stopped because of a fault begins anew.
    let_pass(kRest);
    check("at the end");
    const auto& expected = story_->failure();
    if (expected && (!options_.nemesis || expected->find(kGivenUp) == std::string::npos)) fail(*expected);
    if (options_.at_the_end && result_.failures.empty()) {
      if (const std::string found = options_.at_the_end(*this); !found.empty()) fail(found);
    }
    result_.steps = scheduler_.steps();
    result_.operations = disk_.operations();
    result_.trace_hash = scheduler_.trace_hash();
    result_.tape = choices_.tape();
    scheduler_.on_line({});  // What the world's end traces is not the run's.
    for (const std::string& path : disk_.files()) {
      result_.content_hash = result_.content_hash * 31 + xxh64(disk_.content(path));
    }
    return result_;
  }

  void boot() override {
    if (const Status booted = node_.boot(); !booted) {
      scheduler_.trace("boot failed: " + booted.error().message);
      if (disk_.frozen()) {
        crash();
      } else if (!options_.nemesis) {
        fail("boot: " + booted.error().message);
        return;
      }
      reboot_later();
      return;
    }
    check("after a boot");
  }
  void crash() override {
    // The views fold what a reader was shown, and what was shown is durable.
    if (const auto image = node_.image()) {
      for (const auto& [partition, checkpoint] : image->views.checkpoints) {
        if (!checkpoint.mark.none && marks_[partition].offset <= checkpoint.mark.offset)
          marks_[partition] = checkpoint.mark;
      }
    }
    if (death_ == DiskNode::Death::power) watch_.lost();
    node_.crash(death_);
  }
  bool up() const override { return node_.up(); }
  SimEnv& client() override { return client_; }

  Disk& disk() override { return disk_; }
  DiskNode& node() override { return node_; }
  Status settle() override {
    if (!node_.up()) {
      if (const Status booted = node_.boot(); !booted) return booted;
    }
    let_pass(kRest);
    const auto failure = node_.node().failure();
    return failure ? Status{*failure} : ok();
  }
  Status run(Task<> task) override {
    std::optional<Status> result;
    node_.env().spawn("task", keep(std::move(task), result));
    while (!result && scheduler_.step()) {
    }
    return result ? *result : Status{Error{Errc::unavailable, "the task did not end"}};
  }

 protected:
  std::optional<Running> running() override {
    if (!node_.up()) return std::nullopt;
    return Running{node_.env(), node_.node(), node_.projections()};
  }

 private:
  bool step() {
    if (!scheduler_.step()) return false;
    if (disk_.frozen()) {
      crash();
      reboot_later();
    }
    if (!watch_.broken().empty()) fail("I6: " + watch_.broken().front());
    return result_.failures.empty();
  }

  std::unique_ptr<Story> make_story() {
    if (options_.tale == DiskTale::lifecycle) return std::make_unique<LifecycleStory>(*this, ears());
    const auto left_over = [this](DiskNode::Rest rest) {
      const auto idle = node_.idle_views(rest);
      return idle ? *idle : std::vector<std::string>{idle.error().message};
    };
    return std::make_unique<RebuildStory>(*this, ears(), left_over, options_.nemesis);
  }

  static Task<> keep(Task<> task, std::optional<Status>& result) {
    result = co_await std::move(task);
    co_return ok();
  }

  void let_pass(Duration time) {
    const MonoTime end = scheduler_.now() + time;
    client_.call_at(end, [] {});
    while (scheduler_.now() < end && step()) {
    }
  }

  void restart() {
    crash();
    boot();
  }

  void strike_later(int left) {
    strikes_left_ = left;
    if (left == 0) return;
    const auto pause = 100 + scheduler_.choices().choose(Domain::nemesis, 900);
    client_.call_at(client_.now() + std::chrono::milliseconds{pause}, [this, left] {
      death_ = scheduler_.choices().choose(Domain::nemesis, 2) == 0 ? DiskNode::Death::process
                                                                    : DiskNode::Death::power;
      if (left == 1) disk_.set_faults({});
      const bool full =
          options_.full_disk && left > 1 && scheduler_.choices().choose(Domain::nemesis, 2) == 1;
      disk_.set_capacity(full ? disk_.used() + scheduler_.choices().choose(Domain::nemesis, kSpaceMax)
                              : kNoLimit);
      crash();
      reboot_later();
      strike_later(left - 1);
    });
  }

  void fail(const std::string& what) { result_.failures.push_back(what); }

  StoryClient::Ears ears() {
    StoryClient::Ears ears;
    ears.acknowledged = [this](const std::vector<LogPosition>& positions) {
      acknowledged_.insert(acknowledged_.end(), positions.begin(), positions.end());
    };
    return ears;
  }

  std::vector<Resident> residents() {
    std::vector<Resident> all;
    for (std::uint32_t i = 0; node_.up() && i < kPartitionsDefault; ++i) {
      const Shard* shard = node_.node().shard(Partition{i});
      if (shard == nullptr) continue;
      all.push_back({"node", Partition{i}, shard->owner().next_offset(),
                     [shard](const StreamId& stream) { return shard->peek(stream); }});
    }
    return all;
  }

  void check(const std::string& when) {
    const auto image = node_.image();
    if (!image) return fail(when + ": the files cannot be read: " + image.error().message);
    // The first file was made at once, with all that belongs to it.
    if (indexes_ == 0) indexes_ = image->indexes;
    if (image->indexes != indexes_) fail(when + ": I4: the views that are shown lack indexes");
    const StorageLogView<MemoryLogStorage> log(*image->log);
    MemoryViewsView views(image->views);
    MemoryStatesView states(image->snapshots, [this] { return residents(); });
    ClusterOracles::Options options;
    options.snapshots_are_kept = true;  // What a power cut takes of them, it takes of the recovery row, too.
    ClusterOracles oracles(log, views, &states, options);
    oracles.acknowledged(acknowledged_);
    oracles.at_rest();
    for (const Violation& violation : oracles.violations()) {
      fail(when + ": " + violation.invariant + ": " + violation.what);
    }
    for (const Violation& violation : fates_.broken(oracles.log())) {
      fail(when + ": " + violation.invariant + ": " + violation.what);
    }
    for (const auto& [partition, checkpoint] : image->views.checkpoints) {
      if (checkpoint.next > image->log->end(partition)) fail(when + ": I4: the views are ahead of the log");
    }
    for (const auto& [partition, row] : image->snapshots.recovery) {
      if (row.next > image->log->end(partition)) fail(when + ": a recovery row is ahead of the log");
    }
    for (const auto& [partition, mark] : marks_) {
      const auto& records = image->log->records(partition);
      const auto place = static_cast<std::size_t>(mark.offset.value());
      if (place >= records.size() || !(mark_of(records[place]) == mark)) {
        fail(when + ": I1: record " + to_string(LogPosition{partition, mark.offset}) +
             ", which the views had folded, is gone");
      }
    }
  }

  DiskRunOptions options_;
  DiskRunResult result_;
  Choices choices_;
  Scheduler scheduler_;
  Disk disk_;
  SimEnv client_;
  PositionWatch watch_;
  DiskNode node_;
  std::unique_ptr<Story> story_;
  DiskNode::Death death_ = options_.death;
  int strikes_left_ = 0;
  std::vector<LogPosition> acknowledged_;
  std::map<Partition, Mark> marks_;
  std::size_t indexes_ = 0;  // Of the views.
  FateOracle fates_;
};

}  // namespace

DiskRunResult run_disk_lifecycle(const DiskRunOptions& options) {
  return DiskWorld{options}.run();
}

SweepResult sweep_disk_lifecycle(const DiskSweep& sweep) {
  SweepResult result;
  DiskRunOptions options;
  options.tale = sweep.tale;
  options.seed = sweep.seed;
  options.death = sweep.death;
  const std::uint64_t operations = run_disk_lifecycle(options).operations;
  for (std::uint64_t at = sweep.first; at <= operations; at += sweep.stride) {
    options.crash_at_operation = at;
    const DiskRunResult run = run_disk_lifecycle(options);
    ++result.runs;
    if (run.failures.empty()) continue;
    ++result.failed;
    if (!result.first_failure.empty()) continue;
    const char* scenario = sweep.tale == DiskTale::rebuild ? "rebuild" : "disk";
    result.first_failure = run.failures.front() + "\n  replay: varve-sim run --scenario " + scenario +
                           " --seed " + std::to_string(sweep.seed) + " --crash-at " + std::to_string(at) +
                           (sweep.death == DiskNode::Death::process ? " --death process" : "") + " --trace";
  }
  return result;
}

}  // namespace varve::sim
