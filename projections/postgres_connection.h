// PostgresConnection: a connection of the pool, and how it is made. Everything here may block, and runs in
// jobs on a lane; only socket() is for the Env's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "projections/postgres_pool.h"

namespace varve {

// A second descriptor of a connection's socket: whoever holds it can cut the connection from another thread
// without ever meeting a descriptor that was closed and given to somebody else.
class PostgresSocket {
 public:
  explicit PostgresSocket(int descriptor);
  ~PostgresSocket();
  PostgresSocket(const PostgresSocket&) = delete;
  PostgresSocket& operator=(const PostgresSocket&) = delete;

  // Both sides see the end of the stream from now on.
  void cut() const;
  // One more descriptor of it, the caller's; -1: there is none.
  int duplicate() const;

 private:
  int descriptor_;
};

struct PostgresAddress {
  std::string conninfo;  // For libpq: what the url says, and what a connection of ours needs.
  std::string where;     // For people.
};
// Errc::invalid_argument if libpq cannot read the url; the sentence never quotes it.
Result<PostgresAddress> postgres_address(const PostgresOptions& options);

class PostgresConnection {
 public:
  static Result<std::shared_ptr<PostgresConnection>> open(const std::string& conninfo);
  ~PostgresConnection();
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  // Whether the server has not closed it, as far as can be known without asking.
  bool alive();
  // Runs the job; false if the connection is of no use behind it.
  bool run(const std::function<void(PostgresSession&)>& job);
  std::shared_ptr<const PostgresSocket> socket() const { return socket_; }

  // Notifications of the channel are kept from now on, until notes() takes them. Once.
  Status listen(const std::string& channel);
  // Their payloads, in order. Does not block: what the server has not sent yet comes next time.
  // Errc::unavailable: the connection is lost.
  Result<std::vector<std::string>> notes();

 private:
  struct Impl;
  explicit PostgresConnection(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
  std::shared_ptr<const PostgresSocket> socket_;
};

}  // namespace varve
