// The schema of PostgreSQL: applied once, by whoever comes first; refused when it is not ours.
#include "projections/postgres_migrate.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/support/postgres_database.h"
#include "tests/support/tcp_proxy.h"

namespace varve::test {

namespace {

const Migration kOne{1, "postgres", "0001_one",
                     "-- One.\nCREATE TABLE one (a bigint); CREATE TABLE also (a bigint);"};
const Migration kTwo{2, "postgres", "0002_two",
                     "-- Two.\nCREATE TABLE two (a bigint); SELECT pg_sleep(0.2);"};
const Migration kThree{3, "postgres", "0003_three", "-- Three.\nCREATE TABLE three (a bigint);"};
const Migration kOtherTwo{2, "postgres", "0002_two", "-- Two.\nCREATE TABLE two (a bigint, b bigint);"};
const Migration kBroken{2, "postgres", "0002_broken",
                        "-- Two.\nCREATE TABLE half (a bigint); CREATE TABLE one (a bigint);"};

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : " ") + name;
  return out.empty() ? "nothing" : out;
}

class PostgresMigrateTest : public ::testing::Test {
 protected:
  // "0001_one | 0002_two": had, and lacked or got.
  static std::string said(const Result<SchemaState>& state) {
    if (!state) return to_string(state.error());
    return joined(state->applied) + " | " + joined(state->missing);
  }
  std::string migrate(const std::vector<Migration>& known) { return migrate_at(database_.url(), known); }
  static std::string migrate_at(const std::string& url, const std::vector<Migration>& known) {
    PostgresShell shell(url);
    return said(run(shell.env(), migrate_postgres(shell.pool(), known)));
  }
  std::string read(const std::vector<Migration>& known) {
    PostgresShell shell(database_.url());
    return said(run(shell.env(), read_schema(shell.pool(), known)));
  }
  std::string required(const std::vector<Migration>& known) {
    PostgresShell shell(database_.url());
    const Status status = run(shell.env(), require_schema(shell.pool(), known));
    return status ? "current" : to_string(status.error());
  }
  std::string sql(const std::string& statement) { return PostgresShell(database_.url()).sql(statement); }
  std::string tables() {
    return sql(
        "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename COLLATE \"C\"), 'none') FROM pg_tables "
        "WHERE schemaname = 'public'");
  }

  PostgresDatabase database_;
};

TEST_F(PostgresMigrateTest, EveryFileIsAppliedOnceInOrder) {
  EXPECT_EQ(read({kOne, kTwo}), "nothing | 0001_one 0002_two");
  EXPECT_EQ(tables(), "none");  // Looking changes nothing.
  EXPECT_EQ(migrate({kOne, kTwo}), "nothing | 0001_one 0002_two");
  EXPECT_EQ(tables(), "also one schema_migrations two");
  EXPECT_EQ(migrate({kOne, kTwo}), "0001_one 0002_two | nothing");
  EXPECT_EQ(migrate({kOne, kTwo, kThree}), "0001_one 0002_two | 0003_three");
  EXPECT_EQ(read({kOne, kTwo, kThree}), "0001_one 0002_two 0003_three | nothing");
  EXPECT_EQ(sql("SELECT string_agg(number || ' ' || name, ', ' ORDER BY number) FROM schema_migrations"),
            "1 0001_one, 2 0002_two, 3 0003_three");
}

TEST_F(PostgresMigrateTest, TwoAtOnceApplyEveryFileOnce) {
  std::string first;
  std::string second;
  std::thread other([&] { second = migrate({kOne, kTwo, kThree}); });
  first = migrate({kOne, kTwo, kThree});
  other.join();
  // Each says what it did itself; a table that was made twice would be an error.
  const std::string both = first + " " + second;
  for (const char* name : {"0001_one", "0002_two", "0003_three"}) {
    EXPECT_NE(both.find(name), std::string::npos) << both;
  }
  EXPECT_EQ(both.find("conflict"), std::string::npos) << both;
  EXPECT_EQ(both.find("unavailable"), std::string::npos) << both;
  EXPECT_EQ(read({kOne, kTwo, kThree}), "0001_one 0002_two 0003_three | nothing");
}

