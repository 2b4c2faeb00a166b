// Turns as clients see them: streams, runs that are followed and read again, tool calls that wait for the
// client, cancelling, summaries, custom tools. A whole simulated server, with every oracle at the end.
#include "actors/turn_channel.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::Pending;
using test::SimServer;

constexpr const char* kScript = R"({"summarizes":true,"replies":[
  {"match":"three words","text":"one two three","token_delay_ms":100},
  {"match":"likes tea","tool_calls":[{"name":"memory_insert","arguments":{"label":"human","new_string":"Tea."}}],
   "then":"Noted."},
  {"match":"local","tool_calls":[{"name":"my_tool","arguments":{"x":1}}],"then":"It said so."},
  {"match":"add","tool_calls":[{"name":"wire_add","arguments":{"a":1}}],"then":"I cannot add."},
  {"match":"slow","delay_ms":5000,"text":"At last."},
  {"match":"find","tool_calls":[{"name":"conversation_search","arguments":{"query":"elephant"}}],"then":"Found."}]})";

const SimServer::HeaderList kSdk{{"X-Stainless-Package-Version", "1.12.1"}};

struct StreamEvent {
  std::string name;
  std::string data;
};

class Turns : public SimServer {
 public:
  void SetUp() override { start(kScript); }

  static std::vector<StreamEvent> events_of(const std::string& body) {
    std::vector<StreamEvent> events;
    StreamEvent event;
    std::size_t at = 0;
    while (at < body.size()) {
      const std::size_t newline = body.find('\n', at);
      const std::string line = body.substr(at, newline - at);
      at = newline + 1;
      if (line.starts_with("event: ")) event.name = line.substr(7);
      if (line.starts_with("data: ")) event.data = line.substr(6);
      if (!line.empty()) continue;
      events.push_back(std::move(event));
      event = {};
    }
    return events;
  }
  // "assistant_message:one #0;assistant_message:two #1;stop_reason:end_turn;usage_statistics;[DONE];"
  static std::string told(const std::string& body) {
    std::string line;
    for (const StreamEvent& event : events_of(body)) {
      if (!event.name.empty()) line += event.name + "!";
      const auto json = Json::parse(event.data);
      if (!json || !json->is_object()) {
        line += event.data + ";";
        continue;
      }
      const std::string type = text(*json, "message_type");
      line += type;
      for (const char* key : {"content", "stop_reason", "error_type", "tool_return"}) {
        if (const std::string value = text(*json, key); !value.empty()) line += ":" + value;
      }
      const Json* seq = json->find("seq_id");
      if (seq != nullptr && seq->is_number()) line += " #" + seq->number_text();
      line += ";";
    }
    return line;
  }
  std::string stream(const std::string& path, const std::string& body) {
    const Response response = call("POST", path, body, kSdk);
    EXPECT_EQ(200, response.status) << response.body;
    EXPECT_EQ("text/event-stream", response.header("content-type").value_or(""));
    return response.body;
  }
  std::string newest_run(const std::string& agent) {
    const Json runs = expect(200, "GET", "/v1/runs/?agent_id=" + agent);
    return runs.items().empty() ? "" : text(runs.items().front(), "id");
  }
};

TEST_F(Turns, AStreamOfStepsTellsEveryMessageAndItsEnd) {
  const std::string path = "/v1/agents/" + create_agent() + "/messages";
  const std::string body = stream(path, R"({"input":"Ann likes tea","streaming":true})");
  EXPECT_EQ(
      "ping;tool_call_message #1;tool_return_message:Ann\nTea. #2;assistant_message:Noted. #3;"
      "stop_reason:end_turn;usage_statistics;[DONE];",
      told(body));
  EXPECT_EQ(told(stream(path, R"({"input":"hi","streaming":true,"include_pings":false})")),
            "assistant_message:You said: hi #1;stop_reason:end_turn;usage_statistics;[DONE];");
  // Who has read the end finds all of it.
  EXPECT_EQ("You said: hi", text(expect(200, "GET", path + "?limit=1").items().front(), "content"));
}

