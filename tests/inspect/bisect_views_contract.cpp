#include "tests/inspect/bisect_views_contract.h"

#include <algorithm>

#include "inspect/cut_facts.h"
#include "inspect/replay_text.h"
#include "projections/cut_reader.h"

namespace varve::test {
namespace {

constexpr const char* kLog = "the log was folded from its start, because the views cannot be asked: ";

const std::vector<std::string>& questions() {
  static const std::vector<std::string> kQuestions = {
      "agents.count > 2",
      "agents.count < 2 and messages exists",
      R"(not agent("ann") exists and agent exists)",
      R"(agent("agent-1").description = null)",
      "context.count > 6",
      "messages.count > 9",
      R"(message("user").in_context = false)",
      R"(messages("user").count > 5)",
      R"(message("assistant") exists and not message("user").in_context = false)",
      R"(message("assistant").content contains "ho")",
      R"(message("message-9").in_context = true)",
      R"(block("human").value = "3")",
      R"(blocks.value contains "4" and not blocks.value = "1")",
      "blocks.count > 3",
      "attachments.count > 3",
      R"(attachment("human").block_id contains "-")",
      R"(attachment("agent-3") exists)",
      R"(tag("green") exists)",
      "tags.count = 2",
      R"(runs("running").count > 4)",
      "activity.count > 2",
      R"(owner("n").epoch = 1)",
      "tool exists or step exists",
  };
  return kQuestions;
}

// Of which the numbers are compared: all rows, those of a name, those of an id.
const std::vector<std::string>& selectors() {
  static const std::vector<std::string> kSelectors = {
      "agents",
      R"(agent("ann"))",
      R"(agent("agent-1"))",
      R"(agent("agent-4"))",
      "blocks",
      R"(block("human"))",
      R"(block("block-2"))",
      "messages",
      R"(message("user"))",
      R"(message("assistant"))",
      R"(message("message-9"))",
      "context",
      R"(context("user"))",
      R"(context("assistant"))",
      "attachments",
      R"(attachment("human"))",
      R"(attachment("agent-1"))",
      "tags",
      R"(tag("green"))",
      "runs",
      R"(run("running"))",
      "steps",
      "activity",
      "owners",
      R"(owner("n"))",
      "tools",
  };
  return kSelectors;
}

std::shared_ptr<const Expression> where(const std::string& text) {
  auto parsed = Expression::parse(text, Expression::Asks::states_only);
  EXPECT_TRUE(parsed.has_value()) << text << ": " << parsed.error().message;
  return std::make_shared<const Expression>(std::move(*parsed));
}

BisectQuestion question_of(const std::string& text, const std::string& good = "",
                           const std::string& bad = "") {
  BisectQuestion question;
  question.where = where(text);
  question.good = good;
  question.bad = bad;
  return question;
}

bool is_in(const PastCut& cut, LogPosition position) {
  return std::any_of(cut.begin(), cut.end(), [&](const LogPosition& end) {
    return end.partition == position.partition && position.offset <= end.offset;
  });
}

// Somewhere in `end`, each partition by itself.
PastCut draw_cut(Rng& rng, const PastCut& end) {
  PastCut cut;
  for (const LogPosition& last : end) {
    const std::uint64_t count = rng.below(last.offset.value() + 2);
    if (count > 0) cut.push_back({last.partition, Offset{count - 1}});
  }
  return cut;
}

struct Ended {
  std::size_t left = 0;
  Notifier one;
};

Task<> follow(std::shared_ptr<ProjectionWorker> worker, std::shared_ptr<Ended> ended) {
  ignore_error(co_await worker->run(), "the worker keeps it");
  --ended->left;
  ended->one.notify_all();
  co_return ok();
}

Task<> join(Env& env, std::shared_ptr<Ended> ended) {
  while (ended->left > 0) co_await ended->one.wait(env, env.now() + std::chrono::seconds{10});
  co_return ok();
}

// What an expression asks for.
class Asked final : public Facts {
 public:
  Result<std::int64_t> count(const Selector& of) override {
    selector = of;
    return std::int64_t{0};
  }
  Result<bool> any(const Selector& /*of*/, const std::function<bool(const RowNow&)>& /*fits*/) override {
    return false;
  }
  Value event(EventField /*field*/) override { return Value{}; }

