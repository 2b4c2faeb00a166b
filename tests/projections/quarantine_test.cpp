// What becomes of parked streams: retries by the present program, and rulings, which live views, rebuilds and
// replays obey alike.
#include "projections/quarantine.h"

#include <gtest/gtest.h>

#include "eventlog/memory_event_log.h"
#include "projections/memory_view_store.h"
#include "projections/verify.h"
#include "projections/worker.h"
#include "sim/scheduler.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

constexpr Partition kHome{0};
const StreamId kAgent{"agent-a"};

// A store and whoever folds into it.
struct Views {
  Views(sim::SimEnv& of, EventLog& of_log) : env(of), log(of_log) {}
  sim::SimEnv& env;
  EventLog& log;
  std::shared_ptr<MemoryViewStorage> storage = std::make_shared<MemoryViewStorage>();
  MemoryViewStore store{env, storage};
  ViewProgress progress{env, store};
  ProjectionWorker worker{env, log, store, progress, kHome};

  const Checkpoint& checkpoint() const { return storage->checkpoints[kHome]; }
  std::vector<Row> rows(View view, bool open_only = true) const {
    MemoryViewReader reader(*storage);
    Query query;
    query.view = view;
    query.open_only = open_only;
    return *reader.select(query);
  }
  // "message-1@4 message-2@6-9"
  std::string messages() const {
    std::string out;
    for (const Row& row : rows(View::messages, false)) {
      out +=
          (out.empty() ? "" : " ") + row.text(messages::id) + "@" + std::to_string(row.from.offset.value());
      if (row.to) out += "-" + std::to_string(row.to->offset.value());
    }
    return out;
  }
};

class QuarantineTest : public testing::Test {
 public:
  void SetUp() override { land(Claim{Epoch{1}, {}, "varve", "n", "", 1, WallTime{1}}); }
  void TearDown() override { env_.kill(); }

  Offset land(const Record& record) {
    return log_->land(kHome, std::make_shared<const std::string>(*encode_record(record)));
  }
  Offset commit(const std::vector<StoredEvent>& events, const std::string& stream = "agent-a") {
    Part part{StreamId{stream}, Sequence{sequences_[stream] + 1}, events};
    sequences_[stream] += events.size();
    ++n_;
    const CommandRef command{command_id_from_text(std::to_string(n_)), CommandHash{1}, true};
    return land(Commit{Epoch{1}, Index{n_}, "n", now(), command, {part}});
  }
  // The present program cannot read it either.
  Offset poison() { return commit({UnreadableEvent{"AgentSang", 1, "", "{}"}}); }
  Offset said(const std::string& id) { return commit({said_event(id)}); }
  static Event said_event(const std::string& id) {
    return MessagesImported{{test::sample_message(id, Role::user, "hi")}, {}};
  }
  Offset rule(Offset offset, std::int64_t event = 0) {
    ++n_;
    return land(Ruling{Epoch{1}, Index{n_}, "n", now(), kAgent, offset, event});
  }
  WallTime now() const { return WallTime{static_cast<std::int64_t>(10 * n_)}; }

