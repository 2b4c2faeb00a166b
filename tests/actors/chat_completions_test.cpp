// The chat completions format: what a request looks like, what failures are called, how lists are read.
#include "actors/chat_completions.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

std::shared_ptr<const Message> message(Role role, std::string content, std::vector<ToolCall> calls = {}) {
  auto made = std::make_shared<Message>();
  made->role = role;
  made->content = std::move(content);
  made->tool_calls = std::move(calls);
  return made;
}
std::shared_ptr<const Message> result_of(std::string call, std::string text) {
  auto made = std::make_shared<Message>();
  made->role = Role::tool;
  made->tool_call_id = std::move(call);
  append_json_string(made->content = "", text);
  return made;
}

// The messages of a request's body without their brackets.
std::string messages_of(std::vector<std::shared_ptr<const Message>> messages) {
  ModelRequest request;
  for (auto& message : messages) request.messages.push_back(std::move(message));
  const auto body = Json::parse(chat_request_body(request, {"m"}));
  EXPECT_TRUE(body);
  const std::string list = body->find("messages")->dump();
  return list.substr(1, list.size() - 2);
}

// ---- requests

TEST(ChatRequest, HasTheSystemMessageFirstAndNothingThatNobodyAskedFor) {
  ModelRequest request;
  request.model = "openai/gpt-4o-mini";
  request.system = "Be kind.";
  request.messages = {message(Role::user, R"("hi")"), message(Role::system, R"("[event]")"),
                      message(Role::assistant, R"("hello")"), message(Role::summary, R"("long ago")"),
                      message(Role::approval, R"("yes")")};
  EXPECT_EQ(R"({"model":"gpt-4o-mini","messages":[{"role":"system","content":"Be kind."},)"
            R"({"role":"user","content":"hi"},{"role":"system","content":"[event]"},)"
            R"({"role":"assistant","content":"hello"},{"role":"user","content":"long ago"}]})",
            chat_request_body(request, {"gpt-4o-mini"}));
}

TEST(ChatRequest, PassesTheSettingsThatAreSet) {
  const auto body = [](std::string settings, std::string field, bool tools) {
    ModelRequest request;
    request.settings = std::move(settings);
    if (tools) request.tools = {{"f", "F.", "{}"}};
    const std::string text = chat_request_body(request, {"m", std::move(field)});
    const std::string head = R"({"model":"m","messages":[])";
    const std::string with_tools =
        R"(,"tools":[{"type":"function","function":{"name":"f","description":"F.","parameters":{}}}])";
    return text.substr(head.size() + (tools ? with_tools.size() : 0));
  };
  const std::string all =
      R"({"temperature":0.70,"max_output_tokens":16384,"parallel_tool_calls":true,)"
      R"("response_format":{"type":"json_object"},"provider_type":"openai","strict":false})";
  EXPECT_EQ(R"(,"temperature":0.70,"max_completion_tokens":16384,"response_format":{"type":"json_object"}})",
            body(all, "max_completion_tokens", false));
  EXPECT_EQ(R"(,"temperature":0.70,"max_tokens":16384,"parallel_tool_calls":true,)"
            R"("response_format":{"type":"json_object"}})",
            body(all, "max_tokens", true));
  EXPECT_EQ(R"(,"temperature":0.70,"response_format":{"type":"json_object"}})", body(all, "", false));
  EXPECT_EQ("}", body(R"({"temperature":null,"max_output_tokens":null,"response_format":null})", "x", true));
  EXPECT_EQ("}", body(R"({"temperature":"hot","max_output_tokens":-1,"parallel_tool_calls":1})", "x", true));
  EXPECT_EQ("}", body(R"({"max_output_tokens":1.5})", "x", true));
  EXPECT_EQ("}", body("nonsense", "x", true));
}

TEST(ChatRequest, AsksForAStreamWithUsage) {
  ModelRequest request;
  request.on_delta = [](const ModelDelta&) {};
  EXPECT_EQ(R"({"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}})",
            chat_request_body(request, {"m"}));
}

TEST(ChatRequest, OffersToolsAndSaysWhichToTake) {
  ModelRequest request;
  request.tools = {{"insert", "Adds \"text\".", R"({"type":"object","properties":{"n":{"maximum":1.50}}})"},
                   {"broken", "", "{"}};
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"insert","description":"Adds \"text\".",)"
      R"("parameters":{"type":"object","properties":{"n":{"maximum":1.50}}}}},{"type":"function","function":)"
      R"({"name":"broken","description":"","parameters":{"type":"object","properties":{}}}}])";
  const std::vector<std::pair<std::string, std::string>> choices{
      {"", ""},
      {"auto", R"(,"tool_choice":"auto")"},
      {"required", R"(,"tool_choice":"required")"},
      {"none", R"(,"tool_choice":"none")"},
      {"insert", R"(,"tool_choice":{"type":"function","function":{"name":"insert"}})"}};
  for (const auto& [choice, printed] : choices) {
    request.tool_choice = choice;
    EXPECT_EQ(R"({"model":"m","messages":[],)" + tools + printed + "}", chat_request_body(request, {"m"}));
  }
  request.tools.clear();
  EXPECT_EQ(R"({"model":"m","messages":[]})", chat_request_body(request, {"m"}));
}

