// The bugs that users of other event stores have reported of their projections, one scenario each: it passes
// here, and fails when the seeded bug that comes closest to the reported one is switched on
// (runtime/mutant.h). What is expected is written down beside the log, not folded from it. The simulation
// meets all of it at random (docs/simulation.md, "Seeded bugs"); rebuilds have more in rebuild_test.cpp and
// postgres_rebuild_test.cpp.
#include <gtest/gtest.h>

#include <deque>

#include "eventlog/memory_event_log.h"
#include "projections/memory_view_store.h"
#include "projections/worker.h"
#include "sim/mutants.h"
#include "sim/scheduler.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

constexpr Partition kHome{0};

// What becomes of the next commits.
enum class Trouble : unsigned char {
  refused,   // Nothing was written, and it says so.
  lost,      // Nothing was written, and nobody says so.
  unheard,   // It was written, and nobody says so.
  overtaken  // Somebody else was first.
};

class TroubledStore final : public ViewStore {
 public:
  TroubledStore(Env& env, std::shared_ptr<MemoryViewStorage> storage, std::deque<Trouble>& troubles)
      : calm_(env, std::move(storage)), troubles_(troubles) {}

  Task<LoadedCheckpoint> load(Partition partition) override { return calm_.load(partition); }
  Task<> read(std::function<Status(ViewReader&)> work) override { return calm_.read(std::move(work)); }
  Task<CommitOutcome> commit(Batch batch) override {
    if (troubles_.empty()) co_return co_await calm_.commit(std::move(batch));
    const Trouble trouble = troubles_.front();
    troubles_.pop_front();
    if (trouble == Trouble::refused) co_return Error{Errc::unavailable, "no connection"};
    if (trouble == Trouble::overtaken) co_return CommitOutcome::lost_race;
    if (trouble == Trouble::unheard) ignore_error(co_await calm_.commit(std::move(batch)), "as it says");
    co_return Error{Errc::outcome_unknown, "the connection was lost"};
  }

 private:
  MemoryViewStore calm_;
  std::deque<Trouble>& troubles_;
};

