// What actors keep of a teleport: in snapshots, in commands that travel between nodes, and when they leave.
#include <gtest/gtest.h>

#include "actors/agent_teleport.h"
#include "actors/state_codec.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

EventTeleported carried(const Event& event, std::int64_t at) {
  JsonWriter out;
  write_event(out, event);
  EventTeleported made = test::sample_teleported();
  made.at = WallTime{at};
  made.type = std::string(type_of(event));
  made.version = version_of(event);
  made.data = Json::parse(out.text())->find("data")->dump();
  EXPECT_TRUE(read_inner(made));
  return made;
}

ActorState carried_agent() {
  ActorState state;
  state.stream = StreamId{"agent-1"};
  apply_carried(state, carried(AgentCreated{test::sample_settings(), {}, {}}, 7));
  apply_carried(state, carried(BlockAttached{{StreamId{"block-1"}, "human"}}, 8));
  return state;
}

TEST(TeleportState, ASnapshotKeepsIt) {
  ActorState state = carried_agent();
  EXPECT_EQ(WallTime{7}, state.created_at) << "of the source";
  EXPECT_EQ("agent-0", state.teleport->origin.value());
  EXPECT_EQ(WallTime{7}, state.teleport->updated_at) << "an attachment is no update";
  const auto read = decode_state(encode_state(state));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(state, *read);
  EXPECT_FALSE(read->exists());
  state.gone = "moved:http://there";
  state.teleport->sealed = true;
  EXPECT_EQ(state, *decode_state(encode_state(state)));
}

TEST(TeleportState, ACommandIsReadAsItWasWritten) {
  const AppendTeleport append{Sequence{3}, "00", {carried(AgentDeleted{}, 7), test::sample_teleported()}};
  for (const Command& command :
       {Command{append}, Command{AppendTeleport{}}, Command{SealTeleport{7, "ab"}},
        Command{MoveAgent{"http://there", 9}}, Command{TakeTool{test::sample_tool()}}}) {
    const CommandEnvelope envelope{{command_id_from_text("b"), {}, false}, StreamId{"agent-1"}, command};
    const auto decoded = decode_command(encode_command(envelope));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(command, decoded->command);
  }
}

TEST(TeleportState, AnAgentLeavesOnlyAsItWasCarried) {
  ActorState state;
  const StreamId agent{"agent-1"};
  const auto send = [&](const Command& command) {
    const Facts facts{agent, command_id_from_text("x"), WallTime{9}, 4, {}, WallTime{9}};
    auto decision = decide(state, command, facts);
    if (!decision || decision->events.empty()) return decision;
    Commit commit;
    commit.at = facts.now;
    commit.command.id = facts.command;
    Part part{agent, next(state.sequence), {}};
    for (const Event& event : decision->events) part.events.emplace_back(event);
    commit.parts.push_back(part);
    apply_part(state, commit, part, Offset{1}, true);
    return decision;
  };
  CreateAgent create;
  create.settings = test::sample_settings();
  EXPECT_EQ(Errc::not_found, send(MoveAgent{"http://there", 0}).error().code);
  ASSERT_TRUE(send(create));
  EXPECT_EQ(Errc::conflict, send(MoveAgent{"http://there", 2}).error().code);
  ASSERT_TRUE(send(SendMessages{{test::sample_message("", Role::user, "hi")}, 5, "{}"}));
  const std::string run = state.agent()->turn->run_id;
  EXPECT_EQ(Errc::conflict, send(MoveAgent{"http://there", state.sequence.value()}).error().code)
      << "while it works";
  ASSERT_TRUE(send(CancelTurn{}));
  const std::uint64_t events = state.sequence.value();
  ASSERT_TRUE(send(MoveAgent{"http://there", events}));
  EXPECT_EQ("moved:http://there", state.gone);
  EXPECT_TRUE(send(MoveAgent{"http://there", events})->events.empty());
  const auto elsewhere = send(MoveAgent{"http://elsewhere", events});
  ASSERT_FALSE(elsewhere);
  EXPECT_EQ("GONE moved:http://there", elsewhere.error().message);
  for (const Command& command : {Command{DeleteAgent{}}, Command{UpdateAgent{}}, Command{ResetMessages{}},
                                 Command{FollowTurn{run}}, Command{SendMessages{}}}) {
    const auto refused = send(command);
    ASSERT_FALSE(refused);
    EXPECT_EQ(Errc::not_found, refused.error().code);
    EXPECT_EQ("GONE moved:http://there", refused.error().message);
  }
}

}  // namespace
}  // namespace varve
