// Parked streams through the routes of a simulated server: listed, shown with what a retry and a skip would
// do, skipped by a ruling that the owner writes, tried again by a program that can fold them.
#include "api/quarantine_routes.h"

#include "projections/fold.h"
#include "projections/memory_view_store.h"
#include "tests/cluster/cluster_fixture.h"
#include "tests/support/samples.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::SimServer;

constexpr const char* kPath = "/v1/varve/quarantine";

QuarantineRow row_of(const std::string& stream, std::uint64_t offset, std::int64_t event,
                     const std::string& type) {
  return {StreamId{stream}, Partition{1}, Offset{offset}, event, type, "unknown", WallTime{5}};
}

TEST(ParkedStreams, AreOnePerStreamWithWhatWaitsBehind) {
  const auto parked = parked_streams(
      {row_of("agent-b", 7, 2, "X"), row_of("agent-a", 9, 0, "Y"), row_of("agent-b", 8, -1, "")});
  ASSERT_EQ(2U, parked.size());
  EXPECT_EQ(StreamId{"agent-b"}, parked[0].stream);
  EXPECT_EQ(Offset{7}, parked[0].offset);
  EXPECT_EQ(2, parked[0].event);
  ASSERT_EQ(1U, parked[0].behind.size());
  EXPECT_EQ(Offset{8}, parked[0].behind[0].offset);
  EXPECT_EQ(StreamId{"agent-a"}, parked[1].stream);
  EXPECT_EQ(
      "A retry folds event 2 of agent-b at 1:7 (X) with this program, and then what waits, each where it "
      "would "
      "have been. 1 record of the stream waits behind it. Nothing is written to the log. If the event still "
      "cannot be folded, everything stays as it is.",
      retry_consequence(parked[0]));
  EXPECT_NE(std::string::npos, skip_consequence(parked[1]).find("Nothing waits behind it."));
  EXPECT_NE(std::string::npos, skip_consequence(parked[1]).find("cannot be taken back"));
}

TEST(ParkedStreams, OnlyTheirOwnPathsAreServed) {
  EXPECT_TRUE(QuarantineRoutes::serves("/v1/varve/quarantine"));
  EXPECT_TRUE(QuarantineRoutes::serves("/v1/varve/quarantine/agent-1/skip"));
  EXPECT_TRUE(QuarantineRoutes::serves("/v1/varve/quarantine?x=1"));
  EXPECT_FALSE(QuarantineRoutes::serves("/v1/varve/quarantined"));
  EXPECT_FALSE(QuarantineRoutes::serves("/v1/varve/cluster"));
}

class Quarantine : public SimServer {
 public:
  Quarantine() { owners_ = sim::WorldOracles::Owners::unwatched; }

  Partition home(const std::string& stream) const {
    return partition_of(StreamId{stream}, world_->options().partitions);
  }
  // What another node, with a newer program, writes next of the stream; the owner then claims again.
  Offset land(const std::string& stream, const std::vector<StoredEvent>& events) {
    const PartitionOwner& owner = world_->node().shard(home(stream))->owner();
    Sequence last;
    for (const LogRecord& record : world_->log().records(home(stream))) {
      const auto read = decode_record(*record.bytes);
      const auto* commit = std::get_if<Commit>(&*read);
      if (commit == nullptr) continue;
      for (const Part& part : commit->parts) {
        if (part.stream.value() == stream)
          last = std::max(last, Sequence{part.first.value() + part.events.size() - 1});
      }
    }
    const CommandRef command{command_id_from_text("landed " + std::to_string(++landed_)), CommandHash{1},
                             true};
    const Commit commit{owner.admission().epoch,
                        next(owner.admission().index),
                        "newer",
                        owner.admitted_at(),
                        command,
                        {Part{StreamId{stream}, next(last), events}}};
    auto& log = const_cast<MemoryLogStorage&>(world_->log());
    const Offset offset =
        log.land(home(stream), std::make_shared<const std::string>(*encode_record(Record{commit})));
    run_for(2000);
    return offset;
  }
  static StoredEvent song() { return UnreadableEvent{"AgentSang", 1, "no such type", R"({"tune":"la"})"}; }
  static Event renamed(const std::string& name) {
    AgentSettings settings = test::sample_settings();
    settings.model = "varve/scripted";
    settings.name = name;
    return AgentUpdated{settings, {}, {}, WallTime{1}};
  }
  std::string position(const std::string& stream, Offset offset) const {
    return to_string(LogPosition{home(stream), offset});
  }
  static std::string named(const std::string& at, std::int64_t event) {
    JsonWriter out;
    out.begin_object().field("position", at).field_integer("event", event).end_object();
    return out.take();
  }
  std::string name_of(const std::string& agent) {
    return text(expect(200, "GET", "/v1/agents/" + agent), "name");
  }

