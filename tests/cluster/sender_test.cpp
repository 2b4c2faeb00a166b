// Commands and turns that go to another node, over wires that lose, repeat and delay.
#include "cluster/sender.h"

#include "tests/cluster/cluster_fixture.h"

namespace varve {
namespace {

using test::ClusterFixture;
using test::Fate;

constexpr const char* kScript = R"({"replies":[
  {"match":"slow","delay_ms":3000,"text":"at last"},
  {"match":"words","token_delay_ms":500,"text":"one two three four five six"},
  {"match":"ever","delay_ms":900000,"text":"never"}]})";

class SenderTest : public ClusterFixture {
 protected:
  // a owns everything but the agent's partition, which b owns. Requests are sent at a.
  void SetUp() override {
    script_ = kScript;
    two_nodes();
    agent_ = make_agent(life("a"));
    move("a", "b", {home(agent_)});
    ASSERT_TRUE(run_until([&] { return life("b").owns(home(agent_)); }));
    run_for(std::chrono::seconds{1});  // The views have the new owner, too: everybody may know it.
    wires_.requests.clear();
  }

  CommandEnvelope rename(const std::string& key, const std::string& name) {
    return command(key, agent_, UpdateAgent{R"({"name":")" + name + R"("})"});
  }
  // The first `times` requests have this fate.
  void first_requests(int times, Fate fate) {
    wires_.fate = [times, fate](const std::string&, const std::string&) mutable {
      return times-- > 0 ? fate : Fate{};
    };
  }
  std::string name_at(const std::string& node) {
    return life(node).node.shard(home(agent_))->peek(agent_)->agent()->settings.name;
  }
  std::uint64_t counted(const std::string& node, const std::string& counter) {
    const auto& counters = life(node).env.counters();
    const auto found = counters.find(counter);
    return found == counters.end() ? 0 : found->second;
  }

  StreamId agent_;
};

TEST_F(SenderTest, ALostRequestIsSentAgain) {
  Fate fate;
  fate.lose_request = true;
  first_requests(2, fate);
  const auto answer = send(life("a"), rename("k", "eve"));
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ("eve", name_at("b"));
  EXPECT_EQ(1U, times_applied("k"));
}

TEST_F(SenderTest, WhoCarriesItOutKnowsWhatTheCallerWaitsForInTheViews) {
  life("a").folding.lose({home(agent_)});
  life("b").folding.assign({home(agent_)});
  const auto worker_waits = [this] { return life("b").node.progress().awaited(home(agent_)).has_value(); };
  const auto answer = begin_send(life("a"), rename("k", "eve"));
  ASSERT_TRUE(run_until(worker_waits)) << "before the views have it";
  const auto sent = finish(answer);
  ASSERT_TRUE(sent.has_value()) << sent.error().message;
  EXPECT_TRUE(run_until([&] { return !worker_waits(); }));
  EXPECT_TRUE(life("b").node.progress().has_passed(sent->positions));
}

TEST_F(SenderTest, AfterALostAnswerTheSameAnswerComesAndNothingHappensTwice) {
  Fate fate;
  fate.lose_answer = true;
  first_requests(2, fate);
  const auto answer = send(life("a"), rename("k", "eve"));
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_NE(nullptr, answer->commit);
  EXPECT_FALSE(answer->replayed);
  EXPECT_EQ(1U, times_applied("k"));
}

TEST_F(SenderTest, ARequestThatArrivesTwiceIsCarriedOutOnce) {
  Fate fate;
  fate.again = std::chrono::microseconds{50};
  first_requests(1, fate);
  EXPECT_TRUE(send(life("a"), rename("k", "eve")).has_value());
  run_for(std::chrono::seconds{1});
  EXPECT_EQ(1U, times_applied("k"));
  EXPECT_EQ(1U, counted("b", "forwarded_in"));
  EXPECT_EQ(1U, counted("b", "forwarded_again"));
}

