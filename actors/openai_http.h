// OpenAiHttp: HTTP requests to model providers, many at a time, on the Env's thread and never blocking it.
// libcurl does the work, certificates included; the Env's loop tells it when sockets are ready and time has
// passed; only names are looked up on a thread that libcurl starts and ends. It knows nothing of models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/task.h"
#include "runtime/time.h"

namespace varve {

class RealEnv;

// Of an answer that is not 2xx: what says why. The rest is not read.
inline constexpr std::size_t kErrorBodyMax = 64 << 10;
// How long an answer that is whole may take to end; its connection can be used again then.
inline constexpr Duration kEndOfAnswer = std::chrono::seconds{1};

struct HttpCall {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::optional<std::string> body;   // POST if there is one, else GET.
  Duration connect_time = std::chrono::seconds{10};
  Duration idle_time = std::chrono::seconds{120};  // Without a single byte.
  // Called with every piece of a 2xx answer. It must not block.
  enum class Appetite : unsigned char { more, enough, stop };
  std::function<Appetite(std::string_view)> on_body;
};

struct HttpReply {
  enum class Fault : unsigned char {
    none,
    connect,    // No connection: nothing was asked.
    untrusted,  // The certificate does not fit; asking again will not help.
    broken,     // The connection ended before the answer did.
    stopped,    // on_body wanted no more.
    slow,       // Nobody took the connection in time: nothing was asked.
    timeout,    // The deadline or the idle time has passed.
    closed,     // This process is shutting down.
  };
  Fault fault = Fault::none;
  std::string detail;  // Of the fault, for people. It holds no secrets.
  int status = 0;
  std::string error_body;         // Of an answer that is not 2xx, its first kErrorBodyMax bytes.
  std::int64_t retry_after = -1;  // Seconds, as the server asks; -1 = it does not.
};

class OpenAiHttp {
 public:
  struct Options {
    std::string ca_file;  // Certificates to trust; empty = the system's.
    std::string proxy;    // URL; empty = none.
    // More calls than this wait for each other.
    std::size_t connections_max = 256;
  };

  OpenAiHttp(RealEnv& env, const Options& options);
  OpenAiHttp(const OpenAiHttp&) = delete;
  OpenAiHttp& operator=(const OpenAiHttp&) = delete;
  // Ends every call with Fault::closed. The Env must still be there; it may have been shut down.
  ~OpenAiHttp();

  boost::asio::awaitable<HttpReply> call(HttpCall call, MonoTime deadline);

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace varve