TEST_F(Turns, AStreamOfTokensTellsPiecesAndCountsTheMessageWithTheLast) {
  const std::string path = "/v1/agents/" + create_agent() + "/messages/stream";
  const std::string body =
      stream(path, R"({"input":"three words","stream_tokens":true,"include_pings":false})");
  EXPECT_EQ(
      "assistant_message:one  #0;assistant_message:two  #0;assistant_message:three #1;stop_reason:end_turn;"
      "usage_statistics;[DONE];",
      told(body));
  std::set<std::string> ids;
  for (const StreamEvent& event : events_of(body)) {
    const auto json = Json::parse(event.data);
    if (json && json->find("content") != nullptr) ids.insert(text(*json, "id"));
  }
  EXPECT_EQ(1U, ids.size());
}

TEST_F(Turns, ARunIsFollowedAndReadAgainFromASequenceNumber) {
  const std::string agent = create_agent();
  const Pending slow = begin("POST", "/v1/agents/" + agent + "/messages", say("a slow one"));
  run_for(1000);
  const std::string run = newest_run(agent);
  EXPECT_EQ("running", text(expect(200, "GET", "/v1/runs/" + run), "status"));
  EXPECT_EQ("ping;assistant_message:At last. #1;stop_reason:end_turn;usage_statistics;[DONE];",
            told(stream("/v1/runs/" + run + "/stream", "{}")));
  EXPECT_EQ(200, finish(slow).status);
  EXPECT_EQ("assistant_message:At last. #1;stop_reason:end_turn;usage_statistics;[DONE];",
            told(stream("/v1/runs/" + run + "/stream", R"({"include_pings":false})")));
  EXPECT_EQ("stop_reason:end_turn;usage_statistics;[DONE];",
            told(stream("/v1/runs/" + run + "/stream", R"({"include_pings":false,"starting_after":1})")));
  EXPECT_EQ("completed", text(expect(200, "GET", "/v1/runs/" + run), "status"));
  EXPECT_EQ(2U, expect(200, "GET", "/v1/runs/" + run + "/messages").items().size());
  EXPECT_EQ(1U, expect(200, "GET", "/v1/runs/" + run + "/steps").items().size());
  expect(404, "POST", "/v1/runs/run-00000000-0000-4000-8000-00000000dead/stream", "{}");
}

TEST_F(Turns, AReplyThatACrashCutOffComesAgainWholeUnderAnotherId) {
  const std::string agent = create_agent();
  const Pending lost = begin("POST", "/v1/agents/" + agent + "/messages/stream",
                             R"({"input":"three words","stream_tokens":true})");
  run_for(150);  // The first word is out, the reply is not committed.
  const std::string run = newest_run(agent);
  restart();
  const std::string body = stream("/v1/runs/" + run + "/stream", R"({"include_pings":false})");
  std::string whole;
  for (const StreamEvent& event : events_of(body)) {
    const auto json = Json::parse(event.data);
    if (json && json->is_object()) whole += text(*json, "content");
  }
  EXPECT_EQ("one two three", whole);
  EXPECT_EQ("user_message:three words;assistant_message:one two three;", history(agent));
}

TEST_F(Turns, AFailedTurnEndsItsStreamWithAnError) {
  start(R"({"replies":[{"match":"","error":{"status":429,"type":"llm_rate_limit","message":"later"}}]})");
  const std::string path = "/v1/agents/" + create_agent() + "/messages";
  EXPECT_EQ("ping;stop_reason:llm_api_error;error!error_message:llm_rate_limit;[DONE];",
            told(stream(path, R"({"input":"hi","streaming":true})")));
}

TEST_F(Turns, StreamingIsForClientsThatCanReadIt) {
  const std::string path = "/v1/agents/" + create_agent() + "/messages";
  expect(422, "POST", path, R"({"input":"hi","streaming":true})", {{"User-Agent", "letta-client/0.1.324"}});
  expect(422, "POST", path, R"({"input":"hi","stream_tokens":true})");
  expect(404, "POST", "/v1/agents/agent-00000000-0000-4000-8000-00000000dead/messages",
         R"({"input":"hi","streaming":true})", kSdk);
}