TEST_F(SenderTest, ALateCopyOfARefusedCommandHasNoEffect) {
  Fate fate;
  fate.again = std::chrono::seconds{3};
  first_requests(1, fate);
  const auto refused = send(life("a"), command("cancel", agent_, CancelTurn{}));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(Errc::conflict, refused.error().code);
  // Now there would be something to cancel, and the copy arrives.
  const auto turn = begin_send(life("b"), command("say", agent_, say("ever")));
  run_for(std::chrono::seconds{5});
  EXPECT_EQ(1U, counted("b", "forwarded_again"));
  EXPECT_TRUE(life("b").node.shard(home(agent_))->peek(agent_)->agent()->turn.has_value());
  EXPECT_EQ(0U, times_applied("cancel"));
}

TEST_F(SenderTest, ALateCopyOfWhatWasCertainlyNotAppliedHasNoEffect) {
  Fate fate;
  fate.again = std::chrono::seconds{3};
  first_requests(1, fate);
  log_->fail_next(MemoryLogStorage::Fault::not_written);
  const auto refused = send(life("a"), rename("k", "eve"), std::chrono::milliseconds{10});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(Errc::unavailable, refused.error().code) << refused.error().message;
  run_for(std::chrono::seconds{5});
  EXPECT_EQ(1U, counted("b", "forwarded_again"));
  EXPECT_EQ(0U, times_applied("k"));
}

TEST_F(SenderTest, ACallThatNobodyWaitsForIsNotBegun) {
  // The first attempt is late; the second one is refused, and the caller is told so.
  Fate late;
  late.delay = std::chrono::seconds{20};
  first_requests(1, late);
  const auto refused = send(life("a"), command("cancel", agent_, CancelTurn{}), std::chrono::seconds{8});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(Errc::conflict, refused.error().code);
  const auto turn = begin_send(life("b"), command("say", agent_, say("ever")));
  run_for(std::chrono::seconds{25});
  EXPECT_TRUE(life("b").node.shard(home(agent_))->peek(agent_)->agent()->turn.has_value());
  EXPECT_EQ(0U, times_applied("cancel"));
}

TEST_F(SenderTest, ARequestForAnotherOwnershipIsNotBegun) {
  Fate late;
  late.delay = std::chrono::seconds{20};
  late.again = std::chrono::seconds{5};
  first_requests(1, late);
  const auto renamed = begin_send(life("a"), rename("k", "eve"), std::chrono::seconds{4});
  const auto outcome = finish(renamed);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_EQ(Errc::outcome_unknown, outcome.error().code);
  // Meanwhile b loses the partition and gets it back.
  life("b").assignment.lose({home(agent_)});
  life("b").assignment.assign({home(agent_)});
  run_for(std::chrono::seconds{30});
  EXPECT_TRUE(life("b").owns(home(agent_)));
  EXPECT_EQ(0U, times_applied("k"));
  EXPECT_GE(counted("b", "forwarded_astray"), 1U);
}

TEST_F(SenderTest, WhatWasNeverDeliveredIsCertainlyNotApplied) {
  Fate refuse;
  refuse.refuse = true;
  first_requests(1000, refuse);
  const auto answer = send(life("a"), rename("k", "eve"), std::chrono::seconds{5});
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(Errc::unavailable, answer.error().code);
  EXPECT_GT(wires_.requests.size(), 3U);
  EXPECT_LT(wires_.requests.size(), 100U);
}

TEST_F(SenderTest, OnceItMayHaveBeenAppliedNobodyHearsThatItWasNot) {
  int sent = 0;
  wires_.fate = [&sent](const std::string&, const std::string&) {
    Fate fate;
    fate.lose_answer = true;
    fate.refuse = sent++ > 0;
    return fate;
  };
  const auto answer = send(life("a"), rename("k", "eve"), std::chrono::seconds{12});
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(Errc::outcome_unknown, answer.error().code);
  EXPECT_GT(sent, 2);
  EXPECT_EQ(1U, times_applied("k"));
}

TEST_F(SenderTest, ACommandThatNoStreamRemembersIsNotSentTwice) {
  Fate fate;
  fate.reset = true;
  first_requests(1, fate);
  const auto answer = send(life("a"), command("sum", agent_, SummarizeContext{}), std::chrono::seconds{20});
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(Errc::outcome_unknown, answer.error().code);
  EXPECT_EQ(1U, wires_.requests.size());
}

