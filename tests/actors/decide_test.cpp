// decide and apply: tables of commands against states, without any runtime.
#include "actors/decide.h"

#include <gtest/gtest.h>

#include "actors/state_codec.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

// One actor and the commits that a shard would make of its decisions; births get actors of their own.
class Stage : public testing::Test {
 public:
  static constexpr std::uint32_t kPartitions = 4;

  StreamId agent_id() const {
    return StreamId{"agent-" + derived_uuid(command_id_from_text("create"), "agent", 0)};
  }

  // Decides and applies. Gives the types of the events, or the error.
  std::string tell(const StreamId& stream, const Command& command, const std::string& key = "") {
    const CommandId id = command_id_from_text(key.empty() ? "auto " + std::to_string(++commands_) : key);
    Facts facts{stream, id, WallTime{1000 + commands_}, kPartitions, {}, {}};
    for (const StreamId& block : blocks_to_ask(actors_[stream], command)) facts.blocks.push_back(fact(block));
    auto decision = decide(actors_[stream], command, facts);
    if (!decision) return std::string(to_string(decision.error().code));
    Commit commit{Epoch{1}, Index{1}, "n", facts.now, {id, CommandHash{1}, true}, {}};
    std::string types;
    const auto add = [&](const StreamId& to, const std::vector<Event>& events, Sequence first) {
      Part part{to, first, {}};
      for (const Event& event : events) {
        part.events.emplace_back(event);
        types += std::string(type_of(event)) + " ";
      }
      if (!part.events.empty()) commit.parts.push_back(part);
    };
    add(stream, decision->events, next(actors_[stream].sequence));
    for (const Birth& birth : decision->births) add(birth.stream, birth.events, Sequence{1});
    for (std::size_t i = 0; i < commit.parts.size(); ++i) {
      apply_part(actors_[commit.parts[i].stream], commit, commit.parts[i], Offset{++offset_}, i == 0);
    }
    return types;
  }

  BlockFact fact(const StreamId& block) {
    const auto found = actors_.find(block);
    if (found == actors_.end() || found->second.block() == nullptr) return {block, Sequence{}, false, {}};
    return {block, found->second.sequence, found->second.exists(), found->second.block()->value};
  }

  CreateAgent creation() {
    CreateAgent create;
    create.settings = test::sample_settings();
    BlockValue human = test::sample_block();
    BlockValue persona = test::sample_block();
    persona.label = "persona";
    create.new_blocks = {human, persona};
    return create;
  }
  void create() {
    ASSERT_EQ("AgentCreated BlockCreated BlockCreated ", tell(agent_id(), creation(), "create"));
  }
  SendMessages message(const std::string& text) {
    SendMessages send;
    send.messages = {test::sample_message("", Role::user, text)};
    return send;
  }
  RecordReply reply(const std::string& text, std::vector<ToolCall> calls = {}) {
    RecordReply record;
    record.run_id = agent().turn ? agent().turn->run_id : "run-none";
    record.message = test::sample_message("", Role::assistant, text);
    if (calls.empty()) record.stop_reason = "end_turn";
    record.message.tool_calls = std::move(calls);
    record.usage = {10, 2, 1};
    return record;
  }
  RecordToolReturn returned(const std::string& call) {
    RecordToolReturn record;
    record.run_id = agent().turn->run_id;
    record.message = test::sample_message("", Role::tool, "ok");
    record.message.tool_call_id = call;
    return record;
  }
  ActorState& actor() { return actors_[agent_id()]; }
  const AgentState& agent() { return *actor().agent(); }
  std::string context() {
    std::string text;
    for (const ContextMessage& entry : agent().context)
      text += std::string(to_string(entry.message->role)) + " ";
    return text;
  }

  std::map<StreamId, ActorState> actors_;
  std::int64_t commands_ = 0;
  std::uint64_t offset_ = 0;
};

TEST_F(Stage, AnAgentIsBornWithItsBlocksInItsPartition) {
  create();
  ASSERT_EQ(2U, agent().blocks.size());
  EXPECT_EQ("human", agent().blocks[0].label);
  for (const BlockRef& ref : agent().blocks) {
    EXPECT_EQ(partition_of(agent_id(), kPartitions), partition_of(ref.block, kPartitions));
    EXPECT_TRUE(actors_[ref.block].exists());
  }
  EXPECT_EQ("system ", context());
}

