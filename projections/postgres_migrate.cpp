#include "projections/postgres_migrate.h"

#include <span>

#include "runtime/hash.h"

namespace varve {

namespace {

constexpr const char* kHistory =
    "CREATE TABLE IF NOT EXISTS schema_migrations ("
    "number bigint PRIMARY KEY, name text COLLATE \"C\" NOT NULL, checksum bigint NOT NULL, "
    "applied_at timestamptz NOT NULL DEFAULT now())";
// One number for Varve, one for the schema of the database that its tables are in.
constexpr const char* kLock = "SELECT pg_advisory_xact_lock(1986097253, hashtext(current_schema()))";

std::int64_t checksum_of(const Migration& migration) {
  return static_cast<std::int64_t>(xxh64(migration.sql));
}

// What `history` (number, name, checksum; in order) says about `known`.
Result<SchemaState> compare(const PostgresRows& history, std::span<const Migration> known) {
  SchemaState state;
  for (std::size_t row = 0; row < history.size(); ++row) {
    std::string name{history.text(row, 1)};
    if (row >= known.size()) {
      return Error{Errc::corrupt, "the database was migrated by a newer version of Varve (it has " + name +
                                      ", and this program knows " + std::to_string(known.size()) +
                                      " migrations): upgrade this program first"};
    }
    const Migration& expected = known[row];
    if (history.integer(row, 0) != expected.number || history.integer(row, 2) != checksum_of(expected)) {
      return Error{Errc::corrupt, "the database was made by another text of the migration " + name +
                                      " than this program's " + std::string{expected.name} +
                                      ": use the program that made it"};
    }
    state.applied.push_back(std::move(name));
  }
  for (const Migration& migration : known.subspan(history.size())) state.missing.emplace_back(migration.name);
  return state;
}

Result<SchemaState> read_history(PostgresTransaction& transaction, std::span<const Migration> known) {
  const auto history =
      transaction.run("SELECT number, name, checksum FROM schema_migrations ORDER BY number", {});
  if (!history) return history.error();
  return compare(*history, known);
}

Result<SchemaState> look(PostgresSession& session, std::span<const Migration> known) {
  const auto there = session.ask("SELECT to_regclass('schema_migrations') IS NOT NULL", {});
  if (!there) return there.error();
  SchemaState state;
  if (!there->boolean(0, 0)) {
    for (const Migration& migration : known) state.missing.emplace_back(migration.name);
    return state;
  }
  const auto history =
      session.ask("SELECT number, name, checksum FROM schema_migrations ORDER BY number", {});
  if (!history) return history.error();
  return compare(*history, known);
}

// Applies the first file that is missing; nothing if none is.
Result<std::optional<std::string>> apply_next(PostgresSession& session, std::span<const Migration> known) {
  std::optional<std::string> name;
  const std::string begin =
      "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = " +
      std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(kMigrationLockWait).count());
  const auto body = [&name, known](PostgresTransaction& transaction) -> Status {
    const auto locked = transaction.run(kLock, {});
    if (!locked) {
      return Error{locked.error().code, locked.error().message + " (is another `varve migrate` running?)"};
    }
    if (const auto made = transaction.script(kHistory); !made) return made;
    const auto state = read_history(transaction, known);
    if (!state) return state.error();
    if (state->missing.empty()) return ok();
    const Migration& next = known[state->applied.size()];
    if (const auto done = transaction.script(std::string{next.sql}); !done) {
      return Error{done.error().code, std::string{next.name} + ": " + done.error().message};
    }
    const PostgresParams row{std::to_string(next.number), std::string{next.name},
                             std::to_string(checksum_of(next))};
    const auto remembered = transaction.run(
        "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1::bigint, $2, $3::bigint)", row);
    if (!remembered) return remembered.error();
    name = std::string{next.name};
    return ok();
  };
  if (const auto done = session.transaction(PostgresMode::write, begin, body); !done) return done.error();
  return name;
}

}  // namespace

std::vector<Migration> known_migrations() {
  const auto known = postgres_migrations();
  return {known.begin(), known.end()};
}

Task<SchemaState> read_schema(PostgresPool& pool, std::vector<Migration> known) {
  std::function<Result<SchemaState>(PostgresSession&)> job = [known](PostgresSession& session) {
    return look(session, known);
  };
  const PostgresUse how{Lane::store, pool.options().answer};
  co_return co_await pool.run<SchemaState>(how, std::move(job));
}

Task<SchemaState> migrate_postgres(PostgresPool& pool, std::vector<Migration> known) {
  auto state = co_await read_schema(pool, known);
  if (!state) co_return state.error();
  state->missing.clear();
  using Applied = std::optional<std::string>;
  for (;;) {
    std::function<Result<Applied>(PostgresSession&)> job = [known](PostgresSession& session) {
      return apply_next(session, known);
    };
    const PostgresUse how{Lane::store, kMigrationLimit};
    const auto applied = co_await pool.run<Applied>(how, std::move(job));
    if (!applied) co_return applied.error();
    if (!*applied) co_return *state;
    state->missing.push_back(**applied);
  }
}

Task<> require_schema(PostgresPool& pool, std::vector<Migration> known) {
  const auto state = co_await read_schema(pool, known);
  if (!state) co_return Error{state.error().code, pool.where() + ": " + state.error().message};
  if (state->is_current()) co_return ok();
  co_return Error{Errc::invalid_argument, pool.where() + " lacks " + std::to_string(state->missing.size()) +
                                              " migrations (the next is " + state->missing.front() +
                                              "): run varve migrate, or serve with --migrate"};
}

}  // namespace varve
