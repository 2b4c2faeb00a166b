// Shards through the routes, in a simulated server: mailboxes, turns, idempotency, snapshots and recovery.
#include "actors/shard.h"

#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::Pending;
using test::SimServer;

class ShardTest : public SimServer {
 public:
  Shard& shard_of(const std::string& stream) {
    return *world_->node().shard(partition_of(StreamId{stream}, world_->options().partitions));
  }
  // Runs a task of the node to its end.
  Status settle(Task<> task) {
    auto result = std::make_shared<std::optional<Status>>();
    world_->client().spawn("settle", keep(std::move(task), result));
    while (!result->has_value() && step()) {
    }
    return result->value_or(Status{});
  }
  static Task<> keep(Task<> task, std::shared_ptr<std::optional<Status>> result) {
    *result = co_await std::move(task);
    co_return ok();
  }
  std::string block_of(const std::string& agent, const std::string& label) {
    return text(expect(200, "GET", "/v1/agents/" + agent + "/core-memory/blocks/" + label), "value");
  }
};

constexpr const char* kSlow = R"({"replies":[
  {"match":"slow","delay_ms":500,"text":"at last"},
  {"match":"everything","echo_context":true},
  {"match":"tea","tool_calls":[{"name":"memory_insert","arguments":{"label":"human","new_string":"Likes tea."}}],"then":"noted"},
  {"match":"unknown tool","tool_calls":[{"name":"rm","arguments":{}}],"then":"sorry"},
  {"match":"for ever","tool_calls":[{"name":"memory_insert","arguments":{"label":"human","new_string":"x"}}]},
  {"match":"broken","error":{"status":429,"type":"llm_rate_limit","message":"slow down"}}]})";

TEST_F(ShardTest, TheSameKeyGivesTheSameAnswerAndNoSecondEffect) {
  const SimServer::HeaderList key{{"Idempotency-Key", "k1"}};
  const std::string body = R"({"name":"ann"})";
  const Json first = expect(200, "POST", "/v1/agents/", body, key);
  EXPECT_EQ(first, expect(200, "POST", "/v1/agents/", body, key));
  const std::string path = "/v1/agents/" + text(first, "id");
  const Json said = expect(200, "POST", path + "/messages", say("hi"), {{"Idempotency-Key", "k2"}});
  const std::size_t before = records();
  EXPECT_EQ(said, expect(200, "POST", path + "/messages", say("hi"), {{"Idempotency-Key", "k2"}}));
  EXPECT_EQ(before, records());
  // Not even after a crash.
  restart();
  EXPECT_EQ(said, expect(200, "POST", path + "/messages", say("hi"), {{"Idempotency-Key", "k2"}}));
  EXPECT_EQ("user_message:hi;assistant_message:You said: hi;", history(text(first, "id")));
}

// A model is shown the context as it is, also where old messages have left it since the last step: what is
// kept from one step to the next must make no difference. A restart keeps nothing.
TEST_F(ShardTest, WhatHasLeftTheContextIsNotShownToTheModel) {
  start(kSlow);
  const auto replies = [this](bool forgetful) {
    const std::string path = "/v1/agents/" + text(expect(200, "POST", "/v1/agents/",
                                                         R"({"context_window_limit":2000,"memory_blocks":[],)"
                                                         R"("system":"S","include_base_tools":false})"),
                                                  "id");
    std::vector<std::string> all;
    for (char name = 'a'; name < 'q'; ++name) {
      if (forgetful) restart();
      const Json said = expect(200, "POST", path + "/messages", say("everything " + std::string(200, name)));
      all.push_back(text(said.find("messages")->items().back(), "content"));
    }
    return all;
  };
  const std::vector<std::string> kept = replies(false);
  EXPECT_EQ(replies(true), kept);
  EXPECT_NE(std::string::npos, kept[1].find("aaa"));
  EXPECT_EQ(std::string::npos, kept.back().find("aaa"));  // It has left the context.
}