  Selector selector;
};
Selector selector_of(const std::string& text) {
  Asked asked;
  EXPECT_TRUE(where(text + ".count = 0")->holds(asked));
  return asked.selector;
}

// How many rows the views have of it.
Task<std::int64_t> count_in(ViewStore& views, Selector selector, std::optional<StreamId> about, PastCut cut) {
  auto counted = std::make_shared<std::int64_t>(-1);
  const Cut moment{cut};
  std::function<Status(ViewReader&)> work = [counted, selector, about, moment](ViewReader& reader) -> Status {
    CutReader past(reader, moment);
    CutFacts facts(past, about);
    const auto count = facts.count(selector);
    if (!count) return count.error();
    *counted = *count;
    return ok();
  };
  if (Status read = co_await views.read(std::move(work)); !read) co_return read.error();
  co_return *counted;
}

Task<bool> pass(EventLog& log, ViewProgress& progress, MonoTime deadline) {
  std::vector<LogPosition> ends;
  for (std::uint32_t i = 0; i < log.partitions(); ++i) {
    const auto end = co_await log.end(Partition{i});
    if (!end) co_return end.error();
    if (*end > Offset{}) ends.push_back({Partition{i}, Offset{end->value() - 1}});
  }
  co_return co_await progress.wait_for(std::move(ends), deadline);
}

}  // namespace

void BisectViewsContract::fold(ViewStore& views, std::size_t changes_max) {
  ViewProgress progress(env_, views);
  std::vector<std::shared_ptr<ProjectionWorker>> workers;
  const auto ended = std::make_shared<Ended>();
  for (std::uint32_t i = 0; i < log_.partitions(); ++i) {
    workers.push_back(std::make_shared<ProjectionWorker>(env_, log_, views, progress, Partition{i},
                                                         ProjectionWorker::Options{changes_max}));
    ++ended->left;
    env_.spawn("worker", follow(workers.back(), ended));
  }
  const auto passed = run(env_, pass(log_, progress, env_.now() + std::chrono::seconds{60}));
  EXPECT_TRUE(passed && *passed);
  for (const auto& worker : workers) {
    EXPECT_FALSE(worker->failure()) << worker->failure()->message;
    worker->stop();
  }
  EXPECT_TRUE(run(env_, join(env_, ended)));
}

void BisectViewsContract::does_not_count(Rng& rng) {
  const auto partition = static_cast<std::uint32_t>(rng.below(2));
  const StreamId stream{"agent-nobody"};
  const CommandRef command{command_id_from_text("junk " + std::to_string(++ids_)), CommandHash{1}, true};
  const Epoch epoch{rng.below(3)};
  // Of its own epoch a record comes twice with the same time, as a transport repeats it.
  const bool repeated = epoch == Epoch{1};
  if (repeated && n_[partition] == 0) return;
  const Index n{repeated ? n_[partition] : n_[partition] + 1};
  const std::int64_t zombie = now_ + static_cast<std::int64_t>(rng.below(40)) - 20;
  const WallTime at{repeated ? newest_[partition] : zombie};
  land(partition, Commit{epoch, n, "zombie", at, command, {{stream, Sequence{1}, {AgentDeleted{}}}}});
}

void BisectViewsContract::seal(Agent& agent) {
  AgentUpdated event;
  event.settings = sample_settings();
  event.settings.name = "ann";
  commit(agent.stream, {event, ImportSealed{}});
  agent.importing = false;
}

void BisectViewsContract::change(Rng& rng, Agent& agent) {
  const std::uint64_t what = rng.below(8);
  if (agent.importing) {
    seal(agent);
  } else if (what == 0 && !blocks_.empty()) {
    const std::string block = blocks_[rng.below(blocks_.size())];
    if (std::find(agent.blocks.begin(), agent.blocks.end(), block) != agent.blocks.end()) return;
    agent.blocks.push_back(block);
    commit(agent.stream, {BlockAttached{{StreamId{block}, "notes"}}});
  } else if (what == 1 && !agent.blocks.empty()) {
    commit(agent.stream, {BlockDetached{StreamId{agent.blocks.back()}}});
    agent.blocks.pop_back();
  } else if (what == 2) {
    AgentUpdated event;
    event.settings = sample_settings();
    event.settings.name = rng.chance(50, 100) ? "ann" : "bob";
    (agent.tagged ? event.tags_removed : event.tags_added) = {"green"};
    agent.tagged = !agent.tagged;
    commit(agent.stream, {event});
  } else if (what == 3 && agent.context.size() > 1) {
    commit(agent.stream, {ContextTrimmed{{agent.context[1]}}});
    agent.left.push_back(agent.context[1]);
    agent.context.erase(agent.context.begin() + 1);
  } else if (what == 4 && rng.chance(30, 100)) {
    commit(agent.stream, {AgentDeleted{}});
    agent.deleted = true;
  } else {
    const std::string run = "run-" + std::to_string(++ids_);
    std::string said = "message-" + std::to_string(ids_);
    Role role = Role::user;
    if (!agent.left.empty() && rng.chance(40, 100)) {
      said = agent.left.back();  // Comes back as another version.
      agent.left.pop_back();
      role = Role::assistant;
    }
    commit(agent.stream,
           {UserMessageReceived{run, {sample_message(said, role, "ho " + run)}, 50, WallTime{600}, "{}"}});
    agent.context.push_back(said);
  }
}

void BisectViewsContract::command(Rng& rng) {
  const std::uint64_t what = rng.below(12);
  if (what == 0 || agents_.empty()) {
    Agent agent;
    agent.stream = "agent-" + std::to_string(++ids_);
    if (!blocks_.empty()) agent.blocks = {blocks_[rng.below(blocks_.size())]};
    std::vector<BlockRef> refs;
    for (const std::string& block : agent.blocks) refs.push_back({StreamId{block}, "human"});
    // A name may be an id: it is one row all the same.
    const std::vector<std::string> names = {"ann", "ann", "carl", agent.stream};
    agent.importing = !agents_.empty() && rng.chance(30, 100);
    AgentSettings settings = sample_settings();
    settings.name = agents_.empty() ? agent.stream : names[rng.below(names.size())];
    std::vector<StoredEvent> events{
        AgentCreated{settings, refs, {sample_message("message-0" + agent.stream, Role::system, "S")}}};
    if (agent.importing) events.emplace_back(ImportBegun{1, "hash"});
    commit(agent.stream, events);
    agent.context.push_back("message-0" + agent.stream);
    agents_.push_back(std::move(agent));
  } else if (what == 1) {
    blocks_.push_back("block-" + std::to_string(++ids_));
    create_block(blocks_.back(), rng.chance(50, 100) ? "human" : "persona", "0");
  } else if (what < 5 && !blocks_.empty()) {
    update_block(blocks_[rng.below(blocks_.size())], "human", std::to_string(rng.below(6)));
  } else if (what == 5 && blocks_.size() > 2 && rng.chance(60, 100)) {
    commit(blocks_.back(), {BlockDeleted{}});
    blocks_.pop_back();
  } else if (what == 6) {
    const std::uint64_t junk = rng.chance(20, 100) ? 12 : 1;
    for (std::uint64_t i = 0; i < junk; ++i) does_not_count(rng);
  } else {
    Agent& agent = agents_[rng.below(agents_.size())];
    if (!agent.deleted) change(rng, agent);
  }
}

void BisectViewsContract::one_command(Rng& rng) {
  const std::map<std::uint32_t, std::uint64_t> before = n_;
  now_ = latest_ - (rng.chance(30, 100) ? 10 : 0);  // At the time of the one before, or later.
  command(rng);
  for (const auto& [partition, n] : n_) {
    const auto known = before.find(partition);
    if (known == before.end() || known->second < n) latest_ = newest_[partition] = now_;
  }
  now_ = latest_;
}

void BisectViewsContract::write(Rng& rng, int commands) {
  for (int i = 0; i < commands; ++i) one_command(rng);
  const std::string parked = "block-parked";
  const LogPosition bad = poison(parked);
  update_block(parked, "human", "3");
  const std::uint32_t partition = bad.partition.value();
  land(partition, next_ruling(partition, parked, bad.offset));
  latest_ = newest_[partition] = now_;
  for (int i = 0; i < commands / 4; ++i) one_command(rng);
}

// ---- the exam ----

TEST_P(BisectViewsContract, AtEveryCutTheViewsSayWhatTheLogSays) {
  Rng rng(11);
  write(rng, 260);
  const BisectedStore store = GetParam().open(env_);
  fold(*store.views, 40);
  const auto folded = *run(env_, History::read(log_));
  ViewStates states(*store.views);
  const std::vector<std::optional<StreamId>> abouts = {std::nullopt, StreamId{"agent-1"}, StreamId{"agent-2"},
                                                       StreamId{"block-3"}, StreamId{"agent-none"}};
  int held = 0;
  std::int64_t counted = 0;
  for (int round = 0; round < 25; ++round) {
    const PastCut cut = draw_cut(rng, folded->end());
    for (const std::string& question : questions()) {
      const auto& about = abouts[rng.below(abouts.size())];
      const auto expected = run(env_, folded->holds(where(question), about, cut));
      const auto seen = run(env_, states.holds(where(question), about, cut));
      ASSERT_TRUE(expected && seen) << question << (seen ? "" : seen.error().message);
      EXPECT_EQ(*expected, *seen) << question << " about " << (about ? about->value() : "all") << " at "
                                  << cut_text(cut);
      held += *seen ? 1 : 0;
    }
    for (const std::string& selector : selectors()) {
      const auto& about = abouts[rng.below(2) * rng.below(abouts.size())];
      const auto count = run(env_, count_in(*store.views, selector_of(selector), about, cut));
      ASSERT_TRUE(count) << selector << count.error().message;
      const std::string claim = selector + ".count = " + std::to_string(*count);
      EXPECT_TRUE(*run(env_, folded->holds(where(claim), about, cut)))
          << claim << ", say the views about " << (about ? about->value() : "all") << " at " << cut_text(cut);
      counted += *count;
    }
  }
  EXPECT_GT(held, 50);
  EXPECT_GT(counted, 1000);
}

// Rows are looked for by id, and again by name.
TEST_P(BisectViewsContract, WhatHasItsIdForANameIsCountedOnce) {
  const std::string same = stream_in("agent", 0);
  create_agent(same, same);
  create_agent("agent-other", same);
  const BisectedStore store = GetParam().open(env_);
  fold(*store.views, 30);
  const auto folded = *run(env_, History::read(log_));
  const Selector selector = selector_of("agent(\"" + same + "\")");
  EXPECT_EQ(2, *run(env_, count_in(*store.views, selector, std::nullopt, folded->end())));
  EXPECT_EQ(1, *run(env_, count_in(*store.views, selector, StreamId{same}, folded->end())));
  EXPECT_TRUE(
      *run(env_, folded->holds(where("agent(\"" + same + "\").count = 2"), std::nullopt, folded->end())));
}

TEST_P(BisectViewsContract, ItNamesARecordAtWhichTheScanSeesItTurnTrue) {
  Rng rng(5);
  write(rng, 160);
  const BisectedStore store = GetParam().open(env_);
  fold(*store.views, 30);
  const AskedViews asked{env_, log_, *store.views};
  const auto folded = *run(env_, History::read(log_));
  int found = 0;
  int looks = 0;
  for (const std::string& question : questions()) {
    const PastCut bad = rng.chance(50, 100) ? folded->end() : draw_cut(rng, folded->end());
    const PastCut good = rng.chance(50, 100) ? PastCut{} : draw_cut(rng, bad);
    // The scan: all states between.
    std::vector<LogPosition> turns;
    PastCut cut = good;
    bool before = *run(env_, folded->holds(where(question), std::nullopt, cut));
    const bool at_good = before;
    for (const PastRecord& record : folded->records()) {
      if (is_in(good, record.position) || !is_in(bad, record.position)) continue;
      merge_position(cut, record.position);
      const bool now = *run(env_, folded->holds(where(question), std::nullopt, cut));
      if (now && !before) turns.push_back(record.position);
      before = now;
    }
    const auto answer = run(env_, bisect_views(asked, where(question), std::nullopt, good, bad));
    ASSERT_TRUE(answer) << question << ": " << answer.error().message;
    if (at_good) {
      EXPECT_EQ(BisectAnswer::Kind::true_at_good, answer->kind) << question;
      continue;
    }
    if (!before) {
      EXPECT_EQ(BisectAnswer::Kind::false_at_bad, answer->kind) << question;
      continue;
    }
    ++found;
    ASSERT_EQ(BisectAnswer::Kind::found, answer->kind) << question;
    EXPECT_NE(turns.end(), std::find(turns.begin(), turns.end(), answer->position))
        << question << " named " << to_string(answer->position) << ", which is none of " << to_string(turns);
    EXPECT_FALSE(*run(env_, folded->holds(where(question), std::nullopt, answer->before))) << question;
    EXPECT_TRUE(*run(env_, folded->holds(where(question), std::nullopt, answer->after))) << question;
    looks = std::max(looks, static_cast<int>(answer->states_asked));
  }
  EXPECT_GT(found, 5);
  EXPECT_LE(looks, 16) << "of some 200 records";
}

TEST_P(BisectViewsContract, TheReportIsThatOfTheScan) {
  Rng rng(3);
  write(rng, 60);
  const LogPosition guilty = update_block("block-parked", "human", "guilty");
  for (int i = 0; i < 20; ++i) update_block("block-parked", "human", "guilty " + std::to_string(i));
  const BisectedStore store = GetParam().open(env_);
  fold(*store.views, 25);
  const AskedViews asked{env_, log_, *store.views};
  const BisectQuestion question = question_of(R"(block.value contains "guilty")", "0:3", "2999-01-01");
  const auto scanned = run(env_, bisect_log(log_, question));
  const auto report = run(env_, bisect_by_views(asked, question, Play::if_needed));
  ASSERT_TRUE(scanned && report) << (report ? "" : report.error().message);
  EXPECT_TRUE(report->by_views);
  EXPECT_FALSE(scanned->by_views);
  EXPECT_EQ(guilty, report->answer.position);
  EXPECT_EQ(scanned->answer.position, report->answer.position);
  ASSERT_TRUE(report->record && scanned->record);
  const ReplayStyle whole{};
  EXPECT_EQ(replay_json(*scanned->record, whole), replay_json(*report->record, whole));
  const std::string text = bisect_text(*report, Find::any, false);
  EXPECT_NE(std::string::npos, text.find(" states of the views were looked at")) << text;
  EXPECT_NE(std::string::npos, bisect_json(*report, question).find(R"("by":"views")"));

  // Where the log is too long to be played again, the record stands alone.
  const auto alone = run(env_, bisect_by_views(asked, question, Play::never));
  ASSERT_TRUE(alone && alone->record);
  EXPECT_EQ(guilty, alone->answer.position);
  EXPECT_EQ("BlockUpdated", alone->record->events.front().type);
  EXPECT_TRUE(alone->record->events.front().rows.empty());
  EXPECT_NE(std::string::npos, alone->remarks.back().find("varve replay --partition"));
}

TEST_P(BisectViewsContract, ViewsThatCannotAnswerAreSaidSoAndTheLogIsFolded) {
  create_block("block-a", "human", "a");
  const BisectedStore store = GetParam().open(env_);
  fold(*store.views, 40);
  const AskedViews asked{env_, log_, *store.views};
  const LogPosition later = update_block("block-a", "human", "b");
  const BisectQuestion question = question_of(R"(block.value = "b")");
  const auto report = run(env_, bisect_by_views(asked, question, Play::if_needed));
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->by_views);
  EXPECT_EQ(later, report->answer.position);
  ASSERT_FALSE(report->remarks.empty());
  EXPECT_TRUE(report->remarks.front().starts_with(std::string{kLog} + "the views of partition"))
      << report->remarks.front();
  const auto refused = run(env_, bisect_by_views(asked, question, Play::never));
  ASSERT_FALSE(refused);
  EXPECT_EQ(Errc::conflict, refused.error().code);

