#include "api/metrics.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "projections/fold.h"

namespace varve {
namespace {

using enum MetricType;

// A counter of Env, the metric that it belongs to, and the value of its one label, if it has one.
struct CounterEntry {
  std::string_view counter;
  std::string_view metric;
  std::string_view label;
};
constexpr std::string_view kOtherEvents = "varve_events_total";

constexpr auto kCounters = std::to_array<CounterEntry>({
    {"http_requests", "varve_http_requests_total", {}},
    {"http_refusals", "varve_http_refusals_total", {}},
    {"http_unauthorized", "varve_http_unauthorized_total", {}},
    {"http_connections", "varve_http_connections_total", {}},
    {"http_streams", "varve_http_streams_total", {}},
    {"ack_log_refusals", "varve_ack_log_refusals_total", {}},
    {"commands_replayed", "varve_commands_replayed_total", {}},
    {"commands_sent_again", "varve_commands_sent_again_total", {}},
    {"commands_forwarded", "varve_commands_forwarded_total", {}},
    {"forwarded_in", "varve_forwarded_commands_total", "carried_out"},
    {"forwarded_again", "varve_forwarded_commands_total", "asked_again"},
    {"forwarded_astray", "varve_forwarded_commands_total", "not_owner"},
    {"node_requests", "varve_node_requests_total", "answered"},
    {"node_requests_forbidden", "varve_node_requests_total", "forbidden"},
    {"node_connections", "varve_node_connections_total", {}},
    {"claims_sent", "varve_claims_total", "sent"},
    {"claims_won", "varve_claims_total", "won"},
    {"partitions_assigned", "varve_partition_changes_total", "assigned"},
    {"partitions_revoked", "varve_partition_changes_total", "revoked"},
    {"partitions_taken_away", "varve_partition_changes_total", "taken_away"},
    {"shard_stops", "varve_partition_changes_total", "stopped"},
    {"partitions_lost", "varve_partition_changes_total", "ended"},
    {"records_admitted", "varve_log_records_total", "admitted"},
    {"records_fenced", "varve_log_records_total", "fenced"},
    {"records_duplicate", "varve_log_records_total", "duplicate"},
    {"records_gap", "varve_log_records_total", "gap"},
    {"records_foreign", "varve_log_records_total", "foreign"},
    {"log_bytes", "varve_log_written_bytes_total", {}},
    {"log_batches", "varve_log_write_batches_total", {}},
    {"log_append_failures", "varve_log_append_failures_total", {}},
    {"log_read_retries", "varve_log_read_retries_total", {}},
    {"turns_opened", "varve_turns_opened_total", {}},
    {"turns_resumed", "varve_turns_resumed_total", {}},
    {"turn_step_retries", "varve_turn_step_retries_total", {}},
    {"model_replies", "varve_model_attempts_total", "reply"},
    {"model_failures", "varve_model_attempts_total", "failure"},
    {"model_retries", "varve_model_retries_total", {}},
    {"model_tokens_prompt", "varve_model_tokens_total", "prompt"},
    {"model_tokens_completion", "varve_model_tokens_total", "completion"},
    {"activations", "varve_actor_activations_total", {}},
    {"passivations", "varve_actor_passivations_total", {}},
    {"snapshot_rounds", "varve_snapshot_rounds_total", {}},
    {"snapshots_damaged", "varve_snapshots_bad_total", "damaged"},
    {"snapshots_lost", "varve_snapshots_bad_total", "lost"},
    {"streams_rebuilt", "varve_streams_rebuilt_total", {}},
    {"streams_reread", "varve_streams_reread_total", {}},
    {"recoveries_from_start", "varve_recoveries_from_start_total", {}},
    {"projection_batches", "varve_projection_batches_total", {}},
    {"projection_records", "varve_projection_records_total", {}},
    {"projection_rows", "varve_projection_rows_total", {}},
    {"projection_races_lost", "varve_projection_races_lost_total", {}},
    {"projection_reloads", "varve_projection_reloads_total", {}},
    {"projection_releases", "varve_projection_releases_total", {}},
    {"projection_quarantined", "varve_projection_quarantined_total", {}},
    {"quarantine_races_lost", "varve_quarantine_races_lost_total", {}},
    {"view_notifications", "varve_view_notifications_total", {}},
    {"process_beats_failed", "varve_process_beats_failed_total", {}},
    {"verify_rounds", "varve_verify_rounds_total", {}},
    {"verify_restarts", "varve_verify_restarts_total", {}},
    {"verify_looked_at", "varve_verify_looked_at_total", {}},
    {"verify_differences", "varve_verify_differences_total", {}},
    {"log_consumers_opened", "varve_kafka_events_total", "consumer_opened"},
    {"log_fetch_failures", "varve_kafka_events_total", "fetch_failed"},
    {"log_identity_checks", "varve_kafka_events_total", "identity_checked"},
    {"log_producers_finished", "varve_kafka_events_total", "producer_finished"},
    {"kafka_rebalances", "varve_kafka_events_total", "rebalance"},
    {"kafka_assignments_lost", "varve_kafka_events_total", "assignment_lost"},
    {"kafka_drains_cut_short", "varve_kafka_events_total", "drain_cut_short"},
    {"kafka_group_errors", "varve_kafka_events_total", "group_error"},
    {"postgres_connections_opened", "varve_postgres_connections_total", "opened"},
    {"postgres_connects_failed", "varve_postgres_connections_total", "not_opened"},
    {"postgres_connections_lost", "varve_postgres_connections_total", "lost"},
    {"postgres_connections_cut", "varve_postgres_connections_total", "cut"},
    {"postgres_pool_timeouts", "varve_postgres_connections_total", "none_free"},
    {"view_listener_connections", "varve_postgres_connections_total", "listening"},
});

// Bounds of the buckets that a histogram shows, in microseconds: waiting for a disk is not waiting for a
// model.
struct Span {
  std::int64_t from_us;
  std::int64_t to_us;
};
constexpr Span kFast{100, 10'000'000};
constexpr Span kSlow{10'000, 600'000'000};

struct TimingEntry {
  std::string_view what;
  std::string_view metric;
  Span span;
};
constexpr auto kTimings = std::to_array<TimingEntry>({
    {"http", "varve_http_request_duration_seconds", {1'000, 60'000'000}},
    {"command", "varve_command_duration_seconds", kFast},
    {"append", "varve_append_duration_seconds", kFast},
    {"commit", "varve_commit_duration_seconds", kFast},
    {"projection_batch", "varve_projection_batch_duration_seconds", kFast},
    {"view_checkpoint", "varve_view_checkpoint_duration_seconds", kFast},
    {"turn", "varve_turn_duration_seconds", kSlow},
    {"model_call", "varve_model_call_duration_seconds", kSlow},
});

// The families under construction.
class Families {
 public:
  Families() {
    for (const MetricInfo& info : all_metrics()) {
      places_.emplace(info.name, families_.size());
      families_.push_back({&info, {}, {}});
    }
  }
  MetricFamily& at(std::string_view name) {
    const auto found = places_.find(name);
    CHECK(found != places_.end());
    return families_[found->second];
  }
  void add(std::string_view name, std::vector<std::string> labels, std::int64_t value, std::int64_t per = 1) {
    at(name).values.push_back({std::move(labels), value, per});
  }
  void add(std::string_view name, std::uint64_t value) { add(name, {}, static_cast<std::int64_t>(value)); }
  std::vector<MetricFamily> take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
  std::map<std::string_view, std::size_t> places_;
};

void add_counters(Families& families, const Env& env) {
  const auto& counters = env.counters();
  std::set<std::string_view> named;
  for (const CounterEntry& entry : kCounters) {
    named.insert(entry.counter);
    const auto found = counters.find(entry.counter);
    const std::uint64_t value = found == counters.end() ? 0 : found->second;
    std::vector<std::string> labels;
    if (!entry.label.empty()) labels.emplace_back(entry.label);
    families.add(entry.metric, std::move(labels), static_cast<std::int64_t>(value));
  }
  for (const auto& [counter, value] : counters) {
    if (!named.contains(counter)) families.add(kOtherEvents, {counter}, static_cast<std::int64_t>(value));
  }
}

std::vector<std::string> labels_of(const Timings::Key& key, std::size_t wanted) {
  std::vector<std::string> labels{key.first, key.second, key.third};
  labels.resize(wanted);
  return labels;
}

void add_timings(Families& families, const Env& env) {
  for (const auto& [key, histogram] : env.timings().all()) {
    const std::string& what = key.what;
    const auto entry = std::find_if(kTimings.begin(), kTimings.end(),
                                    [&what](const TimingEntry& one) { return one.what == what; });
    if (entry == kTimings.end()) continue;
    MetricFamily& family = families.at(entry->metric);
    MetricHistogram shown;
    shown.labels = labels_of(key, family.info->labels.size());
    for (std::size_t i = 0; i < Histogram::kBoundsUs.size(); ++i) {
      const std::int64_t bound = Histogram::kBoundsUs[i];
      if (bound < entry->span.from_us || bound > entry->span.to_us) continue;
      shown.buckets.push_back({bound, histogram.at_most(i)});
    }
    shown.count = histogram.count();
    shown.sum_us = histogram.sum_us();
    family.histograms.push_back(std::move(shown));
  }
}

void add_node(Families& families, const NodeGauges& node) {
  std::uint64_t owned = 0;
  for (const PartitionFacts& one : node.facts.partitions) {
    const std::string partition = std::to_string(one.partition.value());
    const auto number = [](auto tagged) { return static_cast<std::int64_t>(tagged.value()); };
    if (one.assigned) {
      families.add("varve_partition_owned", {partition}, one.owned ? 1 : 0);
      families.add("varve_partition_epoch", {partition}, number(one.epoch));
    }
    if (one.owned) ++owned;
    families.add("varve_log_end_offset", {partition}, number(one.end));
    families.add("varve_view_next_offset", {partition, kCoreProjection}, number(one.folded));
    families.add("varve_view_lag_records", {partition, kCoreProjection},
                 static_cast<std::int64_t>(one.behind.records));
    const auto behind = std::chrono::duration_cast<std::chrono::microseconds>(one.behind.time);
    families.add("varve_view_lag_seconds", {partition, kCoreProjection}, behind.count(), 1'000'000);
  }
  families.add("varve_ready", node.ready ? 1U : 0U);
  families.add("varve_partitions", node.facts.partitions.size());
  families.add("varve_partitions_owned", owned);
  families.add("varve_log_in_flight_records", node.log_records_in_flight);
  families.add("varve_log_in_flight_bytes", node.log_bytes_in_flight);
  families.add("varve_quarantine_events", node.facts.quarantine_events);
  families.add("varve_quarantine_streams", node.facts.quarantine_streams);
  families.add("varve_actors_resident", node.actors_resident);
  families.add("varve_turns_open", node.turns_open);
  if (node.http_connections) families.add("varve_http_connections_open", *node.http_connections);
  if (node.verify) {
    constexpr std::int64_t kMicrosPerSecond = 1'000'000;
    families.add("varve_verify_partitions_differing", {}, node.verify->differing);
    families.add("varve_verify_round_end_time_seconds", {}, node.verify->round_ended_us, kMicrosPerSecond);
  }
}

void add_process(Families& families, const ProcessGauges& process) {
  families.add("varve_build_info", {process.version}, 1);
  families.add("process_cpu_seconds_total", {}, process.cpu_ms, 1000);
  families.add("process_start_time_seconds", {}, process.start_time_ms, 1000);
  families.add("process_resident_memory_bytes", {}, process.resident_bytes);
  families.add("process_open_fds", {}, process.open_fds);
}

}  // namespace

std::vector<MetricFamily> collect_metrics(const Env& env, const NodeGauges& node,
                                          const std::optional<ProcessGauges>& process) {
  Families families;
  add_counters(families, env);
  add_timings(families, env);
  add_node(families, node);
  if (process) add_process(families, *process);
  return families.take();
}

}  // namespace varve
