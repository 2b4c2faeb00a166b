// The routes as a client sees them: shapes, orders, cursors, refusals. What is refused writes nothing.
#include "api/api.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::SimServer;

class Routes : public SimServer {
 public:
  std::string agent_named(const std::string& name) { return create_agent(R"({"name":")" + name + R"("})"); }
  std::string block(const std::string& label, const std::string& value) {
    return text(
        expect(200, "POST", "/v1/blocks/", R"({"label":")" + label + R"(","value":")" + value + R"("})"),
        "id");
  }
  std::string names(const std::string& query) {
    const Json listed = expect(200, "GET", "/v1/agents/" + query);
    std::string line;
    for (const Json& agent : listed.items()) line += text(agent, "name") + " ";
    return line;
  }
  std::string contents(const std::string& agent, const std::string& query) {
    const Json listed = expect(200, "GET", "/v1/agents/" + agent + "/messages" + query);
    std::string line;
    for (const Json& message : listed.items()) {
      line += text(message, "message_type") == "system_message" ? "S " : text(message, "content") + " ";
    }
    return line;
  }
  std::string id_of(const std::string& agent, const std::string& content) {
    const Json listed = expect(200, "GET", "/v1/agents/" + agent + "/messages?limit=1000");
    for (const Json& message : listed.items()) {
      if (text(message, "content") == content) return text(message, "id");
    }
    return {};
  }
};

TEST_F(Routes, AnAgentIsCreatedReadChangedAndDeleted) {
  const Json created = expect(200, "POST", "/v1/agents/",
                              R"({"name":"ann","tags":["b","a"],"metadata":{"k":[1,2.50]},"description":"d",)"
                              R"("memory_blocks":[{"label":"human","value":"Ann"}],"hidden":true,)"
                              R"("model":"openai/gpt-4o-mini","embedding":"openai/text-embedding-3-small"})");
  const std::string path = "/v1/agents/" + text(created, "id");
  EXPECT_EQ(R"(["b","a"])", created.find("tags")->dump());
  EXPECT_EQ(R"({"k":[1,2.50]})", created.find("metadata")->dump());
  EXPECT_EQ("true", created.find("hidden")->dump());
  EXPECT_EQ("16384", created.find("model_settings")->find("max_output_tokens")->dump());
  EXPECT_EQ(1U, created.find("message_ids")->items().size());
  EXPECT_EQ("human", text(created.find("memory")->find("blocks")->items().front(), "label"));
  EXPECT_EQ(3U, created.find("tools")->items().size());
  const SimServer::HeaderList browser{{"User-Agent", "curl/8"}};
  EXPECT_EQ(created, expect(200, "GET", path, "", browser));

  const Json changed =
      expect(200, "PATCH", path, R"({"name":"anna","tags":["c"],"description":null,"zzz":1})");
  EXPECT_EQ("anna", text(changed, "name"));
  EXPECT_EQ("d", text(changed, "description"));
  EXPECT_EQ(R"(["c"])", changed.find("tags")->dump());
  EXPECT_EQ(nullptr, changed.find("zzz"));
  EXPECT_NE(text(changed, "created_at"), text(changed, "updated_at"));

  EXPECT_EQ("Agent id=" + text(created, "id") + " successfully deleted",
            text(expect(200, "DELETE", path), "message"));
  expect(404, "GET", path);
  expect(404, "DELETE", path);
  expect(404, "GET", path + "/messages");
}

TEST_F(Routes, SdkClientsGetRelationshipsOnlyWhenTheyAsk) {
  const std::string path =
      "/v1/agents/" + create_agent(R"({"tags":["t"],"memory_blocks":[{"label":"human","value":"x"}]})");
  const SimServer::HeaderList sdk{{"X-Stainless-Package-Version", "1.12.1"}};
  const Json bare = expect(200, "GET", path, "", sdk);
  EXPECT_TRUE(bare.find("blocks")->items().empty());
  EXPECT_TRUE(bare.find("tags")->items().empty());
  const Json asked = expect(200, "GET", path + "?include=agent.blocks&include=agent.tags", "", sdk);
  EXPECT_EQ(1U, asked.find("blocks")->items().size());
  EXPECT_EQ(1U, asked.find("tags")->items().size());
  EXPECT_TRUE(asked.find("tools")->items().empty());
  expect(422, "GET", path + "?include=agent.zzz", "", sdk);
}

