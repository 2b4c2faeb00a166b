// Erasable agents through the routes of a simulated server: everything works as for any other agent, nothing
// of it stands anywhere in plain, and once it is erased nobody reads it again, killed in between or not.
#include "api/agent_erase.h"

#include <algorithm>

#include "projections/search_terms.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::Pending;
using test::SimServer;

// Replies and tool calls of the model.
constexpr const char* kModel = R"({"replies":[
  {"match":"remember","tool_calls":[{"name":"memory_insert",
    "arguments":{"label":"human","new_string":"SECRETedit"}}],"then":"SECRETreply"},
  {"match":"slow","delay_ms":500,"text":"at last"},
  {"match":"broken","error":{"status":429,"type":"llm_rate_limit","message":"SECRETfailure"}}]})";

constexpr const char* kAnn =
    R"({"name":"SECRETname","description":"SECRETdescription","system":"SECRETsystem","erasable":true,)"
    R"("tags":["red"],"metadata":{"k":"SECRETmetadata"},)"
    R"("memory_blocks":[{"label":"human","value":"SECRETvalue","description":"SECRETabout"},)"
    R"({"label":"persona","value":"SECRETpersona"}]})";

class Erasable : public SimServer {
 public:
  void SetUp() override { start(kModel); }
  // The oracle that compares states with a replay of the log has no keys: what it says of erasable streams is
  // no fault. All others count.
  void TearDown() override {
    if (!world_) return;
    run_for(2000);
    oracles_->all().at_rest();
    for (const sim::Violation& violation : oracles_->all().violations()) {
      if (violation.invariant == "I7") continue;
      ADD_FAILURE() << violation.invariant << ": " << violation.what;
    }
  }

  static std::string path(const std::string& agent) { return "/v1/agents/" + agent; }
  Response talk(const std::string& agent, const std::string& words) {
    return call("POST", path(agent) + "/messages", say(words));
  }
  std::string block_id(const std::string& agent, const std::string& label) {
    return text(expect(200, "GET", path(agent) + "/core-memory/blocks/" + label), "id");
  }
  std::string value_of(const std::string& agent, const std::string& label) {
    return text(expect(200, "GET", path(agent) + "/core-memory/blocks/" + label), "value");
  }
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
  Shard& shard_of(const std::string& stream) {
    return *world_->node().shard(partition_of(StreamId{stream}, world_->options().partitions));
  }
  void take_snapshots() {
    for (std::uint32_t i = 0; i < world_->options().partitions; ++i) {
      auto done = std::make_shared<std::optional<Status>>();
      world_->client().spawn("round", keep(world_->node().shard(Partition{i})->snapshot_round(), done));
      while (!done->has_value() && step()) {
      }
      ASSERT_TRUE(done->value_or(Status{}));
    }
  }
  static Task<> keep(Task<> task, std::shared_ptr<std::optional<Status>> result) {
    *result = co_await std::move(task);
    co_return ok();
  }

  // How often a text stands in what outlives the process.
  std::size_t in_log(const std::string& what) const {
    std::size_t found = 0;
    for (std::uint32_t i = 0; i < world_->options().partitions; ++i) {
      for (const LogRecord& record : world_->log().records(Partition{i})) found += count(*record.bytes, what);
    }
    return found;
  }
  std::size_t in_views(const std::string& what) const {
    std::size_t found = 0;
    for (const MemoryTable& table : world_->views().tables) {
      for (const Row& row : table.rows()) {
        for (const Value& value : row.values) {
          if (const auto* one = std::get_if<std::string>(&value)) found += count(*one, what);
        }
      }
    }
    return found;
  }
  std::size_t in_snapshots(const std::string& what) const {
    std::size_t found = 0;
    for (const auto& [stream, row] : world_->snapshots().snapshots) found += count(row.state, what);
    return found;
  }
  static std::size_t count(const std::string& text, const std::string& what) {
    std::size_t found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  }
  bool has_key(const std::string& stream) const { return world_->keys().keys.contains(StreamId{stream}); }
};

