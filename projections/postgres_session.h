// PostgresSession: one connection to PostgreSQL inside a job on a lane. Made by PostgresPool; never kept.
//
// Promises: what fails is a Result, mapped by postgres_errors.h; no exception leaves it. A lost connection is
// never replaced in the middle of a job (libpqxx 6.4 would do so silently: it is told not to). Statements and
// waits for locks are bounded by the server (PostgresOptions); isolation is READ COMMITTED unless a
// transaction says else. Each ask() and write() is one round trip. Parameters travel as text: $1, $2 .. with
// casts in the statement.
//
// Never: session state. SET, LISTEN, temporary tables and advisory locks of a session end with the
// connection, and the next job may have another one: use SET LOCAL, pg_advisory_xact_lock and the statement's
// text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "projections/postgres_errors.h"

namespace pqxx {
class connection_base;
class result;
class transaction_base;
}  // namespace pqxx

namespace varve {

// Rows of an answer; copies share them.
class PostgresRows {
 public:
  explicit PostgresRows(std::shared_ptr<const pqxx::result> result);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::size_t columns() const;
  // Rows that an INSERT, UPDATE or DELETE touched.
  std::size_t affected() const;
  bool is_null(std::size_t row, std::size_t column) const;
  // Views into this answer; empty for null.
  std::string_view text(std::size_t row, std::size_t column) const;
  // CHECKs that it is an integer of 64 bits.
  std::int64_t integer(std::size_t row, std::size_t column) const;
  std::uint64_t unsigned_integer(std::size_t row, std::size_t column) const {
    return static_cast<std::uint64_t>(integer(row, column));
  }
  bool boolean(std::size_t row, std::size_t column) const { return text(row, column) == "t"; }

 private:
  std::shared_ptr<const pqxx::result> result_;
  std::size_t size_ = 0;
};

// nullopt is NULL. U+0000 is refused with Errc::invalid_argument (libpq would cut the text there).
using PostgresParams = std::vector<std::optional<std::string>>;

// Parameters in the server's own format, which is faster for large arrays (postgres_query_parameters.h makes
// them, and the server checks them); no NULL among them.
struct PostgresBinary {
  explicit PostgresBinary(std::vector<std::string> of) : values(std::move(of)) {}

  std::vector<std::string> values;
};

// The literal of a text[], bigint[] .. for a parameter: {"a","b",NULL}.
std::string postgres_array(const std::vector<std::optional<std::string>>& items);
std::string postgres_array(const std::vector<std::int64_t>& items);

// Inside PostgresSession::transaction(). After the first statement that fails nothing more is sent, and the
// transaction is rolled back.
class PostgresTransaction {
 public:
  explicit PostgresTransaction(pqxx::transaction_base& raw) : raw_(raw) {}
  PostgresTransaction(const PostgresTransaction&) = delete;
  PostgresTransaction& operator=(const PostgresTransaction&) = delete;

  Result<PostgresRows> run(const std::string& sql, const PostgresParams& params);
  Result<PostgresRows> run(const std::string& sql, const PostgresBinary& params);
  // Several statements without parameters, in one round trip.
  Status script(const std::string& sql);
  // COPY table (columns) FROM STDIN: `next` fills a line in COPY's text format, without its end, and says
  // whether there was one. Faster than anything else, for rebuilds.
  Status copy(const std::string& table, const std::vector<std::string>& columns,
              const std::function<bool(std::string& line)>& next);

  // COPY (query) TO STDOUT: calls `visit` with every line, without its end. `query` has no parameters.
  Status copy_out(const std::string& query, const std::function<void(std::string_view line)>& visit);

  const std::optional<Error>& failure() const { return failure_; }

 private:
  template <class Params>
  Result<PostgresRows> run_with(const std::string& sql, const Params& params);
  Error failed(const std::exception& thrown);

  pqxx::transaction_base& raw_;
  std::optional<Error> failure_;
};

enum class PostgresMode : unsigned char {
  write,          // READ COMMITTED
  read_snapshot,  // REPEATABLE READ, READ ONLY: every statement sees the same moment.
};

class PostgresSession {
 public:
  explicit PostgresSession(pqxx::connection_base& connection) : connection_(connection) {}
  PostgresSession(const PostgresSession&) = delete;
  PostgresSession& operator=(const PostgresSession&) = delete;

  // One statement that only reads.
  Result<PostgresRows> ask(const std::string& sql, const PostgresParams& params);
  // One statement that writes and commits by itself: a connection lost meanwhile is Errc::outcome_unknown.
  Result<PostgresRows> write(const std::string& sql, const PostgresParams& params);
  Result<PostgresRows> write(const std::string& sql, const PostgresBinary& params);

  // BEGIN, `begin` (SQL that belongs to it, as "SET LOCAL statement_timeout = 0", or empty; in the same round
  // trip), `body`, COMMIT. Whatever fails before COMMIT wrote nothing. If `body` gives an Error back, that is
  // the answer, rolled back.
  Status transaction(PostgresMode mode, const std::string& begin,
                     const std::function<Status(PostgresTransaction&)>& body);

  // False once the connection is lost, or in a state that is not known: the pool replaces it.
  bool usable() const;

 private:
  template <class Params>
  Result<PostgresRows> one_statement(const std::string& sql, const Params& params, AtStake stake);
  Status commit(pqxx::transaction_base& raw, AtStake stake);
  void roll_back(pqxx::transaction_base& raw);

  pqxx::connection_base& connection_;
  bool unknown_state_ = false;
};

}  // namespace varve