TEST_F(Routes, ListsOfAgentsFollowTheAskedOrderAndIgnoreUnknownCursors) {
  std::vector<std::string> ids;
  for (const char* name : {"a", "b", "c", "d"}) ids.push_back(agent_named(name));
  EXPECT_EQ("d c b a ", names(""));
  EXPECT_EQ("a b ", names("?order=asc&limit=2"));
  EXPECT_EQ("c d ", names("?order=asc&after=" + ids[1]));
  EXPECT_EQ("a ", names("?order=asc&before=" + ids[1]));
  EXPECT_EQ("b a ", names("?after=" + ids[2]));
  EXPECT_EQ("d c ", names("?before=" + ids[1]));
  EXPECT_EQ("c b ", names("?after=" + ids[3] + "&before=" + ids[0]));
  EXPECT_EQ("d c b a ", names("?after=agent-00000000-0000-4000-8000-00000000dead"));
  EXPECT_EQ("d c b a ", names("?limit=0"));
  EXPECT_EQ("b ", names("?name=b"));
  EXPECT_EQ("", names("?name=zzz"));
}

TEST_F(Routes, MessagesAreAlwaysOldestFirstAndOrderPicksTheEnd) {
  const std::string agent = agent_named("ann");
  for (const char* word : {"1", "2", "3"}) {
    expect(200, "POST", "/v1/agents/" + agent + "/messages", say(word));
  }
  const std::string all = "S 1 You said: 1 2 You said: 2 3 You said: 3 ";
  EXPECT_EQ(all, contents(agent, ""));
  EXPECT_EQ(all, contents(agent, "?order=asc"));
  EXPECT_EQ("3 You said: 3 ", contents(agent, "?limit=2"));
  EXPECT_EQ("S 1 ", contents(agent, "?order=asc&limit=2"));
  const std::string two = id_of(agent, "2");
  EXPECT_EQ("You said: 2 3 You said: 3 ", contents(agent, "?order=asc&after=" + two));
  EXPECT_EQ("3 You said: 3 ", contents(agent, "?limit=2&after=" + two));
  EXPECT_EQ("S 1 You said: 1 ", contents(agent, "?order=asc&before=" + two));
  EXPECT_EQ("1 You said: 1 ", contents(agent, "?limit=2&before=" + two));
  EXPECT_EQ("", contents(agent, "?limit=0"));
  EXPECT_EQ("", contents(agent, "?conversation_id=conv-00000000-0000-4000-8000-00000000dead"));
  EXPECT_EQ("3 ", contents(agent, "?limit=2&include_return_message_types=user_message"));
  expect(404, "GET", "/v1/agents/" + agent + "/messages?after=message-00000000-0000-4000-8000-00000000dead");
  expect(422, "GET", "/v1/agents/" + agent + "/messages?limit=-1");
  expect(422, "GET", "/v1/agents/" + agent + "/messages?limit=abc");
}

TEST_F(Routes, AnAnswerHoldsTheTurnsMessagesAndNotTheUsers) {
  const std::string agent = agent_named("ann");
  const Response response = call("POST", "/v1/agents/" + agent + "/messages",
                                 R"({"messages":[{"role":"user","content":[{"type":"text","text":"hi "},)"
                                 R"({"type":"text","text":"there"}]}]})");
  ASSERT_EQ(200, response.status);
  const auto body = Json::parse(response.body);
  ASSERT_EQ(1U, body->find("messages")->items().size());
  const Json& message = body->find("messages")->items().front();
  EXPECT_EQ("assistant_message", text(message, "message_type"));
  EXPECT_EQ("You said: hi there", text(message, "content"));
  EXPECT_EQ("end_turn", text(*body->find("stop_reason"), "stop_reason"));
  EXPECT_EQ("1", body->find("usage")->find("step_count")->dump());
  EXPECT_TRUE(response.header("varve-position").has_value());
  // The otid of an answer is its id with the low bits replaced.
  const std::string id = text(message, "id").substr(8);
  const std::string otid = text(message, "otid");
  EXPECT_EQ(id.substr(0, 34), otid.substr(0, 34));
  EXPECT_TRUE(otid.ends_with("00") || otid.ends_with("80")) << otid;
}