// What is sealed is as long as what it holds, and base64: "SECRET" would be found in it by chance never.
TEST_F(Erasable, NothingOfItStandsAnywhereInPlain) {
  const std::string ann = create_agent(kAnn);
  ASSERT_EQ(200, talk(ann, "SECRETquestion, remember it").status);
  talk(ann, "broken SECRETquestion");
  expect(200, "PATCH", path(ann), R"({"name":"SECRETother"})");
  take_snapshots();
  run_for(1000);
  EXPECT_EQ(0U, in_log("SECRET"));
  EXPECT_EQ(0U, in_views("SECRET"));
  EXPECT_EQ(0U, in_snapshots("SECRET"));
  EXPECT_LT(10U, in_log("varve-sealed:1:"));
  EXPECT_LT(10U, in_views("varve-sealed:1:"));
  EXPECT_LT(5U, in_snapshots("varve-sealed:1:"));
  EXPECT_LT(0U, in_views("red")) << "tags are plain";
  // An agent beside it is what it always was.
  create_agent(R"({"name":"bob","memory_blocks":[{"label":"human","value":"SECRETbob"}]})");
  EXPECT_LT(0U, in_log("SECRETbob"));
}

TEST_F(Erasable, IsLikeAnyOtherAgentToItsClients) {
  std::string body = kAnn;
  const std::string ann = create_agent(body);
  body.replace(body.find(R"("erasable":true)"), 15, R"("erasable":false)");
  const std::string bob = create_agent(body);
  for (const std::string& agent : {ann, bob}) {
    talk(agent, "hello");
    talk(agent, "remember SECRETtea");
    talk(agent, "broken");
    expect(200, "PATCH", path(agent) + "/core-memory/blocks/persona", R"({"value":"calm"})");
  }
  const auto same_for_both = [&] {
    EXPECT_EQ(history(bob), history(ann));
    EXPECT_EQ("SECRETvalue\nSECRETedit", value_of(ann, "human"));
    EXPECT_EQ(value_of(bob, "human"), value_of(ann, "human"));
    EXPECT_EQ("calm", value_of(ann, "persona"));
    for (const char* field : {"name", "description", "system"}) {
      EXPECT_EQ(text(expect(200, "GET", path(bob)), field), text(expect(200, "GET", path(ann)), field));
    }
    EXPECT_EQ(R"({"k":"SECRETmetadata"})", expect(200, "GET", path(ann)).find("metadata")->dump());
    const std::string preview = "/messages/preview-raw-payload";
    EXPECT_EQ(expect(200, "POST", path(bob) + preview, say("and now?")).find("messages")->dump(),
              expect(200, "POST", path(ann) + preview, say("and now?")).find("messages")->dump());
  };
  same_for_both();
  restart();  // From the log alone.
  same_for_both();
  take_snapshots();
  restart();  // From snapshots.
  same_for_both();
  const Json listed = expect(200, "GET", "/v1/agents/?tags=red");
  EXPECT_EQ(2U, listed.items().size());
  for (const Json& agent : listed.items()) EXPECT_EQ("SECRETname", text(agent, "name"));
}

TEST_F(Erasable, TheSameSeedWritesTheSameBytes) {
  const auto bytes = [this] {
    start(kModel, 7);
    const std::string ann = create_agent(kAnn);
    talk(ann, "remember");
    std::string all;
    for (std::uint32_t i = 0; i < world_->options().partitions; ++i) {
      for (const LogRecord& record : world_->log().records(Partition{i})) all += *record.bytes + "\n";
    }
    return all;
  };
  EXPECT_EQ(bytes(), bytes());
}

TEST_F(Erasable, IsNotFoundByWhatItSays) {
  const std::string ann = create_agent(kAnn);
  talk(ann, "SECRETquestion about tea");
  EXPECT_EQ(0U, expect(200, "GET", "/v1/agents/?name=SECRETname").items().size());
  EXPECT_EQ(0U, expect(200, "GET", "/v1/agents/?query_text=SECRET").items().size());
  EXPECT_EQ(0U, expect(200, "POST", "/v1/messages/search", R"({"query":"tea"})").items().size());
  EXPECT_EQ(0U, expect(200, "POST", "/v1/messages/search", R"({"query":"varve sealed"})").items().size());
}

