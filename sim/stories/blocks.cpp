// The story of a block that two agents share.
#include "sim/stories/stories.h"

namespace varve::sim {
namespace {

constexpr const char* kScript = R"({"replies":[
  {"match":"note it","delay_ms":300,"then":"Noted.","tool_calls":[
     {"name":"memory_insert","arguments":{"label":"human","new_string":"Noted by a tool."}}]},
  {"match":"slow","delay_ms":300,"text":"That took a while."}]})";

class Blocks final : public Story {
 public:
  explicit Blocks(StoryStage& stage)
      : stage_(stage),
        ann_(stage, client_options(1), stage.ears()),
        bob_(stage, client_options(2), stage.ears()) {}

 protected:
  Task<> play() override {
    if (Status made = co_await make_both(); !made) co_return made;
    if (Status shared = co_await edit_reaches_both("tea", "first"); !shared) co_return shared;
    if (Status edited = co_await edit_in_a_turn(); !edited) co_return edited;
    if (Status edited = co_await tool_in_a_turn(); !edited) co_return edited;
    co_return co_await detach();
  }

 private:
  static StoryClient::Options client_options(ClientId id) {
    return StoryClient::persistent("blocks-" + std::to_string(id), id);
  }
  static std::string label_path(const std::string& agent) {
    return "/v1/agents/" + agent + "/core-memory/blocks/human";
  }
  std::string block_path() const { return "/v1/blocks/" + block_; }

  Task<> make_both() {
    block_ = ann_.block_of("block");
    Op create = op::CreateBlock{block_, "human", "water"};
    auto block = co_await ann_.ask_for(std::move(create), "POST", "/v1/blocks/",
                                       R"({"label":"human","value":"water"})", "block");
    if (!block) co_return block.error();
    if (text_of(*block, "id") != block_) co_return unexpected("the block is " + block->dump());
    auto ann = co_await ann_.ask("POST", "/v1/agents/", R"({"name":"ann"})", "ann");
    if (!ann) co_return ann.error();
    ann_id_ = text_of(*ann, "id");
    auto bob = co_await bob_.ask("POST", "/v1/agents/", R"({"name":"bob"})", "bob");
    if (!bob) co_return bob.error();
    bob_id_ = text_of(*bob, "id");
    for (const std::string& agent : {ann_id_, bob_id_}) {
      const std::string target = "/v1/agents/" + agent + "/core-memory/blocks/attach/" + block_;
      auto attached = co_await ann_.ask("PATCH", target, "", "attach-" + agent);
      if (!attached) co_return attached.error();
    }
    co_return ok();
  }

  // What the block holds, by all three ways to it.
  Task<std::string> value() {
    Op read = op::ReadBlock{block_};
    auto block = co_await ann_.ask_for(std::move(read), "GET", block_path(), "", "");
    if (!block) co_return block.error();
    for (const std::string& agent : readers_of_) {
      auto seen = co_await ann_.get(label_path(agent));
      if (!seen) co_return seen.error();
      if (text_of(*seen, "value") != text_of(*block, "value"))
        co_return unexpected(agent + " has " + seen->dump() + " instead of " + block->dump());
    }
    co_return text_of(*block, "value");
  }

  // The models of both agents are shown this value.
  Task<> expect_shown(std::string wanted, std::string round) {
    for (const std::string& agent : readers_of_) {
      const std::string text = "what do you know, " + agent + ", " + round + "?";
      auto answered = co_await ann_.ask("POST", "/v1/agents/" + agent + "/messages", body_of("input", text),
                                        round + agent);
      if (!answered) co_return answered.error();
      const std::string shown = stage_.shown_to_model(text);
      if (shown.find("<value>\n" + wanted + "\n</value>") == std::string::npos)
        co_return unexpected("the model of " + agent + " was not shown '" + wanted + "' but " + shown);
    }
    co_return ok();
  }

  Task<> edit_reaches_both(std::string wanted, std::string round) {
    readers_of_ = {ann_id_, bob_id_};
    Op edit = op::UpdateBlock{block_, std::nullopt, wanted};
    auto edited = co_await ann_.ask_for(std::move(edit), "PATCH", block_path(), body_of("value", wanted),
                                        "edit-" + round);
    if (!edited) co_return edited.error();
    auto got = co_await value();
    if (!got) co_return got.error();
    if (*got != wanted) co_return unexpected("the block holds '" + *got + "' instead of '" + wanted + "'");
    co_return co_await expect_shown(wanted, round);
  }