 private:
  int landed_ = 0;
};

TEST_F(Quarantine, ASoundServerHasNothingInIt) {
  const std::string agent = create_agent();
  EXPECT_EQ(R"({"streams":[]})", call("GET", kPath).body);
  EXPECT_EQ(404, call("GET", std::string(kPath) + "/" + agent).status);
  EXPECT_EQ(404, call("POST", std::string(kPath) + "/" + agent + "/retry").status);
  EXPECT_EQ(404, call("POST", std::string(kPath) + "/" + agent + "/skip", named("1:2", 0)).status);
  EXPECT_EQ(404, call("POST", std::string(kPath) + "/" + agent + "/forget").status);
  EXPECT_EQ(405, call("POST", kPath, "{}").status);
  EXPECT_EQ("POST", call("GET", std::string(kPath) + "/" + agent + "/skip").header("allow"));
}

TEST_F(Quarantine, ASkipShowsWhatItDoesAndDoesIt) {
  const std::string agent = create_agent();
  const Offset bad = land(agent, {song()});
  land(agent, {renamed("eve")});
  const std::string at = position(agent, bad);
  const Json listed = expect(200, "GET", kPath);
  ASSERT_EQ(1U, listed.find("streams")->items().size());
  const Json& one = listed.find("streams")->items().front();
  EXPECT_EQ(agent, text(one, "stream"));
  EXPECT_EQ(at, text(one, "position"));
  EXPECT_EQ("AgentSang", text(one, "type"));
  EXPECT_EQ(1, one.find("waiting")->as_integer());

  const std::string path = std::string(kPath) + "/" + agent;
  const Json shown = expect(200, "GET", path);
  EXPECT_EQ(R"({"tune":"la"})", shown.find("poison")->find("data")->dump());
  EXPECT_FALSE(shown.find("poison")->find("readable")->as_boolean());
  EXPECT_NE(std::string::npos, text(shown, "skip").find("event 0 of " + agent + " at " + at)) << shown.dump();
  EXPECT_EQ(1U, shown.find("behind")->items().size());

  const std::size_t before = records();
  EXPECT_EQ(409, call("POST", path + "/retry").status) << "this program cannot fold it";
  EXPECT_EQ(422, call("POST", path + "/skip", "{}").status);
  EXPECT_EQ(422, call("POST", path + "/skip", named("1:2,2:3", 0)).status);
  const Json other = expect(409, "POST", path + "/skip", named(at, 1));
  EXPECT_NE(std::string::npos, text(other, "detail").find("but at event 0")) << other.dump();
  EXPECT_EQ(before, records()) << "nothing of that has written anything";
  EXPECT_EQ("ann", name_of(agent));

  const Response skipped = call("POST", path + "/skip", named(at, 0));
  EXPECT_EQ(200, skipped.status) << skipped.body;
  EXPECT_EQ(before + 1, records()) << "the ruling";
  const auto json = Json::parse(skipped.body);
  EXPECT_EQ("skipped", text(*json, "outcome"));
  EXPECT_TRUE(json->find("parked")->is_null()) << skipped.body;
  EXPECT_EQ(text(*json, "ruling"), skipped.header("varve-position"));
  EXPECT_EQ("eve", name_of(agent)) << "the views have met the ruling before the answer";
  EXPECT_EQ(R"({"streams":[]})", call("GET", kPath).body);
  run_for(1000);
  EXPECT_EQ(200, call("PATCH", "/v1/agents/" + agent, R"({"description":"d"})").status);
  EXPECT_EQ(404, call("POST", path + "/skip", named(at, 0)).status) << "once is enough";
}

TEST_F(Quarantine, ASkipTellsThatALaterEventIsPoisonToo) {
  const std::string agent = create_agent();
  const Offset first = land(agent, {song()});
  const Offset second = land(agent, {renamed("eve"), song()});
  const std::string path = std::string(kPath) + "/" + agent;
  const Json skipped = expect(200, "POST", path + "/skip", named(position(agent, first), 0));
  ASSERT_TRUE(skipped.find("parked")->is_object()) << skipped.dump();
  EXPECT_EQ(position(agent, second), text(*skipped.find("parked"), "position"));
  EXPECT_EQ(1, skipped.find("parked")->find("event")->as_integer());
  run_for(1000);
  const Json again = expect(200, "POST", path + "/skip", named(position(agent, second), 1));
  EXPECT_TRUE(again.find("parked")->is_null()) << again.dump();
  EXPECT_EQ("eve", name_of(agent));
}