TEST_F(Turns, AToolOfTheClientWaitsForItsReturn) {
  const std::string path = "/v1/agents/" + create_agent() + "/messages";
  const std::string tools = R"("client_tools":[{"name":"my_tool","parameters":{"type":"object"}}])";
  const Json asked = expect(200, "POST", path, R"({"input":"local",)" + tools + "}");
  EXPECT_EQ("requires_approval", text(*asked.find("stop_reason"), "stop_reason"));
  const Json& request = asked.find("messages")->items().front();
  EXPECT_EQ("approval_request_message", text(request, "message_type"));
  const std::string call_id = text(*request.find("tool_call"), "tool_call_id");

  const Json refused = expect(409, "POST", path, say("are you there?"));
  EXPECT_EQ("PENDING_APPROVAL", text(*refused.find("detail"), "code"));
  EXPECT_EQ(text(request, "id"), text(*refused.find("detail"), "pending_request_id"));
  const std::size_t before = records();
  expect(
      422, "POST", path,
      R"({"messages":[{"type":"approval","approvals":[{"type":"tool","tool_call_id":"zzz","tool_return":"1"}]}]})");
  EXPECT_EQ(before, records());

  restart();
  const Json answer =
      expect(200, "POST", path,
             R"({"messages":[{"type":"approval","approvals":[{"type":"tool","tool_call_id":")" + call_id +
                 R"(","tool_return":"42","status":"success"}]}]})");
  EXPECT_EQ(2U, answer.find("messages")->items().size());
  EXPECT_EQ("42", text(answer.find("messages")->items().front(), "tool_return"));
  EXPECT_EQ("It said so.", text(answer.find("messages")->items().back(), "content"));
  expect(422, "POST", path, R"({"messages":[{"type":"approval","approve":true,"approvals":[]}]})");
}

TEST_F(Turns, AToolThatNeedsApprovalRunsWhenItIsGivenAndNotWhenItIsDenied) {
  const std::string rules = R"("tool_rules":[{"type":"requires_approval","tool_name":"memory_insert"}])";
  for (const bool approve : {true, false}) {
    const std::string agent =
        create_agent(R"({"memory_blocks":[{"label":"human","value":"Ann"}],)" + rules + "}");
    const std::string path = "/v1/agents/" + agent + "/messages";
    const Json asked = expect(200, "POST", path, say("Ann likes tea"));
    ASSERT_EQ("requires_approval", text(*asked.find("stop_reason"), "stop_reason"));
    const std::string call_id =
        text(*asked.find("messages")->items().front().find("tool_call"), "tool_call_id");
    const std::string decision =
        std::string(R"({"messages":[{"type":"approval","approvals":[{"type":"approval",)") + R"("approve":)" +
        (approve ? "true" : "false") + R"(,"tool_call_id":")" + call_id + R"("}]}]})";
    const Json answer = expect(200, "POST", path, decision);
    EXPECT_EQ("Noted.", text(answer.find("messages")->items().back(), "content"));
    const Json block = expect(200, "GET", "/v1/agents/" + agent + "/core-memory/blocks/human");
    EXPECT_EQ(approve ? "Ann\nTea." : "Ann", text(block, "value"));
  }
}

TEST_F(Turns, ATurnIsCancelledWhileItsModelThinks) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/messages";
  expect(409, "POST", path + "/cancel", "{}");
  const Pending slow = begin("POST", path, say("a slow one"));
  run_for(500);
  const std::string run = newest_run(agent);
  EXPECT_EQ("cancelled", text(expect(200, "POST", path + "/cancel", "{}"), run));
  const auto answer = Json::parse(finish(slow).body);
  ASSERT_TRUE(answer);
  EXPECT_EQ("cancelled", text(*answer->find("stop_reason"), "stop_reason"));
  EXPECT_EQ("cancelled", text(expect(200, "GET", "/v1/runs/" + run), "status"));
  // The next turn does not wait for the model of the last one.
  EXPECT_EQ(200, call("POST", path, say("next")).status);
  EXPECT_EQ("failed", text(expect(200, "POST", path + "/cancel", R"({"run_ids":[")" + run + R"("]})"), run));
}