TEST_F(ShardTest, TheSameKeyWithAnotherBodyIsAConflictThatIsNotRetried) {
  const SimServer::HeaderList key{{"Idempotency-Key", "k1"}};
  const std::string agent = text(expect(200, "POST", "/v1/agents/", R"({"name":"ann"})", key), "id");
  const Response reused = call("POST", "/v1/agents/", R"({"name":"bob"})", key);
  EXPECT_EQ(409, reused.status);
  EXPECT_EQ("false", reused.header("x-should-retry"));
  const std::string path = "/v1/agents/" + agent;
  const SimServer::HeaderList other_key{{"Idempotency-Key", "k2"}};
  expect(200, "PATCH", path, R"({"name":"eve"})", other_key);
  EXPECT_EQ(409, call("PATCH", path, R"({"name":"eva"})", other_key).status);
  EXPECT_EQ("eve", text(expect(200, "GET", path), "name"));
}

TEST_F(ShardTest, OneKeyOnTwoRoutesNamesTwoCommands) {
  const SimServer::HeaderList key{{"Idempotency-Key", "k1"}};
  std::vector<std::string> agents;
  for (int i = 0; i < 8; ++i) agents.push_back(create_agent());
  for (const std::string& agent : agents) {
    expect(200, "POST", "/v1/agents/" + agent + "/messages", say("hi"), key);
  }
  for (const std::string& agent : agents) {
    EXPECT_EQ("user_message:hi;assistant_message:You said: hi;", history(agent));
  }
  // Nothing that one of them creates gets the id of what another one has created.
  const std::string block = text(expect(200, "POST", "/v1/blocks/", R"({"label":"x"})", key), "id");
  const Json agent = expect(200, "POST", "/v1/agents/", R"({"memory_blocks":[{"label":"x"}]})", key);
  EXPECT_NE(block, text(agent.find("blocks")->items().front(), "id"));
  EXPECT_FALSE(world_->node().failure().has_value());
}

TEST_F(ShardTest, WhatIsTooLargeTogetherIsRefusedForGood) {
  std::string ids;
  for (int i = 0; i < 12; ++i) {
    const std::string body =
        R"({"label":"b)" + std::to_string(i) + R"(","value":")" + std::string(1'000'000, 'x') + "\"}";
    ids += (ids.empty() ? "\"" : ",\"") + text(expect(200, "POST", "/v1/blocks/", body), "id") + "\"";
  }
  expect(422, "POST", "/v1/agents/", R"({"block_ids":[)" + ids + "]}");
}

TEST_F(ShardTest, ACreationIsFoundAgainForEverAlsoAfterItsDeletion) {
  const SimServer::HeaderList key{{"Idempotency-Key", "k1"}};
  const std::string agent = text(expect(200, "POST", "/v1/agents/", R"({"name":"ann"})", key), "id");
  expect(200, "DELETE", "/v1/agents/" + agent);
  const std::size_t before = records();
  call("POST", "/v1/agents/", R"({"name":"ann"})", key);
  EXPECT_EQ(before, records());
  expect(404, "GET", "/v1/agents/" + agent);
}

TEST_F(ShardTest, OtidsOfAllMessagesMakeAKey) {
  const std::string agent = create_agent();
  const std::string body =
      R"({"messages":[{"role":"user","content":"hi","otid":"11111111-1111-4111-8111-111111111111"}]})";
  const Json first = expect(200, "POST", "/v1/agents/" + agent + "/messages", body);
  EXPECT_EQ(first, expect(200, "POST", "/v1/agents/" + agent + "/messages", body));
  EXPECT_EQ("user_message:hi;assistant_message:You said: hi;", history(agent));
}

TEST_F(ShardTest, KeylessRequestsAreEachTheirOwn) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("hi"));
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("hi"));
  EXPECT_EQ("user_message:hi;assistant_message:You said: hi;user_message:hi;assistant_message:You said: hi;",
            history(agent));
}

