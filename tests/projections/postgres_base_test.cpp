// The pool of connections on a real PostgreSQL: what a job gets, what a lost connection means at each moment,
// and what an operator reads who gave a wrong password.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/projections/postgres_jobs.h"
#include "tests/support/postgres_database.h"

namespace varve::test {

namespace {

using std::chrono::milliseconds;

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
  options.statement = milliseconds{500};
  Jobs jobs(options);
  EXPECT_EQ(elsewhere("CREATE TABLE t (a bigint)"), "");
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

// Takes the row `mine`, then wants the row `other`.
Jobs::Work two_rows(const std::string& mine, const std::string& other) {
  return [mine, other](PostgresSession& session) -> Result<std::string> {
    const auto body = [&mine, &other](PostgresTransaction& inside) -> Status {
      if (const auto took = inside.script("UPDATE t SET b = b + 1 WHERE a = " + mine); !took) return took;
      if (const auto slept = inside.run("SELECT pg_sleep(0.3)", {}); !slept) return slept.error();
      return inside.script("UPDATE t SET b = b + 1 WHERE a = " + other);
    };
    const auto done = session.transaction(PostgresMode::write, "SET LOCAL lock_timeout = 0", body);
    return done ? Result<std::string>{std::string{"done"}} : Result<std::string>{done.error()};
  };
}

Task<> keep_answer(Jobs& jobs, Jobs::Work work, Lane lane, std::shared_ptr<std::string> out) {
  const auto answer = co_await jobs.task(std::move(work), lane);
  *out = answer ? *answer : std::string{to_string(answer.error().code)};
  co_return ok();
}

// Both lanes of one program, each with what the other wants. One of them is told to let go.
Task<std::string> in_a_circle(Jobs& jobs) {
  auto first = std::make_shared<std::string>();
  auto second = std::make_shared<std::string>();
  jobs.env().spawn("second", keep_answer(jobs, two_rows("2", "1"), Lane::read, second));
  Jobs::Work mine = two_rows("1", "2");
  const Status done = co_await keep_answer(jobs, std::move(mine), Lane::store, first);
  if (!done) co_return done.error();
  while (second->empty()) co_await sleep_for(jobs.env(), milliseconds{5});
  std::string both = *first + " " + *second;
  co_return both;
}

TEST_F(PostgresPoolTest, ADeadlockWroteNothing) {
  Jobs jobs(url());
  EXPECT_EQ(jobs.write("CREATE TABLE t (a bigint PRIMARY KEY, b bigint)"), "no row");
  EXPECT_EQ(jobs.write("INSERT INTO t VALUES (1, 0), (2, 0)"), "no row");
  const auto answer = run(jobs.env(), in_a_circle(jobs));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(*answer == "done unavailable" || *answer == "unavailable done") << *answer;
  EXPECT_EQ(jobs.ask("SELECT sum(b) FROM t", {}), "2");
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

}  // namespace

}  // namespace varve::test
