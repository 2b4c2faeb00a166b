// Every SQLSTATE class and every exception of libpqxx, as an error of ours.
#include "projections/postgres_errors.h"

#include <gtest/gtest.h>

#include <pqxx/except>
#include <string>

namespace varve::test {

namespace {

struct StateCase {
  const char* sqlstate;
  Errc while_nothing;  // At stake.
  Errc while_commit;
  const char* says;
};

constexpr Errc kUnavailable = Errc::unavailable;
constexpr Errc kUnknown = Errc::outcome_unknown;

const StateCase kStates[] = {
    // Nobody knows what became of the statement.
    {"08006", kUnavailable, kUnknown, "lost"},
    {"08007", kUnavailable, kUnknown, "lost"},
    {"40003", kUnavailable, kUnknown, "does not know"},
    {"57P01", kUnavailable, kUnknown, "shutting down"},
    {"57P02", kUnavailable, kUnknown, "shutting down"},
    {"57P03", kUnavailable, kUnknown, "starting or stopping"},
    {"57P05", kUnavailable, kUnknown, "idle"},
    {"25P03", kUnavailable, kUnknown, "idle for too long"},
    // The statement failed as a whole.
    {"40001", kUnavailable, kUnavailable, "because of another one"},
    {"40P01", kUnavailable, kUnavailable, "because of another one"},
    {"40000", kUnavailable, kUnavailable, "because of another one"},
    {"55P03", kUnavailable, kUnavailable, "holds the lock"},
    {"57014", kUnavailable, kUnavailable, "longer than it may"},
    {"53100", kUnavailable, kUnavailable, "disk of PostgreSQL is full"},
    {"53200", kUnavailable, kUnavailable, "out of memory"},
    {"53300", kUnavailable, kUnavailable, "max_connections"},
    {"53400", kUnavailable, kUnavailable, "lacks a resource"},
    {"58030", kUnavailable, kUnavailable, "its files"},
    {"25006", kUnavailable, kUnavailable, "no writes"},
    {"25P02", kUnavailable, kUnavailable, "failed before"},
    {"XX000", kUnavailable, kUnavailable, "failed inside"},
    {"P0001", kUnavailable, kUnavailable, "refused"},
    {"", kUnavailable, kUnavailable, "refused"},
    // Trying again is of no use.
    {"28P01", Errc::invalid_argument, Errc::invalid_argument, "password"},
    {"28000", Errc::invalid_argument, Errc::invalid_argument, "this user"},
    {"3D000", Errc::invalid_argument, Errc::invalid_argument, "no such database"},
    {"42501", Errc::invalid_argument, Errc::invalid_argument, "no right"},
    {"22021", Errc::invalid_argument, Errc::invalid_argument, "such a value"},
    {"0A000", Errc::invalid_argument, Errc::invalid_argument, "does not support"},
    {"54000", Errc::resource_exhausted, Errc::resource_exhausted, "larger"},
    {"23505", Errc::conflict, Errc::conflict, "that key already"},
    {"42P07", Errc::conflict, Errc::conflict, "that name already"},
    {"23514", Errc::corrupt, Errc::corrupt, "a rule of the schema"},
    {"42P01", Errc::corrupt, Errc::corrupt, "run varve migrate"},
    {"42703", Errc::corrupt, Errc::corrupt, "run varve migrate"},
    {"3F000", Errc::corrupt, Errc::corrupt, "run varve migrate"},
    {"XX001", Errc::corrupt, Errc::corrupt, "damaged data"},
    {"XX002", Errc::corrupt, Errc::corrupt, "damaged index"},
};

TEST(PostgresErrors, EverySqlStateHasACodeAndASentence) {
  for (const StateCase& state : kStates) {
    const Error reading =
        postgres_error_of(state.sqlstate, "ERROR:  it says so\nLINE 1: x", AtStake::nothing);
    const Error committing = postgres_error_of(state.sqlstate, "ERROR:  it says so\n", AtStake::commit);
    EXPECT_EQ(reading.code, state.while_nothing) << state.sqlstate;
    EXPECT_EQ(committing.code, state.while_commit) << state.sqlstate;
    EXPECT_NE(reading.message.find(state.says), std::string::npos)
        << state.sqlstate << ": " << reading.message;
    EXPECT_TRUE(reading.message.ends_with(": it says so")) << reading.message;
  }
}

std::string both(const std::exception& thrown) {
  return std::string{to_string(postgres_error(thrown, AtStake::nothing).code)} + ", " +
         to_string(postgres_error(thrown, AtStake::commit).code);
}

// libpqxx keeps some SQLSTATEs only in the type.
TEST(PostgresErrors, EveryExceptionOfLibpqxxIsAnError) {
  EXPECT_EQ(both(pqxx::broken_connection()), "unavailable, outcome_unknown");
  EXPECT_EQ(both(pqxx::failure("no answer")), "unavailable, outcome_unknown");
  EXPECT_EQ(both(pqxx::statement_completion_unknown("x")), "unavailable, outcome_unknown");
  EXPECT_EQ(both(pqxx::in_doubt_error("x")), "outcome_unknown, outcome_unknown");
  EXPECT_EQ(both(pqxx::too_many_connections("x")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::transaction_rollback("x")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::serialization_failure("x")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::deadlock_detected("x")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::insufficient_privilege("x")), "invalid_argument, invalid_argument");
  EXPECT_EQ(both(pqxx::disk_full("x")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::out_of_memory("x")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::insufficient_resources("x")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::unique_violation("x")), "conflict, conflict");
  EXPECT_EQ(both(pqxx::check_violation("x")), "corrupt, corrupt");
  EXPECT_EQ(both(pqxx::foreign_key_violation("x")), "corrupt, corrupt");
  EXPECT_EQ(both(pqxx::data_exception("x")), "invalid_argument, invalid_argument");
  EXPECT_EQ(both(pqxx::undefined_table("x")), "corrupt, corrupt");
  EXPECT_EQ(both(pqxx::syntax_error("x")), "corrupt, corrupt");
  EXPECT_EQ(both(pqxx::feature_not_supported("x")), "invalid_argument, invalid_argument");
  EXPECT_EQ(both(pqxx::plpgsql_raise("x")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::sql_error("x", "SELECT", "55P03")), "unavailable, unavailable");
  EXPECT_EQ(both(pqxx::sql_error("x", "SELECT", "57P01")), "unavailable, outcome_unknown");
  // Bugs of ours. What was at stake may have been done.
  EXPECT_EQ(both(pqxx::usage_error("x")), "corrupt, outcome_unknown");
  EXPECT_EQ(both(pqxx::argument_error("x")), "corrupt, outcome_unknown");
  EXPECT_EQ(both(pqxx::conversion_error("x")), "corrupt, outcome_unknown");
  EXPECT_EQ(both(pqxx::unexpected_rows("x")), "corrupt, outcome_unknown");
  EXPECT_EQ(both(pqxx::range_error("x")), "corrupt, outcome_unknown");
  EXPECT_EQ(both(pqxx::internal_error("x")), "corrupt, outcome_unknown");
  EXPECT_EQ(both(std::logic_error("x")), "corrupt, outcome_unknown");
}

TEST(PostgresErrors, AConnectionThatDoesNotComeToBeSaysWhy) {
  const Error password = postgres_connect_error(
      "connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  28P01: password authentication "
      "failed for "
      "user \"varve\"\nLOCATION:  auth_failed, auth.c:329\n");
  EXPECT_EQ(password.code, Errc::invalid_argument);
  EXPECT_EQ(password.message,
            "PostgreSQL refuses the password: password authentication failed for user \"varve\"");
  const Error starting = postgres_connect_error("FATAL:  57P03: the database system is starting up\n");
  EXPECT_EQ(starting.code, Errc::unavailable);
  // In the language of the server.
  const Error database = postgres_connect_error("FATAL:  3D000: Datenbank x existiert nicht\n");
  EXPECT_EQ(database.code, Errc::invalid_argument);
  const Error refused =
      postgres_connect_error("connection to server failed: Connection refused\n\tIs it running?\n");
  EXPECT_EQ(refused.code, Errc::unavailable);
  EXPECT_NE(refused.message.find("Connection refused"), std::string::npos);
  EXPECT_EQ(refused.message.find('\n'), std::string::npos);
}

}  // namespace

}  // namespace varve::test
