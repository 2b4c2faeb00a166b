// explain and bisect through the routes of a simulated server: what a model's tool call did to a block.
#include "api/inspect_routes.h"

#include "tests/support/sim_server.h"

namespace varve {
namespace {

constexpr const char* kScript =
    R"({"replies":[{"match":"forget me","tool_calls":[{"name":"core_memory_replace","arguments":)"
    R"({"label":"human","old_content":"Ann","new_content":"nobody"}}],"then":"Done."}],"default":{"text":"Hm."}})";

class InspectRoutesTest : public test::SimServer {
 public:
  void SetUp() override {
    start(kScript);
    agent_ = create_agent(
        R"({"name":"ann","tools":["core_memory_replace"],"memory_blocks":[{"label":"human","value":"Ann"}]})");
    const Json block = expect(200, "GET", "/v1/agents/" + agent_ + "/core-memory/blocks/human");
    block_ = text(block, "id");
    expect(200, "POST", "/v1/agents/" + agent_ + "/messages", say("hello"));
    expect(200, "POST", "/v1/agents/" + agent_ + "/messages", say("forget me"),
           {{"x-request-id", "guilty-1"}});
    expect(200, "POST", "/v1/agents/" + agent_ + "/messages", say("hello again"));
  }
  static Task<> ask(InspectRoutes& routes, Request request, std::shared_ptr<std::optional<Response>> answer) {
    *answer = co_await routes.handle(std::move(request));
    co_return ok();
  }

