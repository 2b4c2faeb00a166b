// Partitions that move between nodes: planned, at once, and behind a node's back.
#include "cluster/member.h"

#include "tests/cluster/cluster_fixture.h"

namespace varve {
namespace {

using test::ClusterFixture;

class MemberTest : public ClusterFixture {
 protected:
  // Of a resident agent of this node; null if there is none.
  const OpenTurn* open_turn(Life& at, const StreamId& agent) {
    seen_ = at.node.shard(home(agent)) ? at.node.shard(home(agent))->peek(agent) : std::nullopt;
    return seen_ && seen_->agent() && seen_->agent()->turn ? &*seen_->agent()->turn : nullptr;
  }

 private:
  std::optional<ActorState> seen_;
};

constexpr const char* kSlow = R"({"replies":[{"match":"slow","delay_ms":3000,"text":"at last"}]})";

std::size_t count_of(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<std::size_t>(std::count(names.begin(), names.end(), name));
}

TEST_F(MemberTest, ARevokedPartitionIsDrainedReleasedAndServedByTheNextNode) {
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  const Partition moving = home(agent);
  move("a", "b", {moving});
  ASSERT_TRUE(run_until([&] { return life("b").owns(moving); }));
  EXPECT_EQ(nullptr, life("a").node.shard(moving));
  EXPECT_EQ((std::vector<Partition>{moving}), life("a").assignment.releases());
  for (const Partition other : all()) EXPECT_EQ(other != moving, life("a").owns(other));
  // Both nodes reach it.
  EXPECT_TRUE(send(life("b"), command("b1", agent, UpdateAgent{R"({"name":"bob"})"})).has_value());
  EXPECT_TRUE(send(life("a"), command("a1", agent, UpdateAgent{R"({"name":"eve"})"})).has_value());
  EXPECT_EQ("eve", life("b").node.shard(moving)->peek(agent)->agent()->settings.name);
}

TEST_F(MemberTest, AnOpenTurnIsHandedOverAndItsCallerGetsTheAnswer) {
  script_ = kSlow;
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  const auto said = begin_send(life("a"), command("say", agent, say("slow")));
  ASSERT_TRUE(run_until([&] { return times_applied("say") == 1; }));
  run_for(std::chrono::milliseconds{10});  // It has been read back: the turn is open.
  move("a", "b", {home(agent)});
  const auto answer = finish(said);
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  ASSERT_TRUE(answer->turn.has_value());
  EXPECT_EQ("end_turn", answer->turn->stop_reason);
  const auto events = events_of(agent);
  EXPECT_EQ(1U, count_of(events, "UserMessageReceived"));
  EXPECT_EQ(1U, count_of(events, "TurnHandedOver"));
  EXPECT_EQ(1U, count_of(events, "AssistantReplied"));
  EXPECT_EQ(1U, count_of(events, "TurnFinished"));
}

TEST_F(MemberTest, ALostPartitionIsFencedAtOnceAndNothingIsReleased) {
  script_ = kSlow;
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  const Partition moving = home(agent);
  // One command is on its way to the log, one waits for an open turn, one is a stream.
  const auto turn = begin_send(life("a"), command("say", agent, say("slow")));
  ASSERT_TRUE(run_until([&] { return times_applied("say") == 1; }));
  const auto waits = begin_send(life("a"), command("next", agent, say("hello")));
  const auto writes = begin_send(life("a"), command("edit", agent, UpdateAgent{R"({"name":"eve"})"}));
  run_for(std::chrono::microseconds{300});
  life("a").assignment.lose({moving});
  ASSERT_TRUE(run_until([&] { return life("a").node.shard(moving) == nullptr; }));
  life("b").assignment.assign({moving});
  for (const auto& one : {turn, waits, writes}) {
    const auto answer = finish(one);
    EXPECT_TRUE(answer.has_value()) << answer.error().message;
  }
  EXPECT_TRUE(life("a").assignment.releases().empty());
  EXPECT_EQ(1U, times_applied("say"));
  EXPECT_EQ(1U, times_applied("next"));
  EXPECT_EQ(1U, times_applied("edit"));
  EXPECT_EQ(0U, count_of(events_of(agent), "TurnHandedOver"));
  EXPECT_EQ(2U, count_of(events_of(agent), "TurnFinished"));
}

TEST_F(MemberTest, APartitionThatIsLostWhileItIsDrainedIsNotReleased) {
  script_ = kSlow;
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  const Partition moving = home(agent);
  // A commit without an outcome keeps the drain busy.
  log_->fail_next(MemoryLogStorage::Fault::unknown_lost);
  const auto writes = begin_send(life("a"), command("edit", agent, UpdateAgent{R"({"name":"eve"})"}));
  run_for(std::chrono::microseconds{100});
  life("a").assignment.revoke({moving}, [](Partition) { FAIL() << "released"; });
  run_for(std::chrono::microseconds{100});
  ASSERT_NE(nullptr, life("a").node.shard(moving)) << "the drain was too quick for this test";
  life("a").assignment.lose({moving});
  ASSERT_TRUE(run_until([&] { return life("a").node.shard(moving) == nullptr; }));
  life("a").assignment.assign({moving});
  ASSERT_TRUE(run_until([&] { return life("a").owns(moving); }));
  run_for(std::chrono::seconds{20});
  EXPECT_TRUE(life("a").assignment.releases().empty());
  EXPECT_TRUE(life("a").owns(moving));
  EXPECT_TRUE(finish(writes).has_value());
  EXPECT_EQ(1U, times_applied("edit"));
}

TEST_F(MemberTest, APartitionThatComesBackWaitsForItsOldShardToEnd) {
  two_nodes();
  const Partition moving{2};
  const std::shared_ptr<Shard> old = life("a").node.member().shard(moving);
  life("a").assignment.lose({moving});
  life("a").assignment.assign({moving});
  ASSERT_TRUE(run_until([&] { return life("a").node.member().shard(moving) != old; }));
  EXPECT_EQ(nullptr, life("a").node.shard(moving));  // Not yet: the old one's reader still waits.
  ASSERT_TRUE(run_until([&] { return life("a").owns(moving); }));
  EXPECT_NE(old.get(), life("a").node.shard(moving));
  EXPECT_EQ(1, old.use_count());  // Nobody but this test keeps it.
  EXPECT_FALSE(old->owner().owned());
}

TEST_F(MemberTest, AZombieThatCannotProveItsAssignmentDoesNotClaimBack) {
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  const Partition moving = home(agent);
  life("a").env.pause();
  life("a").assignment.take_unheard(moving);
  life("b").assignment.assign({moving});
  ASSERT_TRUE(run_until([&] { return life("b").owns(moving); }));
  life("a").env.resume();
  ASSERT_TRUE(run_until([&] { return !life("a").owns(moving); }));
  run_for(std::chrono::seconds{10});
  EXPECT_TRUE(life("b").owns(moving));
  EXPECT_FALSE(life("a").owns(moving));
  // Its own reader has told it who the owner is.
  EXPECT_TRUE(send(life("a"), command("a1", agent, UpdateAgent{R"({"name":"eve"})"})).has_value());
  EXPECT_EQ(1U, times_applied("a1"));
}

TEST_F(MemberTest, ANodeThatDrainsHandsItsTurnsOverAndLeaves) {
  script_ = kSlow;
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  const auto said = begin_send(life("b"), command("say", agent, say("slow")));
  ASSERT_TRUE(run_until([&] { return times_applied("say") == 1; }));
  const auto drained =
      finish(begin(life("a"), life("a").node.drain(life("a").env.now() + std::chrono::seconds{5})));
  EXPECT_TRUE(drained.has_value());
  EXPECT_TRUE(life("a").assignment.has_left());
  EXPECT_TRUE(life("a").folding.has_left());
  crash("a");
  life("b").assignment.assign(all());
  life("b").folding.assign(all());
  const auto answer = finish(said);
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_TRUE(answer->turn.has_value());
  EXPECT_EQ(1U, count_of(events_of(agent), "TurnHandedOver"));
}

TEST_F(MemberTest, AMemberWithoutPartitionsIsReadyWhenTheViewsAre) {
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  const auto ready =
      finish(begin(life("b"), life("b").node.wait_ready(life("b").env.now() + std::chrono::seconds{30})));
  EXPECT_TRUE(ready.has_value()) << ready.error().message;
  // A partition that is assigned must be owned first.
  life("a").assignment.take_unheard(home(agent));
  log_->fail_next(MemoryLogStorage::Fault::unknown_lost);
  life("b").assignment.assign({home(agent)});
  run_for(std::chrono::milliseconds{1});
  EXPECT_FALSE(life("b").owns(home(agent)));
  const auto owned =
      finish(begin(life("b"), life("b").node.wait_ready(life("b").env.now() + std::chrono::seconds{60})));
  EXPECT_TRUE(owned.has_value()) << owned.error().message;
  EXPECT_TRUE(life("b").owns(home(agent)));
}

TEST_F(MemberTest, ViewsAreFoldedByWhoeverIsAssignedTo) {
  two_nodes();
  life("a").folding.revoke(all(), [this](Partition partition) { life("b").folding.assign({partition}); });
  run_for(std::chrono::seconds{1});
  EXPECT_EQ(kPartitions, life("a").folding.releases().size());
  make_agent(life("a"));
  Request request;
  request.method = "GET";
  request.target = "/v1/agents/count";
  ASSERT_TRUE(
      run_until([&] { return !views_->tables[static_cast<std::size_t>(View::agents)].rows().empty(); }));
  // Everything that a has stopped has ended.
  const auto batches = life("a").env.counters().find("projection_batches");
  const std::uint64_t before = batches == life("a").env.counters().end() ? 0 : batches->second;
  make_agent(life("a"), "another");
  run_for(std::chrono::seconds{1});
  EXPECT_EQ(before, batches == life("a").env.counters().end() ? 0 : batches->second);
}

// The next owner's clock is a day behind. What a client was told to be over must not go on.
TEST_F(MemberTest, AnImportThatIsOverIsOverForTheNextOwner) {
  two_nodes();
  const StreamId agent = agent_of("import");
  BeginImport begun;
  begun.settings = new_agent().settings;
  begun.records = 3;
  begun.hash = "h";
  ASSERT_TRUE(send(life("a"), command("import", agent, begun)).has_value());
  life("a").env.set_clock({.wall_offset_us = std::int64_t{25} * 3600 * 1'000'000});
  const auto append = [&](const std::string& node, std::int64_t ordinal) -> std::string {
    AppendImport record;
    record.ordinal = ordinal;
    const auto answer = send(life(node), command("record " + std::to_string(ordinal), agent, record));
    return answer ? "taken" : to_string(answer.error().code);
  };
  // By the log's time it is the first record that comes after the day, and it moves that time.
  EXPECT_EQ("taken", append("a", 0));
  EXPECT_EQ("not_found", append("a", 1));
  move("a", "b", {home(agent)});
  ASSERT_TRUE(run_until([&] { return life("b").owns(home(agent)); }));
  EXPECT_EQ("not_found", append("b", 1));
  crash("b");
  Life& next = boot("b");
  next.assignment.assign({home(agent)});
  ASSERT_TRUE(run_until([&] { return next.owns(home(agent)); }));
  EXPECT_EQ("not_found", append("b", 1));
}

class DrainTest : public MemberTest {
 protected:
  using Answer = std::shared_ptr<std::optional<Response>>;

