#include "projections/postgres_tables.h"

#include <optional>

#include "projections/digest.h"
#include "projections/postgres_loader.h"
#include "projections/postgres_view_reader.h"

namespace varve {
namespace {

constexpr const char* kBareTables =
    "SELECT c.relname FROM pg_class c WHERE c.relnamespace = quote_ident($1::text)::regnamespace AND "
    "c.relkind = 'r' "
    "AND c.relname NOT IN ('checkpoints', 'quarantine', 'times', 'search_index', 'rebuild', 'closings', "
    "'indexing') "
    "ORDER BY 1";

Status run(PostgresTransaction& transaction, const std::string& sql) {
  const auto done = transaction.run(sql, PostgresParams{});
  return done ? ok() : Status{done.error()};
}

Status list(PostgresTransaction& transaction, const char* sql, const std::string& schema,
            std::vector<std::string>& statements) {
  const auto found = transaction.run(sql, PostgresParams{schema});
  if (!found) return found.error();
  for (std::size_t i = 0; i < found->size(); ++i) statements.emplace_back(found->text(i, 0));
  return ok();
}

}  // namespace

Status make_bare(PostgresTransaction& transaction, const std::string& schema) {
  const auto tables = transaction.run(kBareTables, PostgresParams{schema});
  if (!tables) return tables.error();
  const auto drops = transaction.run(
      "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint "
      "WHERE contype = 'p' AND conrelid = ANY(SELECT (quote_ident($1::text) || '.' || "
      "quote_ident(t))::regclass "
      "FROM unnest($2::text[]) t) UNION ALL "
      "SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index WHERE NOT indisprimary AND "
      "indrelid = "
      "ANY(SELECT (quote_ident($1::text) || '.' || quote_ident(t))::regclass FROM unnest($2::text[]) t)",
      [&] {
        std::vector<std::optional<std::string>> names;
        for (std::size_t i = 0; i < tables->size(); ++i) names.emplace_back(std::string{tables->text(i, 0)});
        return PostgresParams{schema, postgres_array(names)};
      }());
  if (!drops) return drops.error();
  for (std::size_t i = 0; i < drops->size(); ++i) {
    if (Status done = run(transaction, std::string{drops->text(i, 0)}); !done) return done;
  }
  if (Status done = run(transaction, "CREATE TABLE " + quoted_name(schema) +
                                         ".rebuild (holder text NOT NULL, until timestamptz NOT NULL)");
      !done) {
    return done;
  }
  return run(
      transaction,
      "CREATE TABLE " + closings_table(schema) +
          " (view text COLLATE \"C\" NOT NULL, from_partition bigint NOT NULL, key1 text COLLATE \"C\", "
          "key2 text COLLATE \"C\", to_offset bigint NOT NULL, to_at bigint NOT NULL)");
}

std::string indexing_table(const std::string& schema) {
  return quoted_name(schema) + ".indexing";
}

// What makes the indexes that are missing, as the templates have them; the largest tables come first. A
// primary key is a unique index at first: adding a key would keep the others waiting.
Status missing_indexes(PostgresTransaction& transaction, const std::string& schema,
                       std::vector<std::string>& statements) {
  return list(
      transaction,
      "WITH tables AS (SELECT c.oid, c.relname FROM pg_class c WHERE c.relnamespace = "
      "quote_ident($1::text)::regnamespace AND c.relkind = 'r'), wanted AS (SELECT t.oid, t.relname, "
      "i.indisunique, i.indisprimary, substring(pg_get_indexdef(i.indexrelid) FROM 'USING .*$') AS body FROM "
      "tables t JOIN pg_index i ON i.indrelid = to_regclass('template_' || t.relname)) "
      "SELECT format('CREATE %s INDEX %s ON %s %s', CASE WHEN indisunique THEN 'UNIQUE' ELSE '' END, CASE "
      "WHEN indisprimary THEN quote_ident(relname || '_key') ELSE '' END, oid::regclass, body) FROM wanted w "
      "WHERE NOT EXISTS (SELECT FROM pg_index e WHERE e.indrelid = w.oid AND e.indisunique = w.indisunique "
      "AND substring(pg_get_indexdef(e.indexrelid) FROM 'USING .*$') = w.body) ORDER BY "
      "pg_relation_size(oid) DESC, body DESC",
      schema, statements);
}

// The same of the keys, of which the indexes are there.
Status missing_keys(PostgresTransaction& transaction, const std::string& schema,
                    std::vector<std::string>& statements) {
  return list(
      transaction,
      "SELECT format('ALTER TABLE %s ADD PRIMARY KEY USING INDEX %I', c.oid::regclass, c.relname || '_key') "
      "FROM pg_class c WHERE c.relnamespace = quote_ident($1::text)::regnamespace AND c.relkind = 'r' AND "
      "to_regclass('template_' || c.relname) IS NOT NULL AND NOT EXISTS (SELECT FROM pg_constraint k WHERE "
      "k.conrelid = c.oid AND k.contype = 'p')",
      schema, statements);
}

Status tables_to_analyze(PostgresTransaction& transaction, const std::string& schema,
                         std::vector<std::string>& statements) {
  const auto found = transaction.run(kBareTables, PostgresParams{schema});
  if (!found) return found.error();
  for (std::size_t i = 0; i < found->size(); ++i)
    statements.push_back("ANALYZE " + quoted_name(schema) + "." + quoted_name(found->text(i, 0)));
  return ok();
}

Status lock_tables(PostgresTransaction& transaction, const std::string& schema, bool alone) {
  const auto locked = transaction.run(std::string{"SELECT pg_advisory_xact_lock"} + (alone ? "" : "_shared") +
                                          "(hashtextextended($1::text || '_indexes', 0))",
                                      PostgresParams{schema});
  return locked ? ok() : Status{locked.error()};
}

Status close_all(PostgresTransaction& transaction, const std::string& schema) {
  if (Status locked = lock_tables(transaction, schema, true); !locked) return locked;
  const auto left =
      transaction.run("SELECT to_regclass($1::text) IS NOT NULL", PostgresParams{closings_table(schema)});
  if (!left) return left.error();
  if (!left->boolean(0, 0)) return ok();  // Whoever was killed on the way has done it.
  if (Status done = run(transaction, "ANALYZE " + closings_table(schema)); !done) return done;
  for (const View view : all_views()) {
    const auto met = transaction.run(apply_closings(schema, view), PostgresParams{});
    if (!met) return met.error();
    if (met->integer(0, 0) == met->integer(0, 1)) continue;
    return Error{Errc::corrupt, "of " + std::string{met->text(0, 1)} + " closings of " +
                                    std::string{schema_of(view).name} + " only " +
                                    std::string{met->text(0, 0)} + " met an open row"};
  }
  if (Status done = run(transaction, "TRUNCATE " + closings_table(schema)); !done) return done;
  return run(transaction, "ALTER TABLE " + closings_table(schema) + " RENAME TO indexing");
}

Status sum_rows_of(PostgresTransaction& transaction, const std::string& schema, RowStripe stripe,
                   std::uint32_t partitions, RowsSummed& sums) {
  const ViewTables tables{schema};
  PostgresViewReader reader{transaction, tables};
  sums.rows.resize(partitions);
  for (std::uint32_t number = 0; number < partitions; ++number) {
    auto checkpoint = reader.checkpoint(Partition{number});
    if (!checkpoint) return checkpoint.error();
    sums.checkpoints.push_back(*std::move(checkpoint));
  }
  for (const View view : all_views()) {
    std::optional<Error> stray;
    const auto add = [&](const Row& row) {
      if (row.from.partition.value() < partitions) {
        add_row(sums.rows[row.from.partition.value()], view, row);
      } else {
        stray = Error{Errc::corrupt, describe(view, row) + " is of no partition"};
      }
    };
    if (Status read = reader.scan(view, stripe, add); !read) return read;
    if (stray) return *stray;
  }
  return ok();
}

}  // namespace varve
