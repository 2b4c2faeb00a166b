// PostgresPool: a bounded set of connections to one PostgreSQL, used by jobs on the Env's lanes.
//
//   std::function<Result<std::int64_t>(PostgresSession&)> job = [](PostgresSession& session) -> .. { .. };
//   const auto answer = co_await pool.run<std::int64_t>({Lane::store, pool.options().answer},
//   std::move(job));
//
// Promises: a job has its connection alone. Waiting for a free one ends at a deadline (Errc::unavailable); so
// does connecting. A connection that the server closed while nobody used it is replaced before the job
// begins: that is no error. One that is lost while the job runs is not replaced: the job's statement gives
// the error (nothing is sent twice), and the next job gets a new connection. A server that does not answer is
// left after `limit`: the connection is cut. Neither locks nor session state: check-out and check-in happen
// on the Env's thread, and what a connection needs comes with its start-up packet, each time.
//
// Thread: the Env's; jobs run on the lane and touch what they own alone. A lane has one thread (`read`: as
// many as the Env was given), so more connections than threads only wait.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "projections/postgres_session.h"
#include "runtime/suspend.h"
#include "runtime/sync.h"

namespace varve {

struct PostgresOptions {
  // As libpq reads it: postgresql://user:password@host:5432/database?sslmode=verify-full, or "host=..
  // dbname=..".
  std::string url;
  std::string password;  // Instead of one in the url; empty: what is there, or what libpq finds (PGPASSWORD,
                         // .pgpass).
  std::size_t connections = 4;
  Duration wait = std::chrono::seconds{5};     // For a free connection.
  Duration connect = std::chrono::seconds{5};  // In whole seconds; connect_timeout in the url goes before it.
  Duration statement = std::chrono::seconds{10};  // statement_timeout
  Duration lock = std::chrono::seconds{3};        // lock_timeout
  Duration answer = std::chrono::seconds{15};     // The usual limit of a job. More than `statement`.
};

struct PostgresUse {
  Lane lane = Lane::store;
  Duration limit{};  // Of the job, the wait for the lane included.
};

class PostgresConnection;
class PostgresSocket;

class PostgresPool {
 public:
  // Does not connect. Errc::invalid_argument if libpq cannot read the url. `env` must outlive the pool, and
  // be shut down before it ends.
  static Result<std::unique_ptr<PostgresPool>> make(Env& env, PostgresOptions options);
  ~PostgresPool();
  PostgresPool(const PostgresPool&) = delete;
  PostgresPool& operator=(const PostgresPool&) = delete;

  template <class T>
  Task<T> run(PostgresUse how, std::function<Result<T>(PostgresSession&)> work) {
    auto result = std::make_shared<Result<T>>();
    std::function<void(PostgresSession&)> job = [result, work = std::move(work)](PostgresSession& session) {
      *result = work(session);
    };
    const Status used = co_await use(how, std::move(job));
    if (!used) co_return used.error();
    co_return std::move(*result);
  }

  // One round trip, for a start: whether the server can be reached with these options, is new enough (15) and
  // lets us write. Errc::invalid_argument with a sentence for what only an operator can change, else
  // unavailable.
  Task<> probe();

  // Cuts the connections that jobs use at this moment. Call it when the Env has stopped, before its
  // shut_down(), which waits for the lanes: nobody else would end a job that a server leaves without an
  // answer.
  void cut();

  // A connection that is the caller's alone, and not one of the pool's. Blocks; on a lane.
  Result<std::shared_ptr<PostgresConnection>> open_apart() const;

  const PostgresOptions& options() const { return options_; }
  // For messages: "postgresql://varve@127.0.0.1:5432/varve", without a password.
  const std::string& where() const { return where_; }

 private:
  struct Slot {
    std::shared_ptr<PostgresConnection> connection;  // Null until it is used, and after it was lost.
    std::shared_ptr<const PostgresSocket> in_use;    // While a job has it.
  };
  struct Waiter {
    std::optional<std::size_t> slot;
    Notifier given;
  };

  PostgresPool(Env& env, PostgresOptions options, std::string conninfo, std::string where);
  Task<> use(PostgresUse how, std::function<void(PostgresSession&)> job);
  Task<> use_slot(std::size_t number, PostgresUse how, std::function<void(PostgresSession&)> job);
  Task<std::size_t> check_out();
  void check_in(std::size_t number);
  Task<> connect(std::size_t number, Lane lane);
  // False if the connection was dead, and the job not begun.
  Task<bool> run_job(std::size_t number, PostgresUse how, std::function<void(PostgresSession&)> job);

  Env& env_;
  PostgresOptions options_;
  std::string conninfo_;
  std::string where_;
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_;
  std::deque<std::shared_ptr<Waiter>> waiting_;
};

}  // namespace varve
