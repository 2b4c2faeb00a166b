// ClusterFixture: several whole nodes on one simulated scheduler, over one memory log and one memory store.
// The test says who is assigned what, and what becomes of each request between nodes. Everything is
// deterministic; nothing sleeps.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "actors/scripted_model.h"
#include "api/node.h"
#include "eventlog/memory_event_log.h"
#include "projections/memory_snapshot_store.h"
#include "projections/memory_view_store.h"
#include "sim/scheduler.h"

namespace varve::test {

// An assignment that does what the test says.
class ScriptedAssignment final : public Assignment {
 public:
  explicit ScriptedAssignment(Env& env) : env_(env) {}

  void assign(std::vector<Partition> partitions) {
    held_.insert(partitions.begin(), partitions.end());
    give(AssignmentChange::Kind::assigned, std::move(partitions));
  }
  // `released` is told of each partition that is given back.
  void revoke(std::vector<Partition> partitions, std::function<void(Partition)> released) {
    released_ = std::move(released);
    give(AssignmentChange::Kind::revoked, std::move(partitions));
  }
  void lose(std::vector<Partition> partitions) {
    for (const Partition partition : partitions) held_.erase(partition);
    give(AssignmentChange::Kind::lost, std::move(partitions));
  }
  // The coordinator takes it away, and this member has not heard of it.
  void take_unheard(Partition partition) { held_.erase(partition); }
  bool has_left() const { return left_; }
  const std::vector<Partition>& releases() const { return releases_; }

  Task<AssignmentChange> next(MonoTime deadline) override {
    while (changes_.empty() && env_.now() < deadline) co_await changed_.wait(env_, deadline);
    if (changes_.empty()) co_return Error{Errc::unavailable, "no change"};
    AssignmentChange change = std::move(changes_.front());
    changes_.pop_front();
    co_return change;
  }
  Task<bool> prove(Partition partition) override { co_return held_.contains(partition); }
  void release(std::vector<Partition> partitions) override {
    for (const Partition partition : partitions) {
      releases_.push_back(partition);
      if (held_.erase(partition) == 1 && released_) released_(partition);
    }
  }
  Task<> leave(MonoTime /*deadline*/) override {
    left_ = true;
    held_.clear();
    co_return ok();
  }

 private:
  void give(AssignmentChange::Kind kind, std::vector<Partition> partitions) {
    changes_.push_back({kind, ++generation_, std::move(partitions)});
    changed_.notify_all();
  }

  Env& env_;
  std::uint64_t generation_ = 0;
  std::deque<AssignmentChange> changes_;
  std::set<Partition> held_;
  std::function<void(Partition)> released_;
  std::vector<Partition> releases_;
  bool left_ = false;
  Notifier changed_;
};

// What becomes of one request between nodes.
struct Fate {
  bool lose_request = false;
  bool lose_answer = false;
  bool refuse = false;              // Certainly not delivered.
  bool reset = false;               // The caller hears at once that there will be no answer.
  std::optional<Duration> again{};  // A copy of the request arrives so much later.
  Duration delay{std::chrono::microseconds{200}};
};

// The wires between nodes: they outlive every node.
class Wires {
 public:
  explicit Wires(sim::Scheduler& scheduler) : env_(scheduler, "wires", 99) {}

  std::function<Fate(const std::string& url, const std::string& request)> fate;
  std::vector<std::string> requests;  // Everything that was sent, in order.

  void plug(const std::string& url, sim::SimEnv& env, Transport::Handler handler) {
    ends_[url] = {&env, std::move(handler)};
  }
  void unplug(const std::string& url) { ends_.erase(url); }
  sim::SimEnv& env() { return env_; }

  using Answer = std::shared_ptr<OneShot<std::string>>;
  void deliver(const std::string& url, const std::string& request, sim::SimEnv* from, const Answer& answer,
               bool lose_answer, MonoTime at) {
    std::weak_ptr<OneShot<std::string>> caller = answer;  // Gone with its incarnation.
    env_.call_at(at, [this, url, request, from, caller, lose_answer] {
      const auto end = ends_.find(url);
      if (end == ends_.end()) return;
      sim::SimEnv* env = end->second.env;
      env->spawn("request", handle(end->second.handler, request, this, from, caller, lose_answer));
    });
  }

 private:
  struct End {
    sim::SimEnv* env;
    Transport::Handler handler;
  };
  static Task<> handle(Transport::Handler handler, std::string request, Wires* wires, sim::SimEnv* from,
                       std::weak_ptr<OneShot<std::string>> caller, bool lose_answer) {
    auto text = co_await handler(std::move(request));
    if (lose_answer || !text) co_return ok();
    const std::string told = *text;
    wires->env_.call_at(wires->env_.now() + std::chrono::microseconds{200}, [caller, from, told] {
      if (caller.expired()) return;
      from->post([caller, told] {
        if (const auto answer = caller.lock()) answer->set(told);
      });
    });
    co_return ok();
  }

