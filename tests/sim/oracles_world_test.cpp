// The oracles on a real node: its owners' lines, its log, views and snapshots are what they should be, over
// crashes; and a log that somebody else writes to is noticed.
#include <gtest/gtest.h>

#include "runtime/json.h"
#include "sim/world_oracles.h"

namespace varve::sim {
namespace {

constexpr std::chrono::seconds kPatience{5};

// One client, one node, and the oracles.
struct Watched {
  explicit Watched(std::uint64_t seed) : world(world_options(seed)) {}
  static World::Options world_options(std::uint64_t seed) {
    World::Options options;
    options.seed = seed;
    options.sparse_log = seed % 2 == 0;
    options.model_script = R"({"rules":[{"match":"slow","delay_ms":300,"text":"That took a while."}]})";
    return options;
  }

  bool step() { return oracles.step() && all().clean(); }
  void run(Duration time) {
    const MonoTime end = world.scheduler().now() + time;
    while (world.scheduler().now() < end && step()) {
    }
  }
  // Until it answers, with the same key.
  static Task<> persist(Watched& self, Request request, Op op) {
    const OpId id = self.history.begin(1, std::move(op));
    for (int attempt = 0; attempt < 50; ++attempt) {
      Request again = request;
      auto response = co_await self.world.request(std::move(again), kPatience);
      if (response && response->status == 200) {
        if (const auto position = response->header("varve-position")) {
          self.all().acknowledged(*parse_positions(*position));
        }
        Outcome outcome;
        outcome.answer = Answer::ok;
        if (const auto body = Json::parse(response->body); body && body->is_array()) {
          outcome.seen.ids.emplace();
          for (const Json& agent : body->items()) {
            outcome.seen.ids->push_back(agent.find("id")->as_string());
          }
        }
        self.history.end(id, outcome);
        ++self.answered;
        co_return ok();
      }
      co_await sleep_for(self.world.client(), std::chrono::milliseconds{200});
    }
    co_return Error{Errc::unavailable, "never answered"};
  }
  void ask(const std::string& method, const std::string& target, const std::string& body,
           const std::string& key, Op op) {
    Request request;
    request.method = method;
    request.target = target;
    request.body = body;
    request.headers.emplace("content-type", "application/json");
    if (!key.empty()) request.headers.emplace("idempotency-key", key);
    world.client().spawn("ask", persist(*this, std::move(request), std::move(op)));
  }
  std::string create(const std::string& name) {
    const CommandId command = command_id_from_text("key POST /v1/agents/\n" + name);
    const std::string id = "agent-" + derived_uuid(command, "agent", 0);
    ask("POST", "/v1/agents/", R"({"name":")" + name + R"("})", name, op::CreateAgent{id, name, {}, {}});
    return id;
  }
  std::string first() { return all().clean() ? "" : violation().invariant + ": " + violation().what; }
  ClusterOracles& all() { return oracles.all(); }
  const Violation& violation() { return all().violations().front(); }

  World world;
  History history;
  WorldOracles oracles{world, &history, WorldOracles::Owners::watched};
  int answered = 0;
};

TEST(OraclesOfAWorld, ANodeThatIsKilledAgainAndAgainIsClean) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    Watched watched(seed);
    watched.world.boot();
    std::vector<std::string> agents;
    for (int i = 0; i < 3; ++i) agents.push_back(watched.create("agent " + std::to_string(i)));
    watched.run(std::chrono::seconds{2});
    for (int life = 0; life < 4; ++life) {
      const std::string text = "a slow question, number " + std::to_string(life);
      watched.ask("POST", "/v1/agents/" + agents[0] + "/messages", R"({"input":")" + text + R"("})", text,
                  op::SendMessage{agents[0], text});
      watched.ask("GET", "/v1/agents/", "", "", op::ListAgents{});
      watched.run(std::chrono::milliseconds{40 + 70 * life});
      watched.world.crash();
      watched.run(std::chrono::milliseconds{50});
      watched.world.boot();
    }
    watched.run(std::chrono::seconds{20});
    EXPECT_EQ("", watched.all().pending().value_or("")) << "seed " << seed;
    watched.all().at_rest();
    EXPECT_EQ("", watched.first()) << "seed " << seed;
    EXPECT_EQ(11, watched.answered);
    EXPECT_EQ(0U, watched.all().history().gave_up);
  }
}

TEST(OraclesOfAWorld, AWriterThatNeverClaimedIsNoticed) {
  Watched watched(1);
  watched.world.boot();
  watched.create("ann");
  watched.run(std::chrono::seconds{2});
  ASSERT_EQ("", watched.first());
  // A commit that every reader counts, of a node that nobody knows.
  const AdmissionState state = watched.all().log().judged(Partition{0}).back().after;
  const StreamId stream{"block-1"};
  Commit commit{state.epoch, next(state.index), "ghost", WallTime{1}, {}, {{stream, Sequence{1}, {}}}};
  commit.parts.front().events.emplace_back(Event{BlockCreated{BlockValue{}}});
  watched.world.land(Partition{0}, *encode_record(commit));
  watched.run(std::chrono::seconds{1});
  EXPECT_EQ("OneWriter", watched.violation().invariant);
}

}  // namespace
}  // namespace varve::sim
