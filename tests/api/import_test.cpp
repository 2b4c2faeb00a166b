// Agent files through the routes of a simulated server: imported, exported, imported again; killed in the
// middle and resumed with the key; unseen before it is whole.
#include "actors/catalogue.h"
#include "api/agent_file.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::SimServer;

constexpr const char* kPath = "/v1/agents/import";

class Import : public SimServer {
 public:
  static std::string message(const std::string& role, const std::string& id, const std::string& text) {
    return R"({"type":"message","role":")" + role + R"(","id":")" + id +
           R"(","content":[{"type":"text","text":")" + text +
           R"(","signature":null}],"model":"gpt-9","created_at":"2025-10-10T07:14:29.912336+00:00"})";
  }
  static std::string agent(const std::string& name, const std::string& messages) {
    return R"({"name":")" + name +
           R"(","system":"Be kind.","agent_type":"letta_v1_agent","tags":["red"],"description":"d",)"
           R"("llm_config":{"model":"gpt-9","model_endpoint_type":"openai","context_window":9000,"handle":"x/gpt-9"},)"
           R"("tool_rules":[{"tool_name":"add","type":"exit_loop"}],"zzz":{"kept":[1,2.50]},"hidden":true,)"
           R"("tool_ids":["tool-3","tool-4"],"block_ids":["block-9"],"id":"agent-5","metadata":{"m":1},)"
           R"("in_context_message_ids":["m1","m3"],"messages":[)" +
           messages + "]}";
  }
  static std::string file(const std::string& agents) {
    return R"({"agents":[)" + agents +
           R"(],"groups":[],"blocks":[{"id":"block-9","label":"human","value":"Ann","color":"red"}],"files":[],)"
           R"("tools":[{"id":"tool-3","name":"add","tool_type":"custom","source_code":"def add(): ...",)"
           R"("json_schema":{"name":"add"},"pip_requirements":[{"name":"x"}]},)"
           R"({"id":"tool-4","name":"memory_insert","tool_type":"letta_core","description":"theirs"}],)"
           R"("metadata":{"revision_id":"r1"},"unknown":"kept","created_at":"2025-01-01T00:00:00+00:00"})";
  }
  static std::string small_file() {
    return file(agent("ann", message("system", "m1", "S") + "," + message("user", "m2", "old") + "," +
                                 message("user", "m3", "new")));
  }
  // Messages enough for several records.
  static std::string long_file(int count) {
    std::string messages = message("system", "m1", "S");
    const std::string text(300'000, 'x');
    for (int i = 0; i < count; ++i)
      messages += "," + message("user", "m-" + std::to_string(i), text + std::to_string(i));
    return file(agent("long", messages));
  }
  static std::string form(const std::string& file, const std::map<std::string, std::string>& fields) {
    std::string body =
        "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.af\"\r\n\r\n" + file + "\r\n";
    for (const auto& [name, value] : fields) {
      body += "--B\r\ncontent-disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
    }
    return body + "--B--\r\n";
  }
  static HeaderList headers(const std::string& key) {
    HeaderList list{{"content-type", "multipart/form-data; boundary=B"}};
    if (!key.empty()) list.emplace_back("idempotency-key", key);
    return list;
  }
  Json import(int status, const std::string& file, std::map<std::string, std::string> fields = {},
              const std::string& key = "") {
    fields.emplace("append_copy_suffix", "false");
    return expect(status, "POST", kPath, form(file, fields), headers(key));
  }
  std::string imported(const std::string& file, const std::string& key = "") {
    const Json answer = import(200, file, {}, key);
    const Json* ids = answer.find("agent_ids");
    if (ids == nullptr || ids->items().empty()) return "";
    return ids->items().front().as_string();
  }
  std::string exported(const std::string& id) {
    Json file = expect(200, "GET", "/v1/agents/" + id + "/export");
    file.remove("created_at");
    return file.dump();
  }
  // What users said, as parts of a text.
  std::string said(const std::string& id) {
    std::string line;
    const Json listed = expect(200, "GET", "/v1/agents/" + id + "/messages?limit=1000");
    for (const Json& message : listed.items()) {
      const Json* content = message.find("content");
      if (text(message, "message_type") != "user_message" || content == nullptr) continue;
      if (content->is_string()) line += content->as_string() + ";";
      for (const Json& part : content->items()) line += text(part, "text") + ";";
    }
    return line;
  }
  std::size_t listed(const std::string& path) { return expect(200, "GET", path).items().size(); }
};