  sim::SimEnv env_;
  std::map<std::string, End> ends_;
};

class WireTransport final : public Transport {
 public:
  WireTransport(sim::SimEnv& env, Wires& wires, std::string url)
      : env_(env), wires_(wires), url_(std::move(url)) {}

  Task<std::string> call(std::string url, std::string request, MonoTime deadline) override {
    const Fate fate = wires_.fate ? wires_.fate(url, request) : Fate{};
    wires_.requests.push_back(request);
    if (fate.refuse) co_return Error{Errc::unavailable, "connection refused"};
    const auto answer = std::make_shared<OneShot<std::string>>();
    const MonoTime at = wires_.env().now() + fate.delay;
    if (!fate.lose_request) wires_.deliver(url, request, &env_, answer, fate.lose_answer, at);
    if (fate.again) wires_.deliver(url, request, &env_, answer, fate.lose_answer, at + *fate.again);
    if (fate.reset) co_return Error{Errc::outcome_unknown, "connection reset"};
    auto text = co_await answer->get(env_, deadline);
    if (!text && !answer->ready()) co_return Error{Errc::outcome_unknown, "no answer in time"};
    co_return text;
  }
  void serve(Handler handler) override { wires_.plug(url_, env_, std::move(handler)); }

 private:
  sim::SimEnv& env_;
  Wires& wires_;
  std::string url_;
};

class ClusterFixture : public ::testing::Test {
 public:
  static constexpr std::uint32_t kPartitions = 4;

  // One life of a node.
  struct Life {
    Life(ClusterFixture& cluster, const std::string& name, std::uint64_t seed)
        : url("http://" + name),
          env(cluster.scheduler_, name, seed),
          log(env, cluster.log_),
          snapshots(env, cluster.snapshots_),
          views(env, cluster.views_),
          model(*ScriptedModel::parse(env, cluster.script_)),
          assignment(env),
          folding(env),
          transport(env, cluster.wires_, url),
          node(env, {"varve", name + "-" + std::to_string(seed), url},
               Node::Ports{log, snapshots, views, *model, &assignment, &folding, &transport},
               options(*model)) {}
    ~Life() { env.kill(); }
    Life(const Life&) = delete;
    Life& operator=(const Life&) = delete;

    static NodeOptions options(const ModelClient& model) {
      NodeOptions options;
      options.models.handles = model.handles();
      options.models.default_handle = options.models.handles.front();
      options.models.models = model.models();
      options.shard.snapshot_records = 5;
      options.owner_search = std::chrono::seconds{10};
      return options;
    }
    bool owns(Partition partition) {
      return node.shard(partition) != nullptr && node.shard(partition)->owner().owned();
    }

    std::string url;
    sim::SimEnv env;
    MemoryEventLog log;
    MemorySnapshotStore snapshots;
    MemoryViewStore views;
    std::unique_ptr<ScriptedModel> model;
    ScriptedAssignment assignment;
    ScriptedAssignment folding;
    WireTransport transport;
    Node node;
  };
  template <class T>
  using Kept = std::shared_ptr<std::optional<T>>;

  Life& boot(const std::string& name) {
    auto& life = lives_[name];
    CHECK(!life);
    life = std::make_unique<Life>(*this, name, ++seed_);
    life->node.start();
    return *life;
  }
  void crash(const std::string& name) {
    wires_.unplug("http://" + name);
    lives_.erase(name);
  }
  // Nodes a and b; a owns and folds everything.
  void two_nodes() {
    Life& a = boot("a");
    boot("b");
    a.assignment.assign(all());
    a.folding.assign(all());
    ASSERT_TRUE(run_until([&] { return owns_all(a); }));
  }
  static std::vector<Partition> all() {
    std::vector<Partition> partitions;
    for (std::uint32_t i = 0; i < kPartitions; ++i) partitions.emplace_back(Partition{i});
    return partitions;
  }
  static bool owns_all(Life& life) {
    for (const Partition partition : all()) {
      if (!life.owns(partition)) return false;
    }
    return true;
  }
  Life& life(const std::string& name) { return *lives_.at(name); }
  // A planned move: revoked there, released, assigned here.
  void move(const std::string& from, const std::string& to, std::vector<Partition> partitions) {
    Life& next = life(to);
    life(from).assignment.revoke(std::move(partitions),
                                 [&next](Partition partition) { next.assignment.assign({partition}); });
  }

