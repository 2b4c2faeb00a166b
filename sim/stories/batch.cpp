// The story of views that lag: the database is slow, so that many records go into one transaction, and for a
// while it loses its answers after COMMIT.
#include "sim/stories/stories.h"

namespace varve::sim {
namespace {

constexpr int kAgents = 5;
constexpr std::uint64_t kDelayUs = 30'000;
constexpr std::uint32_t kLostPpm = 500'000;

class BatchStory final : public Story {
 public:
  explicit BatchStory(StoryStage& stage) : stage_(stage), client_(stage, client_options(0), stage.ears()) {
    for (int i = 1; i <= kAgents; ++i) {
      clients_.push_back(
          std::make_unique<StoryClient>(stage, client_options(static_cast<ClientId>(i)), stage.ears()));
    }
    stage.world().views().on_commit(
        [this](const Batch& batch, const MemoryViewStorage& /*after*/) { note_batch(batch); });
  }

  void on_crash(std::size_t node) override {
    // What the node knows of its views, and what there is: a transaction whose answer was under way.
    const Offset known = stage_.world().node(node).progress().next(Partition{0});
    if (known < stored_) stage_.world().counters().add("sometimes.story.died_before_the_answer");
  }

 protected:
  Task<> play() override {
    set_views(0);
    for (int round = 1; round <= 2; ++round) {
      // The second time with answers that are lost.
      if (round == 2) set_views(kLostPpm);
      for (int i = 0; i < kAgents; ++i) {
        ++running_;
        client_.env().spawn("work", work(*this, static_cast<std::size_t>(i), round));
      }
      while (running_ > 0) co_await sleep_for(client_.env(), std::chrono::milliseconds{10});
      if (Status worked = failed_; !worked) co_return worked;
    }
    set_views(0);
    co_return co_await look_at_all();
  }

 private:
  static StoryClient::Options client_options(ClientId id) {
    return StoryClient::persistent("batch-" + std::to_string(id), id);
  }

  void set_views(std::uint32_t lost_ack_ppm) {
    StoreFaults faults;
    faults.delay_us = kDelayUs;
    faults.lost_ack_ppm = lost_ack_ppm;
    stage_.world().views().link().set_faults(faults);
  }

  void note_batch(const Batch& batch) {
    std::size_t records = 0;
    for (const LogRecord& record : stage_.world().log().records(batch.partition)) {
      if (record.offset >= stored_ && record.offset < batch.checkpoint.next) ++records;
    }
    stored_ = batch.checkpoint.next;
    if (records >= 3) stage_.world().counters().add("sometimes.story.batch_of_many");
  }

  static Task<> work(BatchStory& self, std::size_t number, int round) {
    Status done = co_await self.create_or_go_on(number, round);
    if (!done) self.failed_ = done;
    --self.running_;
    co_return ok();
  }

  Task<> create_or_go_on(std::size_t number, int round) {
    StoryClient& client = *clients_[number];
    const std::string name = "agent " + std::to_string(number);
    const std::string path = "/v1/agents/" + client.agent_of("create");
    if (round == 1) {
      const std::string body =
          R"({"name":")" + name + R"(","memory_blocks":[{"label":"human","value":"v"}]})";
      auto created = co_await client.ask("POST", "/v1/agents/", body, "create");
      if (!created) co_return created.error();
    }
    const std::string text = "message " + std::to_string(round) + " to " + name;
    const std::string key = "say-" + std::to_string(round);
    auto said = co_await client.ask("POST", path + "/messages", body_of("input", text), key);
    if (!said) co_return said.error();
    const std::string tag = "tag-" + std::to_string(round);
    auto tagged = co_await client.ask("PATCH", path, R"({"tags":[")" + tag + R"("]})", tag);
    if (!tagged) co_return tagged.error();
    const std::string value = "value " + std::to_string(round);
    auto edited =
        co_await client.ask("PATCH", path + "/core-memory/blocks/human", body_of("value", value), tag);
    if (!edited) co_return edited.error();
    co_return ok();
  }

  // Nothing doubled, nothing lost, in no view.
  Task<> look_at_all() {
    for (int i = 0; i < kAgents; ++i) {
      StoryClient& client = *clients_[static_cast<std::size_t>(i)];
      const std::string name = "agent " + std::to_string(i);
      const std::string path = "/v1/agents/" + client.agent_of("create");
      std::string wanted;
      for (const char* round : {"1", "2"}) {
        const std::string text = std::string("message ") + round + " to " + name;
        wanted.append("user_message:")
            .append(text)
            .append(";assistant_message:You said: ")
            .append(text)
            .append(";");
      }
      auto got = co_await client.messages(path);
      if (!got) co_return got.error();
      if (*got != wanted) co_return unexpected(name + " has " + *got + " instead of " + wanted);
      auto block = co_await client.get(path + "/core-memory/blocks/human");
      if (!block) co_return block.error();
      if (text_of(*block, "value") != "value 2") co_return unexpected(name + " has " + block->dump());
    }
    auto listed = co_await clients_[0]->get("/v1/agents/?limit=100");
    if (!listed) co_return listed.error();
    if (listed->items().size() != kAgents)
      co_return unexpected("there are not five agents: " + listed->dump());
    co_return ok();
  }

  StoryStage& stage_;
  StoryClient client_;
  std::vector<std::unique_ptr<StoryClient>> clients_;
  int running_ = 0;
  Status failed_ = ok();
  Offset stored_;  // Of the checkpoint.
};

}  // namespace

StoryKind batch_story() {
  StoryKind kind;
  kind.name = "batch";
  kind.what = "many records in one transaction of the views, whose answer may be lost";
  kind.world.nodes = 1;
  kind.world.partitions = 1;
  kind.make = [](StoryStage& stage) { return std::make_unique<BatchStory>(stage); };
  return kind;
}

}  // namespace varve::sim
