#include "sim/scenario.h"

#include <algorithm>

#include "sim/disk_lifecycle.h"
#include "sim/idle.h"
#include "sim/swarm.h"
#include "sim/sweep.h"

namespace varve::sim {
namespace {

ScenarioResult run_the_swarm(const ScenarioRun& run) {
  SwarmRun swarm;
  swarm.seed = run.seed;
  swarm.print_trace = run.print_trace;
  swarm.tape = run.tape;
  swarm.record = run.record;
  swarm.on_line = run.on_line;
  if (run.steps_max > 0) swarm.steps_max = run.steps_max;
  SwarmResult came = run_swarm(swarm);
  ScenarioResult result;
  result.violations = std::move(came.violations);
  result.config = std::move(came.config);
  result.steps = came.steps;
  result.trace_hash = came.trace_hash;
  result.simulated_ms = came.simulated_ms;
  result.operations = came.operations;
  result.answered = came.answered;
  result.counters = std::move(came.counters);
  result.tape = std::move(came.tape);
  return result;
}

ScenarioResult run_the_disk(const ScenarioRun& run) {
  DiskRunOptions options;
  if (run.scenario == "rebuild") options.tale = DiskTale::rebuild;
  options.seed = run.seed;
  options.crash_at_operation = run.crash_at;
  options.death = run.process_dies ? DiskNode::Death::process : DiskNode::Death::power;
  options.print_trace = run.print_trace;
  options.tape = run.tape;
  options.record = run.record;
  options.on_line = run.on_line;
  if (run.faults == "syncs") {
    options.nemesis = true;
    options.faults.sync_error_ppm = 10'000;
  }
  if (run.faults == "all") {
    options.nemesis = true;
    options.full_disk = run.seed % 3 == 0;
    options.faults = {.read_error_ppm = 3000,
                      .short_read_ppm = 3000,
                      .write_error_ppm = 3000,
                      .sync_error_ppm = 20'000,
                      .garbage_ppm = 300'000};
  }
  DiskRunResult came = run_disk_lifecycle(options);
  ScenarioResult result;
  for (const std::string& failure : came.failures) result.violations.push_back(violation_of(failure));
  result.steps = came.steps;
  result.trace_hash = came.trace_hash ^ came.content_hash;
  result.crash_places = came.operations;
  result.counters = came.counters.all();
  result.tape = std::move(came.tape);
  return result;
}

ScenarioResult run_the_idle_hour(const ScenarioRun& run) {
  IdleResult came = run_idle(run.seed, run.print_trace);
  ScenarioResult result;
  result.violations = std::move(came.violations);
  result.steps = came.steps;
  result.trace_hash = came.trace_hash;
  result.simulated_ms = came.simulated_ms;
  return result;
}

ScenarioResult run_the_story(const StoryKind& kind, const ScenarioRun& run) {
  StoryRun options;
  options.seed = run.seed;
  options.crash_after_step = run.crash_at;
  options.node = run.node;
  options.sparse_log = run.sparse_log;
  options.print_trace = run.print_trace;
  options.tape = run.tape;
  options.record = run.record;
  options.on_line = run.on_line;
  StoryResult came = run_story(kind, options);
  ScenarioResult result;
  for (const std::string& failure : came.failures) result.violations.push_back(violation_of(failure));
  result.config = kind.what;
  result.steps = came.steps;
  result.trace_hash = came.trace_hash;
  result.crash_places = came.story_steps;
  result.crash_nodes = kind.machines();
  result.simulated_ms = came.simulated_ms;
  result.counters = std::move(came.counters);
  result.tape = std::move(came.tape);
  return result;
}

std::string describe(const ScenarioRun& run) {
  std::string text;
  if (run.crash_at > 0) text += " --crash-at " + std::to_string(run.crash_at);
  if (run.node > 0) text += " --node " + std::to_string(run.node + 1);
  if (run.sparse_log) text += " --sparse";
  if (run.process_dies) text += " --death process";
  if (run.faults != "none") text += " --faults " + run.faults;
  return text;
}

}  // namespace

const std::vector<std::string>& scenarios() {
  static const std::vector<std::string> kAll = [] {
    std::vector<std::string> all;
    for (const StoryKind& kind : story_kinds()) all.push_back(kind.name);
    all.emplace_back("disk");
    all.emplace_back("rebuild");
    all.emplace_back("swarm");
    all.emplace_back("idle");
    return all;
  }();
  return kAll;
}

bool is_scenario(std::string_view name) {
  return std::find(scenarios().begin(), scenarios().end(), name) != scenarios().end();
}

std::size_t nodes_of(std::string_view scenario) {
  const auto story = find_story(std::string(scenario));
  return story == nullptr ? 1 : story->machines();
}

bool can_be_swept(std::string_view scenario) {
  return scenario != "swarm" && scenario != "idle";
}

ScenarioResult run_scenario(const ScenarioRun& run) {
  CHECK(is_scenario(run.scenario));
  if (run.scenario == "swarm") return run_the_swarm(run);
  if (run.scenario == "disk" || run.scenario == "rebuild") return run_the_disk(run);
  if (run.scenario == "idle") return run_the_idle_hour(run);
  const auto story = find_story(run.scenario);
  CHECK(story != nullptr);
  return run_the_story(*story, run);
}

std::string arguments_of(const ScenarioRun& run) {
  return "run --scenario " + run.scenario + " --seed " + std::to_string(run.seed) + describe(run);
}

std::string replay_of(const ScenarioRun& run) {
  const bool by_token = run.scenario == "swarm" && describe(run).empty();
  return by_token ? "repro " + token_of(run.seed) : arguments_of(run) + " --trace";
}

Violation violation_of(const std::string& sentence) {
  for (std::size_t at = sentence.find('I'); at != std::string::npos; at = sentence.find('I', at + 1)) {
    const bool begins = at == 0 || sentence[at - 1] == ' ';
    std::size_t end = at + 1;
    while (end < sentence.size() && sentence[end] >= '0' && sentence[end] <= '9') ++end;
    if (!begins || end == at + 1 || end >= sentence.size() || sentence[end] != ':') continue;
    return {sentence.substr(at, end - at), sentence};
  }
  return {"Story", sentence};
}

}  // namespace varve::sim
