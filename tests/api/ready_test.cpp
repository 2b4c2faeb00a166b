// Whether a node can be sent requests, and whether it may be written to without waiting for the views.
#include "api/ready.h"

#include <ostream>

#include "cluster/static_assignment.h"
#include "eventlog/memory_event_log.h"
#include "projections/memory_view_store.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::SimServer;

// ---- the rule

constexpr std::chrono::seconds kLag{30};

NodeFacts good() {
  NodeFacts facts;
  for (std::uint32_t number = 0; number < 3; ++number) {
    PartitionFacts one;
    one.partition = Partition{number};
    one.assigned = number < 2;
    one.owned = number < 2;
    one.owner_known = true;
    facts.partitions.push_back(one);
  }
  return facts;
}

struct Situation {
  const char* name;
  void (*change)(NodeFacts&);
  const char* failing;  // The checks that fail, and why.
  friend std::ostream& operator<<(std::ostream& out, const Situation& row) { return out << row.name; }
};

class ReadyRule : public testing::TestWithParam<Situation> {};

TEST_P(ReadyRule, NamesWhatFails) {
  NodeFacts facts = good();
  GetParam().change(facts);
  const Readiness readiness = decide_ready(facts, {100, kLag});
  std::string failing;
  for (const auto& [name, check] :
       {std::pair{"node", &readiness.node}, std::pair{"log", &readiness.log},
        std::pair{"partitions", &readiness.partitions}, std::pair{"views", &readiness.views}}) {
    if (!check->holds()) failing += std::string(failing.empty() ? "" : "; ") + name + ": " + check->detail;
  }
  EXPECT_EQ(GetParam().failing, failing);
  EXPECT_EQ(failing.empty(), readiness.ready());
}

