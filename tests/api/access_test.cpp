// What stands before the routes: passwords, origins of web pages, ids of requests.
#include "api/access.h"

#include <gtest/gtest.h>

#include <ostream>

#include "runtime/rng.h"
#include "tests/support/run.h"

namespace varve {
namespace {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

boost::asio::awaitable<Response> answer_with_path(Request request) {
  Response response;
  response.body = request.method + " " + request.target;
  // What the routes see as the request's id.
  response.headers.emplace("seen-id", request.header("x-request-id").value_or("none"));
  co_return response;
}

Task<Response> ask(Handler handler, Request request) {
  co_return co_await handler(std::move(request));
}

class Access : public testing::Test {
 public:
  Access() : env_(options()) {}
  ~Access() override { env_.shut_down(); }

  Response call(const AccessPolicy& policy, std::string method, std::string target,
                const HeaderList& headers = {}) {
    Request request;
    request.method = std::move(method);
    request.target = std::move(target);
    for (const auto& [name, value] : headers) request.headers.emplace(name, value);
    auto answer = test::run(env_, ask(with_access(env_, policy, answer_with_path), std::move(request)));
    if (!answer) ADD_FAILURE() << answer.error().message;
    return answer ? std::move(*answer) : Response{};
  }
  const std::vector<std::string>& logged() const { return logged_; }

