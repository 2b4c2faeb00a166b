// Forks through the routes of a simulated server: what an agent was at a cut, as a new agent; killed in the
// middle and resumed with the key; unseen before it is whole; its history begins with where it came from.
#include "api/agent_fork.h"

#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::SimServer;

class Fork : public SimServer {
 public:
  static std::string path(const std::string& agent) { return "/v1/varve/agents/" + agent + "/fork"; }
  static std::string as_of(const std::string& cut, const std::string& name = "") {
    JsonWriter out;
    out.begin_object().field("as_of", cut);
    if (!name.empty()) out.field("name", name);
    out.end_object();
    return out.take();
  }
  static HeaderList key(const std::string& text) { return {{"idempotency-key", text}}; }
  // The cut of everything that is in the log now.
  std::string now() {
    run_for(1000);
    std::vector<LogPosition> ends;
    for (std::uint32_t i = 0; i < world_->options().partitions; ++i) {
      const auto& of_partition = world_->log().records(Partition{i});
      if (!of_partition.empty()) merge_position(ends, {Partition{i}, of_partition.back().offset});
    }
    return to_string(Cut{ends});
  }
  Response talk(const std::string& agent, const std::string& words) {
    return call("POST", "/v1/agents/" + agent + "/messages", say(words));
  }
  std::string forked(const std::string& agent, const std::string& cut, const std::string& name = "") {
    return text(expect(200, "POST", path(agent), as_of(cut, name)), "id");
  }
  std::string block_of(const std::string& agent, const std::string& label) {
    return text(expect(200, "GET", "/v1/agents/" + agent + "/core-memory/blocks/" + label), "value");
  }
  // What the model would be asked, without what differs between two agents that know the same.
  std::string prompt(const std::string& agent) {
    const Json asked =
        expect(200, "POST", "/v1/agents/" + agent + "/messages/preview-raw-payload", say("and now?"));
    const Json* messages = asked.find("messages");
    return messages != nullptr ? messages->dump() : asked.dump();
  }
  // The types of a stream's events, in order.
  std::vector<Event> events_of(const std::string& stream) const {
    std::vector<Event> events;
    const Partition partition = partition_of(StreamId{stream}, world_->options().partitions);
    for (const LogRecord& record : world_->log().records(partition)) {
      const auto read = decode_record(*record.bytes);
      const auto* commit = std::get_if<Commit>(&*read);
      for (const Part& part : commit != nullptr ? commit->parts : std::vector<Part>{}) {
        if (part.stream.value() != stream) continue;
        for (const StoredEvent& event : part.events) events.push_back(std::get<Event>(event));
      }
    }
    return events;
  }
};

TEST_F(Fork, IsTheAgentAsItWasAtTheCut) {
  const std::string ann = create_agent(
      R"({"name":"ann","system":"Be kind.","tags":["red"],"metadata":{"m":1},)"
      R"("memory_blocks":[{"label":"human","value":"Ann"},{"label":"persona","value":"calm"}]})");
  talk(ann, "one");
  talk(ann, "two");
  const std::string cut = now();
  const std::string prompt_then = prompt(ann);
  talk(ann, "three");
  expect(200, "PATCH", "/v1/agents/" + ann, R"({"name":"eve","system":"Be rude.","tags":["blue"]})");
  expect(200, "PATCH", "/v1/agents/" + ann + "/core-memory/blocks/human", R"({"value":"Eve"})");
  const std::string history_now = history(ann);

  const Response response = call("POST", path(ann), as_of(cut));
  ASSERT_EQ(200, response.status) << response.body;
  EXPECT_EQ(cut, response.header("varve-as-of"));
  const auto json = Json::parse(response.body);
  EXPECT_EQ("ann_fork", text(*json, "name"));
  EXPECT_EQ(ann, text(*json->find("forked_from"), "agent_id"));
  EXPECT_EQ(cut, text(*json->find("forked_from"), "as_of"));
  const std::string fork = text(*json, "id");

  const SimServer::HeaderList browser{{"User-Agent", "curl/8"}};
  const Json agent = expect(200, "GET", "/v1/agents/" + fork, "", browser);
  EXPECT_EQ("ann_fork", text(agent, "name"));
  EXPECT_EQ("Be kind.", text(agent, "system"));
  EXPECT_EQ(R"(["red"])", agent.find("tags")->dump());
  EXPECT_EQ(R"({"m":1})", agent.find("metadata")->dump());
  EXPECT_EQ(
      "user_message:one;assistant_message:You said: one;user_message:two;assistant_message:You said: two;",
      history(fork));
  EXPECT_EQ("Ann", block_of(fork, "human"));
  EXPECT_EQ("calm", block_of(fork, "persona"));
  EXPECT_EQ(prompt_then, prompt(fork)) << "the model is asked the same";

  // Each goes its own way.
  expect(200, "PATCH", "/v1/agents/" + fork + "/core-memory/blocks/human", R"({"value":"Ann of the fork"})");
  talk(fork, "four");
  EXPECT_EQ("Eve", block_of(ann, "human"));
  EXPECT_EQ(history_now, history(ann));
  const auto events = events_of(fork);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ((Event{AgentForked{StreamId{ann}, cut}}), events.front());
}

TEST_F(Fork, ATimeAndAPositionMeanACut) {
  const std::string ann = create_agent();
  const Response first = talk(ann, "one");
  const std::string position = first.header("varve-position").value_or("");
  run_for(5000);
  talk(ann, "two");
  run_for(1000);
  const std::string one = "user_message:one;assistant_message:You said: one;";
  EXPECT_EQ(one, history(forked(ann, position)));
  const std::string late = "2999-01-01T00:00:00Z";
  EXPECT_EQ(one + "user_message:two;assistant_message:You said: two;", history(forked(ann, late)));
  expect(404, "POST", path(ann), as_of("1970-01-02"));
}

