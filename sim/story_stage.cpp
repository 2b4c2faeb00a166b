#include "sim/story_stage.h"

#include "actors/echo_model.h"
#include "actors/scripted_model.h"

namespace varve::sim {
namespace {

constexpr std::uint64_t kStepsMax = 1'000'000;
constexpr std::chrono::seconds kDrainMax{300};
constexpr std::chrono::seconds kRest{1};
constexpr std::chrono::milliseconds kLookEvery{50};
constexpr std::chrono::milliseconds kDownTime{20};

// What the script says; what the model was shown is written down.
class NotingModel final : public ModelClient {
 public:
  NotingModel(Env& env, std::string_view script, std::map<std::string, std::string>& shown) : shown_(shown) {
    auto parsed = ScriptedModel::parse(env, script);
    CHECK(parsed.has_value());
    model_ = std::move(*parsed);
  }
  bool serves(std::string_view handle) const override { return model_->serves(handle); }
  std::vector<std::string> handles() const override { return model_->handles(); }
  bool summarizes(std::string_view handle) const override { return model_->summarizes(handle); }
  Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) override {
    shown_[last_user_text(request)] = request.system;
    return model_->complete(std::move(request), deadline);
  }

 private:
  std::map<std::string, std::string>& shown_;
  std::unique_ptr<ScriptedModel> model_;
};

ClusterWorld::Options world_options(const StoryKind& kind, const StoryRun& run) {
  ClusterWorld::Options options = kind.world;
  options.seed = run.seed;
  options.sparse_log = run.sparse_log;
  return options;
}

}  // namespace

ClusterOracles::Options StoryStage::oracle_options() {
  ClusterOracles::Options options;
  options.alive = [this](Incarnation incarnation) { return world_.scheduler().alive(incarnation); };
  options.history = &history_;
  options.history_options.lists_are_ours = false;
  options.snapshots_are_kept = true;
  return options;
}

StoryStage::StoryStage(const StoryKind& kind, const StoryRun& run)
    : run_(run),
      first_nodes_(kind.first_nodes),
      choices_(choices_of(run.seed, run.tape, run.record)),
      world_(choices_, world_options(kind, run)),
      client_(world_.scheduler(), "client", run.seed ^ 0xc11e47ULL),
      http_(client_, world_.network(), "client"),
      log_view_(world_.log()),
      views_view_(*world_.views().storage()),
      states_view_(*world_.snapshots().storage(), [this] { return world_.residents(); }),
      oracles_(log_view_, views_view_, &states_view_, oracle_options()),
      spec_([this](Partition partition) -> const std::vector<LogRecord>& {
        return world_.log().records(partition);
      }) {
  world_.provider().stand_in([this, script = kind.model_script](SimEnv& env) {
    return std::make_unique<NotingModel>(env, script, shown_);
  });
  world_.scheduler().print_trace(run.print_trace);
  world_.scheduler().on_line(run.on_line);
  world_.scheduler().on_trace([this](Incarnation incarnation, std::string_view node, std::string_view line) {
    if (node == OtherPlace::kName) return elsewhere_->on_trace(incarnation, line);
    oracles_.on_trace(incarnation, node, line);
    spec_.on_trace(incarnation, node, line);
  });
  if (kind.elsewhere) {
    const OtherPlace::Site there{world_.scheduler(), world_.network(), 1, run.seed};
    elsewhere_.emplace(there);
  }
  story_ = kind.make(*this);
}

StoryStage::~StoryStage() {
  // Tasks of the story end before it does.
  client_.kill();
  for (std::size_t node = 0; node < world_.nodes(); ++node) world_.crash(node);
}

Task<Exchange> StoryStage::exchange(std::size_t node, Request request, Duration patience) {
  return http_.exchange(world_.url(node), std::move(request), patience);
}

void StoryStage::crash(std::size_t node) {
  if (!world_.up(node)) return;
  count_life(node);
  story_->on_crash(node);
  world_.crash(node);
}

void StoryStage::crash_for_a_while(std::size_t node) {
  if (node == world_.nodes()) {
    if (elsewhere_->up()) elsewhere_->crash_for(kDownTime);
    return;
  }
  if (!world_.up(node)) return;
  crash(node);
  client_.call_at(client_.now() + kDownTime, [this, node] {
    if (!world_.up(node)) world_.boot(node);
  });
}