TEST_F(ShardTest, WhileAModelThinksEverythingElseGoesOn) {
  start(kSlow);
  const std::string ann = create_agent();
  const std::string bob = create_agent(R"({"name":"bob"})");
  const std::string block = text(expect(200, "GET", "/v1/agents/" + ann + "/core-memory/blocks/human"), "id");
  expect(200, "PATCH", "/v1/agents/" + bob + "/core-memory/blocks/attach/" + block);

  const Pending slow = begin("POST", "/v1/agents/" + ann + "/messages", say("slow"));
  run_for(100);
  expect(200, "PATCH", "/v1/agents/" + ann, R"({"name":"anna"})");
  expect(200, "PATCH", "/v1/agents/" + ann + "/core-memory/blocks/human", R"({"value":"Anna"})");
  expect(200, "POST", "/v1/agents/" + bob + "/messages", say("she likes tea"));
  EXPECT_FALSE(slow->has_value()) << "the turn must still be open";
  EXPECT_EQ("Anna\nLikes tea.", block_of(ann, "human"));
  EXPECT_EQ(200, finish(slow).status);
}

TEST_F(ShardTest, AMessageDuringATurnWaitsForIt) {
  start(kSlow);
  const std::string agent = create_agent();
  const Pending first = begin("POST", "/v1/agents/" + agent + "/messages", say("slow"));
  run_for(100);
  const Pending second = begin("POST", "/v1/agents/" + agent + "/messages", say("everything"));
  run_for(100);
  EXPECT_FALSE(second->has_value());
  EXPECT_EQ(200, finish(first).status);
  EXPECT_EQ(200, finish(second).status);
  EXPECT_EQ(
      "user_message:slow;assistant_message:at last;user_message:everything;assistant_message:slow | "
      "everything;",
      history(agent));
}

TEST_F(ShardTest, ThreeMessagesAtOnceAreAllRemembered) {
  start(kSlow);
  const std::string agent = create_agent();
  std::vector<Pending> sent;
  for (const char* text : {"a slow one", "b slow one", "c slow one"}) {
    sent.push_back(begin("POST", "/v1/agents/" + agent + "/messages", say(text)));
  }
  for (const Pending& one : sent) EXPECT_EQ(200, finish(one).status);
  const Json all = expect(200, "POST", "/v1/agents/" + agent + "/messages", say("everything"));
  const std::string seen = text(all.find("messages")->items().front(), "content");
  for (const char* text : {"a slow one", "b slow one", "c slow one", "everything"}) {
    EXPECT_NE(std::string::npos, seen.find(text)) << seen;
  }
}

TEST_F(ShardTest, ARetryWhileTheTurnIsOpenJoinsIt) {
  start(kSlow);
  const std::string agent = create_agent();
  const SimServer::HeaderList key{{"Idempotency-Key", "k"}};
  const Pending first = begin("POST", "/v1/agents/" + agent + "/messages", say("slow"), key);
  run_for(100);
  const Pending retry = begin("POST", "/v1/agents/" + agent + "/messages", say("slow"), key);
  const Response other = call("POST", "/v1/agents/" + agent + "/messages", say("other"), key);
  EXPECT_EQ(409, other.status);
  const Response answer = finish(first);
  EXPECT_EQ(answer.body, finish(retry).body);
  EXPECT_EQ("user_message:slow;assistant_message:at last;", history(agent));
}

TEST_F(ShardTest, KilledDuringAModelCallTheMessageIsThereAndTheTurnIsFinished) {
  start(kSlow);
  const std::string agent = create_agent();
  begin("POST", "/v1/agents/" + agent + "/messages", say("slow"));
  run_for(200);
  restart();
  EXPECT_EQ("user_message:slow;", history(agent));
  run_for(1000);  // Nobody asks: the turn is resumed by itself.
  EXPECT_EQ("user_message:slow;assistant_message:at last;", history(agent));
}