TEST_F(PostgresMigrateTest, AFileThatFailsLeavesNothingOfItself) {
  const std::string answer = migrate({kOne, kBroken});
  EXPECT_TRUE(answer.starts_with("conflict: 0002_broken: ")) << answer;
  EXPECT_NE(answer.find("\"one\" already exists"), std::string::npos) << answer;
  EXPECT_EQ(tables(), "also one schema_migrations");
  EXPECT_EQ(migrate({kOne, kTwo}), "0001_one | 0002_two");
}

TEST_F(PostgresMigrateTest, AFileThatWasChangedIsRefusedByName) {
  EXPECT_EQ(migrate({kOne, kTwo}), "nothing | 0001_one 0002_two");
  const std::string refused =
      "corrupt: the database was made by another text of the migration 0002_two than this program's "
      "0002_two: use "
      "the program that made it";
  EXPECT_EQ(migrate({kOne, kOtherTwo, kThree}), refused);
  EXPECT_EQ(read({kOne, kOtherTwo, kThree}), refused);
  EXPECT_EQ(tables(), "also one schema_migrations two");
}

TEST_F(PostgresMigrateTest, ANewerSchemaIsRefused) {
  EXPECT_EQ(migrate({kOne, kTwo, kThree}), "nothing | 0001_one 0002_two 0003_three");
  const std::string refused =
      "corrupt: the database was migrated by a newer version of Varve (it has 0003_three, and this program "
      "knows 2 "
      "migrations): upgrade this program first";
  EXPECT_EQ(migrate({kOne, kTwo}), refused);
  EXPECT_EQ(read({kOne, kTwo}), refused);
}

TEST_F(PostgresMigrateTest, AServerRefusesToRunOnAnOldSchema) {
  EXPECT_EQ(migrate({kOne}), "nothing | 0001_one");
  EXPECT_EQ(required({kOne}), "current");
  const std::string old = required({kOne, kTwo, kThree});
  EXPECT_TRUE(old.starts_with("invalid_argument: postgresql://varve@")) << old;
  EXPECT_TRUE(
      old.ends_with(" lacks 2 migrations (the next is 0002_two): run varve migrate, or serve with --migrate"))
      << old;
}

TEST_F(PostgresMigrateTest, OneThatWasCutOffGoesOnTheNextTime) {
  TcpProxy proxy(port_of(database_.url()));
  const std::string url = with_port(database_.url(), proxy.port());
  proxy.on("CREATE TABLE two", TcpProxy::Then::cut_after);
  EXPECT_TRUE(migrate_at(url, {kOne, kTwo, kThree}).starts_with("unavailable: 0002_two: "));
  EXPECT_EQ(read({kOne, kTwo, kThree}), "0001_one | 0002_two 0003_three");
  EXPECT_EQ(migrate_at(url, {kOne, kTwo}), "0001_one | 0002_two");
  const std::string commit{"COMMIT\0", 7};  // As a statement; BEGIN says READ COMMITTED.
  proxy.on(commit, TcpProxy::Then::cut_after);
  EXPECT_TRUE(migrate_at(url, {kOne, kTwo, kThree}).starts_with("outcome_unknown: "));
  EXPECT_EQ(migrate_at(url, {kOne, kTwo, kThree}), "0001_one 0002_two 0003_three | nothing");
}

// What the program brings along. Bytes compare as bytes, and JSON is the text that it came as.
TEST_F(PostgresMigrateTest, OurFilesMakeColumnsThatKeepBytes) {
  EXPECT_TRUE(migrate(known_migrations()).starts_with("nothing | 0001_control"));
  const std::string of_ours =
      "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = "
      "c.relnamespace "
      "WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname <> "
      "'information_schema' "
      "AND n.nspname NOT LIKE 'pg\\_%' ";
  EXPECT_EQ(sql("SELECT string_agg(c.relname || '.' || a.attname, ' ') " + of_ours +
                "AND a.atttypid = 'text'::regtype AND a.attcollation <> '\"C\"'::regcollation"),
            "");
  EXPECT_EQ(
      sql("SELECT string_agg(c.relname || '.' || a.attname, ' ') " + of_ours +
          "AND a.atttypid IN ('json'::regtype, 'jsonb'::regtype, 'varchar'::regtype, 'float8'::regtype)"),
      "");
  EXPECT_NE(sql("SELECT count(*) " + of_ours), "0");
}

}  // namespace

}  // namespace varve::test