// A log of one partition, views, and workers that die and come back.
class Field {
 public:
  explicit Field(std::uint64_t sparse)
      : log_(std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{1, sparse})) {
    land(Claim{Epoch{1}, {}, "varve", "n", "", 1, WallTime{1}});
    for (const char* agent : {"agent-a", "agent-b"}) {
      const std::string first = std::string("system-of-") + agent;
      commit(agent,
             {AgentCreated{test::sample_settings(), {}, {test::sample_message(first, Role::system, "S")}}});
      expected_.push_back(first);
    }
  }
  ~Field() { lives_.clear(); }
  Field(const Field&) = delete;
  Field& operator=(const Field&) = delete;

  // ---- the log

  Offset land(const Record& record) { return land_bytes(*encode_record(record)); }
  Offset land_bytes(std::string bytes) {
    return log_->land(kHome, std::make_shared<const std::string>(std::move(bytes)));
  }
  Commit make(const std::string& stream, const std::vector<StoredEvent>& events) {
    const Part part{StreamId{stream}, Sequence{sequences_[stream] + 1}, events};
    sequences_[stream] += events.size();
    ++n_;
    const CommandRef command{command_id_from_text(std::to_string(n_)), CommandHash{1}, true};
    return Commit{Epoch{1}, Index{n_}, "n", WallTime{static_cast<std::int64_t>(10 * n_)}, command, {part}};
  }
  // One that takes no place: what is made next follows what was made before.
  Commit stray(const std::string& stream, const std::vector<StoredEvent>& events) {
    Commit commit = make(stream, events);
    --n_;
    sequences_[stream] -= events.size();
    commit.command.id = command_id_from_text("stray " + std::to_string(++strays_));
    return commit;
  }
  Offset commit(const std::string& stream, const std::vector<StoredEvent>& events) {
    return land(make(stream, events));
  }
  static StoredEvent message(const std::string& id) {
    return UserMessageReceived{"run-" + id, {test::sample_message(id, Role::user, "hi")}, 50, {}, "{}"};
  }
  // A message that must be in the views in the end.
  Offset say(const std::string& stream, const std::string& id) {
    expected_.push_back(id);
    return commit(stream, {message(id)});
  }
  // The same behind a poisoned event of its stream: it waits.
  void say_in_vain(const std::string& stream, const std::string& id) { commit(stream, {message(id)}); }
  void rule(const std::string& stream, Offset poison) {
    land(Ruling{Epoch{1}, Index{++n_}, "n", WallTime{static_cast<std::int64_t>(10 * n_)}, StreamId{stream},
                poison, 0});
  }
  void expect(const std::string& id) { expected_.push_back(id); }

  // ---- who folds

  void start() { lives_.push_back(std::make_unique<Life>(*this)); }
  void kill_all() { lives_.clear(); }
  void pass(Duration time) {
    const MonoTime end = scheduler_.now() + time;
    world_.call_at(end, [] {});
    while (scheduler_.now() < end && scheduler_.step()) {
    }
  }
  // Somebody waits until the views have it, and looks.
  void wait_for(Offset at) {
    Life& life = *lives_.back();
    life.env.spawn("waiter", wait(this, &life, at));
  }
  void trouble(Trouble what) { troubles_.push_back(what); }
  MemoryViewStorage views() const { return *views_; }
  void set_views(MemoryViewStorage views) { *views_ = std::move(views); }
  const std::shared_ptr<MemoryLogStorage>& log() const { return log_; }

  // Empty: every message is in the views, once, in the order of the log, and nothing else is.
  std::string judge() {
    pass(std::chrono::seconds{20});
    std::string text = told_too_early_;
    for (const auto& life : lives_) {
      if (life->worker.failure()) text += "a worker has stopped: " + life->worker.failure()->message + "\n";
    }
    MemoryViewReader reader(*views_);
    Query query;
    query.view = View::messages;
    query.open_only = false;
    query.order_by = {kFromOffset, kFromOrdinal};
    const auto rows = reader.select(query);
    if (!rows) return rows.error().message;
    std::vector<std::string> found;
    for (const Row& row : *rows) found.push_back(row.text(messages::id));
    if (found != expected_)
      text += "the views show " + joined(found) + " instead of " + joined(expected_) + "\n";
    return text;
  }

 private:
  struct Life {
    explicit Life(Field& field)
        : env(field.scheduler_, "worker", ++field.seeds_),
          log(env, field.log_),
          store(env, field.views_, field.troubles_),
          progress(env, store),
          worker(env, log, store, progress, kHome) {
      env.spawn("worker", worker.run());
    }
    ~Life() { env.kill(); }
    Life(const Life&) = delete;
    Life& operator=(const Life&) = delete;

    sim::SimEnv env;
    MemoryEventLog log;
    TroubledStore store;
    ViewProgress progress;
    ProjectionWorker worker;
  };
  static Task<> wait(Field* field, Life* life, Offset at) {
    std::vector<LogPosition> positions{{kHome, at}};
    const MonoTime deadline = life->env.now() + std::chrono::seconds{5};
    const bool passed = co_await life->progress.wait_for(std::move(positions), deadline);
    const auto stored = field->views_->checkpoints.find(kHome);
    const bool there = stored != field->views_->checkpoints.end() && stored->second.next > at;
    if (passed && !there) field->told_too_early_ += "a waiter was told of views that are not there\n";
    co_return ok();
  }
  static std::string joined(const std::vector<std::string>& all) {
    std::string text;
    for (const std::string& one : all) text += (text.empty() ? "" : ",") + one;
    return text;
  }

  sim::Scheduler scheduler_{1};
  sim::SimEnv world_{scheduler_, "world", 1};
  std::shared_ptr<MemoryLogStorage> log_;
  std::shared_ptr<MemoryViewStorage> views_ = std::make_shared<MemoryViewStorage>();
  std::deque<Trouble> troubles_;
  std::uint64_t seeds_ = 1;
  std::uint64_t n_ = 0;
  std::uint64_t strays_ = 0;
  std::map<std::string, std::uint64_t> sequences_;
  std::vector<std::string> expected_;
  std::string told_too_early_;
  std::vector<std::unique_ptr<Life>> lives_;
};

// ---- the scenarios ----