  void run_for(int ms) {
    const MonoTime end = scheduler_.now() + std::chrono::milliseconds{ms};
    env_.call_at(end, [] {});
    while (scheduler_.now() < end && scheduler_.step()) {
    }
  }
  Views& fold(Views& views) {
    env_.spawn("worker", views.worker.run());
    run_for(1000);
    return views;
  }
  // A program that cannot fold the event `stop` folds what is in the log.
  void fold_as_older_program(Views& views, const EventPlace& stop) {
    MemoryViewReader reader(*views.storage);
    std::vector<QuarantineRow> quarantine = *reader.quarantine();
    PartitionFold fold(kHome, views.checkpoint(), quarantine);
    fold.stop_at({stop});
    const Offset from = views.checkpoint().next;
    for (const LogRecord& record : log_->records(kHome)) {
      if (record.offset < from) continue;
      const auto offsets = fold.released_by(record);
      if (offsets.empty()) {
        ASSERT_TRUE(fold.take(record));
        continue;
      }
      if (!fold.empty()) ASSERT_TRUE(apply_batch(*views.storage, fold.take_batch()));
      std::vector<LogRecord> waiting;
      for (const LogRecord& other : log_->records(kHome)) {
        if (std::count(offsets.begin(), offsets.end(), other.offset) == 1) waiting.push_back(other);
      }
      ASSERT_TRUE(fold.take_ruling(record, waiting));
      fold.fit(*open_rows(reader, kHome, fold.to_fit()));
      ASSERT_TRUE(apply_batch(*views.storage, fold.take_batch()));
    }
    if (!fold.empty()) ASSERT_TRUE(apply_batch(*views.storage, fold.take_batch()));
  }
  std::string tried_again(Views& views, const StreamId& stream = kAgent) {
    auto result = std::make_shared<std::optional<Result<RetryOutcome>>>();
    const auto ask = [](QuarantineTest& self, Views& of, StreamId which, auto out) -> Task<> {
      *out = co_await retry(self.env_, self.port_, of.store, which);
      co_return ok();
    };
    env_.spawn("retry", ask(*this, views, stream, result));
    run_for(1000);
    if (!result->has_value()) return "no answer";
    if (!**result) return to_string((**result).error());
    return std::array{"released", "parked again", "not parked"}[static_cast<std::size_t>(***result)];
  }
  std::string verified(Views& views) {
    auto result = std::make_shared<std::optional<Result<std::vector<Difference>>>>();
    const auto ask = [](QuarantineTest& self, Views& of, auto out) -> Task<> {
      *out = co_await fold_equals(self.env_, self.port_, of.store, kHome);
      co_return ok();
    };
    env_.spawn("verify", ask(*this, views, result));
    run_for(1000);
    if (!result->has_value()) return "no answer";
    if (!**result) return to_string((**result).error());
    std::string text;
    for (const Difference& difference : ***result) text += difference.what + "\n";
    return text;
  }
  // Views folded from the start by the present program, and a replay, say the same.
  void expect_all_agree(Views& views) {
    EXPECT_EQ("", verified(views));
    Views rebuilt(env_, port_);
    fold(rebuilt);
    EXPECT_FALSE(rebuilt.worker.failure()) << rebuilt.worker.failure()->message;
    EXPECT_EQ(rebuilt.messages(), views.messages());
    EXPECT_EQ(rebuilt.checkpoint().digests, views.checkpoint().digests);
    EXPECT_EQ(rebuilt.checkpoint().next, views.checkpoint().next);
    EXPECT_EQ(rebuilt.storage->quarantine, views.storage->quarantine);
    EXPECT_EQ("", verified(rebuilt));
    rebuilt.worker.stop();
    run_for(1000);
  }

  sim::Scheduler scheduler_{1};
  sim::SimEnv env_{scheduler_, "test", 1};
  std::shared_ptr<MemoryLogStorage> log_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{1, 0});
  MemoryEventLog port_{env_, log_};
  Views views_{env_, port_};
  std::uint64_t n_ = 0;
  std::map<std::string, std::uint64_t> sequences_;
};

const Event kCreated = AgentCreated{test::sample_settings(), {}, {}};

// ---- skip ----

TEST_F(QuarantineTest, WhatWaitedBehindASkippedEventIsValidFromTheRuling) {
  commit({kCreated, said_event("m1")});
  const Offset bad = poison();
  said("m2");
  fold(views_);
  said("m3");
  run_for(1000);
  EXPECT_EQ("m1@1", views_.messages());
  EXPECT_TRUE(views_.progress.is_parked(kAgent));

  const Offset ruled = rule(bad);
  said("m4");
  run_for(1000);
  EXPECT_EQ("m1@1 m2@5 m3@5 m4@6", views_.messages());
  EXPECT_EQ(Offset{5}, ruled);
  const Row m2 = views_.rows(View::messages)[1];
  EXPECT_EQ(WallTime{50}, m2.from.at) << "of the ruling";
  EXPECT_EQ(30, m2.integer(messages::created_at)) << "of the event";
  EXPECT_TRUE(views_.storage->quarantine.empty());
  EXPECT_FALSE(views_.progress.is_parked(kAgent));
  expect_all_agree(views_);
}

