#include "api/http_server.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <charconv>
#include <ctime>
#include <set>

#include "api/http_head.h"
#include "runtime/json.h"
#include "runtime/sync.h"

namespace varve {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Parser = http::request_parser<http::string_body>;

namespace {

// Small while a connection is quiet, large while a body comes in.
constexpr std::size_t kReadBytes = 4 << 10;
constexpr std::size_t kReadBytesOfBody = 64 << 10;
// What a refused client may still send until we hang up: a reset would destroy the refusal on its way.
constexpr Duration kLinger = std::chrono::seconds{2};
constexpr std::size_t kLingerBytesMax = 64 << 20;
// How many connections beyond the limit get a polite answer at one time; the rest are closed at once.
constexpr std::size_t kRefusalsMax = 64;
// How long to wait when the system has no descriptor left for a new connection.
constexpr Duration kAcceptPause = std::chrono::milliseconds{50};

enum class Phase : unsigned char { idle, receiving, handling, sending, lingering };

// Counts a request with a large body while it is there.
class LargeBody {
 public:
  explicit LargeBody(std::shared_ptr<std::size_t> count) : count_(std::move(count)) { ++*count_; }
  LargeBody(const LargeBody&) = delete;
  LargeBody& operator=(const LargeBody&) = delete;
  ~LargeBody() { --*count_; }

 private:
  std::shared_ptr<std::size_t> count_;
};

struct Connection {
  explicit Connection(tcp::socket accepted, std::size_t input_max)
      : socket(std::move(accepted)), input(input_max) {}

  void enter(Phase next, MonoTime until) {
    phase = next;
    deadline = until;
  }
  void close() {
    error_code ignored;
    socket.close(ignored);
  }

  tcp::socket socket;
  boost::beast::flat_buffer input;
  std::optional<Parser> parser;
  std::string head;
  bool sized = false;              // The limit of the present request's body is known ...
  std::size_t body_bytes_max = 0;  // ... and is this.
  std::optional<LargeBody> large;  // Set while it is one of the large ones.
  Phase phase = Phase::idle;
  MonoTime deadline = kNever;  // When the sweep closes it.
};

using ConnectionPtr = std::shared_ptr<Connection>;

// What came of waiting for a request.
struct Arrival {
  bool gone = false;                // The client has left, or its time was up.
  std::optional<Response> refusal;  // To be sent before the connection ends.
};

std::string in_bytes(std::size_t bytes) {
  std::string text = std::to_string(bytes) + " bytes";
  if (bytes % (1 << 20) == 0) return text + " (" + std::to_string(bytes >> 20) + " MiB)";
  if (bytes % (1 << 10) == 0) return text + " (" + std::to_string(bytes >> 10) + " KiB)";
  return text;
}

Response refuse(int status, std::string_view detail) {
  Response response;
  response.status = status;
  response.body = JsonWriter{}.begin_object().field("detail", detail).end_object().take();
  return response;
}

Request take_request(Parser& parser) {
  auto& message = parser.get();
  Request request;
  request.method = std::string{message.method_string()};
  request.target = std::string{message.target()};
  for (const auto& field : message) {
    request.headers.emplace(std::string{field.name_string()}, std::string{field.value()});
  }
  request.body = std::move(message.body());
  return request;
}

// Some clients end a body with an empty line that belongs to nothing.
void skip_empty_lines(boost::beast::flat_buffer& input) {
  while (input.size() > 0) {
    const char first = *static_cast<const char*>(input.data().data());
    if (first != '\r' && first != '\n') return;
    input.consume(1);
  }
}

}  // namespace

struct HttpServer::Impl {
  Impl(RealEnv& environment, Options chosen, Handler answering)
      : env(environment),
        options(std::move(chosen)),
        handler(std::move(answering)),
        acceptor(env.executor()) {}

  MonoTime in(Duration wait) const { return env.now() + wait; }
  Response refusal_for(const error_code& error, std::size_t body_bytes_max) const;
  void close_idle();
  void close_all();

