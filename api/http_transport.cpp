#include "api/http_transport.h"

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <charconv>
#include <map>
#include <set>
#include <vector>

#include "api/http_status.h"
#include "runtime/hash.h"
#include "runtime/sync.h"

namespace varve {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

namespace {

constexpr std::uint32_t kAnswerHeadBytesMax = 64 << 10;
constexpr std::size_t kPeersMax = 1024;
constexpr Duration kTidyInterval = std::chrono::seconds{1};

struct Place {
  std::string host;  // Without brackets.
  std::string port;
  std::string authority;  // As in the host header.
  std::string base;       // Of the path; no slash at its end.
};

// "http://HOST[:PORT][/BASE]"
std::optional<Place> place_of(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return std::nullopt;
  url.remove_prefix(kScheme.size());
  const auto is_plain = [](char c) { return c > ' ' && c < '\x7f' && c != '@' && c != '?' && c != '#'; };
  if (!std::all_of(url.begin(), url.end(), is_plain)) return std::nullopt;
  Place place;
  const std::size_t slash = std::min(url.find('/'), url.size());
  place.authority = std::string(url.substr(0, slash));
  place.base = std::string(url.substr(slash));
  while (place.base.ends_with('/')) place.base.pop_back();
  std::string_view host = place.authority;
  const std::size_t colon = host.rfind(':');
  place.port = "80";
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) {
    place.port = std::string(host.substr(colon + 1));
    host = host.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(place.port.data(), place.port.data() + place.port.size(), number);
  if (host.empty() || error != std::errc{} || end != place.port.data() + place.port.size())
    return std::nullopt;
  place.host = std::string(host);
  return place;
}

std::string head_of(const Place& place, const std::string& secret, std::size_t body_bytes) {
  std::string head = "POST " + place.base + std::string(kNodePath) + " HTTP/1.1\r\nhost: " + place.authority +
                     "\r\ncontent-type: application/json\r\ncontent-length: " + std::to_string(body_bytes) +
                     "\r\n";
  if (!secret.empty()) head.append(kClusterSecretHeader).append(": ").append(secret).append("\r\n");
  return head + "\r\n";
}

// Our server says these before anybody has looked at the request. 5xx may come from something between that
// has passed it on.
bool is_refusal(unsigned status) {
  return status >= 400 && status < 500 && status != 408;
}

// Digests have one length, whatever was sent, and no prefix of a secret has the prefix of its digest.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  const auto one = sha256(a);
  const auto other = sha256(b);
  volatile unsigned difference = 0;  // Volatile: the loop must not end at the first difference.
  for (std::size_t i = 0; i < one.size(); ++i)
    difference = difference | (unsigned{one[i]} ^ unsigned{other[i]});
  return difference == 0;
}

struct Link;
using LinkPtr = std::shared_ptr<Link>;

// The connections to one node.
struct Peer {
  Place place;
  std::size_t open = 0;       // Links that exist, idle ones too.
  std::vector<LinkPtr> idle;  // The one used last at the end.
  Notifier freed;
  bool warned = false;
};
using PeerPtr = std::shared_ptr<Peer>;

// One connection. Its end touches no Env: it may come while the Env is being destroyed.
struct Link {
  Link(RealEnv& env, PeerPtr to, std::set<Link*>& all)
      : socket(env.executor()), peer(std::move(to)), links(all) {
    ++peer->open;
    links.insert(this);
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() {
    links.erase(this);
    --peer->open;
  }

  void close() {
    closed = true;
    error_code ignored;
    socket.close(ignored);
  }
  // Whether the other side has neither closed it nor said what nobody asked for.
  bool is_quiet() {
    char byte = 0;
    error_code error;
    socket.receive(asio::buffer(&byte, 1), tcp::socket::message_peek, error);
    return error == asio::error::would_block;
  }

  tcp::socket socket;
  boost::beast::flat_buffer input;
  PeerPtr peer;
  std::set<Link*>& links;
  MonoTime idle_since;
  bool used = false;  // A call has gone over it before.
  bool closed = false;
};

// What came of one call over one link.
struct Outcome {
  OneShot<std::string> answer;
  bool nothing_sent = false;
};

}  // namespace

struct HttpTransport::Impl {
  Impl(RealEnv& environment, Options chosen) : env(environment), options(std::move(chosen)) {}

  PeerPtr peer(const std::string& url, const Place& place);
  void tidy();
  LinkPtr idle_link(Peer& peer);
  void give_back(LinkPtr link);