TEST_F(SenderTest, AFailedSummaryIsNotPaidForAgain) {
  script_ = R"({"summarizes":true,"replies":[{"match":"","error":{"status":500,"message":"no"}}]})";
  Life& c = boot("c");
  life("b").assignment.take_unheard(home(agent_));
  c.assignment.assign({home(agent_)});
  ASSERT_TRUE(run_until([&] { return c.owns(home(agent_)); }));
  for (int i = 0; i < 8; ++i) {
    const auto failed = send(c, command("say" + std::to_string(i), agent_, say("hello")));
    EXPECT_TRUE(failed && failed->turn && !failed->turn->error_type.empty());
  }
  const std::uint64_t before = c.model->calls();
  const auto answer = send(life("a"), command("sum", agent_, SummarizeContext{}), std::chrono::seconds{20});
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(Errc::unavailable, answer.error().code) << answer.error().message;
  EXPECT_EQ(before + 1, c.model->calls());
}

TEST_F(SenderTest, ANodeThatIsNotTheOwnerAnswersWithAHintAndSendsNothingOn) {
  Life& c = boot("c");
  ASSERT_TRUE(send(c, rename("k1", "one")).has_value());
  wires_.requests.clear();
  // c believes b; b has lost the partition to a, and its reader has read a's claim. The views stand still.
  life("a").folding.lose(all());
  run_for(std::chrono::seconds{1});
  life("b").assignment.take_unheard(home(agent_));
  life("a").assignment.assign({home(agent_)});
  ASSERT_TRUE(run_until([&] { return life("a").owns(home(agent_)) && !life("b").owns(home(agent_)); }));
  std::vector<std::string> asked;
  wires_.fate = [&asked](const std::string& url, const std::string&) {
    asked.push_back(url);
    return Fate{};
  };
  const auto answer = send(c, rename("k2", "two"));
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ((std::vector<std::string>{"http://b", "http://a"}), asked);
  EXPECT_EQ("two", name_at("a"));
}

TEST_F(SenderTest, WhenTheOwnerDiesTheCommandGoesToTheNextOne) {
  crash("b");
  const auto renamed = begin_send(life("a"), rename("k", "eve"));
  run_for(std::chrono::seconds{2});
  life("a").assignment.assign({home(agent_)});
  const auto answer = finish(renamed);
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ(1U, times_applied("k"));
}

TEST_F(SenderTest, ARefusalComesBackWithItsCode) {
  const auto refused = send(life("a"), command("k", agent_, CancelTurn{}));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(Errc::conflict, refused.error().code);
  EXPECT_EQ(1U, wires_.requests.size());
}

// ---- turns ----

TEST_F(SenderTest, ATurnAtAnotherNodeIsAnsweredWhenItEnds) {
  const auto answer = send(life("a"), command("say", agent_, say("slow")));
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  ASSERT_TRUE(answer->turn.has_value());
  EXPECT_EQ(1U, answer->turn->messages.size());
  EXPECT_EQ("end_turn", answer->turn->stop_reason);
  EXPECT_FALSE(answer->positions.empty());
  EXPECT_EQ(nullptr, answer->channel);
}

TEST_F(SenderTest, ATurnIsAnsweredOverBadWires) {
  int sent = 0;
  wires_.fate = [&sent](const std::string&, const std::string&) {
    Fate fate;
    ++sent;
    fate.lose_request = sent % 3 == 1;
    fate.lose_answer = sent % 3 == 2;
    if (sent % 2 == 0) fate.again = std::chrono::milliseconds{700};
    return fate;
  };
  const auto answer = send(life("a"), command("say", agent_, say("words")), std::chrono::seconds{100});
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ(1U, times_applied("say"));
  if (answer->turn) EXPECT_EQ(1U, answer->turn->messages.size());
}

SendMessages with_tokens(SendMessages command) {
  command.request = R"({"stream_tokens":true})";
  return command;
}

std::size_t pieces_in(const TurnChannel& channel) {
  return channel.live() ? channel.live()->deltas.size() : 0;
}