TEST_F(ShardTest, AToolEditsTheBlockOnceHoweverOftenTheServerDies) {
  start(kSlow, 3);
  const std::string agent = create_agent();
  begin("POST", "/v1/agents/" + agent + "/messages", say("tea"));
  for (int i = 0; i < 3; ++i) {
    for (int steps = 0; steps < 25; ++steps) step();
    restart();
  }
  run_for(3000);
  EXPECT_EQ("Ann\nLikes tea.", block_of(agent, "human"));
}

TEST_F(ShardTest, ToolsReportTheirErrorsToTheModel) {
  start(kSlow);
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("an unknown tool"));
  EXPECT_NE(std::string::npos, history(agent).find("Cannot call rm"));
  expect(200, "PATCH", "/v1/agents/" + agent + "/core-memory/blocks/human", R"({"label":"person"})");
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("tea"));
  EXPECT_NE(std::string::npos,
            history(agent).find("Block field human does not exist (available sections = 'person')"));
}

TEST_F(ShardTest, AFailedModelCallFailsTheTurnAndKeepsTheMessage) {
  start(kSlow);
  const std::string agent = create_agent();
  const SimServer::HeaderList key{{"Idempotency-Key", "k"}};
  const Response failed = call("POST", "/v1/agents/" + agent + "/messages", say("broken"), key);
  EXPECT_EQ(429, failed.status);
  EXPECT_EQ("false", failed.header("x-should-retry"));
  const Response again = call("POST", "/v1/agents/" + agent + "/messages", say("broken"), key);
  EXPECT_EQ(failed.body, again.body);
  EXPECT_EQ("false", again.header("x-should-retry"));
  EXPECT_EQ("user_message:broken;", history(agent));
}

