// Teleport through the routes of simulated servers: an agent of one is carried to another one that crashes
// after every piece, is unseen until its seal, and is then what it was; and it leaves where it was with its
// new place.
#include "api/teleport_routes.h"

#include "actors/agent_teleport.h"

#include "inspect/teleport_check.h"
#include "inspect/teleport_export.h"
#include "runtime/real_env.h"
#include "tests/support/run.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::SimServer;

constexpr const char* kScript =
    R"({"replies":[{"match":"remember","tool_calls":[{"name":"memory_insert","arguments":)"
    R"({"label":"human","new_string":"likes tea"}}],"then":"Noted."}],"default":{"text":"Hm."}})";

class TeleportRoutesTest : public SimServer {
 public:
  void SetUp() override {
    start(kScript);
    agent_ =
        create_agent(R"({"name":"ann","tags":["red"],"memory_blocks":[{"label":"human","value":"Ann"}]})");
    expect(200, "POST", "/v1/agents/" + agent_ + "/messages", say("hello"));
    expect(200, "POST", "/v1/agents/" + agent_ + "/messages", say("remember"));
    expect(200, "PATCH", "/v1/agents/" + agent_, R"({"tags":["red","blue"],"name":"anna"})");
  }

  // A copy of the world's log, for who reads it outside of the simulation.
  std::shared_ptr<MemoryLogStorage> log_copy() {
    const std::uint32_t partitions = world_->options().partitions;
    const MemoryLogStorage::Options options{partitions, 0};
    auto copy = std::make_shared<MemoryLogStorage>(options);
    for (std::uint32_t number = 0; number < partitions; ++number) {
      for (const LogRecord& record : world_->log().records(Partition{number})) {
        copy->land(Partition{number}, record.bytes);
      }
    }
    return copy;
  }
  // The archive's frames, checked.
  std::vector<ArchiveFrame> exported(ArchiveCheck& check) {
    RealEnv env;
    MemoryEventLog log(env, log_copy());
    ExportQuestion question{{StreamId{agent_}}, false};
    auto archive = test::run(env, TeleportExport::prepare(log, std::move(question)));
    EXPECT_TRUE(archive) << archive.error().message;
    ArchiveReader reader;
    std::vector<ArchiveFrame> frames;
    while (archive) {
      auto bytes = test::run(env, (*archive)->next());
      if (!bytes || !*bytes) break;
      reader.feed(**bytes);
    }
    for (auto frame = reader.next(); frame && *frame; frame = reader.next()) {
      const Status taken = check.take(**frame);
      EXPECT_TRUE(taken) << taken.error().message;
      frames.push_back(std::move(**frame));
    }
    const Status whole = reader.end();
    EXPECT_TRUE(whole) << whole.error().message;
    return frames;
  }

  Response ask(std::string method, std::string target, std::string body) {
    const MemoryLogStorage::Options none{1, 0};
    MemoryEventLog log(world_->node_env(), std::make_shared<MemoryLogStorage>(none));
    TeleportRoutes routes(world_->node_env(), {log, world_->node().progress(), world_->node().sender()});
    auto answer = std::make_shared<std::optional<Result<Response>>>();
    Request request = make(std::move(method), std::move(target), std::move(body), {});
    world_->node_env().spawn("ask", keep(routes, std::move(request), answer));
    return finish(answer);
  }
  Response piece(const std::string& body) { return ask("POST", std::string(kTeleportImportPath), body); }
  static Task<> keep(TeleportRoutes& routes, Request request, test::Pending answer) {
    *answer = co_await routes.handle(std::move(request));
    co_return ok();
  }

  static std::string append_body(const StreamId& stream, std::uint64_t first, const std::string& chain,
                                 const std::vector<EventTeleported>& events) {
    JsonWriter out;
    out.begin_object().field("stream", stream.value()).key("append").begin_object();
    out.field_integer("first", static_cast<std::int64_t>(first)).field("chain", chain);
    out.key("events").begin_array();
    for (const EventTeleported& event : events) write_event(out, Event{event});
    out.end_array().end_object().end_object();
    return out.take();
  }
  static std::string seal_body(const ArchiveStream& one) {
    JsonWriter out;
    out.begin_object().field("stream", one.stream.value()).key("seal").begin_object();
    out.field_integer("events", static_cast<std::int64_t>(one.events)).field("chain", one.chain);
    out.end_object().end_object();
    return out.take();
  }