TEST_F(QuarantineTest, TheRestOfTheRecordIsFoldedToo) {
  const Offset bad =
      commit({kCreated, UnreadableEvent{"AgentSang", 1, "", "{}"}, said_event("m1"), said_event("m2")});
  rule(bad, 1);
  fold(views_);
  EXPECT_EQ("m1@2 m2@2", views_.messages());
  EXPECT_EQ(1U, views_.rows(View::agents).size());
  expect_all_agree(views_);
}

TEST_F(QuarantineTest, ASecondPoisonParksTheStreamAgain) {
  commit({kCreated});
  const Offset first = poison();
  said("m1");
  const Offset second = commit({said_event("m2"), UnreadableEvent{"AgentSang", 1, "", "{}"}});
  said("m3");
  fold(views_);
  rule(first);
  run_for(1000);
  EXPECT_EQ("m1@6 m2@6", views_.messages());
  ASSERT_EQ(2U, views_.storage->quarantine.size());
  EXPECT_EQ(second, views_.storage->quarantine[0].offset);
  EXPECT_EQ(1, views_.storage->quarantine[0].event);
  expect_all_agree(views_);
  rule(second, 1);
  run_for(1000);
  EXPECT_EQ("m1@6 m2@6 m3@7", views_.messages());
  expect_all_agree(views_);
}

TEST_F(QuarantineTest, ARulingThatDoesNotCountReleasesNothing) {
  commit({kCreated});
  const Offset bad = poison();
  said("m1");
  land(Ruling{Epoch{1}, Index{n_ + 5}, "n", WallTime{99}, kAgent, bad, 0});  // Behind a hole.
  land(Ruling{Epoch{7}, Index{1}, "n", WallTime{99}, kAgent, bad, 0});
  rule(bad, 3);  // There is no such event.
  rule(Offset{0});
  fold(views_);
  EXPECT_FALSE(views_.worker.failure());
  EXPECT_EQ("", views_.messages());
  EXPECT_EQ(2U, views_.storage->quarantine.size());
  EXPECT_EQ("", verified(views_));
}

TEST_F(QuarantineTest, TheFirstOfTwoRulingsAboutAnEventReleasesItsStream) {
  commit({kCreated});
  const Offset bad = poison();
  said("m1");
  rule(bad);
  said("m2");
  rule(bad);
  fold(views_);
  EXPECT_EQ("m1@4 m2@5", views_.messages());
  expect_all_agree(views_);
}

// The event is poison for the program that was live, and not for the one that rebuilds.
TEST_F(QuarantineTest, ANewerProgramObeysTheRulingsOfOlderOnes) {
  commit({kCreated, said_event("m1")});
  const Offset unknown = said("m2");
  said("m3");
  fold_as_older_program(views_, {kAgent, unknown, 0});
  rule(unknown);
  said("m4");
  fold_as_older_program(views_, {kAgent, unknown, 0});
  EXPECT_EQ("m1@1 m3@4 m4@5", views_.messages());
  expect_all_agree(views_);
}