TEST_F(Erasable, AsOfReadsThePastAsItWas) {
  const std::string ann = create_agent(kAnn);
  talk(ann, "one");
  const std::string then = now();
  talk(ann, "two");
  expect(200, "PATCH", path(ann), R"({"name":"SECRETlater"})");
  EXPECT_EQ("SECRETname", text(expect(200, "GET", path(ann) + "?as_of=" + then), "name"));
  const Json listed = expect(200, "GET", path(ann) + "/messages?limit=100&as_of=" + then);
  EXPECT_EQ("one", text(listed.items()[1], "content"));
  EXPECT_EQ(3U, listed.items().size());
}

TEST_F(Erasable, WhileTheViewsAreBehindItsOwnRowsArePrinted) {
  const SimServer::HeaderList impatient{{"x-stainless-timeout", "1"}};
  const Response made = call("POST", "/v1/agents/?ack=log", kAnn, impatient);
  ASSERT_EQ(200, made.status) << made.body;
  EXPECT_EQ("SECRETname", text(*Json::parse(made.body), "name"));
}

TEST_F(Erasable, ErasedItIsGoneForEverybody) {
  const std::string ann = create_agent(kAnn);
  talk(ann, "one");
  const std::string human = block_id(ann, "human");
  const std::string then = now();
  const Json listed = expect(200, "GET", path(ann) + "/messages");
  const std::string message = text(listed.items().back(), "id");
  ASSERT_TRUE(has_key(ann) && has_key(human));

  const Json erased = expect(200, "DELETE", path(ann) + "?erase=true");
  EXPECT_EQ("Agent id=" + ann + " successfully erased", text(erased, "message"));
  EXPECT_TRUE(world_->keys().keys.empty());
  for (const std::string& past : {std::string{}, "?as_of=" + then}) {
    for (const char* route :
         {"", "/messages", "/core-memory/blocks", "/core-memory/blocks/human", "/export"}) {
      const Response gone = call("GET", path(ann) + route + past);
      EXPECT_EQ(410, gone.status) << route << past << " " << gone.body;
      EXPECT_EQ("the agent has been erased", text(*Json::parse(gone.body), "detail"));
    }
    EXPECT_EQ(404, call("GET", "/v1/blocks/" + human + past).status);
    EXPECT_EQ(404, call("GET", "/v1/messages/" + message + past).status);
    EXPECT_EQ(0U, expect(200, "GET", "/v1/agents/" + past).items().size());
    EXPECT_EQ(0U, expect(200, "GET", "/v1/blocks/" + past).items().size());
  }
  EXPECT_EQ("0", expect(200, "GET", "/v1/agents/count").number_text());
  EXPECT_EQ(410, talk(ann, "hello?").status);
  EXPECT_EQ(410, call("PATCH", path(ann), R"({"name":"x"})").status);
  EXPECT_EQ(410, call("DELETE", path(ann)).status);
  EXPECT_EQ(410, call("POST", "/v1/varve/agents/" + ann + "/fork", R"({"as_of":")" + then + "\"}").status);
  EXPECT_EQ(200, call("DELETE", path(ann) + "?erase=true").status) << "again";
  restart();
  EXPECT_EQ(410, call("GET", path(ann)).status);
  EXPECT_EQ(200, call("DELETE", path(ann) + "?erase=true").status);
  EXPECT_EQ(410, talk(ann, "hello?").status);
}

TEST_F(Erasable, TheSameKeyMadeAnAgentThatIsErased) {
  const SimServer::HeaderList key{{"Idempotency-Key", "k1"}};
  const std::string ann = text(expect(200, "POST", "/v1/agents/", kAnn, key), "id");
  expect(200, "DELETE", path(ann) + "?erase=true");
  const std::size_t before = records();
  call("POST", "/v1/agents/", kAnn, key);
  EXPECT_EQ(before, records());
  EXPECT_EQ(410, call("GET", path(ann)).status);
  EXPECT_TRUE(world_->keys().keys.empty());
}

