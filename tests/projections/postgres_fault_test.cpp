// The snapshot store on a PostgreSQL that stops, dies, hangs and has no space left: a server of this test's
// own.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "projections/postgres_snapshot_store.h"
#include "tests/projections/postgres_own_server.h"
#include "tests/projections/snapshot_store_contract.h"
#include "tests/support/postgres_database.h"

namespace varve::test {

namespace {

using std::chrono::milliseconds;

class PostgresFaultTest : public ::testing::Test {
 protected:
  // One server for all of them: starting one takes a second or two.
  static void SetUpTestSuite() { server() = std::make_unique<OwnPostgres>(); }
  static void TearDownTestSuite() { server().reset(); }
  static std::unique_ptr<OwnPostgres>& server() {
    static std::unique_ptr<OwnPostgres> only;
    return only;
  }

  PostgresFaultTest() : database_(server()->url()) {
    database_.migrate();
    open(milliseconds{15'000});
  }
  ~PostgresFaultTest() override { env_->shut_down(); }

  void open(milliseconds answer) {
    if (env_) env_->shut_down();
    RealEnv::Options quiet;
    quiet.log_sink = [](LogLevel, std::string_view) {};
    env_ = std::make_unique<RealEnv>(quiet);
    PostgresOptions options;
    options.url = database_.url();
    options.answer = answer;
    auto made = PostgresPool::make(*env_, options);
    ASSERT_TRUE(made);
    pool_ = std::move(*made);
    store_ = std::make_unique<PostgresSnapshotStore>(*pool_);
  }

  std::string put(std::uint64_t seen) {
    const auto done = run(*env_, store_->put({snapshot("agent-1", seen, "state")}));
    return done ? "done" : to_string(done.error());
  }
  std::string stored() {
    const auto row = run(*env_, store_->get(StreamId{"agent-1"}));
    if (!row) return to_string(row.error());
    return *row ? std::to_string((*row)->seen.value()) : "none";
  }
  static std::string code(const std::string& answer) { return answer.substr(0, answer.find(':')); }
  // Meanwhile, from another connection.
  std::string shell(const std::string& sql) { return PostgresShell(database_.url()).sql(sql); }

  PostgresDatabase database_;
  std::unique_ptr<RealEnv> env_;
  std::unique_ptr<PostgresPool> pool_;
  std::unique_ptr<PostgresSnapshotStore> store_;
};

TEST_F(PostgresFaultTest, ARestartBetweenTwoCallsIsNotNoticed) {
  EXPECT_EQ(put(1), "done");
  server()->tell("restart");
  EXPECT_EQ(put(2), "done");
  EXPECT_EQ(stored(), "2");
}

TEST_F(PostgresFaultTest, AServerThatIsDownIsUnavailableUntilItIsBack) {
  EXPECT_EQ(put(1), "done");
  server()->tell("stop");
  EXPECT_EQ(code(put(2)), "unavailable");
  EXPECT_EQ(code(stored()), "unavailable");
  server()->tell("start");
  EXPECT_EQ(stored(), "1");
  EXPECT_EQ(put(2), "done");
}

// Whatever a crash of the server leaves, what it had confirmed is there.
TEST_F(PostgresFaultTest, ACrashLosesNothingThatWasConfirmed) {
  EXPECT_EQ(put(1), "done");
  server()->tell("kill");
  EXPECT_EQ(code(put(2)), "unavailable");
  server()->tell("start");
  EXPECT_EQ(stored(), "1");
}

TEST_F(PostgresFaultTest, ACrashInTheMiddleOfAWriteLeavesItOpen) {
  EXPECT_EQ(put(1), "done");
  // The put waits for this lock when the server dies.
  PostgresShell holder(database_.url());
  const auto hold = [this](PostgresSession& session) -> Result<std::string> {
    std::string answer;
    const auto body = [this, &answer](PostgresTransaction& inside) -> Status {
      if (const auto locked = inside.script("LOCK TABLE snapshots IN ACCESS EXCLUSIVE MODE"); !locked)
        return locked;
      env_->call_at(env_->now() + milliseconds{500}, [] { server()->tell("kill"); });
      answer = put(2);
      return ok();
    };
    EXPECT_FALSE(session.transaction(PostgresMode::write, "", body));
    return answer;
  };
  std::function<Result<std::string>(PostgresSession&)> job = hold;
  const PostgresUse how{Lane::store, std::chrono::seconds{20}};
  const auto answer = run(holder.env(), holder.pool().run<std::string>(how, std::move(job)));
  ASSERT_TRUE(answer);
  EXPECT_EQ(code(*answer), "outcome_unknown") << *answer;
  server()->tell("start");
  EXPECT_EQ(stored(), "1");  // This time it was not done. Nobody could have known.
  EXPECT_EQ(put(2), "done");
}

// A host that hangs keeps its connections: the server's own time-outs do not run, ours do.
TEST_F(PostgresFaultTest, AServerThatHangsIsLeft) {
  open(milliseconds{2'000});
  EXPECT_EQ(put(1), "done");
  server()->tell("pause");
  EXPECT_EQ(code(put(2)), "outcome_unknown");
  EXPECT_EQ(env_->counters().at("postgres_connections_cut"), 1U);
  server()->tell("resume");
  // It had been sent: the server does it when it wakes up. The store does not care: a row only moves forward.
  EXPECT_EQ(put(3), "done");
  EXPECT_EQ(stored(), "3");
}

Task<> wait_a_moment(RealEnv& env) {
  co_await sleep_for(env, milliseconds{300});
  co_return ok();
}

TEST_F(PostgresFaultTest, AProgramThatStopsDoesNotWaitForAServerThatHangs) {
  EXPECT_EQ(put(1), "done");
  server()->tell("pause");
  env_->spawn("put", store_->put({snapshot("agent-1", 2, "state")}));
  EXPECT_TRUE(run(*env_, wait_a_moment(*env_)));
  const MonoTime begun = env_->now();
  pool_->cut();
  env_->shut_down();
  EXPECT_LT(env_->now() - begun, std::chrono::seconds{5});  // Not what `answer` allows.
  server()->tell("resume");
}

// The file of the table becomes one that has no space, as /dev/full has none: ENOSPC of the kernel, without a
// file system of our own.
TEST_F(PostgresFaultTest, AFullDiskIsUnavailableAndWritesNothing) {
  const std::string file = shell("SELECT pg_relation_filepath('snapshots')");  // Still empty.
  EXPECT_EQ(shell("CHECKPOINT"), "");
  server()->tell("full " + file);
  const std::string answer = put(1);
  EXPECT_TRUE(answer.starts_with("unavailable: the disk of PostgreSQL is full: could not extend file"))
      << answer;
  EXPECT_NE(answer.find("No space left on device"), std::string::npos) << answer;
  EXPECT_EQ(code(put(2)), "unavailable");
  server()->tell("room " + file);
  open(milliseconds{15'000});  // Backends keep files open.
  EXPECT_EQ(stored(), "none");
  EXPECT_EQ(put(3), "done");
  EXPECT_EQ(stored(), "3");
}

}  // namespace

}  // namespace varve::test
