#include "sim/stories/lifecycle.h"

#include "sim/stories/stories.h"

namespace varve::sim {
namespace {

constexpr std::chrono::milliseconds kBegun{100};  // A turn is open after so long.

constexpr const char* kScript = R"({"replies":[
  {"match":"likes tea","tool_calls":[{"name":"memory_insert","arguments":{"label":"human","new_string":"Likes tea."}},
     {"name":"memory_insert","arguments":{"label":"persona","new_string":"I remember."}}],
   "then":"I have noted it."},
  {"match":"never mind","delay_ms":400,"text":"Too late."},
  {"match":"in pieces","text":"one two three","token_delay_ms":5},
  {"match":"slow","delay_ms":300,"text":"That took a while."}]})";

constexpr const char* kCreate =
    R"({"name":"ann","tags":["a","b"],"memory_blocks":[{"label":"human","value":"Name: Ann."},)"
    R"({"label":"persona","value":"I am terse."}]})";

StoryClient::Options client_options() {
  StoryClient::Options options;
  options.name = "lifecycle";
  options.policy.attempts = 60;
  options.policy.patience = std::chrono::seconds{3};
  options.policy.first_wait = std::chrono::milliseconds{50};
  options.policy.longest_wait = std::chrono::seconds{1};
  return options;
}

// A form with an agent file of six messages.
std::string import_form() {
  std::string messages;
  for (int i = 0; i < 6; ++i) {
    messages += std::string(i == 0 ? "" : ",") + R"({"type":"message","role":"user","id":"message-)" +
                std::to_string(i) + R"(","content":[{"type":"text","text":"old )" + std::to_string(i) +
                R"("}]})";
  }
  const std::string file =
      R"({"agents":[{"id":"agent-0","name":"elder","system":"S","messages":[)" + messages +
      R"(],"in_context_message_ids":["message-4","message-5"],"block_ids":["block-0"]}],)"
      R"("blocks":[{"id":"block-0","label":"human","value":"Old."}],"tools":[],"files":[],)"
      R"("sources":[],"groups":[],"mcp_servers":[],"metadata":{}})";
  return "--sim\r\ncontent-disposition: form-data; name=\"append_copy_suffix\"\r\n\r\nfalse\r\n--sim\r\n"
         "content-disposition: form-data; name=\"file\"; filename=\"elder.af\"\r\n\r\n" +
         file + "\r\n--sim--\r\n";
}

}  // namespace

LifecycleStory::LifecycleStory(Stage& stage, StoryClient::Ears ears)
    : stage_(stage), client_(stage, client_options(), std::move(ears)) {}

const char* LifecycleStory::model_script() {
  return kScript;
}

Task<> LifecycleStory::play() {
  auto created = co_await client_.ask("POST", "/v1/agents/", kCreate, "create");
  if (!created) co_return created.error();
  path_ = "/v1/agents/" + text_of(*created, "id");
  if (Status done = co_await talk(); !done) co_return done;
  if (Status done = co_await two_at_once(); !done) co_return done;
  if (Status done = co_await crash_in_a_turn(); !done) co_return done;
  if (Status done = co_await repeat(); !done) co_return done;
  if (Status done = co_await stream_a_turn(); !done) co_return done;
  if (Status done = co_await cancel_a_turn(); !done) co_return done;
  if (Status done = co_await import_an_agent(); !done) co_return done;
  co_return co_await say_goodbye();
}

Task<Json> LifecycleStory::say(std::string text, std::string key) {
  return client_.ask("POST", path_ + "/messages", body_of("input", text), std::move(key));
}

void LifecycleStory::fire(const std::string& text, const std::string& key) {
  client_.fire("POST", path_ + "/messages", body_of("input", text), key);
}

// One turn edits two blocks of the agent's memory.
Task<> LifecycleStory::talk() {
  auto hello = co_await say("hello", "hello");
  if (!hello) co_return hello.error();
  hello_ = std::move(*hello);
  auto tea = co_await say("Ann likes tea", "tea");
  if (!tea) co_return tea.error();
  history_ =
      "user_message:hello;assistant_message:You said: hello;user_message:Ann likes tea;tool_call_message:;"
      "tool_return_message:success;tool_return_message:success;assistant_message:I have noted it.;";
  auto patched = co_await client_.ask("PATCH", path_, R"({"tags":["a","c"]})", "patch");
  if (!patched) co_return patched.error();
  co_return ok();
}

// The second waits for the first one's turn, and both are answered.
Task<> LifecycleStory::two_at_once() {
  fire("left", "left");
  auto right = co_await say("right", "right");
  if (!right) co_return right.error();
  auto left = co_await say("left", "left");
  if (!left) co_return left.error();
  if (Status both = co_await learn_order(); !both) co_return both;
  co_return co_await expect_history();
}

// Nothing is lost, and the interrupted turn is finished.
Task<> LifecycleStory::crash_in_a_turn() {
  fire("a slow question", "slow");
  co_await sleep_for(client_.env(), kBegun);
  stage_.crash();
  stage_.reboot_later();
  auto answered = co_await say("a slow question", "slow");
  if (!answered) co_return answered.error();
  history_ += "user_message:a slow question;assistant_message:That took a while.;";
  co_return co_await expect_history();
}