  RealEnv& env;
  Options options;
  Handler handler;
  tcp::acceptor acceptor;
  std::set<Connection*> connections;  // Every connection whose coroutine lives.
  std::size_t refusals = 0;           // How many of them are only told to go away.
  // How many requests with a large body are there. Shared with them.
  std::shared_ptr<std::size_t> large_bodies = std::make_shared<std::size_t>(0);
  HttpDate date;
  bool stopping = false;
  bool closed = false;
  Notifier ended;
};

namespace {

using ImplPtr = std::shared_ptr<HttpServer::Impl>;

// Takes a connection off the books when its coroutine ends or is destroyed. It touches no Env: it may run
// while the Env is being destroyed.
class Registration {
 public:
  Registration(ImplPtr impl, Connection* connection) : impl_(std::move(impl)), connection_(connection) {
    impl_->connections.insert(connection_);
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration() { impl_->connections.erase(connection_); }

 private:
  ImplPtr impl_;
  Connection* connection_;
};

Response body_too_large(std::size_t bytes_max) {
  return refuse(
      413, "the request body is larger than " + in_bytes(bytes_max) + ", the most that this server takes");
}

bool takes_large_body(const HttpServer::Impl& impl, const Parser& parser) {
  const std::string_view target = parser.get().target();
  const std::string_view path = target.substr(0, target.find('?'));
  const auto& large = impl.options.large_body_paths;
  return parser.get().method_string() == impl.options.large_body_method &&
         std::find(large.begin(), large.end(), path) != large.end();
}

// Decides how large the body may be, once its head is there, and refuses a larger one.
std::optional<Response> size_body(HttpServer::Impl& impl, Connection& connection) {
  const Parser& parser = *connection.parser;
  const auto length = parser.content_length();
  if (!connection.sized) {
    connection.sized = true;
    connection.body_bytes_max = impl.options.body_bytes_max;
    const bool small = length && *length <= impl.options.body_bytes_max;
    if (!small && takes_large_body(impl, parser)) {
      if (*impl.large_bodies >= impl.options.large_bodies_max) {
        Response later = refuse(429, "this server takes " + std::to_string(impl.options.large_bodies_max) +
                                         " large requests at a time; try again later");
        later.headers.emplace("retry-after", "1");
        return later;
      }
      connection.large.emplace(impl.large_bodies);
      connection.body_bytes_max = impl.options.large_body_bytes_max;
    }
  }
  const bool too_large = (length && *length > connection.body_bytes_max) ||
                         parser.get().body().size() > connection.body_bytes_max;
  if (too_large) return body_too_large(connection.body_bytes_max);
  return std::nullopt;
}

// Parses what has come in. Empty = more is needed or the request is whole (ask the parser).
std::optional<Response> parse_input(HttpServer::Impl& impl, Connection& connection) {
  Parser& parser = *connection.parser;
  while (connection.input.size() > 0 && !parser.is_done()) {
    error_code error;
    const std::size_t used = parser.put(connection.input.data(), error);
    connection.input.consume(used);
    if (error && error != http::error::need_more) {
      const bool large = takes_large_body(impl, parser);
      const auto& options = impl.options;
      return impl.refusal_for(error, large ? options.large_body_bytes_max : options.body_bytes_max);
    }
    if (error || used == 0) break;
  }
  if (!parser.is_header_done()) return std::nullopt;
  if (auto refused = size_body(impl, connection)) return refused;
  // An encoding that we do not undo hides where the request ends.
  if (parser.get().count(http::field::transfer_encoding) > 0 && !parser.chunked()) {
    return refuse(501, "the only transfer-encoding that this server takes is chunked");
  }
  return std::nullopt;
}

// Reads one request into connection->parser.
asio::awaitable<Arrival> receive(ImplPtr impl, ConnectionPtr connection) {
  connection->parser.emplace();
  Parser& parser = *connection->parser;
  parser.eager(true);
  parser.header_limit(static_cast<std::uint32_t>(impl->options.header_bytes_max));
  // The largest that any may be; size_body() tells which it is.
  connection->sized = false;
  connection->body_bytes_max = std::max(impl->options.body_bytes_max, impl->options.large_body_bytes_max);
  parser.body_limit(connection->body_bytes_max);
  connection->enter(Phase::idle, impl->in(impl->options.idle));
  bool told_to_continue = false;
  for (;;) {
    if (connection->phase == Phase::idle) skip_empty_lines(connection->input);
    if (connection->input.size() > 0) {
      if (connection->phase == Phase::idle) {
        connection->enter(Phase::receiving, impl->in(impl->options.request_time));
      }
      Arrival arrival;
      arrival.refusal = parse_input(*impl, *connection);
      if (arrival.refusal || parser.is_done()) co_return arrival;
    }
    if (impl->stopping && connection->phase == Phase::idle) co_return Arrival{.gone = true, .refusal = {}};
    error_code error;
    if (parser.is_header_done() && !told_to_continue) {
      told_to_continue = true;
      constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      const bool asked = http_names_equal(parser.get()[http::field::expect], "100-continue");
      if (asked) connection->socket.write_some(asio::buffer(kContinue), error);
    }
    const std::size_t wanted = parser.is_header_done() ? kReadBytesOfBody : kReadBytes;
    // What stays unparsed is a head or the head of a chunk.
    if (connection->input.size() + wanted > connection->input.max_size()) {
      co_return Arrival{.gone = false, .refusal = impl->refusal_for(http::error::header_limit, 0)};
    }
    auto token = asio::redirect_error(asio::use_awaitable, error);
    const std::size_t got =
        co_await connection->socket.async_read_some(connection->input.prepare(wanted), token);
    if (error) co_return Arrival{.gone = true, .refusal = {}};
    connection->input.commit(got);
  }
}

using Buffers = std::array<asio::const_buffer, 2>;

// What is left of `buffers` after `sent` bytes.
Buffers rest_of(Buffers buffers, std::size_t sent) {
  for (auto& buffer : buffers) {
    const std::size_t step = std::min(sent, buffer.size());
    buffer += step;
    sent -= step;
  }
  return buffers;
}

// Sends what the socket did not take at once. False if the client has gone or takes nothing more.
asio::awaitable<bool> send_rest(ImplPtr impl, ConnectionPtr connection, Buffers buffers) {
  while (buffers[0].size() + buffers[1].size() > 0) {
    connection->enter(Phase::sending, impl->in(impl->options.stall_time));
    error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    const std::size_t sent = co_await connection->socket.async_write_some(buffers, token);
    if (error) co_return false;
    buffers = rest_of(buffers, sent);
  }
  co_return true;
}

// Writes head and body with one system call, which is nearly always enough. Empty = the client has gone.
std::optional<Buffers> send_now(HttpServer::Impl& impl, Connection& connection, const Response& response,
                                const HttpFraming& framing) {
  connection.head.clear();
  append_http_head(connection.head, response, framing, impl.date.text(impl.env.wall_now()));
  Buffers buffers{asio::buffer(connection.head), asio::const_buffer{}};
  if (framing.with_body && http_may_have_body(response.status)) buffers[1] = asio::buffer(response.body);
  error_code error;
  const std::size_t sent = connection.socket.write_some(buffers, error);
  if (error && error != asio::error::would_block) return std::nullopt;
  return rest_of(buffers, sent);
}

// Says no more, and hears the client out so that it can read what was said.
asio::awaitable<void> linger(ImplPtr impl, ConnectionPtr connection) {
  error_code error;
  connection->socket.shutdown(tcp::socket::shutdown_send, error);
  connection->enter(Phase::lingering, impl->in(kLinger));
  connection->input.consume(connection->input.size());
  std::size_t heard = 0;
  while (!error && !impl->stopping && heard < kLingerBytesMax) {
    auto token = asio::redirect_error(asio::use_awaitable, error);
    const auto space = connection->input.prepare(kReadBytesOfBody);
    heard += co_await connection->socket.async_read_some(space, token);
  }
}

asio::awaitable<void> send_refusal(ImplPtr impl, ConnectionPtr connection, Response response) {
  impl->env.count("http_refusals");
  const HttpFraming framing{.http_1_0 = false, .keep_alive = false, .with_body = true};
  const auto rest = send_now(*impl, *connection, response, framing);
  if (!rest) co_return;
  const bool sent = co_await send_rest(impl, connection, *rest);
  if (sent) co_await linger(impl, connection);
}

// A chunk of HTTP/1.1, or the bare bytes for a client of 1.0.
std::string framed(const std::string& piece, bool http_1_0) {
  if (http_1_0) return piece;
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), piece.size(), 16).ptr;
  std::string chunk(digits.data(), end);
  return chunk.append("\r\n").append(piece).append("\r\n");
}

// Sends head and pieces as they come. False if the client has gone or takes nothing more.
asio::awaitable<bool> stream(ImplPtr impl, ConnectionPtr connection, Response response, HttpFraming framing) {
  framing.chunked = true;
  impl->env.count("http_streams");
  const auto head = send_now(*impl, *connection, response, framing);
  if (!head) co_return false;
  bool sent = co_await send_rest(impl, connection, *head);
  while (sent) {
    connection->enter(Phase::handling, kNever);
    const auto piece = co_await response.events->next();
    if (!piece) break;
    const std::string chunk = framed(*piece, framing.http_1_0);
    const Buffers buffers{asio::buffer(chunk), asio::const_buffer{}};
    sent = co_await send_rest(impl, connection, buffers);
  }
  if (!sent || framing.http_1_0) co_return sent;
  constexpr std::string_view kLastChunk = "0\r\n\r\n";
  const Buffers buffers{asio::buffer(kLastChunk), asio::const_buffer{}};
  co_return co_await send_rest(impl, connection, buffers);
}

// Answers one request after the other until one side wants no more.
asio::awaitable<void> converse(ImplPtr impl, ConnectionPtr connection) {
  for (;;) {
    Arrival arrival = co_await receive(impl, connection);
    if (arrival.gone) co_return;
    if (arrival.refusal) {
      co_await send_refusal(impl, connection, std::move(*arrival.refusal));
      co_return;
    }
    HttpFraming framing;
    framing.http_1_0 = connection->parser->get().version() < 11;
    framing.with_body = connection->parser->get().method() != http::verb::head;
    const bool wants_more = connection->parser->keep_alive();
    Request request = take_request(*connection->parser);
    // Frees the memory of a large request while its handler runs.
    connection->parser.reset();
    if (connection->input.capacity() > 2 * kReadBytes) connection->input.shrink_to_fit();

    connection->enter(Phase::handling, kNever);
    Response response = co_await impl->handler(std::move(request));
    connection->large.reset();

    framing.keep_alive = wants_more && !impl->stopping;
    if (response.events) {
      framing.keep_alive = framing.keep_alive && !framing.http_1_0;
      const bool sent = co_await stream(impl, connection, std::move(response), framing);
      if (!sent) co_return;
      if (framing.keep_alive) continue;
      co_await linger(impl, connection);
      co_return;
    }
    const auto rest = send_now(*impl, *connection, response, framing);
    if (!rest) co_return;
    if ((*rest)[0].size() + (*rest)[1].size() > 0) {
      const bool sent = co_await send_rest(impl, connection, *rest);
      if (!sent) co_return;
    }
    if (!framing.keep_alive) {
      co_await linger(impl, connection);
      co_return;
    }
  }
}

Task<> serve(ImplPtr impl, ConnectionPtr connection) {
  {
    const Registration registration(impl, connection.get());
    co_await converse(impl, connection);
    connection->close();
  }
  impl->ended.notify_all();
  co_return ok();
}

Task<> turn_away(ImplPtr impl, ConnectionPtr connection) {
  {
    const Registration registration(impl, connection.get());
    ++impl->refusals;
    Response response =
        refuse(503, "this server has as many connections as it takes (" +
                        std::to_string(impl->options.connections_max) + "); close some or try again later");
    response.headers.emplace("retry-after", "1");
    co_await send_refusal(impl, connection, std::move(response));
    connection->close();
    --impl->refusals;
  }
  impl->ended.notify_all();
  co_return ok();
}

void welcome(const ImplPtr& impl, tcp::socket socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay{true}, ignored);
  socket.non_blocking(true, ignored);
  const std::size_t input_max = impl->options.header_bytes_max + 2 * kReadBytesOfBody;
  auto connection = std::make_shared<Connection>(std::move(socket), input_max);
  impl->env.count("http_connections");
  if (impl->connections.size() - impl->refusals < impl->options.connections_max) {
    impl->env.spawn("http connection", serve(impl, std::move(connection)));
  } else if (impl->refusals < kRefusalsMax) {
    impl->env.spawn("http refusal", turn_away(impl, std::move(connection)));
  } else {
    connection->close();
  }
}

