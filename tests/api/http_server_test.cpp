// The HTTP server over real loopback sockets: well-behaved clients, rude ones, and its own end.
#include "api/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <thread>

#include "runtime/sync.h"

namespace varve {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Nothing in these tests takes longer unless it is broken.
constexpr auto kPatience = seconds{20};

// A blocking client that does what it is told, byte by byte if need be.
class Client {
 public:
  explicit Client(std::uint16_t port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (receive_buffer > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { leave(); }

  bool connected() const { return connected_; }
  void leave() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // One answer as "status body", and its head in head(). "closed" if none comes.
  std::string answer(bool with_body = true) {
    head_.clear();
    while (head_.find("\r\n\r\n") == std::string::npos) {
      if (!more()) return "closed";
      const auto end = input_.find("\r\n\r\n");
      if (end == std::string::npos) continue;
      head_ = input_.substr(0, end + 4);
      input_.erase(0, end + 4);
    }
    const std::string length = header("content-length");
    const std::size_t size = !with_body || length.empty() ? 0 : std::stoul(length);
    while (input_.size() < size) {
      if (!more()) return "cut off after " + std::to_string(input_.size()) + " bytes";
    }
    const std::string body = input_.substr(0, size);
    input_.erase(0, size);
    return head_.substr(9, 3) + (body.empty() ? "" : " " + body);
  }
  std::string ask(std::string_view bytes) { return send(bytes) ? answer() : "closed"; }
  // True if the server ends the connection and has nothing more to say.
  bool ended() { return input_.empty() && ::recv(socket_, nullptr, 0, 0) == 0 && !more(); }

  std::string header(const std::string& name) const {
    std::string lower = head_;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    const auto found = lower.find("\r\n" + name + ": ");
    if (found == std::string::npos) return "";
    const auto start = found + name.size() + 4;
    return head_.substr(start, head_.find("\r\n", start) - start);
  }

 private:
  bool more() {
    char bytes[64 << 10];
    if (!input_.empty() && head_.empty() && input_.find("\r\n\r\n") != std::string::npos) return true;
    const ssize_t got = ::recv(socket_, bytes, sizeof(bytes), 0);
    if (got <= 0) return false;
    input_.append(bytes, static_cast<std::size_t>(got));
    return true;
  }

  int socket_;
  bool connected_ = false;
  std::string input_;
  std::string head_;
};

std::string get(std::string_view target) {
  return "GET " + std::string{target} + " HTTP/1.1\r\nhost: x\r\n\r\n";
}
std::string post(std::string_view body) {
  return "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string{body};
}

class HttpServerTest : public testing::Test {
 protected:
  static RealEnv::Options quiet() {
    RealEnv::Options options;
    options.log_level = LogLevel::error;
    return options;
  }

  // /echo answers with the body, /wait after open_gate(), /large with 8 MiB, /empty with nothing, anything
  // else with method and target.
  boost::asio::awaitable<Response> answer(Request request) {
    Response response;
    if (request.target == "/echo") {
      response.body = request.body;
    } else if (request.target == "/wait") {
      ++waiting_;
      entered_.set_value();
      while (!gate_open_) co_await gate_.wait(env_, kNever);
      finished_.set_value();
      response.body = "waited";
    } else if (request.target == "/large") {
      response.body.assign(8 << 20, 'v');
    } else if (request.target == "/empty") {
      response.status = 204;
    } else {
      response.body = request.method + " " + request.target;
    }
    co_return response;
  }

  void serve(HttpServer::Options options = {}) {
    auto server =
        HttpServer::listen(env_, options, [this](Request request) { return answer(std::move(request)); });
    ASSERT_TRUE(server) << to_string(server.error());
    server_ = std::move(*server);
    port_ = server_->port();
  }

  // Runs the client's side on a thread of its own and the server until it has ended.
  template <class Story>
  void with_client(Story story) {
    std::thread client([&] {
      story();
      env_.post([this] { env_.stop(); });
    });
    env_.io_context().restart();
    env_.run();
    client.join();
  }

  // From the client's thread: does something on the server's and waits for it.
  template <class Work>
  void on_server(Work work) {
    std::promise<void> done;
    env_.post([&] {
      work();
      done.set_value();
    });
    EXPECT_EQ(std::future_status::ready, done.get_future().wait_for(kPatience));
  }
  void open_gate() {
    on_server([this] {
      gate_open_ = true;
      gate_.notify_all();
    });
  }
  static bool happens(std::promise<void>& event) {
    return event.get_future().wait_for(kPatience) == std::future_status::ready;
  }
  Task<> drain_and_keep(MonoTime deadline) {
    drained_ = co_await server_->drain(deadline);
    drain_done_.set_value();
    co_return ok();
  }
  void start_drain(Duration patience) {
    on_server([&] { env_.spawn("drain", drain_and_keep(env_.now() + patience)); });
  }

  void TearDown() override {
    env_.shut_down();
    server_.reset();
  }

  RealEnv env_{quiet()};
  std::unique_ptr<HttpServer> server_;
  std::uint16_t port_ = 0;
  Notifier gate_;
  bool gate_open_ = false;
  int waiting_ = 0;
  std::promise<void> entered_;
  std::promise<void> finished_;
  std::promise<void> drain_done_;
  Status drained_;
};

TEST_F(HttpServerTest, AnswersManyRequestsOnOneConnection) {
  serve();
  with_client([&] {
    Client client(port_);
    for (int i = 0; i < 100; ++i) {
      const std::string target = "/a/" + std::to_string(i) + "?b=%20";
      ASSERT_EQ("200 GET " + target, client.ask(get(target)));
    }
    EXPECT_EQ("application/json", client.header("content-type"));
    EXPECT_EQ("", client.header("connection"));
    EXPECT_EQ("200 some text", client.ask(post("some text")));
    EXPECT_EQ("204", client.ask(get("/empty")));
    EXPECT_EQ("", client.header("content-length"));
    EXPECT_EQ("200", client.ask(post("")));
    EXPECT_EQ("", client.header("content-type"));
    on_server([&] { EXPECT_EQ(1u, server_->connections()); });
  });
  EXPECT_EQ(1u, env_.counters().at("http_connections"));
}

TEST_F(HttpServerTest, PutsTogetherARequestThatComesByteByByte) {
  serve();
  with_client([&] {
    Client client(port_);
    const std::string request = post("in pieces");
    for (const char c : request) ASSERT_TRUE(client.send(std::string_view{&c, 1}));
    EXPECT_EQ("200 in pieces", client.answer());
  });
}

TEST_F(HttpServerTest, AnswersRequestsSentTogetherInTheirOrder) {
  serve();
  with_client([&] {
    Client client(port_);
    ASSERT_TRUE(client.send(get("/1") + post("2") + "\r\n" + get("/3")));
    EXPECT_EQ("200 GET /1", client.answer());
    EXPECT_EQ("200 2", client.answer());
    EXPECT_EQ("200 GET /3", client.answer());
  });
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  serve();
  with_client([&] {
    Client client(port_);
    ASSERT_TRUE(client.send("HEAD /x HTTP/1.1\r\nhost: x\r\n\r\n"));
    EXPECT_EQ("200", client.answer(false));
    EXPECT_EQ("7", client.header("content-length"));
    EXPECT_EQ("200 GET /y", client.ask(get("/y")));
  });
}

TEST_F(HttpServerTest, KeepsOrEndsTheConnectionAsTheClientWishes) {
  serve();
  with_client([&] {
    Client closing(port_);
    EXPECT_EQ("200 GET /x", closing.ask("GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    EXPECT_EQ("close", closing.header("connection"));
    EXPECT_TRUE(closing.ended());
    Client old(port_);
    EXPECT_EQ("200 GET /x", old.ask("GET /x HTTP/1.0\r\n\r\n"));
    EXPECT_TRUE(old.ended());
    Client old_but_staying(port_);
    EXPECT_EQ("200 GET /x", old_but_staying.ask("GET /x HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"));
    EXPECT_EQ("keep-alive", old_but_staying.header("connection"));
    EXPECT_EQ("200 GET /y", old_but_staying.ask(get("/y")));
  });
}

TEST_F(HttpServerTest, TakesChunkedBodies) {
  serve();
  with_client([&] {
    Client client(port_);
    ASSERT_TRUE(
        client.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"));
    EXPECT_EQ("200 some text", client.ask("5;note=x\r\n text\r\n0\r\n\r\n"));
    EXPECT_EQ("200 GET /y", client.ask(get("/y")));
  });
}

TEST_F(HttpServerTest, TellsAClientThatAsksToContinue) {
  serve();
  with_client([&] {
    Client client(port_);
    ASSERT_TRUE(
        client.send("POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-Continue\r\ncontent-length: 4\r\n\r\n"));
    EXPECT_EQ("100", client.answer());
    EXPECT_EQ("200 body", client.ask("body"));
  });
}

TEST_F(HttpServerTest, NamesTheLimitThatARequestExceeds) {
  serve({.header_bytes_max = 8 << 10, .body_bytes_max = 1 << 20});
  with_client([&] {
    const std::string long_header = "GET / HTTP/1.1\r\nx: " + std::string(9 << 10, 'a') + "\r\n\r\n";
    const std::string header_detail =
        R"(431 {"detail":"the request line and headers are larger than 8192 bytes (8 KiB), the most that this server takes"})";
    const std::string body_detail =
        R"(413 {"detail":"the request body is larger than 1048576 bytes (1 MiB), the most that this server takes"})";
    Client big_header(port_);
    EXPECT_EQ(header_detail, big_header.ask(long_header));
    EXPECT_EQ("close", big_header.header("connection"));
    EXPECT_TRUE(big_header.ended());
    Client endless_line(port_);
    EXPECT_EQ(header_detail, endless_line.ask("GET /" + std::string(100 << 10, 'a')));
    Client fits(port_);
    const std::string largest(1 << 20, 'b');
    EXPECT_EQ("200 " + largest, fits.ask(post(largest)));
    Client big_body(port_);
    EXPECT_EQ(body_detail, big_body.ask(post(largest + "b")));
    EXPECT_EQ("close", big_body.header("connection"));
    Client announced(port_);
    EXPECT_EQ(
        body_detail,
        announced.ask("POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n"));
    Client chunked(port_);
    EXPECT_EQ(body_detail, chunked.ask("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n100001\r\n" +
                                       largest + "b\r\n0\r\n\r\n"));
    EXPECT_TRUE(chunked.ended());
  });
}

TEST_F(HttpServerTest, OneKindOfRequestMayBeLargerAFewAtATime) {
  serve({.body_bytes_max = 1000,
         .large_body_paths = {"/echo"},
         .large_body_bytes_max = 5000,
         .large_bodies_max = 1});
  with_client([&] {
    const std::string large(5000, 'b');
    Client fits(port_);
    EXPECT_EQ("200 " + large, fits.ask(post(large)));
    EXPECT_EQ("200 " + large, fits.ask(post(large)));  // The first is over.
    Client too_large(port_);
    EXPECT_EQ(
        R"(413 {"detail":"the request body is larger than 5000 bytes, the most that this server takes"})",
        too_large.ask(post(large + "b")));
    Client chunked(port_);
    EXPECT_EQ("413", chunked
                         .ask("POST /echo?a=b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1389\r\n" +
                              large + "b\r\n0\r\n\r\n")
                         .substr(0, 3));
    Client elsewhere(port_);
    EXPECT_EQ("413", elsewhere.ask("POST / HTTP/1.1\r\ncontent-length: 1001\r\n\r\n").substr(0, 3));
    Client unfinished(port_);
    unfinished.send("POST /echo HTTP/1.1\r\ncontent-length: 4000\r\nexpect: 100-continue\r\n\r\n");
    EXPECT_EQ("100", unfinished.answer(false).substr(0, 3));  // It is being received.
    Client second(port_);
    EXPECT_EQ("429", second.ask(post(large)).substr(0, 3));
    EXPECT_EQ("1", second.header("retry-after"));
    Client small(port_);
    EXPECT_EQ("200 x", small.ask(post("x")));
  });
}

TEST_F(HttpServerTest, HearsAClientOutThatSendsFarTooMuch) {
  serve({.body_bytes_max = 1000});
  with_client([&] {
    Client client(port_);
    // More than any socket buffer holds: if the server hung up at once, sending would fail.
    EXPECT_EQ("413", client.ask(post(std::string(32 << 20, 'b'))).substr(0, 3));
  });
}

TEST_F(HttpServerTest, RefusesWhatIsNotHttp) {
  serve();
  const std::vector<std::string> malformed{
      "nonsense\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "GET / HTTP/1.1\r\nno colon\r\n\r\n",
      "GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
      "POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
      "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
      "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
      std::string("GET /\0 HTTP/1.1\r\n\r\n", 19),
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  };
  with_client([&] {
    for (const std::string& bytes : malformed) {
      SCOPED_TRACE(bytes);
      Client client(port_);
      EXPECT_EQ("400 {\"detail\":\"this is not well-formed HTTP/1.1", client.ask(bytes).substr(0, 47));
      EXPECT_EQ("close", client.header("connection"));
    }
    Client encoded(port_);
    EXPECT_EQ(
        "501",
        encoded.ask("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n" + get("/smuggled")).substr(0, 3));
    Client client(port_);
    EXPECT_EQ("200 GET /y", client.ask(get("/y")));
  });
}

TEST_F(HttpServerTest, OutlivesClientsThatSendNoise) {
  serve();
  with_client([&] {
    Rng rng(7);
    const std::string sample = post("some text") + get("/x");
    for (int i = 0; i < 300; ++i) {
      std::string bytes = sample;
      for (int change = 0; change < 4; ++change) {
        bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
      }
      Client client(port_);
      client.send(bytes.substr(0, rng.below(bytes.size())));
    }
    Client client(port_);
    EXPECT_EQ("200 GET /y", client.ask(get("/y")));
  });
}

TEST_F(HttpServerTest, EndsARequestThatTakesTooLongToArrive) {
  serve({.request_time = milliseconds{60}});
  with_client([&] {
    Client slow(port_);
    EXPECT_EQ(R"(408 {"detail":"the request took too long to arrive"})",
              slow.ask("POST /echo HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf"));
    EXPECT_TRUE(slow.ended());
    // One that keeps sending a little is no better.
    Client dripping(port_);
    bool alive = dripping.send("GET / HTTP/1.1\r\n");
    for (int i = 0; i < 2000 && alive; ++i) {
      alive = dripping.send("x: y\r\n");
      std::this_thread::sleep_for(milliseconds{5});
    }
    EXPECT_FALSE(alive);
  });
}

TEST_F(HttpServerTest, EndsAConnectionThatIsIdleTooLong) {
  serve({.idle = milliseconds{60}});
  with_client([&] {
    Client silent(port_);
    EXPECT_TRUE(silent.ended());
    Client client(port_);
    EXPECT_EQ("200 GET /y", client.ask(get("/y")));
    EXPECT_TRUE(client.ended());
  });
}

TEST_F(HttpServerTest, GivesASlowHandlerAllTheTimeItWants) {
  serve({.idle = milliseconds{20}, .request_time = milliseconds{20}, .stall_time = milliseconds{20}});
  with_client([&] {
    Client client(port_);
    ASSERT_TRUE(client.send(get("/wait")));
    ASSERT_TRUE(happens(entered_));
    std::this_thread::sleep_for(milliseconds{100});
    open_gate();
    EXPECT_EQ("200 waited", client.answer());
  });
}

TEST_F(HttpServerTest, SendsALargeAnswerToASlowReaderWhole) {
  serve();
  with_client([&] {
    Client client(port_, 8 << 10);
    EXPECT_EQ("200 " + std::string(8 << 20, 'v'), client.ask(get("/large")));
    EXPECT_EQ("200 GET /y", client.ask(get("/y")));
  });
}

TEST_F(HttpServerTest, EndsAConnectionWhoseClientReadsNothing) {
  serve({.stall_time = milliseconds{60}});
  with_client([&] {
    Client client(port_, 8 << 10);
    ASSERT_TRUE(client.send(get("/large")));
    const auto start = std::chrono::steady_clock::now();
    std::size_t left = 1;
    while (left > 0 && std::chrono::steady_clock::now() - start < kPatience) {
      std::this_thread::sleep_for(milliseconds{10});
      on_server([&] { left = server_->connections(); });
    }
    EXPECT_EQ(0u, left);
    EXPECT_EQ("cut off", client.answer().substr(0, 7));
  });
}

TEST_F(HttpServerTest, ServesManyConnectionsAtOnce) {
  serve();
  with_client([&] {
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 200; ++i) clients.push_back(std::make_unique<Client>(port_));
    for (std::size_t i = 0; i < clients.size(); ++i) {
      ASSERT_TRUE(clients[i]->send(get("/" + std::to_string(i))));
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
      ASSERT_EQ("200 GET /" + std::to_string(i), clients[i]->answer());
    }
  });
}

TEST_F(HttpServerTest, TurnsAwayOneConnectionTooMany) {
  serve({.connections_max = 2});
  with_client([&] {
    Client first(port_);
    Client second(port_);
    EXPECT_EQ("200 GET /1", first.ask(get("/1")));
    EXPECT_EQ("200 GET /2", second.ask(get("/2")));
    Client third(port_);
    EXPECT_EQ(
        R"(503 {"detail":"this server has as many connections as it takes (2); close some or try again later"})",
        third.ask(get("/3")));
    EXPECT_EQ("1", third.header("retry-after"));
    EXPECT_TRUE(third.ended());
    third.leave();
    EXPECT_EQ("200 GET /1", first.ask(get("/1")));
    first.leave();
    // The server learns of it in its own time.
    const auto start = std::chrono::steady_clock::now();
    std::size_t left = 2;
    while (left > 1 && std::chrono::steady_clock::now() - start < kPatience) {
      on_server([&] { left = server_->connections(); });
    }
    Client fourth(port_);
    EXPECT_EQ("200 GET /4", fourth.ask(get("/4")));
  });
}

TEST_F(HttpServerTest, FinishesTheWorkOfAClientThatHasLeft) {
  serve();
  with_client([&] {
    {
      Client client(port_);
      ASSERT_TRUE(client.send(get("/wait")));
      ASSERT_TRUE(happens(entered_));
    }
    Client other(port_);
    EXPECT_EQ("200 GET /y", other.ask(get("/y")));
    open_gate();
    EXPECT_TRUE(happens(finished_));
    EXPECT_EQ("200 GET /z", other.ask(get("/z")));
  });
}

TEST_F(HttpServerTest, DrainsByFinishingWhatRuns) {
  serve();
  with_client([&] {
    Client idle(port_);
    EXPECT_EQ("200 GET /y", idle.ask(get("/y")));
    Client busy(port_);
    ASSERT_TRUE(busy.send(get("/wait")));
    ASSERT_TRUE(happens(entered_));
    start_drain(kPatience);
    EXPECT_TRUE(idle.ended());
    EXPECT_FALSE(Client(port_).connected());
    open_gate();
    EXPECT_EQ("200 waited", busy.answer());
    EXPECT_EQ("close", busy.header("connection"));
    EXPECT_TRUE(busy.ended());
    ASSERT_TRUE(happens(drain_done_));
  });
  EXPECT_TRUE(drained_) << to_string(drained_.error());
  EXPECT_EQ(port_, server_->port());
}

TEST_F(HttpServerTest, CutsOffWhatRunsPastTheDeadlineOfADrain) {
  serve();
  with_client([&] {
    Client busy(port_);
    ASSERT_TRUE(busy.send(get("/wait")));
    ASSERT_TRUE(happens(entered_));
    start_drain(milliseconds{20});
    ASSERT_TRUE(happens(drain_done_));
    EXPECT_TRUE(busy.ended());
    open_gate();
    EXPECT_TRUE(happens(finished_));
  });
  ASSERT_FALSE(drained_);
  EXPECT_EQ("unavailable: 1 request(s) were cut off at the deadline", to_string(drained_.error()));
}

TEST_F(HttpServerTest, CanBeDestroyedWithRequestsUnderWay) {
  serve();
  with_client([&] {
    Client busy(port_);
    Client half(port_);
    ASSERT_TRUE(busy.send(get("/wait")));
    ASSERT_TRUE(half.send("GET /"));
    ASSERT_TRUE(happens(entered_));
    on_server([&] { server_.reset(); });
    EXPECT_TRUE(busy.ended());
    EXPECT_FALSE(Client(port_).connected());
  });
}

TEST_F(HttpServerTest, SaysWhyItCannotListen) {
  serve();
  Handler handler = [this](Request request) { return answer(std::move(request)); };
  const auto second = HttpServer::listen(env_, {.port = port_}, handler);
  ASSERT_FALSE(second);
  EXPECT_EQ("conflict: 127.0.0.1:" + std::to_string(port_) +
                " is in use by another program: stop that one or listen on another port",
            to_string(second.error()));
  const auto elsewhere = HttpServer::listen(env_, {.host = "192.0.2.1"}, handler);
  ASSERT_FALSE(elsewhere);
  EXPECT_EQ(Errc::invalid_argument, elsewhere.error().code);
  const auto nowhere = HttpServer::listen(env_, {.host = "no such host"}, handler);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(Errc::invalid_argument, nowhere.error().code);
}

}  // namespace
}  // namespace varve
