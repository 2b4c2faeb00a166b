// Open turns and a database that cannot be read for a moment: they are resumed all the same, and nobody has
// to ask for it (found by the swarm: I9).
#include <gtest/gtest.h>

#include "actors/scripted_model.h"
#include "runtime/json.h"
#include "sim/cluster_world.h"
#include "sim/mutants.h"
#include "sim/sim_client.h"

namespace varve::sim {
namespace {

Request post(std::string target, std::string body, std::string key) {
  Request request;
  request.method = "POST";
  request.target = std::move(target);
  request.body = std::move(body);
  request.headers.emplace("content-type", "application/json");
  request.headers.emplace("idempotency-key", std::move(key));
  return request;
}

// A node, a client, and models that think for a while.
class Place {
 public:
  explicit Place(std::uint64_t seed)
      : choices_(seed), world_(choices_, options()), client_(world_.scheduler(), "client-1", 7) {
    world_.provider().stand_in([](SimEnv& env) {
      auto model =
          ScriptedModel::parse(env, R"({"replies":[{"match":"hi","delay_ms":5000,"text":"Well."}]})");
      CHECK(model.has_value());
      return std::move(*model);
    });
    world_.boot(0);
  }
  ~Place() { client_.kill(); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // A turn is open, the node dies, and for a while most reads of its snapshots fail. How many turns end.
  std::size_t ends_after_bad_reads() {
    client_.spawn("client", begin_turn(this));
    while (!begun_ && world_.scheduler().step()) {
    }
    run_for(std::chrono::milliseconds{2500});  // A round of snapshots: the stream has to be read.
    CHECK(begun_ && ends() == 0);
    world_.crash(0);
    reads_fail(600'000);
    world_.boot(0);
    run_for(std::chrono::seconds{20});
    reads_fail(0);
    run_for(std::chrono::seconds{20});
    return ends();
  }

 private:
  static ClusterWorld::Options options() {
    ClusterWorld::Options options;
    options.nodes = 1;
    options.partitions = 1;
    options.snapshot_records = 1;
    return options;
  }

  static Task<> begin_turn(Place* self) {
    SimClient http(self->client_, self->world_.network(), "client-1");
    Request create = post("/v1/agents/", R"({"name":"ann"})", "a");
    const std::vector<std::string> urls{self->world_.url(0)};
    RetryPolicy policy;
    policy.attempts = 20;
    auto created = co_await http.insist(urls, std::move(create), policy);
    CHECK(created.has_value());
    const auto json = Json::parse(created->body);
    CHECK(json.has_value());
    const std::string path = "/v1/agents/" + json->find("id")->as_string() + "/messages/async";
    Request send = post(path, R"({"messages":[{"role":"user","content":"hi"}]})", "m");
    auto sent = co_await http.insist(urls, std::move(send), policy);
    CHECK(sent.has_value() && sent->status == 200);
    self->begun_ = true;
    co_return ok();
  }

  void run_for(Duration time) {
    const MonoTime end = world_.scheduler().now() + time;
    world_.world().call_at(end, [] {});
    while (world_.scheduler().now() < end && world_.scheduler().step()) {
    }
  }
  void reads_fail(std::uint32_t ppm) {
    StoreFaults faults;
    faults.read_ppm = ppm;
    world_.snapshots().link().set_faults(faults);
  }
  std::size_t ends() {
    std::size_t count = 0;
    for (const LogRecord& record : world_.log().records(Partition{0})) {
      if (record.bytes->find("TurnFinished") != std::string::npos) ++count;
    }
    return count;
  }

  Choices choices_;
  ClusterWorld world_;
  SimEnv client_;
  bool begun_ = false;
};

TEST(Resume, AnOpenTurnIsResumedThoughItsSnapshotCannotBeReadAtFirst) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) EXPECT_EQ(1U, Place(seed).ends_after_bad_reads()) << seed;
}

// The test sees what it is about.
TEST(Resume, WhoTriesOnceLeavesTurnsOpen) {
  const SwitchedOn wrong(Mutant::unread_turns_not_resumed);
  std::size_t ended = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) ended += Place(seed).ends_after_bad_reads();
  EXPECT_LT(ended, 10U);
}

}  // namespace
}  // namespace varve::sim