TEST_F(Fork, WhatHasLeftTheContextIsHistoryAndASummaryStandsForIt) {
  start(R"({"summarizes":true,"replies":[{"match":"one","text":"Yes."}]})");
  const std::string ann = create_agent();
  for (const char* words : {"one", "two", "three", "four"}) talk(ann, words + std::string(2000, '.'));
  expect(200, "POST", "/v1/agents/" + ann + "/summarize", "{}");
  talk(ann, "five");
  const std::string cut = now();
  const Json then = expect(200, "GET", "/v1/agents/" + ann);
  const std::string prompt_then = prompt(ann);
  const std::string fork = forked(ann, cut);
  const Json agent = expect(200, "GET", "/v1/agents/" + fork);
  // The system message, the summary, and then some that are older than it.
  EXPECT_LT(4U, then.find("message_ids")->items().size());
  EXPECT_GT(10U, then.find("message_ids")->items().size());
  EXPECT_EQ(then.find("message_ids")->items().size(), agent.find("message_ids")->items().size());
  EXPECT_EQ(history(ann), history(fork));
  EXPECT_EQ(prompt_then, prompt(fork));
}

TEST_F(Fork, ADeletedAgentComesBack) {
  const std::string ann = create_agent();
  talk(ann, "one");
  const std::string cut = now();
  const Json block = expect(200, "GET", "/v1/agents/" + ann + "/core-memory/blocks/human");
  expect(200, "DELETE", "/v1/agents/" + ann);
  expect(200, "DELETE", "/v1/blocks/" + text(block, "id"));
  expect(404, "POST", path(ann), as_of(now()));
  const std::string fork = forked(ann, cut, "ann again");
  EXPECT_EQ("ann again", text(expect(200, "GET", "/v1/agents/" + fork), "name"));
  EXPECT_EQ("Ann", block_of(fork, "human"));
  EXPECT_EQ("user_message:one;assistant_message:You said: one;", history(fork));
}

TEST_F(Fork, WhatCannotBeForkedIsRefusedAndChangesNothing) {
  const std::string ann = create_agent();
  const std::string cut = now();
  const std::size_t before = records();
  expect(422, "POST", path(ann), "{}");
  expect(422, "POST", path(ann), R"({"as_of":7})");
  expect(422, "POST", path(ann), as_of("yesterday"));
  expect(422, "POST", path(ann), as_of("9:1,10:1"));
  expect(422, "POST", path(ann), as_of(cut, "a/b"));
  expect(422, "POST", path("agent-1"), as_of(cut));
  expect(404, "POST", path("agent-123e4567-e89b-42d3-8456-426614174000"), as_of(cut));
  expect(404, "POST", path(ann), as_of("0:99999"));
  expect(405, "GET", path(ann));
  EXPECT_EQ(before, records());
  // Two blocks of one label: a new agent cannot have both.
  const Json mine = expect(200, "POST", "/v1/blocks/", R"({"label":"notes","value":"n"})");
  expect(200, "PATCH", "/v1/agents/" + ann + "/core-memory/blocks/attach/" + text(mine, "id"));
  expect(200, "PATCH", "/v1/blocks/" + text(mine, "id"), R"({"label":"human"})");
  const std::size_t then = records();
  const Json refused = expect(409, "POST", path(ann), as_of(now()));
  EXPECT_NE(std::string::npos, text(refused, "detail").find("labelled 'human'")) << refused.dump();
  EXPECT_EQ(then, records());
}

TEST_F(Fork, GoesOnWithItsKeyWhereverItWasCut) {
  std::set<std::string> ids;
  for (std::size_t cut_after = 1; cut_after <= 4; ++cut_after) {
    SCOPED_TRACE("killed after " + std::to_string(cut_after) + " records");
    start("{}", cut_after);
    const std::string ann = create_agent();
    // Enough for several records.
    const std::string words(400'000, 'x');
    for (int i = 0; i < 3; ++i) talk(ann, words + std::to_string(i));
    const std::string whole = history(ann);
    const std::string cut = now();
    const std::size_t before = records();
    const auto pending = begin("POST", path(ann), as_of(cut), key("k1"));
    while (records() < before + cut_after && !pending->has_value() && step()) {
    }
    ASSERT_FALSE(pending->has_value());
    restart();
    // Nobody goes on with it: it is not seen, nor are its blocks.
    EXPECT_EQ(1U, expect(200, "GET", "/v1/agents/").items().size());
    EXPECT_EQ(1U, expect(200, "GET", "/v1/blocks/").items().size());
    const Json done = expect(200, "POST", path(ann), as_of(cut), key("k1"));
    const std::string fork = text(done, "id");
    EXPECT_EQ(whole, history(fork));
    EXPECT_EQ(2U, expect(200, "GET", "/v1/agents/").items().size());
    EXPECT_EQ(2U, expect(200, "GET", "/v1/blocks/").items().size());
    const std::size_t after = records();
    EXPECT_EQ(fork, text(expect(200, "POST", path(ann), as_of(cut), key("k1")), "id"));
    EXPECT_EQ(after, records()) << "once more changes nothing";
    expect(409, "POST", path(ann), as_of(cut, "another"), key("k1"));
    EXPECT_NE(fork, text(expect(200, "POST", path(ann), as_of(cut), key("k2")), "id"));
  }
}

}  // namespace
}  // namespace varve
