// The pool of connections on a real PostgreSQL: what a job gets, what a lost connection means at each moment,
// and what an operator reads who gave a wrong password.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "projections/postgres_pool.h"
#include "tests/support/postgres_database.h"
#include "tests/support/tcp_proxy.h"

namespace varve::test {

namespace {

using std::chrono::milliseconds;

// Jobs with a pool of their own, as a program has it.
class Jobs {
 public:
  explicit Jobs(const std::string& url) : Jobs(options_of(url)) {}
  explicit Jobs(PostgresOptions options) {
    auto made = PostgresPool::make(env_, std::move(options));
    EXPECT_TRUE(made) << to_string(made.error());
    pool_ = std::move(*made);
  }
  ~Jobs() { env_.shut_down(); }
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  static PostgresOptions options_of(const std::string& url) {
    PostgresOptions options;
    options.url = url;
    return options;
  }
  static RealEnv::Options quiet() {
    RealEnv::Options options;
    options.log_sink = [](LogLevel, std::string_view) {};
    return options;
  }

  using Work = std::function<Result<std::string>(PostgresSession&)>;

  Task<std::string> task(Work work, Lane lane) {
    const PostgresUse how{lane, pool_->options().answer};
    return pool_->run<std::string>(how, std::move(work));
  }
  // "3", or "unavailable: .."
  std::string run_job(Work work) {
    const auto answer = run(env_, task(std::move(work), Lane::store));
    return answer ? *answer : to_string(answer.error());
  }
  std::string ask(const std::string& sql, const PostgresParams& params) {
    return run_job([sql, params](PostgresSession& session) { return first(session.ask(sql, params)); });
  }
  std::string write(const std::string& sql) {
    return run_job([sql](PostgresSession& session) { return first(session.write(sql, {})); });
  }
  std::string transaction(const std::string& sql) {
    return run_job([sql](PostgresSession& session) -> Result<std::string> {
      const auto body = [&sql](PostgresTransaction& inside) { return inside.script(sql); };
      const auto done = session.transaction(PostgresMode::write, "", body);
      if (!done) return done.error();
      return std::string{"done"};
    });
  }
  std::uint64_t counted(const std::string& name) const {
    const auto found = env_.counters().find(name);
    return found == env_.counters().end() ? 0 : found->second;
  }

  static Result<std::string> first(const Result<PostgresRows>& rows) {
    if (!rows) return rows.error();
    if (rows->empty()) return std::string{"no row"};
    return rows->is_null(0, 0) ? std::string{"null"} : std::string{rows->text(0, 0)};
  }

  RealEnv& env() { return env_; }
  PostgresPool& pool() { return *pool_; }

 private:
  RealEnv env_{quiet()};
  std::unique_ptr<PostgresPool> pool_;
};

std::string code_of(const std::string& answer) {
  return answer.substr(0, answer.find(':'));
}

class PostgresPoolTest : public ::testing::Test {
 protected:
  PostgresPoolTest() { EXPECT_EQ(database_.server().sql("SELECT 1"), "1"); }

  std::string url() const { return database_.url(); }
  // Who would block, or change, the one who is looked at.
  std::string elsewhere(const std::string& sql) { return PostgresShell(url()).sql(sql); }