TEST_F(Routes, BlocksLiveOnTheirOwnAndInAgents) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/core-memory/blocks";
  const std::string notes = block("notes", "n1");
  const Json attached = expect(200, "PATCH", path + "/attach/" + notes);
  EXPECT_EQ(2U, attached.find("blocks")->items().size());
  expect(200, "PATCH", path + "/attach/" + notes);
  expect(409, "PATCH", path + "/attach/" + block("notes", "other"));
  expect(404, "PATCH", path + "/attach/block-00000000-0000-4000-8000-00000000dead");
  EXPECT_EQ("n1", text(expect(200, "GET", path + "/notes"), "value"));
  EXPECT_EQ("n2", text(expect(200, "PATCH", path + "/notes", R"({"value":"n2"})"), "value"));
  EXPECT_EQ("n2", text(expect(200, "GET", "/v1/blocks/" + notes), "value"));
  expect(200, "PATCH", path + "/detach/" + notes);
  expect(404, "PATCH", path + "/detach/" + notes);
  expect(404, "GET", path + "/notes");
  EXPECT_EQ("null", call("DELETE", "/v1/blocks/" + notes).body);
  expect(404, "DELETE", "/v1/blocks/" + notes);
  expect(404, "GET", "/v1/blocks/" + notes);
  // A label with a slash travels percent-encoded.
  const std::string odd = block("a/b", "x");
  expect(200, "PATCH", path + "/attach/" + odd);
  EXPECT_EQ("x", text(expect(200, "GET", path + "/a%2Fb"), "value"));
}

TEST_F(Routes, ListsOfBlocksAreOldestFirst) {
  const std::string first = block("x", "1");
  const std::string second = block("x", "2");
  const auto values = [this](const std::string& query) {
    const Json listed = expect(200, "GET", "/v1/blocks/" + query);
    std::string line;
    for (const Json& one : listed.items()) line += text(one, "value") + " ";
    return line;
  };
  EXPECT_EQ("1 2 ", values("?label=x"));
  EXPECT_EQ("2 1 ", values("?label=x&order=desc"));
  EXPECT_EQ("1 ", values("?order=desc&after=" + second));
  EXPECT_EQ("1 2 ", values("?after=block-00000000-0000-4000-8000-00000000dead"));
  EXPECT_EQ("2 ", values("?value_search=2"));
}

TEST_F(Routes, AMemoryBlockOfADeletedAgentStays) {
  const std::string agent = create_agent();
  const std::string human =
      text(expect(200, "GET", "/v1/agents/" + agent + "/core-memory/blocks/human"), "id");
  expect(200, "DELETE", "/v1/agents/" + agent);
  EXPECT_EQ("Ann", text(expect(200, "GET", "/v1/blocks/" + human), "value"));
}

// An image that was sent as its bytes is shown as the archived server shows one that it has taken.
TEST_F(Routes, AnImageIsShownWithAFileIdThatIsMadeOfIt) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/messages";
  const auto say_image = [](const std::string& source) {
    return R"({"messages":[{"role":"user","content":[{"type":"image","source":)" + source +
           R"(},{"type":"text","text":"look"}]}]})";
  };
  const std::string linked = R"({"type":"url","url":"https://x/y.png"})";
  for (const std::string& source :
       {std::string{R"({"type":"base64","media_type":"image/png","data":"QUJD"})"},
        std::string{R"({"type":"base64","data":"QUJD","detail":"low"})"},
        std::string{R"({"type":"base64","data":"QUJE"})"}, linked}) {
    expect(200, "POST", path, say_image(source));
  }
  std::vector<Json> shown;
  const Json listed = expect(200, "GET", path + "?include_return_message_types=user_message");
  for (const Json& message : listed.items()) {
    shown.push_back(*message.find("content")->items().front().find("source"));
  }
  ASSERT_EQ(4U, shown.size());
  const std::string file = text(shown[0], "file_id");
  ASSERT_TRUE(file.starts_with("file-")) << file;
  EXPECT_TRUE(is_uuid4(file.substr(5))) << file;
  EXPECT_EQ(
      R"({"type":"letta","file_id":")" + file + R"(","media_type":"image/png","data":"QUJD","detail":null})",
      shown[0].dump());
  EXPECT_EQ(R"({"type":"letta","file_id":")" + file + R"(","media_type":null,"data":"QUJD","detail":"low"})",
            shown[1].dump());
  EXPECT_NE(file, text(shown[2], "file_id"));
  EXPECT_EQ(linked, shown[3].dump());
  expect(200, "POST", path, say_image(shown[0].dump()));  // As it was shown, so it can be sent.
  const Json payload = expect(200, "POST", path + "/preview-raw-payload", R"({"input":"x"})");
  const auto& sent = payload.find("messages")->items();
  EXPECT_EQ(R"({"url":"data:image/png;base64,QUJD","detail":"auto"})",
            sent[sent.size() - 3].find("content")->items().front().find("image_url")->dump());
}

