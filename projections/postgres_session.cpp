#include "projections/postgres_session.h"

#include <charconv>
#include <pqxx/binarystring>
#include <pqxx/nontransaction>
#include <pqxx/result>
#include <pqxx/tablereader>
#include <pqxx/tablewriter>

#include "runtime/check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#define VARVE_LEAKS_OF_LIBPQXX __lsan::ScopedDisabler disabled
#endif
#endif
#ifndef VARVE_LEAKS_OF_LIBPQXX
#define VARVE_LEAKS_OF_LIBPQXX static_cast<void>(0)
#endif

namespace varve {

namespace {

constexpr std::size_t kParameterBytesMax = std::size_t{1}
                                           << 29U;  // libpq counts in int; PostgreSQL stores 1 GB.

Error too_large(std::size_t bytes) {
  return {Errc::resource_exhausted,
          "a value of " + std::to_string(bytes) + " bytes is too large for one statement to PostgreSQL"};
}

Status check_parameters(const PostgresParams& params) {
  for (const auto& param : params) {
    if (!param) continue;
    if (param->find('\0') != std::string::npos) {
      return Error{Errc::invalid_argument, "PostgreSQL does not store U+0000, and a value holds one"};
    }
    if (param->size() > kParameterBytesMax) return too_large(param->size());
  }
  return ok();
}

Status check_parameters(const PostgresBinary& params) {
  for (const std::string& param : params.values) {
    if (param.size() > kParameterBytesMax) return too_large(param.size());
  }
  return ok();
}

// libpqxx 6.4 forgets the answer object when it finds the connection lost: a few hundred bytes, which are its
// own.
PostgresRows send(pqxx::transaction_base& raw, const std::string& sql, const PostgresParams& params) {
  VARVE_LEAKS_OF_LIBPQXX;
  std::vector<const char*> texts;  // Null is NULL. Nothing is copied but into the packet.
  texts.reserve(params.size());
  for (const auto& param : params) texts.push_back(param ? param->c_str() : nullptr);
  return PostgresRows{std::make_shared<const pqxx::result>(
      raw.exec_params(sql, pqxx::prepare::make_dynamic_params(texts.begin(), texts.end())))};
}

PostgresRows send(pqxx::transaction_base& raw, const std::string& sql, const PostgresBinary& params) {
  VARVE_LEAKS_OF_LIBPQXX;
  const std::vector<pqxx::binarystring> values(params.values.begin(), params.values.end());
  return PostgresRows{std::make_shared<const pqxx::result>(
      raw.exec_params(sql, pqxx::prepare::make_dynamic_params(values.begin(), values.end())))};
}

pqxx::result send_script(pqxx::transaction_base& raw, const std::string& sql) {
  VARVE_LEAKS_OF_LIBPQXX;
  return raw.exec(sql);
}

const char* begin_of(PostgresMode mode) {
  switch (mode) {
    case PostgresMode::write:
      return "BEGIN ISOLATION LEVEL READ COMMITTED";
    case PostgresMode::read_snapshot:
      return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
  }
  return "BEGIN";
}

Error lost_before() {
  return {Errc::unavailable, "the connection to PostgreSQL was lost before the statement"};
}

void put_quoted(std::string& out, std::string_view text) {
  out.push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  out.push_back('"');
}

}  // namespace

PostgresRows::PostgresRows(std::shared_ptr<const pqxx::result> result)
    : result_(std::move(result)), size_(static_cast<std::size_t>(result_->size())) {}

std::size_t PostgresRows::columns() const {
  return static_cast<std::size_t>(result_->columns());
}

std::size_t PostgresRows::affected() const {
  return static_cast<std::size_t>(result_->affected_rows());
}

bool PostgresRows::is_null(std::size_t row, std::size_t column) const {
  CHECK(row < size_);
  return (*result_)[static_cast<pqxx::result::size_type>(row)][static_cast<pqxx::row::size_type>(column)]
      .is_null();
}

std::string_view PostgresRows::text(std::size_t row, std::size_t column) const {
  CHECK(row < size_);
  const pqxx::field field =
      (*result_)[static_cast<pqxx::result::size_type>(row)][static_cast<pqxx::row::size_type>(column)];
  return {field.c_str(), field.size()};
}

std::int64_t PostgresRows::integer(std::size_t row, std::size_t column) const {
  const std::string_view digits = text(row, column);
  std::int64_t number = 0;
  const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  CHECK(fault == std::errc{} && end == digits.data() + digits.size());
  return number;
}

std::string postgres_array(const std::vector<std::optional<std::string>>& items) {
  std::string out{"{"};
  for (const auto& item : items) {
    if (out.size() > 1) out.push_back(',');
    if (item) {
      put_quoted(out, *item);
    } else {
      out.append("NULL");
    }
  }
  out.push_back('}');
  return out;
}

std::string postgres_array(const std::vector<std::int64_t>& items) {
  std::string out{"{"};
  for (const std::int64_t item : items) {
    if (out.size() > 1) out.push_back(',');
    out.append(std::to_string(item));
  }
  out.push_back('}');
  return out;
}

Error PostgresTransaction::failed(const std::exception& thrown) {
  failure_ = postgres_error(thrown, AtStake::nothing);
  return *failure_;
}

template <class Params>
Result<PostgresRows> PostgresTransaction::run_with(const std::string& sql, const Params& params) {
  if (failure_) return *failure_;
  if (const auto fits = check_parameters(params); !fits) {
    failure_ = fits.error();
    return *failure_;
  }
  try {
    return send(raw_, sql, params);
  } catch (const std::exception& thrown) {
    return failed(thrown);
  }
}

Result<PostgresRows> PostgresTransaction::run(const std::string& sql, const PostgresParams& params) {
  return run_with(sql, params);
}

Result<PostgresRows> PostgresTransaction::run(const std::string& sql, const PostgresBinary& params) {
  return run_with(sql, params);
}

Status PostgresTransaction::script(const std::string& sql) {
  if (failure_) return *failure_;
  try {
    send_script(raw_, sql);
    return ok();
  } catch (const std::exception& thrown) {
    return failed(thrown);
  }
}

Status PostgresTransaction::copy(const std::string& table, const std::vector<std::string>& columns,
                                 const std::function<bool(std::string& line)>& next) {
  if (failure_) return *failure_;
  VARVE_LEAKS_OF_LIBPQXX;
  try {
// Deprecated for the sake of stream_to, which formats the lines itself, and every byte beyond ASCII as four.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
    pqxx::tablewriter lines(raw_, table, columns.begin(), columns.end());
#pragma clang diagnostic pop
    for (std::string line; next(line); line.clear()) lines.write_raw_line(line);
    lines.complete();
    return ok();
  } catch (const std::exception& thrown) {
    return failed(thrown);
  }
}

Status PostgresTransaction::copy_out(const std::string& query,
                                     const std::function<void(std::string_view line)>& visit) {
  if (failure_) return *failure_;
  VARVE_LEAKS_OF_LIBPQXX;
  try {
// As above; the reader puts what it is given between COPY and TO STDOUT.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
    pqxx::tablereader lines(raw_, "(" + query + ")");
#pragma clang diagnostic pop
    for (std::string line; lines.get_raw_line(line);) {
      const std::string_view whole{line};
      visit(whole.ends_with('\n') ? whole.substr(0, whole.size() - 1) : whole);
    }
    lines.complete();
    return ok();
  } catch (const std::exception& thrown) {
    return failed(thrown);
  }
}

bool PostgresSession::usable() const {
  return !unknown_state_ && connection_.is_open();
}

template <class Params>
Result<PostgresRows> PostgresSession::one_statement(const std::string& sql, const Params& params,
                                                    AtStake stake) {
  if (const auto fits = check_parameters(params); !fits) return fits.error();
  if (!usable()) return lost_before();
  AtStake now = AtStake::nothing;
  try {
    pqxx::nontransaction raw(connection_);
    now = stake;
    return send(raw, sql, params);
  } catch (const std::exception& thrown) {
    return postgres_error(thrown, now);
  }
}

Result<PostgresRows> PostgresSession::ask(const std::string& sql, const PostgresParams& params) {
  return one_statement(sql, params, AtStake::nothing);
}

Result<PostgresRows> PostgresSession::write(const std::string& sql, const PostgresParams& params) {
  return one_statement(sql, params, AtStake::commit);
}

Result<PostgresRows> PostgresSession::write(const std::string& sql, const PostgresBinary& params) {
  return one_statement(sql, params, AtStake::commit);
}

Status PostgresSession::transaction(PostgresMode mode, const std::string& begin,
                                    const std::function<Status(PostgresTransaction&)>& body) {
  if (!usable()) return lost_before();
  try {
    pqxx::nontransaction raw(connection_);
    send_script(raw,
                begin.empty() ? std::string{begin_of(mode)} : std::string{begin_of(mode)} + "; " + begin);
    PostgresTransaction inside(raw);
    Status done = body(inside);
    if (done && inside.failure()) done = *inside.failure();
    // What only reads can be asked for again, whatever became of its end.
    if (done) return commit(raw, mode == PostgresMode::write ? AtStake::commit : AtStake::nothing);
    roll_back(raw);
    return done;
  } catch (const std::exception& thrown) {
    unknown_state_ = true;
    return postgres_error(thrown, AtStake::nothing);
  }
}

Status PostgresSession::commit(pqxx::transaction_base& raw, AtStake stake) {
  try {
    // After a statement that failed it would roll back, and say so without an error: we do not come here
    // then.
    send_script(raw, "COMMIT");
    return ok();
  } catch (const std::exception& thrown) {
    // After a refusal the server has rolled back by itself; to be sure, the next job gets a new connection.
    unknown_state_ = true;
    return postgres_error(thrown, stake);
  }
}

void PostgresSession::roll_back(pqxx::transaction_base& raw) {
  try {
    send_script(raw, "ROLLBACK");
  } catch (const std::exception&) {
    unknown_state_ = true;  // Without COMMIT nothing is written; the connection is thrown away.
  }
}

}  // namespace varve
