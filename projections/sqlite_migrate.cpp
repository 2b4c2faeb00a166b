#include "projections/sqlite_migrate.h"

#include <span>

#include "migrations/migrations.h"
#include "runtime/hash.h"

namespace varve {

namespace {

constexpr const char* kCreate =
    "CREATE TABLE IF NOT EXISTS schema_migrations ("
    "number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT";

std::int64_t checksum_of(const Migration& migration) {
  return static_cast<std::int64_t>(xxh64(migration.sql));
}

// How many of `known` the file has, having compared them.
Result<std::size_t> applied(sqlite::Database& db, std::span<const Migration> known, const std::string& path) {
  auto select = db.prepare("SELECT number, name, checksum FROM schema_migrations ORDER BY number");
  if (!select) return select.error();
  std::size_t count = 0;
  for (;;) {
    const auto row = select->step();
    if (!row) return row.error();
    if (!*row) return count;
    if (count == known.size()) {
      return Error{Errc::corrupt, path + " was written by a newer version of Varve (its schema has " +
                                      std::string{select->text(1)} + ", this program knows " +
                                      std::to_string(known.size()) + "): upgrade this program first"};
    }
    const Migration& expected = known[count];
    if (select->integer(0) != expected.number || select->integer(2) != checksum_of(expected)) {
      return Error{Errc::corrupt, path + " was made by another text of the migration " +
                                      std::string{select->text(1)} +
                                      " than this program's: use the program that made it"};
    }
    ++count;
  }
}

Status apply_missing(sqlite::Database& db, std::span<const Migration> known, const std::string& path) {
  if (const auto created = db.exec(kCreate); !created) return created;
  const auto count = applied(db, known, path);
  if (!count) return count.error();
  if (*count == known.size()) return ok();
  auto remember = db.prepare("INSERT INTO schema_migrations (number, name, checksum) VALUES (?, ?, ?)");
  if (!remember) return remember.error();
  for (const Migration& migration : known.subspan(*count)) {
    if (const auto done = db.exec(std::string{migration.sql}); !done) return done;
    remember->bind(1, migration.number).bind_text(2, migration.name).bind(3, checksum_of(migration));
    if (const auto done = remember->run(); !done) return done;
  }
  return ok();
}

}  // namespace

Status migrate(sqlite::Database& db, std::string_view database, const std::string& path) {
  const auto known = sqlite_migrations(database);
  CHECK(!known.empty());
  if (const auto begun = db.exec("BEGIN IMMEDIATE"); !begun) return begun;
  const auto status = apply_missing(db, known, path);
  const auto ended = db.exec(status ? "COMMIT" : "ROLLBACK");
  return status ? ended : status;
}

}  // namespace varve
