// The client of model providers against a provider on loopback that behaves, misbehaves and encrypts
// (provider_stub.py).
#include "actors/openai_model.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "actors/echo_model.h"
#include "actors/model_router.h"
#include "runtime/json.h"
#include "runtime/sync.h"
#include "tests/actors/provider_stub.h"
#include "tests/support/run.h"

namespace varve {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Nothing in these tests takes longer unless it is broken.
constexpr auto kPatience = seconds{30};
constexpr const char* kKey = "sk-secret-of-the-test";

class OpenAiModelTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { stub = new test::ProviderStub; }
  static void TearDownTestSuite() {
    delete stub;
    stub = nullptr;
  }

  static std::string url(const std::string& behaviour, int port = 0) {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    return (port == 0 ? "http" : "https") + std::string{"://127.0.0.1:"} +
           std::to_string(port == 0 ? stub->http : port) + "/" + behaviour + "/" + name + "/v1";
  }
  static OpenAiProvider provider(const std::string& behaviour, std::vector<std::string> models = {"m"}) {
    OpenAiProvider made;
    made.name = behaviour;
    made.base_url = url(behaviour);
    made.api_key = kKey;
    made.models = std::move(models);
    return made;
  }
  std::unique_ptr<OpenAiModel> client_of(std::vector<OpenAiProvider> providers, std::string ca_file = "") {
    OpenAiModel::Options options;
    options.providers = std::move(providers);
    options.ca_file = std::move(ca_file);
    options.retry_pause = milliseconds{1};
    auto made = OpenAiModel::make(env_, std::move(options));
    EXPECT_TRUE(made) << to_string(made.error());
    return std::move(*made);
  }
  std::unique_ptr<OpenAiModel> client_of(const std::string& behaviour) {
    return client_of(std::vector<OpenAiProvider>{provider(behaviour)});
  }

  static ModelRequest request_for(const std::string& behaviour) {
    ModelRequest request;
    request.model = behaviour + "/m";
    auto hello = std::make_shared<Message>();
    hello->content = R"("hello")";
    request.messages.push_back(std::move(hello));
    return request;
  }

  // "text|calls|tokens|stop", "status type message" or "error code".
  static std::string told(const Result<ModelOutcome>& outcome) {
    if (!outcome) return "error " + std::string{to_string(outcome.error().code)};
    if (const auto* failure = std::get_if<ModelFailure>(&*outcome)) {
      return std::to_string(failure->status) + " " + failure->error_type + " " + failure->message;
    }
    const auto& reply = std::get<ModelReply>(*outcome);
    return reply.text + "|" + std::to_string(reply.tool_calls.size()) + "|" +
           std::to_string(reply.prompt_tokens) + "+" + std::to_string(reply.completion_tokens) + "|" +
           reply.stop_reason;
  }
  std::string ask(ModelClient& client, const std::string& behaviour, Duration within = kPatience) {
    return told(test::run(env_, client.complete(request_for(behaviour), env_.now() + within)));
  }
  std::string ask(const std::string& behaviour, Duration within = kPatience) {
    const auto client = client_of(behaviour);
    return ask(*client, behaviour, within);
  }
  // Asks for a stream; the pieces are joined into deltas_.
  std::string stream(const std::string& behaviour, Duration within = kPatience) {
    const auto client = client_of(behaviour);
    return stream(*client, behaviour, within);
  }
  std::string stream(ModelClient& client, const std::string& behaviour, Duration within = kPatience) {
    deltas_.clear();
    ModelRequest request = request_for(behaviour);
    request.on_delta = [this](const ModelDelta& delta) {
      deltas_ +=
          delta.kind == ModelDelta::Kind::tool_call ? "[" + delta.call_id + delta.text + "]" : delta.text;
    };
    return told(test::run(env_, client.complete(std::move(request), env_.now() + within)));
  }
  // How often a behaviour was asked by this test.
  std::int64_t count(const std::string& what) {
    const auto client = client_of("state");
    const auto outcome = test::run(env_, client->complete(request_for("state"), env_.now() + kPatience));
    if (!outcome || !std::holds_alternative<ModelReply>(*outcome)) return -1;
    const auto counts = Json::parse(std::get<ModelReply>(*outcome).text);
    const Json* found = counts ? counts->find(what) : nullptr;
    return found == nullptr ? 0 : found->as_integer().value_or(-1);
  }
  bool comes_to(const std::string& what, std::int64_t wanted) {
    const MonoTime deadline = env_.now() + kPatience;
    while (count(what) < wanted) {
      if (env_.now() > deadline) return false;
    }
    return true;
  }