  // Ann's client edits while bob has a turn open, whose model has been shown the old value.
  Task<> edit_in_a_turn() {
    const std::string messages = "/v1/agents/" + bob_id_ + "/messages";
    bob_.fire("POST", messages, body_of("input", "a slow question"), "slow");
    co_await sleep_for(ann_.env(), std::chrono::milliseconds{100});
    Op edit = op::UpdateBlock{block_, std::nullopt, "coffee"};
    auto edited = co_await ann_.ask_for(std::move(edit), "PATCH", label_path(ann_id_),
                                        body_of("value", "coffee"), "edit-open");
    if (!edited) co_return edited.error();
    auto got = co_await value();
    if (!got) co_return got.error();
    if (*got != "coffee") co_return unexpected("with a turn open the block holds '" + *got + "'");
    auto answered = co_await bob_.ask("POST", messages, body_of("input", "a slow question"), "slow");
    if (!answered) co_return answered.error();
    co_return co_await expect_shown("coffee", "second");
  }

  // Bob's tool inserts a line, while ann's client replaces the whole value: one of the two is first.
  Task<> tool_in_a_turn() {
    Op insert = op::AppendToBlock{block_, "Noted by a tool."};
    inserted_ = false;
    bob_.env().spawn("tool", note(*this, std::move(insert)));
    co_await sleep_for(ann_.env(), std::chrono::milliseconds{200});
    Op edit = op::UpdateBlock{block_, std::nullopt, "milk"};
    auto edited =
        co_await ann_.ask_for(std::move(edit), "PATCH", block_path(), body_of("value", "milk"), "milk");
    if (!edited) co_return edited.error();
    while (!inserted_) co_await sleep_for(ann_.env(), std::chrono::milliseconds{20});
    if (Status noted = failed_; !noted) co_return noted;
    auto got = co_await value();
    if (!got) co_return got.error();
    if (*got != "milk" && *got != "milk\nNoted by a tool.")
      co_return unexpected("a tool's edit and a client's gave '" + *got + "'");
    co_return co_await expect_shown(*got, "third");
  }
  static Task<> note(Blocks& self, Op insert) {
    const std::string target = "/v1/agents/" + self.bob_id_ + "/messages";
    auto noted =
        co_await self.bob_.ask_for(std::move(insert), "POST", target, body_of("input", "note it"), "note");
    self.failed_ = noted ? ok() : Status{noted.error()};
    self.inserted_ = true;
    co_return ok();
  }

  // An edit reaches only those who still have it; a block that is deleted is gone for everybody.
  Task<> detach() {
    const std::string target = "/v1/agents/" + bob_id_ + "/core-memory/blocks/detach/" + block_;
    auto detached = co_await bob_.ask("PATCH", target, "", "detach");
    if (!detached) co_return detached.error();
    readers_of_ = {ann_id_};
    Op edit = op::UpdateBlock{block_, std::nullopt, "wine"};
    auto edited =
        co_await ann_.ask_for(std::move(edit), "PATCH", block_path(), body_of("value", "wine"), "wine");
    if (!edited) co_return edited.error();
    auto got = co_await value();
    if (!got) co_return got.error();
    if (*got != "wine") co_return unexpected("at the end the block holds '" + *got + "'");
    auto gone = co_await bob_.get(label_path(bob_id_));
    if (gone) co_return unexpected("bob still has " + gone->dump());
    if (gone.error().code != Errc::not_found) co_return gone.error();
    Op remove = op::DeleteBlock{block_};
    auto removed = co_await ann_.ask_for(std::move(remove), "DELETE", block_path(), "", "delete");
    if (!removed) co_return removed.error();
    gone = co_await ann_.get(label_path(ann_id_));
    if (gone) co_return unexpected("ann still has " + gone->dump());
    if (gone.error().code != Errc::not_found) co_return gone.error();
    co_return ok();
  }

  StoryStage& stage_;
  StoryClient ann_;
  StoryClient bob_;
  std::string block_;
  std::string ann_id_;
  std::string bob_id_;
  std::vector<std::string> readers_of_;  // The agents that have the block.
  bool inserted_ = false;
  Status failed_ = ok();
};

}  // namespace

StoryKind blocks_story() {
  StoryKind kind;
  kind.name = "blocks";
  kind.what = "a block that two agents share is edited, also in an open turn";
  kind.world.nodes = 1;
  kind.world.partitions = 2;
  kind.world.snapshot_records = 4;
  kind.model_script = kScript;
  kind.make = [](StoryStage& stage) { return std::make_unique<Blocks>(stage); };
  return kind;
}

}  // namespace varve::sim