TEST_F(Erasable, ARequestThatComesAgainIsNotAnsweredWithWhatWasSaid) {
  const std::string ann = create_agent(kAnn);
  const SimServer::HeaderList key{{"Idempotency-Key", "k1"}};
  const std::string body = R"({"messages":[{"role":"user","content":"hello"}],"stream_tokens":true})";
  EXPECT_EQ(200, call("POST", path(ann) + "/messages/stream", body, key).status);
  const SimServer::HeaderList other{{"Idempotency-Key", "k2"}};
  const std::string plain = R"({"messages":[{"role":"user","content":"hello"}]})";
  EXPECT_EQ(200, call("POST", path(ann) + "/messages", plain, other).status);
  run_for(2000);
  EXPECT_EQ(200, call("POST", path(ann) + "/messages", plain, other).status);
  expect(200, "DELETE", path(ann) + "?erase=true");
  for (const bool restarted : {false, true}) {
    if (restarted) restart();
    const Response again = call("POST", path(ann) + "/messages/stream", body, key);
    EXPECT_EQ(410, again.status) << again.body;
    const Response once_more = call("POST", path(ann) + "/messages", plain, other);
    EXPECT_EQ(410, once_more.status) << once_more.body;
  }
}

TEST_F(Erasable, OnlyWhatWasMadeErasableIsErased) {
  const std::string bob = create_agent();
  const Response refused = call("DELETE", path(bob) + "?erase=true");
  EXPECT_EQ(422, refused.status) << refused.body;
  expect(200, "GET", path(bob));
  EXPECT_EQ(422, call("DELETE", path(bob) + "?erase=yes").status);
  EXPECT_EQ(404, call("DELETE", "/v1/agents/agent-123e4567-e89b-42d3-8456-426614174000?erase=true").status);
  EXPECT_EQ(422, call("POST", "/v1/agents/", R"({"erasable":"yes"})").status);
  EXPECT_EQ(200, call("DELETE", path(bob) + "?erase=false").status);
}

TEST_F(Erasable, WhatWasOnlyDeletedCanStillBeErased) {
  const std::string ann = create_agent(kAnn);
  expect(200, "DELETE", path(ann));
  EXPECT_TRUE(has_key(ann));
  EXPECT_EQ(404, call("GET", path(ann)).status);
  expect(200, "DELETE", path(ann) + "?erase=true");
  EXPECT_TRUE(world_->keys().keys.empty());
  EXPECT_EQ(410, call("GET", path(ann)).status);
}

TEST_F(Erasable, ABlockThatAnotherAgentHasStays) {
  const std::string ann = create_agent(kAnn);
  const std::string bob = create_agent(R"({"name":"bob","memory_blocks":[]})");
  const std::string human = block_id(ann, "human");
  const std::string persona = block_id(ann, "persona");
  const std::string own = text(expect(200, "POST", "/v1/blocks/", R"({"label":"x","value":"plain"})"), "id");
  expect(200, "PATCH", path(bob) + "/core-memory/blocks/attach/" + human);
  expect(200, "PATCH", path(ann) + "/core-memory/blocks/attach/" + own);
  expect(200, "PATCH", path(ann) + "/core-memory/blocks/detach/" + persona);
  expect(200, "DELETE", path(ann) + "?erase=true");
  EXPECT_EQ("SECRETvalue", value_of(bob, "human"));
  EXPECT_TRUE(has_key(human));
  EXPECT_FALSE(has_key(persona)) << "it was born with the agent, and nobody has it";
  EXPECT_EQ(404, call("GET", "/v1/blocks/" + persona).status);
  EXPECT_EQ("plain", text(expect(200, "GET", "/v1/blocks/" + own), "value"));
  restart();
  EXPECT_EQ("SECRETvalue", value_of(bob, "human"));
}

TEST_F(Erasable, AnOpenTurnEnds) {
  const std::string ann = create_agent(kAnn);
  const Pending turn = begin("POST", path(ann) + "/messages", say("slow"));
  run_for(200);
  expect(200, "DELETE", path(ann) + "?erase=true");
  finish(turn);
  run_for(1000);
  EXPECT_EQ(410, call("GET", path(ann)).status);
  EXPECT_TRUE(world_->keys().keys.empty());
}

// ---- keys that cannot be had ----

TEST_F(Erasable, WithoutAKeyNothingIsWritten) {
  world_->keys().fault = Error{Errc::unavailable, "the disk is full"};
  const std::size_t before = records();
  const SimServer::HeaderList key{{"Idempotency-Key", "k1"}};
  const Response refused = call("POST", "/v1/agents/", kAnn, key);
  EXPECT_EQ(503, refused.status) << refused.body;
  EXPECT_TRUE(refused.header("retry-after"));
  EXPECT_EQ(before, records());
  world_->keys().fault.reset();
  EXPECT_EQ(200, call("POST", "/v1/agents/", kAnn, key).status);
  EXPECT_EQ(0U, in_log("SECRET"));
}

