// A connection to PostgreSQL that is cut or stalled at each moment, and what an operator reads who gave a
// wrong address, password or user.
#include <gtest/gtest.h>

#include <string>

#include "projections/postgres_migrate.h"
#include "tests/projections/postgres_jobs.h"
#include "tests/support/postgres_database.h"
#include "tests/support/tcp_proxy.h"

namespace varve::test {

namespace {

using std::chrono::milliseconds;

// As the statement of a packet: BEGIN says READ COMMITTED.
const std::string kCommit{"COMMIT\0", 7};

struct CutCase {
  const char* name;
  bool in_transaction;
  std::string text;
  TcpProxy::Then then;
  const char* answer;
  const char* rows;  // In the table behind it.

  friend std::ostream& operator<<(std::ostream& out, const CutCase& cut) { return out << cut.name; }
};

class PostgresCutTest : public ::testing::TestWithParam<CutCase> {};

TEST_P(PostgresCutTest, SaysWhetherItMayHaveBeenDone) {
  const CutCase& cut = GetParam();
  PostgresDatabase database;
  TcpProxy proxy(port_of(database.url()));
  PostgresOptions options = Jobs::options_of(with_port(database.url(), proxy.port()));
  options.answer = milliseconds{1'500};
  Jobs jobs(options);
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint)"), "no row");
  proxy.on(cut.text, cut.then);
  const std::string insert = "INSERT INTO t VALUES (1)";
  const std::string answer = cut.in_transaction ? jobs.transaction(insert) : jobs.write(insert);
  EXPECT_EQ(code_of(answer), cut.answer) << answer;
  EXPECT_EQ(proxy.done(), 1U);
  const bool stalled = cut.then == TcpProxy::Then::stall || cut.then == TcpProxy::Then::stall_before;
  EXPECT_EQ(jobs.counted("postgres_connections_cut"), stalled ? 1U : 0U);
  // The next job has a new connection, and sees what came of it.
  EXPECT_EQ(jobs.ask("SELECT count(*) FROM t", {}), cut.rows);
  EXPECT_EQ(jobs.counted("postgres_connections_opened"), 2U);
}

INSTANTIATE_TEST_SUITE_P(
    Postgres, PostgresCutTest,
    ::testing::Values(
        CutCase{"StatementNotSent", false, "INSERT", TcpProxy::Then::cut_before, "outcome_unknown", "0"},
        CutCase{"StatementDone", false, "INSERT", TcpProxy::Then::cut_after, "outcome_unknown", "1"},
        CutCase{"AnswerBegun", false, "INSERT", TcpProxy::Then::cut_in_answer, "outcome_unknown", "1"},
        CutCase{"NoAnswer", false, "INSERT", TcpProxy::Then::stall, "outcome_unknown", "1"},
        CutCase{"Nothing", false, "INSERT", TcpProxy::Then::stall_before, "outcome_unknown", "0"},
        CutCase{"BeginNotSent", true, "BEGIN", TcpProxy::Then::cut_before, "unavailable", "0"},
        CutCase{"BeginDone", true, "BEGIN", TcpProxy::Then::cut_after, "unavailable", "0"},
        CutCase{"InTransaction", true, "INSERT", TcpProxy::Then::cut_after, "unavailable", "0"},
        CutCase{"InTransactionNoAnswer", true, "INSERT", TcpProxy::Then::stall, "unavailable", "0"},
        CutCase{"CommitNotSent", true, kCommit, TcpProxy::Then::cut_before, "outcome_unknown", "0"},
        CutCase{"CommitDone", true, kCommit, TcpProxy::Then::cut_after, "outcome_unknown", "1"},
        CutCase{"CommitNoAnswer", true, kCommit, TcpProxy::Then::stall, "outcome_unknown", "1"}),
    [](const ::testing::TestParamInfo<CutCase>& info) { return info.param.name; });

// ---- what an operator got wrong ----

class PostgresOperatorTest : public ::testing::Test {
 protected:
  std::string url() const { return database_.url(); }
  std::string elsewhere(const std::string& sql) { return PostgresShell(url()).sql(sql); }
  std::string with(const std::string& from, const std::string& to) const {
    std::string changed = url();
    return changed.replace(changed.find(from), from.size(), to);
  }
  static std::string probe(const std::string& url) {
    Jobs jobs(url);
    const Status probed = run(jobs.env(), jobs.pool().probe());
    return probed ? "ready" : to_string(probed.error());
  }

