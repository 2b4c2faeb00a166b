// The story of claims that move between two nodes: a second node joins, the first one is restarted by plan,
// the second one is cut off; meanwhile turns are open, streams are read through the node that does not own
// their agent, and commands are forwarded.
#include <array>

#include "sim/stories/stories.h"

namespace varve::sim {
namespace {

constexpr int kTriesMax = 240;
constexpr std::chrono::milliseconds kPause{250};
constexpr std::chrono::milliseconds kBegun{100};  // A turn is open after so long.
constexpr const char* kScript = R"({"replies":[
  {"match":"slow","delay_ms":600,"text":"That took a while."},
  {"match":"in pieces","text":"one two three four","token_delay_ms":150}]})";

class Move final : public Story {
 public:
  explicit Move(StoryStage& stage)
      : stage_(stage),
        left_(stage, client_options(1, 0), stage.ears()),
        right_(stage, client_options(2, 1), stage.ears()) {}

  void on_crash(std::size_t node) override { ++crashes_[node]; }

  std::string at_rest() override {
    for (std::size_t node = 0; node < stage_.world().nodes(); ++node) {
      if (!stage_.world().up(node)) return "a node is down at the end";
      if (stage_.world().node(node).member().shards().empty())
        return ClusterWorld::place(node) + " owns nothing at the end";
    }
    return "";
  }

 protected:
  Task<> play() override {
    for (std::uint32_t i = 0; i < stage_.world().options().partitions; ++i) {
      if (Status made = co_await make_agent(Partition{i}); !made) co_return made;
    }
    // The second node joins: a partition is drained, released and claimed.
    open_turns("join");
    co_await sleep_for(left_.env(), kBegun);
    stage_.boot(1);
    if (Status joined = co_await finish_turns("join"); !joined) co_return joined;
    if (Status spread = co_await both_own(); !spread) co_return spread;
    if (Status through = co_await through_both("spread"); !through) co_return through;

    // The first node is restarted by plan: it hands its turns over and leaves.
    open_turns("restart");
    co_await sleep_for(left_.env(), kBegun);
    if (Status restarted = co_await restart_first(); !restarted) co_return restarted;
    if (Status finished = co_await finish_turns("restart"); !finished) co_return finished;
    if (Status spread = co_await both_own(); !spread) co_return spread;

    // The second node is cut off from the brokers until its assignment is lost, and comes back.
    open_turns("cut");
    co_await sleep_for(left_.env(), kBegun);
    stage_.world().cut_off(1, true);
    Status finished = co_await finish_turns("cut");
    if (finished) finished = co_await through_both("cut");
    stage_.world().cut_off(1, false);
    if (!finished) co_return finished;
    if (Status spread = co_await both_own(); !spread) co_return spread;
    if (Status through = co_await through_both("whole"); !through) co_return through;
    co_return co_await expect_histories();
  }

 private:
  struct Agent {
    std::string path;
    std::string history;
  };

  static StoryClient::Options client_options(ClientId id, std::size_t first_node) {
    auto options = StoryClient::persistent("move-" + std::to_string(id), id);
    options.first_node = first_node;
    options.policy.patience = std::chrono::seconds{8};
    options.policy.longest_wait = std::chrono::seconds{1};
    return options;
  }

  // An agent that lives in this partition.
  Task<> make_agent(Partition home) {
    std::string key = "agent";
    while (stage_.home_of(left_.agent_of(key)) != home) key += "+";
    auto created = co_await left_.ask("POST", "/v1/agents/", R"({"name":"ann"})", key);
    if (!created) co_return created.error();
    if (text_of(*created, "id") != left_.agent_of(key)) co_return unexpected("created " + created->dump());
    agents_.push_back({"/v1/agents/" + left_.agent_of(key), ""});
    co_return ok();
  }

  // A slow turn of the first agent, and one of the second whose pieces are read as a stream: each through the
  // node that has not been asked for the other.
  void open_turns(const std::string& round) {
    streamed_ = false;
    right_.fire("POST", agents_[0].path + "/messages", body_of("input", "slow " + round), "slow-" + round);
    left_.env().spawn("stream", stream(*this, round));
  }

