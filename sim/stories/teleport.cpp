// The story of agents that are carried away: a copy into the same server, and two moves to another place, one
// after the other, of agents that share a block. The program that carries them is killed on its way, and the
// same command is given again; somebody talks to an agent between its export and its leaving, and edits its
// block between its leaving and its arrival.
#include "sim/carried_oracle.h"
#include "sim/shown.h"
#include "sim/stories/stories.h"
#include "sim/teleport_client.h"

namespace varve::sim {
namespace {

constexpr std::size_t kPieceBytes = 700;
constexpr int kTriesMax = 40;
constexpr std::chrono::milliseconds kPause{200};
constexpr const char* kName = "teleporter-23";
constexpr const char* kCreateBob = R"({"name":"bob","tags":["b"]})";
constexpr const char* kCreateAnn =
    R"({"name":"ann","tags":["a"],"memory_blocks":[{"label":"human","value":"Ann"}]})";

class Teleport final : public Story {
 public:
  explicit Teleport(StoryStage& stage)
      : stage_(stage),
        client_(stage, StoryClient::persistent("teleport", 1), stage.ears()),
        http_(stage.client(), stage.world().network(), kName) {}

  // Log against log.
  std::string at_rest() override {
    Violations violations;
    const LogOracle& there = stage_.elsewhere().log();
    for (const CarriedStream& one : here_) check_carried(stage_.log(), stage_.log(), one, violations);
    for (const CarriedStream& one : there_) check_carried(stage_.log(), there, one, violations);
    if (moved_agents(stage_.log()).size() != 2) violations.add("I1", "not both agents have moved");
    return violations.list().empty()
               ? ""
               : violations.list().front().invariant + ": " + violations.list().front().what;
  }

 protected:
  Task<> play() override {
    auto ann = co_await client_.ask("POST", "/v1/agents/", kCreateAnn, "ann");
    if (!ann) co_return ann.error();
    auto bob = co_await client_.ask("POST", "/v1/agents/", kCreateBob, "bob");
    if (!bob) co_return bob.error();
    ann_ = text_of(*ann, "id");
    bob_ = text_of(*bob, "id");
    if (Status shared = co_await share_block(); !shared) co_return shared;
    if (Status said = co_await say(ann_, "hello"); !said) co_return said;
    if (Status copied = co_await copy_here(); !copied) co_return copied;
    if (Status moved = co_await move(ann_, "Ann, of there"); !moved) co_return moved;
    // What the block is by now at the other place is nobody's business here.
    if (Status said = co_await say(bob_, "and you?"); !said) co_return said;
    co_return co_await move(bob_, "Ann, once more");
  }

 private:
  Task<> share_block() {
    auto made = co_await client_.ask("POST", "/v1/blocks/", R"({"label":"town","value":"Ulm"})", "block");
    if (!made) co_return made.error();
    block_ = text_of(*made, "id");
    for (const std::string& agent : {ann_, bob_}) {
      const std::string path = "/v1/agents/" + agent + "/core-memory/blocks/attach/" + block_;
      auto attached = co_await client_.ask("PATCH", path, "{}", "attach " + agent);
      if (!attached) co_return attached.error();
    }
    co_return ok();
  }
  Task<> say(std::string agent, std::string text) {
    const std::string path = "/v1/agents/" + agent + "/messages";
    auto said = co_await client_.ask("POST", path, body_of("input", text), text + agent);
    co_return said ? ok() : Status{said.error()};
  }
  Task<> edit_block(std::string value) {
    auto edited = co_await client_.ask("PATCH", "/v1/blocks/" + block_, body_of("value", value), value);
    co_return edited ? ok() : Status{edited.error()};
  }

  // ---- the program

  Task<Exchange> insist(std::string url, Request request) {
    std::vector<std::string> urls{std::move(url)};
    RetryPolicy policy;
    policy.attempts = 3;
    policy.patience = std::chrono::seconds{3};
    policy.first_wait = std::chrono::milliseconds{50};
    policy.keyed = false;
    return http_.insist(std::move(urls), std::move(request), policy);
  }
  TeleportClient::Ask ask(std::string url) {
    return [this, url = std::move(url)](Request request) { return insist(url, std::move(request)); };
  }
  // `fuse`: pieces until it is killed; it lives on after the last one.
  TeleportClient program(const std::string& target, int* fuse) {
    TeleportClient::Options options;
    options.piece_bytes = kPieceBytes;
    options.dies = [fuse] { return *fuse > 0 && --*fuse == 0; };
    return {ask(stage_.world().url(0)), ask(target), std::move(options)};
  }
  static bool may_pass(const Error& error) {
    return error.code == Errc::unavailable || error.code == Errc::cancelled;
  }