TEST_F(Turns, AnAsyncTurnAnswersWithItsRun) {
  const std::string agent = create_agent();
  const Json run = expect(200, "POST", "/v1/agents/" + agent + "/messages/async", say("a slow one"));
  EXPECT_EQ("created", text(run, "status"));
  EXPECT_TRUE(run.find("background")->as_boolean());
  run_for(6000);
  EXPECT_EQ("completed", text(expect(200, "GET", "/v1/runs/" + text(run, "id")), "status"));
}

TEST_F(Turns, CustomToolsAreKeptOfferedAndAnsweredForTheModel) {
  const std::string source =
      R"({"source_code":"def wire_add(a: int, b: int = 2) -> int:\n    \"\"\"Add.\n\n    Args:\n        a (int): left\n    \"\"\"\n    return a + b\n"})";
  const Json tool = expect(200, "POST", "/v1/tools/", source);
  EXPECT_EQ("wire_add", text(tool, "name"));
  EXPECT_EQ("Add.", text(tool, "description"));
  EXPECT_EQ(R"({"a":{"type":"integer","description":"left"},"b":{"type":"integer"}})",
            tool.find("json_schema")->find("parameters")->find("properties")->dump());
  EXPECT_EQ(R"(["a"])", tool.find("json_schema")->find("parameters")->find("required")->dump());
  EXPECT_EQ(text(tool, "id"), text(expect(200, "PUT", "/v1/tools/", source), "id"));
  expect(400, "POST", "/v1/tools/", R"({"source_code":"def ("})");
  expect(422, "POST", "/v1/tools/", R"({})");

  const std::string agent = create_agent(R"({"tools":["wire_add"]})");
  EXPECT_EQ(4U, expect(200, "GET", "/v1/agents/" + agent + "/tools").items().size());
  const Json answer = expect(200, "POST", "/v1/agents/" + agent + "/messages", say("add"));
  EXPECT_EQ("error", text(answer.find("messages")->items()[1], "status"));
  EXPECT_EQ("I cannot add.", text(answer.find("messages")->items().back(), "content"));

  const std::string path = "/v1/agents/" + agent + "/tools/";
  EXPECT_EQ(200, call("PATCH", path + "detach/" + text(tool, "id")).status);
  EXPECT_EQ(3U, expect(200, "GET", "/v1/agents/" + agent + "/tools").items().size());
  EXPECT_EQ(200, call("PATCH", path + "attach/" + text(tool, "id")).status);
  expect(404, "PATCH", path + "attach/tool-00000000-0000-4000-8000-00000000dead");
  expect(200, "PATCH", "/v1/tools/" + text(tool, "id"), R"({"description":"Adds two."})");
  EXPECT_EQ("Adds two.", text(expect(200, "GET", "/v1/tools/" + text(tool, "id")), "description"));
  EXPECT_EQ("null", call("DELETE", "/v1/tools/" + text(tool, "id")).body);
  expect(404, "GET", "/v1/tools/" + text(tool, "id"));
  EXPECT_EQ(3U, expect(200, "GET", "/v1/agents/" + agent + "/tools").items().size());
  expect(400, "POST", "/v1/agents/", R"({"tools":["wire_add"]})");
}