  bool run_until(const std::function<bool()>& done, Duration longest = std::chrono::seconds{120}) {
    const MonoTime end = scheduler_.now() + longest;
    wires_.env().call_at(end, [] {});
    while (!done() && scheduler_.now() < end && scheduler_.step()) {
    }
    return done();
  }
  void run_for(Duration time) {
    run_until([] { return false; }, time);
  }

  template <class T>
  static Task<> keep(Task<T> task, Kept<Result<T>> kept) {
    *kept = co_await std::move(task);
    co_return ok();
  }
  template <class T>
  Kept<Result<T>> begin(Life& at, Task<T> task) {
    auto kept = std::make_shared<std::optional<Result<T>>>();
    at.env.spawn("test", keep(std::move(task), kept));
    return kept;
  }
  template <class T>
  Result<T> finish(const Kept<Result<T>>& kept) {
    if (!run_until([&] { return kept->has_value(); })) {
      ADD_FAILURE() << "no outcome";
      return Result<T>{};
    }
    return **kept;
  }

  // A client's command, named by `key`.
  static CommandEnvelope command(const std::string& key, const StreamId& stream, Command what) {
    return {{command_id_from_text(key), command_hash(key, ""), true}, stream, std::move(what)};
  }
  Kept<Result<CommandAnswer>> begin_send(Life& at, CommandEnvelope envelope,
                                         Duration patience = std::chrono::seconds{30},
                                         CallLimits::Turn turn = CallLimits::Turn::ended) {
    CallLimits limits{at.env.now() + patience, turn};
    return begin(at, at.node.sender().send(std::move(envelope), limits));
  }
  Result<CommandAnswer> send(Life& at, CommandEnvelope envelope,
                             Duration patience = std::chrono::seconds{30}) {
    return finish(begin_send(at, std::move(envelope), patience));
  }
  static StreamId agent_of(const std::string& key) {
    return StreamId{"agent-" + derived_uuid(command_id_from_text(key), "agent", 0)};
  }
  static CreateAgent new_agent() {
    CreateAgent create;
    create.settings.name = "ann";
    create.settings.model = "varve/scripted";
    create.settings.agent_type = "letta_v1_agent";
    create.settings.timezone = "UTC";
    create.settings.context_window = 8000;
    return create;
  }
  StreamId make_agent(Life& at, const std::string& key = "make") {
    const StreamId agent = agent_of(key);
    const auto made = send(at, command(key, agent, new_agent()));
    EXPECT_TRUE(made.has_value()) << made.error().message;
    return agent;
  }
  static Partition home(const StreamId& stream) { return partition_of(stream, kPartitions); }
  static SendMessages say(const std::string& text) {
    Message said;
    said.role = Role::user;
    said.content = "\"" + text + "\"";
    return {{said}, 10, "{}"};
  }

  // Admitted commits of a command, by its id.
  std::size_t times_applied(const std::string& key) const {
    std::size_t times = 0;
    for (const Partition partition : all()) {
      AdmissionState admission;
      for (const LogRecord& record : log_->records(partition)) {
        const auto decoded = decode_record(*record.bytes);
        if (!decoded || admit(admission, *decoded) != Verdict::admitted) continue;
        const auto* commit = std::get_if<Commit>(&*decoded);
        if (commit != nullptr && commit->command.id == command_id_from_text(key)) ++times;
      }
    }
    return times;
  }
  // Names of the admitted events of a stream, in order.
  std::vector<std::string> events_of(const StreamId& stream) const {
    std::vector<std::string> names;
    AdmissionState admission;
    for (const LogRecord& record : log_->records(home(stream))) {
      const auto decoded = decode_record(*record.bytes);
      if (!decoded || admit(admission, *decoded) != Verdict::admitted) continue;
      const auto* commit = std::get_if<Commit>(&*decoded);
      if (commit == nullptr) continue;
      for (const Part& part : commit->parts) {
        if (part.stream != stream) continue;
        for (const StoredEvent& event : part.events) names.emplace_back(type_of(std::get<Event>(event)));
      }
    }
    return names;
  }

  ~ClusterFixture() override {
    lives_.clear();
    wires_.env().kill();
  }

 protected:
  std::string script_ = "{}";
  std::uint64_t seed_ = 0;
  sim::Scheduler scheduler_{7};
  std::shared_ptr<MemoryLogStorage> log_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{kPartitions, 0});
  std::shared_ptr<MemoryViewStorage> views_ = std::make_shared<MemoryViewStorage>();
  std::shared_ptr<MemorySnapshotStorage> snapshots_ = std::make_shared<MemorySnapshotStorage>();
  Wires wires_{scheduler_};
  std::map<std::string, std::unique_ptr<Life>> lives_;
};

}  // namespace varve::test