  Task<ArchivePtr> fetch(std::string agent) {
    int fuse = 0;
    for (int tries = 0; tries < kTriesMax; ++tries) {
      TeleportClient client = program(OtherPlace::kUrl, &fuse);
      auto archive = co_await client.fetch("agents=" + agent);
      if (archive || !may_pass(archive.error())) co_return archive;
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected("an archive never came");
  }
  // Killed after two pieces, then to its end.
  Task<TeleportPlan> carry(ArchivePtr archive, std::string target, std::string fork_key, bool left,
                           bool seals) {
    int fuse = 3;
    for (int tries = 0; tries < kTriesMax; ++tries) {
      TeleportClient client = program(target, &fuse);
      auto plan = co_await client.check(archive, fork_key, left);
      Status done = plan ? ok() : Status{plan.error()};
      if (done) done = co_await client.send(*plan);
      if (done && seals) done = co_await client.seal(*plan);
      if (done) co_return plan;
      if (!may_pass(done.error())) co_return unexpected("an import: " + to_string(done.error()));
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected("an import never ended");
  }
  Task<> expect_nothing_to_do(TeleportPlan plan, std::string target, std::string fork_key, bool left) {
    int fuse = 0;
    for (int tries = 0; tries < kTriesMax; ++tries) {
      TeleportClient client = program(target, &fuse);
      auto again = co_await client.check(plan.archive, fork_key, left);
      if (again && !again->nothing_to_do())
        co_return unexpected("I2: a repeated import finds something to do");
      Status done = again ? ok() : Status{again.error()};
      if (done) done = co_await client.send_blindly(*again);
      if (done) done = co_await client.seal(*again);
      if (done) co_return ok();
      if (!may_pass(done.error())) co_return unexpected("I2: a repeated import: " + to_string(done.error()));
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected("a repeated import never ended");
  }
  void note(const TeleportPlan& plan, const std::string& moved, std::vector<CarriedStream>& into) {
    for (std::size_t i = 0; i < plan.streams.size(); ++i) {
      const ArchiveStream& one = plan.streams[i];
      if (plan.kept.contains(one.stream) || plan.there.at(one.stream).sealed) continue;
      into.push_back({plan.archive->streams[i].stream, one.stream, one.events, one.stream.value() == moved});
    }
  }

  // ---- what it is told to do

  Task<> copy_here() {
    auto archive = co_await fetch(ann_);
    if (!archive) co_return archive.error();
    auto then = co_await shown(stage_.world().url(0), ann_, (*archive)->header.cut);
    if (!then) co_return then.error();
    auto plan = co_await carry(*archive, stage_.world().url(0), "copy", false, true);
    if (!plan) co_return plan.error();
    note(*plan, "", here_);
    auto now = co_await shown(stage_.world().url(0), plan->agents().front(), "");
    if (!now) co_return now.error();
    if (*then != *now) co_return unexpected("I4: the copy shows " + *now + " instead of " + *then);
    co_return co_await expect_nothing_to_do(std::move(*plan), stage_.world().url(0), "copy", false);
  }

  Task<Exchange> leave(std::string agent, std::uint64_t events) {
    int fuse = 0;
    for (int tries = 0; tries < kTriesMax; ++tries) {
      TeleportClient client = program(OtherPlace::kUrl, &fuse);
      auto came = co_await client.leave(agent, OtherPlace::kUrl, events);
      const bool final = !came || (came->end == Exchange::End::whole && came->status < 429);
      if (final) co_return came;
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected("a move is never answered");
  }
  static std::uint64_t events_of(const TeleportPlan& plan, const std::string& agent) {
    for (const ArchiveStream& one : plan.streams) {
      if (one.stream.value() == agent) return one.events;
    }
    return 0;
  }

  Task<> move(std::string agent, std::string edit) {
    auto archive = co_await fetch(agent);
    if (!archive) co_return archive.error();
    auto early = co_await carry(*archive, OtherPlace::kUrl, "", false, false);
    if (!early) co_return early.error();
    // Something comes in between: it must come along.
    if (Status said = co_await say(agent, "wait!"); !said) co_return said;
    auto refused = co_await leave(agent, events_of(*early, agent));
    if (!refused) co_return refused.error();
    if (refused->status != 409) co_return unexpected("I1: it left with less than it had: " + refused->body);
    archive = co_await fetch(agent);
    if (!archive) co_return archive.error();
    auto plan = co_await carry(*archive, OtherPlace::kUrl, "", false, false);
    if (!plan) co_return plan.error();
    auto left = co_await leave(agent, events_of(*plan, agent));
    if (!left) co_return left.error();
    if (left->status != 200) co_return unexpected("it may not leave: " + left->body);
    co_return co_await arrive(std::move(agent), std::move(edit), (*archive)->header.cut);
  }

  // It has left; its block has another value by now.
  Task<> arrive(std::string agent, std::string edit, std::string cut) {
    if (Status edited = co_await edit_block(std::move(edit)); !edited) co_return edited;
    auto then = co_await history(stage_.world().url(0), agent, cut);
    if (!then) co_return then.error();
    auto archive = co_await fetch(agent);
    if (!archive) co_return archive.error();
    auto plan = co_await carry(*archive, OtherPlace::kUrl, "", true, true);
    if (!plan) co_return plan.error();
    note(*plan, agent, there_);
    auto now = co_await history(OtherPlace::kUrl, agent, "");
    if (!now) co_return now.error();
    if (*then != *now) co_return unexpected("I4: what has moved shows " + *now + " instead of " + *then);
    auto gone = co_await client_.insist("GET", "/v1/agents/" + agent, "", "");
    if (!gone) co_return gone.error();
    if (gone->status != 410 || gone->body.find(OtherPlace::kUrl) == std::string::npos) {
      co_return unexpected("I1: it has moved, and is answered " + std::to_string(gone->status) + gone->body);
    }
    if (Status lives = co_await talk(agent); !lives) co_return lives;
    co_return co_await expect_nothing_to_do(std::move(*plan), OtherPlace::kUrl, "", true);
  }

  // ---- what is seen

  Task<std::string> read(std::string url, std::string target) {
    for (int tries = 0; tries < kTriesMax; ++tries) {
      Request request;
      request.method = "GET";
      request.target = target;
      auto came = co_await insist(url, std::move(request));
      if (!came) co_return came.error();
      const bool behind = came->header("varve-view").has_value();
      if (came->end == Exchange::End::whole && came->status == 200 && !behind) co_return came->body;
      if (came->end == Exchange::End::whole && came->status < 429) {
        // Views that have not come so far know of nothing.
        if (came->status != 404) co_return unexpected(target + ": " + came->body);
      }
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected(target + " cannot be read at " + url);
  }
  Task<std::string> history(std::string url, std::string agent, std::string cut) {
    const std::string past = cut.empty() ? "" : "&as_of=" + percent_encoded(cut);
    const std::string path = "/v1/agents/" + agent + "/messages?limit=1000&order=asc" + past;
    auto listed = co_await read(std::move(url), path);
    if (!listed) co_return listed.error();
    const auto messages = Json::parse(*listed);
    if (!messages) co_return messages.error();
    co_return shown_messages(*messages);
  }
  Task<std::string> shown(std::string url, std::string agent, std::string cut) {
    const std::string past = cut.empty() ? "" : "&as_of=" + percent_encoded(cut);
    auto found = co_await read(url, "/v1/agents/" + agent + "?include=agent.blocks" + past);
    if (!found) co_return found.error();
    const auto body = Json::parse(*found);
    if (!body) co_return body.error();
    auto said = co_await history(std::move(url), std::move(agent), std::move(cut));
    if (!said) co_return said.error();
    co_return shown_agent(*body) + *said;
  }
  Task<> talk(std::string agent) {
    for (int tries = 0; tries < kTriesMax; ++tries) {
      Request request;
      request.method = "POST";
      request.target = "/v1/agents/" + agent + "/messages";
      request.body = body_of("input", "welcome");
      request.headers.emplace("content-type", "application/json");
      request.headers.emplace("idempotency-key", "welcome " + agent);
      auto came = co_await insist(OtherPlace::kUrl, std::move(request));
      if (!came) co_return came.error();
      if (came->end == Exchange::End::whole && came->status == 200) co_return ok();
      if (came->end == Exchange::End::whole && came->status < 429)
        co_return unexpected("there: " + came->body);
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected(agent + " does not answer where it is now");
  }

  StoryStage& stage_;
  StoryClient client_;
  SimClient http_;
  std::string ann_;
  std::string bob_;
  std::string block_;
  std::vector<CarriedStream> here_;
  std::vector<CarriedStream> there_;
};

}  // namespace

StoryKind teleport_story() {
  StoryKind kind;
  kind.name = "teleport";
  kind.what = "agents are carried: a copy, and two moves to another place";
  kind.world.nodes = 1;
  kind.world.partitions = 2;
  kind.world.snapshot_records = 6;
  kind.elsewhere = true;
  kind.make = [](StoryStage& stage) { return std::make_unique<Teleport>(stage); };
  return kind;
}

}  // namespace varve::sim