StoryClient::Ears StoryStage::ears() {
  StoryClient::Ears ears;
  ears.acknowledged = [this](const std::vector<LogPosition>& positions) { oracles_.acknowledged(positions); };
  ears.history = &history_;
  return ears;
}

std::string StoryStage::shown_to_model(const std::string& user_text) const {
  const auto found = shown_.find(user_text);
  return found == shown_.end() ? "" : found->second;
}

void StoryStage::count_life(std::size_t node) {
  if (!world_.up(node)) return;
  for (const auto& [name, count] : world_.env(node).counters()) counted_["node." + name] += count;
}

bool StoryStage::step() {
  Scheduler& scheduler = world_.scheduler();
  if (scheduler.steps() >= kStepsMax || !scheduler.step()) return false;
  oracles_.after_step();
  if (elsewhere_) elsewhere_->after_step();
  if (run_.crash_after_step != 0 && scheduler.steps() == run_.crash_after_step) crash_for_a_while(run_.node);
  return oracles_.clean() && spec_.violations().empty() && (!elsewhere_ || elsewhere_->violations().empty());
}

// Nothing is open, and no partition is on its way to another node.
bool StoryStage::at_rest() {
  return world_.owning().settled() && world_.folding().settled() && !oracles_.pending() &&
         (!elsewhere_ || !elsewhere_->pending());
}

void StoryStage::come_to_rest(StoryResult& result) {
  Scheduler& scheduler = world_.scheduler();
  const MonoTime limit = scheduler.now() + kDrainMax;
  MonoTime look = scheduler.now();
  std::optional<MonoTime> resting;  // Since when nothing is open.
  while (scheduler.now() < limit) {
    if (scheduler.now() >= look) {
      look = scheduler.now() + kLookEvery;
      if (!at_rest()) {
        resting.reset();
      } else if (!resting) {
        resting = scheduler.now();
        result.story_steps = scheduler.steps();
      } else if (scheduler.now() - *resting >= kRest) {
        return;
      }
    }
    if (!step()) return;
  }
}

StoryResult StoryStage::play() {
  StoryResult result;
  for (std::size_t node = 0; node < first_nodes_; ++node) boot(node);
  if (elsewhere_) elsewhere_->boot();
  story_->start(client_);
  bool goes_on = true;
  while (goes_on && !story_->done()) goes_on = step();
  if (goes_on) come_to_rest(result);
  if (oracles_.clean()) {
    oracles_.check_drained();
    oracles_.at_rest();
  }
  spec_.at_rest();
  if (elsewhere_) {
    elsewhere_->at_rest();
    for (const Violation& violation : elsewhere_->violations()) {
      result.failures.push_back(violation.invariant + ": elsewhere: " + violation.what);
    }
  }
  if (story_->failure()) result.failures.push_back(*story_->failure());
  for (const Violation& violation : oracles_.violations()) {
    result.failures.push_back(violation.invariant + ": " + violation.what);
  }
  for (const Violation& violation : spec_.violations()) {
    result.failures.push_back(violation.invariant + ": " + violation.what);
  }
  if (!story_->done()) result.failures.emplace_back("the story did not end");
  if (result.failures.empty()) {
    if (std::string wrong = story_->at_rest(); !wrong.empty()) result.failures.push_back(std::move(wrong));
  }
  for (std::size_t node = 0; node < world_.nodes(); ++node) count_life(node);
  result.counters = world_.counters().all();
  for (const auto& [name, count] : counted_) result.counters[name] += count;
  result.counters["spec.steps"] = spec_.steps();
  result.steps = world_.scheduler().steps();
  result.trace_hash = world_.scheduler().trace_hash();
  result.simulated_ms = static_cast<std::uint64_t>(world_.scheduler().now().value() / 1'000'000) - 1000;
  result.tape = choices_.tape();
  world_.scheduler().on_line({});  // What the world's end traces is not the run's.
  return result;
}

StoryResult run_story(const StoryKind& kind, const StoryRun& run) {
  return StoryStage(kind, run).play();
}

}  // namespace varve::sim