  std::string agent_;
  std::string block_;
};

TEST_F(InspectRoutesTest, ABlocksValueIsExplainedByTheCallThatChangedIt) {
  const Json answer = expect(200, "GET", "/v1/varve/explain?row=" + block_ + "&field=value");
  EXPECT_EQ(block_, text(answer, "row"));
  ASSERT_EQ(2U, answer.find("events")->items().size());
  const Json& cause = *answer.find("events")->items().back().find("cause");
  EXPECT_EQ("tool_call", text(cause, "kind"));
  EXPECT_EQ("core_memory_replace", text(cause, "tool"));
  EXPECT_EQ("guilty-1", text(cause, "request"));
  const Json& chain = *answer.find("fields")->find("value");
  ASSERT_EQ(2U, chain.items().size());
  EXPECT_EQ("nobody", text(chain.items().back(), "after"));
}

TEST_F(InspectRoutesTest, BisectNamesTheRecordAndItsCause) {
  const std::string where =
      "/v1/varve/bisect?where=block(%22human%22)+exists+and+not+block.value+contains+%22Ann%22";
  const Json answer = expect(200, "GET", where + "&about=" + agent_);
  EXPECT_TRUE(answer.find("found")->as_boolean());
  const Json& record = *answer.find("record");
  EXPECT_EQ("tool_call", text(*record.find("cause"), "kind"));
  EXPECT_EQ(block_, text(record.find("events")->items().front(), "stream"));
  // What it gives as cuts can be asked about again.
  const std::string at = text(answer, "true_at");
  const Json again = expect(200, "GET", where + "&good=" + at);
  EXPECT_FALSE(again.find("found")->as_boolean());
  EXPECT_EQ("the condition is true already at the good cut, " + at, text(again, "why_not"));
  expect(200, "GET", where + "&first=true&bad=" + at);
}

TEST_F(InspectRoutesTest, BisectAsksTheViewsAndTheScanAgrees) {
  const std::string where = "/v1/varve/bisect?where=block.value+contains+%22nobody%22";
  const Json by_views = expect(200, "GET", where);
  const Json by_log = expect(200, "GET", where + "&first=true");
  EXPECT_EQ("views", text(by_views, "by"));
  EXPECT_EQ("log", text(by_log, "by"));
  EXPECT_EQ(text(by_log, "position"), text(by_views, "position"));
  EXPECT_EQ(by_log.find("record")->dump(), by_views.find("record")->dump());
  EXPECT_TRUE(by_views.find("remarks")->items().empty());
}

TEST_F(InspectRoutesTest, AStreamIsReplayedPageByPage) {
  const std::string stream = "/v1/varve/replay?stream=" + agent_;
  const Json all = expect(200, "GET", stream);
  EXPECT_TRUE(all.find("next")->is_null());
  EXPECT_TRUE(all.find("held")->is_null());
  const auto& records = all.find("records")->items();
  ASSERT_GT(records.size(), 6U);
  EXPECT_EQ("AgentCreated", text(records.front().find("events")->items().front(), "type"));

  std::vector<std::string> paged;
  std::string from;
  for (int page = 0; page < 20; ++page) {
    const Json part = expect(200, "GET", stream + "&limit=2" + from);
    for (const Json& record : part.find("records")->items()) paged.push_back(record.dump());
    EXPECT_LE(part.find("records")->items().size(), 2U);
    if (part.find("next")->is_null()) break;
    from = "&from=" + part.find("next")->dump();
  }
  ASSERT_EQ(records.size(), paged.size());
  for (std::size_t i = 0; i < paged.size(); ++i) EXPECT_EQ(records[i].dump(), paged[i]);
}

TEST_F(InspectRoutesTest, AReplayEndsWhereAConditionHoldsAndAtItsLastOffset) {
  const std::string stream = "/v1/varve/replay?stream=" + block_;
  const Json until = expect(200, "GET", stream + "&until=block.value+contains+%22nobody%22");
  EXPECT_TRUE(until.find("held")->as_boolean());
  EXPECT_TRUE(until.find("next")->is_null());
  const Json& last = until.find("records")->items().back();
  EXPECT_EQ("guilty-1", text(*last.find("cause"), "request"));
  const std::string place = text(last, "position");
  const std::string partition = place.substr(0, place.find(':'));
  const std::string offset = place.substr(place.find(':') + 1);
  const Json one =
      expect(200, "GET", "/v1/varve/replay?partition=" + partition + "&from=" + offset + "&to=" + offset);
  ASSERT_EQ(1U, one.find("records")->items().size());
  EXPECT_EQ(place, text(one.find("records")->items().front(), "position"));
  const Json never = expect(200, "GET", stream + "&until=block.value+contains+%22Zoe%22");
  EXPECT_FALSE(never.find("held")->as_boolean());
}

TEST_F(InspectRoutesTest, AReplaysRefusalsNameTheField) {
  const auto detail = [&](int status, const std::string& query) {
    return text(expect(status, "GET", "/v1/varve/replay" + query), "detail");
  };
  EXPECT_EQ("stream or partition: give one of them", detail(422, ""));
  EXPECT_EQ("stream or partition: give one of them", detail(422, "?stream=a&partition=0"));
  EXPECT_EQ("partition: expected 0 to 3, got '4'", detail(422, "?partition=4"));
  EXPECT_EQ("partition: expected 0 to 3, got 'x'", detail(422, "?partition=x"));
  EXPECT_EQ("from: expected an offset, as 17, got '-1'", detail(422, "?partition=0&from=-1"));
  EXPECT_EQ("to: expected an offset, as 17, got '1.5'", detail(422, "?partition=0&to=1.5"));
  EXPECT_EQ("to: expected an offset, as 17, got '99999999999999999999'",
            detail(422, "?partition=0&to=99999999999999999999"));
  EXPECT_EQ("to: it lies before from", detail(422, "?partition=0&from=3&to=2"));
  EXPECT_EQ("limit: expected 1 to 100, got '101'", detail(422, "?partition=0&limit=101"));
  EXPECT_NE(std::string::npos, detail(422, "?partition=0&until=agent").find("until: "));
  EXPECT_NE(std::string::npos, detail(422, "?partition=0&step=1").find("not 'step'"));
  EXPECT_NE(std::string::npos, detail(404, "?stream=agent-none").find("agent-none"));
  expect(405, "POST", "/v1/varve/replay?partition=0", "{}");
}

TEST_F(InspectRoutesTest, RefusesWhatItDoesNotUnderstand) {
  const auto detail = [&](int status, const std::string& target) {
    return text(expect(status, "GET", target), "detail");
  };
  EXPECT_NE(std::string::npos, detail(422, "/v1/varve/explain?row=human").find("is no id of a row"));
  EXPECT_NE(std::string::npos, detail(422, "/v1/varve/explain").find("is no id of a row"));
  EXPECT_NE(std::string::npos, detail(422, "/v1/varve/explain?row=" + block_ + "&field=x").find("no field"));
  EXPECT_NE(std::string::npos, detail(422, "/v1/varve/explain?rows=x").find("not 'rows'"));
  EXPECT_NE(std::string::npos, detail(404, "/v1/varve/explain?row=block-none").find("block-none"));
  EXPECT_NE(std::string::npos, detail(422, "/v1/varve/bisect?where=agent").find("'exists'"));
  EXPECT_NE(std::string::npos, detail(422, "/v1/varve/bisect?where=agent+exists&good=9:1,").find("good: "));
  EXPECT_NE(std::string::npos,
            detail(422, "/v1/varve/bisect?where=agent+exists&first=1").find("true or false"));
  expect(405, "POST", "/v1/varve/bisect?where=agent+exists", "{}");
  EXPECT_FALSE(InspectRoutes::serves("/v1/varve/explained"));
}

TEST_F(InspectRoutesTest, OneIsAnsweredAtATimeAndOnlyOfAShortLog) {
  const std::string target = "/v1/varve/explain?row=" + block_;
  const test::Pending first = begin("GET", target);
  const test::Pending second = begin("GET", target);
  const int one = finish(first).status;
  const int other = finish(second).status;
  EXPECT_EQ(629, one + other) << one << " " << other;
  EXPECT_EQ(200, call("GET", target).status);

  const auto storage = std::make_shared<MemoryLogStorage>();
  for (int i = 0; i < 6; ++i) storage->land(Partition{0}, std::make_shared<const std::string>("x"));
  MemoryEventLog log(world_->client(), storage);
  const auto limited = [&](std::uint64_t records_max) {
    MemoryViewStore views(world_->client(), std::make_shared<MemoryViewStorage>());
    InspectRoutes routes(world_->client(), log, views, records_max);
    auto answer = std::make_shared<std::optional<Response>>();
    world_->client().spawn("ask", ask(routes, make("GET", "/v1/varve/explain?row=block-x", "", {}), answer));
    while (!answer->has_value() && step()) {
    }
    return answer->value_or(Response{}).status;
  };
  EXPECT_EQ(404, limited(6));
  EXPECT_EQ(409, limited(5));
}

}  // namespace
}  // namespace varve