  PostgresDatabase database_;
};

TEST_F(PostgresOperatorTest, AServerThatTakesNoConnectionsIsUnavailable) {
  TcpProxy proxy(port_of(url()));
  PostgresOptions options = Jobs::options_of(with_port(url(), proxy.port()));
  options.connect = std::chrono::seconds{1};
  Jobs jobs(options);
  proxy.refuse(true);
  EXPECT_EQ(code_of(jobs.write("SELECT 1")), "unavailable");
  proxy.refuse(false);
  EXPECT_EQ(jobs.write("SELECT 1"), "1");
  proxy.cut_all();
  proxy.on("application_name", TcpProxy::Then::stall_before);  // In the first packet of a connection.
  EXPECT_EQ(jobs.write("SELECT 1"), "unavailable: cannot connect to PostgreSQL: no answer within 1 s");
  EXPECT_EQ(jobs.write("SELECT 1"), "1");
}

TEST_F(PostgresOperatorTest, AStartSaysWhatIsWrong) {
  EXPECT_EQ(probe(url()), "ready");
  const std::string where = "postgresql://varve@127.0.0.1:" + std::to_string(port_of(url())) + "/";
  EXPECT_EQ(probe(with(":varve@", ":wrong@")),
            "invalid_argument: " + where + database_.name() +
                ": PostgreSQL refuses the password: password authentication "
                "failed for user \"varve\"");
  EXPECT_EQ(probe(with(database_.name(), "nowhere")),
            "invalid_argument: " + where +
                "nowhere: PostgreSQL has no such database: database \"nowhere\" does "
                "not exist");
  const std::string nobody = probe(with("//varve:", "//nobody:"));
  EXPECT_TRUE(nobody.starts_with("invalid_argument:")) << nobody;
  const std::string closed = probe(with_port(url(), 1));
  EXPECT_TRUE(closed.starts_with("unavailable:")) << closed;
  EXPECT_NE(closed.find("Connection refused"), std::string::npos) << closed;
}

TEST_F(PostgresOperatorTest, AUrlThatCannotBeReadIsRefusedAndNotQuoted) {
  RealEnv env(Jobs::quiet());
  for (const char* url :
       {"postgresql://u:secret@h:port/d?nonsense=1", "host=h password=top secret", "postgresql://[::1"}) {
    const auto made = PostgresPool::make(env, Jobs::options_of(url));
    ASSERT_FALSE(made) << url;
    EXPECT_EQ(made.error().code, Errc::invalid_argument);
    EXPECT_EQ(made.error().message.find("secret"), std::string::npos) << made.error().message;
  }
}

TEST_F(PostgresOperatorTest, AServerThatOnlyReadsIsUnavailable) {
  Jobs jobs(url() + "?options=-c%20default_transaction_read_only%3Don");
  EXPECT_EQ(elsewhere("CREATE TABLE t (a bigint)"), "");
  const std::string answer = jobs.write("INSERT INTO t VALUES (1)");
  EXPECT_TRUE(answer.starts_with("unavailable: PostgreSQL takes no writes at present")) << answer;
  EXPECT_EQ(code_of(jobs.transaction("INSERT INTO t VALUES (1)")), "unavailable");
  EXPECT_EQ(jobs.ask("SELECT count(*) FROM t", {}), "0");
  const Status probed = run(jobs.env(), jobs.pool().probe());
  ASSERT_FALSE(probed);
  EXPECT_EQ(probed.error().code, Errc::unavailable);
}

TEST_F(PostgresOperatorTest, AUserWithoutRightsIsTold) {
  const std::string role = database_.name() + "_guest";
  EXPECT_EQ(database_.server().sql("CREATE ROLE " + role + " LOGIN PASSWORD 'guest'"), "");
  EXPECT_EQ(elsewhere("CREATE TABLE t (a bigint)"), "");
  {
    Jobs jobs(with("//varve:varve@", "//" + role + ":guest@"));
    EXPECT_EQ(
        jobs.ask("SELECT a FROM t", {}),
        "invalid_argument: PostgreSQL gives this user no right to do that: permission denied for table t");
    const auto migrated = run(jobs.env(), migrate_postgres(jobs.pool(), known_migrations()));
    ASSERT_FALSE(migrated);
    EXPECT_EQ(migrated.error().code, Errc::invalid_argument) << to_string(migrated.error());
  }
  EXPECT_EQ(database_.server().sql("DROP ROLE " + role), "");
}

}  // namespace

}  // namespace varve::test