Task<> accept_connections(ImplPtr impl) {
  while (!impl->stopping) {
    error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    tcp::socket socket = co_await impl->acceptor.async_accept(token);
    if (impl->stopping) break;
    if (!error) {
      welcome(impl, std::move(socket));
      continue;
    }
    // A client that left at once is no reason to wait; too few descriptors are.
    if (error == asio::error::connection_aborted) continue;
    impl->env.log(LogLevel::warning, "cannot accept a connection: " + error.message());
    co_await sleep_for(impl->env, kAcceptPause);
  }
  co_return ok();
}

// One pass over all connections every now and then costs less than a timer for each read.
void sweep(const ImplPtr& impl) {
  const MonoTime now = impl->env.now();
  for (Connection* connection : impl->connections) {
    if (connection->deadline > now) continue;
    if (connection->phase == Phase::receiving) {
      const Response response = refuse(408, "the request took too long to arrive");
      send_now(*impl, *connection, response, {.http_1_0 = false, .keep_alive = false, .with_body = true});
    }
    connection->deadline = kNever;
    connection->close();
  }
}

void sweep_again_and_again(RealEnv& env, const std::weak_ptr<HttpServer::Impl>& weak, Duration interval) {
  env.call_at(env.now() + interval, [&env, weak, interval] {
    const auto impl = weak.lock();
    if (!impl || impl->closed) return;
    sweep(impl);
    sweep_again_and_again(env, weak, interval);
  });
}