  PostgresDatabase database_;
};

TEST_F(PostgresPoolTest, AJobAsksAndWrites) {
  Jobs jobs(url());
  EXPECT_EQ(jobs.ask("SELECT 1 + 2", {}), "3");
  EXPECT_EQ(jobs.ask("SELECT $1::bigint * 2", {"21"}), "42");
  EXPECT_EQ(jobs.ask("SELECT $1::text", {std::nullopt}), "null");
  EXPECT_EQ(jobs.ask("SELECT $1::text", {"it's \xF0\x9F\x98\x80 \\ \"and\""}),
            "it's \xF0\x9F\x98\x80 \\ \"and\"");
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint)"), "no row");
  EXPECT_EQ(jobs.write("INSERT INTO t VALUES (7) RETURNING a"), "7");
  EXPECT_EQ(jobs.transaction("INSERT INTO t VALUES (8); INSERT INTO t VALUES (9)"), "done");
  EXPECT_EQ(jobs.ask("SELECT sum(a) FROM t", {}), "24");
  EXPECT_EQ(jobs.counted("postgres_connections_opened"), 1U);
}

TEST_F(PostgresPoolTest, ArraysHoldWhateverTextThereIs) {
  Jobs jobs(url());
  const std::vector<std::optional<std::string>> items{"a,b",  "{\"x\":\"y\\\\\"}", std::nullopt, "", "NULL",
                                                      "\t\n'"};
  const std::string array = postgres_array(items);
  for (std::size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(jobs.ask("SELECT ($1::text[])[$2::int]", {array, std::to_string(i + 1)}),
              items[i].value_or("null"));
  }
  const std::vector<std::int64_t> numbers{-1, 9'000'000'000'000'000'000};
  EXPECT_EQ(jobs.ask("SELECT $1::bigint[]", {postgres_array(numbers)}), "{-1,9000000000000000000}");
}

// libpq would cut it short without a word.
TEST_F(PostgresPoolTest, ATextWithU0000IsRefused) {
  Jobs jobs(url());
  EXPECT_EQ(code_of(jobs.ask("SELECT $1::text", {std::string("a\0b", 3)})), "invalid_argument");
  EXPECT_EQ(code_of(jobs.ask("SELECT $1::text", {"a\xC3"})),
            "invalid_argument");  // PostgreSQL says so itself.
  EXPECT_EQ(jobs.ask("SELECT $1::text", {"ab"}), "ab");
}

TEST_F(PostgresPoolTest, ATransactionIsAllOrNothing) {
  Jobs jobs(url());
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint PRIMARY KEY)"), "no row");
  EXPECT_EQ(code_of(jobs.transaction("INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)")), "conflict");
  // Its body goes on although a statement failed: it is rolled back all the same.
  const auto careless = [](PostgresSession& session) -> Result<std::string> {
    const auto body = [](PostgresTransaction& inside) -> Status {
      ignore_error(inside.script("INSERT INTO t VALUES (2)"), "the next one is meant");
      ignore_error(inside.script("INSERT INTO no_such_table VALUES (1)"), "that is the test");
      ignore_error(inside.script("INSERT INTO t VALUES (3)"), "never sent");
      return ok();
    };
    const auto done = session.transaction(PostgresMode::write, "", body);
    return done ? Result<std::string>{std::string{"done"}} : Result<std::string>{done.error()};
  };
  EXPECT_EQ(code_of(jobs.run_job(careless)), "corrupt");
  const auto refusing = [](PostgresSession& session) -> Result<std::string> {
    const auto body = [](PostgresTransaction& inside) -> Status {
      if (const auto done = inside.script("INSERT INTO t VALUES (4)"); !done) return done;
      return Error{Errc::conflict, "the caller thought better of it"};
    };
    const auto done = session.transaction(PostgresMode::write, "", body);
    return done ? Result<std::string>{std::string{"done"}} : Result<std::string>{done.error()};
  };
  EXPECT_EQ(jobs.run_job(refusing), "conflict: the caller thought better of it");
  EXPECT_EQ(jobs.ask("SELECT count(*) FROM t", {}), "0");
  EXPECT_EQ(jobs.counted("postgres_connections_lost"), 0U);  // One connection served them all.
}

TEST_F(PostgresPoolTest, ASnapshotTransactionSeesOneMoment) {
  Jobs jobs(url());
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint)"), "no row");
  const auto job = [this](PostgresSession& session) -> Result<std::string> {
    std::string seen;
    const auto body = [this, &seen](PostgresTransaction& inside) -> Status {
      for (int i = 0; i < 2; ++i) {
        const auto count = inside.run("SELECT count(*) FROM t", {});
        if (!count) return count.error();
        seen += std::string{count->text(0, 0)};
        EXPECT_EQ(elsewhere("INSERT INTO t VALUES (1)"), "");
      }
      return inside.script("INSERT INTO t VALUES (2)");
    };
    const auto done = session.transaction(PostgresMode::read_snapshot, "", body);
    EXPECT_FALSE(done);  // It only reads.
    return seen;
  };
  EXPECT_EQ(jobs.run_job(job), "00");
  EXPECT_EQ(jobs.ask("SELECT count(*) FROM t", {}), "2");
}

TEST_F(PostgresPoolTest, CopyFillsATable) {
  Jobs jobs(url());
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint, b text)"), "no row");
  const auto job = [](PostgresSession& session) -> Result<std::string> {
    const auto body = [](PostgresTransaction& inside) {
      int row = 0;
      return inside.copy("t", {"a", "b"}, [&row](std::string& line) {
        line = std::to_string(row) + "\t\\N";
        return row++ < 1000;
      });
    };
    const auto done = session.transaction(PostgresMode::write, "", body);
    return done ? Result<std::string>{std::string{"done"}} : Result<std::string>{done.error()};
  };
  EXPECT_EQ(jobs.run_job(job), "done");
  EXPECT_EQ(jobs.ask("SELECT count(*) || ' ' || sum(a) || ' ' || count(b) FROM t", {}), "1000 499500 0");
}

