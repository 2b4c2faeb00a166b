#include "sim/sweep.h"

#include "sim/stories/stories.h"

namespace varve::sim {
namespace {

void add(SweepResult& sweep, const std::string& story, const StoryRun& run, const StoryResult& result) {
  ++sweep.runs;
  for (const auto& [name, count] : result.counters) sweep.counters[name] += count;
  if (result.failures.empty()) return;
  ++sweep.failed;
  if (!sweep.first_failure.empty()) return;
  sweep.first_failure = result.failures.front() + "\n  replay: varve-sim run --scenario " + story +
                        " --seed " + std::to_string(run.seed);
  if (run.crash_after_step != 0) {
    sweep.first_failure +=
        " --crash-after " + std::to_string(run.crash_after_step) + " --node " + std::to_string(run.node + 1);
  }
  sweep.first_failure += " --trace";
}

}  // namespace

std::vector<StoryKind> story_kinds() {
  return {lifecycle_story(),  blocks_story(), passivation_story(), batch_story(),
          quarantine_story(), move_story(),   teleport_story()};
}

std::unique_ptr<StoryKind> find_story(const std::string& name) {
  for (StoryKind& kind : story_kinds()) {
    if (kind.name == name) return std::make_unique<StoryKind>(std::move(kind));
  }
  return nullptr;
}

SweepResult sweep_story(const StoryKind& kind, const Sweep& sweep) {
  SweepResult result;
  StoryRun run;
  run.seed = sweep.seed;
  const StoryResult calm = run_story(kind, run);
  add(result, kind.name, run, calm);
  for (run.node = 0; run.node < kind.machines(); ++run.node) {
    for (std::uint64_t step = sweep.first; step <= calm.story_steps; step += sweep.stride) {
      run.crash_after_step = step;
      add(result, kind.name, run, run_story(kind, run));
    }
  }
  return result;
}

}  // namespace varve::sim