// Also of the past, at every record that the import consists of.
TEST_F(Import, WhatWasNotWholeYetIsNotSeenInThePast) {
  const std::string id = imported(long_file(20));
  const Json blocks = expect(200, "GET", "/v1/agents/" + id + "/core-memory/blocks");
  const std::string block = text(blocks.items().front(), "id");
  const Partition home = partition_of(StreamId{id}, 4);
  int hidden = 0;
  int whole = 0;
  for (const LogRecord& record : world_->log().records(home)) {
    const std::string as_of = "?as_of=" + to_string(LogPosition{home, record.offset});
    const bool there = call("GET", "/v1/agents/" + id + as_of).status == 200;
    EXPECT_EQ(there ? 200 : 404, call("GET", "/v1/blocks/" + block + as_of).status) << as_of;
    EXPECT_EQ(there ? 1U : 0U, listed("/v1/blocks/" + as_of)) << as_of;
    EXPECT_EQ(there ? 1U : 0U, listed("/v1/agents/" + as_of)) << as_of;
    ++(there ? whole : hidden);
  }
  EXPECT_GT(hidden, 2);
  EXPECT_GT(whole, 0);
}

TEST_F(Import, WhatTheFileHoldsIsReadBack) {
  const Json answer = import(200, small_file());
  const std::string id = answer.find("agent_ids")->items().front().as_string();
  EXPECT_EQ("x/gpt-9", text(answer.find("replaced_models")->items().front(), "model"));
  const SimServer::HeaderList browser{{"User-Agent", "curl/8"}};
  const Json agent = expect(200, "GET", "/v1/agents/" + id, "", browser);
  EXPECT_EQ("ann", text(agent, "name"));
  EXPECT_EQ("Be kind.", text(agent, "system"));
  EXPECT_EQ(R"(["red"])", agent.find("tags")->dump());
  EXPECT_EQ(R"({"m":1})", agent.find("metadata")->dump());
  EXPECT_EQ(R"([{"tool_name":"add","type":"exit_loop"}])", agent.find("tool_rules")->dump());
  EXPECT_EQ(2U, agent.find("message_ids")->items().size());
  EXPECT_EQ("Ann", text(agent.find("blocks")->items().front(), "value"));
  EXPECT_EQ("old;new;", said(id));
  const Json messages = expect(200, "GET", "/v1/agents/" + id + "/messages");
  EXPECT_EQ("2025-10-10T07:14:29+00:00", text(messages.items().front(), "date"));
  // It goes on living.
  expect(200, "POST", "/v1/agents/" + id + "/messages", say("hi"));

  const auto file = Json::parse(exported(id));
  const Json& out = file->find("agents")->items().front();
  EXPECT_EQ(R"({"kept":[1,2.50]})", out.find("zzz")->dump());
  EXPECT_EQ(R"(["message-0","message-2","message-3","message-4"])",
            out.find("in_context_message_ids")->dump());
  EXPECT_EQ("gpt-9", text(out.find("messages")->items().front(), "model"));
  EXPECT_EQ("x/gpt-9", text(*out.find("llm_config"), "handle"));
  EXPECT_EQ("kept", text(*file, "unknown"));
  EXPECT_EQ("red", text(file->find("blocks")->items().front(), "color"));
  EXPECT_EQ(R"(["tool-0","tool-1"])", out.find("tool_ids")->dump());
  const auto& tools = file->find("tools")->items();
  EXPECT_EQ("def add(): ...", text(tools.at(0), "source_code"));
  EXPECT_EQ(R"([{"name":"x"}])", tools.at(0).find("pip_requirements")->dump());
  EXPECT_EQ("theirs", text(tools.at(1), "description"));
}