TEST_F(Stage, OfTwoNewBlocksWithOneLabelTheFirstIsKept) {
  CreateAgent create = creation();
  create.new_blocks[1].label = "human";
  create.new_blocks[1].value = "second";
  EXPECT_EQ("AgentCreated BlockCreated ", tell(agent_id(), create, "create"));
  EXPECT_EQ(test::sample_block().value, actors_[agent().blocks[0].block].block()->value.value);
}

TEST_F(Stage, CommandsToNobodyAreRefused) {
  EXPECT_EQ("not_found", tell(agent_id(), UpdateAgent{"{}"}));
  EXPECT_EQ("not_found", tell(agent_id(), DeleteAgent{}));
  EXPECT_EQ("not_found", tell(agent_id(), message("hi")));
  EXPECT_EQ("not_found", tell(StreamId{"block-x"}, UpdateBlock{"{}"}));
  EXPECT_EQ("not_found", tell(StreamId{"block-x"}, DeleteBlock{}));
  EXPECT_EQ("invalid_argument", tell(StreamId{"block-x"}, DeleteAgent{}));
  EXPECT_EQ("invalid_argument", tell(agent_id(), DeleteBlock{}));
}

TEST_F(Stage, AnUpdateCarriesTheWholeNewValueAndTheTagsThatItEnds) {
  create();
  EXPECT_EQ("AgentUpdated ",
            tell(agent_id(), UpdateAgent{R"({"name":"bob","tags":["blue","gold"],"extra":{"x":1}})"}));
  EXPECT_EQ("bob", agent().settings.name);
  EXPECT_EQ((std::vector<std::string>{"blue", "gold"}), agent().settings.tags);
  EXPECT_EQ("Be kind.", agent().settings.system);
  EXPECT_EQ(R"({"hidden":true,"x":1})", agent().settings.extra);
}

TEST_F(Stage, SettingsHaveALimit) {
  create();
  UpdateAgent update{R"({"system":")" + std::string(kSettingsBytesMax, 'x') + R"("})"};
  EXPECT_EQ("invalid_argument", tell(agent_id(), update));
  EXPECT_EQ("invalid_argument", tell(agent_id(), UpdateAgent{R"({"name":5})"}));
}

TEST_F(Stage, LabelsAreUniqueWhenABlockIsAttached) {
  create();
  const StreamId notes{"block-notes"};
  BlockValue value = test::sample_block();
  value.label = "notes";
  EXPECT_EQ("BlockCreated ", tell(notes, CreateBlock{value}));
  EXPECT_EQ("BlockAttached ", tell(agent_id(), AttachBlock{notes}));
  EXPECT_EQ("", tell(agent_id(), AttachBlock{notes}));  // Already so.
  const StreamId twin{"block-twin"};
  EXPECT_EQ("BlockCreated ", tell(twin, CreateBlock{value}));
  EXPECT_EQ("conflict", tell(agent_id(), AttachBlock{twin}));
  EXPECT_EQ("not_found", tell(agent_id(), AttachBlock{StreamId{"block-nowhere"}}));
  // The present label counts, not the one at the time of attaching.
  EXPECT_EQ("BlockUpdated ", tell(notes, UpdateBlock{R"({"label":"old notes"})"}));
  EXPECT_EQ("BlockAttached ", tell(agent_id(), AttachBlock{twin}));
  EXPECT_EQ("BlockDetached ", tell(agent_id(), DetachBlock{twin}));
  EXPECT_EQ("not_found", tell(agent_id(), DetachBlock{twin}));
}

TEST_F(Stage, ALabelIsAnsweredByTheBlockThatWasAttachedFirst) {
  create();
  EXPECT_EQ("", tell(agent_id(), ResolveLabel{"human"}));
  EXPECT_EQ("not_found", tell(agent_id(), ResolveLabel{"zzz"}));
  EXPECT_EQ("BlockDeleted ", tell(agent().blocks[0].block, DeleteBlock{}));
  EXPECT_EQ("not_found", tell(agent_id(), ResolveLabel{"human"}));
  EXPECT_EQ("BlockDetached ", tell(agent_id(), DropDeletedBlock{agent().blocks[0].block}));
  EXPECT_EQ(1U, agent().blocks.size());
}

