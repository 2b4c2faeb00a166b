// What a server counts and tells: the catalogue, the page about it, the text that Prometheus reads.
#include "api/metrics.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "api/access.h"
#include "api/prometheus_text.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::SimServer;

// ---- the page

// "counter name label,label"
std::set<std::string> on_the_page() {
  std::ifstream page(std::string(VARVE_SOURCE_DIR) + "/docs/metrics.md");
  const std::map<std::string, std::string> types{
      {"## Counters", "counter"}, {"## Gauges", "gauge"}, {"## Histograms", "histogram"}};
  const std::regex row(R"(\| `(\w+)` \|([^|]*)\|.*\|)");
  const std::regex word(R"(`(\w+)`)");
  std::set<std::string> found;
  std::string type = "no heading";
  for (std::string line; std::getline(page, line);) {
    if (const auto heading = types.find(line); heading != types.end()) type = heading->second;
    std::smatch cells;
    if (!std::regex_match(line, cells, row)) continue;
    std::string labels;
    const std::string second = cells[2];
    for (std::sregex_iterator label(second.begin(), second.end(), word), end; label != end; ++label) {
      labels += (labels.empty() ? "" : ",") + (*label)[1].str();
    }
    found.insert(type + " " + cells[1].str() + " " + labels);
  }
  return found;
}

std::string name_of(MetricType type) {
  if (type == MetricType::counter) return "counter";
  return type == MetricType::gauge ? "gauge" : "histogram";
}

std::string labels_of(const MetricInfo& info) {
  std::string labels;
  for (const std::string_view label : info.labels) labels.append(labels.empty() ? "" : ",").append(label);
  return labels;
}

std::set<std::string> in_the_catalogue() {
  std::set<std::string> found;
  for (const MetricInfo& info : all_metrics()) {
    found.insert(name_of(info.type) + " " + std::string(info.name) + " " + labels_of(info));
  }
  return found;
}

TEST(Metrics, ThePageListsWhatThereIsAndNothingElse) {
  EXPECT_EQ(in_the_catalogue(), on_the_page());
  EXPECT_EQ(all_metrics().size(), in_the_catalogue().size());
}

TEST(Metrics, NamesFollowTheConventions) {
  for (const MetricInfo& info : all_metrics()) {
    const std::string_view name = info.name;
    EXPECT_TRUE(name.starts_with("varve_") || name.starts_with("process_")) << name;
    EXPECT_EQ(info.type == MetricType::counter, name.ends_with("_total")) << name;
    if (info.type == MetricType::histogram) EXPECT_TRUE(name.ends_with("_seconds")) << name;
    EXPECT_TRUE(info.help.ends_with(".")) << name;
  }
}

// Boards and alerts ask for nothing that nobody tells.
TEST(Metrics, BoardsAndAlertsNameMetricsThatThereAre) {
  std::set<std::string> known;
  for (const MetricInfo& info : all_metrics()) {
    const std::string name{info.name};
    known.insert(name);
    if (info.type != MetricType::histogram) continue;
    for (const char* end : {"_bucket", "_sum", "_count"}) known.insert(name + end);
  }
  const std::regex word(R"(\b(?:varve|process)_[a-z_]+\b)");
  const std::filesystem::path deploy = std::filesystem::path(VARVE_SOURCE_DIR) / "deploy";
  std::size_t named = 0;
  for (const char* folder : {"grafana/boards", "prometheus"}) {
    for (const auto& entry : std::filesystem::directory_iterator(deploy / folder)) {
      std::ifstream file(entry.path());
      std::ostringstream text;
      text << file.rdbuf();
      const std::string all = text.str();
      for (std::sregex_iterator one(all.begin(), all.end(), word), end; one != end; ++one) {
        ++named;
        EXPECT_TRUE(known.contains(one->str())) << entry.path() << ": " << one->str();
      }
    }
  }
  EXPECT_GT(named, 10U);
}

// ---- timings