INSTANTIATE_TEST_SUITE_P(
    Table, ReadyRule,
    testing::Values(
        Situation{"all_is_well", [](NodeFacts&) {}, ""},
        Situation{"nothing_is_assigned",
                  [](NodeFacts& facts) {
                    for (PartitionFacts& one : facts.partitions) one.assigned = one.owned = false;
                  },
                  ""},
        Situation{"a_part_has_failed",
                  [](NodeFacts& facts) {
                    facts.failure = Error{Errc::corrupt, "record 3:7 is damaged"};
                  },
                  "node: record 3:7 is damaged"},
        Situation{"it_is_leaving", [](NodeFacts& facts) { facts.leaving = true; },
                  "node: the server is shutting down"},
        Situation{"no_log",
                  [](NodeFacts& facts) {
                    facts.log = Error{Errc::unavailable, "no broker"};
                  },
                  "log: the log cannot be reached: no broker"},
        Situation{"claims_on_their_way",
                  [](NodeFacts& facts) { facts.partitions[0].owned = facts.partitions[1].owned = false; },
                  "partitions: assigned to this node, but not owned yet: 0, 1"},
        Situation{"nobody_owns_it", [](NodeFacts& facts) { facts.partitions[2].owner_known = false; },
                  "partitions: no owner is known: 2"},
        Situation{"no_views",
                  [](NodeFacts& facts) {
                    facts.views = Error{Errc::unavailable, "no database"};
                  },
                  "views: the views cannot be read: no database"},
        Situation{"at_the_limits",
                  [](NodeFacts& facts) {
                    facts.partitions[0].behind = {100, kLag};
                  },
                  ""},
        Situation{"too_many_records", [](NodeFacts& facts) { facts.partitions[1].behind.records = 101; },
                  "views: too far behind the log: 1"},
        Situation{"too_long",
                  [](NodeFacts& facts) {
                    facts.partitions[2].behind = {1, kLag + std::chrono::nanoseconds{1}};
                  },
                  "views: too far behind the log: 2"},
        Situation{"everything_at_once",
                  [](NodeFacts& facts) {
                    facts.leaving = true;
                    facts.log = Error{Errc::unavailable, "gone"};
                    facts.partitions[0].owned = false;
                    facts.partitions[2].behind.records = 1'000;
                  },
                  "node: the server is shutting down; log: the log cannot be reached: gone; partitions: "
                  "assigned to this node, but not owned yet: 0; views: too far behind the log: 2"}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST(ReadyAnswer, HasNumbersAndARetryAfterOnlyWhenItIsNot) {
  NodeFacts facts = good();
  facts.partitions[1].behind = {101, std::chrono::milliseconds{1500}};
  const Response late = ready_response(facts, {100, kLag});
  EXPECT_EQ(503, late.status);
  EXPECT_EQ("1", late.header("retry-after"));
  EXPECT_EQ(
      R"({"status":"not_ready","checks":{"node":{"ok":true},"log":{"ok":true},)"
      R"("partitions":{"ok":true,"partitions":3,"assigned":2,"owned":2,"not_owned":[],"without_owner":[]},)"
      R"("views":{"ok":false,"detail":"too far behind the log: 1","behind_records":101,"behind_ms":1500,)"
      R"("limit_records":100,"limit_ms":30000,)"
      R"("late":[{"partition":1,"behind_records":101,"behind_ms":1500}]}}})",
      late.body);
  const Response fine = ready_response(good(), {100, kLag});
  EXPECT_EQ(200, fine.status);
  EXPECT_FALSE(fine.header("retry-after"));
}

// ---- the route

class ReadyRoute : public SimServer {
 public:
  // An id that lies in the same partition; nobody need have it.
  std::string agent_beside(const StreamId& other) const {
    const std::uint32_t partitions = world_->options().partitions;
    for (std::uint64_t i = 0;; ++i) {
      std::string id = "agent-" + derived_uuid(command_id_from_text("beside"), "agent", i);
      if (partition_of(StreamId{id}, partitions) == partition_of(other, partitions)) return id;
    }
  }
  // As start(), with other settings.
  void start_with(std::function<void(NodeOptions&)> adjust) {
    oracles_.reset();
    world_.reset();
    sim::World::Options options;
    options.adjust = std::move(adjust);
    world_ = std::make_unique<sim::World>(options);
    oracles_ = std::make_unique<sim::WorldOracles>(*world_, nullptr, owners_);
    world_->boot();
  }
  // For a server that cannot come to rest: the oracles of an end do not hold.
  void abandon() {
    oracles_.reset();
    world_.reset();
  }
  static std::string detail(const Json& answer, const char* check) {
    return text(*answer.find("checks")->find(check), "detail");
  }
  static Task<> drain(Node& node, MonoTime deadline) {
    ignore_error(co_await node.drain(deadline), "the test looks at the answer");
    co_return ok();
  }
};

TEST_F(ReadyRoute, SaysYesWhenEverythingIsOwnedAndFolded) {
  create_agent();
  run_for(1000);
  const Json ready = expect(200, "GET", "/v1/ready/");
  EXPECT_EQ("ready", text(ready, "status"));
  EXPECT_EQ("4", ready.find("checks")->find("partitions")->find("owned")->dump());
  EXPECT_EQ("0", ready.find("checks")->find("views")->find("behind_records")->dump());
}

TEST_F(ReadyRoute, SaysNoBeforeThePartitionsAreOwned) {
  start_with([](NodeOptions& /*options*/) {});
  const Json starting = expect(503, "GET", "/v1/ready/");
  EXPECT_EQ("assigned to this node, but not owned yet: 0, 1, 2, 3", detail(starting, "partitions"));
  run_for(1000);
  expect(200, "GET", "/v1/ready/");
}

TEST_F(ReadyRoute, SaysNoWhileItShutsDown) {
  Env& env = world_->node_env();
  env.spawn("drain", drain(world_->node(), env.now() + std::chrono::seconds{5}));
  run_for(1);
  EXPECT_EQ("the server is shutting down", detail(expect(503, "GET", "/v1/ready/"), "node"));
}

TEST_F(ReadyRoute, SaysNoWhenTheViewsAreLate) {
  start_with([](NodeOptions& options) {
    options.fold_views = false;
    options.ready.lag = std::chrono::seconds{5};
  });
  run_for(1000);
  expect(200, "GET", "/v1/ready/");  // Four claims are behind, for less than a second.
  run_for(10'000);
  const Json late = expect(503, "GET", "/v1/ready/");
  EXPECT_EQ("too far behind the log: 0, 1, 2, 3", detail(late, "views"));
  const Json& first = late.find("checks")->find("views")->find("late")->items().front();
  EXPECT_EQ("1", first.find("behind_records")->dump());
  EXPECT_GE(*first.find("behind_ms")->as_integer(), 10'000);
  abandon();
}

// ---- views that are late

TEST_F(ReadyRoute, ARetryOfACreateIsNeverAnsweredByNothing) {
  start_with([](NodeOptions& options) {
    options.fold_views = false;
    options.view_wait = std::chrono::milliseconds{10};
  });
  run_for(1000);
  const HeaderList key{{"idempotency-key", "k1"}};
  const std::string body = R"({"label":"a","value":"b"})";
  EXPECT_EQ(200, call("POST", "/v1/blocks/", body, key).status);
  const std::size_t before = records();
  const Response again = call("POST", "/v1/blocks/", body, key);
  EXPECT_EQ(503, again.status) << again.body;
  EXPECT_TRUE(again.header("retry-after"));
  EXPECT_EQ(before, records());
  abandon();
}

// ---- ack=log

TEST_F(ReadyRoute, WritesThatDoNotWaitAreSlowedDownWhenTheViewsAreFarBehind) {
  start_with([](NodeOptions& options) {
    options.fold_views = false;
    options.ack_log_lag_records = 5;
    options.view_wait = std::chrono::milliseconds{10};
  });
  run_for(1000);
  const std::string block =
      text(expect(200, "POST", "/v1/blocks/?ack=log", R"({"label":"a","value":"b"})"), "id");
  const std::string path = "/v1/blocks/" + block;
  int written = 0;
  Response refused;
  for (int i = 0; i < 20 && refused.status != 429; ++i) {
    refused = call("PATCH", path + "?ack=log", R"({"value":")" + std::to_string(i) + R"("})");
    if (refused.status == 200) ++written;
  }
  EXPECT_EQ(429, refused.status);
  EXPECT_EQ("1", refused.header("retry-after"));
  EXPECT_NE(std::string::npos, refused.body.find("6 records behind the log, more than the 5"))
      << refused.body;
  // A claim, the block and these are six records.
  EXPECT_EQ(4, written);
  const std::size_t before = records();
  EXPECT_EQ(429, call("PATCH", path + "?ack=log", R"({"value":"no"})").status);
  EXPECT_EQ(before, records());
  // Messages are writes, too.
  const std::string messages = "/v1/agents/" + agent_beside(StreamId{block}) + "/messages?ack=log";
  EXPECT_EQ(429, call("POST", messages, say("hi")).status);
  EXPECT_EQ(3U, world_->node_env().counters().at("ack_log_refusals"));
  // Who waits for the views is not refused: he is slowed down already.
  EXPECT_EQ(200, call("PATCH", path, R"({"value":"yes"})").status);
  // Reads go on.
  EXPECT_EQ(200, call("GET", "/v1/blocks/?ack=log").status);
  abandon();
}

// ---- how far the views are behind

class Lag : public testing::Test {
 public:
  ~Lag() override { env_.kill(); }

  void wait(Duration duration) {
    const MonoTime end = scheduler_.now() + duration;
    env_.call_at(end, [] {});
    while (scheduler_.now() < end && scheduler_.step()) {
    }
  }
  std::string behind() const {
    const ViewLag::Behind found = lag_.behind(kPartition);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(found.time);
    return std::to_string(found.records) + " for " + std::to_string(seconds.count()) + " s";
  }
  Status check(std::uint64_t records_max) {
    auto answer = std::make_shared<std::optional<Status>>();
    env_.spawn("check", keep(lag_, records_max, answer));
    while (!answer->has_value() && scheduler_.step()) {
    }
    return answer->value_or(Status{});
  }
  // Another process folds up to here.
  void fold_elsewhere(Offset next) { storage_->checkpoints[kPartition].next = next; }

 protected:
  static constexpr Partition kPartition{2};
  sim::Scheduler scheduler_{1};
  sim::SimEnv env_{scheduler_, "node", 1};
  std::shared_ptr<MemoryViewStorage> storage_ = std::make_shared<MemoryViewStorage>();
  MemoryViewStore store_{env_, storage_};
  ViewProgress progress_{env_, store_};
  ViewLag lag_{env_, store_, progress_};

 private:
  static Task<> keep(ViewLag& lag, std::uint64_t records_max, std::shared_ptr<std::optional<Status>> answer) {
    *answer = co_await lag.check(kPartition, records_max);
    co_return ok();
  }
};

TEST_F(Lag, IsTheAgeOfTheOldestOffsetThatTheViewsHaveNotPassed) {
  EXPECT_EQ("0 for 0 s", behind());
  lag_.saw_end(kPartition, Offset{10});
  wait(std::chrono::seconds{2});
  lag_.saw_end(kPartition, Offset{20});
  wait(std::chrono::seconds{3});
  EXPECT_EQ("20 for 5 s", behind());
  progress_.advance(kPartition, Offset{10});
  EXPECT_EQ("10 for 3 s", behind());
  progress_.advance(kPartition, Offset{20});
  EXPECT_EQ("0 for 0 s", behind());
  lag_.saw_end(kPartition, Offset{15});  // Old news.
  EXPECT_EQ("0 for 0 s", behind());
}

TEST_F(Lag, KeepsTheOldestOfAnyNumberOfWrites) {
  for (std::uint64_t i = 1; i <= 10'000; ++i) {
    lag_.saw_end(kPartition, Offset{i});
    wait(std::chrono::milliseconds{10});
  }
  EXPECT_EQ("10000 for 100 s", behind());
  // Half of it is folded: the age is known to a hundredth of the whole or so.
  progress_.advance(kPartition, Offset{5'000});
  const Duration age = lag_.behind(kPartition).time;
  EXPECT_LE(age, std::chrono::seconds{51});
  EXPECT_GE(age, std::chrono::seconds{45});
}

TEST_F(Lag, LooksIntoTheStoreBeforeItRefuses) {
  lag_.saw_end(kPartition, Offset{100});
  EXPECT_EQ(Errc::resource_exhausted, check(99).error().code);
  EXPECT_TRUE(check(100));
  fold_elsewhere(Offset{50});
  EXPECT_FALSE(check(99));  // It has just looked.
  wait(std::chrono::milliseconds{300});
  EXPECT_TRUE(check(99));
  EXPECT_EQ(50U, lag_.behind(kPartition).records);
  EXPECT_EQ(Offset{50}, progress_.next(kPartition));
}

// ---- a log that hangs

class SilentLog final : public EventLog {
 public:
  explicit SilentLog(Env& env) : env_(env) {}
  std::uint32_t partitions() const override { return 2; }
  Result<Delivery> append(Partition, std::string, std::string) override {
    return Error{Errc::unavailable, "silence"};
  }
  Task<ReadBatch> read(Partition, Offset, ReadOptions) override {
    co_await never_.wait(env_, kNever);
    co_return Error{Errc::unavailable, "silence"};
  }
  Task<Offset> end(Partition) override {
    ++asked;
    co_await never_.wait(env_, kNever);
    co_return Error{Errc::unavailable, "silence"};
  }
  int asked = 0;

 private:
  Env& env_;
  Notifier never_;
};

TEST_F(Lag, AnAnswerComesInTimeAlsoWhenTheLogHangs) {
  SilentLog log(env_);
  StaticAssignment assignment(env_, 2);
  ClusterMember member(
      env_, assignment, [](Partition, PartitionOwner::Proof) { return std::unique_ptr<Shard>{}; },
      ClusterMember::Options{});
  NodeStatus status(env_, {log, store_, progress_, member, lag_}, "http://here",
                    [] { return std::optional<Error>{}; });
  struct Ask {
    static Task<> run(NodeStatus& of, std::shared_ptr<const NodeFacts>& into) {
      into = co_await of.facts();
      co_return ok();
    }
  };
  std::vector<std::shared_ptr<const NodeFacts>> answers(3);
  const MonoTime begun = scheduler_.now();
  for (auto& answer : answers) env_.spawn("ask", Ask::run(status, answer));
  while (!answers.back() && scheduler_.step()) {
  }
  EXPECT_LE(scheduler_.now() - begun, NodeStatus::kLookTime + std::chrono::milliseconds{10});
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer);
    EXPECT_EQ("no answer within 2 s", answer->log->message);
    EXPECT_EQ(2U, answer->partitions.size());
    EXPECT_FALSE(decide_ready(*answer, {}).ready());
  }
  EXPECT_EQ(1, log.asked);
  env_.kill();  // The tasks that wait for the log end before it does.
}

}  // namespace
}  // namespace varve
