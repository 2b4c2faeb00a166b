#include "sim/idle.h"

#include "sim/cluster_oracles.h"
#include "sim/cluster_world.h"
#include "sim/spec_check.h"

namespace varve::sim {

IdleResult run_idle(std::uint64_t seed, bool print_trace) {
  Choices choices(seed);
  ClusterWorld::Options options;
  options.seed = seed;
  ClusterWorld world(choices, options);
  Scheduler& scheduler = world.scheduler();
  scheduler.print_trace(print_trace);

  StorageLogView<SimLogStorage> log(world.log());
  MemoryViewsView views(*world.views().storage());
  ClusterOracles::Options watch;
  watch.alive = [&scheduler](Incarnation incarnation) { return scheduler.alive(incarnation); };
  ClusterOracles oracles(log, views, nullptr, watch);
  SpecCheck spec([&world](Partition partition) -> const std::vector<LogRecord>& {
    return world.log().records(partition);
  });
  scheduler.on_trace([&](Incarnation incarnation, std::string_view node, std::string_view line) {
    oracles.on_trace(incarnation, node, line);
    spec.on_trace(incarnation, node, line);
  });

  for (std::size_t node = 0; node < world.nodes(); ++node) world.boot(node);
  const MonoTime begun = scheduler.now();
  while (scheduler.now() < begun + kIdleTime && oracles.clean() && scheduler.step()) oracles.after_step();
  if (oracles.clean()) oracles.at_rest();
  spec.at_rest();

  IdleResult result;
  result.violations = oracles.violations();
  result.violations.insert(result.violations.end(), spec.violations().begin(), spec.violations().end());
  result.steps = scheduler.steps();
  result.trace_hash = scheduler.trace_hash();
  result.simulated_ms = static_cast<std::uint64_t>((scheduler.now() - begun) / std::chrono::milliseconds{1});
  scheduler.on_trace({});
  return result;
}

}  // namespace varve::sim
