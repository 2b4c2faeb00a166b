#include "sim/lifecycle.h"

#include "runtime/json.h"

namespace varve::sim {
namespace {

constexpr std::uint64_t kStepsMax = 2'000'000;
constexpr int kAttemptsMax = 60;
constexpr std::chrono::seconds kPatience{3};
constexpr std::chrono::milliseconds kBackoff{50};
constexpr std::chrono::milliseconds kDownTime{20};

constexpr const char* kScript = R"({"replies":[
  {"match":"likes tea","tool_calls":[{"name":"memory_insert","arguments":{"label":"human","new_string":"Likes tea."}},
     {"name":"memory_insert","arguments":{"label":"persona","new_string":"I remember."}}],
   "then":"I have noted it."},
  {"match":"never mind","delay_ms":400,"text":"Too late."},
  {"match":"in pieces","text":"one two three","token_delay_ms":5},
  {"match":"slow","delay_ms":300,"text":"That took a while."}]})";

}  // namespace

class Lifecycle::Story {
 public:
  Story(Stage& stage, Acknowledged acknowledged) : world_(stage), acknowledged_(std::move(acknowledged)) {}

  bool done() const { return done_; }
  const std::vector<std::string>& failures() const { return failures_; }
  void start() { world_.client().spawn("lifecycle", play(*this)); }

  void reboot_later() {
    world_.client().call_at(world_.client().now() + kDownTime, [this] {
      if (!world_.up()) world_.boot();
    });
  }

 private:
  static Task<> play(Story& self) {
    Status status = co_await self.story();
    if (!status) self.failures_.push_back("client: " + status.error().message);
    self.done_ = true;
    co_return ok();
  }

  Task<> story() {
    // 1. Create through the API.
    auto created = co_await ask("POST", "/v1/agents/", kCreate, "create");
    if (!created) co_return created.error();
    const std::string id = text_of(*created, "id");
    const std::string path = "/v1/agents/" + id;

    // 2. Talk to it; one turn edits a block of its memory.
    const std::string hello = R"({"messages":[{"role":"user","content":"hello"}]})";
    auto first = co_await ask("POST", path + "/messages", hello, "hello");
    if (!first) co_return first.error();
    auto tea = co_await ask("POST", path + "/messages", R"({"input":"Ann likes tea"})", "tea");
    if (!tea) co_return tea.error();
    auto patched = co_await ask("PATCH", path, R"({"tags":["a","c"]})", "patch");
    if (!patched) co_return patched.error();

    // Two at once: the second waits for the first one's turn, and both are answered.
    Request left = make("POST", path + "/messages", R"({"input":"left"})", "left");
    world_.client().spawn("left", fire(*this, std::move(left)));
    auto right = co_await ask("POST", path + "/messages", R"({"input":"right"})", "right");
    if (!right) co_return right.error();
    auto joined = co_await ask("POST", path + "/messages", R"({"input":"left"})", "left");
    if (!joined) co_return joined.error();
    if (Status both = co_await learn_order(path); !both) co_return both;

    // 3. List.
    if (Status listed = co_await expect_history(path); !listed) co_return listed;

    // 4. Crash and restart, while a slow turn is open.
    Request slow = make("POST", path + "/messages", R"({"input":"a slow question"})", "slow");
    world_.client().spawn("slow", fire(*this, std::move(slow)));
    co_await sleep_for(world_.client(), std::chrono::milliseconds{100});
    world_.crash();
    reboot_later();

    // 5. List again: nothing is lost, and the interrupted turn is finished.
    auto answered = co_await ask("POST", path + "/messages", R"({"input":"a slow question"})", "slow");
    if (!answered) co_return answered.error();
    history_ += "user_message:a slow question;assistant_message:That took a while.;";
    if (Status listed = co_await expect_history(path); !listed) co_return listed;

    // A retry of what has taken effect changes nothing and gives the same answer.
    auto again = co_await ask("POST", path + "/messages", hello, "hello");
    if (!again) co_return again.error();
    if (!(*again == *first)) co_return failed("a retry was answered differently: " + again->dump());
    if (Status listed = co_await expect_history(path); !listed) co_return listed;
    auto block = co_await ask("GET", path + "/core-memory/blocks/human", "", "");
    if (!block) co_return block.error();
    if (text_of(*block, "value") != "Name: Ann.\nLikes tea.")
      co_return failed("the block is " + block->dump());

    if (Status streamed = co_await stream_a_turn(path); !streamed) co_return streamed;
    if (Status cancelled = co_await cancel_a_turn(path); !cancelled) co_return cancelled;
    if (Status imported = co_await import_an_agent(); !imported) co_return imported;

    auto deleted = co_await ask("DELETE", path, "", "delete");
    if (!deleted) co_return deleted.error();
    auto gone = co_await ask("GET", path, "", "");
    if (gone) co_return failed("the agent is still there after DELETE");
    if (gone.error().code != Errc::not_found) co_return gone.error();
    co_return ok();
  }