// The skipped event would have made the rows that later ones close, and closed those that later ones make.
TEST_F(QuarantineTest, WhatASkippedEventWouldHaveDoneIsAbsent) {
  AgentSettings settings = test::sample_settings();
  settings.tags = {"red"};
  commit({AgentCreated{settings, {{StreamId{"block-1"}, "human"}}, {}}});
  const Message hi = test::sample_message("m1", Role::user, "hi");
  const Offset unknown =
      commit({UserMessageReceived{"run-1", {hi}, 50, {}, "{}"}, BlockDetached{StreamId{"block-1"}}});
  commit(
      {BlockDetached{StreamId{"block-1"}}, TurnFinished{"run-1", "end_turn", {1, 2, 1}, WallTime{20}, "{}"}});
  commit({BlockAttached{{StreamId{"block-1"}, "person"}}, ContextTrimmed{{"m1"}}});
  commit({BlockAttached{{StreamId{"block-1"}, "again"}}});  // Without a detachment: one that was skipped.
  fold_as_older_program(views_, {kAgent, unknown, 0});
  const Offset ruled = rule(unknown);
  fold_as_older_program(views_, {kAgent, unknown, 0});
  EXPECT_EQ("", views_.messages()) << "nobody said it";
  ASSERT_EQ(1U, views_.rows(View::runs).size()) << "a run that has ended, though it never began";
  ASSERT_EQ(1U, views_.rows(View::attachments).size());
  EXPECT_EQ("again", views_.rows(View::attachments)[0].text(attachments::label));
  EXPECT_EQ(3U, views_.rows(View::attachments, false).size());
  EXPECT_EQ(ruled, views_.rows(View::attachments)[0].from.offset);
  expect_all_agree(views_);
}

// An older program has ruled on what the live one has folded long ago.
TEST_F(QuarantineTest, ARulingAboutWhatIsFoldedStopsThePartitionWithASentence) {
  commit({kCreated});
  const Offset folded = said("m1");
  fold(views_);
  EXPECT_EQ("m1@2", views_.messages());
  rule(folded);
  said("m2");
  run_for(1000);
  ASSERT_TRUE(views_.worker.failure());
  EXPECT_EQ(
      "the ruling 0:3 says that event 0 of 'agent-a' at offset 2 is absent, but these views have folded it: "
      "rebuild them",
      views_.worker.failure()->message);
  // Another worker does not overlook it.
  ProjectionWorker second(env_, port_, views_.store, views_.progress, kHome);
  env_.spawn("second", second.run());
  run_for(1000);
  EXPECT_TRUE(second.failure());
  Views rebuilt(env_, port_);
  fold(rebuilt);
  EXPECT_FALSE(rebuilt.worker.failure());
  EXPECT_EQ("m2@4", rebuilt.messages());
  EXPECT_EQ("", verified(rebuilt));
}

// ---- retry ----

TEST_F(QuarantineTest, ARetryPutsTheRowsWhereTheyWouldHaveBeen) {
  commit({kCreated, said_event("m1")});
  const Offset unknown = commit({said_event("m2"), said_event("m3")});
  said("m4");
  fold_as_older_program(views_, {kAgent, unknown, 1});
  const Checkpoint before = views_.checkpoint();
  EXPECT_EQ("m1@1 m2@2", views_.messages());
  EXPECT_EQ("", verified(views_)) << "parked streams are compared up to their poison";

  EXPECT_EQ("released", tried_again(views_));
  EXPECT_EQ("m1@1 m2@2 m3@2 m4@3", views_.messages());
  Checkpoint expected = before;
  expected.version += 1;
  expected.digests = views_.checkpoint().digests;
  EXPECT_EQ(expected, views_.checkpoint()) << "nothing but the version and the digests has moved";
  EXPECT_TRUE(views_.storage->quarantine.empty());
  expect_all_agree(views_);
  EXPECT_EQ("not parked", tried_again(views_));
}

TEST_F(QuarantineTest, WhatStillCannotBeFoldedStaysParkedAndNothingIsWritten) {
  commit({kCreated});
  poison();
  said("m1");
  fold(views_);
  const MemoryViewStorage before = *views_.storage;
  EXPECT_EQ("parked again", tried_again(views_));
  EXPECT_EQ(before.checkpoints, views_.storage->checkpoints);
  EXPECT_EQ(before.quarantine, views_.storage->quarantine);
  EXPECT_EQ("not parked", tried_again(views_, StreamId{"agent-b"}));
}