  Answer ask(Life& at, const StreamId& agent, const std::string& key) {
    Request request;
    request.method = "POST";
    request.target = "/v1/agents/" + agent.value() + "/messages";
    request.body = R"({"input":"slow"})";
    request.headers.emplace("content-type", "application/json");
    if (!key.empty()) request.headers.emplace("idempotency-key", key);
    auto answer = std::make_shared<std::optional<Response>>();
    at.env.spawn("http", handled(&at.node, std::move(request), answer));
    return answer;
  }

 private:
  static Task<> handled(Node* node, Request request, Answer answer) {
    *answer = co_await node->handle(std::move(request));
    co_return ok();
  }
};

// A drain may begin at any step of a request: before its message is taken, while the commit that opens the
// turn is under way, or later. What was taken goes on elsewhere, and no attempt is counted.
TEST_F(DrainTest, EveryTurnIsHandedOverAlsoOneThatIsAboutToOpen) {
  script_ = kSlow;
  std::size_t about_to_open = 0;
  for (int steps = 0; steps < 60; ++steps) {
    const bool keyed = steps % 2 == 0;
    SCOPED_TRACE("after " + std::to_string(steps) + " steps");
    two_nodes();
    const StreamId agent = make_agent(life("a"), "make " + std::to_string(steps));
    const Answer answer = ask(life("a"), agent, keyed ? "say " + std::to_string(steps) : "");
    for (int i = 0; i < steps; ++i) scheduler_.step();
    const bool open = open_turn(life("a"), agent) != nullptr;
    ASSERT_FALSE(answer->has_value());

    const auto drained =
        finish(begin(life("a"), life("a").node.drain(life("a").env.now() + std::chrono::seconds{5})));
    EXPECT_TRUE(drained.has_value());
    ASSERT_TRUE(run_until([&] { return answer->has_value(); }, std::chrono::seconds{3}));
    EXPECT_EQ(503, (*answer)->status) << (*answer)->body;
    EXPECT_TRUE((*answer)->header("retry-after").has_value());
    const std::size_t taken = count_of(events_of(agent), "UserMessageReceived");
    EXPECT_EQ(taken, count_of(events_of(agent), "TurnHandedOver"));
    // Only what may have happened must not be sent again without a key.
    EXPECT_EQ(taken == 1 && !keyed ? "false" : "", (*answer)->header("x-should-retry").value_or(""));
    if (taken == 1 && !open) ++about_to_open;

    crash("a");
    Life& next = life("b");
    next.assignment.assign(all());
    next.folding.assign(all());
    ASSERT_TRUE(run_until([&] { return owns_all(next); }));
    if (taken == 1) {
      ASSERT_TRUE(run_until([&] { return open_turn(next, agent) && !open_turn(next, agent)->handed_over; }));
      EXPECT_EQ(0, open_turn(next, agent)->attempt);
      ASSERT_TRUE(run_until([&] { return open_turn(next, agent) == nullptr; }));
    }
    EXPECT_EQ(taken, count_of(events_of(agent), "TurnResumed"));
    EXPECT_EQ(taken, count_of(events_of(agent), "TurnFinished"));
    crash("b");
  }
  EXPECT_GT(about_to_open, 0U);
}

// The group wants the partition back while the commit that opens a turn is under way: the caller waits on.
TEST_F(DrainTest, ATurnThatIsAboutToOpenMovesWithItsPartition) {
  script_ = kSlow;
  std::size_t about_to_open = 0;
  for (int steps = 0; steps < 60; steps += 2) {
    SCOPED_TRACE("after " + std::to_string(steps) + " steps");
    two_nodes();
    const std::string say_it = "say " + std::to_string(steps);
    const StreamId agent = make_agent(life("a"), "make " + std::to_string(steps));
    const auto said = begin_send(life("a"), command(say_it, agent, say("slow")));
    for (int i = 0; i < steps; ++i) scheduler_.step();
    const bool open = open_turn(life("a"), agent) != nullptr;
    move("a", "b", {home(agent)});
    const auto answer = finish(said);
    ASSERT_TRUE(answer.has_value()) << answer.error().message;
    ASSERT_TRUE(answer->turn.has_value());
    EXPECT_EQ("end_turn", answer->turn->stop_reason);
    EXPECT_EQ(1U, times_applied(say_it));
    const auto events = events_of(agent);
    // Either it was opened here and handed over, or it was opened there.
    EXPECT_EQ(count_of(events, "TurnResumed"), count_of(events, "TurnHandedOver"));
    if (!open && count_of(events, "TurnHandedOver") == 1) ++about_to_open;
    crash("a");
    crash("b");
  }
  EXPECT_GT(about_to_open, 0U);
}

class ClockTest : public MemberTest {
 protected:
  static void set_minutes(Life& life, std::int64_t minutes) {
    life.env.set_clock({.wall_offset_us = minutes * 60 * 1'000'000});
  }
  // Whoever owns the partition dies; the other one takes it.
  void fail_over(const std::string& from, const std::string& to, Partition partition) {
    crash(from);
    life(to).assignment.assign({partition});
    ASSERT_TRUE(run_until([&] { return life(to).owns(partition); }));
  }
};

// What a node with a slow clock began is not over for the next owner, however often it changes hands.
TEST_F(ClockTest, ATurnHasItsTimeWhateverTheClocksOfItsOwnersSay) {
  script_ = kSlow;
  for (const std::int64_t minutes : {std::int64_t{-30}, std::int64_t{30}}) {
    SCOPED_TRACE(std::to_string(minutes) + " minutes");
    boot("a");
    boot("b");
    set_minutes(life("a"), minutes);
    life("a").assignment.assign(all());
    life("a").folding.assign(all());
    ASSERT_TRUE(run_until([&] { return owns_all(life("a")); }));
    const StreamId agent = make_agent(life("a"), "make " + std::to_string(minutes));
    begin_send(life("a"), command("say " + std::to_string(minutes), agent, say("slow")));
    ASSERT_TRUE(run_until([&] { return count_of(events_of(agent), "UserMessageReceived") == 1; }));
    fail_over("a", "b", home(agent));
    ASSERT_TRUE(run_until([&] { return count_of(events_of(agent), "TurnResumed") == 1; }));
    boot("a");
    set_minutes(life("a"), -minutes);
    fail_over("b", "a", home(agent));
    ASSERT_TRUE(run_until([&] { return count_of(events_of(agent), "TurnResumed") == 2; }));
    ASSERT_TRUE(run_until([&] {
      return events_of(agent).back().starts_with("Turn") && events_of(agent).back() != "TurnResumed";
    }));
    EXPECT_EQ("TurnFinished", events_of(agent).back());
    crash("a");
  }
}

// Its time is that of the clock that is never set.
TEST_F(ClockTest, AClockThatJumpsEndsNoTurnAndKeepsNoneOpen) {
  script_ = R"({"replies":[{"match":"slow","delay_ms":3000,"text":"at last"},
                           {"match":"never","delay_ms":36000000,"text":"too late"}]})";
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  const auto slow = begin_send(life("a"), command("slow", agent, say("slow")));
  ASSERT_TRUE(run_until([&] { return times_applied("slow") == 1; }));
  set_minutes(life("a"), 30);
  const auto answer = finish(slow);
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  ASSERT_TRUE(answer->turn.has_value());
  EXPECT_EQ("end_turn", answer->turn->stop_reason);

  begin_send(life("a"), command("never", agent, say("never")));
  ASSERT_TRUE(run_until([&] { return times_applied("never") == 1; }));
  ASSERT_TRUE(run_until([&] { return open_turn(life("a"), agent) != nullptr; }));
  set_minutes(life("a"), -30);
  EXPECT_TRUE(run_until([&] { return open_turn(life("a"), agent) == nullptr; }, std::chrono::minutes{11}));
  EXPECT_EQ("TurnFailed", events_of(agent).back());
}

// After an outage nobody waits for an answer any more.
TEST_F(ClockTest, ATurnThatWasOverLongAgoIsNotResumed) {
  script_ = kSlow;
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  begin_send(life("a"), command("say", agent, say("slow")));
  ASSERT_TRUE(run_until([&] { return count_of(events_of(agent), "UserMessageReceived") == 1; }));
  crash("a");
  run_for(std::chrono::hours{2});
  life("b").assignment.assign(all());
  ASSERT_TRUE(run_until([&] { return count_of(events_of(agent), "TurnFailed") == 1; }));
  EXPECT_EQ(0U, count_of(events_of(agent), "AssistantReplied"));
}

}  // namespace
}  // namespace varve