  static RealEnv::Options logging(std::vector<std::string>& lines) {
    RealEnv::Options options;
    options.log_sink = [&lines](LogLevel level, std::string_view line) {
      lines.push_back((level == LogLevel::warning ? "warning " : "") + std::string{line});
    };
    return options;
  }

  static test::ProviderStub* stub;
  std::vector<std::string> log_;
  std::string deltas_;
  RealEnv env_{logging(log_)};
};

test::ProviderStub* OpenAiModelTest::stub = nullptr;

// ---- asking

TEST_F(OpenAiModelTest, AsksAsTheFormatWants) {
  const auto client = client_of("echo");
  const auto outcome = test::run(env_, client->complete(request_for("echo"), env_.now() + kPatience));
  ASSERT_TRUE(outcome);
  ASSERT_TRUE(std::holds_alternative<ModelReply>(*outcome)) << told(outcome);
  const auto seen = Json::parse(std::get<ModelReply>(*outcome).text);
  ASSERT_TRUE(seen);
  EXPECT_EQ(R"(["/echo/AsksAsTheFormatWants/v1/chat/completions",{"authorization":"Bearer )" +
                std::string{kKey} +
                R"(","content-type":"application/json","accept":"application/json","expect":null},)"
                R"({"model":"m","messages":[{"role":"user","content":"hello"}]}])",
            seen->dump());
}

