// Reading agent files: the formats, what is kept, what is refused and how the place is named.
#include "api/agent_file.h"

#include <gtest/gtest.h>

#include "api/json_place.h"

namespace varve {
namespace {

// A file of the current format, with room for damage.
std::string file_with(const std::string& messages, const std::string& agent_members = "",
                      const std::string& rest = "") {
  return R"({"agents":[{"name":"ann","system":"Be kind.","agent_type":"letta_v1_agent","id":"agent-7",)"
         R"("tags":["t","t"],"tool_ids":["tool-1","tool-0"],"block_ids":["block-4"],"zzz":{"deep":[1,2.50]},)"
         R"("llm_config":{"model":"gpt-9","model_endpoint_type":"openai","context_window":9000},)"
         R"("in_context_message_ids":["m1","m2"],"messages":[)" +
         messages + "]" + agent_members +
         R"(}],"groups":[],"blocks":[{"id":"block-4","label":"human","value":"Ann","limit":10,"color":"red"}],)"
         R"("tools":[{"id":"tool-0","name":"memory_insert","tool_type":"letta_core","description":"theirs"},)"
         R"({"id":"tool-1","name":"add","source_code":"def add(): ...","pip_requirements":null}],)"
         R"("metadata":{"revision_id":"r1"},"created_at":"2025-01-01T00:00:00+00:00")" +
         rest + "}";
}

constexpr const char* kSystem = R"({"id":"m1","role":"system","content":[{"type":"text","text":"S"}]})";

AgentFile parsed(const std::string& text) {
  auto file = parse_agent_file(text);
  EXPECT_TRUE(file) << (file ? "" : file.error().message);
  return file ? std::move(*file) : AgentFile{};
}

std::string refusal(const std::string& text) {
  const auto file = parse_agent_file(text);
  if (file) return "fine";
  EXPECT_EQ(Errc::invalid_argument, file.error().code);
  return file.error().message;
}

TEST(AgentFileReading, TheCurrentFormat) {
  const AgentFile file = parsed(file_with(
      std::string(kSystem) +
      R"(,{"id":"m2","role":"assistant","content":null,"model":"gpt-9","created_at":"2025-10-10T07:14:29.912336+00:00",)"
      R"("tool_calls":[{"id":"c1","function":{"arguments":"{}","name":"add"},"type":"function"}]},)"
      R"({"id":"m3","role":"tool","tool_call_id":"c1","name":"add","content":[{"type":"text","text":"2"}],)"
      R"("tool_returns":[{"tool_call_id":"c1","status":"error","stdout":["o"],"stderr":null,"func_response":"2"}]})"));
  ASSERT_EQ(1U, file.agents.size());
  const ImportedAgent& agent = file.agents[0];
  EXPECT_EQ("ann", agent.settings.name);
  EXPECT_EQ("openai/gpt-9", agent.settings.model);
  EXPECT_EQ(9000, agent.settings.context_window);
  EXPECT_EQ(std::vector<std::string>{"t"}, agent.settings.tags);
  EXPECT_EQ((std::vector<std::string>{"add", "memory_insert"}), agent.tool_names);
  ASSERT_EQ(1U, agent.blocks.size());
  EXPECT_EQ("human", agent.blocks[0].label);
  EXPECT_EQ(R"({"color":"red"})", agent.blocks[0].extra);
  ASSERT_EQ(1U, file.tools.size());  // The built-in one is code here; how the file describes it is kept.
  EXPECT_EQ("add", file.tools[0].name);
  EXPECT_EQ(R"({"pip_requirements":null})", file.tools[0].extra);
  const auto extra = Json::parse(agent.settings.extra);
  const Json* kept = extra->find("agent_file");
  EXPECT_EQ(R"({"deep":[1,2.50]})", kept->find("agent")->find("zzz")->dump());
  EXPECT_EQ(R"({"groups":[],"metadata":{"revision_id":"r1"}})", kept->find("file")->dump());
  EXPECT_EQ("theirs", kept->find("tools")->find("memory_insert")->find("description")->as_string());

  ASSERT_EQ(3U, agent.messages.size());
  EXPECT_EQ((std::vector<bool>{true, true, false}), agent.in_context);
  const Message& call = agent.messages[1];
  EXPECT_EQ("add", call.tool_calls.at(0).name);
  EXPECT_EQ("2025-10-10T07:14:29.912336+00:00", format_file_time(call.sent_at));
  EXPECT_EQ(R"({"model":"gpt-9"})", call.extra);
  const Message& returned = agent.messages[2];
  EXPECT_EQ("c1", returned.tool_call_id);
  EXPECT_TRUE(returned.is_error);
  EXPECT_EQ(R"(["o"])", returned.stdout_lines);
  EXPECT_EQ("", returned.extra);
}

TEST(AgentFileReading, TheOlderFormat) {
  const AgentFile file = parsed(
      R"({"name":"old","agent_type":"memgpt_agent","system":"S","version":"0.1","metadata_":{"k":1},)"
      R"("core_memory":[{"label":"human","value":"Ann","limit":5,"metadata_":{"m":2},"created_at":"x"}],)"
      R"("messages":[{"role":"system","content":"S"},{"role":"user","content":"hi"}],)"
      R"("in_context_message_indices":[0],"tool_exec_environment_variables":[{"key":"K","value":""}],)"
      R"("tools":[{"name":"add","json_schema":{"name":"add"}}]})");
  const ImportedAgent& agent = file.agents.at(0);
  EXPECT_EQ(R"({"k":1})", agent.settings.metadata);
  EXPECT_EQ(R"({"m":2})", agent.blocks.at(0).metadata);
  EXPECT_EQ((std::vector<bool>{true, false}), agent.in_context);
  EXPECT_EQ(std::vector<std::string>{"add"}, agent.tool_names);
  const auto extra = Json::parse(agent.settings.extra);
  EXPECT_EQ("0.1", extra->find("agent_file")->find("agent")->find("version")->as_string());
  EXPECT_EQ(nullptr, extra->find("agent_file")->find("agent")->find("tools"));
}

TEST(AgentFileReading, AFileInAFileIsTheSame) {
  const std::string plain = file_with(kSystem);
  std::string once;
  append_json_string(once, plain);
  std::string twice;
  append_json_string(twice, once);
  EXPECT_EQ(parsed(plain).agents[0].settings, parsed(once).agents[0].settings);
  EXPECT_EQ(parsed(plain).agents[0].messages, parsed(twice).agents[0].messages);
  std::string thrice;
  append_json_string(thrice, twice);
  EXPECT_EQ("file: expected a JSON object, got a string", refusal(thrice));
}

TEST(AgentFileReading, PartsOfEveryKindAreReadAndKept) {
  const std::string content =
      R"([{"type":"reasoning","is_native":true,"reasoning":"Hm.","signature":"s"},{"type":"text","text":"T"},)"
      R"({"type":"tool_call","id":"c1","name":"add","input":{"a":1}}])";
  const AgentFile file = parsed(file_with(R"({"id":"m1","role":"assistant","content":)" + content + "}"));
  const Message& message = file.agents[0].messages[0];
  EXPECT_EQ("Hm.", message.reasoning);
  EXPECT_EQ("T", text_of(message));
  EXPECT_EQ((ToolCall{"c1", "add", R"({"a":1})"}), message.tool_calls.at(0));
  EXPECT_EQ(content, file_message(message, "message-0", "agent-0").find("content")->dump());
}

TEST(AgentFileReading, ManyReturnsOfOneMessageAnswerEachCallAndAreOneMessageAgain) {
  const std::string returns =
      R"([{"tool_call_id":"c1","status":"success","stdout":null,"stderr":null,"func_response":"1"},)"
      R"({"tool_call_id":"c2","status":"error","stdout":null,"stderr":null,"func_response":"2"}])";
  const AgentFile file = parsed(file_with(
      std::string(kSystem) + R"(,{"id":"m2","role":"tool","content":null,"tool_returns":)" + returns + "}"));
  const auto& messages = file.agents[0].messages;
  ASSERT_EQ(3U, messages.size());
  EXPECT_EQ("c1", messages[1].tool_call_id);
  EXPECT_EQ("1", text_of(messages[1]));
  EXPECT_EQ("c2", messages[2].tool_call_id);
  EXPECT_EQ("2", text_of(messages[2]));
  EXPECT_TRUE(messages[2].is_error);
  EXPECT_EQ(returns, file_message(messages[1], "x", "y").find("tool_returns")->dump());
  EXPECT_NE(std::string::npos, messages[2].extra.find(kContinues));
}

TEST(AgentFileReading, AClientsDecisionIsTheContentOfItsMessage) {
  const AgentFile file = parsed(file_with(
      R"({"role":"approval","content":null,"approve":false,"approval_request_id":"m0","denial_reason":"no","approvals":[{"a":1}]})"));
  const Message& message = file.agents[0].messages.at(0);
  EXPECT_EQ(Role::approval, message.role);
  EXPECT_EQ(R"({"approvals":[{"a":1}],"approve":false,"approval_request_id":"m0","reason":"no"})",
            message.content);
  EXPECT_EQ("", message.extra);
  const Json again = file_message(message, "", "");
  EXPECT_EQ("no", again.find("denial_reason")->as_string());
  EXPECT_EQ("agents[0].messages[0].approvals: expected a list, got an object",
            refusal(file_with(R"({"role":"approval","approvals":{}})")));
}

TEST(AgentFileReading, WhatAMessageSaysIsWrittenAgain) {
  for (
      const char* text :
      {R"({"role":"user","content":"plain","otid":"o1","sender_id":"s","batch_item_id":"b","created_at":"2025-10-10T07:14:29+00:00"})",
       R"({"role":"approval","content":null,"tool_calls":[{"id":"c","function":{"arguments":"{}","name":"n"},"type":"function"}]})",
       R"({"role":"approval","content":[],"approve":true,"approval_request_id":"message-1","denial_reason":null,"approvals":[{"a":1}]})",
       R"({"role":"user","content":[{"type":"image","source":{"type":"base64","data":"aGk="}},{"type":"text","text":"x"}]})",
       R"({"role":"tool","content":[{"type":"text","text":"r"}],"tool_call_id":"c","tool_returns":[],"unknown":[null]})"}) {
    const AgentFile file = parsed(file_with(text));
    const Json again = file_message(file.agents[0].messages.at(0), "", "");
    const auto original = Json::parse(text);
    for (const auto& [key, value] : original->members()) {
      ASSERT_NE(nullptr, again.find(key)) << key << " of " << text;
      EXPECT_EQ(value.dump(), again.find(key)->dump()) << key;
    }
  }
}

TEST(AgentFileReading, NamesThePlaceOfWhatDoesNotFit) {
  const std::string two = std::string(kSystem) + ",";
  EXPECT_EQ("agents[0].messages[1].role: expected a string, got a number",
            refusal(file_with(two + R"({"role":7})")));
  EXPECT_EQ("agents[0].messages[1].role: field required", refusal(file_with(two + "{}")));
  EXPECT_EQ("agents[0].messages[1]: expected an object, got a list", refusal(file_with(two + "[]")));
  EXPECT_EQ(
      "agents[0].messages[1].role: expected system, user, assistant, tool, approval or summary, got 'robot'",
      refusal(file_with(two + R"({"role":"robot"})")));
  EXPECT_EQ("agents[0].messages[1].content[0].text: expected a string",
            refusal(file_with(two + R"({"role":"user","content":[{"type":"text"}]})")));
  EXPECT_EQ("agents[0].messages[1].tool_calls[0].function.name: expected a string",
            refusal(file_with(two + R"({"role":"assistant","tool_calls":[{"id":"c","function":{}}]})")));
  EXPECT_EQ(
      "agents[0].messages[1].created_at: expected a time such as 2025-10-10T07:14:29.912336+00:00, got "
      "'noon'",
      refusal(file_with(two + R"({"role":"user","created_at":"noon"})")));
  EXPECT_EQ("agents[0].name: expected a string, got a list", refusal(file_with(kSystem, R"(,"name":[])")));
  EXPECT_EQ("agents[0].tool_ids[0]: the file has no tool 'tool-9'",
            refusal(file_with(kSystem, R"(,"tool_ids":["tool-9"])")));
  EXPECT_EQ("agents[0].block_ids[0]: the file has no block 'block-9'",
            refusal(file_with(kSystem, R"(,"block_ids":["block-9"])")));
  EXPECT_EQ("blocks[0].label: field required", refusal(file_with(kSystem, "", R"(,"blocks":[{"id":"b"}])")));
  EXPECT_EQ("tools[0].json_schema: expected an object, got a string",
            refusal(file_with(kSystem, "", R"(,"tools":[{"name":"x","json_schema":"s"}])")));
  EXPECT_EQ("agents[0].secrets: secrets cannot be kept safely yet; empty their values",
            refusal(file_with(kSystem, R"(,"secrets":{"K":"v"})")));
  EXPECT_EQ("file: expected a JSON object, got a list", refusal("[]"));
  EXPECT_NE(std::string::npos, refusal("{}").find("agents: expected a list of at least one agent"));
}

TEST(AgentFileReading, NamesThePlaceOfBrokenTextAndBrokenJson) {
  const std::string zero =
      refusal(file_with(std::string(kSystem) + R"(,{"role":"user","content":"a\u0000b"})"));
  EXPECT_NE(std::string::npos, zero.find("(at agents[0].messages[1].content)")) << zero;
  const std::string lone = refusal(file_with(R"({"role":"user","content":"\udc00"})"));
  EXPECT_NE(std::string::npos, lone.find("(at agents[0].messages[0].content)")) << lone;
  const std::string whole = file_with(kSystem);
  const std::string cut = refusal(whole.substr(0, whole.find("\"color\"")));
  EXPECT_NE(std::string::npos, cut.find("(at blocks[0]")) << cut;
  EXPECT_EQ("a.b[2].c", json_path_at(R"({"x":[],"a":{"b":[1,{"y":","},{"c": )", 1000));
  EXPECT_EQ("", json_path_at("", 5));
}

TEST(AgentFileReading, LimitsAreRefused) {
  std::string deep = "1";
  for (int i = 0; i < 45; ++i) deep = "[" + deep + "]";
  EXPECT_EQ("file: nesting is deeper than 40 levels", refusal(file_with(kSystem, ",\"zzz\":" + deep)));
  const std::string large(kImportMessageBytesMax, 'x');
  EXPECT_NE(std::string::npos, refusal(file_with(R"({"role":"user","content":")" + large + "\"}"))
                                   .find("agents[0].messages[0]: a message"));
  EXPECT_NE(std::string::npos,
            refusal(file_with(kSystem, ",\"zzz\":\"" + std::string(kSettingsBytesMax, 'x') + "\""))
                .find("agents[0]: the agent's settings"));
  std::string agents;
  for (std::size_t i = 0; i <= kAgentsPerFileMax; ++i) agents += (i == 0 ? "{}" : ",{}");
  EXPECT_EQ("agents: a file holds at most 100 agents, got 101", refusal("{\"agents\":[" + agents + "]}"));
}

TEST(AgentFileOptions, ModelsNamesAndTheContextFollowWhatIsAskedFor) {
  AgentFile file = parsed(file_with(std::string(kSystem) + R"(,{"id":"m2","role":"user","content":"hi"})"));
  const KnownModels models{{"varve/echo", "openai/gpt-9"}, "varve/echo", {}};
  const auto same = apply_options(file, {.append_copy_suffix = false}, models);
  ASSERT_TRUE(same);
  EXPECT_TRUE(same->empty());
  EXPECT_EQ("ann", file.agents[0].settings.name);
  EXPECT_EQ("openai/gpt-9", file.agents[0].settings.model);

  const KnownModels few{{"varve/echo"}, "varve/echo", {}};
  const auto replaced = apply_options(file, {}, few);
  ASSERT_TRUE(replaced);
  ASSERT_EQ(1U, replaced->size());
  EXPECT_EQ("openai/gpt-9", replaced->front().model);
  EXPECT_EQ("ann_copy", file.agents[0].settings.name);
  EXPECT_EQ("varve/echo", file.agents[0].settings.model);
  EXPECT_EQ(Errc::not_found, apply_options(file, {.model = "x/y"}, few).error().code);

  EXPECT_FALSE(lacks_system_message(file.agents[0]));
  ASSERT_TRUE(apply_options(file, {.strip_messages = true, .name = "bob"}, few));
  EXPECT_EQ("bob", file.agents[0].settings.name);
  EXPECT_TRUE(lacks_system_message(file.agents[0]));
  EXPECT_TRUE(records_of(file.agents[0]).empty());
}

TEST(AgentFileOptions, ALongHistoryBecomesRecordsAndItsOldPartLeavesTheContext) {
  std::string messages = kSystem;
  const std::string text(60'000, 'x');
  for (int i = 0; i < 40; ++i) messages += R"(,{"id":"m2","role":"user","content":")" + text + "\"}";
  AgentFile file = parsed(file_with(messages));
  ASSERT_TRUE(apply_options(file, {}, {{"varve/echo"}, "varve/echo", {}}));
  const auto records = records_of(file.agents[0]);
  EXPECT_GT(records.size(), 2U);
  std::size_t count = 0;
  std::size_t outside = 0;
  for (const AppendImport& record : records) {
    count += record.messages.size();
    outside += record.out_of_context.size();
  }
  EXPECT_EQ(41U, count);
  EXPECT_EQ(40U, outside);  // One alone is more than the window of 9000 tokens; the system message stays.
}

}  // namespace
}  // namespace varve