TEST(ChatRequest, SendsImages) {
  const std::vector<std::pair<std::string, std::string>> contents{
      {R"([{"type":"text","text":"one"}])", R"("one")"},
      {R"([])", R"("")"},
      {R"([{"type":"text","text":"a"},{"type":"text","text":"b"}])",
       R"([{"type":"text","text":"a"},{"type":"text","text":"b"}])"},
      {R"([{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"QUJD"}}])",
       R"([{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,QUJD","detail":"auto"}}])"},
      {R"([{"type":"image","source":{"type":"base64","data":"QUJD","detail":"low"}}])",
       R"([{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD","detail":"low"}}])"},
      {R"([{"type":"text","text":"see"},{"type":"image","source":{"type":"url","url":"https://x/y.png"}}])",
       R"([{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"https://x/y.png","detail":"auto"}}])"},
      {R"([{"type":"image","source":7},{"type":"video"},3])",
       R"([{"type":"text","text":"[a part that cannot be shown]"},)"
       R"({"type":"text","text":"[a part that cannot be shown]"},)"
       R"({"type":"text","text":"[a part that cannot be shown]"}])"},
  };
  for (const auto& [content, printed] : contents) {
    EXPECT_EQ(R"({"role":"user","content":)" + printed + "}", messages_of({message(Role::user, content)}));
  }
  // Only users may send them.
  EXPECT_EQ(R"({"role":"assistant","content":"a"})",
            messages_of({message(Role::assistant, R"([{"type":"image"},{"type":"text","text":"a"}])")}));
}

// Only as OpenAI takes names: with another one it would refuse the whole conversation.
TEST(ChatRequest, TellsWhoSpeaks) {
  const auto said_by = [](std::string name) {
    Message said;
    said.content = R"("hi")";
    said.name = std::move(name);
    return messages_of({std::make_shared<const Message>(std::move(said))});
  };
  EXPECT_EQ(R"({"role":"user","content":"hi","name":"carol_B-2"})", said_by("carol_B-2"));
  for (const std::string& odd : {std::string{}, std::string{"Ann Lee"}, std::string(65, 'a')}) {
    EXPECT_EQ(R"({"role":"user","content":"hi"})", said_by(odd)) << odd;
  }
}

std::string printed_call(const std::string& id, const std::string& arguments) {
  std::string text = R"({"id":")" + id + R"(","type":"function","function":{"name":"f","arguments":)";
  append_json_string(text, arguments);
  return text + "}}";
}
std::string printed_assistant(const std::string& calls) {
  return R"({"role":"assistant","content":"","tool_calls":[)" + calls + "]}";
}
std::string printed_result(const std::string& id, const std::string& text) {
  return R"({"role":"tool","tool_call_id":")" + id + R"(","content":")" + text + R"("})";
}

TEST(ChatRequest, RepairsWhatTrimmingHasTornApart) {
  const std::string missing = "The result of this call is missing.";
  const auto call = [](std::string id) { return ToolCall{std::move(id), "f", "{}"}; };
  // Whole.
  EXPECT_EQ(printed_assistant(printed_call("a", "{}")) + "," + printed_result("a", "A"),
            messages_of({message(Role::assistant, R"("")", {call("a")}), result_of("a", "A")}));
  // A result whose call is gone, or comes only later.
  EXPECT_EQ(R"({"role":"user","content":"u"})",
            messages_of({result_of("a", "A"), message(Role::user, R"("u")"), result_of("b", "B")}));
  EXPECT_EQ(printed_assistant(printed_call("a", "{}")) + "," + printed_result("a", missing),
            messages_of({result_of("a", "A"), message(Role::assistant, "null", {call("a")})}));
  // A call without its result, and one whose result comes late and out of order.
  EXPECT_EQ(printed_assistant(printed_call("a", "{}") + "," + printed_call("b", "{}") + "," +
                              printed_call("c", "{}")) +
                "," + printed_result("a", "A") + "," + printed_result("b", missing) + "," +
                printed_result("c", "C") + R"(,{"role":"user","content":"u"})",
            messages_of({message(Role::assistant, R"("")", {call("a"), call("b"), call("c")}),
                         result_of("c", "C"), message(Role::user, R"("u")"), result_of("a", "A")}));
  // One id used twice: each call has its own result.
  const std::string once = printed_assistant(printed_call("a", "{}"));
  EXPECT_EQ(once + "," + printed_result("a", "1") + "," + once + "," + printed_result("a", "2"),
            messages_of({message(Role::assistant, R"("")", {call("a")}), result_of("a", "1"),
                         message(Role::assistant, R"("")", {call("a")}), result_of("a", "2")}));
}

