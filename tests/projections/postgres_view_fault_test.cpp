// The PostgreSQL view store when the network, the server or somebody else is in the way: a connection that is
// cut at each phase of a commit, a session that is ended, workers that race for one checkpoint.
#include <signal.h>

#include <thread>

#include "projections/postgres_view_store.h"
#include "tests/projections/postgres_view_racer.h"
#include "tests/support/tcp_proxy.h"

namespace varve::test {
namespace {

constexpr const char* kBatch = "WITH moved AS";  // So begins the statement of a commit.

class PostgresViewFaultTest : public ::testing::Test {
 protected:
  PostgresViewFaultTest() : proxy_(port_of(world_.url())), env_(quiet_env()) {
    PostgresOptions options = postgres_at(with_port(world_.url(), proxy_.port()));
    options.connect = std::chrono::seconds{1};
    options.wait = std::chrono::seconds{2};
    options.answer = std::chrono::seconds{2};
    options.statement = std::chrono::seconds{1};
    store_ = world_.open_pooled(env_, options);
    EXPECT_TRUE(run(env_, store_->prepare()));
  }
  ~PostgresViewFaultTest() override { env_.shut_down(); }

  std::string commit(Batch batch) { return text_of(run(env_, store_->commit(std::move(batch)))); }
  std::uint64_t stored_version() {
    const auto found = sql(world_.url(), "SELECT version FROM " + world_.schema() + ".checkpoints");
    return found.empty() ? 0 : std::stoull(found[0]);
  }
  std::string stored_tags() {
    std::string out;
    for (const std::string& tag :
         sql(world_.url(), "SELECT tag FROM " + world_.schema() + ".tags ORDER BY tag"))
      out += (out.empty() ? "" : " ") + tag;
    return out;
  }
  // Waits until no statement of a commit runs on the server: what was cut off may still be under way there.
  void settle() {
    for (int i = 0; i < 1'000; ++i) {
      if (sql(world_.url(),
              "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'WITH moved%'")
              .empty()) {
        return;
      }
      EXPECT_TRUE(run(env_, pause(&env_)));
    }
  }
  static Task<> pause(Env* env) {
    co_await sleep_for(*env, std::chrono::milliseconds{5});
    co_return ok();
  }

