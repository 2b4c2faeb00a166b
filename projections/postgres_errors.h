// What PostgreSQL and libpqxx report, as errors of ours: every SQLSTATE and every exception of libpqxx 6.4
// has a code and a sentence for people (tests/projections/postgres_base_test.cpp has the table).
//
// Promises: Errc::unavailable means that certainly nothing was written, Errc::outcome_unknown that it may
// have been. A connection that breaks says which of the two by what was at stake. invalid_argument is for
// what only the operator can mend (password, database, rights) and for values that PostgreSQL does not store;
// corrupt for damaged data, another schema than this program's and bugs of ours; conflict for a key that
// exists already. Pure; never passes on a password.
#pragma once

#include <exception>
#include <string_view>

#include "runtime/result.h"

namespace varve {

// What a lost connection leaves open.
enum class AtStake : unsigned char {
  nothing,  // Connecting, reading, or a statement of a transaction that is not being committed.
  commit,   // COMMIT, or a statement that writes and commits by itself.
};

// Of an error report of the server: its SQLSTATE (empty if unknown) and its message.
Error postgres_error_of(std::string_view sqlstate, std::string_view message, AtStake stake);

// Of an exception of libpqxx or of the standard library that came out of a statement.
Error postgres_error(const std::exception& thrown, AtStake stake);

// Of a connection that did not come to be: libpq's text, in its verbose form, which holds the SQLSTATE.
Error postgres_connect_error(std::string_view text);

}  // namespace varve