TEST(ChatRequest, SendsOnlyArgumentsThatAreJson) {
  const std::vector<std::pair<std::string, std::string>> arguments{
      {R"({"a":1.50})", R"({"a":1.50})"},
      {"", "{}"},
      {R"({"a":)", R"({"malformed_arguments":"{\"a\":"})"},
      {"[1]", R"({"malformed_arguments":"[1]"})"}};
  for (const auto& [from, to] : arguments) {
    EXPECT_EQ(printed_assistant(printed_call("a", to)) + "," + printed_result("a", "A"),
              messages_of({message(Role::assistant, R"("")", {{"a", "f", from}}), result_of("a", "A")}));
  }
}

// ---- failures and lists

TEST(ChatFailure, MapsEveryStatus) {
  const std::vector<std::tuple<int, int, std::string>> statuses{
      {400, 400, "llm_bad_request"},    {404, 400, "llm_bad_request"},    {422, 400, "llm_bad_request"},
      {401, 401, "llm_authentication"}, {403, 401, "llm_authentication"}, {429, 429, "llm_rate_limit"},
      {408, 504, "llm_timeout"},        {504, 504, "llm_timeout"},        {500, 500, "llm_error"},
      {503, 500, "llm_error"},          {402, 500, "llm_error"},          {302, 500, "llm_error"}};
  for (const auto& [from, to, type] : statuses) {
    const ModelFailure failure = failure_of_status("p", from, "");
    EXPECT_EQ(to, failure.status) << from;
    EXPECT_EQ(type, failure.error_type) << from;
    EXPECT_EQ("p answered HTTP " + std::to_string(from), failure.message);
  }
}

TEST(ChatFailure, RepeatsTheProvidersWordsInEveryFormTheyTake) {
  for (const char* body :
       {R"({"error":{"message":"too big","type":"x"}})", R"({"error":"too big"})", R"({"message":"too big"})",
        R"({"detail":"too big"})", R"([{"error":{"message":"too big"}}])"}) {
    EXPECT_EQ("p answered HTTP 400: too big", failure_of_status("p", 400, body).message) << body;
  }
  for (const char* body : {"<html>", "[]", "{}", "7", R"({"error":{"message":7}})", R"({"detail":[]})"}) {
    EXPECT_EQ("p answered HTTP 400", failure_of_status("p", 400, body).message) << body;
  }
  const std::string chatty = R"({"error":")" + std::string(5000, 'x') + R"("})";
  EXPECT_EQ(std::string("p answered HTTP 500: ").size() + kProviderWordsMax,
            failure_of_status("p", 500, chatty).message.size());
}

TEST(ChatModels, AreReadFromTheList) {
  const auto models =
      parse_model_list(R"({"data":[{"id":"a"},{"id":""},{"id":7},{},3,{"id":"b","max_model_len":4096},)"
                       R"({"id":"x/c","context_length":200000},{"id":"d","context_length":-1}]})");
  ASSERT_TRUE(models);
  EXPECT_EQ((std::vector<ListedModel>{{"a", 0}, {"b", 4096}, {"x/c", 200000}, {"d", 0}}), *models);
  for (const char* body : {"", "[]", "{}", R"({"data":{}})", "<html>"}) EXPECT_FALSE(parse_model_list(body));
  std::string many = R"({"data":[{"id":"a"})";
  for (std::size_t i = 0; i < kListedModelsMax; ++i) many += R"(,{"id":"a"})";
  EXPECT_EQ(kListedModelsMax, parse_model_list(many + "]}")->size());
  EXPECT_EQ(
      0u, parse_model_list(R"({"data":[{"id":")" + std::string(kModelNameMax + 1, 'x') + R"("}]})")->size());
}

TEST(ChatModels, KnowsEmbeddingModels) {
  EXPECT_TRUE(is_embedding_model("text-embedding-3-large"));
  EXPECT_TRUE(is_embedding_model("nomic-embed-text"));
  EXPECT_FALSE(is_embedding_model("gpt-4o"));
  EXPECT_EQ(3072, embedding_dim_of("text-embedding-3-large"));
  EXPECT_EQ(1536, embedding_dim_of("text-embedding-3-small"));
}

TEST(ChatJson, IsMendedWhereItIsNoText) {
  const std::vector<std::pair<std::string, std::string>> texts{
      {R"("a\u0000b")",
       "a\xef\xbf\xbd"
       "b"},
      {R"("\ud83d\ude00")", "\xf0\x9f\x98\x80"},
      {R"("\u0000\ud83d\ude00")", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
      {R"("\ud83d")", "\xef\xbf\xbd"},
      {R"("\ude00x")", "\xef\xbf\xbdx"},
      {R"("\uD83D\uD83D\uDE00")", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
      {R"("\\u0000\u0000")", "\\u0000\xef\xbf\xbd"},
      {"\"\xff\"", "\xef\xbf\xbd"},
  };
  for (const auto& [json, text] : texts) {
    const auto parsed = parse_mended_json(json);
    ASSERT_TRUE(parsed) << json;
    EXPECT_EQ(text, parsed->as_string()) << json;
  }
  for (const char* broken : {"\"\\", "\"\\u", "\"\\u00", "\"\\u000\"", "\"\\ud83d\\", "\\", ""}) {
    EXPECT_FALSE(parse_mended_json(broken)) << broken;
  }
}

}  // namespace
}  // namespace varve
