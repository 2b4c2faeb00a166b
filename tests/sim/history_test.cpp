// The judgement of histories: right ones pass, and every kind of wrong one is named.
#include "sim/history.h"

#include <gtest/gtest.h>

namespace varve::sim {
namespace {

constexpr ClientId kAnn = 1;
constexpr ClientId kBob = 2;

Outcome answered(Answer answer) {
  Outcome outcome;
  outcome.answer = answer;
  return outcome;
}
Outcome done() {
  return answered(Answer::ok);
}
Outcome shows_value(std::string value) {
  Outcome outcome = done();
  outcome.seen.value = std::move(value);
  return outcome;
}
Outcome shows_name(std::string name) {
  Outcome outcome = done();
  outcome.seen.name = std::move(name);
  return outcome;
}
Outcome shows_turns(std::vector<TurnSeen> turns) {
  Outcome outcome = done();
  outcome.seen.turns = std::move(turns);
  return outcome;
}
Outcome shows_ids(Texts ids) {
  Outcome outcome = done();
  outcome.seen.ids = std::move(ids);
  return outcome;
}
op::UpdateBlock edit(std::string value) {
  return {"b", std::nullopt, std::move(value)};
}

// A history of operations that do not overlap, unless it is told otherwise.
struct Story {
  History history;