// A reader that counts positions passes over what comes late, or waits for what never comes. Marten #1629,
// #4952, #4964, #4977; Eventuous #222, #291; Protean #1088; SQLStreamStore #121.
std::string sequence_gaps() {
  Field field(7);  // Offsets with gaps, as brokers leave them.
  for (int i = 0; i < 24; ++i) {
    if (i % 6 == 0) field.start();
    if (i % 6 == 4) field.kill_all();  // What is written now is folded by the next.
    field.say(i % 2 == 0 ? "agent-a" : "agent-b", "message-" + std::to_string(i));
    field.pass(std::chrono::milliseconds{30});
  }
  field.start();
  return field.judge();
}

// A daemon that an error has stopped, and that only a restart brings back. Marten #2681, #3503, #5108;
// Eventuous #588; KurrentDB #899, #1056, #1218, #1330; Axon #2958.
std::string stuck_daemon() {
  Field field(0);
  for (int round = 0; round < 4; ++round) {
    for (const Trouble trouble : {Trouble::refused, Trouble::unheard, Trouble::lost, Trouble::overtaken}) {
      field.trouble(trouble);
    }
  }
  field.start();
  for (int i = 0; i < 8; ++i) {
    field.say("agent-a", "message-" + std::to_string(i));
    field.pass(std::chrono::milliseconds{100});
  }
  const std::string folded = field.judge();
  if (!folded.empty()) return folded;
  // The database comes back as it was a while ago, and nothing new is written: who has nothing to do notices.
  const MemoryViewStorage before = field.views();
  field.say("agent-b", "newest");
  field.pass(std::chrono::seconds{1});
  field.set_views(before);
  return field.judge();
}

std::vector<std::string> lines_of(const MemoryViewStorage& storage) {
  std::vector<std::string> lines;
  MemoryViewReader reader(storage);
  for (const View view : all_views()) {
    Query query;
    query.view = view;
    query.open_only = false;
    query.order_by = {kFromOffset, kFromOrdinal};
    for (const Row& row : *reader.select(query)) {
      lines.push_back(canonical_bytes(view, row) + (row.to ? std::to_string(row.to->offset.value()) : ""));
    }
  }
  return lines;
}

// What is rebuilt differs from what was folded live, or lacks rows. Marten #3690, #3691.
std::string rebuild_disagrees() {
  Field live(0);
  for (int i = 0; i < 40; ++i) {
    if (i % 8 == 0) {
      live.kill_all();
      live.start();
    }
    live.say(i % 3 == 0 ? "agent-b" : "agent-a", "message-" + std::to_string(i));
    // A zombie of the epoch before the first one writes, too.
    Commit late = live.stray("agent-b", {Field::message("late-" + std::to_string(i))});
    late.epoch = Epoch{0};
    live.land(late);
    live.pass(std::chrono::milliseconds{20});
  }
  live.pass(std::chrono::seconds{2});
  const auto of_live = lines_of(live.views());
  // In one go, by somebody who has seen nothing yet.
  live.kill_all();
  live.set_views(MemoryViewStorage{});
  live.start();
  live.pass(std::chrono::seconds{2});
  return of_live == lines_of(live.views()) ? "" : "the rebuild has other rows than the live views";
}

// A worker goes on behind what was never written, and says that it is there. Eventuous #165 (checkpoints lost
// or too far).
std::string lost_checkpoint() {
  Field field(0);
  field.start();
  for (int i = 0; i < 12; ++i) {
    field.trouble(i % 3 == 0 ? Trouble::lost : Trouble::unheard);
    field.wait_for(field.say("agent-a", "message-" + std::to_string(i)));
    field.pass(std::chrono::milliseconds{200});
  }
  return field.judge();
}

// One event that nobody can read breaks a projection, with no way past it. KurrentDB #2807, #2187, #4547,
// #3400.
std::string poison() {
  Field field(0);
  field.start();
  field.say("agent-a", "before");
  const Offset at = field.commit("agent-a", {UnreadableEvent{"AgentSang", 1, "", "{}"}});
  field.say("agent-b", "beside");  // Everybody else goes on.
  field.say_in_vain("agent-a", "behind");
  field.say("agent-b", "beside-2");
  field.pass(std::chrono::seconds{1});
  field.kill_all();
  field.start();
  const std::string parked = field.judge();
  if (!parked.empty()) return parked;
  field.rule("agent-a", at);
  field.expect("behind");  // Valid from the ruling on.
  field.say("agent-a", "after");
  return field.judge();
}

