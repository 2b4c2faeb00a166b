// varve-load: puts load on an HTTP server and prints what came of it as one line of JSON.
//
// A closed loop: every connection sends its next request when it has the answer to the last one. Requests are
// prepared bytes and one thread serves all connections with epoll, so that the load costs the machine little
// compared with the server under test. It is bounded in count and in time, and never retries.
//
//   varve-load --port 8283 --connections 16 --requests 100000 --path '/v1/agents/{}' --agents-from-file
//   ids.txt
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kConnectionsMax = 4096;
constexpr std::size_t kRequestsMax = 20'000'000;
constexpr int kSecondsMax = 60;
constexpr std::size_t kCounterDigits = 10;

struct Options {
  std::string host = "127.0.0.1";
  std::vector<std::uint16_t> ports;  // Connections take them in turn.
  std::size_t connections = 8;
  std::size_t requests = 10'000;
  int seconds_max = kSecondsMax;
  std::string mode = "get";
  std::string path = "/";
  std::string body;
  std::string agents_file;
  std::vector<std::string> headers;
};

// One request as bytes. `counter` is where its number is written, so that no two bodies are equal.
struct Prepared {
  std::string bytes;
  std::size_t counter = std::string::npos;
};

struct Connection {
  int socket = -1;
  std::string output;
  std::size_t sent = 0;
  std::string input;
  std::size_t answer_bytes = 0;  // Head and body of the answer; 0 while its head is not here.
  int status = 0;
  bool busy = false;
  Clock::time_point started;
};

struct Totals {
  std::vector<std::uint32_t> micros;
  std::map<int, std::size_t> statuses;
  std::size_t started = 0;
  std::size_t bytes = 0;
  std::size_t broken = 0;  // Connections that ended before their time.
};

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

Prepared prepare(const Options& options, const std::string& path) {
  const std::string method = options.mode == "get" ? "GET" : options.mode == "post" ? "POST" : "PATCH";
  const auto counter = options.body.find("{n}");
  const std::string body = counter == std::string::npos
                               ? options.body
                               : options.body.substr(0, counter) + std::string(kCounterDigits, '0') +
                                     options.body.substr(counter + 3);
  Prepared request;
  request.bytes = method + " " + path + " HTTP/1.1\r\nhost: " + options.host + "\r\n";
  for (const auto& header : options.headers) request.bytes += header + "\r\n";
  if (method != "GET") {
    request.bytes +=
        "content-type: application/json\r\ncontent-length: " + std::to_string(body.size()) + "\r\n";
  }
  request.bytes += "\r\n";
  if (method == "GET") return request;
  if (counter != std::string::npos) request.counter = request.bytes.size() + counter;
  request.bytes += body;
  return request;
}

// One request for each line of the agents' file: the line stands for "{}" in the path, or is the path.
std::vector<Prepared> prepare_all(const Options& options) {
  std::vector<Prepared> requests;
  if (options.agents_file.empty()) {
    requests.push_back(prepare(options, options.path));
    return requests;
  }
  std::ifstream file(options.agents_file);
  for (std::string line; std::getline(file, line);) {
    if (line.empty()) continue;
    const bool pattern = options.path.find("{}") != std::string::npos;
    requests.push_back(prepare(options, pattern ? replaced(options.path, "{}", line) : line));
  }
  return requests;
}

int connect_to(const Options& options, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, options.host.c_str(), &address.sin_addr) != 1) return -1;
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return -1;
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    ::close(socket);
    return -1;
  }
  return socket;
}

// Reads status and length from the head of an answer, once it is whole.
void read_head(Connection& connection) {
  const auto end = connection.input.find("\r\n\r\n");
  if (end == std::string::npos || connection.input.size() < 12) return;
  const std::string_view head(connection.input.data(), end + 2);
  std::from_chars(head.data() + 9, head.data() + 12, connection.status);
  std::size_t length = 0;
  for (const std::string_view name : {"\r\ncontent-length: ", "\r\nContent-Length: "}) {
    const auto at = head.find(name);
    if (at == std::string_view::npos) continue;
    std::from_chars(head.data() + at + name.size(), head.data() + head.size(), length);
  }
  connection.answer_bytes = end + 4 + length;
}

