// Which processes of a cluster are alive, in the table that they share.
#include "projections/postgres_process_table.h"

#include "tests/projections/postgres_view_world.h"

namespace varve::test {
namespace {

class PostgresProcessTableTest : public testing::Test {
 public:
  void SetUp() override {
    database_.migrate();
    pool_ = *PostgresPool::make(env_, postgres_at(database_.url()));
  }
  void TearDown() override { env_.shut_down(); }

  std::string keep(const std::string& node, const std::string& cluster,
                   const std::vector<std::string>& roles) {
    PostgresProcessTable table(*pool_);
    const Status kept = run(env_, table.keep({cluster, node, "http://" + node, roles}));
    return kept ? "kept" : to_string(kept.error());
  }
  // "a http://a [api projections]; .."
  std::string seen(const std::string& cluster) {
    PostgresProcessTable table(*pool_);
    const auto processes = run(env_, table.seen(cluster));
    if (!processes) return to_string(processes.error());
    std::string all;
    for (const ProcessSeen& one : *processes) {
      EXPECT_LE(0, one.seen_seconds);
      EXPECT_GE(15, one.seen_seconds);
      all += one.node + " " + one.url + " [";
      for (const std::string& role : one.roles) all += (all.back() == '[' ? "" : " ") + role;
      all += "]; ";
    }
    return all;
  }
  void age(const std::string& node, const std::string& by) {
    sql(database_.url(),
        "UPDATE processes SET seen_at = seen_at - interval '" + by + "' WHERE node = '" + node + "'");
  }

  PostgresDatabase database_;
  RealEnv env_{quiet_env()};
  std::unique_ptr<PostgresPool> pool_;
};

TEST_F(PostgresProcessTableTest, TheAliveOfOneClusterAreSeen) {
  EXPECT_EQ("", seen("blue"));
  EXPECT_EQ("kept", keep("b", "blue", {"projections"}));
  EXPECT_EQ("kept", keep("a", "blue", {"api", "projections"}));
  EXPECT_EQ("kept", keep("x", "red", {}));
  EXPECT_EQ("a http://a [api projections]; b http://b [projections]; ", seen("blue"));
  EXPECT_EQ("x http://x []; ", seen("red"));
}

TEST_F(PostgresProcessTableTest, WhoSaysNothingForLongIsGoneAndWhoSpeaksAgainIsBack) {
  keep("a", "blue", {"api"});
  age("a", "14 seconds");
  EXPECT_EQ("a http://a [api]; ", seen("blue"));
  age("a", "2 seconds");
  EXPECT_EQ("", seen("blue"));
  EXPECT_EQ("kept", keep("a", "blue", {"api", "actors"}));
  EXPECT_EQ("a http://a [api actors]; ", seen("blue"));
}

TEST_F(PostgresProcessTableTest, WhoLeavesIsGoneAtOnceAndTheDeadAreForgotten) {
  keep("a", "blue", {"api"});
  keep("dead", "blue", {"api"});
  PostgresProcessTable table(*pool_);
  ASSERT_TRUE(run(env_, table.leave("a")));
  ASSERT_TRUE(run(env_, table.leave("never")));
  EXPECT_EQ("dead http://dead [api]; ", seen("blue"));
  age("dead", "59 minutes");
  keep("b", "blue", {"api"});
  EXPECT_EQ("2", sql(database_.url(), "SELECT count(*) FROM processes").front());
  age("dead", "2 minutes");
  keep("b", "blue", {"api"});
  EXPECT_EQ("b", sql(database_.url(), "SELECT string_agg(node, ' ') FROM processes").front());
}

TEST_F(PostgresProcessTableTest, ATableThatIsNotThereIsAnError) {
  sql(database_.url(), "ALTER TABLE processes RENAME TO hidden");
  EXPECT_NE("kept", keep("a", "blue", {}));
  EXPECT_NE("", seen("blue"));
  sql(database_.url(), "ALTER TABLE hidden RENAME TO processes");
  EXPECT_EQ("kept", keep("a", "blue", {}));
}

}  // namespace
}  // namespace varve::test