// A projection that is handed a partition while the one before it still folds counts what both have read
// twice. Akka Projection's documentation of offsets in a database behind Kafka; Akka #906.
std::string rebalance_duplicates() {
  Field field(0);
  for (int i = 0; i < 30; ++i) {
    if (i % 5 == 0) field.start();  // The former ones are not told.
    field.say("agent-a", "message-" + std::to_string(i));
    field.pass(std::chrono::milliseconds{5});
  }
  return field.judge();
}

// Somebody else's records in the same log: of another program, of another cluster, of an owner that is none
// any more. KurrentDB #2187, #3400.
std::string foreign_events() {
  Field field(0);
  field.start();
  field.say("agent-a", "ours");
  field.land_bytes(R"({"order":17,"customer":"nobody of ours"})");
  field.land_bytes("\x01\x02 bytes");
  field.land(Claim{Epoch{2}, {}, "another cluster", "m", "", 1, WallTime{50}});
  field.say("agent-a", "ours-2");
  Commit theirs = field.stray("agent-b", {Field::message("theirs")});
  theirs.epoch = Epoch{2};
  field.land(theirs);
  field.say("agent-a", "ours-3");
  field.kill_all();
  field.start();
  return field.judge();
}

// A sequence number that does not follow stops a projection, or what came twice counts twice. Akka R2DBC
// #245, #343, #463, #662.
std::string out_of_order() {
  Field field(0);
  field.start();
  field.say("agent-a", "message-1");
  const Commit once = field.make("agent-a", {Field::message("message-2")});
  field.land(once);
  field.expect("message-2");
  field.land(once);  // A copy of it.
  Commit early = field.stray("agent-b", {Field::message("early")});
  early.n = Index{early.n.value() + 40};  // Something before it is missing.
  field.land(early);
  Commit jumped = field.make("agent-a", {Field::message("message-3")});
  jumped.parts[0].first = Sequence{99};  // Seen and named by the owner and by verify; no reader stops.
  field.land(jumped);
  field.expect("message-3");
  return field.judge();
}

// ---- each passes, and can fail ----

struct FieldBug {
  friend std::ostream& operator<<(std::ostream& out, const FieldBug& bug) { return out << bug.name; }
  const char* name;
  std::string (*play)();
  std::vector<Mutant> bugs;  // Each of them makes it fail.
};

const std::vector<FieldBug>& field_bugs() {
  static const std::vector<FieldBug> kAll = {
      {"SequenceGaps", &sequence_gaps, {Mutant::starts_at_end}},
      {"StuckDaemon", &stuck_daemon, {Mutant::checkpoint_trusted_for_ever}},
      {"RebuildDisagrees", &rebuild_disagrees, {Mutant::checkpoint_without_admission}},
      {"LostCheckpoint", &lost_checkpoint, {Mutant::unknown_commit_is_done}},
      {"Poison", &poison, {Mutant::parked_not_admitted}},
      {"RebalanceDuplicates", &rebalance_duplicates, {Mutant::checkpoint_not_compared}},
      {"ForeignEvents", &foreign_events, {Mutant::epoch_not_compared}},
      {"OutOfOrder", &out_of_order, {Mutant::duplicates_count, Mutant::gaps_count}},
  };
  return kAll;
}

class FieldBugs : public testing::TestWithParam<FieldBug> {};

TEST_P(FieldBugs, IsNotOneOfOurs) {
  EXPECT_EQ("", GetParam().play());
}

TEST_P(FieldBugs, WouldBeSeen) {
  for (const Mutant bug : GetParam().bugs) {
    const sim::SwitchedOn wrong(bug);
    EXPECT_NE("", GetParam().play()) << static_cast<int>(bug);
  }
}

INSTANTIATE_TEST_SUITE_P(Reported, FieldBugs, testing::ValuesIn(field_bugs()),
                         [](const auto& info) { return std::string{info.param.name}; });

}  // namespace
}  // namespace varve