TEST_F(SenderTest, AStreamAtAnotherNodeComesPieceByPiece) {
  const auto opened = finish(begin_send(life("a"), command("say", agent_, with_tokens(say("words"))),
                                        std::chrono::seconds{30}, CallLimits::Turn::opened));
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  const auto channel = opened->channel;
  ASSERT_NE(nullptr, channel);
  for (std::size_t pieces = 1; pieces <= 5; ++pieces) {
    EXPECT_TRUE(run_until([&] { return pieces_in(*channel) >= pieces; }, std::chrono::seconds{1})) << pieces;
  }
  ASSERT_TRUE(run_until([&] { return channel->finished(); }, std::chrono::seconds{5}));
  EXPECT_EQ(1U, channel->messages().size());
  EXPECT_EQ(6U, channel->last_reply()->deltas.size());
  EXPECT_FALSE(channel->positions().empty());
}

TEST_F(SenderTest, AStreamGoesOnAtTheNextOwner) {
  const auto opened = finish(begin_send(life("a"), command("say", agent_, with_tokens(say("words"))),
                                        std::chrono::seconds{30}, CallLimits::Turn::opened));
  ASSERT_TRUE(opened.has_value());
  const auto channel = opened->channel;
  ASSERT_TRUE(run_until([&] { return pieces_in(*channel) >= 2; }));
  move("b", "a", {home(agent_)});  // To where it is read.
  ASSERT_TRUE(run_until([&] { return channel->finished() || channel->abandoned(); }));
  EXPECT_TRUE(channel->finished());
  EXPECT_EQ(1U, channel->messages().size());
}

TEST_F(SenderTest, AStreamIsAbandonedWhenNobodyOwnsItsTurnForTooLong) {
  const auto opened = finish(begin_send(life("a"), command("say", agent_, say("slow")),
                                        std::chrono::seconds{30}, CallLimits::Turn::opened));
  ASSERT_TRUE(opened.has_value());
  crash("b");
  ASSERT_TRUE(run_until([&] { return opened->channel->abandoned(); }, std::chrono::seconds{40}));
  // And nobody asks for it any more.
  const std::size_t before = wires_.requests.size();
  run_for(std::chrono::seconds{30});
  EXPECT_EQ(before, wires_.requests.size());
}

// A caller has more patience than a client that could ask elsewhere.
TEST_F(SenderTest, AnOwnerIsNotLookedForForLong) {
  crash("b");
  Fate refused;
  refused.refuse = true;
  first_requests(1'000'000, refused);
  const MonoTime begun = scheduler_.now();
  const auto answer = send(life("a"), rename("k", "eve"), std::chrono::minutes{10});
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(Errc::unavailable, answer.error().code);
  EXPECT_GE(scheduler_.now() - begun, std::chrono::seconds{8});
  EXPECT_LE(scheduler_.now() - begun, std::chrono::seconds{12});
}

// It waits for as long as its caller does once somebody has taken it.
TEST_F(SenderTest, AnOwnerThatIsBusyIsWaitedFor) {
  const auto slow = begin_send(life("a"), command("ever", agent_, say("ever")), std::chrono::minutes{5},
                               CallLimits::Turn::opened);
  ASSERT_TRUE(finish(slow).has_value());
  // It waits for the open turn.
  const auto next = begin_send(life("a"), command("next", agent_, say("hello")), std::chrono::seconds{40});
  run_for(std::chrono::seconds{30});
  EXPECT_FALSE(next->has_value());
  const auto answer = finish(next);
  ASSERT_FALSE(answer.has_value());
}

TEST_F(SenderTest, ATurnThatNobodyReadsIsNotFollowed) {
  auto opened = finish(begin_send(life("a"), command("say", agent_, say("ever")), std::chrono::seconds{30},
                                  CallLimits::Turn::opened));
  ASSERT_TRUE(opened.has_value());
  opened->channel.reset();
  run_for(std::chrono::seconds{5});
  const std::size_t before = wires_.requests.size();
  run_for(std::chrono::seconds{30});
  EXPECT_EQ(before, wires_.requests.size());
}