// ---- limits ----

TEST_F(PostgresPoolTest, WaitingForAConnectionEnds) {
  PostgresOptions options = Jobs::options_of(url());
  options.connections = 1;
  options.wait = milliseconds{100};
  Jobs jobs(options);
  auto slow = std::make_shared<std::string>();
  const auto hold = [](Jobs& all, std::shared_ptr<std::string> out) -> Task<> {
    Jobs::Work sleep = [](PostgresSession& session) {
      return Jobs::first(session.ask("SELECT pg_sleep(1)", {}));
    };
    const auto answer = co_await all.task(std::move(sleep), Lane::store);
    *out = answer ? "slept" : to_string(answer.error());
    co_return ok();
  };
  jobs.env().spawn("hold", hold(jobs, slow));
  const std::string answer = jobs.ask("SELECT 1", {});
  EXPECT_EQ(answer, "unavailable: all 1 connections to PostgreSQL were in use for 100 ms");
  EXPECT_EQ(jobs.counted("postgres_pool_timeouts"), 1U);
  EXPECT_EQ(*slow, "");
  // The next in line gets it when it is free.
  const Status waited = run(jobs.env(), [](Jobs& all, std::shared_ptr<std::string> out) -> Task<> {
    while (out->empty()) co_await sleep_for(all.env(), milliseconds{5});
    co_return ok();
  }(jobs, slow));
  EXPECT_TRUE(waited);
  EXPECT_EQ(*slow, "slept");
  EXPECT_EQ(jobs.ask("SELECT 1", {}), "1");
}

TEST_F(PostgresPoolTest, AStatementTakesNoLongerThanItMay) {
  PostgresOptions options = Jobs::options_of(url());
  options.statement = milliseconds{200};
  Jobs jobs(options);
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint)"), "no row");
  const std::string answer = jobs.write("INSERT INTO t SELECT 1 FROM pg_sleep(30)");
  EXPECT_EQ(answer.substr(0, 72), "unavailable: the statement took longer than it may, or was cancelled: ca")
      << answer;
  EXPECT_EQ(jobs.ask("SELECT count(*) FROM t", {}), "0");
  EXPECT_EQ(jobs.counted("postgres_connections_lost"), 0U);
}

TEST_F(PostgresPoolTest, WaitingForALockEnds) {
  PostgresOptions options = Jobs::options_of(url());
  options.lock = milliseconds{200};
  Jobs jobs(options);
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint)"), "no row");
  Jobs holder(url());
  const auto hold = [&jobs](PostgresSession& session) -> Result<std::string> {
    std::string answer;
    const auto body = [&jobs, &answer](PostgresTransaction& inside) -> Status {
      const auto locked = inside.script("LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
      answer = jobs.write("INSERT INTO t VALUES (1)");
      return locked;
    };
    const auto done = session.transaction(PostgresMode::write, "", body);
    EXPECT_TRUE(done);
    return answer;
  };
  const std::string answer = holder.run_job(hold);
  EXPECT_TRUE(answer.starts_with("unavailable: another transaction holds the lock for too long")) << answer;
  EXPECT_EQ(jobs.ask("SELECT count(*) FROM t", {}), "0");
}

TEST_F(PostgresPoolTest, ASerializationFailureWroteNothing) {
  Jobs jobs(url());
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint)"), "no row");
  EXPECT_EQ(jobs.write("INSERT INTO t VALUES (1)"), "no row");
  const auto job = [this](PostgresSession& session) -> Result<std::string> {
    const auto body = [this](PostgresTransaction& inside) -> Status {
      if (const auto read = inside.run("SELECT a FROM t", {}); !read) return read.error();
      EXPECT_EQ(elsewhere("UPDATE t SET a = 10"), "");
      return inside.script("UPDATE t SET a = a + 1");
    };
    const auto done =
        session.transaction(PostgresMode::write, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", body);
    return done ? Result<std::string>{std::string{"done"}} : Result<std::string>{done.error()};
  };
  const std::string answer = jobs.run_job(job);
  EXPECT_TRUE(
      answer.starts_with("unavailable: PostgreSQL rolled the transaction back because of another one"))
      << answer;
  EXPECT_EQ(jobs.ask("SELECT a FROM t", {}), "10");
}

