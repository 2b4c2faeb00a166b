// The adapter to Prometheus: GET /metrics in its text format, and what the operating system says of this
// process. prometheus-cpp writes the format; nothing of ours is counted in it, so counting takes no locks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "api/metrics.h"
#include "api/node.h"

namespace varve {

std::string prometheus_text(const std::vector<MetricFamily>& families);

// Of this process; what cannot be found out is 0.
ProcessGauges process_gauges(const std::string& version);

struct MetricsOptions {
  std::string version;                       // Of the program.
  std::function<std::size_t()> connections;  // That are open; may be empty.
  // Of the verification in the background; may be empty, and nothing while it does not run.
  std::function<std::optional<VerifyGauges>()> verify;
};

// GET /metrics of `node`; `inner` answers everything else. Env and node must outlive the handler.
Handler with_metrics(Env& env, Node& node, MetricsOptions options, Handler inner);

}  // namespace varve
