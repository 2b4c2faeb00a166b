// Metrics: the catalogue of what a node tells about itself (docs/metrics.md), and the values, collected from
// its Env's counters and timings and from what is found out about the node. Plain values, no format: the one
// file that knows Prometheus is prometheus_text.cpp. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/ready.h"
#include "runtime/env.h"

namespace varve {

enum class MetricType : unsigned char { counter, gauge, histogram };

struct MetricInfo {
  std::string_view name;
  MetricType type;
  std::vector<std::string_view> labels;
  std::string_view help;
};

// Every metric that there is, in the order in which they are told.
const std::vector<MetricInfo>& all_metrics();

struct MetricValue {
  std::vector<std::string> labels;  // Their values, in the order of MetricInfo::labels.
  std::int64_t value = 0;
  std::int64_t per = 1;  // The value is value / per, in the metric's unit.
};
struct MetricHistogram {
  struct Bucket {
    std::int64_t bound_us = 0;
    std::uint64_t count = 0;  // At most bound_us.
  };
  std::vector<std::string> labels;
  std::vector<Bucket> buckets;
  std::uint64_t count = 0;
  std::uint64_t sum_us = 0;
};
struct MetricFamily {
  const MetricInfo* info = nullptr;
  std::vector<MetricValue> values;          // Of a counter or a gauge.
  std::vector<MetricHistogram> histograms;  // Of a histogram.
};

// Of the verification in the background, where it runs.
struct VerifyGauges {
  std::int64_t differing = 0;       // Partitions.
  std::int64_t round_ended_us = 0;  // Since 1970; 0: no round has ended.
};
// What is not counted but looked at when somebody asks.
struct NodeGauges {
  NodeFacts facts;
  bool ready = false;
  std::uint64_t actors_resident = 0;
  std::uint64_t turns_open = 0;
  std::uint64_t log_records_in_flight = 0;
  std::uint64_t log_bytes_in_flight = 0;
  std::optional<std::uint64_t> http_connections;
  std::optional<VerifyGauges> verify;
};
// Of the process, where there is one.
struct ProcessGauges {
  std::string version;
  std::int64_t start_time_ms = 0;  // Since 1970.
  std::int64_t cpu_ms = 0;
  std::int64_t resident_bytes = 0;
  std::int64_t open_fds = 0;
};

// Every family of all_metrics(), also those without a value.
std::vector<MetricFamily> collect_metrics(const Env& env, const NodeGauges& node,
                                          const std::optional<ProcessGauges>& process);

}  // namespace varve