  PostgresViewWorld world_;
  TcpProxy proxy_;
  RealEnv env_;
  std::unique_ptr<PooledViewStore> store_;
};

struct Phase {
  const char* name;
  TcpProxy::Then then;
  bool written;
};

// Whatever the phase, the worker is told that it does not know, loads again and goes on from what is there.
TEST_F(PostgresViewFaultTest, AConnectionThatIsLostDuringACommitLeavesItsOutcomeUnknown) {
  const std::vector<Phase> phases{
      {"before the statement", TcpProxy::Then::cut_before, false},
      {"before the answer", TcpProxy::Then::cut_after, true},
      {"in the answer", TcpProxy::Then::cut_in_answer, true},
      {"no answer", TcpProxy::Then::stall, true},
      {"never sent on", TcpProxy::Then::stall_before, false},
  };
  std::uint64_t version = 0;
  std::string tags;
  for (const Phase& phase : phases) {
    SCOPED_TRACE(phase.name);
    const std::size_t before = proxy_.done();
    proxy_.on(kBatch, phase.then);
    const std::string name = "t" + std::to_string(version) + (phase.written ? "" : "x");
    const Batch batch = batch_of(0, version, {tag("a1", name, at(10 * version))});
    EXPECT_EQ(commit(batch).substr(0, 16), "outcome_unknown:");
    proxy_.cut_all();  // Before anything that is stalled goes on.
    proxy_.resume();
    settle();
    EXPECT_EQ(proxy_.done(), before + 1);
    EXPECT_EQ(stored_version(), version + (phase.written ? 1 : 0));
    // The same batch again: what was written has moved the checkpoint, what was not goes in now.
    EXPECT_EQ(commit(batch), phase.written ? "lost race" : "committed");
    ++version;
    tags += (tags.empty() ? "" : " ") + name;
    EXPECT_EQ(stored_tags(), tags);
    const auto loaded = run(env_, store_->load(Partition{0}));
    ASSERT_TRUE(loaded) << to_string(loaded.error());
    EXPECT_EQ(loaded->checkpoint.version, version);
  }
}

// Half of it has come through: the server has nothing to do yet.
TEST_F(PostgresViewFaultTest, AStatementThatIsCutInTheMiddleWritesNothing) {
  std::vector<RowChange> changes;
  const std::string filling(std::size_t{1} << 20U, 'x');
  for (int i = 0; i < 8; ++i) {
    RowInsert row = message("m" + std::to_string(i), "a1", at(1, i));
    row.row.values[messages::content] = text(i == 5 ? "\"here it is cut\"" : filling);
    changes.emplace_back(std::move(row));
  }
  const Batch batch = batch_of(0, 0, std::move(changes));
  proxy_.on("here it is cut", TcpProxy::Then::cut_before);
  EXPECT_EQ(commit(batch).substr(0, 16), "outcome_unknown:");
  EXPECT_EQ(proxy_.done(), 1U);
  EXPECT_EQ(stored_version(), 0U);
  EXPECT_EQ(commit(batch), "committed");
}

TEST_F(PostgresViewFaultTest, WithoutAConnectionNothingIsWritten) {
  ASSERT_EQ(commit(batch_of(0, 0, {tag("a1", "t0", at(1))})), "committed");
  proxy_.refuse(true);
  proxy_.cut_all();
  EXPECT_EQ(commit(batch_of(0, 1, {tag("a1", "t1", at(11))})).substr(0, 12), "unavailable:");
  EXPECT_EQ(stored_version(), 1U);
  proxy_.refuse(false);
  EXPECT_EQ(commit(batch_of(0, 1, {tag("a1", "t1", at(11))})), "committed");
}

TEST_F(PostgresViewFaultTest, AReadThatLosesItsConnectionFailsAndTheNextSucceeds) {
  ASSERT_EQ(commit(batch_of(0, 0, {tag("a1", "t0", at(1))})), "committed");
  for (const auto then :
       {TcpProxy::Then::cut_before, TcpProxy::Then::cut_after, TcpProxy::Then::cut_in_answer}) {
    for (const char* moment : {"REPEATABLE READ", "count(*)", "COMMIT"}) {
      const auto count_tags = [this] {
        auto counted = std::make_shared<std::int64_t>(-1);
        const Status status = run(env_, store_->read([counted](ViewReader& reader) -> Status {
          const auto found = reader.count({.view = View::tags});
          if (!found) return found.error();
          *counted = *found;
          return ok();
        }));
        return status ? std::to_string(*counted) : to_string(status.error()).substr(0, 12);
      };
      proxy_.on(moment, then);
      const std::string seen = count_tags();
      EXPECT_EQ(seen, "unavailable:") << moment;  // It may be asked again: nothing was at stake.
      EXPECT_EQ(count_tags(), "1") << moment;
    }
  }
}

// The session ends after the statement has begun, and the row lock with it.
TEST_F(PostgresViewFaultTest, ABackendThatIsTerminatedLeavesTheOutcomeUnknown) {
  ASSERT_EQ(commit(batch_of(0, 0, {tag("a1", "t0", at(1))})), "committed");
  pqxx::connection other(world_.url());
  pqxx::nontransaction holder(other);
  holder.exec("BEGIN; SELECT 1 FROM " + world_.schema() + ".checkpoints FOR UPDATE");
  auto outcome = std::make_shared<std::string>();
  struct Story {
    static Task<> commit(Env* env, ViewStore* store, std::shared_ptr<std::string> out) {
      Batch batch = batch_of(0, 1, {tag("a1", "t1", at(11))});
      *out = text_of(co_await store->commit(std::move(batch)));
      (void)env;
      co_return ok();
    }
    static Task<> terminate(Env* env, std::string url, std::shared_ptr<std::string> out) {
      for (int i = 0; i < 1'000 && out->empty(); ++i) {
        sql(url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND "
            "query LIKE 'WITH moved%' AND datname = current_database()");
        co_await sleep_for(*env, std::chrono::milliseconds{5});
      }
      co_return ok();
    }
  };
  env_.spawn("commit", Story::commit(&env_, store_.get(), outcome));
  ASSERT_TRUE(run(env_, Story::terminate(&env_, world_.url(), outcome)));
  EXPECT_EQ(outcome->substr(0, 16), "outcome_unknown:");
  holder.exec("ROLLBACK");
  EXPECT_EQ(stored_version(), 1U);
  EXPECT_EQ(commit(batch_of(0, 1, {tag("a1", "t1", at(11))})), "committed");
}

TEST(PostgresViewRace, SixWorkersOnOneCheckpointWriteTheRowsOfTheWinnersAndNoOthers) {
  constexpr std::uint64_t kBatches = 600;
  constexpr std::size_t kWorkers = 6;
  PostgresViewWorld world;
  std::vector<Racer> racers(kWorkers);
  std::vector<std::string> ends(kWorkers);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    racers[i].name = "w" + std::to_string(i);
    threads.emplace_back([&, i] {
      RealEnv env{quiet_env()};
      const auto store = world.open_pooled(env, postgres_at(world.url()));
      const Status end = run(env, race(&env, store.get(), &racers[i], kBatches));
      ends[i] = end ? "ok" : to_string(end.error());
      env.shut_down();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ends, std::vector<std::string>(kWorkers, "ok"));

  std::map<std::uint64_t, std::string> winners;
  std::size_t workers_that_won = 0;
  std::uint64_t races_lost = 0;
  for (const Racer& racer : racers) {
    EXPECT_EQ(racer.faults, 0U);  // Losing is none.
    workers_that_won += racer.won.empty() ? 0 : 1;
    races_lost += racer.lost;
    for (const auto& [version, name] : racer.won)
      EXPECT_TRUE(winners.emplace(version, name).second) << version;
  }
  EXPECT_EQ(winners.size(), kBatches);
  EXPECT_GT(workers_that_won, 1U);
  EXPECT_GT(races_lost, 10U);
  std::vector<std::string> expected;
  for (const auto& [version, worker] : winners)
    expected.push_back(std::to_string(version) + " " + worker + " 3");
  EXPECT_EQ(stored_turns(world.url(), world.schema()), expected);
  EXPECT_EQ(sql(world.url(), "SELECT count(*) || ' ' || count(to_offset) FROM " + world.schema() + ".tags"),
            std::vector<std::string>{std::to_string(kBatches) + " " + std::to_string(kBatches - 1)});
}

}  // namespace
}  // namespace varve::test