TEST_F(Routes, LimitsOfFilesFollowTheContextWindowUntilSomebodySetsThem) {
  const auto limits = [](const Json& agent) {
    return agent.find("max_files_open")->dump() + " " + agent.find("per_file_view_window_char_limit")->dump();
  };
  const auto reasons = [](const Json& agent) {
    return agent.find("llm_config")->find("enable_reasoner")->as_boolean();
  };
  const Json created = expect(200, "POST", "/v1/agents/", R"({"name":"a"})");
  EXPECT_EQ("10 25000", limits(created));
  EXPECT_FALSE(reasons(created));
  const std::string path = "/v1/agents/" + text(created, "id");
  EXPECT_FALSE(reasons(expect(200, "PATCH", path, R"({"description":"d"})")));
  for (const auto& [window, shown] : {std::pair{"8000", "3 5000"},
                                      {"8001", "5 15000"},
                                      {"32000", "5 15000"},
                                      {"128001", "10 40000"},
                                      {"200001", "15 40000"}}) {
    const Json agent = expect(200, "PATCH", path, R"({"context_window_limit":)" + std::string(window) + "}");
    EXPECT_EQ(shown, limits(agent)) << window;
    EXPECT_TRUE(reasons(agent)) << window;
  }
  EXPECT_FALSE(
      reasons(expect(200, "PATCH", path, R"({"context_window_limit":16000,"enable_reasoner":false})")));
  EXPECT_EQ("5 15000", limits(expect(200, "GET", path + "/export").find("agents")->items().front()));
  EXPECT_EQ("7 15000", limits(expect(200, "PATCH", path, R"({"max_files_open":7})")));
  EXPECT_EQ("7 5000", limits(expect(200, "PATCH", path, R"({"context_window_limit":4000})")));
  EXPECT_EQ("7 5000", limits(expect(200, "GET", path + "/export").find("agents")->items().front()));
}

// What the providers serve beside what everybody knows; a proxy of OpenAI serves OpenAI's.
TEST(KnownEmbeddings, AModelIsListedOnce) {
  const auto embedding = [](std::string handle, std::string endpoint) {
    ModelInfo model;
    model.handle = std::move(handle);
    model.endpoint = std::move(endpoint);
    model.embedding = true;
    return model;
  };
  KnownModels models;
  models.handles = {"varve/echo"};
  models.models = {embedding("openai-proxy/text-embedding-3-small", "http://proxy/v1"),
                   embedding("openai-proxy/my-embed", "http://proxy/v1"),
                   embedding("ollama/text-embedding-3-small", "http://ollama/v1")};
  std::string line;
  for (const ModelInfo& model : known_embeddings(models)) line += model.handle + "@" + model.endpoint + " ";
  EXPECT_EQ(
      "letta/letta-free@ openai/text-embedding-3-large@ openai/text-embedding-3-small@http://proxy/v1 "
      "openai/text-embedding-ada-002@ openai-proxy/my-embed@http://proxy/v1 "
      "ollama/text-embedding-3-small@http://ollama/v1 ",
      line);
  for (const char* handle : {"openai/text-embedding-3-small", "openai-proxy/text-embedding-3-small"}) {
    const auto body = Json::parse(R"({"embedding":")" + std::string(handle) + "\"}");
    EXPECT_TRUE(parse_create_agent(*body, models, {}, "seed").value) << handle;
  }
}