  // A stream is read to its end, and again with its key: the same words, each time whole.
  Task<> stream_a_turn(std::string path) {
    const std::string body = R"({"input":"in pieces","stream_tokens":true})";
    for (int round = 0; round < 2; ++round) {
      auto response = co_await persist("POST", path + "/messages/stream", body, "stream");
      if (!response) co_return response.error();
      if (response->body.find("three") == std::string::npos ||
          response->body.find("data: [DONE]") == std::string::npos) {
        co_return failed("a stream is not whole: " + response->body);
      }
    }
    history_ += "user_message:in pieces;assistant_message:one two three;";
    co_return co_await expect_history(path);
  }

  // Whatever the crash does to it: the turn ends once, cancelled or answered, and the next one is free to go.
  Task<> cancel_a_turn(std::string path) {
    const std::string body = R"({"input":"never mind"})";
    Request asked = make("POST", path + "/messages", body, "never-mind");
    world_.client().spawn("never mind", fire(*this, std::move(asked)));
    co_await sleep_for(world_.client(), std::chrono::milliseconds{100});
    auto cancelled = co_await persist("POST", path + "/messages/cancel", "{}", "cancel");
    if (!cancelled) co_return cancelled.error();
    if (cancelled->status != 200 && cancelled->status != 409) {
      co_return failed("a cancel was answered " + cancelled->body);
    }
    auto answer = co_await ask("POST", path + "/messages", body, "never-mind");
    if (!answer) co_return answer.error();
    const Json* stop = answer->find("stop_reason");
    const std::string reason = stop != nullptr ? text_of(*stop, "stop_reason") : "";
    if (reason != "cancelled" && reason != "end_turn") co_return failed("the turn ended: " + answer->dump());
    history_ += "user_message:never mind;";
    if (reason == "end_turn") history_ += "assistant_message:Too late.;";
    co_return co_await expect_history(path);
  }

  // An import in several records is there whole or not at all, and once.
  Task<> import_an_agent() {
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
    const std::string body =
        "--sim\r\ncontent-disposition: form-data; name=\"append_copy_suffix\"\r\n\r\nfalse\r\n--sim\r\n"
        "content-disposition: form-data; name=\"file\"; filename=\"elder.af\"\r\n\r\n" +
        file + "\r\n--sim--\r\n";
    for (int round = 0; round < 2; ++round) {
      auto imported = co_await ask("POST", "/v1/agents/import", body, "import");
      if (!imported) co_return imported.error();
      auto found = co_await ask("GET", "/v1/agents/?name=elder", "", "");
      if (!found) co_return found.error();
      if (found->items().size() != 1) co_return failed("imported once, listed: " + found->dump());
      const std::string id = text_of(found->items().front(), "id");
      auto listed = co_await list("/v1/agents/" + id);
      if (!listed) co_return listed.error();
      std::string wanted;
      for (int i = 0; i < 6; ++i) wanted += "user_message:old " + std::to_string(i) + ";";
      if (*listed != wanted) co_return failed("the import is " + *listed);
    }
    co_return ok();
  }

  static Task<> fire(Story& self, Request request) {
    ignore_error(co_await self.world_.request(std::move(request), kPatience), "the node dies meanwhile");
    co_return ok();
  }

  static Error failed(std::string what) { return {Errc::corrupt, std::move(what)}; }

  static Request make(std::string method, std::string target, std::string body, const std::string& key) {
    Request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = std::move(body);
    const bool form = request.body.starts_with("--sim");
    request.headers.emplace("content-type", form ? "multipart/form-data; boundary=sim" : "application/json");
    if (!key.empty()) request.headers.emplace("idempotency-key", "lifecycle-" + key);
    return request;
  }

  Task<Json> ask(std::string method, std::string target, std::string body, std::string key) {
    auto response = co_await persist(method, target, std::move(body), std::move(key));
    if (!response) co_return response.error();
    auto json = Json::parse(response->body);
    if (response->status == 404) co_return Error{Errc::not_found, response->body};
    if (!json || response->status != 200) {
      std::string what = method;
      what.append(" ").append(target).append(" -> ").append(std::to_string(response->status));
      co_return failed(what.append(" ").append(response->body));
    }
    co_return std::move(*json);
  }