TEST(Timings, PutEveryDurationIntoItsBucket) {
  Histogram histogram;
  using std::chrono::microseconds;
  for (const std::int64_t us : {0, 100, 101, 250, 600'000'000, 600'000'001}) histogram.add(microseconds{us});
  histogram.add(Duration{100'001});  // A nanosecond more than the first bound.
  histogram.add(Duration{-5});
  EXPECT_EQ(8U, histogram.count());
  EXPECT_EQ(3U, histogram.at_most(0));
  EXPECT_EQ(6U, histogram.at_most(1));
  EXPECT_EQ(7U, histogram.at_most(Histogram::kBoundsUs.size() - 1));
  EXPECT_EQ(8U, histogram.at_most(Histogram::kBoundsUs.size()));
  EXPECT_EQ(1'200'000'552U, histogram.sum_us());
}

TEST(Timings, KeepASeriesAtItsPlaceAndTheirNumberBounded) {
  Timings timings;
  Histogram& first = timings.series({"command", "CreateAgent", "ok", {}});
  for (std::size_t i = 0; i < 2 * Timings::kSeriesMax; ++i) {
    timings.series({"command", std::to_string(i), "ok", {}}).add(Duration{1});
  }
  EXPECT_EQ(Timings::kSeriesMax, timings.all().size());
  EXPECT_EQ(Timings::kSeriesMax + 1, timings.overflow().count());
  EXPECT_EQ(&first, &timings.series({"command", "CreateAgent", "ok", {}}));
  EXPECT_EQ(0U, first.count());
}

// ---- a server

// The samples of a page: "name{a="b"}" -> value; and the types that it states.
struct Page {
  std::map<std::string, std::string> samples;
  std::map<std::string, std::string> types;

  static Page of(const std::string& text) {
    Page page;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string hash;
      std::string what;
      std::string name;
      std::string type;
      if (line.starts_with("# TYPE ")) {
        words >> hash >> what >> name >> type;
        page.types[name] = type;
      } else if (!line.starts_with("#")) {
        const std::size_t space = line.rfind(' ');
        page.samples[line.substr(0, space)] = line.substr(space + 1);
      }
    }
    return page;
  }
  std::string at(const std::string& sample) const {
    const auto found = samples.find(sample);
    return found == samples.end() ? "no such sample" : found->second;
  }
};

// The family that a sample belongs to.
std::string family_of(const Page& page, const std::string& sample) {
  std::string name = sample.substr(0, sample.find('{'));
  for (const std::string end : {"_bucket", "_sum", "_count"}) {
    if (!name.ends_with(end)) continue;
    const std::string base = name.substr(0, name.size() - end.size());
    const auto type = page.types.find(base);
    if (type != page.types.end() && type->second == "histogram") return base;
  }
  return name;
}

class MetricsRoute : public SimServer {
 public:
  Response ask(std::string method, std::string target) {
    Handler inner = [](Request /*request*/) { return not_found(); };
    MetricsOptions options;
    options.version = "1.2.3";
    options.connections = [] { return std::size_t{7}; };
    options.verify = [] { return std::optional{VerifyGauges{2, 1'790'000'000'500'000}}; };
    Handler handler = with_metrics(world_->node_env(), world_->node(), std::move(options), std::move(inner));
    auto answer = std::make_shared<std::optional<Response>>();
    world_->node_env().spawn(
        "metrics", keep(std::move(handler), make(std::move(method), std::move(target), "", {}), answer));
    while (!answer->has_value() && step()) {
    }
    return answer->value_or(Response{});
  }
  Page page() { return Page::of(ask("GET", "/metrics").body); }

 private:
  static boost::asio::awaitable<Response> not_found() {
    Response response;
    response.status = 404;
    co_return response;
  }
  static Task<> keep(Handler handler, Request request, std::shared_ptr<std::optional<Response>> answer) {
    *answer = co_await handler(std::move(request));
    co_return ok();
  }
};

TEST_F(MetricsRoute, TellsEveryMetricOfTheCatalogueAndNoOther) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("hi"));
  world_->node_env().count("something_new");
  const Page page = this->page();
  std::map<std::string, std::string> wanted;
  std::map<std::string, std::set<std::string>> labels;
  for (const MetricInfo& info : all_metrics()) {
    wanted[std::string(info.name)] = name_of(info.type);
    for (const std::string_view label : info.labels)
      labels[std::string(info.name)].insert(std::string(label));
  }
  EXPECT_EQ(wanted, page.types);
  const std::regex label(R"re((\w+)="(?:[^"\\]|\\.)*")re");
  for (const auto& [sample, value] : page.samples) {
    const std::string family = family_of(page, sample);
    EXPECT_TRUE(wanted.contains(family)) << sample;
    std::set<std::string> used;
    for (std::sregex_iterator one(sample.begin(), sample.end(), label), end; one != end; ++one) {
      used.insert((*one)[1]);
    }
    if (sample.find("_bucket{") != std::string::npos) used.erase("le");
    EXPECT_EQ(labels[family], used) << sample;
  }
  // Everything has a value, but for what a simulated server has not.
  std::set<std::string> seen;
  for (const auto& [sample, value] : page.samples) seen.insert(family_of(page, sample));
  std::set<std::string> silent;
  for (const auto& [name, type] : wanted) {
    if (!seen.contains(name)) silent.insert(name);
  }
  EXPECT_EQ(std::set<std::string>{"varve_view_checkpoint_duration_seconds"}, silent);
  EXPECT_EQ("1", page.at(R"(varve_events_total{event="something_new"})"));
  EXPECT_EQ("2", page.at("varve_verify_partitions_differing"));
  EXPECT_EQ("1790000000.5", page.at("varve_verify_round_end_time_seconds"));
}

TEST_F(MetricsRoute, CountsWhatHappened) {
  const std::string agent = create_agent();
  for (const char* text : {"one", "two", "three"}) {
    expect(200, "POST", "/v1/agents/" + agent + "/messages", say(text));
  }
  expect(404, "GET", "/v1/agents/agent-00000000-0000-4000-8000-00000000dead");
  expect(404, "GET", "/nowhere");
  run_for(1000);
  const Page page = this->page();
  const auto requests = [&page](const std::string& labels) {
    return page.at("varve_http_request_duration_seconds_count{" + labels + "}");
  };
  EXPECT_EQ("3", requests(R"(method="POST",route="/v1/agents/{agent_id}/messages",status="2xx")"));
  EXPECT_EQ("1", requests(R"(method="GET",route="/v1/agents/{agent_id}",status="4xx")"));
  EXPECT_EQ("1", requests(R"(method="none",route="none",status="4xx")"));
  EXPECT_EQ("6", page.at("varve_http_requests_total"));
  EXPECT_EQ("3", page.at("varve_turns_opened_total"));
  EXPECT_EQ("0", page.at("varve_turns_open"));
  EXPECT_EQ("3", page.at(R"(varve_turn_duration_seconds_count{outcome="finished"})"));
  EXPECT_EQ("3", page.at(R"(varve_model_call_duration_seconds_count{outcome="reply"})"));
  EXPECT_EQ("1", page.at(R"(varve_command_duration_seconds_count{kind="CreateAgent",outcome="ok"})"));
  EXPECT_EQ("3", page.at(R"(varve_command_duration_seconds_count{kind="RecordReply",outcome="ok"})"));
  // One record for the agent, and for each turn its beginning and its reply; a claim for each partition.
  EXPECT_EQ("7", page.at("varve_commit_duration_seconds_count"));
  EXPECT_EQ("11", page.at("varve_projection_records_total"));
  EXPECT_EQ(page.at("varve_projection_batches_total"),
            page.at(R"(varve_projection_batch_duration_seconds_count{outcome="committed"})"));
  EXPECT_EQ("7", page.at(R"(varve_append_duration_seconds_count{outcome="written"})"));
  EXPECT_EQ("11", page.at(R"(varve_log_records_total{verdict="admitted"})"));
  EXPECT_EQ("0", page.at(R"(varve_log_records_total{verdict="fenced"})"));
  EXPECT_EQ("4", page.at(R"(varve_claims_total{outcome="won"})"));
  EXPECT_EQ("7", page.at("varve_http_connections_open"));
  EXPECT_EQ("1", page.at(R"(varve_build_info{version="1.2.3"})"));
}

TEST_F(MetricsRoute, LooksAtPartitionsViewsAndQuarantine) {
  create_agent();
  run_for(1000);
  Page page = this->page();
  EXPECT_EQ("1", page.at("varve_ready"));
  EXPECT_EQ("4", page.at("varve_partitions"));
  EXPECT_EQ("4", page.at("varve_partitions_owned"));
  EXPECT_EQ("2", page.at("varve_actors_resident"));
  EXPECT_EQ("0", page.at("varve_quarantine_events"));
  for (const char* number : {"0", "1", "2", "3"}) {
    const std::string partition = R"(partition=")" + std::string(number) + R"(")";
    EXPECT_EQ("1", page.at("varve_partition_owned{" + partition + "}"));
    EXPECT_EQ("1", page.at("varve_partition_epoch{" + partition + "}"));
    EXPECT_EQ(page.at("varve_log_end_offset{" + partition + "}"),
              page.at("varve_view_next_offset{" + partition + R"(,projection="core"})"));
    EXPECT_EQ("0", page.at("varve_view_lag_records{" + partition + R"(,projection="core"})"));
    EXPECT_EQ("0", page.at("varve_view_lag_seconds{" + partition + R"(,projection="core"})"));
  }
}

TEST_F(MetricsRoute, IsOnePathAndOneMethod) {
  const Response response = ask("GET", "/metrics?x=1");
  EXPECT_EQ(200, response.status);
  EXPECT_EQ("text/plain; version=0.0.4; charset=utf-8", response.header("content-type"));
  EXPECT_EQ(404, ask("POST", "/metrics").status);
  EXPECT_EQ(404, ask("GET", "/metrics/").status);
}

TEST(Metrics, TheProcessKnowsItself) {
  const ProcessGauges process = process_gauges("v");
  EXPECT_GT(process.resident_bytes, 1 << 20);
  EXPECT_GE(process.open_fds, 3);
  EXPECT_GT(process.start_time_ms, 1'700'000'000'000);
  EXPECT_GE(process.cpu_ms, 0);
}

}  // namespace
}  // namespace varve
