// The snapshot store on a real PostgreSQL: the contract of every store, and what only this one can get wrong.
#include "projections/postgres_snapshot_store.h"

#include <algorithm>
#include <thread>

#include "tests/projections/snapshot_store_contract.h"
#include "tests/support/postgres_database.h"
#include "tests/support/tcp_proxy.h"

namespace varve::test {

namespace {

class OpenStore final : public SnapshotStore {
 public:
  OpenStore(Env& env, const std::string& url) {
    PostgresOptions options;
    options.url = url;
    auto made = PostgresPool::make(env, options);
    EXPECT_TRUE(made) << to_string(made.error());
    pool_ = std::move(*made);
    store_ = std::make_unique<PostgresSnapshotStore>(*pool_);
  }

  Task<> put(std::vector<SnapshotRow> rows) override { return store_->put(std::move(rows)); }
  Task<std::optional<SnapshotRow>> get(StreamId stream) override { return store_->get(std::move(stream)); }
  Task<std::optional<RecoveryRow>> recovery(Partition partition) override {
    return store_->recovery(partition);
  }
  Task<bool> move_recovery(RecoveryRow row) override { return store_->move_recovery(std::move(row)); }
  Task<std::vector<SnapshotPlace>> list(Partition partition, StreamId after, std::size_t limit) override {
    return store_->list(partition, std::move(after), limit);
  }
  Task<std::vector<StreamId>> open_turns(Partition partition) override {
    return store_->open_turns(partition);
  }

 private:
  std::unique_ptr<PostgresPool> pool_;
  std::unique_ptr<PostgresSnapshotStore> store_;
};

class PostgresWorld final : public SnapshotStoreWorld {
 public:
  PostgresWorld() { database_.migrate(); }
  std::unique_ptr<SnapshotStore> open(Env& env) override {
    return std::make_unique<OpenStore>(env, database_.url());
  }

 private:
  PostgresDatabase database_;
};

INSTANTIATE_TEST_SUITE_P(Postgres, SnapshotStoreContract,
                         ::testing::Values(SnapshotStoreCase{
                             "Postgres", [] { return std::make_unique<PostgresWorld>(); }}),
                         name_of_snapshot_case);

class PostgresSnapshotTest : public ::testing::Test {
 protected:
  // A store with an Env of its own, as another node has it.
  class Node {
   public:
    explicit Node(const std::string& url) : store_(std::make_unique<OpenStore>(env_, url)) {}
    ~Node() { env_.shut_down(); }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    std::string put(std::vector<SnapshotRow> rows) {
      const auto done = run(env_, store_->put(std::move(rows)));
      return done ? "done" : to_string(done.error().code);
    }
    std::string stored(const std::string& stream) {
      const auto row = run(env_, store_->get(StreamId{stream}));
      if (!row) return to_string(row.error());
      return *row ? std::to_string((*row)->seen.value()) + ":" + (*row)->state : "none";
    }
    std::string move(const RecoveryRow& row) {
      const auto moved = run(env_, store_->move_recovery(row));
      if (!moved) return to_string(moved.error().code);
      return *moved ? "moved" : "not moved";
    }
    std::string recovery() {
      const auto row = run(env_, store_->recovery(Partition{0}));
      if (!row) return to_string(row.error());
      return *row ? std::to_string((*row)->next.value()) + " v" + std::to_string((*row)->version) : "none";
    }

   private:
    RealEnv env_;
    std::unique_ptr<OpenStore> store_;
  };

  PostgresSnapshotTest() { database_.migrate(); }

