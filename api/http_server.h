// HttpServer: serves a Handler over HTTP/1.1 on the loop of a RealEnv.
//
// It promises that no client can harm another one or the process: headers, bodies, connections and the time
// to send a request are limited, and every refusal is a JSON body with a "detail" that names the limit. A
// handler that has begun always runs to its end, also when its client has gone; the answer is then dropped.
// Connections are kept alive; requests on one connection are answered one after the other.
//
// It never routes, never looks into a body and never lets an exception travel.
// Thread: the RealEnv's. Lifetime: the RealEnv must outlive the server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/http.h"
#include "runtime/real_env.h"

namespace varve {

class HttpServer {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    std::uint16_t port = 0;  // 0 = any that is free.
    std::size_t connections_max = 1024;
    std::size_t header_bytes_max = 64 << 10;
    std::size_t body_bytes_max = 4 << 20;
    // The requests whose bodies may be larger, a few at a time; more are answered 429.
    std::string large_body_method = "POST";
    std::vector<std::string> large_body_paths{"/v1/agents/import", "/v1/varve/node",
                                              "/v1/varve/teleport/import"};
    std::size_t large_body_bytes_max = 64 << 20;
    std::size_t large_bodies_max = 2;
    Duration idle = std::chrono::seconds{75};          // Between two requests.
    Duration request_time = std::chrono::seconds{60};  // From the first byte of a request to its last.
    Duration stall_time = std::chrono::seconds{60};    // For the client to take some more of an answer.
  };

  // Errc::conflict if the port is in use, Errc::invalid_argument if the address is not ours to listen on.
  static Result<std::unique_ptr<HttpServer>> listen(RealEnv& env, Options options, Handler handler);
  // Closes every connection. Handlers that still run are left to the Env.
  ~HttpServer();

  std::uint16_t port() const;
  std::size_t connections() const;

  // Takes no new connections and closes the idle ones; every answer from now on ends its connection.
  void stop_accepting();
  // stop_accepting(), then waits for the requests under way. At the deadline it closes what is left:
  // Errc::unavailable names how many requests were cut off.
  Task<> drain(MonoTime deadline);

  struct Impl;
  explicit HttpServer(std::shared_ptr<Impl> impl);

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace varve