  // What the API says of the agent and its block.
  std::vector<std::string> all_of_it() {
    const std::string base = "/v1/agents/" + agent_;
    std::vector<std::string> said;
    for (const std::string& route :
         {base, base + "/core-memory/blocks", base + "/messages?limit=100", base + "/tools",
          std::string("/v1/agents/"), std::string("/v1/blocks/"), std::string("/v1/tags/"),
          std::string("/v1/runs/"), std::string("/v1/messages/")}) {
      said.push_back(route + " " + expect(200, "GET", route).dump());
    }
    return said;
  }

  std::string agent_;
};

TEST_F(TeleportRoutesTest, AnAgentIsTheSameAtATargetThatCrashesAfterEveryPiece) {
  const std::vector<std::string> source = all_of_it();
  ArchiveCheck check{Renaming{}};
  const std::vector<ArchiveFrame> frames = exported(check);
  start(kScript, 2);
  const std::size_t before = records();
  std::map<StreamId, std::string> chains;
  std::size_t pieces = 0;
  for (const ArchiveFrame& frame : frames) {
    const auto* record = std::get_if<ArchiveRecord>(&frame);
    if (record == nullptr) continue;
    std::string& chain = chains[record->stream];
    const auto events = carried_events(*record, "varve", record->stream);
    ASSERT_TRUE(events);
    const std::string body = append_body(record->stream, record->first.value(), chain, *events);
    Response response = piece(body);
    ASSERT_EQ(200, response.status) << response.body;
    for (const EventTeleported& event : *events) chain = next_chain(chain, event);
    ++pieces;
    restart();
    ASSERT_EQ(200, piece(body).status) << "again";
    expect(404, "GET", "/v1/agents/" + agent_);
    EXPECT_EQ("[]", expect(200, "GET", "/v1/agents/").dump());
    EXPECT_EQ("[]", expect(200, "GET", "/v1/blocks/").dump());
    EXPECT_EQ(404, call("POST", "/v1/agents/" + agent_ + "/messages", say("hello")).status);
  }
  EXPECT_GT(pieces, 5U);
  for (const char* kind : {"block-", "agent-"}) {
    for (const ArchiveStream& one : check.streams()) {
      if (!one.stream.value().starts_with(kind)) continue;
      EXPECT_EQ(chains[one.stream], one.chain);
      ASSERT_EQ(200, piece(seal_body(one)).status);
      restart();
      ASSERT_EQ(200, piece(seal_body(one)).status);
    }
  }
  EXPECT_EQ(source, all_of_it());
  const std::size_t after = records();
  EXPECT_GT(after, before);
  const Json there = *Json::parse(piece(R"({"stream":")" + agent_ + R"("})").body);
  EXPECT_TRUE(there.find("sealed")->as_boolean());
  EXPECT_EQ(chains[StreamId{agent_}], text(there, "chain"));
  // It lives on.
  expect(200, "POST", "/v1/agents/" + agent_ + "/messages", say("remember"));
  expect(200, "PATCH", "/v1/agents/" + agent_, R"({"tags":["green"]})");
  expect(200, "DELETE", "/v1/agents/" + agent_);
}

TEST_F(TeleportRoutesTest, WhatIsHereOfItsOwnIsRefused) {
  const Response refused = piece(R"({"stream":")" + agent_ + R"("})");
  EXPECT_EQ(409, refused.status) << refused.body;
  EXPECT_NE(std::string::npos, refused.body.find(agent_)) << refused.body;
  const std::string other = "agent-00000000-0000-4000-8000-000000000000";
  EXPECT_EQ(404, piece(R"({"stream":")" + other + R"(","seal":{"events":1,"chain":"x"}})").status);
  EXPECT_EQ(422, piece(R"({"stream":"agent-1"})").status);
  EXPECT_EQ(422, piece("nothing").status);
  EXPECT_EQ(422,
            piece(R"({"stream":")" + other + R"(","append":{"first":1,"chain":"","events":[{}]}})").status);
  EXPECT_EQ(405, ask("PUT", std::string(kTeleportImportPath), "").status);
  EXPECT_EQ(422, ask("GET", std::string(kTeleportExportPath), "").status);
  EXPECT_EQ(422, ask("GET", std::string(kTeleportExportPath) + "?agents=x", "").status);
  EXPECT_EQ(404, ask("GET", std::string(kTeleportExportPath) + "?agents=" + other, "").status);
}

