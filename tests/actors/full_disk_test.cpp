// Turns while the log takes nothing (a full disk): the model is asked once a step, however often the record
// of its reply is tried. The script's replies are counted by their texts: "answer 2" is the second call's.
#include "actors/turn_channel.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::Pending;
using test::SimServer;
using Fault = MemoryLogStorage::Fault;

constexpr const char* kScript = R"({"summarizes":true,"replies":[
  {"match":"count","times":1,"delay_ms":500,"text":"answer 1"},
  {"match":"count","times":1,"text":"answer 2"},
  {"match":"words","times":1,"token_delay_ms":100,"text":"one two three"},
  {"match":"words","text":"something else"},
  {"match":"fail","times":1,"delay_ms":500,"error":{"status":429,"type":"llm_rate_limit","message":"failure 1"}},
  {"match":"fail","text":"answer after a failure"},
  {"match":"tea","times":1,"delay_ms":500,
   "tool_calls":[{"name":"memory_insert","arguments":{"label":"human","new_string":"Tea."}}],"then":"noted"},
  {"match":"tea","text":"the tool's turn was asked for again"}]})";

class FullDisk : public SimServer {
 public:
  void SetUp() override { start(kScript); }

  // Sends the message, and lets the next `faults` appends fail once the model has been asked.
  Pending say_before_faults(const std::string& agent, const std::string& text, Fault fault, int faults) {
    Pending sent = begin("POST", "/v1/agents/" + agent + "/messages", say(text));
    run_for(100);
    for (int i = 0; i < faults; ++i) world_->fail_next_append(fault);
    return sent;
  }
};

TEST_F(FullDisk, TheModelIsAskedOnceHoweverOftenItsReplyIsRefused) {
  const std::string agent = create_agent();
  const Pending sent = say_before_faults(agent, "count", Fault::not_written, 5);
  EXPECT_EQ(200, finish(sent).status);
  EXPECT_EQ("user_message:count;assistant_message:answer 1;", history(agent));
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("count"));
  EXPECT_EQ("user_message:count;assistant_message:answer 1;user_message:count;assistant_message:answer 2;",
            history(agent));
}

TEST_F(FullDisk, ALostAppendAndTheNextClaimCostNoSecondCall) {
  const std::string agent = create_agent();
  const Pending sent = say_before_faults(agent, "count", Fault::unknown_lost, 1);
  EXPECT_EQ(200, finish(sent).status);
  EXPECT_EQ("user_message:count;assistant_message:answer 1;", history(agent));
}

TEST_F(FullDisk, AnAppendThatLandedUnseenIsNotRecordedTwice) {
  const std::string agent = create_agent();
  const Pending sent = say_before_faults(agent, "tea", Fault::unknown_landed, 1);
  EXPECT_EQ(200, finish(sent).status);
  EXPECT_EQ("user_message:tea;tool_call_message:;tool_return_message:Ann\nTea.;assistant_message:noted;",
            history(agent));
}

TEST_F(FullDisk, AReplyWithToolCallsIsKeptAsWell) {
  const std::string agent = create_agent();
  const Pending sent = say_before_faults(agent, "tea", Fault::not_written, 3);
  EXPECT_EQ(200, finish(sent).status);
  EXPECT_EQ("user_message:tea;tool_call_message:;tool_return_message:Ann\nTea.;assistant_message:noted;",
            history(agent));
}

TEST_F(FullDisk, AFailureOfTheModelIsNotAskedForAgain) {
  const std::string agent = create_agent();
  const Pending sent = say_before_faults(agent, "fail", Fault::not_written, 3);
  EXPECT_EQ(429, finish(sent).status);
  EXPECT_EQ("user_message:fail;", history(agent));
}

TEST_F(FullDisk, AStreamEndsWithTheIdThatItsPiecesHad) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/messages";
  const Pending sent = begin("POST", path, R"({"input":"words","streaming":true,"stream_tokens":true})");
  run_for(150);
  for (int i = 0; i < 3; ++i) world_->fail_next_append(Fault::not_written);
  run_for(3000);
  EXPECT_EQ("user_message:words;assistant_message:one two three;", history(agent));
  const std::string body = finish(sent).body;
  EXPECT_EQ(std::string::npos, body.find("something")) << body;
}

TEST_F(FullDisk, ACrashLosesWhatWasKeptAndTheModelIsAskedAgain) {
  const std::string agent = create_agent();
  say_before_faults(agent, "count", Fault::not_written, 4);
  run_for(500);
  restart();
  run_for(3000);
  // The new life's script begins anew as well.
  EXPECT_EQ("user_message:count;assistant_message:answer 1;", history(agent));
}

TEST_F(FullDisk, ACancelledTurnLeavesNothingKeptForTheNextOne) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/messages";
  const Pending sent = say_before_faults(agent, "count", Fault::not_written, 4);
  run_for(500);
  const Response cancelled = call("POST", path + "/cancel", "{}");
  if (cancelled.status != 200) run_for(2000);
  finish(sent);
  run_for(3000);
  expect(200, "POST", path, say("count"));
  const std::string told = history(agent);
  EXPECT_TRUE(told.ends_with("user_message:count;assistant_message:answer 2;")) << told;
}

TEST(TurnChannel, WhatAModelSaysAfterItsTurnIsOverIsNobodys) {
  TurnChannel channel("run-1");
  channel.begin_reply({"message-1", "step-1", WallTime{1}, {}});
  channel.add_delta({ModelDelta::Kind::text, "in time", 0, "", ""});
  channel.finish({}, {});
  channel.add_delta({ModelDelta::Kind::text, "too late", 0, "", ""});
  ASSERT_TRUE(channel.live().has_value());
  EXPECT_EQ(1U, channel.live()->deltas.size());
}

}  // namespace
}  // namespace varve
