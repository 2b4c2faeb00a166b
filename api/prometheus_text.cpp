#include "api/prometheus_text.h"

#include <dirent.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <sstream>

namespace varve {
namespace {

constexpr double kMicrosPerSecond = 1e6;

prometheus::MetricType type_of(MetricType type) {
  switch (type) {
    case MetricType::counter:
      return prometheus::MetricType::Counter;
    case MetricType::gauge:
      return prometheus::MetricType::Gauge;
    case MetricType::histogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

std::vector<prometheus::ClientMetric::Label> labels_of(const MetricInfo& info,
                                                       const std::vector<std::string>& values) {
  std::vector<prometheus::ClientMetric::Label> labels;
  for (std::size_t i = 0; i < info.labels.size(); ++i) {
    labels.push_back({std::string(info.labels[i]), i < values.size() ? values[i] : ""});
  }
  return labels;
}

prometheus::ClientMetric metric_of(const MetricInfo& info, const MetricValue& value) {
  prometheus::ClientMetric metric;
  metric.label = labels_of(info, value.labels);
  const double number = static_cast<double>(value.value) / static_cast<double>(value.per);
  (info.type == MetricType::counter ? metric.counter.value : metric.gauge.value) = number;
  return metric;
}

prometheus::ClientMetric metric_of(const MetricInfo& info, const MetricHistogram& histogram) {
  prometheus::ClientMetric metric;
  metric.label = labels_of(info, histogram.labels);
  metric.histogram.sample_count = histogram.count;
  metric.histogram.sample_sum = static_cast<double>(histogram.sum_us) / kMicrosPerSecond;
  for (const auto& bucket : histogram.buckets) {
    metric.histogram.bucket.push_back(
        {bucket.count, static_cast<double>(bucket.bound_us) / kMicrosPerSecond});
  }
  return metric;
}

std::string text_of_file(const char* path) {
  std::string text;
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return text;
  std::array<char, 4096> buffer{};
  const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), file);
  std::fclose(file);
  return text.assign(buffer.data(), got);
}

// The fields of a process's stat behind its name, which may hold anything.
std::vector<std::int64_t> stat_fields() {
  const std::string text = text_of_file("/proc/self/stat");
  const std::size_t end = text.rfind(')');
  if (end == std::string::npos) return {};
  std::istringstream in(text.substr(end + 1));
  std::string state;
  in >> state;
  std::vector<std::int64_t> fields;
  for (std::int64_t field = 0; in >> field;) fields.push_back(field);
  return fields;
}

std::int64_t boot_time_s() {
  std::istringstream in(text_of_file("/proc/stat"));
  for (std::string word; in >> word;) {
    std::int64_t seconds = 0;
    if (word == "btime" && in >> seconds) return seconds;
  }
  return 0;
}

std::int64_t open_fds() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  std::int64_t count = -3;  // ".", ".." and the folder itself.
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

struct MetricsRoute {
  Env& env;
  Node& node;
  MetricsOptions options;
  Handler inner;
};

boost::asio::awaitable<Response> answer(std::shared_ptr<MetricsRoute> route) {
  NodeGauges gauges = co_await route->node.gauges();
  if (route->options.connections) gauges.http_connections = route->options.connections();
  if (route->options.verify) gauges.verify = route->options.verify();
  const ProcessGauges process = process_gauges(route->options.version);
  Response response;
  response.headers.emplace("content-type", "text/plain; version=0.0.4; charset=utf-8");
  response.body = prometheus_text(collect_metrics(route->env, gauges, process));
  co_return response;
}

}  // namespace

std::string prometheus_text(const std::vector<MetricFamily>& families) {
  std::vector<prometheus::MetricFamily> told;
  for (const MetricFamily& family : families) {
    prometheus::MetricFamily one;
    one.name = std::string(family.info->name);
    one.help = std::string(family.info->help);
    one.type = type_of(family.info->type);
    for (const MetricValue& value : family.values) one.metric.push_back(metric_of(*family.info, value));
    for (const MetricHistogram& value : family.histograms)
      one.metric.push_back(metric_of(*family.info, value));
    told.push_back(std::move(one));
  }
  std::ostringstream out;
  prometheus::TextSerializer{}.Serialize(out, told);
  return out.str();
}

ProcessGauges process_gauges(const std::string& version) {
  ProcessGauges process;
  process.version = version;
  const std::int64_t ticks = ::sysconf(_SC_CLK_TCK);
  // proc(5) counts from 1 and begins with pid and name; these begin with the parent's pid, number 4.
  constexpr std::size_t kUserTime = 14 - 4;
  constexpr std::size_t kSystemTime = 15 - 4;
  constexpr std::size_t kStartTime = 22 - 4;
  constexpr std::size_t kResidentPages = 24 - 4;
  const std::vector<std::int64_t> fields = stat_fields();
  if (ticks > 0 && fields.size() > kResidentPages) {
    process.cpu_ms = (fields[kUserTime] + fields[kSystemTime]) * 1000 / ticks;
    process.start_time_ms = boot_time_s() * 1000 + fields[kStartTime] * 1000 / ticks;
    process.resident_bytes = fields[kResidentPages] * ::sysconf(_SC_PAGESIZE);
  }
  process.open_fds = open_fds();
  return process;
}

Handler with_metrics(Env& env, Node& node, MetricsOptions options, Handler inner) {
  auto route = std::make_shared<MetricsRoute>(MetricsRoute{env, node, std::move(options), std::move(inner)});
  return [route = std::move(route)](Request request) {
    const std::string_view path = std::string_view(request.target).substr(0, request.target.find('?'));
    if (request.method == "GET" && path == "/metrics") return answer(route);
    return route->inner(std::move(request));
  };
}

}  // namespace varve
