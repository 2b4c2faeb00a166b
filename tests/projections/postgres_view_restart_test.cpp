// The PostgreSQL view store on a server that is stopped and started under its workers.
#include <thread>

#include "projections/postgres_view_store.h"
#include "tests/projections/postgres_own_server.h"
#include "tests/projections/postgres_view_racer.h"

namespace varve::test {
namespace {

TEST(PostgresViewRestart, WorkersGoOnWhenTheServerIsBack) {
  constexpr std::size_t kWorkers = 2;
  constexpr std::uint64_t kBetween = 150;  // Batches from one restart to the next.
  OwnPostgres server;
  PostgresDatabase database{server.url()};
  database.migrate();
  std::vector<Racer> racers(kWorkers);
  std::uint64_t goal = kBetween;
  for (int part = 0; part < 3; ++part, goal += kBetween) {
    std::vector<std::string> ends(kWorkers);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kWorkers; ++i) {
      racers[i].name = "w" + std::to_string(i);
      threads.emplace_back([&, i] {
        RealEnv env{quiet_env()};
        PooledViewStore store{env, postgres_at(database.url()), {1, PostgresViewStore::Reads::live}};
        const Status end = run(env, race(&env, &store, &racers[i], goal));
        ends[i] = end ? "ok" : to_string(end.error());
        env.shut_down();
      });
    }
    if (part < 2) server.tell("restart");  // At once: while they connect, load and commit.
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(ends, std::vector<std::string>(kWorkers, "ok"));
  }
  goal -= kBetween;
  const auto turns = stored_turns(database.url(), "varve_views_1");
  ASSERT_EQ(turns.size(), goal);
  for (std::uint64_t version = 0; version < goal; ++version) {
    const std::string& turn = turns[version];
    EXPECT_EQ(turn.substr(turn.rfind(' ')), " 3") << turn;
    for (const Racer& racer : racers) {  // Whoever was told so has written it.
      if (!racer.won.contains(version)) continue;
      EXPECT_EQ(turn, std::to_string(version) + " " + racer.name + " 3");
    }
  }
  EXPECT_GT(racers[0].faults + racers[1].faults, 0U);
}

}  // namespace
}  // namespace varve::test