Error cannot_listen(const HttpServer::Options& options, const error_code& error) {
  const std::string address = options.host + ":" + std::to_string(options.port);
  if (error == asio::error::address_in_use) {
    return Error{Errc::conflict,
                 address + " is in use by another program: stop that one or listen on another port"};
  }
  return Error{Errc::invalid_argument, "cannot listen on " + address + ": " + error.message()};
}

}  // namespace

Response HttpServer::Impl::refusal_for(const error_code& error, std::size_t body_bytes_max) const {
  if (error == http::error::header_limit) {
    return refuse(431, "the request line and headers are larger than " + in_bytes(options.header_bytes_max) +
                           ", the most that this server takes");
  }
  if (error == http::error::body_limit) {
    return body_too_large(body_bytes_max);
  }
  return refuse(400, "this is not well-formed HTTP/1.1: " + error.message());
}

void HttpServer::Impl::close_idle() {
  for (Connection* connection : connections) {
    if (connection->phase == Phase::idle || connection->phase == Phase::lingering) connection->close();
  }
}

void HttpServer::Impl::close_all() {
  for (Connection* connection : connections) connection->close();
}

HttpServer::HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  stop_accepting();
  impl_->closed = true;
  impl_->close_all();
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(RealEnv& env, Options options, Handler handler) {
  auto impl = std::make_shared<Impl>(env, std::move(options), std::move(handler));
  const Options& chosen = impl->options;
  error_code error;
  tcp::resolver resolver{env.executor()};
  const auto found =
      resolver.resolve(chosen.host, std::to_string(chosen.port), tcp::resolver::passive, error);
  if (error || found.empty()) return cannot_listen(chosen, error);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  impl->acceptor.open(endpoint.protocol(), error);
  // A restarted server must not wait for the old connections of its port to time out.
  if (!error) impl->acceptor.set_option(tcp::acceptor::reuse_address{true}, error);
  if (!error) impl->acceptor.bind(endpoint, error);
  if (!error) impl->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return cannot_listen(chosen, error);

  const Duration shortest = std::min({chosen.idle, chosen.request_time, chosen.stall_time});
  const Duration interval =
      std::clamp<Duration>(shortest / 4, std::chrono::milliseconds{5}, std::chrono::milliseconds{500});
  sweep_again_and_again(env, impl, interval);
  env.spawn("http accept", accept_connections(impl));
  return std::make_unique<HttpServer>(std::move(impl));
}

std::uint16_t HttpServer::port() const {
  error_code ignored;
  return impl_->acceptor.is_open() ? impl_->acceptor.local_endpoint(ignored).port() : impl_->options.port;
}

std::size_t HttpServer::connections() const {
  return impl_->connections.size();
}

void HttpServer::stop_accepting() {
  if (impl_->stopping) return;
  impl_->options.port = port();
  impl_->stopping = true;
  error_code ignored;
  impl_->acceptor.close(ignored);
  impl_->close_idle();
}

Task<> HttpServer::drain(MonoTime deadline) {
  stop_accepting();
  const auto impl = impl_;
  while (!impl->connections.empty() && impl->env.now() < deadline)
    co_await impl->ended.wait(impl->env, deadline);
  const std::size_t left = impl->connections.size();
  impl->close_all();
  if (left == 0) co_return ok();
  co_return Error{Errc::unavailable, std::to_string(left) + " request(s) were cut off at the deadline"};
}

}  // namespace varve