TEST_F(ShardTest, AFullMailboxIsAnswered429AndNothingIsLost) {
  start(kSlow);
  const std::string agent = create_agent();
  std::vector<Pending> sent;
  for (int i = 0; i < 200; ++i)
    sent.push_back(begin("POST", "/v1/agents/" + agent + "/messages", say("slow")));
  int taken = 0;
  int refused = 0;
  for (const Pending& one : sent) {
    const Response response = finish(one);
    if (response.status == 429) {
      ++refused;
      EXPECT_TRUE(response.header("retry-after").has_value());
    } else {
      EXPECT_EQ(200, response.status);
      ++taken;
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(taken, 60);
  const Json listed = expect(200, "GET", "/v1/agents/" + agent + "/messages?limit=1000");
  EXPECT_EQ(static_cast<std::size_t>(1 + 2 * taken), listed.items().size());
}

TEST_F(ShardTest, ARequestWhoseDeadlineHasPassedIsDroppedBeforeItIsDecided) {
  start(kSlow);
  const std::string agent = create_agent();
  const Pending slow = begin("POST", "/v1/agents/" + agent + "/messages", say("slow"));
  for (int i = 0; i < 3; ++i) begin("POST", "/v1/agents/" + agent + "/messages", say("slow"));
  run_for(10);
  const Response late =
      call("POST", "/v1/agents/" + agent + "/messages", say("late"), {{"X-Stainless-Timeout", "1"}});
  EXPECT_EQ(503, late.status);
  finish(slow);
  run_for(5000);
  EXPECT_EQ(std::string::npos, history(agent).find("late"));
}

TEST_F(ShardTest, DeletingAnAgentEndsItsTurn) {
  start(kSlow);
  const std::string agent = create_agent();
  const Pending slow = begin("POST", "/v1/agents/" + agent + "/messages", say("slow"));
  run_for(100);
  expect(200, "DELETE", "/v1/agents/" + agent);
  const Response ended = finish(slow);
  EXPECT_NE(std::string::npos, ended.body.find("cancelled")) << ended.body;
  expect(404, "DELETE", "/v1/agents/" + agent);
}

TEST_F(ShardTest, ACancelledTurnDoesNotWaitForItsModelAndTheNextOneBegins) {
  start(R"({"replies":[{"match":"slow","delay_ms":60000,"text":"at last"}]})");
  const std::string path = "/v1/agents/" + create_agent() + "/messages";
  const Pending slow = begin("POST", path, say("slow"));
  run_for(100);
  expect(200, "POST", path + "/cancel", "{}");
  const MonoTime before = world_->scheduler().now();
  EXPECT_NE(std::string::npos, finish(slow).body.find("cancelled"));
  expect(200, "POST", path, say("hi"));
  EXPECT_LT(world_->scheduler().now(), before + std::chrono::seconds{1});
}

TEST_F(ShardTest, ADeletedBlockIsDetachedFromWhoeverLearnsIt) {
  const std::string agent = create_agent();
  const std::string block =
      text(expect(200, "GET", "/v1/agents/" + agent + "/core-memory/blocks/human"), "id");
  expect(200, "DELETE", "/v1/blocks/" + block);
  EXPECT_TRUE(expect(200, "GET", "/v1/agents/" + agent + "/core-memory/blocks").items().empty());
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("hi"));
  run_for(100);
  EXPECT_TRUE(shard_of(agent).peek(StreamId{agent})->agent()->blocks.empty());
}

TEST_F(ShardTest, PassivatedActorsComeBackAsTheyWere) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("hi"), {{"Idempotency-Key", "k"}});
  const auto before = shard_of(agent).peek(StreamId{agent});
  ASSERT_TRUE(before.has_value());
  ASSERT_TRUE(settle(shard_of(agent).passivate_idle(Duration{0})));
  EXPECT_FALSE(shard_of(agent).peek(StreamId{agent}).has_value());
  // It comes back with its window of command ids.
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("hi"), {{"Idempotency-Key", "k"}});
  EXPECT_EQ(before, shard_of(agent).peek(StreamId{agent}));
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("again"));
  EXPECT_NE(std::string::npos, history(agent).find("again"));
}

TEST_F(ShardTest, RecoveryStartsAtTheRecoveryRowAndTheLogBeatsEverySnapshot) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("one"));
  ASSERT_TRUE(settle(shard_of(agent).snapshot_round()));
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("two"));
  restart();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("three"));
  EXPECT_EQ(6U + 1U, shard_of(agent).peek(StreamId{agent})->agent()->context.size());
}

TEST_F(ShardTest, ADamagedSnapshotIsRebuiltFromTheLog) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("one"));
  ASSERT_TRUE(settle(shard_of(agent).passivate_idle(Duration{0})));
  world_->damage_snapshot(StreamId{agent});
  restart();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("two"));
  EXPECT_EQ(
      "user_message:one;assistant_message:You said: one;user_message:two;assistant_message:You said: two;",
      history(agent));
}

TEST_F(ShardTest, ARebuiltStreamGetsASoundSnapshotAgain) {
  const std::string agent = create_agent();
  ASSERT_TRUE(settle(shard_of(agent).passivate_idle(Duration{0})));
  world_->damage_snapshot(StreamId{agent});
  expect(200, "GET", "/v1/agents/" + agent);
  expect(404, "PATCH", "/v1/agents/" + agent + "/core-memory/blocks/zzz",
         "{}");  // Activates, changes nothing.
  ASSERT_TRUE(settle(shard_of(agent).passivate_idle(Duration{0})));
  const SnapshotRow& row = world_->snapshots().snapshots.at(StreamId{agent});
  EXPECT_EQ(row.hash, xxh64(row.state));
}

