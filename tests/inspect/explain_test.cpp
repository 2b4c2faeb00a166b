// Explain names the events that made each field of a row what it is, with their causes.
#include "inspect/explain.h"

#include "tests/inspect/inspect_log.h"

namespace varve::test {
namespace {

const std::string kAgent = stream_in("agent", 0);
const std::string kBlock = stream_in("block", 1);  // Not the agent's partition.

class ExplainTest : public InspectLog {
 public:
  Result<Explanation> ask(const std::string& row, const std::string& field = "") {
    auto name = parse_row_name(row, field);
    if (!name) return name.error();
    return run(env_, explain(log_, std::move(*name)));
  }
  // "BlockCreated 1:1 null>\"Ann\"; BlockUpdated .."
  std::string chain(const std::string& row, const std::string& field) {
    const auto explained = ask(row, field);
    if (!explained) return explained.error().message;
    std::string all;
    for (const ExplainedField& one : explained->fields) {
      EXPECT_EQ(field, one.name);
      for (const FieldChange& change : one.chain) {
        const Touch& touch = explained->touches[change.touch];
        all += (all.empty() ? "" : "; ") + touch.type + " " + to_string(touch.position) + " " +
               change.before.value_or("") + ">" + change.after.value_or("");
      }
    }
    return all;
  }
  static std::string fields(const Explanation& explanation) {
    std::string all;
    for (const ExplainedField& field : explanation.fields) {
      all += field.name + std::to_string(field.chain.size()) + " ";
    }
    return all;
  }
};

TEST_F(ExplainTest, AFieldHasAChainOfTheEventsThatChangedIt) {
  create_block(kBlock, "human", "Ann");
  update_block(kBlock, "human", "Ann");
  update_block(kBlock, "human", "Anna");
  EXPECT_EQ(R"(BlockCreated 1:1 >"Ann"; BlockUpdated 1:3 "Ann">"Anna")", chain(kBlock, "value"));
  EXPECT_EQ(R"(BlockCreated 1:1 >"human")", chain(kBlock, "label"));
  EXPECT_EQ("read_only", ask(kBlock + ".read_only")->fields.front().name);
}

TEST_F(ExplainTest, WithoutAFieldAllAreThereAndADeletedRowIsExplained) {
  create_block(kBlock, "human", "Ann");
  update_block(kBlock, "human", "Anna");
  const auto explained = ask(kBlock);
  ASSERT_TRUE(explained.has_value());
  EXPECT_TRUE(explained->is_there);
  EXPECT_EQ(
      "id1 label1 value2 limit1 description1 read_only1 tags1 metadata1 extra1 created_at2 updated_at2 ",
      fields(*explained));
  EXPECT_EQ(2U, explained->touches.size());
  commit(kBlock, {BlockDeleted{}});
  const auto gone = ask(kBlock, "value");
  ASSERT_TRUE(gone.has_value());
  EXPECT_FALSE(gone->is_there);
  EXPECT_EQ(R"(BlockCreated 1:1 >"Ann"; BlockUpdated 1:2 "Ann">"Anna"; BlockDeleted 1:3 "Anna">)",
            chain(kBlock, "value"));
}

TEST_F(ExplainTest, TheCauseOfAnEditIsFoundInAnotherPartition) {
  create_agent(kAgent, "ann", {{StreamId{kBlock}, "human"}});
  create_block(kBlock, "human", "Ann");
  const LogPosition opened = says(kAgent, "run-1", "I am Anna", "request-1");
  const auto turn =
      std::get<Commit>(*decode_record(*storage_->records(Partition{0}).back().bytes)).command.id;
  Message reply = sample_message("message-2", Role::assistant, "");
  reply.step_id = "step-1";
  reply.tool_calls = {{"call-1", "memory_replace", "{}"}};
  const LogPosition called = commit(kAgent, {AssistantReplied{"run-1", reply, {}, "m", "h", {}}});
  const CommandId edit = command_id_from_text(tool_intent(turn, "step-1", 0));
  update_block(kBlock, "human", "Anna", edit);
  const auto explained = ask(kBlock, "value");
  ASSERT_TRUE(explained.has_value());
  const Touch& touch = explained->touches.back();
  EXPECT_EQ(edit, touch.command);
  EXPECT_EQ(Cause::Kind::tool_call, touch.cause.kind);
  EXPECT_EQ(called, touch.cause.called_at);
  EXPECT_EQ(opened, touch.cause.opened_at);
  EXPECT_EQ(to_hex(turn), touch.cause.opened_by);
  EXPECT_EQ("request-1", touch.cause.request_id);
  const std::string text = explanation_text(*explained);
  EXPECT_NE(std::string::npos,
            text.find("cause   tool call memory_replace (call-1) in message-2 at " + to_string(called)))
      << text;
  EXPECT_NE(std::string::npos, text.find("- \"Ann\"\n       + \"Anna\"\n")) << text;
}

// An approval lets a call run in a turn of its own: the edit's id is made of that one.
TEST_F(ExplainTest, ACallThatWaitedForAnApprovalIsFoundToo) {
  create_agent(kAgent, "ann", {{StreamId{kBlock}, "human"}});
  create_block(kBlock, "human", "Ann");
  says(kAgent, "run-1", "I am Anna");
  Message reply = sample_message("message-2", Role::assistant, "");
  reply.step_id = "step-1";
  reply.tool_calls = {{"call-1", "memory_replace", "{}"}};
  const LogPosition called = commit(kAgent, {AssistantReplied{"run-1", reply, {}, "m", "h", {}}});
  const LogPosition approved = says(kAgent, "run-2", "yes");
  const auto turn =
      std::get<Commit>(*decode_record(*storage_->records(Partition{0}).back().bytes)).command.id;
  update_block(kBlock, "human", "Anna", command_id_from_text(tool_intent(turn, "step-1", 0)));
  const auto explained = ask(kBlock, "value");
  ASSERT_TRUE(explained.has_value());
  const Cause& cause = explained->touches.back().cause;
  EXPECT_EQ(Cause::Kind::tool_call, cause.kind);
  EXPECT_EQ(called, cause.called_at);
  EXPECT_EQ(approved, cause.opened_at);
  EXPECT_EQ("run-2", cause.run_id);
}

TEST_F(ExplainTest, AMessageTellsWhenItEnteredAndLeftTheContext) {
  create_agent(kAgent, "ann");
  says(kAgent, "run-1", "hi");
  commit(kAgent, {ContextTrimmed{{"message-run-1"}}});
  EXPECT_EQ("UserMessageReceived 0:2 >true; ContextTrimmed 0:3 true>false",
            chain("message-run-1", "in_context"));
  EXPECT_EQ(R"(UserMessageReceived 0:2 >"\"hi\"")", chain("message-run-1", "content"));
  EXPECT_TRUE(ask("message-run-1")->is_there);
}

TEST_F(ExplainTest, AnAgentTellsWhichBlocksCameAndWent) {
  create_agent(kAgent, "ann", {{StreamId{kBlock}, "human"}});
  commit(kAgent, {BlockDetached{StreamId{kBlock}}});
  EXPECT_EQ("AgentCreated 0:1 >\"human " + kBlock + "\"; BlockDetached 0:2 \"human " + kBlock + "\">",
            chain(kAgent, "blocks"));
}

TEST_F(ExplainTest, WhatWaitedForARulingIsExplainedByIt) {
  create_block(kBlock, "human", "Ann");
  const LogPosition bad = poison(kBlock);
  update_block(kBlock, "human", "Anna");
  EXPECT_EQ(R"(BlockCreated 1:1 >"Ann")", chain(kBlock, "value"));
  EXPECT_EQ(2U, ask(kBlock)->remarks.size());
  land(1, next_ruling(1, kBlock, bad.offset));
  EXPECT_EQ(R"(BlockCreated 1:1 >"Ann"; Ruling 1:4 "Ann">"Anna")", chain(kBlock, "value"));
}

TEST_F(ExplainTest, WhatCannotBeDecodedIsRemarkedOn) {
  create_block(kBlock, "human", "Ann");
  land_bytes(1, R"({"v":9,"kind":"commit"})");
  const auto explained = ask(kBlock);
  ASSERT_TRUE(explained.has_value());
  ASSERT_EQ(1U, explained->remarks.size());
  EXPECT_EQ("1:2: ", explained->remarks.front().substr(0, 5));
}

TEST_F(ExplainTest, RefusesWhatIsNoRowAndNoField) {
  create_block(kBlock, "human", "Ann");
  EXPECT_NE(std::string::npos,
            chain("human", "").find("'human' is no id of a row: message-<uuid>, block-<uuid>"));
  EXPECT_NE(std::string::npos, chain("block-", "").find("is no id of a row"));
  EXPECT_NE(std::string::npos,
            chain(kBlock, "content").find("'content' is no field of blocks, which have id, label, value"));
  EXPECT_EQ("no event that counts has made block-nowhere", chain("block-nowhere", ""));
}

TEST_F(ExplainTest, AsJsonItHasStableNames) {
  create_block(kBlock, "human", "Ann");
  const auto json = Json::parse(explanation_json(*ask(kBlock, "value")));
  ASSERT_TRUE(json.has_value());
  std::string names;
  for (const auto& [name, value] : json->members()) names += name + " ";
  EXPECT_EQ("row view exists events fields remarks ", names);
  EXPECT_EQ(R"({"value":[{"position":"1:1","after":"Ann"}]})", json->find("fields")->dump());
  names.clear();
  for (const auto& [name, value] : json->find("events")->items().front().members()) names += name + " ";
  EXPECT_EQ("position at type stream sequence command cause ", names);
}

}  // namespace
}  // namespace varve::test