TEST_F(Routes, AWrongTrailingSlashIsARedirectBothWays) {
  const Response no_slash = call("GET", "/v1/agents?limit=1", "", {{"Host", "here:8283"}});
  EXPECT_EQ(307, no_slash.status);
  EXPECT_EQ("http://here:8283/v1/agents/?limit=1", no_slash.header("location"));
  const Response slash = call("GET", "/v1/agents/" + agent_named("ann") + "/messages/");
  EXPECT_EQ(307, slash.status);
}

TEST_F(Routes, UnknownRoutesAndMethodsSaySo) {
  EXPECT_EQ("Not Found", text(expect(404, "GET", "/v1/nope"), "detail"));
  const Response wrong = call("PUT", "/v1/agents/");
  EXPECT_EQ(405, wrong.status);
  EXPECT_EQ("POST, GET", wrong.header("allow"));
  EXPECT_EQ("ok", text(expect(200, "GET", "/v1/health/"), "status"));
}

struct Bad {
  const char* name;
  const char* method;
  const char* path;  // "A" stands for an agent's path.
  std::string body;
  int status;
  const char* says;  // A part of the detail.
};

class BadInput : public Routes, public testing::WithParamInterface<Bad> {};

TEST_P(BadInput, IsRefusedClearlyAndChangesNothing) {
  const std::string agent = create_agent();
  run_for(100);
  const std::size_t before = records();
  std::string path = GetParam().path;
  if (path.starts_with("A")) path = "/v1/agents/" + agent + path.substr(1);
  const Response response = call(GetParam().method, path, GetParam().body);
  EXPECT_EQ(GetParam().status, response.status) << response.body;
  EXPECT_NE(std::string::npos, response.body.find(GetParam().says)) << response.body;
  EXPECT_EQ(before, records());
}

const std::string kDeep = "{\"metadata\":{\"a\":" + std::string(80, '[') + std::string(80, ']') + "}}";

