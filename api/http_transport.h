// HttpTransport: requests between nodes as POST /v1/varve/node, over connections that are kept.
//
// It promises to tell apart what certainly was not delivered (Errc::unavailable: no connection, nothing sent,
// refused before anybody looked at it) from what may have been (Errc::outcome_unknown). A kept connection
// that turns out to be closed is replaced only if not a byte was sent on it; nothing is ever sent twice
// otherwise. Sizes, connections and times are bounded, and at its deadline a call ends whatever the other
// side does.
//
// With a secret, a request without it is answered 403 before anybody has looked at it; the comparison takes
// the same time for every wrong one. It is the cluster's own, not the password of clients, so this route
// stands beside with_access() (api/access.h), not behind it.
//
// It never looks into what it carries, and never prints the secret. Thread: the RealEnv's, which outlives it;
// close() comes before the RealEnv's shut_down().
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "api/http.h"
#include "cluster/transport.h"
#include "eventlog/record.h"
#include "runtime/real_env.h"

namespace varve {

inline constexpr std::string_view kNodePath = "/v1/varve/node";
inline constexpr std::string_view kClusterSecretHeader = "varve-cluster-secret";

// A command is a record at most, and JSON inside JSON may double.
inline constexpr std::size_t kNodeRequestBytesMax = std::size_t{32} << 20U;
inline constexpr std::size_t kNodeAnswerBytesMax = std::size_t{64} << 20U;  // News of a whole turn.
static_assert(kNodeRequestBytesMax >= 2 * kRecordBytesMax + (std::size_t{1} << 20U));

class HttpTransport final : public Transport {
 public:
  struct Options {
    std::string secret;  // The cluster's; empty = none is sent, and none is asked for.
    // To one node at a time; a call beyond them waits.
    std::size_t connections_max = 256;
    std::size_t idle_max = 32;
    Duration idle = std::chrono::seconds{30};  // Kept unused for so long; servers keep them longer.
    Duration connect_time = std::chrono::seconds{2};
    std::size_t request_bytes_max = kNodeRequestBytesMax;
    std::size_t answer_bytes_max = kNodeAnswerBytesMax;
  };

  HttpTransport(RealEnv& env, Options options);
  // As close().
  ~HttpTransport() override;

  // `url` is another node's, as in its claims: "http://node-1:8283".
  Task<std::string> call(std::string url, std::string request, MonoTime deadline) override;
  void serve(Transport::Handler handler) override;

  // The route. 425 before serve().
  boost::asio::awaitable<Response> answer(Request request);
  // Ends every connection; calls under way end with it, later ones find no way.
  void close();
  // Open ones, to all nodes.
  std::size_t connections() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
  Transport::Handler handler_;
};

}  // namespace varve