TEST_F(Erasable, WhileKeysCannotBeReadNothingIsReadOrWritten) {
  const std::string ann = create_agent(kAnn);
  world_->crash();
  world_->keys().fault = Error{Errc::unavailable, "gone fishing"};
  world_->boot();
  run_for(50);
  const std::size_t before = records();
  EXPECT_EQ(503, call("GET", path(ann)).status);
  EXPECT_EQ(503, talk(ann, "hello").status);
  EXPECT_EQ(before, records());
  world_->keys().fault.reset();
  EXPECT_EQ("SECRETname", text(expect(200, "GET", path(ann)), "name"));
  EXPECT_EQ(200, talk(ann, "hello").status);
}

// As after the key table of an older backup was put back.
TEST_F(Erasable, AnAgentWhoseKeyIsLostCanOnlyBeDeleted) {
  const std::string ann = create_agent(kAnn);
  const std::string bob = create_agent(kAnn);
  talk(ann, "one");
  world_->keys().keys.clear();
  restart();
  EXPECT_EQ(404, call("GET", path(ann)).status);
  EXPECT_EQ(503, talk(ann, "hello").status);
  EXPECT_EQ(503, call("PATCH", path(ann), R"({"name":"SECRETnew"})").status);
  EXPECT_EQ(0U, in_log("SECRET"));
  EXPECT_EQ(200, call("DELETE", path(ann)).status);
  EXPECT_EQ(200, call("DELETE", path(bob) + "?erase=true").status);
  EXPECT_EQ(410, call("GET", path(bob)).status);
}

// ---- killed between AgentErased and the destruction ----

TEST_F(Erasable, KilledBeforeTheKeysAreDestroyedItDestroysThemWhenItComesBack) {
  const std::string ann = create_agent(kAnn);
  const std::string human = block_id(ann, "human");
  talk(ann, "one");
  world_->keys().fault = Error{Errc::unavailable, "the disk is full"};
  const Response waiting = call("DELETE", path(ann) + "?erase=true");
  EXPECT_EQ(503, waiting.status) << "it is in the log, but not done";
  world_->keys().fault.reset();
  world_->keys().fault = Error{Errc::unavailable, "still full"};
  restart();
  run_for(3000);
  EXPECT_TRUE(has_key(ann) && has_key(human));
  EXPECT_EQ(410, talk(ann, "hello").status);
  world_->crash();
  world_->keys().fault.reset();
  world_->boot();
  run_for(3000);
  EXPECT_TRUE(world_->keys().keys.empty()) << "nobody has asked again";
  EXPECT_EQ(410, call("GET", path(ann)).status);
}

// A round of snapshots would let the next recovery begin behind the erasure.
TEST_F(Erasable, NoSnapshotHidesAnErasureThatIsNotDone) {
  const std::string ann = create_agent(kAnn);
  world_->keys().fault = Error{Errc::unavailable, "the disk is full"};
  call("DELETE", path(ann) + "?erase=true");
  auto done = std::make_shared<std::optional<Status>>();
  world_->client().spawn("round", keep(shard_of(ann).snapshot_round(), done));
  while (!done->has_value() && step()) {
  }
  EXPECT_FALSE(done->value_or(Status{}));
  world_->crash();
  world_->keys().fault.reset();
  world_->boot();
  run_for(3000);
  EXPECT_TRUE(world_->keys().keys.empty());
  take_snapshots();
}

// Killed after every number of steps: whatever was reached, in the end there is an agent that can be read, or
// one that is erased and has no keys.
TEST_F(Erasable, KilledAtEveryStepOfAnErasure) {
  bool untouched = false;
  bool erased = false;
  for (int steps = 0; steps < 200; steps += 3) {
    start(kModel);
    const std::string ann = create_agent(kAnn);
    const Pending deletion = begin("DELETE", path(ann) + "?erase=true");
    for (int i = 0; i < steps && step(); ++i) {
    }
    const bool answered = deletion->has_value() && *deletion && (**deletion)->status == 200;
    restart();
    run_for(3000);
    const Response read = call("GET", path(ann));
    if (read.status == 200) {
      EXPECT_FALSE(answered) << steps;
      EXPECT_TRUE(has_key(ann));
      untouched = true;
    } else {
      EXPECT_EQ(410, read.status) << steps << " " << read.body;
      EXPECT_TRUE(world_->keys().keys.empty()) << steps;
      erased = true;
    }
    if (answered) break;
  }
  EXPECT_TRUE(untouched && erased);
}