TEST_F(PostgresPoolTest, ADeadlockWroteNothing) {
  Jobs first(url());
  EXPECT_EQ(first.write("CREATE TABLE t (a bigint PRIMARY KEY, b bigint)"), "no row");
  EXPECT_EQ(first.write("INSERT INTO t VALUES (1, 0), (2, 0)"), "no row");
  // Both lanes of one program: each takes a row, then wants the other's. One of them is told to let go.
  const auto both = [](Jobs& jobs) -> Task<std::string> {
    static const auto work = [](const std::string& mine, const std::string& other) {
      return Jobs::Work{[mine, other](PostgresSession& session) -> Result<std::string> {
        const auto body = [&mine, &other](PostgresTransaction& inside) -> Status {
          if (const auto took = inside.script("UPDATE t SET b = b + 1 WHERE a = " + mine); !took) return took;
          if (const auto slept = inside.run("SELECT pg_sleep(0.3)", {}); !slept) return slept.error();
          return inside.script("UPDATE t SET b = b + 1 WHERE a = " + other);
        };
        const auto done = session.transaction(PostgresMode::write, "SET LOCAL lock_timeout = 0", body);
        return done ? Result<std::string>{std::string{"done"}} : Result<std::string>{done.error()};
      }};
    };
    static const auto one = [](Jobs& all, std::shared_ptr<std::string> out) -> Task<> {
      Jobs::Work other = work("2", "1");
      const auto answer = co_await all.task(std::move(other), Lane::read);
      *out = answer ? *answer : std::string{to_string(answer.error().code)};
      co_return ok();
    };
    auto second = std::make_shared<std::string>();
    jobs.env().spawn("second", one(jobs, second));
    Jobs::Work mine = work("1", "2");
    const auto answer = co_await jobs.task(std::move(mine), Lane::store);
    while (second->empty()) co_await sleep_for(jobs.env(), milliseconds{5});
    const std::string out = (answer ? *answer : std::string{to_string(answer.error().code)}) + " " + *second;
    co_return out;
  };
  const auto answer = run(first.env(), both(first));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(*answer == "done unavailable" || *answer == "unavailable done") << *answer;
  EXPECT_EQ(first.ask("SELECT sum(b) FROM t", {}), "2");
}

// ---- connections that end ----

TEST_F(PostgresPoolTest, AConnectionThatDiedIdleIsReplacedWithoutAnError) {
  Jobs jobs(url());
  const std::string backend = jobs.ask("SELECT pg_backend_pid()", {});
  EXPECT_EQ(elsewhere("SELECT pg_terminate_backend(" + backend + ", 5000)"), "t");
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint)"), "no row");
  EXPECT_NE(jobs.ask("SELECT pg_backend_pid()", {}), backend);
  EXPECT_EQ(jobs.counted("postgres_connections_opened"), 2U);
}

TEST_F(PostgresPoolTest, ABackendThatIsKilledLeavesAWriteOpen) {
  Jobs jobs(url());
  EXPECT_EQ(code_of(jobs.write("SELECT pg_terminate_backend(pg_backend_pid())")), "outcome_unknown");
  EXPECT_EQ(code_of(jobs.ask("SELECT pg_terminate_backend(pg_backend_pid())", {})), "unavailable");
  EXPECT_EQ(code_of(jobs.transaction("SELECT pg_terminate_backend(pg_backend_pid())")), "unavailable");
  EXPECT_EQ(jobs.ask("SELECT 1", {}), "1");
  EXPECT_EQ(jobs.counted("postgres_connections_opened"), 4U);
}

// libpqxx 6.4 would go on with a new connection, outside of any transaction.
TEST_F(PostgresPoolTest, AConnectionIsNeverReplacedInTheMiddleOfAJob) {
  Jobs jobs(url());
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint)"), "no row");
  const auto job = [](PostgresSession& session) -> Result<std::string> {
    EXPECT_FALSE(session.ask("SELECT pg_terminate_backend(pg_backend_pid())", {}));
    EXPECT_FALSE(session.usable());
    return Jobs::first(session.write("INSERT INTO t VALUES (1)", {}));
  };
  EXPECT_EQ(code_of(jobs.run_job(job)), "unavailable");
  EXPECT_EQ(jobs.ask("SELECT count(*) FROM t", {}), "0");
}

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
  options.answer = milliseconds{700};
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

TEST_F(PostgresPoolTest, AServerThatTakesNoConnectionsIsUnavailable) {
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

// ---- what an operator got wrong ----

class PostgresOperatorTest : public PostgresPoolTest {
 protected:
  std::string with(const std::string& from, const std::string& to) const {
    std::string changed = url();
    return changed.replace(changed.find(from), from.size(), to);
  }
  static std::string probe(const std::string& url) {
    Jobs jobs(url);
    const Status probed = run(jobs.env(), jobs.pool().probe());
    return probed ? "ready" : to_string(probed.error());
  }
};

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