TEST_F(OpenAiModelTest, SendsLargeConversationsAndNoKeyIfThereIsNone) {
  OpenAiProvider keyless = provider("echo");
  keyless.api_key.clear();
  keyless.base_url += "//";
  const auto client = client_of({keyless});
  ModelRequest request = request_for("echo");
  request.system.assign(700'000, 's');
  const auto outcome = test::run(env_, client->complete(std::move(request), env_.now() + kPatience));
  ASSERT_TRUE(outcome);
  ASSERT_TRUE(std::holds_alternative<ModelReply>(*outcome)) << told(outcome).substr(0, 300);
  const auto seen = Json::parse(std::get<ModelReply>(*outcome).text);
  ASSERT_TRUE(seen);
  EXPECT_TRUE(seen->items()[1].find("authorization")->is_null());
  EXPECT_EQ(700'000u, seen->items()[2].find("messages")->items()[0].find("content")->as_string().size());
}

TEST_F(OpenAiModelTest, StreamsPiecesAsTheyCome) {
  for (const char* behaviour : {"stream", "drip"}) {
    EXPECT_EQ("one two|1|9+4|end_turn", stream(behaviour));
    EXPECT_EQ("one two[c1][{}]", deltas_);
  }
  // A server that does not know streams answers in one piece.
  EXPECT_EQ("ok 1|0|5+1|end_turn", stream("ok"));
  EXPECT_EQ("ok 1", deltas_);
}

TEST_F(OpenAiModelTest, UsesAConnectionAgain) {
  const auto client = client_of("port");
  const std::string first = ask(*client, "port");
  EXPECT_EQ(first, ask(*client, "port"));
  EXPECT_EQ("|0|5+1|end_turn", first.substr(first.find('|')));
}

TEST_F(OpenAiModelTest, DoesNotWaitForAConnectionThatStaysOpenBehindTheReply) {
  EXPECT_EQ("one two|1|9+4|end_turn", stream("linger"));
  EXPECT_TRUE(comes_to("left", 1));
}

TEST_F(OpenAiModelTest, AsksManyAtOnce) {
  const auto client = client_of(std::vector<OpenAiProvider>{provider("drip"), provider("ok")});
  const auto right = std::make_shared<int>(0);
  TaskGroup group(env_);
  for (int i = 0; i < 40; ++i) {
    const std::string behaviour = i % 2 == 0 ? "drip" : "ok";
    const auto one = [](OpenAiModel* model, ModelRequest request, MonoTime by,
                        std::shared_ptr<int> good) -> Task<> {
      const auto outcome = co_await model->complete(std::move(request), by);
      if (outcome && std::holds_alternative<ModelReply>(*outcome)) ++*good;
      co_return ok();
    };
    ASSERT_TRUE(group.spawn("one", one(client.get(), request_for(behaviour), env_.now() + kPatience, right)));
  }
  ASSERT_TRUE(test::run(env_, group.join(env_.now() + kPatience)));
  EXPECT_EQ(40, *right);
}

// ---- failures

TEST_F(OpenAiModelTest, AsksAgainWhereThatCanHelp) {
  EXPECT_EQ("third time|0|5+1|end_turn", ask("fail-twice"));
  EXPECT_EQ(3, count("fail-twice"));
  EXPECT_EQ("waited|0|5+1|end_turn", ask("limited"));
  EXPECT_EQ("one two|1|9+4|end_turn", stream("slam-once"));
  EXPECT_EQ("one two[c1][{}]", deltas_);
  EXPECT_EQ(2, count("slam-once"));
  EXPECT_EQ("500 llm_error status-503 answered HTTP 503: because", ask("status-503"));
  EXPECT_EQ(3, count("status-503"));
  EXPECT_EQ("504 llm_timeout status-408 answered HTTP 408: because", ask("status-408"));
  EXPECT_EQ(3, count("status-408"));
}

TEST_F(OpenAiModelTest, DoesNotAskAgainWhereItCannot) {
  const std::vector<std::pair<std::string, std::string>> statuses{
      {"400", "400 llm_bad_request"},    {"404", "400 llm_bad_request"},    {"422", "400 llm_bad_request"},
      {"401", "401 llm_authentication"}, {"403", "401 llm_authentication"}, {"402", "500 llm_error"}};
  for (const auto& [status, failure] : statuses) {
    const std::string behaviour = "status-" + status;
    EXPECT_EQ(failure + " " + behaviour + " answered HTTP " + status + ": because", ask(behaviour));
    EXPECT_EQ(1, count(behaviour));
  }
  EXPECT_EQ("500 llm_error bad-json: the answer is not JSON", ask("bad-json"));
  EXPECT_EQ(1, count("bad-json"));
  EXPECT_EQ("500 llm_error redirect answered HTTP 307", ask("redirect"));
  EXPECT_EQ(0, count("echo"));
  EXPECT_EQ("400 llm_bad_request endless-error answered HTTP 400", ask("endless-error"));
}

TEST_F(OpenAiModelTest, DoesNotSayThingsTwice) {
  EXPECT_EQ("500 llm_error cut: the stream ended before the reply was whole", stream("cut"));
  EXPECT_EQ("one ", deltas_);
  EXPECT_EQ(1, count("cut"));
  EXPECT_EQ("500 llm_error huge-line: a line of the stream is longer than 2 MiB", stream("huge-line"));
  EXPECT_EQ("one ", deltas_);
  EXPECT_EQ(1, count("huge-line"));
  // What is missing is the usage only.
  EXPECT_EQ("one two|1|0+0|end_turn", stream("cut-after-all"));
  EXPECT_EQ(1, count("cut-after-all"));
}

TEST_F(OpenAiModelTest, AsksAgainWhenAWholeAnswerIsCut) {
  const std::string seen = ask("cut-whole");
  EXPECT_EQ("500 llm_error cut-whole: the connection broke: ", seen.substr(0, 47));
  EXPECT_EQ(3, count("cut-whole"));
}

TEST_F(OpenAiModelTest, KeepsToTheDeadline) {
  EXPECT_EQ("504 llm_timeout hang: no answer before the deadline", ask("hang", milliseconds{100}));
  EXPECT_EQ("504 llm_timeout stall: no answer before the deadline", stream("stall", milliseconds{300}));
  EXPECT_TRUE(comes_to("left", 1));
  // A pause that would end behind the deadline is not begun.
  EXPECT_EQ("429 llm_rate_limit limited-for-long answered HTTP 429: come back tomorrow",
            ask("limited-for-long", seconds{15}));
  EXPECT_EQ(1, count("limited-for-long"));
  EXPECT_EQ("504 llm_timeout ok: no answer before the deadline", ask("ok", milliseconds{0}));
}

TEST_F(OpenAiModelTest, GivesUpOnSilence) {
  OpenAiProvider impatient = provider("stall");
  impatient.idle_time = milliseconds{300};
  const auto client = client_of({impatient});
  EXPECT_EQ("504 llm_timeout stall: no byte for too long", stream(*client, "stall"));
  EXPECT_TRUE(comes_to("left", 1));
}

TEST_F(OpenAiModelTest, SaysThatNobodyIsThere) {
  OpenAiProvider nobody = provider("ok");
  nobody.base_url = "http://127.0.0.1:1/v1";
  const auto client = client_of({nobody});
  EXPECT_EQ("500 llm_error ok: cannot connect: ", ask(*client, "ok").substr(0, 34));
  EXPECT_EQ(2u, env_.counters().at("model_retries"));
}

TEST_F(OpenAiModelTest, NeverPrintsAKey) {
  EXPECT_EQ("401 llm_authentication leak answered HTTP 401: Incorrect API key: ***.", ask("leak"));
  const auto client = client_of({provider("down", {})});
  ASSERT_TRUE(test::run(env_, client->refresh()));
  ASSERT_EQ(1u, log_.size());
  EXPECT_EQ("warning the models of provider down cannot be listed: down answered HTTP 503: down, Bearer ***",
            log_[0]);
}

// ---- encryption

TEST_F(OpenAiModelTest, TrustsOnlyCertificatesThatItKnows) {
  OpenAiProvider secret = provider("ok");
  secret.base_url = url("ok", stub->https);
  const auto strict = client_of({secret});
  EXPECT_EQ("500 llm_error ok: its certificate is not trusted: ", ask(*strict, "ok").substr(0, 50));
  EXPECT_EQ(0, count("ok"));
  const auto trusting = client_of({secret}, stub->ca_file());
  EXPECT_EQ("ok 1|0|5+1|end_turn", ask(*trusting, "ok"));
  EXPECT_EQ("ok 2|0|5+1|end_turn", ask(*trusting, "ok"));
  EXPECT_EQ(0u, env_.counters().count("model_retries"));
}

TEST_F(OpenAiModelTest, TrustsNoCertificateOfAnotherHost) {
  OpenAiProvider other = provider("ok");
  other.base_url = url("ok", stub->https_of_another);
  const auto client = client_of({other}, stub->ca_file("other"));
  EXPECT_EQ("500 llm_error ok: its certificate is not trusted: ", ask(*client, "ok").substr(0, 50));
  EXPECT_EQ(0, count("ok"));
}

// ---- lists of models

TEST_F(OpenAiModelTest, ListsWhatProvidersHave) {
  OpenAiProvider own = provider("own", {"x", "text-embedding-3-small"});
  own.provider_type = "ollama";
  own.context_window = 8192;
  const auto client = client_of({provider("ok", {}), own});
  EXPECT_EQ((std::vector<std::string>{"own/x"}), client->handles());
  EXPECT_TRUE(client->serves("ok/anything/at-all"));  // Nobody knows yet.
  EXPECT_FALSE(client->serves("ok/"));
  EXPECT_FALSE(client->serves("ok"));
  EXPECT_FALSE(client->serves("own/y"));
  ASSERT_TRUE(test::run(env_, client->refresh()));
  EXPECT_EQ((std::vector<std::string>{"ok/small", "ok/org/large", "own/x"}), client->handles());
  EXPECT_TRUE(client->serves("ok/org/large"));
  EXPECT_FALSE(client->serves("ok/anything/at-all"));
  EXPECT_FALSE(client->serves("ok/text-embedding-3-large"));
  std::string all;
  for (const ModelInfo& info : client->models()) {
    EXPECT_EQ(info.provider_type == "ollama" ? url("own") : url("ok"), info.endpoint);
    all += info.handle + " " + info.provider_type + " " + std::to_string(info.context_window) + " " +
           std::to_string(info.embedding_dim) + (info.embedding ? " embeds\n" : "\n");
  }
  EXPECT_EQ(
      "ok/small openai 128000 0\nok/org/large openai 4096 0\nok/text-embedding-3-large openai 128000 3072 "
      "embeds\n"
      "own/x ollama 8192 0\nown/text-embedding-3-small ollama 8192 1536 embeds\n",
      all);
  EXPECT_TRUE(log_.empty());
  EXPECT_EQ("400 llm_bad_request no provider serves the model 'nobody/m'", ask(*client, "nobody"));
}

TEST_F(OpenAiModelTest, KeepsTheListOfAProviderThatIsDown) {
  const auto client = client_of({provider("down-later", {}), provider("nonsense", {})});
  ASSERT_TRUE(test::run(env_, client->refresh()));
  EXPECT_EQ((std::vector<std::string>{"down-later/small", "down-later/org/large"}), client->handles());
  ASSERT_TRUE(test::run(env_, client->refresh()));
  ASSERT_TRUE(test::run(env_, client->refresh()));
  EXPECT_EQ((std::vector<std::string>{"down-later/small", "down-later/org/large"}), client->handles());
  EXPECT_TRUE(client->serves("nonsense/anything"));
  EXPECT_EQ((std::vector<std::string>{
                "warning the models of provider nonsense cannot be listed: the list of models is not JSON",
                "warning the models of provider down-later cannot be listed: down-later answered HTTP 503: "
                "down, Bearer ***"}),
            log_);
}

TEST_F(OpenAiModelTest, SaysWhatIsWrongWithItsOptions) {
  const auto refusal = [this](auto change) {
    OpenAiModel::Options options;
    options.providers = {provider("ok")};
    change(options);
    const auto made = OpenAiModel::make(env_, std::move(options));
    return made ? "fine" : to_string(made.error());
  };
  using Options = OpenAiModel::Options;
  EXPECT_EQ("fine", refusal([](Options& /*options*/) {}));
  for (const char* name : {"", "a/b", "a\nb"}) {
    EXPECT_NE("fine", refusal([name](Options& options) { options.providers[0].name = name; })) << name;
  }
  for (const char* base : {"", "ftp://x/v1", "http://", "https:///v1", "http://key@x/v1", "http://x/v1?k=1",
                           "http://x/a b", "http://x/\n"}) {
    EXPECT_NE("fine", refusal([base](Options& options) { options.providers[0].base_url = base; })) << base;
  }
  EXPECT_NE("fine", refusal([](Options& options) { options.providers[0].api_key = "a\r\nx: y"; }));
  EXPECT_NE("fine", refusal([](Options& options) { options.providers[0].retries_max = -1; }));
  EXPECT_EQ("invalid_argument: the file of certificates '/nowhere' does not exist",
            refusal([](Options& options) { options.ca_file = "/nowhere"; }));
  EXPECT_EQ("invalid_argument: there are two model providers 'ok'",
            refusal([](Options& options) { options.providers.push_back(options.providers[0]); }));
}

// ---- the end

TEST_F(OpenAiModelTest, EndsWithItsEnvWhileCallsAreUnderWay) {
  const auto client =
      client_of(std::vector<OpenAiProvider>{provider("hang"), provider("stall"), provider("status-503")});
  const auto forget = [](Task<ModelOutcome> task) -> Task<> {
    const auto outcome = co_await std::move(task);
    co_return outcome ? ok() : Status{outcome.error()};
  };
  for (const char* behaviour : {"hang", "stall"}) {
    env_.spawn(behaviour, forget(client->complete(request_for(behaviour), kNever)));
  }
  ASSERT_TRUE(comes_to("hang", 1));
  ASSERT_TRUE(comes_to("stall", 1));
  env_.shut_down();
}

TEST_F(OpenAiModelTest, CanBeDestroyedWhileCallsAreUnderWay) {
  auto client = client_of("hang");
  const auto outcome = std::make_shared<std::string>();
  const auto keep = [](Task<ModelOutcome> task, std::shared_ptr<std::string> out) -> Task<> {
    *out = told(co_await std::move(task));
    co_return ok();
  };
  env_.spawn("hang", keep(client->complete(request_for("hang"), kNever), outcome));
  ASSERT_TRUE(comes_to("hang", 1));
  client.reset();
  EXPECT_TRUE(comes_to("left", 1));
  EXPECT_EQ("error cancelled", *outcome);
}

TEST_F(OpenAiModelTest, StandsBehindARouterWithOthers) {
  std::vector<std::unique_ptr<ModelClient>> clients;
  clients.push_back(client_of({provider("ok", {"m"})}));
  clients.push_back(std::make_unique<EchoModel>());
  clients.push_back(std::make_unique<EchoModel>());
  ModelRouter router(std::move(clients));
  EXPECT_EQ((std::vector<std::string>{"ok/m", "varve/echo", "openai/gpt-4o-mini"}), router.handles());
  EXPECT_EQ(3u, router.models().size());
  EXPECT_TRUE(router.serves("varve/echo"));
  EXPECT_FALSE(router.serves("nobody/m"));
  EXPECT_TRUE(router.summarizes("ok/m"));
  EXPECT_FALSE(router.summarizes("varve/echo"));
  EXPECT_FALSE(router.summarizes("nobody/m"));
  EXPECT_EQ("ok 1|0|5+1|end_turn", ask(router, "ok"));
  ModelRequest request = request_for("varve");
  request.model = "varve/echo";
  EXPECT_EQ("You said: hello|0|",
            told(test::run(env_, router.complete(std::move(request), kNever))).substr(0, 18));
  EXPECT_EQ("400 llm_bad_request no provider serves the model 'nobody/m'", ask(router, "nobody"));
}

}  // namespace
}  // namespace varve
