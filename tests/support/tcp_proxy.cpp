#include "tests/support/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace varve::test {

namespace {

constexpr std::size_t kChunk = std::size_t{1} << 16U;

class Socket {
 public:
  explicit Socket(int number) : number_(number) {
    if (number < 0) throw std::runtime_error("the test has no socket");
  }
  Socket(Socket&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

sockaddr* raw(sockaddr_in& address) {
  return reinterpret_cast<sockaddr*>(&address);
}

Socket listener() {
  Socket made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  if (::bind(made.number(), raw(address), sizeof address) != 0 || ::listen(made.number(), 64) != 0) {
    throw std::runtime_error("the proxy cannot listen");
  }
  return made;
}

std::uint16_t bound_port(const Socket& socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(socket.number(), raw(address), &size);
  return ntohs(address.sin_port);
}

bool send_all(const Socket& to, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(to.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

struct Plan {
  std::string text;
  TcpProxy::Then then = TcpProxy::Then::cut_before;
  std::size_t answer_bytes = 0;
};

struct Link {
  Socket client;
  Socket server;
  std::string said;           // The end of what the client has said; a text may come in two pieces.
  std::optional<Plan> begun;  // What happens to this connection's answer.
  bool stalled = false;
  std::string held;  // Said while it is stalled, before the server got it.
  bool ended = false;
};

}  // namespace

struct TcpProxy::Impl {
  explicit Impl(std::uint16_t port) : to_port(port), wake(::eventfd(0, EFD_CLOEXEC)) {}

  void run() {
    while (round()) {
    }
  }

  bool round() {
    std::vector<pollfd> watched{{listening.number(), POLLIN, 0}, {wake.number(), POLLIN, 0}};
    for (const Link& link : links) {
      // Who is stalled is not read from: what they say waits in the kernel.
      watched.push_back({link.client.number(), static_cast<short>(link.stalled ? 0 : POLLIN), 0});
      watched.push_back({link.server.number(), static_cast<short>(link.stalled ? 0 : POLLIN), 0});
    }
    ::poll(watched.data(), watched.size(), -1);
    const std::scoped_lock guard(lock);
    if (watched[1].revents != 0) {
      std::uint64_t ignored = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake.number(), &ignored, sizeof ignored);
      if (stopping) return false;
      obey();
    }
    std::size_t place = 2;
    for (Link& link : links) {
      if (!link.ended && !link.stalled && (watched[place].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        from_client(link);
      if (!link.ended && !link.stalled && (watched[place + 1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        from_server(link);
      }
      // A stalled one is watched for its end alone.
      if (link.stalled && (watched[place].revents & (POLLHUP | POLLERR)) != 0) link.ended = true;
      place += 2;
    }
    links.remove_if([](const Link& link) { return link.ended; });
    if (watched[0].revents != 0) accept_one();
    return true;
  }

  void obey() {
    if (std::exchange(cut_wanted, false)) links.clear();
    obeyed.notify_all();
    if (!std::exchange(resume_wanted, false)) return;
    for (Link& link : links) {
      link.stalled = false;
      link.begun.reset();
      if (!link.held.empty() && !send_all(link.server, std::exchange(link.held, {}))) link.ended = true;
    }
  }

  void accept_one() {
    const int number = ::accept4(listening.number(), nullptr, nullptr, SOCK_CLOEXEC);
    if (number < 0) return;
    Socket client(number);
    Socket server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = loopback(to_port);
    if (refusing || ::connect(server.number(), raw(address), sizeof address) != 0) return;
    const int on = 1;
    ::setsockopt(client.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(server.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ++accepted;
    links.push_back({std::move(client), std::move(server), {}, {}, false, {}, false});
  }

  // Empty at the end of the stream.
  static std::string receive(const Socket& from) {
    std::string bytes(kChunk, '\0');
    const ssize_t got = ::recv(from.number(), bytes.data(), bytes.size(), 0);
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
  }

  void from_client(Link& link) {
    const std::string bytes = receive(link.client);
    if (bytes.empty()) {
      link.ended = true;
      return;
    }
    if (plan) {
      link.said += bytes;
      if (link.said.find(plan->text) != std::string::npos) {
        link.begun = std::exchange(plan, std::nullopt);
        ++done;
        link.said.clear();
      } else if (link.said.size() > plan->text.size()) {
        link.said.erase(0, link.said.size() - plan->text.size());
      }
    }
    if (link.begun && link.begun->then == Then::cut_before) {
      link.ended = true;
      return;
    }
    if (link.begun && link.begun->then == Then::stall_before) {
      link.held = bytes;
      link.stalled = true;
      return;
    }
    if (!send_all(link.server, bytes)) link.ended = true;
  }

  void from_server(Link& link) {
    if (link.begun && link.begun->then == Then::stall) {
      link.stalled = true;  // The answer waits in the kernel.
      return;
    }
    const std::string bytes = receive(link.server);
    if (bytes.empty()) {
      link.ended = true;
      return;
    }
    if (!link.begun) {
      if (!send_all(link.client, bytes)) link.ended = true;
      return;
    }
    const std::size_t passed = std::min(bytes.size(), link.begun->answer_bytes);
    link.begun->answer_bytes -= passed;
    send_all(link.client, std::string_view{bytes}.substr(0, passed));
    if (link.begun->answer_bytes == 0) link.ended = true;
  }

  void tell() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = ::write(wake.number(), &one, sizeof one);
  }

  const std::uint16_t to_port;
  Socket listening = listener();
  Socket wake;
  std::condition_variable obeyed;
  std::mutex lock;  // Of everything below.
  std::list<Link> links;
  std::optional<Plan> plan;
  bool refusing = false;
  bool cut_wanted = false;
  bool resume_wanted = false;
  bool stopping = false;
  std::size_t done = 0;
  std::size_t accepted = 0;
  std::thread thread;
};

TcpProxy::TcpProxy(std::uint16_t to_port) : impl_(std::make_unique<Impl>(to_port)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

TcpProxy::~TcpProxy() {
  {
    const std::scoped_lock guard(impl_->lock);
    impl_->stopping = true;
  }
  impl_->tell();
  impl_->thread.join();
}

std::uint16_t TcpProxy::port() const {
  return bound_port(impl_->listening);
}

void TcpProxy::on(const std::string& text, Then then) {
  on(text, then, then == Then::cut_in_answer ? 3 : 0);
}

void TcpProxy::on(const std::string& text, Then then, std::size_t answer_bytes) {
  const std::scoped_lock guard(impl_->lock);
  impl_->plan = Plan{text, then, answer_bytes};
}

void TcpProxy::resume() {
  const std::scoped_lock guard(impl_->lock);
  impl_->resume_wanted = true;
  impl_->tell();
}

void TcpProxy::cut_all() {
  std::unique_lock guard(impl_->lock);
  impl_->cut_wanted = true;
  impl_->tell();
  impl_->obeyed.wait(guard, [this] { return !impl_->cut_wanted; });
}

void TcpProxy::refuse(bool refuse) {
  const std::scoped_lock guard(impl_->lock);
  impl_->refusing = refuse;
}

std::size_t TcpProxy::done() const {
  const std::scoped_lock guard(impl_->lock);
  return impl_->done;
}

std::size_t TcpProxy::accepted() const {
  const std::scoped_lock guard(impl_->lock);
  return impl_->accepted;
}

namespace {

// Where the digits of the port begin and end.
std::pair<std::size_t, std::size_t> port_place(const std::string& url) {
  const std::size_t at = url.find('@');
  const std::size_t host = at == std::string::npos ? url.find("//") + 2 : at + 1;
  const std::size_t colon = url.find(':', host);
  if (colon == std::string::npos) throw std::runtime_error("the url has no port");
  return {colon + 1, std::min(url.find_first_not_of("0123456789", colon + 1), url.size())};
}

}  // namespace

std::string with_port(const std::string& url, std::uint16_t port) {
  const auto [begin, end] = port_place(url);
  return url.substr(0, begin) + std::to_string(port) + url.substr(end);
}

std::uint16_t port_of(const std::string& url) {
  const auto [begin, end] = port_place(url);
  return static_cast<std::uint16_t>(std::stoul(url.substr(begin, end - begin)));
}

}  // namespace varve::test