TEST_F(ShardTest, ADrainEndsAtItsDeadlineAlsoWhenNothingCanBeWritten) {
  start(kSlow);
  const std::string agent = create_agent();
  begin("POST", "/v1/agents/" + agent + "/messages", say("slow"));
  run_for(100);
  for (int i = 0; i < 1000; ++i) world_->fail_next_append(MemoryLogStorage::Fault::unknown_lost);
  const MonoTime deadline = world_->scheduler().now() + std::chrono::seconds{5};
  ignore_error(settle(world_->node().drain(deadline)), "only that it ends");
  EXPECT_LT(world_->scheduler().now(), deadline + std::chrono::seconds{2});
}

TEST_F(ShardTest, HealthSaysWhatHasStoppedForGood) {
  const std::string agent = create_agent();
  const Partition home = partition_of(StreamId{agent}, world_->options().partitions);
  world_->land(home, R"({"v":1,"kind":"commit"})");
  oracles_->all().give_up(home);
  run_for(1000);
  const Response health = call("GET", "/v1/health/");
  EXPECT_EQ(503, health.status);
  EXPECT_NE(std::string::npos, health.body.find("record ")) << health.body;
  EXPECT_EQ(503, call("PATCH", "/v1/agents/" + agent, R"({"name":"x"})").status);
}

TEST_F(ShardTest, ALostSnapshotMeansReadingTheLogFromItsStart) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("one"));
  ASSERT_TRUE(settle(shard_of(agent).snapshot_round()));
  world_->lose_snapshot(StreamId{agent});
  restart();
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"anna"})");
  EXPECT_EQ("anna", text(expect(200, "GET", "/v1/agents/" + agent), "name"));
}

TEST_F(ShardTest, AlsoWithoutItsSnapshotsATruncatedLogIsRefused) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("one"));
  ASSERT_TRUE(settle(shard_of(agent).snapshot_round()));
  const Partition home = partition_of(StreamId{agent}, world_->options().partitions);
  world_->crash();
  world_->lose_snapshot(StreamId{agent});
  oracles_->all().give_up(home);
  world_->truncate(home, Offset{2});
  world_->boot();
  run_for(1000);
  EXPECT_EQ(503, call("PATCH", "/v1/agents/" + agent, R"({"name":"anna"})").status);
  EXPECT_EQ(Offset{2}, world_->log().end(home));
}

// ---- snapshots that are lost while the shard runs ----

TEST_F(ShardTest, AnAgentWhoseSnapshotVanishesIsThereAllTheSame) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("one"), {{"Idempotency-Key", "k"}});
  ASSERT_TRUE(settle(shard_of(agent).passivate_idle(Duration{0})));
  world_->lose_snapshot(StreamId{agent});
  const std::size_t before = records();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("one"), {{"Idempotency-Key", "k"}});
  EXPECT_EQ(before, records()) << "it remembers the key";
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"anna"})");
  EXPECT_EQ("anna", text(expect(200, "GET", "/v1/agents/" + agent), "name"));
  // And it is in the store again.
  ASSERT_TRUE(settle(shard_of(agent).passivate_idle(Duration{0})));
  EXPECT_TRUE(world_->snapshots().snapshots.contains(StreamId{agent}));
}

TEST_F(ShardTest, ACreationIsFoundAgainAlsoWithoutItsSnapshot) {
  const std::string body = R"({"name":"ann"})";
  const std::string agent = text(expect(200, "POST", "/v1/agents/", body, {{"Idempotency-Key", "c"}}), "id");
  // By a shard that knows the row from its recovery, not from its own time.
  ASSERT_TRUE(settle(shard_of(agent).snapshot_round()));
  restart();
  ASSERT_FALSE(shard_of(agent).peek(StreamId{agent}).has_value());
  world_->lose_snapshot(StreamId{agent});
  const std::size_t before = records();
  EXPECT_EQ(agent, text(expect(200, "POST", "/v1/agents/", body, {{"Idempotency-Key", "c"}}), "id"));
  EXPECT_EQ(before, records());
}

