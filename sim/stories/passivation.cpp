// The story of an agent that leaves memory and comes back: from a snapshot, and from a snapshot with the
// records behind it.
#include "sim/stories/stories.h"

namespace varve::sim {
namespace {

constexpr const char* kScript = R"({"replies":[{"match":"slow","delay_ms":2500,"text":"That took a while."},
  {"match":"likes tea","tool_calls":[{"name":"memory_insert","arguments":{"label":"human","new_string":"Tea."}}],
   "then":"Noted."}]})";

class Passivation final : public Story {
 public:
  explicit Passivation(StoryStage& stage)
      : stage_(stage), client_(stage, StoryClient::persistent("passivation", 0), stage.ears()) {}

  // Everything that was ever asked is in the snapshots or behind them; nobody is in memory.
  std::string at_rest() override {
    if (stage_.world().snapshots().storage()->snapshots.empty()) return "there are no snapshots at the end";
    return "";
  }

 protected:
  Task<> play() override {
    auto created = co_await client_.ask(
        "POST", "/v1/agents/",
        R"({"name":"ann","tags":["a"],"memory_blocks":[{"label":"human","value":"Ann."}]})", "create");
    if (!created) co_return created.error();
    path_ = "/v1/agents/" + text_of(*created, "id");
    auto first = co_await say("hello", "assistant_message:You said: hello;");
    if (!first) co_return first.error();

    // From its snapshot alone.
    if (Status asleep = co_await fall_asleep(); !asleep) co_return asleep;
    if (Status woken = co_await wake_up(*first); !woken) co_return woken;

    // From its snapshot and the records behind it, which a new shard has read.
    if (Status asleep = co_await fall_asleep(); !asleep) co_return asleep;
    auto tea = co_await say("Ann likes tea",
                            "tool_call_message:;tool_return_message:success;assistant_message:Noted.;");
    if (!tea) co_return tea.error();
    note_tail();
    stage_.crash();
    stage_.reboot_later();
    if (Status woken = co_await wake_up(*first); !woken) co_return woken;

    // An agent with an open turn is not idle, however long its model thinks.
    auto slow = co_await say("a slow one", "assistant_message:That took a while.;");
    if (!slow) co_return slow.error();
    if (Status asleep = co_await fall_asleep(); !asleep) co_return asleep;
    if (Status woken = co_await wake_up(*first); !woken) co_return woken;
    co_return co_await fall_asleep();
  }

 private:
  Task<Json> say(std::string text, std::string answer) {
    ++said_;
    auto answered = co_await client_.ask("POST", path_ + "/messages", body_of("input", text),
                                         "say-" + std::to_string(said_));
    if (!answered) co_return answered.error();
    history_ += "user_message:" + text + ";" + answer;
    co_return std::move(*answered);
  }

  Task<> expect_history() {
    auto got = co_await client_.messages(path_);
    if (!got) co_return got.error();
    if (*got != history_) co_return unexpected("the history is " + *got + " instead of " + history_);
    co_return ok();
  }

  // Its state is what it was: it remembers its first command, its name and its memory, and goes on.
  Task<> wake_up(Json first) {
    auto again = co_await client_.ask("POST", path_ + "/messages", body_of("input", "hello"), "say-1");
    if (!again) co_return again.error();
    if (!(*again == first)) co_return unexpected("a retry was answered differently: " + again->dump());
    const std::string tag = "tag-" + std::to_string(said_);
    auto patched = co_await client_.ask("PATCH", path_, R"({"tags":[")" + tag + R"("]})", tag);
    if (!patched) co_return patched.error();
    if (text_of(*patched, "name") != "ann") co_return unexpected("the agent is " + patched->dump());
    const std::string text = "round " + std::to_string(said_);
    auto said = co_await say(text, "assistant_message:You said: " + text + ";");
    if (!said) co_return said.error();
    co_return co_await expect_history();
  }

  // Until no actor is in memory.
  Task<> fall_asleep() {
    for (int tries = 0; tries < kTriesMax; ++tries) {
      if (stage_.up() && asleep()) {
        stage_.world().counters().add("sometimes.story.asleep");
        co_return ok();
      }
      co_await sleep_for(client_.env(), std::chrono::milliseconds{250});
    }
    co_return unexpected("the actors do not leave memory");
  }
  bool asleep() {
    for (std::uint32_t i = 0; i < stage_.world().options().partitions; ++i) {
      const Shard* shard = stage_.world().node(0).shard(Partition{i});
      if (shard == nullptr || !shard->owner().owned() || shard->resident() > 0) return false;
    }
    return true;
  }

  // Whether the agent's next life begins with a snapshot and a tail.
  void note_tail() {
    const StreamId agent{path_.substr(path_.rfind('/') + 1)};
    const auto& rows = stage_.world().snapshots().storage()->snapshots;
    const auto row = rows.find(agent);
    const auto& steps = stage_.log().steps_of(agent);
    if (row == rows.end() || steps.empty() || !(row->second.sequence < steps.back().first)) return;
    stage_.world().counters().add("sometimes.story.snapshot_and_tail");
  }

  static constexpr int kTriesMax = 400;
  StoryStage& stage_;
  StoryClient client_;
  std::string path_;
  std::string history_;
  int said_ = 0;
};

}  // namespace

StoryKind passivation_story() {
  StoryKind kind;
  kind.name = "passivation";
  kind.what = "an agent is snapshotted, leaves memory and comes back";
  kind.world.nodes = 1;
  kind.world.partitions = 1;
  kind.world.snapshot_records = 6;
  kind.world.idle = std::chrono::seconds{1};
  kind.model_script = kScript;
  kind.make = [](StoryStage& stage) { return std::make_unique<Passivation>(stage); };
  return kind;
}

}  // namespace varve::sim