TEST_F(Import, ExportIsStable) {
  const std::string first = exported(imported(small_file()));
  const std::string second = exported(imported(first));
  EXPECT_EQ(first, second);
  EXPECT_EQ(second, exported(imported(second)));

  // Also of an agent that was made and has lived here.
  const std::string native = create_agent();
  expect(200, "POST", "/v1/agents/" + native + "/messages", say("hi"));
  const std::string own = exported(native);
  const std::string again = exported(imported(own));
  EXPECT_EQ(own, again);
}

TEST_F(Import, WhatChangesLaterIsExportedInsteadOfTheFilesWords) {
  const std::string id = imported(small_file());
  expect(200, "PATCH", "/v1/agents/" + id,
         R"({"name":"anna","model":"openai/gpt-4o-mini","context_window_limit":8000,"tags":["b"]})");
  const auto file = Json::parse(exported(id));
  const Json& out = file->find("agents")->items().front();
  EXPECT_EQ("anna", text(out, "name"));
  EXPECT_EQ("openai/gpt-4o-mini", text(out, "model"));
  EXPECT_EQ("openai/gpt-4o-mini", text(*out.find("llm_config"), "handle"));
  EXPECT_EQ("8000", out.find("llm_config")->find("context_window")->dump());
  EXPECT_EQ(R"(["b"])", out.find("tags")->dump());
}

TEST_F(Import, OptionsOfTheForm) {
  const auto name_of = [this](const Json& answer) {
    return text(expect(200, "GET", "/v1/agents/" + answer.find("agent_ids")->items().front().as_string()),
                "name");
  };
  EXPECT_EQ("ann_copy", name_of(import(200, small_file(), {{"append_copy_suffix", "true"}})));
  EXPECT_EQ("bob", name_of(import(200, small_file(), {{"name", "bob"}})));
  const Json stripped =
      import(200, small_file(), {{"strip_messages", "true"}, {"model", "openai/gpt-4o-mini"}});
  EXPECT_EQ(nullptr, stripped.find("replaced_models"));
  const std::string id = stripped.find("agent_ids")->items().front().as_string();
  EXPECT_EQ("", said(id));
  EXPECT_EQ(1U, listed("/v1/agents/" + id + "/messages"));  // The system message.
  import(404, small_file(), {{"model", "x/unknown"}});
  import(422, small_file(), {{"strip_messages", "maybe"}});
  import(422, small_file(), {{"secrets", R"({"K":"v"})"}});
  const std::size_t before = records();
  import(422, small_file().substr(0, 900));
  expect(422, "POST", kPath, "{}");
  expect(422, "POST", kPath, "--B--", headers(""));
  EXPECT_EQ(before, records());
}

