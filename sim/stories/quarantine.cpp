// The story of streams that are parked: one by an event that nobody here can read, until a ruling skips it;
// one by a program that was older, until it is tried again. Neither stops the other streams.
#include "projections/quarantine.h"

#include "projections/verify.h"
#include "sim/stories/newer_program.h"
#include "sim/stories/stories.h"

namespace varve::sim {
namespace {

constexpr Partition kHome{0};
constexpr int kTriesMax = 60;
constexpr std::chrono::seconds kPatience{5};
constexpr std::chrono::milliseconds kPause{200};
constexpr std::chrono::seconds kRounds{2};  // Of snapshots.

// The operator's process, on the node's machine.
struct Operator {
  Operator(ClusterWorld& world, std::uint64_t seed)
      : env(world.scheduler(), "operator", seed),
        log(env, world.log().shared_from_this()),
        views(env, world.views()) {}
  ~Operator() { env.kill(); }
  SimEnv env;
  SimLog log;
  FaultyViewStore views;
};

class Quarantine final : public Story {
 public:
  explicit Quarantine(StoryStage& stage) : stage_(stage), client_(stage, client_options(), stage.ears()) {}

  void on_crash(std::size_t /*node*/) override { operator_.reset(); }
  std::string at_rest() override {
    return stage_.world().views().storage()->quarantine.empty() ? "" : "a stream is still parked";
  }

 protected:
  Task<> play() override {
    auto ann = co_await make("ann");
    if (!ann) co_return ann.error();
    auto bob = co_await make("bob");
    if (!bob) co_return bob.error();
    if (Status skipped = co_await poison_and_skip(*ann, *bob); !skipped) co_return skipped;
    if (Status retried = co_await park_and_retry(*bob, *ann); !retried) co_return retried;
    co_return co_await verify();
  }

 private:
  static StoryClient::Options client_options() {
    auto options = StoryClient::persistent("quarantine", 0);
    options.policy.attempts = kTriesMax;
    return options;
  }
  static std::string path_of(const std::string& agent) { return "/v1/agents/" + agent; }

  Task<std::string> make(std::string name) {
    auto created = co_await client_.ask("POST", "/v1/agents/", body_of("name", name), name);
    if (!created) co_return created.error();
    const std::string agent = text_of(*created, "id");
    if (Status said = co_await say(agent, "hello"); !said) co_return said.error();
    co_return agent;
  }

  Task<> say(std::string agent, std::string text) {
    auto said =
        co_await client_.ask("POST", path_of(agent) + "/messages", body_of("input", text), text + agent);
    if (!said) co_return said.error();
    histories_[agent] += "user_message:" + text + ";assistant_message:You said: " + text + ";";
    co_return ok();
  }

  Task<> expect_history(std::string agent) {
    auto got = co_await client_.messages(path_of(agent));
    if (!got) co_return got.error();
    if (*got != histories_[agent])
      co_return unexpected("the history is " + *got + " instead of " + histories_[agent]);
    co_return ok();
  }

