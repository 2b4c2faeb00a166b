// Requests between nodes over real loopback sockets: good nodes, absent, silent and rude ones. What must
// never happen is that something which may have been delivered is called undelivered, or is sent a second
// time.
#include "api/http_transport.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "api/http_server.h"
#include "runtime/sync.h"
#include "tests/support/run.h"

namespace varve {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kPatience{20};

int listen_somewhere(std::uint16_t& port, int backlog) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  const timeval patience{.tv_sec = 20, .tv_usec = 0};
  ::setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(0, ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)));
  EXPECT_EQ(0, ::listen(listener, backlog));
  socklen_t size = sizeof(address);
  EXPECT_EQ(0, ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size));
  port = ntohs(address.sin_port);
  return listener;
}

// A node of blocking sockets that does what its story says, on a thread of its own.
class RudeNode {
 public:
  using Story = std::function<void(RudeNode&)>;
  explicit RudeNode(Story story) : listener_(listen_somewhere(port_, 16)) {
    thread_ = std::thread([this, story = std::move(story)] { story(*this); });
  }
  RudeNode(const RudeNode&) = delete;
  RudeNode& operator=(const RudeNode&) = delete;
  ~RudeNode() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  // ---- on its thread
  int accept() const {
    const int connection = ::accept(listener_, nullptr, nullptr);
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return connection;
  }
  // The body of the next request; nothing if there is none.
  static std::optional<std::string> request(int connection) {
    std::string input;
    char bytes[4096];
    for (;;) {
      const std::size_t head = input.find("\r\n\r\n");
      if (head != std::string::npos) {
        const std::size_t length = input.find("content-length: ");
        const std::size_t size = std::stoul(input.substr(length + 16));
        if (input.size() >= head + 4 + size) return input.substr(head + 4, size);
      }
      const ssize_t got = ::recv(connection, bytes, sizeof(bytes), 0);
      if (got <= 0) return std::nullopt;
      input.append(bytes, static_cast<std::size_t>(got));
    }
  }
  static void say(int connection, const std::string& text) {
    EXPECT_EQ(static_cast<ssize_t>(text.size()), ::send(connection, text.data(), text.size(), MSG_NOSIGNAL));
  }
  static void answer(int connection, const std::string& body) {
    say(connection, "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

 private:
  std::uint16_t port_ = 0;
  int listener_;
  std::thread thread_;
};

class HttpTransportTest : public testing::Test {
 protected:
  ~HttpTransportTest() override {
    here_.reset();
    server_.reset();
    env_.shut_down();
  }

  static RealEnv::Options quiet() {
    RealEnv::Options options;
    options.log_sink = [](LogLevel, std::string_view) {};
    return options;
  }

  // The other node: it answers "you said .." unless told otherwise.
  Task<std::string> heard(std::string request) {
    ++heard_;
    under_way_most_ = std::max(under_way_most_, server_->connections());
    if (request == "wait") co_await never_.wait(env_, kNever);
    if (request == "fail") co_return Error{Errc::corrupt, "it fell down"};
    if (request == "large") co_return std::string(5000, 'x');
    if (request.starts_with("slow")) co_await sleep_for(env_, milliseconds{5});
    co_return "you said " + request;
  }

  void serve(HttpTransport::Options options, HttpServer::Options listen = {}) {
    there_ = std::make_unique<HttpTransport>(env_, std::move(options));
    there_->serve([this](std::string request) { return heard(std::move(request)); });
    Handler handler = [this](Request request) { return there_->answer(std::move(request)); };
    auto server = HttpServer::listen(env_, listen, std::move(handler));
    ASSERT_TRUE(server) << to_string(server.error());
    server_ = std::move(*server);
    url_ = "http://127.0.0.1:" + std::to_string(server_->port());
  }
  void connect(HttpTransport::Options options) {
    here_ = std::make_unique<HttpTransport>(env_, std::move(options));
  }

  Result<std::string> call(const std::string& url, std::string request, Duration patience = kPatience) {
    return test::run(env_, here_->call(url, std::move(request), env_.now() + patience));
  }
  static std::string said(const Result<std::string>& result) {
    return result ? *result : to_string(result.error().code);
  }

  Task<> pass(Duration time) {
    co_await sleep_for(env_, time);
    co_return ok();
  }
  static Task<Response> test_answer(HttpTransport& transport, Request request) {
    Response response = co_await transport.answer(std::move(request));
    co_return response;
  }
  // Calls `count` times at once; gives back how many were answered well.
  Task<std::size_t> call_often(std::size_t count) {
    TaskGroup group(env_);
    std::size_t good = 0;
    for (std::size_t i = 0; i < count; ++i) {
      ignore_error(group.spawn("call", call_once(i, good)), "the group is open");
    }
    group.close();
    Status joined = co_await group.join(env_.now() + kPatience);
    if (!joined) co_return joined.error();
    co_return good;
  }
  Task<> call_once(std::size_t number, std::size_t& good) {
    const std::string text = "slow " + std::to_string(number);
    auto answer = co_await here_->call(url_, text, env_.now() + kPatience);
    if (answer && *answer == "you said " + text) ++good;
    co_return ok();
  }

  RealEnv env_{quiet()};
  std::unique_ptr<HttpTransport> there_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<HttpTransport> here_;
  std::string url_;
  std::size_t heard_ = 0;
  std::size_t under_way_most_ = 0;
  Notifier never_;
};

// ---- a good node

TEST_F(HttpTransportTest, CarriesARequestAndItsAnswer) {
  serve({.secret = "s"});
  connect({.secret = "s"});
  EXPECT_EQ("you said hello", said(call(url_, "hello")));
  EXPECT_EQ("you said ", said(call(url_, "")));
  const std::string large(9 << 20, 'r');
  EXPECT_EQ("you said " + large, said(call(url_ + "/", large)));
}

TEST_F(HttpTransportTest, KeepsItsConnection) {
  serve({});
  connect({});
  for (int i = 0; i < 10; ++i) EXPECT_EQ("you said again", said(call(url_, "again")));
  EXPECT_EQ(1U, env_.counters().find("node_connections")->second);
  EXPECT_EQ(1U, here_->connections());
}

TEST_F(HttpTransportTest, ManyCallsShareABoundedNumberOfConnections) {
  serve({});
  connect({.connections_max = 8, .idle_max = 4});
  const auto good = test::run(env_, call_often(200));
  ASSERT_TRUE(good) << to_string(good.error());
  EXPECT_EQ(200U, *good);
  EXPECT_LE(under_way_most_, 8U);
  EXPECT_LE(here_->connections(), 4U);
}

// The other side closes what is idle at any time: that must cost nothing.
TEST_F(HttpTransportTest, AConnectionThatWasClosedWhileIdleIsReplaced) {
  serve({}, {.idle = milliseconds{20}});
  connect({});
  EXPECT_EQ("you said one", said(call(url_, "one")));
  for (int i = 0; i < 1000 && server_->connections() > 0; ++i)
    ASSERT_TRUE(test::run(env_, pass(milliseconds{5})));
  ASSERT_EQ(0U, server_->connections());
  EXPECT_EQ("you said two", said(call(url_, "two")));
  EXPECT_EQ(2U, heard_);
}

TEST_F(HttpTransportTest, IdleConnectionsAreNotKeptForEver) {
  serve({});
  connect({.idle = milliseconds{1}});
  EXPECT_EQ("you said one", said(call(url_, "one")));
  ASSERT_TRUE(test::run(env_, pass(milliseconds{5})));
  EXPECT_EQ("you said two", said(call(url_, "two")));
  EXPECT_EQ(2U, env_.counters().find("node_connections")->second);
}

// ---- certainly not delivered

TEST_F(HttpTransportTest, WithoutAListenerNothingIsDelivered) {
  connect({});
  std::uint16_t port = 0;
  ::close(listen_somewhere(port, 1));
  EXPECT_EQ("unavailable", said(call("http://127.0.0.1:" + std::to_string(port), "x")));
  for (const char* url : {"", "node-1:8283", "https://node-1", "http://", "http://a b", "http://h:99999"})
    EXPECT_EQ("unavailable", said(call(url, "x"))) << url;
}

TEST_F(HttpTransportTest, AConnectionThatDoesNotComeAboutIsNotWaitedForForLong) {
  connect({.connect_time = milliseconds{50}});
  std::uint16_t port = 0;
  const int listener = listen_somewhere(port, 0);  // Nobody accepts, and its queue is soon full.
  std::vector<std::string> all;
  for (int i = 0; i < 4; ++i)
    all.push_back(said(call("http://127.0.0.1:" + std::to_string(port), "x", milliseconds{200})));
  // The first ones are in the queue and get no answer; those behind them get no connection.
  EXPECT_EQ("unavailable", all.back());
  ::close(listener);
}

TEST_F(HttpTransportTest, ADeadlineThatHasPassedSendsNothing) {
  serve({});
  connect({});
  EXPECT_EQ("unavailable", said(call(url_, "x", Duration{})));
  EXPECT_EQ(0U, heard_);
}

TEST_F(HttpTransportTest, ARequestThatIsTooLargeIsNotSent) {
  serve({});
  connect({.request_bytes_max = 100});
  EXPECT_EQ("unavailable", said(call(url_, std::string(101, 'x'))));
  EXPECT_EQ(0U, heard_);
  EXPECT_EQ("you said " + std::string(100, 'x'), said(call(url_, std::string(100, 'x'))));
}

TEST_F(HttpTransportTest, OnlyWhoHasTheSecretIsHeard) {
  serve({.secret = "the secret"});
  for (const char* wrong : {"", "the secre", "the secret!", "THE SECRET"}) {
    connect({.secret = wrong});
    const auto answer = call(url_, "x");
    EXPECT_EQ("unavailable", said(answer)) << wrong;
    EXPECT_NE(std::string::npos, answer.error().message.find("403")) << answer.error().message;
    EXPECT_EQ(std::string::npos, answer.error().message.find("the secret")) << answer.error().message;
  }
  EXPECT_EQ(0U, heard_);
}

TEST_F(HttpTransportTest, ANodeThatDoesNotServeYetHasDoneNothing) {
  HttpTransport other(env_, {});
  Request request{"POST", "/v1/varve/node", {}, "x"};
  const auto early = test::run(env_, test_answer(other, request));
  ASSERT_TRUE(early);
  EXPECT_EQ(425, early->status);
}

// ---- perhaps delivered

TEST_F(HttpTransportTest, ANodeThatFailsMayHaveDoneSomething) {
  serve({});
  connect({});
  EXPECT_EQ("outcome_unknown", said(call(url_, "fail")));
}

TEST_F(HttpTransportTest, AnAnswerThatDoesNotComeIsUnknownAtTheDeadline) {
  serve({});
  connect({});
  const MonoTime begun = env_.now();
  EXPECT_EQ("outcome_unknown", said(call(url_, "wait", milliseconds{100})));
  EXPECT_GE(env_.now() - begun, milliseconds{100});
  EXPECT_LT(env_.now() - begun, seconds{10});
  EXPECT_EQ("you said next", said(call(url_, "next")));  // Over a connection of its own.
  EXPECT_EQ(1U, here_->connections());
}

TEST_F(HttpTransportTest, AnAnswerThatIsTooLargeIsUnknown) {
  serve({});
  connect({.answer_bytes_max = 4999});
  EXPECT_EQ("outcome_unknown", said(call(url_, "large")));
  EXPECT_EQ("you said small", said(call(url_, "small")));
}

TEST_F(HttpTransportTest, AConnectionThatBreaksIsUnknown) {
  RudeNode before([](RudeNode& node) {
    const int connection = node.accept();
    RudeNode::request(connection);
    ::close(connection);  // Before a byte of the answer.
  });
  RudeNode within([](RudeNode& node) {
    const int connection = node.accept();
    RudeNode::request(connection);
    RudeNode::say(connection, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf an ans");
    ::close(connection);
  });
  RudeNode nonsense([](RudeNode& node) {
    const int connection = node.accept();
    RudeNode::request(connection);
    RudeNode::say(connection, "220 mail.example ESMTP\r\n");
    ::close(connection);
  });
  connect({});
  EXPECT_EQ("outcome_unknown", said(call(before.url(), "x")));
  EXPECT_EQ("outcome_unknown", said(call(within.url(), "x")));
  EXPECT_EQ("outcome_unknown", said(call(nonsense.url(), "x")));
}

// The other side took the second request from a kept connection and went: it may have carried it out.
TEST_F(HttpTransportTest, WhatWasSentOnAKeptConnectionIsNotSentAgain) {
  std::vector<std::string> requests;
  {
    RudeNode node([&requests](RudeNode& self) {
      const int connection = self.accept();
      requests.push_back(RudeNode::request(connection).value_or("nothing"));
      RudeNode::answer(connection, "first answer");
      requests.push_back(RudeNode::request(connection).value_or("nothing"));
      ::close(connection);
      const int another = self.accept();  // Nobody comes: the end of the test wakes it.
      if (another < 0) return;
      requests.push_back(RudeNode::request(another).value_or("nothing"));
      ::close(another);
    });
    connect({});
    EXPECT_EQ("first answer", said(call(node.url(), "first")));
    EXPECT_EQ("outcome_unknown", said(call(node.url(), "second")));
  }
  EXPECT_EQ((std::vector<std::string>{"first", "second"}), requests);
}

TEST_F(HttpTransportTest, A503FromInBetweenIsUnknown) {
  RudeNode node([](RudeNode& self) {
    const int connection = self.accept();
    RudeNode::request(connection);
    RudeNode::say(connection, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    ::close(connection);
  });
  connect({});
  EXPECT_EQ("outcome_unknown", said(call(node.url(), "x")));
}

// ---- the end

TEST_F(HttpTransportTest, ClosingEndsTheCallsThatAreUnderWay) {
  serve({});
  connect({});
  auto answer = std::make_shared<std::optional<Result<std::string>>>();
  env_.spawn("call", test::keep(here_->call(url_, "wait", env_.now() + kPatience), answer, env_));
  for (int i = 0; i < 1000 && heard_ == 0; ++i) ASSERT_TRUE(test::run(env_, pass(milliseconds{5})));
  ASSERT_EQ(1U, heard_);
  here_->close();
  env_.io_context().restart();
  env_.run();
  ASSERT_TRUE(*answer);
  EXPECT_EQ("outcome_unknown", said(**answer));
  EXPECT_EQ("unavailable", said(call(url_, "later")));
  EXPECT_EQ(0U, here_->connections());
}

}  // namespace
}  // namespace varve