TEST_F(TeleportRoutesTest, AToolIsTakenWithItsIdOrRefused) {
  const std::string id = "tool-00000000-0000-4000-8000-000000000001";
  const auto body = [](const std::string& tool_id, const std::string& name, const std::string& code,
                       bool look) {
    ToolValue tool;
    tool.id = tool_id;
    tool.name = name;
    tool.source_code = code;
    JsonWriter out;
    out.begin_object().key("tool");
    write_tool(out, tool);
    if (look) out.field_boolean("look", true);
    out.end_object();
    return out.take();
  };
  EXPECT_EQ(R"({"id":""})", piece(body(id, "add", "a", true)).body);
  EXPECT_EQ(404, call("GET", "/v1/tools/" + id).status) << "looking makes nothing";
  EXPECT_EQ(R"({"id":")" + id + R"("})", piece(body(id, "add", "a", false)).body);
  expect(200, "GET", "/v1/tools/" + id);
  const std::size_t before = records();
  const std::string twin = "tool-00000000-0000-4000-8000-000000000002";
  EXPECT_EQ(R"({"id":")" + id + R"("})", piece(body(twin, "add", "a", true)).body) << "an equal one is found";
  EXPECT_EQ(R"({"id":")" + id + R"("})", piece(body(twin, "add", "a", false)).body);
  EXPECT_EQ(409, piece(body(twin, "add", "b", true)).status);
  EXPECT_EQ(409, piece(body(twin, "add", "b", false)).status);
  EXPECT_EQ(409, piece(body(id, "sub", "a", false)).status);
  EXPECT_EQ(before, records());
}

TEST_F(TeleportRoutesTest, AnAgentThatHasLeftAnswersWithItsPlace) {
  ArchiveCheck check{Renaming{}};
  exported(check);
  std::uint64_t events = 0;
  for (const ArchiveStream& one : check.streams()) {
    if (one.stream.value() == agent_) events = one.events;
  }
  const auto leave = [&](std::uint64_t known) {
    JsonWriter out;
    out.begin_object().field("agent", agent_).field("place", "http://there:8283");
    out.field_integer("events", static_cast<std::int64_t>(known)).end_object();
    return ask("POST", std::string(kTeleportMovePath), out.take());
  };
  expect(200, "POST", "/v1/agents/" + agent_ + "/messages", say("one more"));
  EXPECT_EQ(409, leave(events).status) << "it has changed since";
  const Json before = expect(200, "GET", "/v1/agents/" + agent_);
  const std::string cut = *call("GET", "/v1/agents/" + agent_ + "?as_of=2999-01-01").header("varve-as-of");
  ArchiveCheck again{Renaming{}};
  exported(again);
  for (const ArchiveStream& one : again.streams()) {
    if (one.stream.value() == agent_) events = one.events;
  }
  ASSERT_EQ(200, leave(events).status);
  ASSERT_EQ(200, leave(events).status) << "again changes nothing";
  for (const bool restarted : {false, true}) {
    if (restarted) restart();
    const Response gone = call("GET", "/v1/agents/" + agent_);
    EXPECT_EQ(410, gone.status);
    EXPECT_EQ("http://there:8283", gone.header("varve-moved-to"));
    EXPECT_EQ("http://there:8283", text(*Json::parse(gone.body), "moved_to"));
    for (const char* route : {"/messages", "/core-memory", "/tools", "/export", "/context"}) {
      EXPECT_EQ(410, call("GET", "/v1/agents/" + agent_ + route).status) << route;
    }
    EXPECT_EQ(410, call("POST", "/v1/agents/" + agent_ + "/messages", say("hello")).status);
    EXPECT_EQ(410, call("PATCH", "/v1/agents/" + agent_, R"({"name":"x"})").status);
    EXPECT_EQ(410, call("DELETE", "/v1/agents/" + agent_).status);
    EXPECT_EQ("[]", expect(200, "GET", "/v1/agents/").dump());
    EXPECT_EQ("0", expect(200, "GET", "/v1/agents/count").dump());
    EXPECT_EQ(before, expect(200, "GET", "/v1/agents/" + agent_ + "?as_of=" + cut))
        << "the past is still there";
  }
  const std::string other = "agent-00000000-0000-4000-8000-000000000000";
  EXPECT_EQ(404, call("GET", "/v1/agents/" + other).status);
  EXPECT_EQ(
      422,
      ask("POST", std::string(kTeleportMovePath), R"({"agent":"x","place":"http://a","events":1})").status);
  EXPECT_EQ(422, ask("POST", std::string(kTeleportMovePath),
                     R"({"agent":")" + agent_ + R"(","place":"a b","events":1})")
                     .status);
}

}  // namespace
}  // namespace varve