  Story& did(ClientId client, Op op, Outcome outcome) {
    history.end(history.begin(client, std::move(op)), std::move(outcome));
    return *this;
  }
  Story& with_block(std::string value) {
    return did(kAnn, op::CreateBlock{"b", "human", std::move(value)}, done());
  }
  Story& with_agent() { return did(kAnn, op::CreateAgent{"a", "ann", {}, {}}, done()); }
  // "I6 Linearizable": the names of what is broken, each once, sorted.
  std::string broken(std::size_t states_max = 100'000) const {
    HistoryOptions options;
    options.states_max = states_max;
    std::set<std::string> names;
    const HistoryVerdict verdict = check(history, options);
    for (const Violation& violation : verdict.violations) names.insert(violation.invariant);
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
    if (verdict.gave_up > 0) text += " gave up";
    return text;
  }
  std::string first() const {
    const HistoryVerdict verdict = check(history, {});
    return verdict.violations.empty() ? "" : verdict.violations.front().what;
  }
};

TEST(HistoryTest, OneOperationAfterTheOtherIsJudgedByTheModel) {
  Story right;
  right.with_block("1")
      .did(kBob, op::ReadBlock{"b"}, shows_value("1"))
      .did(kAnn, edit("2"), shows_value("2"));
  right.did(kBob, op::ReadBlock{"b"}, shows_value("2")).did(kBob, op::DeleteBlock{"b"}, done());
  right.did(kAnn, op::ReadBlock{"b"}, answered(Answer::not_found));
  right.did(kAnn, edit("3"), answered(Answer::not_found));
  EXPECT_EQ("", right.broken());
}

TEST(HistoryTest, AReadOfAnOverwrittenValueIsStale) {
  Story story;
  story.with_block("1").did(kAnn, edit("2"), done()).did(kBob, op::ReadBlock{"b"}, shows_value("1"));
  EXPECT_EQ("I6 Linearizable", story.broken());
  EXPECT_EQ("b: client 2 reads the value '1' after a newer one was settled", story.first());
}

TEST(HistoryTest, AWriteThatNobodyWaitedForMayShowLater) {
  Story story;
  Outcome behind = done();
  behind.settled = false;
  story.with_block("1").did(kAnn, edit("2"), behind).did(kBob, op::ReadBlock{"b"}, shows_value("1"));
  EXPECT_EQ("", story.broken());
  story.did(kBob, op::ReadBlock{"b"}, shows_value("2")).did(kBob, op::ReadBlock{"b"}, shows_value("1"));
  EXPECT_EQ("I6 Linearizable", story.broken()) << "but not go back";
}

TEST(HistoryTest, WhatIsReadWhileItIsWrittenMayBeOldOrNew) {
  Story story;
  story.with_block("1");
  const OpId write = story.history.begin(kAnn, edit("2"));
  story.did(kBob, op::ReadBlock{"b"}, shows_value("1")).did(kBob, op::ReadBlock{"b"}, shows_value("2"));
  story.history.end(write, done());
  EXPECT_EQ("", story.broken());
}

TEST(HistoryTest, TwoClientsMayNotDisagreeAboutTheOrder) {
  Story story;
  story.with_block("1");
  const OpId write = story.history.begin(kAnn, edit("2"));
  story.did(3, op::ReadBlock{"b"}, shows_value("2")).did(kBob, op::ReadBlock{"b"}, shows_value("1"));
  story.history.end(write, done());
  EXPECT_EQ("Linearizable", story.broken()) << "no session is hurt, and yet: it was new before it was old";
}

TEST(HistoryTest, AnUnknownOperationMayTakeEffectOnceAtAnyLaterTime) {
  Story story;
  story.with_block("1").did(kAnn, edit("2"), answered(Answer::unknown));
  story.did(kBob, op::ReadBlock{"b"}, shows_value("1")).did(kBob, op::ReadBlock{"b"}, shows_value("2"));
  EXPECT_EQ("", story.broken());
  story.did(kAnn, edit("3"), done()).did(kBob, op::ReadBlock{"b"}, shows_value("3"));
  EXPECT_EQ("", story.broken());
  story.did(kBob, op::ReadBlock{"b"}, shows_value("2"));
  EXPECT_EQ("Linearizable", story.broken()) << "it has taken effect twice";
}

TEST(HistoryTest, WhatWasRefusedForCertainIsNeverSeen) {
  Story story;
  story.with_block("1").did(kAnn, edit("2"), answered(Answer::refused));
  EXPECT_EQ("", story.broken());
  story.did(kBob, op::ReadBlock{"b"}, shows_value("2"));
  EXPECT_EQ("I6 Linearizable", story.broken());
  EXPECT_EQ("b: client 2 reads the value '2', which nobody has written", story.first());
}

TEST(HistoryTest, ARefusalNeedsAReason) {
  Story story;
  story.with_block("1").did(kAnn, edit("2"), answered(Answer::not_found));
  EXPECT_EQ("Linearizable", story.broken());
  EXPECT_EQ("no order explains the commands of b: client 1 UpdateBlock b value=2 -> not found (operation 1)",
            story.first());
}

TEST(HistoryTest, AnAcknowledgedCreationIsInEveryLaterList) {
  Story story;
  story.with_agent().did(kBob, op::ListAgents{}, shows_ids({"a"}));
  EXPECT_EQ("", story.broken());
  Story missing;
  missing.with_agent().did(kBob, op::ListAgents{}, shows_ids({}));
  EXPECT_EQ("I6 Linearizable", missing.broken());
  EXPECT_EQ("a: client 2 misses it after its creation was settled", missing.first());
  Story ghost;
  ghost.did(kBob, op::ListAgents{}, shows_ids({"x"}));
  EXPECT_EQ("I6", ghost.broken());
  Story twice;
  twice.with_agent().did(kBob, op::ListAgents{}, shows_ids({"a", "a"}));
  EXPECT_EQ("I6", twice.broken());
  Story deleted;
  deleted.with_agent().did(kAnn, op::DeleteAgent{"a"}, done()).did(kBob, op::ListAgents{}, shows_ids({"a"}));
  EXPECT_EQ("I6 Linearizable", deleted.broken());
}

TEST(HistoryTest, MessagesStayInTheOrderOfTheirTurns) {
  Story story;
  story.with_agent();
  story.did(kAnn, op::SendMessage{"a", "one"}, shows_turns({{"one", {"re: one"}}}));
  const OpId two = story.history.begin(kAnn, op::SendMessage{"a", "two"});
  story.did(kBob, op::ReadMessages{"a"}, shows_turns({{"one", {"re: one"}}}));
  story.did(kBob, op::ReadMessages{"a"}, shows_turns({{"one", {"re: one"}}, {"two", {}}}));
  story.history.end(two, shows_turns({{"two", {"re: two"}}}));
  story.did(kBob, op::ReadMessages{"a"}, shows_turns({{"one", {"re: one"}}, {"two", {"re: two"}}}));
  EXPECT_EQ("", story.broken());

  Story lost = story;
  lost.did(kBob, op::ReadMessages{"a"}, shows_turns({{"one", {"re: one"}}}));
  EXPECT_EQ("I6 Linearizable", lost.broken());
  Story swapped = story;
  swapped.did(3, op::ReadMessages{"a"}, shows_turns({{"two", {"re: two"}}, {"one", {"re: one"}}}));
  EXPECT_EQ("Linearizable", swapped.broken());
  Story without_reply = story;
  without_reply.did(3, op::ReadMessages{"a"}, shows_turns({{"one", {"re: one"}}, {"two", {}}}));
  EXPECT_EQ("Linearizable", without_reply.broken());
  Story doubled = story;
  doubled.did(3, op::ReadMessages{"a"},
              shows_turns({{"one", {"re: one"}}, {"two", {"re: two"}}, {"two", {"re: two"}}}));
  EXPECT_EQ("I6 Linearizable", doubled.broken());
}

TEST(HistoryTest, TwoTurnsOfOneAgentDoNotOverlap) {
  Story story;
  story.with_agent();
  const OpId one = story.history.begin(kAnn, op::SendMessage{"a", "one"});
  const OpId two = story.history.begin(kBob, op::SendMessage{"a", "two"});
  story.history.end(one, shows_turns({{"one", {"1"}}}));
  story.did(kAnn, op::ReadMessages{"a"}, shows_turns({{"one", {"1"}}, {"two", {}}}));
  story.history.end(two, shows_turns({{"two", {"2"}}}));
  EXPECT_EQ("", story.broken());
  story.did(kAnn, op::SendMessage{"a", "three"}, shows_turns({{"three", {"3"}}}));
  story.did(kAnn, op::ReadMessages{"a"}, shows_turns({{"one", {"1"}}, {"three", {"3"}}, {"two", {"2"}}}));
  EXPECT_EQ("I6 Linearizable", story.broken());
}

TEST(HistoryTest, AnAsynchronousTurnEndsWhenItLikes) {
  Story story;
  story.with_agent().did(kAnn, op::SendMessage{"a", "one", false}, done());
  story.did(kAnn, op::ReadMessages{"a"}, shows_turns({{"one", {}}}));
  story.did(kAnn, op::ReadMessages{"a"}, shows_turns({{"one", {"late"}}}));
  EXPECT_EQ("", story.broken());
  story.did(kAnn, op::ReadMessages{"a"}, shows_turns({{"one", {}}}));
  EXPECT_EQ("I6", story.broken());
}

TEST(HistoryTest, AnAgentShowsItsBlocksAsTheyAre) {
  Story story;
  Outcome whole = shows_name("ann");
  whole.seen.blocks = std::vector<op::BlockBirth>{{"b", "human", "1"}};
  story.did(kAnn, op::CreateAgent{"a", "ann", {}, {{"b", "human", "1"}}}, whole);
  story.did(kBob, op::ReadAgent{"a"}, whole);
  EXPECT_EQ("", story.broken());
  Story stale = story;
  stale.did(kAnn, edit("2"), done()).did(kBob, op::ReadAgent{"a"}, whole);
  EXPECT_EQ("I6 Linearizable", stale.broken());
  Story detached = story;
  Outcome bare = shows_name("ann");
  bare.seen.blocks.emplace();
  detached.did(kBob, op::ReadAgent{"a"}, bare);
  EXPECT_EQ("Linearizable", detached.broken());
  Story deleted = story;
  deleted.did(kAnn, op::DeleteBlock{"b"}, done()).did(kBob, op::ReadAgent{"a"}, bare);
  EXPECT_EQ("", deleted.broken()) << "a deleted block is attached nowhere";
}

TEST(HistoryTest, AfterADeclaredFailoverReadsMayShowThePastUntilTheViewsHaveCaughtUp) {
  Story story;
  story.with_block("1").did(kAnn, edit("2"), done());
  story.history.views_lost();
  story.did(kBob, op::ReadBlock{"b"}, shows_value("1"));
  story.history.views_caught_up();
  EXPECT_EQ("", story.broken());
  story.did(kBob, op::ReadBlock{"b"}, shows_value("1"));
  EXPECT_EQ("I6 Linearizable", story.broken());
}

TEST(HistoryTest, AQuestionThatIsTooLargeIsCountedNotAnswered) {
  Story story;
  story.with_block("0");
  for (int i = 1; i <= 14; ++i) story.history.begin(static_cast<ClientId>(i), edit(std::to_string(i)));
  story.did(kAnn, op::ReadBlock{"b"}, shows_value("14")).did(kAnn, op::ReadBlock{"b"}, shows_value("0"));
  EXPECT_EQ("I6 gave up", story.broken(500));
  EXPECT_EQ(14U, story.history.open());
  EXPECT_EQ("client 1: UpdateBlock b value=1", story.history.oldest_open());
}

TEST(HistoryTest, ALongHistoryOfManyClientsIsJudgedQuickly) {
  Story story;
  story.with_block("0").with_agent();
  for (int i = 1; i <= 300; ++i) {
    const OpId first = story.history.begin(kAnn, edit(std::to_string(i) + "a"));
    const OpId second = story.history.begin(kBob, edit(std::to_string(i) + "b"));
    const OpId read = story.history.begin(3, op::ReadBlock{"b"});
    story.history.end(second, done());
    story.history.end(first, done());
    story.history.end(read, shows_value(std::to_string(i) + (i % 2 == 0 ? "a" : "b")));
    const std::string text = "m" + std::to_string(i);
    if (i <= 60) story.did(kAnn, op::SendMessage{"a", text}, shows_turns({{text, {"re"}}}));
    story.did(kBob, op::ListAgents{}, shows_ids({"a"}));
  }
  const HistoryVerdict verdict = check(story.history, {});
  EXPECT_TRUE(verdict.violations.empty());
  EXPECT_EQ(0U, verdict.gave_up);
  EXPECT_LT(verdict.states, 20'000U);
}

TEST(HistoryTest, AnImportIsThereWithAllItsMessagesOrNotAtAll) {
  const op::CreateAgent import{"a", "ann", {}, {}, {"old", "older"}};
  Story whole;
  whole.did(kAnn, import, done()).did(kBob, op::ReadMessages{"a"}, shows_turns({{"old", {}}, {"older", {}}}));
  EXPECT_EQ("", whole.broken());
  Story half;
  half.did(kAnn, import, answered(Answer::unknown));
  half.did(kBob, op::ReadMessages{"a"}, answered(Answer::not_found));
  EXPECT_EQ("", half.broken());
  half.did(kBob, op::ReadMessages{"a"}, shows_turns({{"old", {}}}));
  EXPECT_EQ("I6 Linearizable", half.broken());
}

TEST(HistoryTest, AnImportWithoutAKeyIsListedOnceItIsKnownWhatItMade) {
  Story story;
  const OpId id = story.history.begin(kAnn, op::CreateAgent{"", "ann", {}, {}, {"old"}});
  story.history.end(id, answered(Answer::unknown));
  story.did(kBob, op::ListAgents{}, shows_ids({"a"}));
  EXPECT_EQ("I6", story.broken()) << "nobody created it";
  story.history.resolve(id, op::CreateAgent{"a", "ann", {}, {}, {"old"}});
  EXPECT_EQ("", story.broken());
}

TEST(HistoryTest, WhatAToolMadeOfABlockIsReadAndNeverLost) {
  Story story;
  story.with_block("1").did(1'000, op::EditBlock{"b", op::EditBlock::How::append, "", "2"},
                            shows_value("1\n2"));
  story.did(kAnn, edit("3"), done()).did(kBob, op::ReadBlock{"b"}, shows_value("3"));
  EXPECT_EQ("", story.broken());
  story.did(1'000, op::EditBlock{"b", op::EditBlock::How::append, "", "4"}, shows_value("1\n2\n4"));
  EXPECT_EQ("Linearizable", story.broken()) << "the client's value was overwritten";
}

}  // namespace
}  // namespace varve::sim