  RealEnv& env;
  Options options;
  std::set<Link*> links;                 // All that exist; they must find it at their end.
  std::map<std::string, PeerPtr> peers;  // By URL.
  MonoTime tidied;
  bool closed = false;
};

PeerPtr HttpTransport::Impl::peer(const std::string& url, const Place& place) {
  PeerPtr& entry = peers[url];
  if (!entry) entry = std::make_shared<Peer>();
  entry->place = place;
  return entry;
}

// Lets go of what has been idle for long, and of nodes that nobody asks any more.
void HttpTransport::Impl::tidy() {
  const MonoTime now = env.now();
  if (now - tidied < kTidyInterval) return;
  tidied = now;
  for (const auto& [url, peer] : peers) {
    std::erase_if(peer->idle,
                  [this, now](const LinkPtr& link) { return now - link->idle_since > options.idle; });
  }
  if (peers.size() > kPeersMax) {
    std::erase_if(peers, [](const auto& entry) { return entry.second->open == 0; });
  }
}

// One that can be used, if there is any.
LinkPtr HttpTransport::Impl::idle_link(Peer& peer) {
  while (!peer.idle.empty()) {
    LinkPtr link = std::move(peer.idle.back());
    peer.idle.pop_back();
    if (!link->closed && env.now() - link->idle_since <= options.idle && link->is_quiet()) return link;
  }
  return nullptr;
}

void HttpTransport::Impl::give_back(LinkPtr link) {
  const PeerPtr peer = link->peer;
  link->used = true;
  link->idle_since = env.now();
  if (!closed && !link->closed && peer->idle.size() < options.idle_max) peer->idle.push_back(std::move(link));
}

namespace {

using ImplPtr = std::shared_ptr<HttpTransport::Impl>;

Error no_way(const Place& place, const std::string& why) {
  return {Errc::unavailable, "the node at " + place.authority + " cannot be reached: " + why};
}
Error unknown(const Place& place, const std::string& why) {
  return {Errc::outcome_unknown, "the node at " + place.authority + ": " + why};
}

// Connects; a task of its own, because a name server may take longer than any call waits.
Task<> open_link(ImplPtr impl, LinkPtr link, std::shared_ptr<OneShot<Unit>> opened) {
  const PeerPtr peer = link->peer;
  error_code error;
  tcp::resolver resolver{impl->env.executor()};
  auto found_token = asio::redirect_error(asio::use_awaitable, error);
  const auto found = co_await resolver.async_resolve(peer->place.host, peer->place.port, found_token);
  if (!error && !link->closed) {
    auto token = asio::redirect_error(asio::use_awaitable, error);
    co_await asio::async_connect(link->socket, found, token);
  }
  if (!error && !link->closed) link->socket.set_option(tcp::no_delay{true}, error);
  if (!error && !link->closed) link->socket.non_blocking(true, error);
  if (link->closed) {
    link->close();  // Whatever was opened since.
    opened->set(no_way(peer->place, "no connection in time"));
  } else if (error) {
    opened->set(no_way(peer->place, error.message()));
  } else {
    opened->set(Unit{});
  }
  link.reset();
  peer->freed.notify_all();
  co_return ok();
}

// A link to the node, kept or new.
Task<LinkPtr> take_link(ImplPtr impl, PeerPtr peer, MonoTime deadline) {
  LinkPtr link = impl->idle_link(*peer);
  while (!link && peer->open >= impl->options.connections_max) {
    if (impl->env.now() >= deadline) {
      co_return no_way(peer->place, "too many requests to it are under way");
    }
    co_await peer->freed.wait(impl->env, deadline);
    if (impl->closed) break;
    link = impl->idle_link(*peer);
  }
  if (impl->closed) co_return no_way(peer->place, "this node stops");
  if (link) co_return link;
  link = std::make_shared<Link>(impl->env, peer, impl->links);
  impl->env.count("node_connections");
  const auto opened = std::make_shared<OneShot<Unit>>();
  impl->env.spawn("node connection", open_link(impl, link, opened));
  const MonoTime until = std::min(deadline, impl->env.now() + impl->options.connect_time);
  const auto done = co_await opened->get(impl->env, until);
  if (!opened->ready()) {
    link->close();
    co_return no_way(peer->place, "no connection in time");
  }
  if (!done) co_return done.error();
  co_return link;
}

Result<std::string> judged(HttpTransport::Impl& impl, Peer& peer, unsigned status, std::string body) {
  if (status == 200) return body;
  const std::string said = "it answered " + std::to_string(status) + " " + body.substr(0, 200);
  if (!is_refusal(status)) return unknown(peer.place, said);
  if (!peer.warned) {
    peer.warned = true;
    const bool secret = status == 401 || status == 403;
    impl.env.log(LogLevel::warning, "the node at " + peer.place.authority +
                                        " refuses requests of this one: " + said +
                                        (secret ? "; do both have the same cluster_secret?" : ""));
  }
  return no_way(peer.place, said);
}

// Sends and reads. It owns the link, and gives it back if it can be used again.
Task<> exchange(ImplPtr impl, LinkPtr link, std::shared_ptr<const std::string> request,
                std::shared_ptr<Outcome> outcome) {
  const PeerPtr peer = link->peer;
  const std::string head = head_of(peer->place, impl->options.secret, request->size());
  const std::array<asio::const_buffer, 2> buffers{asio::buffer(head), asio::buffer(*request)};
  error_code error;
  auto written = asio::redirect_error(asio::use_awaitable, error);
  const std::size_t sent = co_await asio::async_write(link->socket, buffers, written);
  http::response_parser<http::string_body> parser;
  parser.header_limit(kAnswerHeadBytesMax);
  parser.body_limit(impl->options.answer_bytes_max);
  const bool all_sent = !error;
  if (all_sent) {
    auto read = asio::redirect_error(asio::use_awaitable, error);
    co_await http::async_read(link->socket, link->input, parser, read);
  }
  Result<std::string> result;
  if (!error) {
    const bool whole = parser.is_done() && parser.keep_alive() && link->input.size() == 0;
    const unsigned status = parser.get().result_int();
    result = judged(*impl, *peer, status, std::move(parser.get().body()));
    if (whole) impl->give_back(std::move(link));
  } else if (sent == 0) {
    outcome->nothing_sent = true;
    result = no_way(peer->place, error.message());
  } else if (error == http::error::body_limit) {
    result = unknown(peer->place, "its answer is larger than " +
                                      std::to_string(impl->options.answer_bytes_max) + " bytes");
  } else {
    result = unknown(peer->place, "the connection broke: " + error.message());
  }
  link.reset();
  outcome->answer.set(std::move(result));
  peer->freed.notify_all();
  co_return ok();
}

Task<std::string> call_node(ImplPtr impl, std::string url, std::string text, MonoTime deadline) {
  const auto place = place_of(url);
  if (!place) co_return Error{Errc::unavailable, "'" + url + "' is no address of a node"};
  if (impl->closed) co_return no_way(*place, "this node stops");
  if (impl->env.now() >= deadline) co_return no_way(*place, "the deadline has passed");
  if (text.size() > impl->options.request_bytes_max) {
    co_return no_way(
        *place, "the request has more than " + std::to_string(impl->options.request_bytes_max) + " bytes");
  }
  impl->tidy();
  const PeerPtr peer = impl->peer(url, *place);
  const auto request = std::make_shared<const std::string>(std::move(text));
  for (;;) {
    auto link = co_await take_link(impl, peer, deadline);
    if (!link) co_return link.error();
    const bool kept = (*link)->used;
    const std::weak_ptr<Link> watched = *link;
    const auto outcome = std::make_shared<Outcome>();
    LinkPtr given = std::move(*link);
    impl->env.spawn("node call", exchange(impl, std::move(given), request, outcome));
    auto answer = co_await outcome->answer.get(impl->env, deadline);
    if (!outcome->answer.ready()) {
      if (const LinkPtr late = watched.lock()) late->close();
      co_return unknown(*place, "no answer in time");
    }
    // The other side had closed it while nobody used it.
    if (!answer && kept && outcome->nothing_sent && impl->env.now() < deadline) continue;
    co_return answer;
  }
}

}  // namespace

HttpTransport::HttpTransport(RealEnv& env, Options options)
    : impl_(std::make_shared<Impl>(env, std::move(options))) {}

HttpTransport::~HttpTransport() {
  close();
}

Task<std::string> HttpTransport::call(std::string url, std::string request, MonoTime deadline) {
  return call_node(impl_, std::move(url), std::move(request), deadline);
}

void HttpTransport::serve(Transport::Handler handler) {
  handler_ = std::move(handler);
}

boost::asio::awaitable<Response> HttpTransport::answer(Request request) {
  const std::string& secret = impl_->options.secret;
  if (!secret.empty() && !equal_in_constant_time(request.header(kClusterSecretHeader).value_or(""), secret)) {
    impl_->env.count("node_requests_forbidden");
    Response forbidden = detail_response(403, "this is for the nodes of the cluster, which have its secret");
    co_return forbidden;
  }
  if (request.method != "POST") {
    Response wrong = detail_response(405, "Method Not Allowed");
    wrong.headers.emplace("allow", "POST");
    co_return wrong;
  }
  if (!handler_) {
    Response early = detail_response(425, "this node does not serve yet");  // 4xx: nothing was done.
    co_return early;
  }
  impl_->env.count("node_requests");
  auto said = co_await handler_(std::move(request.body));
  Response response = said ? json_response(std::move(*said)) : detail_response(500, to_string(said.error()));
  co_return response;
}

void HttpTransport::close() {
  impl_->closed = true;
  for (const auto& [url, peer] : impl_->peers) peer->idle.clear();
  for (Link* link : impl_->links) link->close();
}

std::size_t HttpTransport::connections() const {
  return impl_->links.size();
}

}  // namespace varve