TEST_F(Turns, TheHistoryIsSearchedByClientsAndByTheAgent) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/messages";
  expect(200, "POST", path, say("An elephant never forgets"));
  const Json hits = expect(200, "POST", "/v1/messages/search", R"({"query":"ELEPHANT"})");
  EXPECT_EQ(2U, hits.items().size());  // The user's words and their echo.
  const Json answer = expect(200, "POST", path, say("find it"));
  const std::string found = text(answer.find("messages")->items()[1], "tool_return");
  EXPECT_NE(std::string::npos, found.find("An elephant never forgets")) << found;
  EXPECT_EQ(0U, expect(200, "POST", "/v1/messages/search", R"({"query":"giraffe"})").items().size());
  expect(422, "POST", "/v1/messages/search", R"({"query":"x","limit":1000})");
}

// "system user:hi assistant:You said: hi " of a request to a provider.
std::string dialogue(const Json& payload) {
  std::string line;
  const Json* messages = payload.find("messages");
  for (const Json& message : messages != nullptr ? messages->items() : std::vector<Json>{}) {
    const std::string role = Turns::text(message, "role");
    line += role + (role == "system" ? " " : ":" + Turns::text(message, "content") + " ");
  }
  return line;
}

TEST_F(Turns, APreviewIsWhatTheModelWouldBeAskedAndLeavesNothingBehind) {
  const std::string agent = create_agent(
      R"({"memory_blocks":[{"label":"human","value":"Ann"}],"model_settings":{"temperature":0.5}})");
  const std::string path = "/v1/agents/" + agent + "/messages";
  expect(200, "POST", path, say("hi"));
  run_for(100);
  const std::size_t before = records();
  const std::string body = R"({"messages":[{"role":"user","content":"and now?","name":"carol"}]})";
  const Json payload = expect(200, "POST", path + "/preview-raw-payload", body);
  EXPECT_EQ("system user:hi assistant:You said: hi user:and now? ", dialogue(payload));
  const Json& last = payload.find("messages")->items().back();
  EXPECT_EQ("carol", text(last, "name"));
  EXPECT_NE(std::string::npos, text(payload.find("messages")->items().front(), "content").find("Ann"));
  EXPECT_EQ("echo", text(payload, "model"));
  EXPECT_EQ("0.5", payload.find("temperature")->dump());
  EXPECT_EQ(3U, payload.find("tools")->items().size());
  EXPECT_EQ(nullptr, payload.find("stream"));
  const std::string streamed = R"({"input":"x","streaming":true,"stream_tokens":true})";
  EXPECT_EQ("true", expect(200, "POST", path + "/preview-raw-payload", streamed).find("stream")->dump());
  EXPECT_EQ(before, records());
  EXPECT_EQ("user_message:hi;assistant_message:You said: hi;", history(agent));
  EXPECT_EQ(1U, expect(200, "GET", "/v1/runs/?agent_id=" + agent).items().size());
}

TEST_F(Turns, APreviewDoesNotWaitForAnOpenTurn) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/messages";
  const Pending slow = begin("POST", path, say("a slow one"));
  run_for(1000);
  EXPECT_EQ("system user:a slow one user:next ",
            dialogue(expect(200, "POST", path + "/preview-raw-payload", say("next"))));
  EXPECT_FALSE(slow->has_value());
  EXPECT_EQ(200, finish(slow).status);
  EXPECT_EQ("user_message:a slow one;assistant_message:At last.;", history(agent));
}

TEST_F(Turns, APreviewOfWhatCouldNotBeSentIsRefused) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/messages";
  const std::string preview = path + "/preview-raw-payload";
  const std::string gone =
      "/v1/agents/agent-00000000-0000-4000-8000-00000000dead/messages/preview-raw-payload";
  expect(404, "POST", gone, say("x"));
  expect(422, "POST", preview, "{}");
  expect(422, "POST", preview, R"({"messages":[{"role":"tool","content":"x"}]})");
  expect(404, "POST", preview, R"({"input":"x","override_model":"openai/none"})");
  const std::string approve =
      R"({"messages":[{"type":"approval","approvals":[{"type":"approval","tool_call_id":"c","approve":true}]}]})";
  expect(422, "POST", preview, approve);
  const std::string tools = R"(,"client_tools":[{"name":"my_tool","description":"d","parameters":{}}]})";
  const std::string local = R"({"input":"a local one")" + tools;
  EXPECT_EQ(4U, expect(200, "POST", preview, local).find("tools")->items().size());
  expect(200, "POST", path, local);  // Now a call waits for the client.
  expect(409, "POST", preview, say("x"));
  expect(200, "DELETE", "/v1/agents/" + agent);
  expect(404, "POST", preview, say("x"));
}