  PostgresDatabase database_;
};

SnapshotRow damaged(const std::string& stream, std::uint64_t seen) {
  SnapshotRow row = snapshot(stream, seen, "damaged");
  row.hash = xxh64("what it was");
  return row;
}

// Rows that have seen as much as the stored ones make a put() two statements: what else is in it is not lost.
TEST_F(PostgresSnapshotTest, OnePutHoldsRowsOfEveryKind) {
  Node node(database_.url());
  SnapshotRow corrupt = snapshot("corrupt", 5, "last good");
  corrupt.corrupt = true;
  EXPECT_EQ(node.put({snapshot("as-old", 5, "a"), damaged("bad", 5), corrupt, snapshot("older", 5, "a"),
                      snapshot("newer", 5, "a")}),
            "done");
  EXPECT_EQ(node.put({snapshot("as-old", 5, "b"), snapshot("bad", 5, "b"), snapshot("corrupt", 5, "b"),
                      snapshot("older", 6, "b"), snapshot("newer", 4, "b"), snapshot("new", 1, "b")}),
            "done");
  EXPECT_EQ(node.stored("as-old"), "5:a");
  EXPECT_EQ(node.stored("bad"), "5:b");
  EXPECT_EQ(node.stored("corrupt"), "5:b");
  EXPECT_EQ(node.stored("older"), "6:b");
  EXPECT_EQ(node.stored("newer"), "5:a");
  EXPECT_EQ(node.stored("new"), "1:b");
  // Also if nothing is damaged.
  EXPECT_EQ(node.put({snapshot("as-old", 5, "c"), snapshot("older", 7, "c")}), "done");
  EXPECT_EQ(node.stored("as-old"), "5:a");
  EXPECT_EQ(node.stored("older"), "7:c");
}

// In one transaction of several statements.
TEST_F(PostgresSnapshotTest, APutOfManyMegabytesIsOneTransaction) {
  Node node(database_.url());
  EXPECT_EQ(node.put({damaged("agent-30", 1)}), "done");
  std::vector<SnapshotRow> rows;
  for (int i = 20; i < 40; ++i) {
    rows.push_back(snapshot("agent-" + std::to_string(i), 1, std::string(std::size_t{1} << 20U, '"')));
  }
  EXPECT_EQ(node.put(rows), "done");
  for (const SnapshotRow& row : rows) EXPECT_EQ(node.stored(row.stream.value()), "1:" + row.state);
  for (SnapshotRow& row : rows) row.seen = Offset{2};
  rows.back().state.assign("a\0b", 3);  // Refused. Nothing of the rest is written.
  EXPECT_EQ(node.put(rows), "invalid_argument");
  EXPECT_EQ(node.stored("agent-20").substr(0, 2), "1:");
}

// Two nodes that both think that they own the partition, in opposite orders: the newest row wins, and nobody
// waits for the other in a circle.
TEST_F(PostgresSnapshotTest, NodesThatPutTheSameStreamsDoNotHurtEachOther) {
  constexpr int kRounds = 30;
  constexpr int kStreams = 40;
  const auto work = [this](int parity, std::vector<std::string>& answers) {
    Node node(database_.url());
    for (int round = 0; round < kRounds; ++round) {
      const auto seen = static_cast<std::uint64_t>(2 * round + parity);
      std::vector<SnapshotRow> rows;
      for (int i = 0; i < kStreams; ++i) {
        rows.push_back(snapshot("agent-" + std::to_string(i), seen, std::to_string(seen)));
      }
      if (parity == 1) std::reverse(rows.begin(), rows.end());
      answers.push_back(node.put(std::move(rows)));
    }
  };
  std::vector<std::string> first;
  std::vector<std::string> second;
  std::thread other([&] { work(1, second); });
  work(0, first);
  other.join();
  for (const auto& answers : {first, second}) {
    for (const std::string& answer : answers) EXPECT_EQ(answer, "done");
  }
  Node node(database_.url());
  const std::string newest = std::to_string(2 * (kRounds - 1) + 1);
  for (int i = 0; i < kStreams; ++i) {
    std::string expected = newest;
    expected.append(":").append(newest);
    EXPECT_EQ(node.stored("agent-" + std::to_string(i)), expected);
  }
}

// One of any number of racing nodes moves the row.
TEST_F(PostgresSnapshotTest, TheRecoveryRowIsMovedByOneOfTwo) {
  constexpr int kRounds = 40;
  const auto work = [this](std::vector<std::string>& answers) {
    Node node(database_.url());
    for (int round = 0; round < kRounds; ++round) {
      RecoveryRow row;
      row.next = Offset{static_cast<std::uint64_t>(round) + 1};
      row.version = static_cast<std::uint64_t>(round);
      std::string answer = node.move(row);
      answers.push_back(answer);
      // Both go on from what is there now: one has moved it.
      EXPECT_EQ(node.recovery().substr(0, 4) == "none", false);
    }
  };
  std::vector<std::string> first;
  std::vector<std::string> second;
  std::thread other([&] { work(second); });
  work(first);
  other.join();
  int moved = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto at = static_cast<std::size_t>(round);
    EXPECT_FALSE(first[at] == "moved" && second[at] == "moved") << round;
    if (first[at] == "moved" || second[at] == "moved") ++moved;
  }
  EXPECT_EQ(moved, kRounds);
  EXPECT_EQ(Node(database_.url()).recovery(), "40 v40");
}

TEST_F(PostgresSnapshotTest, APutWhoseAnswerIsLostMayBeRepeated) {
  TcpProxy proxy(port_of(database_.url()));
  Node node(with_port(database_.url(), proxy.port()));
  EXPECT_EQ(node.put({snapshot("agent-1", 1, "a")}), "done");
  proxy.on("INSERT INTO snapshots", TcpProxy::Then::cut_before);
  EXPECT_EQ(node.put({snapshot("agent-1", 2, "b")}), "outcome_unknown");
  EXPECT_EQ(node.stored("agent-1"), "1:a");
  proxy.on("INSERT INTO snapshots", TcpProxy::Then::cut_after);
  EXPECT_EQ(node.put({snapshot("agent-1", 2, "b")}), "outcome_unknown");
  EXPECT_EQ(node.stored("agent-1"), "2:b");
  EXPECT_EQ(node.put({snapshot("agent-1", 2, "b")}), "done");
  proxy.on("FROM snapshots", TcpProxy::Then::cut_after);
  EXPECT_TRUE(node.stored("agent-1").starts_with("unavailable:"));
  EXPECT_EQ(node.stored("agent-1"), "2:b");
}

TEST_F(PostgresSnapshotTest, AMoveWhoseAnswerIsLostIsSeenByReading) {
  TcpProxy proxy(port_of(database_.url()));
  Node node(with_port(database_.url(), proxy.port()));
  RecoveryRow row;
  row.next = Offset{10};
  proxy.on("INSERT INTO recovery", TcpProxy::Then::cut_after);
  EXPECT_EQ(node.move(row), "outcome_unknown");
  EXPECT_EQ(node.recovery(), "10 v1");
  EXPECT_EQ(node.move(row), "not moved");
  row.version = 1;
  row.next = Offset{20};
  proxy.on("UPDATE recovery", TcpProxy::Then::cut_before);
  EXPECT_EQ(node.move(row), "outcome_unknown");
  EXPECT_EQ(node.recovery(), "10 v1");
  EXPECT_EQ(node.move(row), "moved");
}

TEST_F(PostgresSnapshotTest, AServerThatOnlyReadsIsReadFrom) {
  Node writer(database_.url());
  EXPECT_EQ(writer.put({snapshot("agent-1", 1, "a")}), "done");
  Node node(database_.url() + "?options=-c%20default_transaction_read_only%3Don");
  EXPECT_EQ(node.stored("agent-1"), "1:a");
  EXPECT_EQ(node.put({snapshot("agent-1", 2, "b")}), "unavailable");
  EXPECT_EQ(node.move(RecoveryRow{}), "unavailable");
  EXPECT_EQ(writer.stored("agent-1"), "1:a");
}

}  // namespace

}  // namespace varve::test
