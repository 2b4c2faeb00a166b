// The sequential model, told as a story: what it answers is what the API is expected to answer.
#include "sim/model.h"

#include <gtest/gtest.h>

namespace varve::sim {
namespace {

TEST(Model, AnAgentIsCreatedReadChangedAndDeletedForEver) {
  Model model;
  EXPECT_EQ(Answer::not_found, model.apply(op::ReadAgent{"a"}).answer);
  const Outcome created = model.apply(op::CreateAgent{"a", "ann", {"y", "x"}, {{"b", "human", "Ann."}}});
  EXPECT_EQ(" name=ann tags=[x y] blocks=b(Ann.)", describe(created.seen));
  EXPECT_EQ(" label=human value=Ann.", describe(model.apply(op::ReadBlock{"b"}).seen));

  model.apply(op::UpdateAgent{"a", "anna", std::nullopt});
  EXPECT_EQ(" name=anna tags=[x y] blocks=b(Ann.)", describe(model.apply(op::ReadAgent{"a"}).seen));
  EXPECT_EQ(" ids=[a]", describe(model.apply(op::ListAgents{}).seen));

  EXPECT_EQ(Answer::ok, model.apply(op::DeleteAgent{"a"}).answer);
  EXPECT_EQ(Answer::not_found, model.apply(op::DeleteAgent{"a"}).answer);
  EXPECT_EQ(Answer::not_found, model.apply(op::SendMessage{"a", "hello"}).answer);
  EXPECT_EQ(Answer::conflict, model.apply(op::CreateAgent{"a", "ann", {}, {}}).answer);
  EXPECT_EQ(" ids=[]", describe(model.apply(op::ListAgents{}).seen));
  EXPECT_EQ(Answer::ok, model.apply(op::ReadBlock{"b"}).answer) << "blocks outlive their agent";
}

TEST(Model, AnErasureIsASuccessAlsoOfWhoIsGone) {
  AgentModel agent;
  EXPECT_EQ(Answer::not_found, agent.apply(op::EraseAgent{"a"}).answer);
  agent.apply(op::CreateAgent{"a", "ann", {}, {}, {}});
  agent.apply(op::DeleteAgent{"a"});
  EXPECT_EQ(Answer::ok, agent.apply(op::EraseAgent{"a"}).answer);
  EXPECT_EQ(Answer::ok, agent.apply(op::EraseAgent{"a"}).answer);
  EXPECT_EQ(Answer::not_found, agent.apply(op::ReadMessages{"a"}).answer);
}

TEST(Model, BlocksAreSharedAndTheirLabelsDifferWithinAnAgent) {
  Model model;
  model.apply(op::CreateAgent{"a", "ann", {}, {{"b1", "human", "1"}}});
  EXPECT_EQ(Answer::not_found, model.apply(op::AttachBlock{"a", "b2"}).answer);
  model.apply(op::CreateBlock{"b2", "human", "2"});
  EXPECT_EQ(Answer::conflict, model.apply(op::AttachBlock{"a", "b2"}).answer);
  model.apply(op::UpdateBlock{"b2", "persona", std::nullopt});
  EXPECT_EQ(" name=ann tags=[] blocks=b1(1)b2(2)", describe(model.apply(op::AttachBlock{"a", "b2"}).seen));
  EXPECT_EQ(Answer::ok, model.apply(op::AttachBlock{"a", "b2"}).answer) << "attached already";
  model.apply(op::AppendToBlock{"b2", "more"});
  EXPECT_EQ(" label=persona value=2\nmore", describe(model.apply(op::ReadBlock{"b2"}).seen));
  model.apply(op::DeleteBlock{"b1"});
  EXPECT_EQ(" name=ann tags=[] blocks=b2(2\nmore)", describe(model.apply(op::ReadAgent{"a"}).seen));
  EXPECT_EQ(Answer::ok, model.apply(op::DetachBlock{"a", "b2"}).answer);
  EXPECT_EQ(Answer::not_found, model.apply(op::DetachBlock{"a", "b2"}).answer);
}

TEST(Model, TurnsFollowEachOther) {
  AgentModel agent;
  agent.apply(op::CreateAgent{"a", "ann", {}, {}});
  EXPECT_EQ(Answer::ok, agent.apply(op::TurnBegins{"a", "one"}).answer);
  EXPECT_EQ(Answer::conflict, agent.apply(op::TurnBegins{"a", "two"}).answer);
  EXPECT_EQ(Answer::conflict, agent.apply(op::TurnEnds{"a", "two", std::nullopt}).answer);
  EXPECT_EQ(Answer::ok, agent.apply(op::TurnEnds{"a", "one", Texts{"reply"}}).answer);
  EXPECT_EQ(Answer::conflict, agent.apply(op::CancelTurn{"a"}).answer);
  EXPECT_EQ(Answer::ok, agent.apply(op::TurnBegins{"a", "two"}).answer);
  EXPECT_EQ(Answer::ok, agent.apply(op::CancelTurn{"a"}).answer);
  EXPECT_FALSE(agent.turn_open());
  EXPECT_EQ(" turns=one[reply]two[]", describe(agent.apply(op::ReadMessages{"a"}).seen));
}

TEST(Model, AnOpenTurnMayShowAnythingAndAnEndedOneOnlyItsReplies) {
  AgentModel agent;
  agent.apply(op::CreateAgent{"a", "ann", {}, {}});
  agent.apply(op::TurnBegins{"a", "one"});
  Outcome seen;
  seen.answer = Answer::ok;
  seen.seen.turns = std::vector<TurnSeen>{{"one", {"half"}}};
  EXPECT_TRUE(agrees(agent.apply(op::ReadMessages{"a"}), seen, &agent));
  agent.apply(op::TurnEnds{"a", "one", Texts{"half", "whole"}});
  EXPECT_FALSE(agrees(agent.apply(op::ReadMessages{"a"}), seen, &agent));
  seen.seen.turns = std::vector<TurnSeen>{{"one", {"half", "whole"}}};
  EXPECT_TRUE(agrees(agent.apply(op::ReadMessages{"a"}), seen, &agent));
  seen.seen.turns->push_back({"two", {}});
  EXPECT_FALSE(agrees(agent.apply(op::ReadMessages{"a"}), seen, &agent));
}

TEST(Model, AToolAddsALineAtEitherEndOrReplacesATextThatOccursOnce) {
  using How = op::EditBlock::How;
  BlockModel block{true, false, "human", "one"};
  EXPECT_EQ("one\ntwo", block.apply(op::EditBlock{"b", How::append, "", "two"}).seen.value);
  EXPECT_EQ("zero\none\ntwo", block.apply(op::EditBlock{"b", How::insert_first, "", "zero"}).seen.value);
  EXPECT_EQ("zero\n1\ntwo", block.apply(op::EditBlock{"b", How::replace, "one", "1"}).seen.value);
  EXPECT_EQ(Answer::refused, block.apply(op::EditBlock{"b", How::replace, "o", "x"}).answer) << "twice";
  EXPECT_EQ(Answer::refused, block.apply(op::EditBlock{"b", How::replace, "y", "x"}).answer);
  EXPECT_EQ("zero\n1\ntwo", block.value);
  block.exists = false;
  EXPECT_EQ(Answer::not_found, block.apply(op::EditBlock{"b", How::append, "", "x"}).answer);
}

TEST(Model, AnImportedAgentComesWithItsHistory) {
  AgentModel agent;
  agent.apply(op::CreateAgent{"a", "ann", {}, {}, {"old", "older"}});
  EXPECT_EQ((Texts{"old", "older"}), agent.apply(op::ReadMessages{"a"}).seen.texts);
  EXPECT_EQ(Answer::ok, agent.apply(op::TurnBegins{"a", "new"}).answer);
  EXPECT_EQ(Answer::conflict, agent.apply(op::ResetMessages{"a"}).answer) << "a turn is open";
  agent.apply(op::TurnEnds{"a", "new", std::nullopt});
  EXPECT_EQ(Answer::ok, agent.apply(op::ResetMessages{"a"}).answer);
  EXPECT_EQ((Texts{"old", "older", "new"}), agent.apply(op::ReadMessages{"a"}).seen.texts);
}

}  // namespace
}  // namespace varve::sim