TEST_F(Turns, ResetEmptiesTheContextAndASummaryTakesThePlaceOfOldMessages) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent;
  for (const char* word : {"1", "2", "3", "4"}) expect(200, "POST", path + "/messages", say(word));
  const auto in_context = [&] { return expect(200, "GET", path).find("message_ids")->items().size(); };
  EXPECT_EQ(9U, in_context());
  const Json summary = expect(200, "POST", path + "/summarize", "{}");
  EXPECT_FALSE(text(summary, "summary").empty());
  EXPECT_EQ("9", summary.find("num_messages_before")->dump());
  EXPECT_LT(in_context(), 9U);
  restart();
  EXPECT_EQ(200, call("POST", path + "/messages", say("5")).status);
  EXPECT_EQ(200, call("PATCH", path + "/reset-messages", "{}").status);
  EXPECT_EQ(1U, in_context());
  EXPECT_EQ(12U, expect(200, "GET", path + "/messages").items().size());  // All of it is still there.
  EXPECT_EQ("1", expect(200, "GET", path + "/context").find("num_messages")->dump());
}

TEST_F(Turns, AFullContextIsSummedUpByTheAgentsModelBeforeItIsTrimmed) {
  const std::string agent = create_agent(R"({"context_window_limit":900,"memory_blocks":[],"system":"S"})");
  const std::string path = "/v1/agents/" + agent + "/messages";
  for (int i = 0; i < 12; ++i) expect(200, "POST", path, say(std::string(200, 'a') + std::to_string(i)));
  const Json listed = expect(200, "GET", path + "?limit=100&include_return_message_types=summary_message");
  EXPECT_FALSE(listed.items().empty());
}

TEST_F(Turns, TheCatalogueAndTheListsCount) {
  create_agent(R"({"name":"a","tags":["x","y"]})");
  const std::string gone = create_agent(R"({"name":"b","tags":["z"]})");
  EXPECT_EQ(R"(["x","y","z"])", expect(200, "GET", "/v1/tags/").dump());
  expect(200, "DELETE", "/v1/agents/" + gone);
  EXPECT_EQ(R"(["x","y"])", expect(200, "GET", "/v1/tags/").dump());
  EXPECT_EQ(R"(["y"])", expect(200, "GET", "/v1/tags/?after=x").dump());
  EXPECT_EQ("1", call("GET", "/v1/agents/count").body);
  EXPECT_EQ("0", call("GET", "/v1/blocks/count").body);
  EXPECT_EQ("5", call("GET", "/v1/tools/count").body);
  EXPECT_FALSE(expect(200, "GET", "/v1/models/").items().empty());
  EXPECT_EQ("4", std::to_string(expect(200, "GET", "/v1/models/embedding").items().size()));
  expect(501, "GET", "/v1/agents/" + gone + "/archival-memory");
  expect(404, "GET", "/v1/conversations/conv-00000000-0000-4000-8000-00000000dead/messages");
}

// Of one kind and place, pieces beyond the limit are joined; nothing is lost.
TEST(TurnChannel, JoinsWhatIsTooFine) {
  TurnChannel channel("run-1");
  channel.begin_reply({"message-1", "step-1", WallTime{1}, {}});
  for (std::size_t i = 0; i < kLiveDeltasMax + 10; ++i) {
    channel.add_delta({ModelDelta::Kind::text, "a", 0, "", ""});
  }
  EXPECT_EQ(kLiveDeltasMax, channel.live()->deltas.size());
  EXPECT_EQ(11U, channel.live()->deltas.back().text.size());
}

}  // namespace
}  // namespace varve