// ---- forks ----

TEST_F(Erasable, AForkIsErasableWithKeysOfItsOwn) {
  const std::string ann = create_agent(kAnn);
  talk(ann, "SECRETquestion");
  const std::string then = now();
  const Json forked = expect(200, "POST", "/v1/varve/agents/" + ann + "/fork",
                             R"({"name":"SECRETfork","as_of":")" + then + "\"}");
  const std::string fork = text(forked, "id");
  EXPECT_EQ(history(ann), history(fork));
  EXPECT_EQ("SECRETvalue", value_of(fork, "human"));
  const std::string human = block_id(fork, "human");
  EXPECT_NE(block_id(ann, "human"), human);
  EXPECT_TRUE(has_key(fork) && has_key(human));
  EXPECT_EQ(0U, in_log("SECRET"));
  expect(200, "DELETE", path(ann) + "?erase=true");
  EXPECT_EQ("SECRETvalue", value_of(fork, "human"));
  EXPECT_EQ("user_message:SECRETquestion;assistant_message:You said: SECRETquestion;", history(fork));
  restart();
  EXPECT_EQ("SECRETfork", text(expect(200, "GET", path(fork)), "name"));
  expect(200, "DELETE", path(fork) + "?erase=true");
  EXPECT_TRUE(world_->keys().keys.empty());
}

TEST_F(Erasable, AnExportIsPlain) {
  const std::string ann = create_agent(kAnn);
  talk(ann, "SECRETquestion");
  const Response file = call("GET", path(ann) + "/export");
  EXPECT_EQ(200, file.status);
  EXPECT_LT(3U, count(file.body, "SECRET"));
  EXPECT_EQ(0U, count(file.body, "varve-sealed"));
}

TEST_F(Erasable, AnImportCanBeErasable) {
  const std::string ann = create_agent(kAnn);
  talk(ann, "SECRETquestion");
  const Response file = call("GET", path(ann) + "/export");
  const std::string form =
      "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.af\"\r\n\r\n" + file.body +
      "\r\n--B\r\ncontent-disposition: form-data; name=\"erasable\"\r\n\r\ntrue\r\n--B--\r\n";
  const Json made =
      expect(200, "POST", "/v1/agents/import", form, {{"content-type", "multipart/form-data; boundary=B"}});
  const std::string copy = made.find("agent_ids")->items().front().as_string();
  EXPECT_EQ(history(ann), history(copy));
  EXPECT_EQ(0U, in_log("SECRET"));
  const std::string human = block_id(copy, "human");
  EXPECT_TRUE(has_key(copy) && has_key(human));
  expect(200, "DELETE", path(copy) + "?erase=true");
  EXPECT_FALSE(has_key(copy) || has_key(human));
}

// Anybody can write a text that looks sealed.
TEST_F(Erasable, WhatOnlyLooksSealedIsShownAsItIs) {
  const std::string fake = "varve-sealed:1:" + std::string(80, 'A');
  const std::string bob = create_agent(R"({"name":"bob","memory_blocks":[{"label":"human","value":"Bob"}]})");
  talk(bob, fake);
  expect(200, "PATCH", path(bob) + "/core-memory/blocks/human", R"({"value":")" + fake + "\"}");
  EXPECT_EQ("user_message:" + fake + ";assistant_message:You said: " + fake + ";", history(bob));
  EXPECT_EQ(fake, value_of(bob, "human"));
  const std::string ann = create_agent(kAnn);
  talk(ann, fake);
  EXPECT_EQ("user_message:" + fake + ";assistant_message:You said: " + fake + ";", history(ann));
  restart();
  EXPECT_EQ("user_message:" + fake + ";assistant_message:You said: " + fake + ";", history(ann));
}

}  // namespace
}  // namespace varve