  // Retries as the real clients do: no connection, 408, 429 and everything from 500; and a stream that was
  // handed over in the middle.
  Task<Response> persist(std::string method, std::string target, std::string body, std::string key) {
    std::string last = "no answer";
    for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
      Request request = make(method, target, body, key);
      auto response = co_await world_.request(std::move(request), kPatience);
      const bool broken = response && response->body.find("event: error") != std::string::npos;
      if (response && response->status < 500 && response->status != 429 && !broken) {
        if (const auto position = response->header("varve-position")) {
          if (auto positions = parse_positions(*position)) acknowledged_(*positions);
        }
        co_return std::move(*response);
      }
      last = response ? response->body : response.error().message;
      co_await sleep_for(world_.client(), kBackoff);
    }
    co_return failed(method + " " + target + " was never answered; last: " + last);
  }

  Task<std::string> list(std::string path) {
    auto listed = co_await ask("GET", path + "/messages?order=asc&limit=100", "", "");
    if (!listed) co_return listed.error();
    std::string got;
    for (const Json& message : listed->items()) {
      const std::string type = text_of(message, "message_type");
      if (type == "system_message") continue;
      got += type + ":" + text_of(message, type == "tool_return_message" ? "status" : "content") + ";";
    }
    co_return got;
  }

  Task<> expect_history(std::string path) {
    auto got = co_await list(path);
    if (!got) co_return got.error();
    if (*got != history_) co_return failed("the history is " + *got + " instead of " + history_);
    co_return ok();
  }

  // Which of the two messages that were sent at once came first is not ours to say; that both are there,
  // whole, is.
  Task<> learn_order(std::string path) {
    const std::string left = "user_message:left;assistant_message:You said: left;";
    const std::string right = "user_message:right;assistant_message:You said: right;";
    auto got = co_await list(path);
    if (!got) co_return got.error();
    const bool left_first = *got == history_ + left + right;
    if (!left_first && *got != history_ + right + left) co_return failed("two at once gave " + *got);
    history_ = *got;
    co_return ok();
  }

  static std::string text_of(const Json& object, std::string_view key) {
    const Json* found = object.find(key);
    return found != nullptr && found->is_string() ? found->as_string() : "";
  }

  static constexpr const char* kCreate =
      R"({"name":"ann","tags":["a","b"],"memory_blocks":[{"label":"human","value":"Name: Ann."},)"
      R"({"label":"persona","value":"I am terse."}]})";

  Stage& world_;
  Acknowledged acknowledged_;
  std::vector<std::string> failures_;
  bool done_ = false;
  std::string history_ =
      "user_message:hello;assistant_message:You said: hello;user_message:Ann likes tea;tool_call_message:;"
      "tool_return_message:success;tool_return_message:success;assistant_message:I have noted it.;";
};

Lifecycle::Lifecycle(Stage& stage, Acknowledged acknowledged)
    : story_(std::make_unique<Story>(stage, std::move(acknowledged))) {}
Lifecycle::~Lifecycle() = default;

void Lifecycle::start() {
  story_->start();
}
bool Lifecycle::done() const {
  return story_->done();
}
const std::vector<std::string>& Lifecycle::failures() const {
  return story_->failures();
}
void Lifecycle::reboot_later() {
  story_->reboot_later();
}
const char* Lifecycle::model_script() {
  return kScript;
}

RunResult run_lifecycle(const RunOptions& options) {
  RunResult result;
  World::Options world_options;
  world_options.seed = options.seed;
  world_options.sparse_log = options.sparse_log;
  world_options.model_script = Lifecycle::model_script();
  World world(world_options);
  world.scheduler().print_trace(options.print_trace);
  world.scheduler().on_line(options.on_line);
  Oracles oracles(world);
  Lifecycle scenario(
      world, [&oracles](const std::vector<LogPosition>& positions) { oracles.acknowledged(positions); });
  world.boot();
  scenario.start();

  const auto step = [&] {
    if (!world.scheduler().step()) return false;
    oracles.after_step();
    if (options.crash_after_step != 0 && world.scheduler().steps() == options.crash_after_step) {
      world.crash();
      scenario.reboot_later();
    }
    return oracles.violations().empty();
  };
  while (!scenario.done() && world.scheduler().steps() < kStepsMax && step()) {
  }
  if (!scenario.done()) result.failures.emplace_back("the scenario did not end");
  // Let everything drain that is still under way.
  const MonoTime rest = world.scheduler().now() + std::chrono::seconds{2};
  while (world.scheduler().now() < rest && step()) {
  }
  oracles.at_rest(world);
  result.failures.insert(result.failures.end(), scenario.failures().begin(), scenario.failures().end());
  for (const Violation& violation : oracles.violations()) {
    result.failures.push_back(violation.invariant + ": " + violation.what);
  }
  result.steps = world.scheduler().steps();
  result.trace_hash = world.scheduler().trace_hash();
  world.scheduler().on_line({});  // What the world's end traces is not the run's.
  return result;
}

CrashSweepResult sweep_lifecycle(std::uint64_t seed, std::uint64_t stride) {
  CrashSweepResult sweep;
  RunOptions options;
  options.seed = seed;
  const RunResult calm = run_lifecycle(options);
  for (std::uint64_t crash = 0; crash <= calm.steps; crash += stride) {
    options.crash_after_step = crash;
    const RunResult run = crash == 0 ? calm : run_lifecycle(options);
    ++sweep.runs;
    if (run.failures.empty()) continue;
    ++sweep.failed;
    if (sweep.first_failure.empty()) {
      sweep.first_failure = run.failures.front() + "\n  replay: varve-sim run --scenario lifecycle --seed " +
                            std::to_string(seed) + " --crash-after " + std::to_string(crash) + " --trace";
    }
  }
  return sweep;
}

}  // namespace varve::sim