  static Task<> stream(Move& self, std::string round) {
    const std::string body = R"({"input":"in pieces )" + round + R"(","stream_tokens":true})";
    const std::string path = self.agents_[1].path + "/messages/stream";
    const std::size_t node = self.right_.options().first_node;
    const std::size_t crashes = self.crashes_[node];
    auto once = co_await self.right_.once("POST", path, body, "stream-" + round);
    CHECK(once.has_value());
    // This node is not drained: whatever becomes of the partition, its streams go on.
    const bool interrupted = once->status == 200 && once->body.find("event: error") != std::string::npos;
    if (interrupted && self.crashes_[node] == crashes)
      self.failed_ = unexpected("a stream was interrupted: " + once->body);
    auto came = co_await self.right_.insist("POST", path, body, "stream-" + round);
    if (!came) {
      self.failed_ = came.error();
    } else if (came->body.find("four") == std::string::npos ||
               came->body.find("data: [DONE]") == std::string::npos) {
      self.failed_ = unexpected("a stream is not whole: " + came->body);
    }
    self.streamed_ = true;
    co_return ok();
  }

  Task<> finish_turns(std::string round) {
    auto slow = co_await right_.ask("POST", agents_[0].path + "/messages", body_of("input", "slow " + round),
                                    "slow-" + round);
    if (!slow) co_return slow.error();
    agents_[0].history += "user_message:slow " + round + ";assistant_message:That took a while.;";
    while (!streamed_) co_await sleep_for(left_.env(), std::chrono::milliseconds{20});
    agents_[1].history += "user_message:in pieces " + round + ";assistant_message:one two three four;";
    co_return failed_;
  }

  // A command to each agent through each node: one of the two is forwarded.
  Task<> through_both(std::string round) {
    for (Agent& agent : agents_) {
      for (StoryClient* client : {&left_, &right_}) {
        const std::string text = round + " by " + client->options().name;
        auto said = co_await client->ask("POST", agent.path + "/messages", body_of("input", text), text);
        if (!said) co_return said.error();
        agent.history += "user_message:" + text + ";assistant_message:You said: " + text + ";";
      }
    }
    co_return ok();
  }

  // A partition for each node, served.
  Task<> both_own() {
    for (int tries = 0; tries < kTriesMax; ++tries) {
      if (owns(0) && owns(1)) co_return ok();
      co_await sleep_for(left_.env(), kPause);
    }
    co_return unexpected("the partitions are not spread over both nodes");
  }
  bool owns(std::size_t node) {
    ClusterWorld& world = stage_.world();
    if (!world.up(node) || !world.owning().settled()) return false;
    const auto shards = world.node(node).member().shards();
    return !shards.empty() && std::all_of(shards.begin(), shards.end(),
                                          [](const auto& shard) { return shard->owner().owned(); });
  }

  // A planned drain that a crash may cut short.
  Task<> restart_first() {
    ClusterWorld& world = stage_.world();
    if (world.up(0)) {
      auto drained = std::make_shared<OneShot<Unit>>();
      SimEnv& env = world.env(0);
      env.spawn("drain", drain(&world.node(0), env.now() + std::chrono::seconds{5}, drained, &left_.env()));
      const MonoTime deadline = left_.env().now() + std::chrono::seconds{6};
      ignore_error(co_await drained->get(left_.env(), deadline), "a crash ends it as well");
    }
    stage_.crash_for_a_while(0);
    co_return ok();
  }
  static Task<> drain(Node* node, MonoTime deadline, std::shared_ptr<OneShot<Unit>> drained, SimEnv* client) {
    Status status = co_await node->drain(deadline);
    client->post([drained, status] { drained->set(status); });
    co_return ok();
  }

  Task<> expect_histories() {
    left_.wait_for_writes_of(right_);
    right_.wait_for_writes_of(left_);
    for (Agent& agent : agents_) {
      for (StoryClient* client : {&left_, &right_}) {
        auto got = co_await client->messages(agent.path);
        if (!got) co_return got.error();
        if (*got != agent.history)
          co_return unexpected("the history is " + *got + " instead of " + agent.history);
      }
    }
    co_return ok();
  }

  StoryStage& stage_;
  StoryClient left_;
  StoryClient right_;
  std::vector<Agent> agents_;
  bool streamed_ = false;  // The stream of this round has been read to its end.
  Status failed_ = ok();
  std::array<std::size_t, 2> crashes_{};  // Of each node.
};

}  // namespace

StoryKind move_story() {
  StoryKind kind;
  kind.name = "move";
  kind.what = "claims move between two nodes: join, drain, lost assignment";
  kind.world.nodes = 2;
  kind.world.partitions = 2;
  kind.world.snapshot_records = 6;
  kind.model_script = kScript;
  kind.first_nodes = 1;
  kind.make = [](StoryStage& stage) { return std::make_unique<Move>(stage); };
  return kind;
}

}  // namespace varve::sim