TEST_F(Import, NobodySeesAnImportBeforeItIsSealed) {
  const std::string key = "k1";
  const auto pending = begin("POST", kPath, form(long_file(12), {}), headers(key));
  const std::size_t before = records();
  while (records() < before + 4 && step()) {
  }
  ASSERT_FALSE(pending->has_value());
  restart();  // Nobody goes on with it.
  EXPECT_EQ(0U, listed("/v1/agents/"));
  EXPECT_EQ(0U, listed("/v1/blocks/"));
  const std::string id =
      "agent-" +
      derived_uuid(command_id_from_text("key POST " + std::string(kPath) + "\n" + key), "agent", 0);
  expect(404, "GET", "/v1/agents/" + id);
  expect(404, "GET", "/v1/agents/" + id + "/messages");
  expect(404, "GET", "/v1/agents/" + id + "/export");
  expect(404, "PATCH", "/v1/agents/" + id, R"({"name":"x"})");
  expect(404, "POST", "/v1/agents/" + id + "/messages", say("hi"));
  expect(404, "DELETE", "/v1/agents/" + id);
  const Partition home = partition_of(StreamId{id}, world_->options().partitions);
  const auto unsealed = world_->node().shard(home)->peek(StreamId{id});
  ASSERT_TRUE(unsealed.has_value());
  const std::string block = unsealed->agent()->blocks.at(0).block.value();
  const std::string other = create_agent();
  expect(404, "GET", "/v1/blocks/" + block);
  expect(404, "PATCH", "/v1/blocks/" + block, R"({"value":"x"})");
  expect(404, "DELETE", "/v1/blocks/" + block);
  expect(404, "PATCH", "/v1/agents/" + other + "/core-memory/blocks/attach/" + block);
  expect(200, "DELETE", "/v1/agents/" + other);
  const Json theirs = expect(200, "GET", "/v1/blocks/");
  expect(200, "DELETE", "/v1/blocks/" + text(theirs.items().at(0), "id"));
  restart();  // Also from a snapshot.
  expect(404, "PATCH", "/v1/blocks/" + block, R"({"value":"x"})");
  expect(200, "POST", kPath, form(long_file(12), {}), headers(key));
  EXPECT_EQ(1U, listed("/v1/agents/"));
  EXPECT_EQ(1U, listed("/v1/blocks/"));
  EXPECT_EQ(13U, listed("/v1/agents/" + id + "/messages?limit=100"));
  expect(200, "PATCH", "/v1/blocks/" + block, R"({"value":"mine"})");
  expect(200, "PATCH", "/v1/agents/" + id + "/core-memory/blocks/human", R"({"value":"ours"})");
}

TEST_F(Import, GoesOnWithItsKeyWhereverItWasCut) {
  const std::string file = long_file(9);
  std::set<std::string> ids;
  std::string whole;
  for (std::size_t cut = 1; cut <= 8; ++cut) {
    SCOPED_TRACE("killed after " + std::to_string(cut) + " records");
    start("{}", cut);
    const std::size_t before = records();
    const auto pending = begin("POST", kPath, form(file, {{"append_copy_suffix", "false"}}), headers("k1"));
    while (records() < before + cut && !pending->has_value() && step()) {
    }
    restart();
    const std::string id = imported(file, "k1");
    ids.insert(id);
    EXPECT_EQ(1U, listed("/v1/agents/"));
    EXPECT_EQ(1U, listed("/v1/blocks/"));
    EXPECT_EQ(10U, listed("/v1/agents/" + id + "/messages?limit=100"));
    const std::string out = exported(id);
    if (whole.empty()) whole = out;
    EXPECT_EQ(whole, out);
    const std::size_t after = records();
    EXPECT_EQ(id, imported(file, "k1"));  // Once more changes nothing.
    EXPECT_EQ(after, records());
    import(409, small_file(), {}, "k1");  // Another file with the same key.
  }
  EXPECT_EQ(1U, ids.size());
}

TEST_F(Import, AFileWithoutAKeyIsAnotherAgentEachTimeAndToolsAreShared) {
  EXPECT_NE(imported(small_file()), imported(small_file()));
  EXPECT_EQ(2U, listed("/v1/agents/"));
  const std::string both =
      file(agent("a", message("system", "m1", "S")) + "," + agent("b", message("user", "m1", "u")));
  const Json answer = import(200, both);
  ASSERT_EQ(2U, answer.find("agent_ids")->items().size());
  const std::string second = answer.find("agent_ids")->items().at(1).as_string();
  // Its history does not begin with a system message: one is made.
  EXPECT_EQ(2U, listed("/v1/agents/" + second + "/messages"));
  EXPECT_EQ(4U, listed("/v1/agents/"));
}

TEST_F(Import, ADeletedImportStaysDeleted) {
  const std::string id = imported(small_file(), "k1");
  expect(200, "DELETE", "/v1/agents/" + id);
  EXPECT_EQ(id, imported(small_file(), "k1"));
  expect(404, "GET", "/v1/agents/" + id);
}

}  // namespace
}  // namespace varve
