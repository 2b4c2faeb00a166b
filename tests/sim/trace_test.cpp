// The page of a run: what lines mean, and a page that holds everything and needs nothing.
#include <gtest/gtest.h>

#include <set>

#include "runtime/json.h"
#include "sim/scenario.h"
#include "sim/trace_html.h"

namespace varve::sim {
namespace {

std::vector<TraceLine> lines_of(const std::vector<std::string>& texts) {
  std::vector<TraceLine> lines;
  for (const std::string& text : texts) {
    const auto number = static_cast<std::int64_t>(lines.size());
    lines.push_back({MonoTime{1'000'000'000 + number * 1000}, lines.size(), text});
  }
  return lines;
}

TEST(TraceLines, ANodeIsDownPausedCutOffAndOwns) {
  const TraceModel model = model_of(lines_of({
      "boot node-1",
      "boot node-2",
      "node-1: owner p=3 serve e=7 id=ab",
      "pause node-1",
      "cut-off node-2",
      "world: net cut *>node-2",
      "crash node-1",
      "world: net mend *>node-2",
      "boot node-1",
      "reconnect node-2",
  }));
  EXPECT_EQ((std::vector<std::string>{"node-1", "node-2"}), model.lanes);
  std::set<std::string> bands;
  for (const TraceBand& band : model.bands) {
    bands.insert(model.lanes[band.lane] + " " + to_string(band.kind) + " " + band.label + " " +
                 std::to_string((band.to - band.from).count() / 1000));
  }
  EXPECT_EQ((std::set<std::string>{"node-1 owns p=3 e=7 4", "node-1 paused paused 3", "node-1 down down 2",
                                   "node-2 cut-off cut off 5", "node-2 one-way hears nobody 2"}),
            bands);
}

TEST(TraceLines, ARequestAndItsAnswerAreMessages) {
  const TraceModel model = model_of(lines_of({
      "boot node-1",
      "world: net 9 client-1>node-1 asks POST /v1/agents/",
      "world: net 9 client-1>node-1 delivered",
      "world: net 9 client-1>node-1 answered",
      "world: net 10 client-1>node-1 asks GET /",
      "world: net 10 client-1>node-1 lost",
  }));
  ASSERT_EQ((std::vector<std::string>{"client-1", "node-1"}), model.lanes);
  ASSERT_EQ(3U, model.messages.size());
  EXPECT_EQ(0U, model.messages[0].from);
  EXPECT_EQ(1U, model.messages[0].sent_line);
  EXPECT_EQ(2U, model.messages[0].came_line);
  EXPECT_TRUE(model.messages[1].answer);
  EXPECT_EQ(1U, model.messages[1].from);
  EXPECT_FALSE(model.messages[2].answer);
  EXPECT_TRUE(model.messages[2].lost);
  EXPECT_EQ(TraceKind::request, model.kind_of[2]);
  EXPECT_EQ(TraceKind::fault, model.kind_of[5]);
}

TEST(TraceLines, TakesAnyLine) {
  const TraceModel model = model_of(lines_of(
      {"", " ", ":", "world:", "world: net", "world: net 1", "world: net 7 x answered", "node-1: owner",
       "world: log", "boot", "what is this", "disk: power cut, way 1", "fault.disk.full"}));
  EXPECT_EQ(13U, model.kind_of.size());
  EXPECT_TRUE(model.messages.empty());
}

// The data of a page, read again as a browser does.
Json data_of(const std::string& html) {
  const std::string opening = R"(<script type="application/json" id="data">)";
  const std::size_t begin = html.find(opening) + opening.size();
  auto data = Json::parse(html.substr(begin, html.find("</script>", begin) - begin));
  EXPECT_TRUE(data) << data.error().message;
  return data ? *data : Json{};
}

// Every element that is opened is closed, in order; void elements aside.
std::string unbalanced(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const bool closes = html[at + 1] == '/';
    const std::size_t name = at + (closes ? 2 : 1);
    const std::string tag = html.substr(name, html.find_first_of(" >\n", name) - name);
    if (tag == "!DOCTYPE" || tag == "meta" || tag == "input") continue;
    if (closes) {
      if (open.empty() || open.back() != tag) return "</" + tag + ">";
      open.pop_back();
    } else {
      open.push_back(tag);
      // What scripts and styles hold is no markup.
      if (tag == "script" || tag == "style") at = html.find("</" + tag, at) - 1;
    }
  }
  return open.empty() ? "" : "<" + open.back() + ">";
}

TEST(TraceHtml, ThePageHoldsTheWholeRunAndNeedsNothing) {
  TracePage page;
  page.title = "v1:14";
  ScenarioRun run;
  run.scenario = "swarm";
  run.seed = 14;
  run.on_line = [&page](MonoTime at, std::uint64_t step, std::string_view line) {
    page.lines.push_back({at, step, std::string(line)});
  };
  page.config = run_scenario(run).config;
  page.violations = {{"I2", "</script><b>a record & its \"copy\""}};
  const std::string html = html_of(page);
  EXPECT_EQ("", unbalanced(html));
  const Json data = data_of(html);
  ASSERT_TRUE(data.is_object());
  std::set<std::string> lanes;
  for (const Json& lane : data.find("lanes")->items()) lanes.insert(lane.as_string());
  ASSERT_TRUE(page.config.starts_with("nodes=")) << "not a seed of a cluster any more: " << page.config;
  const std::size_t nodes = 6;
  for (char node = '1'; node <= page.config[nodes]; ++node) {
    EXPECT_TRUE(lanes.contains(std::string("node-") + node)) << node;
  }
  EXPECT_TRUE(lanes.contains("client-1"));
  EXPECT_EQ(std::min(page.lines.size(), kTraceLinesMax), data.find("lines")->items().size());
  EXPECT_GT(data.find("messages")->items().size(), 0U);
  EXPECT_EQ("</script><b>a record & its \"copy\"",
            data.find("violations")->items()[0].items()[1].as_string());
  for (const char* outside : {"http://", "https://", "src=", "href=", "url(", "import", "fetch("}) {
    EXPECT_EQ(std::string::npos, std::string(kTraceTemplate).find(outside)) << outside;
  }
}

TEST(TraceHtml, OfALongRunTheEndIsDrawnAndThePageSaysSo) {
  TracePage page;
  page.title = "long";
  std::vector<std::string> texts{"boot node-1", "node-1: owner p=0 serve e=1 id=ab", "pause node-1"};
  for (std::size_t i = 0; i < kTraceLinesMax; ++i) texts.push_back("node-1: line " + std::to_string(i));
  page.lines = lines_of(texts);
  const Json data = data_of(html_of(page));
  EXPECT_EQ(kTraceLinesMax, data.find("lines")->items().size());
  EXPECT_EQ(3, *data.find("left_out")->as_integer());
  EXPECT_EQ(20'000, *data.find("limit")->as_integer());
  EXPECT_EQ(2U, data.find("bands")->items().size());  // Known from lines that are not there.
}

TEST(TraceHtml, ARunWithoutLinesIsAPageToo) {
  EXPECT_EQ("", unbalanced(html_of({})));
  EXPECT_TRUE(data_of(html_of({})).is_object());
}

}  // namespace
}  // namespace varve::sim
