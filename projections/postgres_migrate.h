// Brings the schema of a PostgreSQL database to the newest of this program: migrations/postgres, in order,
// forward only, each file in a transaction of its own together with the row that remembers it (number, name,
// checksum).
//
// Promises: two at once do not harm each other (an advisory lock; the second waits, up to kMigrationLockWait,
// and then finds nothing to do). A database that was made by another text of a file, or by a newer program,
// is refused by name, and nothing in it changes. Interrupted, it goes on where it was the next time.
#pragma once

#include <string>
#include <vector>

#include "migrations/migrations.h"
#include "projections/postgres_pool.h"

namespace varve {

inline constexpr Duration kMigrationLockWait = std::chrono::seconds{60};
inline constexpr Duration kMigrationLimit =
    std::chrono::hours{4};  // Of one file: an index of many rows takes long.

struct SchemaState {
  std::vector<std::string> applied;  // Names of files, in order: those that the database had ..
  std::vector<std::string> missing;  // .. and those that it lacked.

  bool is_current() const { return missing.empty(); }
};

// Those of this program, in order: what the functions below are given, but in tests.
std::vector<Migration> known_migrations();

// What the database has and lacks; changes nothing. Errc::corrupt as below.
Task<SchemaState> read_schema(PostgresPool& pool, std::vector<Migration> known);

// Applies what is missing; the answer says what was. Errc::corrupt, with a sentence: the database has a newer
// schema than `known`, or one from other texts. Errc::unavailable and invalid_argument as of every statement;
// Errc::outcome_unknown if the connection was lost at a COMMIT: call it again.
Task<SchemaState> migrate_postgres(PostgresPool& pool, std::vector<Migration> known);

// For a start without migrating. Errc::invalid_argument, with a sentence that names the command, if it is
// old.
Task<> require_schema(PostgresPool& pool, std::vector<Migration> known);

}  // namespace varve