class StreamTest : public SenderTest {
 protected:
  using Text = std::shared_ptr<std::string>;
  struct Stream {
    Text text = std::make_shared<std::string>();
    std::shared_ptr<bool> ended = std::make_shared<bool>(false);
    bool has(const std::string& what) const { return text->find(what) != std::string::npos; }
  };
  Stream read(const std::string& node) {
    Request request;
    request.method = "POST";
    request.target = "/v1/agents/" + agent_.value() + "/messages/stream";
    request.body = R"({"input":"words","stream_tokens":true})";
    request.headers.emplace("content-type", "application/json");
    Stream stream;
    life(node).env.spawn("http", all(&life(node).node, request, stream.text, stream.ended));
    return stream;
  }
  void expect_whole(const Stream& stream) {
    ASSERT_TRUE(run_until([&] { return *stream.ended; }));
    EXPECT_TRUE(stream.has("three ")) << *stream.text;
    EXPECT_TRUE(stream.has("end_turn")) << *stream.text;
    EXPECT_TRUE(stream.has("[DONE]")) << *stream.text;
    EXPECT_FALSE(stream.has("error")) << *stream.text;
  }

 private:
  static Task<> all(Node* node, Request asked, Text text, std::shared_ptr<bool> ended) {
    Response response = co_await node->handle(std::move(asked));
    *text = response.body;
    while (response.events) {
      const auto piece = co_await response.events->next();
      if (!piece) break;
      *text += *piece;
    }
    *ended = true;
    co_return ok();
  }
};

TEST_F(StreamTest, ATurnOfAnotherNodeIsRead) {
  expect_whole(read("a"));
}

TEST_F(StreamTest, ATurnOfThisNodeIsRead) {
  expect_whole(read("b"));
}

TEST_F(StreamTest, ATurnThatMovesAwayIsReadOnAtItsNextOwner) {
  const Stream stream = read("b");
  ASSERT_TRUE(run_until([&] { return stream.has("two "); }));
  move("b", "a", {home(agent_)});
  expect_whole(stream);
}

TEST_F(StreamTest, ATurnThatIsLostIsReadOnAtItsNextOwner) {
  const Stream stream = read("b");
  ASSERT_TRUE(run_until([&] { return stream.has("two "); }));
  life("b").assignment.lose({home(agent_)});
  life("a").assignment.assign({home(agent_)});
  expect_whole(stream);
}

// It has turns of other nodes to read, too.
TEST_F(StreamTest, ANodeThatDrainsEndsItsStreamsOfOtherNodesTurns) {
  const Stream stream = read("a");
  ASSERT_TRUE(run_until([&] { return stream.has("two "); }));
  begin(life("a"), life("a").node.drain(life("a").env.now() + std::chrono::seconds{10}));
  ASSERT_TRUE(run_until([&] { return *stream.ended; }, std::chrono::seconds{10}));
  EXPECT_TRUE(stream.has("interrupted")) << *stream.text;
  EXPECT_FALSE(stream.has("six")) << *stream.text;
}

// Whoever waits for a turn at a node that drains is told so at once, and finds the turn at the next one.
TEST_F(SenderTest, ANodeThatDrainsSendsItsCallersAway) {
  for (const std::string node : {"a", "b"}) {  // One that reads the turn, and its owner.
    const auto slow =
        begin_send(life(node), command("slow " + node, agent_, say("slow")), std::chrono::minutes{5});
    ASSERT_TRUE(run_until([&] { return times_applied("slow " + node) == 1; }));
    begin(life(node), life(node).node.drain(life(node).env.now() + std::chrono::seconds{10}));
    ASSERT_TRUE(run_until([&] { return slow->has_value(); }, std::chrono::seconds{node == "a" ? 3 : 1}));
    ASSERT_FALSE((*slow)->has_value());
    EXPECT_EQ(Errc::outcome_unknown, (*slow)->error().code) << (*slow)->error().message;
    run_for(std::chrono::seconds{10});
  }
}

// Its clients are told to ask another node, which knows the run.
TEST_F(StreamTest, ANodeThatDrainsEndsItsStreams) {
  const Stream stream = read("b");
  ASSERT_TRUE(run_until([&] { return stream.has("two "); }));
  begin(life("b"), life("b").node.drain(life("b").env.now() + std::chrono::seconds{10}));
  ASSERT_TRUE(run_until([&] { return *stream.ended; }, std::chrono::seconds{10}));
  EXPECT_TRUE(stream.has("interrupted")) << *stream.text;
}

}  // namespace
}  // namespace varve