TEST_F(Stage, ABlockGrownPastItsLimitIsRefused) {
  create();
  const StreamId human = agent().blocks[0].block;
  EXPECT_EQ("invalid_argument",
            tell(human, UpdateBlock{R"({"value":")" + std::string(kBlockBytesMax + 1, 'x') + R"("})"}));
  CreateAgent large = creation();
  large.new_blocks[0].value.assign(kBlockBytesMax + 1, 'x');
  EXPECT_EQ("invalid_argument", tell(StreamId{"agent-b"}, large));
}

TEST_F(Stage, AReplyWithoutToolCallsEndsTheTurnInTheSameCommit) {
  create();
  EXPECT_EQ("UserMessageReceived ", tell(agent_id(), message("hi")));
  ASSERT_TRUE(agent().turn.has_value());
  EXPECT_TRUE(std::holds_alternative<CallModel>(next_action(agent())));
  EXPECT_EQ("AssistantReplied TurnFinished ", tell(agent_id(), reply("hello")));
  EXPECT_FALSE(agent().turn.has_value());
  EXPECT_EQ("system user assistant ", context());
}

TEST_F(Stage, AStepWithToolsRunsThemInOrderAndThinksAgain) {
  create();
  tell(agent_id(), message("hi"));
  EXPECT_EQ("AssistantReplied ", tell(agent_id(), reply("", {{"c1", "t", "{}"}, {"c2", "t", "{}"}})));
  EXPECT_EQ("c1", std::get<RunTool>(next_action(agent())).call.id);
  EXPECT_EQ("conflict", tell(agent_id(), returned("c2")));  // Not its turn.
  EXPECT_EQ("ToolReturned ", tell(agent_id(), returned("c1")));
  EXPECT_EQ("conflict", tell(agent_id(), returned("c1")));  // Recorded already.
  EXPECT_EQ("ToolReturned ", tell(agent_id(), returned("c2")));
  EXPECT_TRUE(std::holds_alternative<CallModel>(next_action(agent())));
  EXPECT_EQ("AssistantReplied TurnFinished ", tell(agent_id(), reply("done")));
}

TEST_F(Stage, TheLastStepsLastToolEndsTheTurn) {
  create();
  SendMessages one_step = message("hi");
  one_step.max_steps = 1;
  tell(agent_id(), one_step);
  tell(agent_id(), reply("", {{"c1", "t", "{}"}}));
  EXPECT_EQ("ToolReturned TurnFinished ", tell(agent_id(), returned("c1")));
  SendMessages no_step = message("ho");
  no_step.max_steps = 0;
  EXPECT_EQ("UserMessageReceived TurnFinished ", tell(agent_id(), no_step));
}

TEST_F(Stage, AFourthAttemptFailsTheTurnAndAPlannedHandOverDoesNotCount) {
  create();
  tell(agent_id(), message("hi"));
  const std::string run = agent().turn->run_id;
  EXPECT_EQ("TurnResumed ", tell(agent_id(), ResumeTurn{run}));
  EXPECT_EQ("TurnHandedOver ", tell(agent_id(), HandOverTurn{run}));
  EXPECT_EQ("TurnResumed ", tell(agent_id(), ResumeTurn{run}));
  EXPECT_EQ(1, agent().turn->attempt);
  EXPECT_EQ("TurnResumed ", tell(agent_id(), ResumeTurn{run}));
  EXPECT_EQ("TurnResumed ", tell(agent_id(), ResumeTurn{run}));
  EXPECT_EQ("TurnFailed ", tell(agent_id(), ResumeTurn{run}));
  EXPECT_EQ("conflict", tell(agent_id(), ResumeTurn{run}));
  EXPECT_EQ("system user ", context());  // The user's message is kept.
}

