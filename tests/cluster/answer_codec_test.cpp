// What nodes say to each other comes back as it was.
#include "cluster/answer_codec.h"

#include <gtest/gtest.h>

#include "cluster/messages.h"

namespace varve {
namespace {

CommandAnswer full_answer() {
  CommandAnswer answer;
  answer.stream = StreamId{"agent-123e4567-e89b-42d3-8456-426614174000"};
  answer.positions = {{Partition{1}, Offset{88}}, {Partition{3}, Offset{1042}}};
  answer.replayed = true;
  answer.first = Sequence{7};
  Commit commit;
  commit.epoch = Epoch{3};
  commit.n = Index{9};
  commit.node = "node-a";
  commit.at = WallTime{1'767'225'600'000'000};
  commit.command = {command_id_from_text("one"), CommandHash{42}, true};
  commit.parts.push_back({answer.stream, Sequence{7}, {Event{TurnResumed{"run-1", 2}}}});
  answer.commit = std::make_shared<const Commit>(std::move(commit));
  answer.offset = Offset{88};
  BlockValue value;
  value.label = "human";
  value.value = "Ann \xE2\x82\xAC";
  answer.block = BlockFact{StreamId{"block-1"}, Sequence{4}, true, value};
  Message said;
  said.id = "message-1";
  said.role = Role::assistant;
  said.content = "\"hi\"";
  answer.turn =
      TurnResult{"run-1", {{said, WallTime{5}}}, "end_turn", Usage{1, 2, 3}, "llm_error", "too much"};
  ToolValue tool;
  tool.id = "tool-1";
  tool.name = "roll";
  answer.tools = {tool};
  answer.summary = SummaryResult{"short", 9, 2};
  answer.payload = R"({"messages":[]})";
  return answer;
}

std::string text_of(const CommandAnswer& answer) {
  JsonWriter out;
  write_answer(out, answer);
  return out.take();
}

std::string again(const NodeRequest& request) {
  const auto decoded = decode_request(encode_request(request));
  return decoded ? encode_request(*decoded) : "not decoded: " + decoded.error().message;
}

TEST(AnswerCodec, AnAnswerComesBackWhole) {
  const CommandAnswer answer = full_answer();
  const auto json = Json::parse(text_of(answer));
  ASSERT_TRUE(json.has_value());
  const auto read = read_answer(*json);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(answer.stream, read->stream);
  EXPECT_EQ(answer.positions, read->positions);
  EXPECT_TRUE(read->replayed);
  EXPECT_EQ(answer.first, read->first);
  EXPECT_EQ(*answer.commit, *read->commit);
  EXPECT_EQ(answer.offset, read->offset);
  EXPECT_EQ(answer.block->block, read->block->block);
  EXPECT_EQ(answer.block->sequence, read->block->sequence);
  EXPECT_TRUE(read->block->exists);
  EXPECT_EQ(answer.block->value, read->block->value);
  EXPECT_EQ(answer.turn->messages.at(0).message, read->turn->messages.at(0).message);
  EXPECT_EQ(answer.turn->messages.at(0).at, read->turn->messages.at(0).at);
  EXPECT_EQ(answer.turn->stop_reason, read->turn->stop_reason);
  EXPECT_EQ(answer.turn->usage, read->turn->usage);
  EXPECT_EQ(answer.turn->error_type, read->turn->error_type);
  EXPECT_EQ(answer.turn->error_message, read->turn->error_message);
  EXPECT_EQ(answer.tools, read->tools);
  EXPECT_EQ("short", read->summary->text);
  EXPECT_EQ(9, read->summary->messages_before);
  EXPECT_EQ(2, read->summary->messages_after);
  EXPECT_EQ(answer.payload, read->payload);
  // Every field of the text, too.
  EXPECT_EQ(text_of(answer), text_of(*read));
}

TEST(AnswerCodec, AnEmptyAnswerStaysEmpty) {
  const auto json = Json::parse(text_of(CommandAnswer{}));
  ASSERT_TRUE(json.has_value());
  const auto read = read_answer(*json);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(nullptr, read->commit);
  EXPECT_FALSE(read->block || read->turn || read->summary || read->replayed);
  EXPECT_TRUE(read->tools.empty() && read->positions.empty() && read->payload.empty());
}

TEST(AnswerCodec, EveryErrorKeepsItsCode) {
  for (const Errc code : {Errc::invalid_argument, Errc::not_found, Errc::conflict, Errc::unavailable,
                          Errc::outcome_unknown, Errc::corrupt, Errc::resource_exhausted, Errc::cancelled}) {
    const auto reply = decode_reply(encode_reply(NodeReply{Error{code, "because \"of\" this"}}));
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ((Error{code, "because \"of\" this"}), std::get<Error>(*reply));
  }
}

TEST(AnswerCodec, AHintComesBackWithAndWithoutAnOwner) {
  const NodeReply with = NotOwner{"moved", Owner{Epoch{8}, "node-b", "http://b"}};
  const auto read = decode_reply(encode_reply(with));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ((Owner{Epoch{8}, "node-b", "http://b"}), *std::get<NotOwner>(*read).owner);
  const auto without = decode_reply(encode_reply(NodeReply{NotOwner{"who knows", std::nullopt}}));
  ASSERT_TRUE(without.has_value());
  EXPECT_EQ("who knows", std::get<NotOwner>(*without).why);
  EXPECT_FALSE(std::get<NotOwner>(*without).owner);
}

TEST(AnswerCodec, RequestsComeBack) {
  ForwardedCommand command;
  command.sender = "node-a";
  command.call = 12;
  command.attempt = 3;
  command.oldest = 9;
  command.epoch = Epoch{4};
  command.left = std::chrono::milliseconds{2500};
  command.turn = CallLimits::Turn::opened;
  command.envelope = {{command_id_from_text("x"), CommandHash{1}, true},
                      StreamId{"agent-1"},
                      SendMessages{{}, 7, R"({"a":1})"}};
  const auto read = decode_request(encode_request(NodeRequest{command}));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  const auto& got = std::get<ForwardedCommand>(*read);
  EXPECT_EQ(command.envelope, got.envelope);
  EXPECT_EQ(command.left, got.left);
  EXPECT_EQ(CallLimits::Turn::opened, got.turn);
  EXPECT_EQ(encode_request(NodeRequest{command}), again(NodeRequest{command}));
  EXPECT_EQ(R"({"ask":"run","agent":"agent-1","run_id":"run-1","messages":2,"reply":"message-9","pieces":5,)"
            R"("wait_us":2000000})",
            again(NodeRequest{
                FollowedRun{StreamId{"agent-1"}, "run-1", 2, "message-9", 5, std::chrono::seconds{2}}}));
  command.left = kForever;
  const auto endless = decode_request(encode_request(NodeRequest{command}));
  EXPECT_EQ(kForever, std::get<ForwardedCommand>(*endless).left);
}

TEST(AnswerCodec, NonsenseIsRefusedByName) {
  EXPECT_FALSE(decode_request("").has_value());
  EXPECT_FALSE(decode_request(R"({"ask":"money"})").has_value());
  EXPECT_FALSE(decode_request(R"({"ask":"command"})").has_value());
  EXPECT_FALSE(decode_reply(R"({})").has_value());
  EXPECT_FALSE(decode_reply(R"({"error":{"code":"odd","message":""}})").has_value());
  EXPECT_FALSE(decode_reply(R"({"answer":{"stream":"s"}})").has_value());
}

// ---- a turn that is followed ----

using Kind = ModelDelta::Kind;

TurnMessage message(const std::string& id) {
  Message said;
  said.id = id;
  said.role = Role::assistant;
  said.content = "\"" + id + "\"";
  return {said, WallTime{1}};
}

// One question and its answer, over the wire.
void poll(const TurnChannel& owner, TurnChannel& caller) {
  const auto asked = decode_request(
      encode_request(NodeRequest{followed(caller, StreamId{"agent-1"}, std::chrono::seconds{1})}));
  ASSERT_TRUE(asked.has_value());
  auto news = news_of(owner, std::get<FollowedRun>(*asked));
  if (!news) return;
  auto told = decode_reply(encode_reply(NodeReply{std::move(*news)}));
  ASSERT_TRUE(told.has_value()) << told.error().message;
  take_news(caller, std::move(std::get<RunNews>(*told)));
}

std::string live_text(const TurnChannel& channel) {
  std::string text;
  if (!channel.live()) return "nothing";
  for (const ModelDelta& delta : channel.live()->deltas) text += delta.text + "|";
  return text;
}

TEST(FollowedTurn, PiecesMessagesAndTheEndArriveOnce) {
  TurnChannel owner("run-1");
  TurnChannel caller("run-1");
  EXPECT_FALSE(news_of(owner, followed(caller, StreamId{"a"}, Duration{})).has_value());
  owner.begin_reply({"m1", "step-1", WallTime{1}, {}});
  owner.add_delta({Kind::text, "He", 0, "", ""});
  poll(owner, caller);
  EXPECT_EQ("He|", live_text(caller));
  EXPECT_FALSE(news_of(owner, followed(caller, StreamId{"a"}, Duration{})).has_value());
  owner.add_delta({Kind::text, "ll", 0, "", ""});
  owner.add_delta({Kind::tool_call, "o", 2, "call-1", "roll"});
  poll(owner, caller);
  EXPECT_EQ("He|ll|o|", live_text(caller));
  EXPECT_EQ("roll", caller.live()->deltas.back().call_name);
  EXPECT_EQ(2U, caller.live()->deltas.back().call);
  // The last piece and the message come together.
  owner.add_delta({Kind::text, "!", 0, "", ""});
  owner.publish(message("m1"));
  poll(owner, caller);
  ASSERT_EQ(1U, caller.messages().size());
  EXPECT_EQ("nothing", live_text(caller));
  ASSERT_TRUE(caller.last_reply().has_value());
  EXPECT_EQ(4U, caller.last_reply()->deltas.size());
  owner.publish(message("m2"));
  owner.begin_reply({"m3", "step-3", WallTime{1}, {}});
  owner.add_delta({Kind::reasoning, "hm", 0, "", ""});
  poll(owner, caller);
  EXPECT_EQ(2U, caller.messages().size());
  EXPECT_EQ("hm|", live_text(caller));
  owner.publish(message("m3"));
  TurnResult result;
  result.run_id = "run-1";
  result.stop_reason = "end_turn";
  owner.finish(result, {{Partition{2}, Offset{5}}});
  poll(owner, caller);
  ASSERT_TRUE(caller.finished());
  EXPECT_EQ(3U, caller.result().messages.size());
  EXPECT_EQ("end_turn", caller.result().stop_reason);
  EXPECT_EQ((std::vector<LogPosition>{{Partition{2}, Offset{5}}}), caller.positions());
}

TEST(FollowedTurn, ANewOwnerBeginsTheReplyAnew) {
  TurnChannel first("run-1");
  TurnChannel caller("run-1");
  first.publish(message("m1"));
  first.begin_reply({"m2", "step-2", WallTime{1}, {}});
  first.add_delta({Kind::text, "lost", 0, "", ""});
  poll(first, caller);
  first.abandon();
  EXPECT_TRUE(news_of(first, followed(caller, StreamId{"a"}, Duration{}))->abandoned);
  TurnChannel second("run-1");
  second.publish(message("m1"));  // What is in the context.
  second.begin_reply({"m2b", "step-2", WallTime{1}, {}});
  second.add_delta({Kind::text, "kept", 0, "", ""});
  poll(second, caller);
  EXPECT_EQ(1U, caller.messages().size());
  EXPECT_EQ("kept|", live_text(caller));
}

TEST(FollowedTurn, IllFormedPiecesOfAModelAreMended) {
  TurnChannel owner("run-1");
  TurnChannel caller("run-1");
  owner.begin_reply({"m1", "step-1", WallTime{1}, {}});
  owner.add_delta({Kind::text, std::string("a\xFF\0b", 4), 0, "", ""});
  poll(owner, caller);
  EXPECT_EQ(
      "a\xEF\xBF\xBD\xEF\xBF\xBD"
      "b|",
      live_text(caller));
}

}  // namespace
}  // namespace varve