TEST_F(ShardTest, AnOldSnapshotThatComesBackIsNotBelieved) {
  const std::string agent = create_agent();
  ASSERT_TRUE(settle(shard_of(agent).passivate_idle(Duration{0})));
  const SnapshotRow old = world_->snapshots().snapshots.at(StreamId{agent});
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"eve"})", {{"Idempotency-Key", "e"}});
  ASSERT_TRUE(settle(shard_of(agent).passivate_idle(Duration{0})));
  const_cast<MemorySnapshotStorage&>(world_->snapshots()).snapshots.at(StreamId{agent}) = old;
  const std::size_t before = records();
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"eve"})", {{"Idempotency-Key", "e"}});
  EXPECT_EQ(before, records());
  EXPECT_EQ("eve", shard_of(agent).peek(StreamId{agent})->agent()->settings.name);
}

// What the log does to an append, and what a caller is told.
TEST_F(ShardTest, ARecordThatWasNotWrittenIsA503AndTheShardGoesOn) {
  const std::string agent = create_agent();
  world_->fail_next_append(MemoryLogStorage::Fault::not_written);
  const Response refused = call("PATCH", "/v1/agents/" + agent, R"({"name":"x"})");
  EXPECT_EQ(503, refused.status);
  EXPECT_TRUE(refused.header("retry-after").has_value());
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"y"})");
  EXPECT_EQ("y", text(expect(200, "GET", "/v1/agents/" + agent), "name"));
}

TEST_F(ShardTest, AnUnknownOutcomeThatLandedIsASuccessAfterTheNextClaim) {
  const std::string agent = create_agent();
  world_->fail_next_append(MemoryLogStorage::Fault::unknown_landed);
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"landed"})");
  EXPECT_EQ("landed", text(expect(200, "GET", "/v1/agents/" + agent), "name"));
}

TEST_F(ShardTest, AnUnknownOutcomeThatWasLostIsA503AfterTheNextClaim) {
  const std::string agent = create_agent();
  world_->fail_next_append(MemoryLogStorage::Fault::unknown_lost);
  const Response lost = call("PATCH", "/v1/agents/" + agent, R"({"name":"lost"})");
  EXPECT_EQ(503, lost.status);
  EXPECT_FALSE(lost.header("x-should-retry").has_value()) << "it was certainly not applied: a retry is safe";
  EXPECT_EQ("ann", text(expect(200, "GET", "/v1/agents/" + agent), "name"));
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"again"})");
}

TEST_F(ShardTest, AClaimOfAnotherNodeFencesTheShard) {
  const std::string agent = create_agent();
  const Partition home = partition_of(StreamId{agent}, world_->options().partitions);
  const Epoch epoch = shard_of(agent).owner().admission().epoch;
  Claim claim{next(epoch), command_id_from_text("other"), "varve", "other node", "", 4, WallTime{1}};
  world_->land(home, *encode_record(claim));
  run_for(1000);
  // It has claimed again, with a higher epoch, and serves.
  EXPECT_GT(shard_of(agent).owner().admission().epoch, next(epoch));
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"after"})");
}

TEST_F(ShardTest, ADrainedServerLeavesAnOpenTurnThatDoesNotCountAsAnAttempt) {
  start(kSlow);
  const std::string agent = create_agent();
  begin("POST", "/v1/agents/" + agent + "/messages", say("slow"));
  run_for(100);
  ASSERT_TRUE(settle(world_->node().drain(world_->scheduler().now() + std::chrono::seconds{5})));
  EXPECT_TRUE(shard_of(agent).peek(StreamId{agent})->agent()->turn->handed_over);
  restart();
  EXPECT_EQ(0, shard_of(agent).peek(StreamId{agent})->agent()->turn->attempt);
  run_for(1000);
  EXPECT_EQ("user_message:slow;assistant_message:at last;", history(agent));
}

}  // namespace
}  // namespace varve
