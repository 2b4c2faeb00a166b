// Bisect finds an event at which a condition turns true, by few looks; and a history answers for every moment
// what a fold that stops there would say.
#include "inspect/bisect.h"

#include "inspect/log_fold.h"
#include "tests/inspect/inspect_log.h"

namespace varve::test {
namespace {

const std::string kAgent = stream_in("agent", 0);
const std::string kBlock = stream_in("block", 0);
const std::string kFarBlock = stream_in("block", 1);

class BisectTest : public InspectLog {
 public:
  std::shared_ptr<History> history() {
    auto read = run(env_, History::read(log_));
    EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
    return read ? *read : nullptr;
  }
  static std::shared_ptr<const Expression> where(const std::string& text) {
    auto parsed = Expression::parse(text, Expression::Asks::states_only);
    EXPECT_TRUE(parsed.has_value()) << text;
    return std::make_shared<const Expression>(std::move(*parsed));
  }
  Result<BisectAnswer> ask(const std::string& text, const std::string& good, const std::string& bad,
                           Find find = Find::any, const std::string& about = "") {
    const auto states = history();
    const PastCut from = good.empty() ? PastCut{} : *states->cut_of(good);
    const PastCut to = bad.empty() ? states->end() : *states->cut_of(bad);
    std::optional<StreamId> of;
    if (!about.empty()) of = StreamId{about};
    return run(env_, bisect(*states, states->records(), where(text), of, from, to, find));
  }
  // "found 0:5", "true at good", "false at bad"
  std::string found(const std::string& text, const std::string& good = "", const std::string& bad = "",
                    Find find = Find::any, const std::string& about = "") {
    const auto answer = ask(text, good, bad, find, about);
    if (!answer) return answer.error().message;
    if (answer->kind == BisectAnswer::Kind::true_at_good) return "true at good";
    if (answer->kind == BisectAnswer::Kind::false_at_bad) return "false at bad";
    return "found " + to_string(answer->position);
  }
  bool holds(const std::shared_ptr<History>& states, const std::string& text, const PastCut& cut) {
    const auto held = run(env_, states->holds(where(text), std::nullopt, cut));
    EXPECT_TRUE(held.has_value());
    return held && *held;
  }
};

TEST_F(BisectTest, FindsTheEventAmongManyInFewLooks) {
  create_block(kBlock, "human", "Name: Ann.");
  for (int i = 0; i < 100; ++i) update_block(kBlock, "human", "Name: Ann. Likes " + std::to_string(i));
  const LogPosition guilty = update_block(kBlock, "human", "Name: unknown.");
  for (int i = 0; i < 100; ++i) update_block(kBlock, "human", "Name: unknown. Likes " + std::to_string(i));
  const std::string question = R"(block("human").value contains "unknown")";
  const auto answer = ask(question, "", "");
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(guilty, answer->position);
  EXPECT_EQ(204U, answer->records);  // Two claims are among them.
  EXPECT_LE(answer->states_asked, 10U);
  // The cuts around it differ by this record alone.
  const auto states = history();
  EXPECT_FALSE(holds(states, question, answer->before));
  EXPECT_TRUE(holds(states, question, answer->after));
  EXPECT_EQ("found " + to_string(guilty), found(question, "", "", Find::first));
}

TEST_F(BisectTest, TheFirstOfSeveralIsFoundByLookingAtAll) {
  create_block(kBlock, "human", "a");
  const LogPosition first = update_block(kBlock, "human", "b");
  for (int i = 0; i < 6; ++i) update_block(kBlock, "human", "a");
  const LogPosition second = update_block(kBlock, "human", "b");
  const std::string question = R"(block.value = "b")";
  EXPECT_EQ("found " + to_string(second), found(question));
  EXPECT_EQ("found " + to_string(first), found(question, "", "", Find::first));
  // It is false at the end, but has been true: only looking at all of them finds that.
  update_block(kBlock, "human", "a");
  EXPECT_EQ("false at bad", found(question));
  EXPECT_EQ("found " + to_string(first), found(question, "", "", Find::first));
}

TEST_F(BisectTest, RecordsOfSeveralPartitionsAreTakenInTheOrderOfTheirTimes) {
  create_block(kBlock, "human", "1");
  create_block(kFarBlock, "human", "1");
  const LogPosition near = update_block(kBlock, "human", "2");
  const LogPosition far = update_block(kFarBlock, "human", "2");
  EXPECT_NE(near.partition, far.partition);
  EXPECT_EQ("found " + to_string(near), found(R"(blocks.value = "2")"));
  EXPECT_EQ("found " + to_string(far), found(R"(not blocks.value = "1" and blocks exists)"));
  // The good cut may hold more of one partition than of another.
  EXPECT_EQ("found " + to_string(far), found(R"(blocks.value = "2")", "1:1,", "0:1,1:2"));
}

TEST_F(BisectTest, SaysWhenThereIsNothingToFind) {
  const LogPosition made = create_block(kBlock, "human", "a");
  const LogPosition last = update_block(kBlock, "human", "b");
  EXPECT_EQ("true at good", found("block exists", to_string(made)));
  EXPECT_EQ("true at good", found("block exists", to_string(made), "", Find::first));
  EXPECT_EQ("false at bad", found("agent exists"));
  EXPECT_EQ("false at bad", found("agent exists", "", "", Find::first));
  EXPECT_EQ("the good cut 0:2,1:0 must come before the bad one 0:1,1:0: 0:2 does not",
            found("block exists", to_string(last), to_string(made)));
}

TEST_F(BisectTest, ACutIsATimeOrPositionsThatExist) {
  create_block(kBlock, "human", "a");
  update_block(kBlock, "human", "b");
  const auto states = history();
  EXPECT_EQ(PastCut{}, *states->cut_of("1969-12-31"));
  EXPECT_EQ("0:1,1:0", to_string(*states->cut_of("1970-01-01T00:00:00.000119Z")));
  EXPECT_EQ("0:2,1:0", to_string(*states->cut_of("1970-01-01T00:00:00.000120Z")));
  EXPECT_EQ("0:2,1:0", to_string(*states->cut_of("2999-01-01")));
  EXPECT_EQ("0:2,1:0", to_string(states->end()));
  EXPECT_EQ("0:2,", cut_text(*states->cut_of("0:2,")));
  EXPECT_EQ(",", cut_text(*states->cut_of(",")));
  // A position takes the others up to its time: the second claim is later than the first one.
  EXPECT_EQ("0:2,1:0", cut_text(*states->cut_of("0:2")));
  EXPECT_EQ("0:0,", cut_text(*states->cut_of("0:0")));
  for (const std::string wrong : {"yesterday", "0:3", "0:3,", "2:0", "0:1,0:2", "", ",,"}) {
    const auto cut = states->cut_of(wrong);
    EXPECT_FALSE(cut.has_value()) << wrong;
    if (!cut) EXPECT_EQ(Errc::invalid_argument, cut.error().code) << wrong;
  }
}

TEST_F(BisectTest, AnAgentThatDisappearsAndACountThatGoesDown) {
  create_agent(kAgent, "ann", {{StreamId{kBlock}, "human"}});
  create_block(kBlock, "human", "a");
  says(kAgent, "run-1", "hi");
  const LogPosition trimmed = commit(kAgent, {ContextTrimmed{{"message-run-1"}}});
  const LogPosition gone = commit(kAgent, {AgentDeleted{}});
  const std::string before = "0:3,";
  EXPECT_EQ("found " + to_string(trimmed), found("context.count < 2", before, to_string(trimmed)));
  EXPECT_EQ("found " + to_string(trimmed),
            found(R"(message("message-run-1").in_context = false)", "", to_string(trimmed)));
  EXPECT_EQ("false at bad", found("messages.count < 2", before, to_string(trimmed)));
  EXPECT_EQ("found " + to_string(gone), found("not agent exists", before));
  // With its agent its messages and tags go; the block stays.
  EXPECT_EQ("found " + to_string(gone), found("messages.count = 0", before));
  EXPECT_EQ("false at bad", found("not block exists", before));
}

TEST_F(BisectTest, AQuestionMayBeAboutOneAgentAlone) {
  const std::string other = stream_in("agent", 1);
  create_agent(kAgent, "ann", {{StreamId{kBlock}, "human"}});
  create_agent(other, "bob", {{StreamId{kFarBlock}, "human"}});
  create_block(kBlock, "human", "a");
  create_block(kFarBlock, "human", "a");
  const LogPosition theirs = update_block(kBlock, "human", "b");
  const LogPosition ours = update_block(kFarBlock, "human", "b");
  const std::string question = R"(block("human").value = "b")";
  EXPECT_EQ("found " + to_string(theirs), found(question));
  EXPECT_EQ("found " + to_string(ours), found(question, "", "", Find::any, other));
  EXPECT_EQ("found " + to_string(theirs), found(question, "", "", Find::any, kBlock));
  EXPECT_EQ("false at bad", found(question, "", "", Find::first, "agent-none"));
}

// ---- against a fold that stops ----

struct StopAt final : LogVisitor {
  StopAt(EventLog& log, Partition partition, MemoryViewStorage& storage) : fold(log, partition, storage) {}
  LogFold fold;
  Task<bool> take(LogRecord record) override {
    auto folded = co_await fold.take(std::move(record), LogFold::Detail::none);
    if (!folded) co_return folded.error();
    co_return true;
  }
  Task<bool> damaged(Offset /*offset*/, std::string /*why*/) override { co_return true; }
};

Task<> fold_up_to(EventLog& log, LogPosition last, MemoryViewStorage& storage) {
  StopAt stop{log, last.partition, storage};
  auto end = co_await log.end(last.partition);
  if (!end) co_return end.error();
  if (Status begun = co_await stop.fold.begin(*end); !begun) co_return begun;
  const Offset start;
  const Offset behind = next(last.offset);
  if (Status read = co_await visit_log(log, last.partition, start, behind, stop); !read) co_return read;
  co_return stop.fold.flush();
}

TEST_F(BisectTest, AHistoryAnswersAtEveryCutWhatAFoldThatStopsThereSays) {
  Rng rng(7);
  const std::string other = stream_in("agent", 1);
  create_agent(kAgent, "ann", {{StreamId{kBlock}, "human"}});
  create_block(kBlock, "human", "0");
  create_agent(other, "bob", {{StreamId{kFarBlock}, "human"}});
  create_block(kFarBlock, "human", "0");
  std::vector<std::string> in_context;
  bool agent_there = true;
  for (int i = 0; i < 120; ++i) {
    const std::uint64_t what = rng.below(agent_there ? 5 : 2);
    if (what == 0) update_block(kBlock, "human", std::to_string(i % 7));
    if (what == 1) update_block(kFarBlock, "human", std::to_string(i % 5));
    if (what == 2) {
      in_context.push_back("message-run-" + std::to_string(i));
      says(kAgent, "run-" + std::to_string(i), "hi");
    }
    if (what == 3 && !in_context.empty()) {
      commit(kAgent, {ContextTrimmed{{in_context.front()}}});
      in_context.erase(in_context.begin());
    }
    if (what == 4 && i > 90) {
      commit(kAgent, {AgentDeleted{}});
      agent_there = false;
    }
  }
  const LogPosition bad = poison(kFarBlock);
  update_block(kFarBlock, "human", "waits");
  land(1, next_ruling(1, kFarBlock, bad.offset));
  const std::vector<std::string> questions = {
      "agents.count = 2",          "context.count > 3",
      "messages.count > 6",        "messages.count < 9",
      R"(blocks.value = "3")",     R"(block("human").value = "waits")",
      R"(agent("ann") exists)",    R"(runs("running").count > 4)",
      "message.in_context = false"};
  const auto states = history();
  for (int round = 0; round < 60; ++round) {
    PastCut cut;
    MemoryViewStorage storage;
    for (const LogPosition& end : states->end()) {
      const LogPosition last{end.partition, Offset{rng.below(end.offset.value() + 1)}};
      cut.push_back(last);
      ASSERT_TRUE(run(env_, fold_up_to(log_, last, storage)).has_value());
    }
    for (const std::string& question : questions) {
      ViewFacts facts(storage, std::nullopt, std::nullopt, nullptr);
      EXPECT_EQ(*where(question)->holds(facts), holds(states, question, cut))
          << question << " at " << to_string(cut);
    }
  }
}

}  // namespace
}  // namespace varve::test