// A retry of what has taken effect changes nothing and gives the same answer.
Task<> LifecycleStory::repeat() {
  auto again = co_await say("hello", "hello");
  if (!again) co_return again.error();
  if (!(*again == hello_)) co_return unexpected("a retry was answered differently: " + again->dump());
  if (Status listed = co_await expect_history(); !listed) co_return listed;
  auto block = co_await client_.get(path_ + "/core-memory/blocks/human");
  if (!block) co_return block.error();
  if (text_of(*block, "value") != "Name: Ann.\nLikes tea.")
    co_return unexpected("the block is " + block->dump());
  co_return ok();
}

// A stream is read to its end, and again with its key: the same words, each time whole.
Task<> LifecycleStory::stream_a_turn() {
  const std::string body = R"({"input":"in pieces","stream_tokens":true})";
  for (int round = 0; round < 2; ++round) {
    auto came = co_await client_.insist("POST", path_ + "/messages/stream", body, "stream");
    if (!came) co_return came.error();
    if (came->body.find("three") == std::string::npos ||
        came->body.find("data: [DONE]") == std::string::npos) {
      co_return unexpected("a stream is not whole: " + came->body);
    }
  }
  history_ += "user_message:in pieces;assistant_message:one two three;";
  co_return co_await expect_history();
}

// Whatever the crash does to it: the turn ends once, cancelled or answered, and the next one is free to go.
Task<> LifecycleStory::cancel_a_turn() {
  fire("never mind", "never-mind");
  co_await sleep_for(client_.env(), kBegun);
  auto cancelled = co_await client_.insist("POST", path_ + "/messages/cancel", "{}", "cancel");
  if (!cancelled) co_return cancelled.error();
  if (cancelled->status != 200 && cancelled->status != 409)
    co_return unexpected("a cancel was answered " + cancelled->body);
  auto answer = co_await say("never mind", "never-mind");
  if (!answer) co_return answer.error();
  const Json* stop = answer->find("stop_reason");
  const std::string reason = stop != nullptr ? text_of(*stop, "stop_reason") : "";
  if (reason != "cancelled" && reason != "end_turn")
    co_return unexpected("the turn ended: " + answer->dump());
  history_ += "user_message:never mind;";
  if (reason == "end_turn") history_ += "assistant_message:Too late.;";
  co_return co_await expect_history();
}

// An import in several records is there whole or not at all, and once.
Task<> LifecycleStory::import_an_agent() {
  for (int round = 0; round < 2; ++round) {
    auto imported = co_await client_.ask("POST", "/v1/agents/import", import_form(), "import");
    if (!imported) co_return imported.error();
    auto found = co_await client_.get("/v1/agents/?name=elder");
    if (!found) co_return found.error();
    if (found->items().size() != 1) co_return unexpected("imported once, listed: " + found->dump());
    auto listed = co_await client_.messages("/v1/agents/" + text_of(found->items().front(), "id"));
    if (!listed) co_return listed.error();
    std::string wanted;
    for (int i = 0; i < 6; ++i) wanted += "user_message:old " + std::to_string(i) + ";";
    if (*listed != wanted) co_return unexpected("the import is " + *listed);
  }
  co_return ok();
}

Task<> LifecycleStory::say_goodbye() {
  auto deleted = co_await client_.ask("DELETE", path_, "", "delete");
  if (!deleted) co_return deleted.error();
  auto gone = co_await client_.get(path_);
  if (gone) co_return unexpected("the agent is still there after DELETE");
  if (gone.error().code != Errc::not_found) co_return gone.error();
  co_return ok();
}

Task<> LifecycleStory::expect_history() {
  auto got = co_await client_.messages(path_);
  if (!got) co_return got.error();
  if (*got != history_) co_return unexpected("the history is " + *got + " instead of " + history_);
  co_return ok();
}

// Which of the two messages that were sent at once came first is not ours to say; that both are there,
// whole, is.
Task<> LifecycleStory::learn_order() {
  const std::string left = "user_message:left;assistant_message:You said: left;";
  const std::string right = "user_message:right;assistant_message:You said: right;";
  auto got = co_await client_.messages(path_);
  if (!got) co_return got.error();
  const bool left_first = *got == history_ + left + right;
  if (!left_first && *got != history_ + right + left) co_return unexpected("two at once gave " + *got);
  history_ = *got;
  co_return ok();
}

StoryKind lifecycle_story() {
  StoryKind kind;
  kind.name = "lifecycle";
  kind.what = "an agent's whole life: tools, streams, cancel, import, delete";
  kind.world.nodes = 1;
  kind.world.partitions = 4;
  kind.world.snapshot_records = 5;
  kind.model_script = kScript;
  kind.make = [](StoryStage& stage) { return std::make_unique<LifecycleStory>(stage, stage.ears()); };
  return kind;
}

}  // namespace varve::sim