INSTANTIATE_TEST_SUITE_P(
    Table, BadInput,
    testing::Values(
        Bad{"UnknownAgent", "PATCH", "/v1/agents/agent-00000000-0000-4000-8000-00000000dead", "{}", 404,
            "not found"},
        Bad{"MalformedId", "GET", "/v1/agents/not-an-id", "", 422, "agent-123e4567"},
        Bad{"UpperCaseId", "GET", "/v1/agents/agent-00000000-0000-4000-8000-00000000DEAD", "", 422,
            "agent_id"},
        Bad{"NameIsANumber", "POST", "/v1/agents/", R"({"name":5})", 422,
            "body.name: expected a string, got a number"},
        Bad{"NameWithSlash", "POST", "/v1/agents/", R"({"name":"a/b"})", 422, "body.name"},
        Bad{"TagsIsANumber", "PATCH", "A", R"({"tags":5})", 422, "body.tags: expected a list"},
        Bad{"TagIsANumber", "PATCH", "A", R"({"tags":["a",5]})", 422, "body.tags.1: expected a string"},
        Bad{"BadJson", "PATCH", "A", "{", 422, "at byte"},
        Bad{"NoBody", "POST", "A/messages", "", 422, "field required"},
        Bad{"ListBody", "PATCH", "A", "[]", 422, "expected an object"},
        Bad{"BadAgentType", "POST", "/v1/agents/", R"({"agent_type":"nope"})", 422, "body.agent_type"},
        Bad{"UnknownModel", "POST", "/v1/agents/", R"({"model":"openai/none"})", 404, "openai/none"},
        Bad{"ModelWithoutSlash", "POST", "/v1/agents/", R"({"model":"gpt"})", 400, "provider/name"},
        Bad{"UnknownEmbedding", "POST", "/v1/agents/", R"({"embedding":"openai/none"})", 400, "openai/none"},
        Bad{"UnknownTool", "POST", "/v1/agents/", R"({"tools":["rm"]})", 400, "rm"},
        Bad{"Secrets", "POST", "/v1/agents/", R"({"secrets":{"KEY":"x"}})", 422, "body.secrets"},
        Bad{"BlockWithoutLabel", "POST", "/v1/blocks/", R"({"value":"x"})", 422,
            "body.label: field required"},
        Bad{"LimitIsText", "POST", "/v1/blocks/", R"({"label":"x","limit":"many"})", 422,
            "body.limit: expected an integer"},
        Bad{"BlockTooLarge", "PATCH", "A/core-memory/blocks/human",
            R"({"value":")" + std::string(kBlockBytesMax + 1, 'x') + "\"}", 422, "at most 1048576 bytes"},
        Bad{"UnknownLabel", "PATCH", "A/core-memory/blocks/zzz", R"({"value":"x"})", 404, "zzz"},
        Bad{"NoMessages", "POST", "A/messages", "{}", 422, "'input' and 'messages'"},
        Bad{"EmptyMessages", "POST", "A/messages", R"({"messages":[]})", 422, "must not be empty"},
        Bad{"BothInputs", "POST", "A/messages", R"({"input":"x","messages":[{"role":"user","content":"x"}]})",
            422, "not both"},
        Bad{"BadRole", "POST", "A/messages", R"({"messages":[{"role":"tool","content":"x"}]})", 422,
            "body.messages.0.role"},
        Bad{"NoRole", "POST", "A/messages", R"({"messages":[{"content":"x"}]})", 422, "role: field required"},
        Bad{"NullContent", "POST", "A/messages", R"({"messages":[{"role":"user","content":null}]})", 422,
            "content"},
        Bad{"EmptyContent", "POST", "A/messages", R"({"messages":[{"role":"user","content":""}]})", 400,
            "empty or invalid"},
        Bad{"BadPart", "POST", "A/messages", R"({"messages":[{"role":"user","content":[{"type":"zzz"}]}]})",
            422, "content.0.type"},
        Bad{"StepsAreText", "POST", "A/messages", R"({"input":"x","max_steps":"many"})", 422,
            "body.max_steps"},
        Bad{"TokensWithoutStreaming", "POST", "A/messages", R"({"input":"x","stream_tokens":true})", 422,
            "streaming"},
        Bad{"BadReturnType", "POST", "A/messages", R"({"input":"x","include_return_message_types":["zzz"]})",
            422, "zzz"},
        Bad{"UnknownOverrideModel", "POST", "A/messages", R"({"input":"x","override_model":"openai/none"})",
            404, "openai/none"},
        Bad{"EscapedNul", "POST", "A/messages", R"({"input":"a\u0000b"})", 422, "U+0000"},
        Bad{"LoneSurrogate", "POST", "A/messages", R"({"input":"\udc00"})", 422, "at byte"},
        Bad{"IllFormedUtf8", "POST", "A/messages", "{\"input\":\"\xff\"}", 422, "at byte"},
        Bad{"DeepNesting", "PATCH", "A", kDeep, 422, "64 levels"},
        Bad{"BadOrder", "GET", "/v1/agents/?order=sideways", "", 422, "query.order"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST_F(Routes, AReadMayWaitForAPosition) {
  const std::string agent = create_agent();
  const Response said = call("POST", "/v1/agents/" + agent + "/messages", say("hi"));
  const SimServer::HeaderList wait{{"Varve-Wait-For", *said.header("varve-position")}};
  expect(200, "GET", "/v1/agents/" + agent, "", wait);
  expect(422, "GET", "/v1/agents/" + agent, "", {{"Varve-Wait-For", "here"}});
  const Response beyond = call("GET", "/v1/agents/" + agent, "", {{"Varve-Wait-For", "0:999999"}});
  EXPECT_EQ(503, beyond.status);
  EXPECT_TRUE(beyond.header("retry-after").has_value());
}

TEST_F(Routes, AckLogAnswersFromTheCommandsOwnEvents) {
  const Json created = expect(200, "POST", "/v1/agents/?ack=log", R"({"name":"ann","tags":["t"]})");
  EXPECT_EQ("ann", text(created, "name"));
  EXPECT_EQ(R"(["t"])", created.find("tags")->dump());
  EXPECT_EQ(1U, created.find("message_ids")->items().size());
  const Json patched =
      expect(200, "PATCH", "/v1/agents/" + text(created, "id") + "?ack=log", R"({"name":"eve"})");
  EXPECT_EQ("eve", text(patched, "name"));
}

}  // namespace
}  // namespace varve