TEST_F(Stage, DeletingAnAgentCancelsItsTurn) {
  create();
  tell(agent_id(), message("hi"));
  const auto late = reply("too late");
  EXPECT_EQ("TurnCancelled AgentDeleted ", tell(agent_id(), DeleteAgent{}));
  EXPECT_EQ("conflict", tell(agent_id(), late));
  EXPECT_FALSE(actor().exists());
}

TEST_F(Stage, AFullContextLosesItsOldestWholeTurns) {
  create();
  const std::int64_t budget = agent().context.front().tokens + 250;  // The system message and two turns.
  tell(agent_id(), UpdateAgent{R"({"context_window":)" + std::to_string(budget) + "}"});
  const std::string text(400, 'x');  // About 100 tokens.
  tell(agent_id(), message("1" + text));
  tell(agent_id(), reply("a"));
  tell(agent_id(), message("2" + text));
  tell(agent_id(), reply("b"));
  EXPECT_EQ("system user assistant user assistant ", context());
  EXPECT_EQ("UserMessageReceived ContextTrimmed ", tell(agent_id(), message("3" + text)));
  EXPECT_EQ("system user assistant user ", context());
  // The open turn itself is never torn apart, and the system message stays.
  EXPECT_EQ("AssistantReplied ContextTrimmed TurnFinished ", tell(agent_id(), reply(std::string(4000, 'y'))));
  EXPECT_EQ("system user assistant ", context());
}

TEST_F(Stage, AJumpInTheSequencesMarksTheStreamAndNothingElse) {
  create();
  Commit commit = test::sample_commit();
  commit.parts = {{agent_id(), Sequence{9}, {Event{AgentDeleted{}}}}};
  apply_part(actor(), commit, commit.parts[0], Offset{77}, true);
  EXPECT_TRUE(actor().corrupt);
  EXPECT_EQ(Offset{77}, actor().bad_offset);
  EXPECT_EQ("ann", agent().settings.name);
}

TEST_F(Stage, RemembersTheLast256ClientCommands) {
  create();
  for (int i = 0; i < 300; ++i) tell(agent_id(), UpdateAgent{"{}"}, "key " + std::to_string(i));
  EXPECT_EQ(nullptr, actor().recent.find(command_id_from_text("key 43")));
  ASSERT_NE(nullptr, actor().recent.find(command_id_from_text("key 44")));
  EXPECT_EQ(Sequence{46}, actor().recent.find(command_id_from_text("key 44"))->first);
  EXPECT_EQ(kRecentCommandsMax, actor().recent.list().size());
  EXPECT_EQ(command_id_from_text("create"), actor().created_by.id);  // For ever.
}

// I7 in the small: a snapshot taken anywhere, plus what came after, is the state itself.
TEST_F(Stage, SnapshotsRoundTripAtEveryMoment) {
  create();
  Rng rng(5);
  std::string open_call;
  for (int i = 0; i < 400; ++i) {
    const auto restored = decode_state(encode_state(actor()));
    ASSERT_TRUE(restored.has_value()) << restored.error().message;
    ASSERT_EQ(actor(), *restored);
    actor() = *restored;  // Everything that follows stands on the snapshot.
    switch (rng.below(6)) {
      case 0:
        tell(agent_id(), UpdateAgent{R"({"tags":["t)" + std::to_string(i) + R"("],"context_window":900})"});
        break;
      case 1:
        if (!agent().turn) tell(agent_id(), message(std::string(rng.below(800), 'm')));
        break;
      case 2:
        if (agent().turn && std::holds_alternative<CallModel>(next_action(agent())))
          tell(agent_id(), reply("r"));
        break;
      case 3:
        if (agent().turn && std::holds_alternative<CallModel>(next_action(agent()))) {
          tell(agent_id(), reply("", {{"c" + std::to_string(i), "t", "{}"}}));
        }
        break;
      case 4:
        if (agent().turn) {
          const NextAction action = next_action(agent());
          if (const auto* tool = std::get_if<RunTool>(&action)) tell(agent_id(), returned(tool->call.id));
        }
        break;
      default:
        if (agent().turn) tell(agent_id(), HandOverTurn{agent().turn->run_id});
    }
  }
  EXPECT_GT(actor().sequence.value(), 100U);
}

}  // namespace
}  // namespace varve
