// The id of a request is found again in every event that it led to: by whatever turn, on whatever node.
#include <set>

#include "api/access.h"
#include "cluster/messages.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::SimServer;

class Correlation : public SimServer {
 public:
  // "EventType,EventType request"
  std::set<std::string> commits() {
    std::set<std::string> lines;
    for (std::uint32_t number = 0; number < world_->options().partitions; ++number) {
      for (const auto& bytes : world_->log().records(Partition{number})) {
        const auto record = decode_record(*bytes.bytes);
        const auto* commit = record ? std::get_if<Commit>(&*record) : nullptr;
        if (commit == nullptr) continue;
        std::string line;
        for (const StoredEvent& event : commit->parts.front().events) {
          line += (line.empty() ? "" : ",") + std::string(type_of(std::get<Event>(event)));
        }
        lines.insert(line + " " + commit->command.request_id);
      }
    }
    return lines;
  }
};

constexpr const char* kOneToolCall =
    R"({"replies":[{"match":"like tea","tool_calls":[{"name":"memory_insert","arguments":)"
    R"({"label":"human","new_string":"Likes tea."}}],"then":"Noted."}]})";

TEST_F(Correlation, EveryEventOfATurnCarriesTheIdOfItsRequest) {
  start(kOneToolCall);
  const SimServer::HeaderList creating{{"X-Request-Id", "create-1"}};
  const std::string agent =
      text(expect(200, "POST", "/v1/agents/",
                  R"({"name":"ann","memory_blocks":[{"label":"human","value":"Ann"}]})", creating),
           "id");
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("I like tea"), {{"x-request-id", "talk:2"}});
  run_for(1000);
  const std::set<std::string> found = commits();
  EXPECT_TRUE(found.contains("AgentCreated create-1"));
  EXPECT_TRUE(found.contains("UserMessageReceived talk:2"));
  EXPECT_TRUE(found.contains("BlockUpdated talk:2"));
  for (const std::string& line : found) {
    EXPECT_TRUE(line.ends_with(" create-1") || line.ends_with(" talk:2")) << line;
  }
}

TEST_F(Correlation, AlsoWhenTheTurnGoesOnInAnotherLife) {
  start(R"({"replies":[{"match":"slow","delay_ms":5000,"text":"At last."}]})");
  const std::string agent = create_agent();
  begin("POST", "/v1/agents/" + agent + "/messages", say("slow"), {{"x-request-id", "slow-3"}});
  run_for(1000);
  restart();
  run_for(20'000);
  const std::set<std::string> found = commits();
  EXPECT_TRUE(found.contains("UserMessageReceived slow-3"));
  EXPECT_TRUE(found.contains("TurnResumed slow-3"));
  EXPECT_TRUE(found.contains("AssistantReplied,TurnFinished slow-3"));
}

TEST_F(Correlation, WhatIsNoIdIsNotWritten) {
  const std::string longest(kRequestIdBytesMax, 'x');
  for (const std::string& id : {std::string{}, std::string{"a b"}, std::string{"\xc3\xa9"}, longest + "x"}) {
    expect(200, "POST", "/v1/blocks/", R"({"label":"a","value":"b"})", {{"x-request-id", id}});
  }
  expect(200, "POST", "/v1/blocks/", R"({"label":"a","value":"b"})", {{"x-request-id", longest}});
  EXPECT_EQ((std::set<std::string>{"BlockCreated ", "BlockCreated " + longest}), commits());
}

// A retry may come with another id: it is the same command all the same.
TEST_F(Correlation, DecidesNothing) {
  const auto with = [](const char* id) {
    return SimServer::HeaderList{{"x-request-id", id}, {"idempotency-key", "k"}};
  };
  const char* body = R"({"label":"a","value":"b"})";
  const std::string first = text(expect(200, "POST", "/v1/blocks/", body, with("one")), "id");
  EXPECT_EQ(first, text(expect(200, "POST", "/v1/blocks/", body, with("two")), "id"));
  EXPECT_EQ((std::set<std::string>{"BlockCreated one"}), commits());
}

TEST(CorrelationCodec, GoesToOtherNodesWithItsCommand) {
  CommandEnvelope envelope{
      {command_id_from_text("c"), CommandHash{1}, true, "id-4"}, StreamId{"block-1"}, DeleteBlock{}};
  ForwardedCommand forwarded;
  forwarded.sender = "n";
  forwarded.envelope = envelope;
  const auto read = decode_request(encode_request(NodeRequest{forwarded}));
  ASSERT_TRUE(read);
  EXPECT_EQ(envelope, std::get<ForwardedCommand>(*read).envelope);
  // A node that knows of no ids sends none.
  envelope.command_ref.request_id.clear();
  EXPECT_EQ(std::string::npos, encode_command(envelope).find("request"));
  EXPECT_EQ(envelope, *decode_command(encode_command(envelope)));
}

}  // namespace
}  // namespace varve