class Load {
 public:
  Load(const Options& options, std::vector<Prepared> requests)
      : options_(options), requests_(std::move(requests)), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    totals_.micros.reserve(options_.requests);
  }

  // False if the server cannot be reached at all.
  bool run() {
    connections_.resize(std::min(options_.connections, options_.requests));
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      connections_[i].socket = connect_to(options_, options_.ports[i % options_.ports.size()]);
      if (connections_[i].socket < 0) return false;
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = i;
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i].socket, &event);
    }
    begin_ = Clock::now();
    deadline_ = begin_ + std::chrono::seconds{options_.seconds_max};
    for (auto& connection : connections_) start(connection);
    std::array<epoll_event, 256> events;
    while (busy_ > 0 && Clock::now() < deadline_) {
      const int ready = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 200);
      for (int i = 0; i < ready; ++i) {
        progress(connections_[events.at(static_cast<std::size_t>(i)).data.u64]);
      }
    }
    seconds_ = std::chrono::duration<double>(Clock::now() - begin_).count();
    return true;
  }

  // Prints the totals; true if every request asked for was answered with a 2xx.
  bool report() {
    auto& micros = totals_.micros;
    std::sort(micros.begin(), micros.end());
    const auto quantile = [&](std::size_t per_mille) {
      return micros.empty() ? 0U : micros[std::min(micros.size() - 1, micros.size() * per_mille / 1000)];
    };
    std::size_t errors = totals_.broken;
    std::string statuses;
    for (const auto& [status, count] : totals_.statuses) {
      if (status < 200 || status > 299) errors += count;
      statuses += (statuses.empty() ? "\"" : ",\"") + std::to_string(status) + "\":" + std::to_string(count);
    }
    const bool complete = micros.size() == options_.requests;
    std::printf(
        "{\"mode\":\"%s\",\"connections\":%zu,\"requests\":%zu,\"seconds\":%.3f,\"requests_per_second\":%.0f,"
        "\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u,\"bytes\":%zu,\"errors\":%zu,"
        "\"statuses\":{%s},\"complete\":%s}\n",
        options_.mode.c_str(), connections_.size(), micros.size(), seconds_,
        static_cast<double>(micros.size()) / std::max(seconds_, 1e-9), quantile(500), quantile(900),
        quantile(990), micros.empty() ? 0U : micros.back(), totals_.bytes, errors, statuses.c_str(),
        complete ? "true" : "false");
    return complete && errors == 0;
  }

 private:
  void start(Connection& connection) {
    if (totals_.started == options_.requests) return;
    const std::size_t number = totals_.started++;
    const Prepared& request = requests_[number % requests_.size()];
    connection.output.assign(request.bytes);
    if (request.counter != std::string::npos) {
      std::array<char, kCounterDigits + 1> digits;
      std::snprintf(digits.data(), digits.size(), "%010zu", number % 10'000'000'000U);
      connection.output.replace(request.counter, kCounterDigits, digits.data(), kCounterDigits);
    }
    connection.sent = 0;
    connection.answer_bytes = 0;
    connection.busy = true;
    ++busy_;
    connection.started = Clock::now();
    // Bodies are small: a blocking send of one does not stall the others.
    while (connection.sent < connection.output.size()) {
      const ssize_t sent = ::send(connection.socket, connection.output.data() + connection.sent,
                                  connection.output.size() - connection.sent, MSG_NOSIGNAL);
      if (sent <= 0) return give_up(connection);
      connection.sent += static_cast<std::size_t>(sent);
    }
  }

  void give_up(Connection& connection) {
    if (connection.busy) --busy_;
    connection.busy = false;
    ++totals_.broken;
    ::close(connection.socket);
    connection.socket = -1;
  }

  void progress(Connection& connection) {
    if (connection.socket < 0) return;
    const ssize_t got = ::recv(connection.socket, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return give_up(connection);
    connection.input.append(buffer_.data(), static_cast<std::size_t>(got));
    if (connection.answer_bytes == 0) read_head(connection);
    if (connection.answer_bytes == 0 || connection.input.size() < connection.answer_bytes) return;
    const auto taken =
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - connection.started);
    totals_.micros.push_back(static_cast<std::uint32_t>(taken.count()));
    totals_.bytes += connection.answer_bytes;
    ++totals_.statuses[connection.status];
    connection.input.clear();
    connection.busy = false;
    --busy_;
    start(connection);
  }

  Options options_;
  std::vector<Prepared> requests_;
  int epoll_;
  std::vector<Connection> connections_;
  std::array<char, 256 << 10> buffer_{};
  Totals totals_;
  std::size_t busy_ = 0;
  Clock::time_point begin_;
  Clock::time_point deadline_;
  double seconds_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Puts load on an HTTP server; prints requests per second and latencies as JSON");
  app.add_option("--host", options.host, "IPv4 address of the server")->capture_default_str();
  app.add_option("--port", options.ports, "port of the server, or of several: 8283,8284")
      ->delimiter(',')
      ->required();
  app.add_option("--connections", options.connections, "connections kept alive")
      ->check(CLI::Range(std::size_t{1}, kConnectionsMax))
      ->capture_default_str();
  app.add_option("--requests", options.requests, "how many requests in all")
      ->check(CLI::Range(std::size_t{1}, kRequestsMax))
      ->capture_default_str();
  app.add_option("--seconds-max", options.seconds_max, "stop after this time, whatever is left")
      ->check(CLI::Range(1, kSecondsMax))
      ->capture_default_str();
  app.add_option("--mode", options.mode, "method of the requests")
      ->check(CLI::IsMember({"get", "post", "patch"}))
      ->capture_default_str();
  app.add_option("--path", options.path, "target; {} stands for a line of --agents-from-file")
      ->capture_default_str();
  app.add_option("--body", options.body, "JSON body; the first {n} becomes the number of the request");
  app.add_option("--header", options.headers, "a header for every request, \"name: value\"");
  app.add_option("--agents-from-file", options.agents_file,
                 "ids for {} in --path, or whole paths, one a line")
      ->check(CLI::ExistingFile);
  CLI11_PARSE(app, argc, argv);

  auto requests = prepare_all(options);
  if (requests.empty()) {
    std::fprintf(stderr, "%s has no line\n", options.agents_file.c_str());
    return 2;
  }
  // Static: its read buffer is too large for the stack of a small container.
  static Load load(options, std::move(requests));
  if (!load.run()) {
    std::fprintf(stderr, "cannot connect to %s: %s\n", options.host.c_str(), std::strerror(errno));
    return 2;
  }
  return load.report() ? 0 : 1;
}