  // Another log's.
  auto other = std::make_shared<MemoryLogStorage>(two_);
  for (std::uint32_t number = 0; number < 2; ++number) {
    const Record claim = Claim{Epoch{1}, {}, "varve", "else", "", 2, WallTime{number + 1}};
    for (int i = 0; i < 9; ++i) {
      other->land(Partition{number}, std::make_shared<const std::string>(*encode_record(claim)));
    }
  }
  MemoryEventLog foreign(env_, other);
  const AskedViews mixed{env_, foreign, *store.views};
  const auto cuts = run(env_, cuts_in_views(mixed, "", "0:0,", Duration{}));
  ASSERT_FALSE(cuts);
  EXPECT_TRUE(cuts.error().message.starts_with("they are not of this log: ")) << cuts.error().message;
}

TEST_P(BisectViewsContract, ACutMeansWhatItMeansToTheLog) {
  Rng rng(17);
  write(rng, 80);
  const BisectedStore store = GetParam().open(env_);
  fold(*store.views, 20);
  const AskedViews asked{env_, log_, *store.views};
  const auto folded = *run(env_, History::read(log_));
  const auto compare = [&](const std::string& text) {
    const auto expected = folded->cut_of(text);
    const auto cuts = run(env_, cuts_in_views(asked, "", text, Duration{}));
    if (!expected || !cuts) {
      EXPECT_EQ(expected.has_value(), cuts.has_value()) << text;
      if (!cuts) EXPECT_EQ(Errc::invalid_argument, cuts.error().code) << text;
      return;
    }
    // Offsets that do not count may be in it or not.
    for (const PastRecord& record : folded->records()) {
      EXPECT_EQ(is_in(*expected, record.position), is_in(cuts->bad, record.position))
          << text << ", " << to_string(record.position);
    }
  };
  for (const char* text : {"1969-12-31", "2999-01-01", "1970-01-01T00:00:00.000300Z", ",", "0:2,", "0:2",
                           "1:9", "0:0", "9:1", "0:99999", "0:99999,", "yesterday", "0:1,0:2"}) {
    compare(text);
  }
  for (int i = 0; i < 20; ++i) {
    const PastRecord& record = folded->records()[rng.below(folded->records().size())];
    compare(format_rfc3339_micros(record.at));
    compare(to_string(record.position));
  }
}

}  // namespace varve::test