// The views were folded by a program that could not fold an event; this one can.
TEST_F(Quarantine, ARetryReleasesWhatThisProgramCanFold) {
  const std::string agent = create_agent();
  const std::string other = create_agent();
  const Partition partition = home(agent);
  auto& views = const_cast<MemoryViewStorage&>(world_->views());
  MemoryViewReader reader(views);
  const auto changed = begin("PATCH", "/v1/agents/" + agent, R"({"name":"eve"})");
  const std::size_t known = records();
  while (records() == known && step()) {
  }
  // Before the live worker comes to it.
  const LogRecord newest = world_->log().records(partition).back();
  const Checkpoint before = views.checkpoints[partition];
  ASSERT_LE(before.next, newest.offset);
  PartitionFold older(partition, before, *reader.quarantine());
  older.stop_at({{StreamId{agent}, newest.offset, 0}});
  ASSERT_TRUE(older.take(newest));
  const auto applied = apply_batch(views, older.take_batch());
  ASSERT_TRUE(applied && *applied == CommitOutcome::committed);
  EXPECT_EQ(200, finish(changed).status);
  run_for(1000);
  EXPECT_EQ("ann", name_of(agent));
  const Json listed = expect(200, "GET", kPath);
  ASSERT_EQ(1U, listed.find("streams")->items().size()) << listed.dump();

  const std::string path = std::string(kPath) + "/" + agent;
  const Json shown = expect(200, "GET", path);
  EXPECT_TRUE(shown.find("poison")->find("readable")->as_boolean()) << shown.dump();
  const std::string at = text(shown, "position");
  EXPECT_EQ(409, call("POST", path + "/skip", named(at, 0)).status) << "its actor is sound";
  const std::size_t written = records();
  const Json done = expect(200, "POST", path + "/retry");
  EXPECT_EQ("released", text(done, "outcome"));
  EXPECT_EQ(written, records());
  EXPECT_EQ("eve", name_of(agent));
  EXPECT_EQ(404, call("POST", path + "/retry").status);
  EXPECT_EQ("ann", name_of(other));
}

// ---- in a cluster ----

class QuarantineInACluster : public test::ClusterFixture {
 public:
  static Task<Response> ask(Node* node, Request request) {
    Response response = co_await node->handle(std::move(request));
    co_return response;
  }
  Response request(Life& at, const std::string& method, const std::string& path, const std::string& body) {
    Request asked;
    asked.method = method;
    asked.target = path;
    asked.body = body;
    const auto response = finish(begin(at, ask(&at.node, std::move(asked))));
    return response ? *response : Response{};
  }
};

TEST_F(QuarantineInACluster, AnyNodeMayBeAskedAndTheOwnerWritesTheRuling) {
  two_nodes();
  const StreamId agent = make_agent(life("a"));
  Shard& shard = *life("a").node.shard(home(agent));
  const Part song{agent, next(shard.peek(agent)->sequence), {UnreadableEvent{"AgentSang", 1, "", "{}"}}};
  const Commit commit{shard.owner().admission().epoch,
                      next(shard.owner().admission().index),
                      "newer",
                      shard.owner().admitted_at(),
                      {command_id_from_text("song"), CommandHash{1}, true},
                      {song}};
  const Offset bad =
      log_->land(home(agent), std::make_shared<const std::string>(*encode_record(Record{commit})));
  run_for(std::chrono::seconds{3});
  Life& other = life("b");
  const std::string path = std::string(kPath) + "/" + agent.value();
  const Response shown = request(other, "GET", path, "");
  ASSERT_EQ(200, shown.status) << shown.body;
  JsonWriter named;
  named.begin_object().field("position", to_string(LogPosition{home(agent), bad}));
  named.field_integer("event", 0).end_object();
  const Response skipped = request(other, "POST", path + "/skip", named.text());
  EXPECT_EQ(200, skipped.status) << skipped.body;
  EXPECT_NE(std::string::npos, skipped.body.find("\"outcome\":\"skipped\"")) << skipped.body;
  run_for(std::chrono::seconds{1});
  UpdateAgent change;
  change.patch = R"({"name":"eve"})";
  EXPECT_TRUE(send(other, command("rename", agent, change)).has_value());
  EXPECT_EQ(R"({"streams":[]})", request(other, "GET", kPath, "").body);
}

}  // namespace
}  // namespace varve