 private:
  RealEnv::Options options() {
    RealEnv::Options options;
    options.log_level = LogLevel::debug;
    options.log_sink = [this](LogLevel, std::string_view line) { logged_.emplace_back(line); };
    return options;
  }
  std::vector<std::string> logged_;
  RealEnv env_;
};

struct Asking {
  const char* name;
  const char* method;
  const char* target;
  HeaderList headers;
  int status;
  friend std::ostream& operator<<(std::ostream& out, const Asking& row) { return out << row.name; }
};

class WithPassword : public Access, public testing::WithParamInterface<Asking> {};

TEST_P(WithPassword, AsksEverybody) {
  const Asking& row = GetParam();
  const Response response = call({"open sesame", {}}, row.method, row.target, row.headers);
  EXPECT_EQ(row.status, response.status);
  if (row.status == 401) {
    EXPECT_EQ(R"({"detail":"Unauthorized"})", response.body);
    EXPECT_EQ("Bearer", response.header("www-authenticate"));
  } else {
    EXPECT_EQ(std::string(row.method) + " " + row.target, response.body);
  }
  EXPECT_TRUE(response.header("x-request-id"));
}

constexpr const char* kAgents = "/v1/agents/";

INSTANTIATE_TEST_SUITE_P(
    Table, WithPassword,
    testing::Values(
        Asking{"nothing", "GET", kAgents, {}, 401},
        Asking{"right", "GET", kAgents, {{"Authorization", "Bearer open sesame"}}, 200},
        Asking{"scheme_in_any_case", "POST", kAgents, {{"authorization", "bEARER  open sesame"}}, 200},
        Asking{"bare", "GET", kAgents, {{"X-BARE-PASSWORD", "password open sesame"}}, 200},
        Asking{"wrong_bearer_right_bare",
               "GET",
               kAgents,
               {{"authorization", "Bearer x"}, {"x-bare-password", "password open sesame"}},
               200},
        Asking{"wrong", "GET", kAgents, {{"authorization", "Bearer open sesam"}}, 401},
        Asking{"longer", "GET", kAgents, {{"authorization", "Bearer open sesame!"}}, 401},
        Asking{"other_case", "GET", kAgents, {{"authorization", "Bearer Open sesame"}}, 401},
        Asking{"empty", "GET", kAgents, {{"authorization", ""}}, 401},
        Asking{"scheme_alone", "GET", kAgents, {{"authorization", "Bearer "}}, 401},
        Asking{"no_scheme", "GET", kAgents, {{"authorization", "open sesame"}}, 401},
        Asking{"basic", "GET", kAgents, {{"authorization", "Basic open sesame"}}, 401},
        Asking{"joined", "GET", kAgents, {{"authorization", "Beareropen sesame"}}, 401},
        Asking{"bare_without_word", "GET", kAgents, {{"x-bare-password", "open sesame"}}, 401},
        Asking{"in_the_query", "GET", "/v1/agents/?password=open+sesame", {}, 401},
        Asking{"unknown_route", "GET", "/nowhere", {}, 401}, Asking{"health", "GET", "/v1/health/", {}, 200},
        Asking{"health_bare", "GET", "/v1/health", {}, 200},
        Asking{"health_query", "GET", "/v1/health/?x=1", {}, 200},
        Asking{"health_post", "POST", "/v1/health/", {}, 401},
        Asking{"health_below", "GET", "/v1/health/../agents/", {}, 401},
        Asking{"health_encoded", "GET", "/v1/%68ealth/", {}, 401}, Asking{"no_target", "GET", "*", {}, 401},
        Asking{"ready", "GET", "/v1/ready/", {}, 200}, Asking{"ready_bare", "GET", "/v1/ready", {}, 200},
        Asking{"ready_post", "POST", "/v1/ready/", {}, 401}, Asking{"metrics", "GET", "/metrics", {}, 401},
        Asking{"metrics_right", "GET", "/metrics", {{"Authorization", "Bearer open sesame"}}, 200},
        Asking{"preflight_without_cors",
               "OPTIONS",
               kAgents,
               {{"origin", "https://a.example"}, {"access-control-request-method", "POST"}},
               401}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST_F(Access, WithoutPasswordLooksAtNoAuthorization) {
  for (const HeaderList& headers : {HeaderList{}, HeaderList{{"authorization", "Bearer whatever"}}}) {
    const Response response = call({}, "GET", "/v1/agents/", headers);
    EXPECT_EQ(200, response.status);
    EXPECT_FALSE(response.header("access-control-allow-origin"));
    EXPECT_FALSE(response.header("vary"));
  }
  EXPECT_EQ("OPTIONS /v1/agents/",
            call({}, "OPTIONS", "/v1/agents/", {{"origin", "https://a.example"}}).body);
}

const AccessPolicy kPages{"secret", {"https://a.example", "http://localhost:3000"}};

TEST_F(Access, AnswersPreflightsOfAllowedPagesWithoutPassword) {
  const Response response = call(kPages, "OPTIONS", "/v1/agents/",
                                 {{"origin", "http://localhost:3000"},
                                  {"access-control-request-method", "PATCH"},
                                  {"access-control-request-headers", "authorization,content-type"}});
  EXPECT_EQ(200, response.status);
  EXPECT_EQ("", response.body);
  EXPECT_EQ("http://localhost:3000", response.header("access-control-allow-origin"));
  EXPECT_EQ("authorization,content-type", response.header("access-control-allow-headers"));
  EXPECT_EQ("600", response.header("access-control-max-age"));
  EXPECT_EQ("origin", response.header("vary"));
  EXPECT_NE(std::string::npos, response.header("access-control-allow-methods")->find("PATCH"));
}

TEST_F(Access, NeverRepeatsHeadersThatAreNoNames) {
  const Response response = call(kPages, "OPTIONS", "/v1/agents/",
                                 {{"origin", "https://a.example"},
                                  {"access-control-request-method", "PATCH"},
                                  {"access-control-request-headers", "a\r\nset-cookie: b"}});
  EXPECT_EQ(200, response.status);
  EXPECT_FALSE(response.header("access-control-allow-headers"));
}

TEST_F(Access, TellsOtherPagesNothing) {
  for (const char* origin : {"https://b.example", "https://a.example.b.example", "null", ""}) {
    const Response refused = call(kPages, "OPTIONS", "/v1/agents/",
                                  {{"origin", origin}, {"access-control-request-method", "GET"}});
    EXPECT_EQ(401, refused.status) << origin;
    EXPECT_FALSE(refused.header("access-control-allow-origin")) << origin;
    const Response response =
        call(kPages, "GET", "/v1/agents/", {{"origin", origin}, {"authorization", "Bearer secret"}});
    EXPECT_EQ(200, response.status) << origin;
    EXPECT_FALSE(response.header("access-control-allow-origin")) << origin;
    EXPECT_EQ("origin", response.header("vary")) << origin;
  }
}

TEST_F(Access, LetsAllowedPagesReadAnswersAndRefusals) {
  for (const auto& [password, status] : {std::pair{"Bearer secret", 200}, std::pair{"Bearer no", 401}}) {
    const Response response =
        call(kPages, "GET", "/v1/agents/", {{"origin", "https://a.example"}, {"authorization", password}});
    EXPECT_EQ(status, response.status);
    EXPECT_EQ("https://a.example", response.header("access-control-allow-origin"));
    EXPECT_TRUE(response.header("access-control-expose-headers"));
  }
}

TEST_F(Access, AStarAllowsEveryPage) {
  const Response response = call({"", {"*"}}, "GET", "/v1/agents/", {{"origin", "https://b.example"}});
  EXPECT_EQ("*", response.header("access-control-allow-origin"));
  EXPECT_FALSE(call({"", {"*"}}, "GET", "/v1/agents/").header("access-control-allow-origin"));
}

TEST_F(Access, KeepsTheClientsRequestIdOrMakesOne) {
  const std::string longest(kRequestIdBytesMax, 'x');
  for (const std::string& id : {std::string{"a"}, std::string{"trace:1/2~"}, longest}) {
    EXPECT_EQ(id, call({}, "GET", "/", {{"x-request-id", id}}).header("x-request-id"));
  }
  for (const std::string& id : {std::string{}, std::string{"a b"}, std::string{"\xc3\xa9"}, longest + "x"}) {
    const auto made = call({}, "GET", "/", {{"x-request-id", id}}).header("x-request-id");
    EXPECT_TRUE(made && is_uuid4(*made)) << id;
  }
  EXPECT_NE(call({}, "GET", "/").header("x-request-id"), call({}, "GET", "/").header("x-request-id"));
}

TEST_F(Access, TheRoutesSeeTheIdThatIsAnswered) {
  const Response kept = call({}, "GET", "/", {{"X-Request-Id", "a"}});
  EXPECT_EQ("a", kept.header("seen-id"));
  const Response made = call({}, "GET", "/", {{"x-request-id", "a b"}});
  EXPECT_EQ(made.header("x-request-id"), made.header("seen-id"));
}

TEST_F(Access, MetricsMayBeOpen) {
  const AccessPolicy policy{"secret", {}, true};
  EXPECT_EQ(200, call(policy, "GET", "/metrics").status);
  EXPECT_EQ(200, call(policy, "GET", "/metrics?x=1").status);
  EXPECT_EQ(401, call(policy, "POST", "/metrics").status);
  EXPECT_EQ(401, call(policy, "GET", "/metrics/").status);
  EXPECT_EQ(401, call(policy, "GET", "/v1/agents/").status);
}

TEST_F(Access, LogsWhatWasAskedButNoSecret) {
  call({"secret", {}}, "GET", "/v1/agents/?token=hidden",
       {{"x-request-id", "id-1"}, {"authorization", "Bearer guess"}});
  ASSERT_EQ(1U, logged().size());
  const std::string& line = logged()[0];
  EXPECT_TRUE(line.starts_with("GET /v1/agents/ 401 in ")) << line;
  EXPECT_TRUE(line.ends_with(" us, request id-1")) << line;
}

}  // namespace
}  // namespace varve