TEST_F(QuarantineTest, ARetryGoesAsFarAsItCan) {
  commit({kCreated});
  const Offset unknown = said("m1");
  const Offset bad = poison();
  said("m2");
  fold_as_older_program(views_, {kAgent, unknown, 0});
  EXPECT_EQ("parked again", tried_again(views_));
  EXPECT_EQ("m1@2", views_.messages());
  ASSERT_EQ(2U, views_.storage->quarantine.size());
  EXPECT_EQ(bad, views_.storage->quarantine[0].offset);
  expect_all_agree(views_);
}

// A batch that was computed while the stream was parked must not land after its release (rule 20).
TEST_F(QuarantineTest, ABatchFromBeforeTheRetryLosesTheRace) {
  commit({kCreated});
  const Offset unknown = said("m1");
  fold_as_older_program(views_, {kAgent, unknown, 0});
  MemoryViewReader reader(*views_.storage);
  PartitionFold slow(kHome, views_.checkpoint(), *reader.quarantine());
  said("m2");
  ASSERT_TRUE(slow.take(log_->records(kHome).back()));
  EXPECT_EQ("released", tried_again(views_));
  const auto late = apply_batch(*views_.storage, slow.take_batch());
  ASSERT_TRUE(late);
  EXPECT_EQ(CommitOutcome::lost_race, *late);
  fold(views_);
  EXPECT_EQ("m1@2 m2@3", views_.messages());
  expect_all_agree(views_);
}

TEST_F(QuarantineTest, ARetryAndAWorkerAtTheSameTimeLoseNothing) {
  commit({kCreated});
  const Offset unknown = said("m0");
  fold_as_older_program(views_, {kAgent, unknown, 0});
  env_.spawn("worker", views_.worker.run());
  auto outcome = std::make_shared<std::optional<Result<RetryOutcome>>>();
  const auto ask = [](QuarantineTest& self, auto out) -> Task<> {
    *out = co_await retry(self.env_, self.port_, self.views_.store, kAgent);
    co_return ok();
  };
  for (int i = 1; i < 40; ++i) {
    said("m" + std::to_string(i));
    if (i == 5) env_.spawn("retry", ask(*this, outcome));
    run_for(1);
  }
  run_for(2000);
  ASSERT_TRUE(outcome->has_value() && **outcome);
  EXPECT_EQ(RetryOutcome::released, ***outcome);
  EXPECT_EQ(40U, views_.rows(View::messages).size());
  expect_all_agree(views_);
}

// Behind a skipped event waits one that only the newer program can fold. It was released by the ruling and
// parked again at once: its rows are valid from there.
TEST_F(QuarantineTest, ARetryBehindASkipPutsTheRowsAtTheRuling) {
  commit({kCreated});
  const Offset bad = poison();
  said("m1");
  const Offset unknown = said("m2");
  said("m3");
  const EventPlace stop{kAgent, unknown, 0};
  fold_as_older_program(views_, stop);
  rule(bad);
  said("m4");
  rule(bad);  // Once more: it changes nothing.
  said("m5");
  fold_as_older_program(views_, stop);
  EXPECT_EQ("m1@6", views_.messages());
  EXPECT_EQ("released", tried_again(views_));
  EXPECT_EQ("m1@6 m2@6 m3@6 m4@7 m5@9", views_.messages());
  expect_all_agree(views_);
}

TEST_F(QuarantineTest, ARetryLeavesToARulingWhatTheRulingDecides) {
  commit({kCreated});
  const Offset unknown = said("m1");
  said("m2");
  fold_as_older_program(views_, {kAgent, unknown, 0});
  rule(unknown);  // The views have not come so far.
  EXPECT_EQ("parked again", tried_again(views_));
  EXPECT_EQ("", views_.messages());
  fold(views_);
  EXPECT_EQ("m2@4", views_.messages());
  expect_all_agree(views_);
}

}  // namespace
}  // namespace varve