  bool is_parked(const std::string& agent) const {
    const auto& rows = stage_.world().views().storage()->quarantine;
    return std::any_of(rows.begin(), rows.end(),
                       [&agent](const QuarantineRow& row) { return row.stream.value() == agent; });
  }
  Task<> wait_for(bool parked, std::string agent) {
    for (int tries = 0; tries < 2 * kTriesMax; ++tries) {
      if (is_parked(agent) == parked) co_return ok();
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected(agent + (parked ? " is not parked" : " is still parked"));
  }

  // ---- an event that nobody here can read ----

  Task<> poison_and_skip(std::string ann, std::string bob) {
    EventPlace place{StreamId{ann}, {}, 0};
    stage_.crash();
    {
      NewerProgram newer(stage_, kHome);
      place.offset = newer.commit(ann, UnreadableEvent{"AgentSang", 1, "", "{}"});
      newer.commit(ann, imported_message("behind the song"));
    }
    stage_.reboot_later();
    if (Status parked = co_await wait_for(true, ann); !parked) co_return parked;
    // The others go on, and what the parked one was is still shown.
    if (Status said = co_await say(bob, "are you well?"); !said) co_return said;
    if (Status shown = co_await expect_history(bob); !shown) co_return shown;
    if (Status shown = co_await expect_history(ann); !shown) co_return shown;
    if (Status refused = co_await expect_refusal(ann); !refused) co_return refused;
    // Also after its snapshots are those of a corrupt stream, and the log behind them is not read again.
    co_await sleep_for(client_.env(), kRounds);
    stage_.crash_for_a_while(0);
    co_await sleep_for(client_.env(), kPatience);
    if (Status refused = co_await expect_refusal(ann); !refused) co_return refused;

    if (Status skipped = co_await skip(std::move(place)); !skipped) co_return skipped;
    if (Status released = co_await wait_for(false, ann); !released) co_return released;
    histories_[ann] += "user_message:behind the song;";
    if (Status said = co_await say(ann, "go on"); !said) co_return said;
    co_return co_await expect_history(ann);
  }

  Task<> expect_refusal(std::string agent) {
    Request change;
    change.method = "PATCH";
    change.target = path_of(agent);
    change.body = R"({"description":"d"})";
    change.headers.emplace("content-type", "application/json");
    const auto came = co_await stage_.exchange(0, std::move(change), kPatience);
    if (came && came->status == 200) co_return unexpected("a corrupt stream takes commands");
    co_return ok();
  }

  static StoredEvent imported_message(const std::string& text) {
    Message message;
    message.id = "message-" + derived_uuid(command_id_from_text(text), "message", 0);
    append_json_string(message.content = "", text);
    return Event{MessagesImported{{message}, {}}};
  }

  // As an operator would: until the server says that it is done, or that there is nothing to be skipped.
  Task<> skip(EventPlace place) {
    std::string last = "no node";
    for (int tries = 0; tries < kTriesMax; ++tries) {
      Shard* shard = stage_.up() ? stage_.world().node(0).shard(kHome) : nullptr;
      if (shard != nullptr) {
        SimEnv& env = stage_.world().env(0);
        auto answer = std::make_shared<OneShot<LogPosition>>();
        env.spawn("rule", rule(shard, place, env.now() + kPatience, answer, &client_.env()));
        const auto ruled = co_await answer->get(client_.env(), client_.env().now() + kPatience);
        if (ruled) co_return ok();
        last = ruled.error().message;
        if (last.find("the stream is sound") != std::string::npos) co_return ok();
      }
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected("the event cannot be skipped: " + last);
  }
  static Task<> rule(Shard* shard, EventPlace place, MonoTime deadline,
                     std::shared_ptr<OneShot<LogPosition>> answer, SimEnv* client) {
    auto ruled = co_await shard->rule(std::move(place), deadline);
    client->post([answer, ruled = std::move(ruled)] { answer->set(ruled); });
    co_return ok();
  }

  // ---- an event that an older program could not fold ----

  Task<> park_and_retry(std::string bob, std::string ann) {
    stage_.crash();
    EventPlace place{StreamId{bob}, {}, 0};
    {
      NewerProgram newer(stage_, kHome);
      place.offset = newer.commit(bob, imported_message("too new"));
      newer.commit(bob, imported_message("behind it"));
    }
    if (Status folded = fold_as_older_program(place); !folded) co_return folded;
    stage_.reboot_later();
    if (!is_parked(bob)) co_return unexpected("the older program did not park the stream");
    // The actor goes on, but a turn's answer is made of the views if it is asked for again.
    client_.fire("POST", path_of(bob) + "/messages", body_of("input", "are you there?"),
                 "are you there?" + bob);
    if (Status said = co_await say(ann, "and you?"); !said) co_return said;
    if (Status shown = co_await expect_history(ann); !shown) co_return shown;
    if (Status released = co_await try_again(bob); !released) co_return released;
    histories_[bob] += "user_message:too new;user_message:behind it;";
    if (Status said = co_await say(bob, "are you there?"); !said) co_return said;
    co_return co_await expect_history(bob);
  }

  // The views are folded to the log's end by a program that cannot fold this event.
  Status fold_as_older_program(const EventPlace& stop) {
    ViewDatabase& database = stage_.world().views();
    MemoryViewReader reader(*database.storage());
    auto rows = reader.quarantine();
    if (!rows) return rows.error();
    PartitionFold fold(kHome, database.storage()->checkpoints[kHome], *rows);
    fold.stop_at({stop});
    const Offset from = fold.next();
    for (const LogRecord& record : stage_.world().log().records(kHome)) {
      if (record.offset < from) continue;
      if (Status taken = fold.take(record); !taken) return taken;
    }
    auto applied = database.apply(fold.take_batch());
    return applied ? ok() : Status{applied.error()};
  }

  Task<> try_again(std::string agent) {
    std::string last;
    for (int tries = 0; tries < kTriesMax; ++tries) {
      if (!operator_) operator_ = std::make_unique<Operator>(stage_.world(), ++operators_);
      auto answer = std::make_shared<OneShot<RetryOutcome>>();
      operator_->env.spawn("retry", retry_once(operator_.get(), StreamId{agent}, answer, &client_.env()));
      const auto outcome = co_await answer->get(client_.env(), client_.env().now() + kPatience);
      if (outcome && *outcome != RetryOutcome::parked_again) co_return ok();
      last = outcome ? "it is parked again" : outcome.error().message;
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected("the stream cannot be released: " + last);
  }
  static Task<> retry_once(Operator* self, StreamId stream, std::shared_ptr<OneShot<RetryOutcome>> answer,
                           SimEnv* client) {
    auto outcome = co_await retry(self->env, self->log, self->views, std::move(stream));
    client->post([answer, outcome = std::move(outcome)] { answer->set(outcome); });
    co_return ok();
  }

  // ---- live = rebuild ----

  Task<> verify() {
    std::string last = "no answer";
    for (int tries = 0; tries < kTriesMax; ++tries) {
      if (!operator_) operator_ = std::make_unique<Operator>(stage_.world(), ++operators_);
      auto answer = std::make_shared<OneShot<std::vector<Difference>>>();
      operator_->env.spawn("verify", verify_once(operator_.get(), answer, &client_.env()));
      const auto found = co_await answer->get(client_.env(), client_.env().now() + kPatience);
      if (found && found->empty()) co_return ok();
      if (found) co_return unexpected("the views are not the fold of the log: " + found->front().what);
      last = found.error().message;
      co_await sleep_for(client_.env(), kPause);
    }
    co_return unexpected("the views cannot be verified: " + last);
  }
  static Task<> verify_once(Operator* self, std::shared_ptr<OneShot<std::vector<Difference>>> answer,
                            SimEnv* client) {
    auto found = co_await fold_equals(self->env, self->log, self->views, kHome);
    client->post([answer, found = std::move(found)] { answer->set(found); });
    co_return ok();
  }

  StoryStage& stage_;
  StoryClient client_;
  std::map<std::string, std::string> histories_;
  std::uint64_t operators_ = 0;
  std::unique_ptr<Operator> operator_;
};

}  // namespace

StoryKind quarantine_story() {
  StoryKind kind;
  kind.name = "quarantine";
  kind.what = "streams are parked; one is skipped by a ruling, one is tried again";
  kind.world.nodes = 1;
  kind.world.partitions = 1;
  kind.world.snapshot_records = 3;
  kind.make = [](StoryStage& stage) { return std::make_unique<Quarantine>(stage); };
  return kind;
}

}  // namespace varve::sim
