// Request and Response: HTTP as plain values. Routes are functions from one to the other (api.h); the only
// file that knows sockets is http_server.cpp, and the simulation needs none.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/task.h"
#include "runtime/time.h"

namespace varve {

// Header names compare without regard to case.
struct HeaderNameLess {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const;
};
using Headers = std::multimap<std::string, std::string, HeaderNameLess>;

struct Request {
  std::string method;
  std::string target;  // As on the request line: path and query, still percent-encoded.
  Headers headers;
  std::string body;

  // The first value of a header.
  std::optional<std::string> header(std::string_view name) const;
};

// A body that comes piece by piece, as server-sent events do. Pulled by whoever sends it, so a slow reader
// slows nothing but itself; destroyed when its reader has gone.
class EventSource {
 public:
  EventSource() = default;
  EventSource(const EventSource&) = delete;
  EventSource& operator=(const EventSource&) = delete;
  virtual ~EventSource() = default;

  // The next piece, never empty; nothing at the end.
  virtual boost::asio::awaitable<std::optional<std::string>> next() = 0;
};

struct Response {
  int status = 200;
  Headers headers;
  std::shared_ptr<EventSource> events;  // If set, the body: what it gives, to its end.
  std::string body;  // content-type application/json unless a header says otherwise; empty = no content type.

  std::optional<std::string> header(std::string_view name) const;
};

// Percent-decodes; nothing if an escape is malformed. '+' means a space only in queries.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);

// A target taken apart.
struct Target {
  std::string path;                                        // Still percent-encoded.
  std::vector<std::pair<std::string, std::string>> query;  // Decoded, in order.
};
std::optional<Target> parse_target(std::string_view target);

// What a server serves: anything that answers a request. It never throws and always answers.
using Handler = std::function<boost::asio::awaitable<Response>(Request)>;

}  // namespace varve
