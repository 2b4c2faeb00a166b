// The state of an erasable stream: sealed for its snapshot and opened again it is what it was; sealed events
// and opened states meet wherever the key comes.
#include "actors/sealed_state.h"

#include <gtest/gtest.h>

#include "actors/state_codec.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

const StreamId kAnn{"agent-ann"};
const StreamId kHuman{"block-human"};

TextSeal seal_of(const StreamId& stream) {
  StreamKey key;
  key.bytes[0] = static_cast<std::uint8_t>(stream.value().size());
  return {stream, key};
}

Part part_of(const StreamId& stream, std::uint64_t first, std::vector<Event> events) {
  Part part{stream, Sequence{first}, {}};
  for (Event& event : events) part.events.emplace_back(std::move(event));
  return part;
}

// An agent's life up to the middle of a turn.
std::vector<Commit> history() {
  AgentCreated created{test::sample_settings(),
                       {{kHuman, "human"}},
                       {test::sample_message("message-0", Role::system, "SECRET system")}};
  created.erasable = true;
  Message reply = test::sample_message("message-2", Role::assistant, "SECRET reply");
  reply.tool_calls = {{"call-1", "memory_insert", R"({"new_string":"SECRET"})"}};
  reply.reasoning = "SECRET thought";
  UserMessageReceived received{"run-1",
                               {test::sample_message("message-1", Role::user, "SECRET question")},
                               50,
                               WallTime{600},
                               R"({"option":"SECRET"})"};
  std::vector<Commit> commits(3);
  commits[0].parts = {part_of(kAnn, 1, {created}),
                      part_of(kHuman, 1, {BlockCreated{test::sample_block(), true}})};
  commits[1].parts = {part_of(kAnn, 2, {received})};
  commits[2].parts = {part_of(kAnn, 3, {AssistantReplied{"run-1", reply, {100, 3, 1}, "m", "h", {}}})};
  std::int64_t at = 1;
  for (Commit& commit : commits) {
    commit.at = WallTime{at};
    commit.command = {command_id_from_text(std::to_string(at++)), CommandHash{1}, true};
  }
  return commits;
}

Commit sealed(Commit commit) {
  for (Part& part : commit.parts) seal_part(part, seal_of(part.stream), to_hex(commit.command.id));
  return commit;
}

// `sealed_up_to`: so many commits are applied sealed, then the key comes.
ActorState state_after(const StreamId& stream, std::size_t sealed_up_to) {
  ActorState state;
  state.stream = stream;
  std::uint64_t offset = 1;
  const std::vector<Commit> commits = history();
  for (std::size_t i = 0; i < commits.size(); ++i, ++offset) {
    const Commit commit = sealed(commits[i]);
    if (i == sealed_up_to) open_state(state, seal_of(stream));
    for (const Part& part : commit.parts) {
      if (part.stream != stream) continue;
      const Part taken = i < sealed_up_to ? part : opened_part(part, seal_of(stream));
      apply_part(state, commit, taken, Offset{offset}, stream == commit.parts.front().stream);
    }
  }
  if (sealed_up_to >= commits.size()) open_state(state, seal_of(stream));
  return state;
}

TEST(SealedState, IsOpenedAsItWas) {
  for (const StreamId& stream : {kAnn, kHuman}) {
    const ActorState plain = state_after(stream, 0);
    ActorState state = plain;
    seal_state(state, seal_of(stream));
    const std::string bytes = encode_state(state);
    EXPECT_EQ(std::string::npos, bytes.find("SECRET"));
    EXPECT_EQ(std::string::npos, bytes.find("Name: Ann"));
    auto decoded = decode_state(bytes);
    ASSERT_TRUE(decoded) << to_string(decoded.error());
    EXPECT_TRUE(decoded->erasable);
    open_state(*decoded, seal_of(stream));
    EXPECT_EQ(plain, *decoded) << encode_state(plain) << "\n" << encode_state(*decoded);
    open_state(*decoded, seal_of(stream));
    EXPECT_EQ(plain, *decoded) << "twice is once";
  }
}

TEST(SealedState, ItIsTheSameWheneverTheKeyComes) {
  const ActorState plain = state_after(kAnn, 0);
  EXPECT_EQ(1U, plain.born_with.size());
  EXPECT_NE(std::string::npos, encode_state(plain).find("SECRET question"));
  for (std::size_t i = 1; i <= history().size(); ++i) EXPECT_EQ(plain, state_after(kAnn, i)) << i;
  // It is this history, had it never been sealed.
  ActorState never;
  never.stream = kAnn;
  std::uint64_t offset = 1;
  for (const Commit& commit : history()) {
    apply_part(never, commit, commit.parts.front(), Offset{offset++}, true);
  }
  EXPECT_EQ(never, plain);
}

TEST(SealedState, WithoutTheRightKeyItStaysSealed) {
  ActorState state = state_after(kAnn, 0);
  seal_state(state, seal_of(kAnn));
  const ActorState before = state;
  StreamKey other;
  other.bytes[5] = 1;
  open_state(state, TextSeal{kAnn, other});
  EXPECT_EQ(encode_state(before), encode_state(state));
}

TEST(SealedState, TheBeginningAndTheEndAreSeenInTheEvents) {
  EXPECT_TRUE(begins_erasable(history().front().parts[0]));
  EXPECT_TRUE(begins_erasable(history().front().parts[1]));
  EXPECT_FALSE(begins_erasable(history()[1].parts[0]));
  EXPECT_EQ(nullptr, erasure_in(history()[1].parts[0]));
  const Part erased =
      part_of(kAnn, 4, {TurnCancelled{"run-1", {}, WallTime{1}, "{}"}, AgentErased{false, {kHuman}}});
  ASSERT_NE(nullptr, erasure_in(erased));
  EXPECT_EQ(std::vector<StreamId>{kHuman}, erasure_in(erased)->blocks);
}

// An erased agent remembers nothing, and stays erased in its snapshot.
TEST(SealedState, AnErasedAgentIsEmpty) {
  ActorState state = state_after(kAnn, 0);
  Commit commit;
  commit.parts = {part_of(kAnn, 4, {AgentErased{false, {kHuman}}})};
  apply_part(state, commit, commit.parts.front(), Offset{9}, true);
  EXPECT_FALSE(state.exists());
  EXPECT_TRUE(state.erased());
  EXPECT_EQ(std::string::npos, encode_state(state).find("SECRET"));
  const auto decoded = decode_state(encode_state(state));
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(decoded->erased());
}

}  // namespace
}  // namespace varve
