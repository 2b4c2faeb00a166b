// A replay tells, record by record, what counted, why it came, and what it changed.
#include "inspect/replay.h"

#include "inspect/replay_text.h"
#include "inspect/stepper.h"
#include "tests/inspect/inspect_log.h"
#include "tests/support/lagging_log.h"

namespace varve::test {
namespace {

const std::string kAgent = stream_in("agent", 0);
const std::string kBlock = stream_in("block", 0);

class ReplayTest : public InspectLog {
 public:
  struct Recorder final : LogVisitor {
    Recorder(EventLog& log, Partition partition) : replay(log, partition, {}) {}
    PartitionReplay replay;
    std::vector<ReplayedRecord> records;
    std::vector<std::string> faults;
    Offset from;  // Before it nothing is told.

    Task<bool> take(LogRecord record) override {
      if (record.offset < from) {
        if (Status passed = co_await replay.pass(std::move(record)); !passed) co_return passed.error();
        co_return true;
      }
      auto told = co_await replay.take(std::move(record));
      if (!told) co_return told.error();
      records.push_back(std::move(*told));
      co_return true;
    }
    Task<bool> damaged(Offset /*offset*/, std::string why) override {
      faults.push_back(std::move(why));
      co_return true;
    }
  };
  static Task<> replay_all(EventLog& log, Partition partition, Recorder& recorder) {
    auto end = co_await log.end(partition);
    if (!end) co_return end.error();
    if (Status begun = co_await recorder.replay.begin(*end); !begun) co_return begun;
    const Offset start;
    co_return co_await visit_log(log, partition, start, *end, recorder);
  }
  std::unique_ptr<Recorder> replay(Offset from = {}) {
    auto recorder = std::make_unique<Recorder>(log_, Partition{0});
    recorder->from = from;
    const Status done = run(env_, replay_all(log_, Partition{0}, *recorder));
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().message);
    return recorder;
  }
  std::string text(Offset offset, bool diff = false) {
    const auto recorder = replay();
    const ReplayStyle style{diff, false, std::nullopt};
    for (const ReplayedRecord& record : recorder->records) {
      if (record.position.offset == offset) return replay_text(record, style);
    }
    return "nothing at " + std::to_string(offset.value());
  }
  static std::string paths(const std::vector<JsonChange>& changes) {
    std::string all;
    for (const JsonChange& change : changes) all += change.path + " ";
    return all;
  }
  // "+agents ~blocks"
  static std::string rows(const std::vector<RowDelta>& deltas) {
    std::string all;
    for (const RowDelta& delta : deltas) {
      const std::string kind = kind_of(delta);
      all += (kind == "opened"   ? "+"
              : kind == "closed" ? "-"
                                 : "~") +
             std::string(schema_of(delta.view).name) + " ";
    }
    return all;
  }
};

TEST_F(ReplayTest, TellsWhatAnEventHasChangedInStateAndViews) {
  create_block(kBlock, "human", "Name: Ann.");
  const LogPosition changed = update_block(kBlock, "human", "Name: Anna.");
  const auto recorder = replay();
  ASSERT_EQ(3U, recorder->records.size());
  const ReplayedRecord& record = recorder->records.back();
  EXPECT_EQ(changed, record.position);
  EXPECT_EQ(Verdict::admitted, record.verdict);
  ASSERT_EQ(1U, record.events.size());
  const ReplayedEvent& event = record.events.front();
  EXPECT_EQ("BlockUpdated", event.type);
  EXPECT_EQ(Sequence{2}, event.sequence);
  ASSERT_EQ(1U, event.state.size()) << paths(event.state);
  EXPECT_EQ((JsonChange{"block.value", "\"Name: Ann.\"", "\"Name: Anna.\""}), event.state.front());
  EXPECT_EQ("~blocks ", rows(event.rows));
  EXPECT_EQ("Name: Ann.", event.rows.front().before->text(blocks::value));
  EXPECT_EQ("Name: Anna.", event.rows.front().after->text(blocks::value));
}

TEST_F(ReplayTest, EachEventOfACommitGetsItsOwnChanges) {
  create_agent(kAgent, "ann");
  Message left = sample_message("message-1", Role::user, "hi");
  commit(kAgent, {MessagesImported{{left}, {}}, ContextTrimmed{{"message-1"}},
                  AgentUpdated{sample_settings(), {"green"}, {}, WallTime{1}}});
  const auto recorder = replay();
  const auto& events = recorder->records.back().events;
  ASSERT_EQ(3U, events.size());
  EXPECT_EQ("context[1] ", paths(events[0].state).substr(0, 11));
  EXPECT_EQ("+messages ", rows(events[0].rows));
  EXPECT_EQ("context[1] ", paths(events[1].state));
  EXPECT_EQ("-messages ", rows(events[1].rows));
  EXPECT_EQ("~agents +tags ", rows(events[2].rows));
}

TEST_F(ReplayTest, BirthsAreShownBesideTheirParent) {
  Commit commit =
      next_commit(0, {part(kAgent, {AgentCreated{sample_settings(), {{StreamId{kBlock}, "human"}}, {}}}),
                      part(kBlock, {BlockCreated{block("human", "Ann")}})});
  const Offset offset = land(0, commit);
  const auto recorder = replay();
  const ReplayedRecord& record = recorder->records.back();
  EXPECT_EQ(offset, record.position.offset);
  ASSERT_EQ(2U, record.events.size());
  EXPECT_EQ("+agents +agent_activity +tags +tags +attachments ", rows(record.events[0].rows));
  EXPECT_EQ("+blocks ", rows(record.events[1].rows));
}

TEST_F(ReplayTest, RecordsThatDoNotCountAreShownWithTheirVerdictAndChangeNothing) {
  create_block(kBlock, "human", "Ann");
  Commit again = next_commit(0, {part(kBlock, {BlockUpdated{block("human", "zombie"), WallTime{1}}})});
  again.n = Index{1};
  land(0, again);
  again.epoch = Epoch{7};
  land(0, again);
  land_bytes(0, "what others write");
  const auto recorder = replay();
  ASSERT_EQ(5U, recorder->records.size());
  EXPECT_EQ(Verdict::duplicate, recorder->records[2].verdict);
  EXPECT_EQ(Verdict::fenced, recorder->records[3].verdict);
  EXPECT_EQ(Verdict::foreign, recorder->records[4].verdict);
  ASSERT_EQ(1U, recorder->records[2].events.size());
  EXPECT_EQ("BlockUpdated", recorder->records[2].events.front().type);
  EXPECT_TRUE(recorder->records[2].events.front().state.empty());
  EXPECT_TRUE(recorder->records[2].events.front().rows.empty());
  EXPECT_NE(std::string::npos, recorder->replay.state_of(StreamId{kBlock}).find("Ann"));
}

TEST_F(ReplayTest, ARecordThatCannotBeDecodedIsShownAndTheReplayGoesOn) {
  create_block(kBlock, "human", "Ann");
  const Offset bad = land_bytes(0, R"({"v":9,"kind":"commit"})");
  update_block(kBlock, "human", "Anna");
  const auto recorder = replay();
  ASSERT_EQ(4U, recorder->records.size());
  EXPECT_FALSE(recorder->records[2].verdict.has_value());
  EXPECT_FALSE(recorder->records[2].fault.empty());
  EXPECT_NE(std::string::npos, text(bad).find("undecodable\n  !  ")) << text(bad);
  EXPECT_EQ(Verdict::admitted, recorder->records[3].verdict);
  EXPECT_NE(std::string::npos, recorder->replay.state_of(StreamId{kBlock}).find("Anna"));
}

TEST_F(ReplayTest, APoisonedEventIsShownAndSoIsTheRulingThatEndsTheWait) {
  create_block(kBlock, "human", "Ann");
  const LogPosition bad = poison(kBlock);
  update_block(kBlock, "human", "Anna");
  land(0, next_ruling(0, kBlock, bad.offset));
  const auto recorder = replay();
  ASSERT_EQ(5U, recorder->records.size());
  EXPECT_FALSE(recorder->records[2].events.front().unreadable.empty());
  EXPECT_FALSE(recorder->records[2].events.front().waits.empty());
  const ReplayedEvent& waiting = recorder->records[3].events.front();
  EXPECT_EQ("waits behind an earlier event of its stream", waiting.waits);
  EXPECT_TRUE(waiting.rows.empty());
  EXPECT_TRUE(waiting.state.empty()) << paths(waiting.state);
  // What has waited comes with the ruling, in views and state.
  const ReplayedRecord& ruling = recorder->records[4];
  EXPECT_EQ("~blocks ", rows(ruling.rows));
  EXPECT_EQ("Anna", ruling.rows.front().after->text(blocks::value));
  EXPECT_NE(std::string::npos, paths(ruling.state).find("block.value ")) << paths(ruling.state);
}

TEST_F(ReplayTest, AnEventThatThisProgramCanReadIsAbsentAllTheSameWhenARulingSaysSo) {
  create_block(kBlock, "human", "Ann");
  const LogPosition ruled = update_block(kBlock, "human", "nobody");
  land(0, next_ruling(0, kBlock, ruled.offset));
  update_block(kBlock, "persona", "Ann");
  const auto recorder = replay();
  ASSERT_EQ(5U, recorder->records.size());
  EXPECT_EQ("a ruling about it follows", recorder->records[2].events.front().waits);
  EXPECT_TRUE(recorder->records[2].events.front().rows.empty());
  // The actor had read it; behind the ruling it has not.
  const ReplayedRecord& ruling = recorder->records[3];
  ASSERT_EQ(1U, ruling.state.size()) << paths(ruling.state);
  EXPECT_EQ((JsonChange{"block.value", "\"nobody\"", "\"Ann\""}), ruling.state.front());
  EXPECT_EQ("block.label ", paths(recorder->records[4].events.front().state));
  EXPECT_EQ("~blocks ", rows(recorder->records[4].events.front().rows));
}

TEST_F(ReplayTest, WhatWasPassedIsThereAllTheSame) {
  create_block(kBlock, "human", "Ann");
  const LogPosition bad = poison(kBlock);
  land(0, next_ruling(0, kBlock, bad.offset));
  const LogPosition last = update_block(kBlock, "human", "Anna");
  const auto whole = replay();
  const auto rest = replay(last.offset);
  ASSERT_EQ(1U, rest->records.size());
  const ReplayStyle style{true, false, std::nullopt};
  EXPECT_EQ(replay_text(whole->records.back(), style), replay_text(rest->records.back(), style));
  EXPECT_EQ(whole->replay.state_of(StreamId{kBlock}), rest->replay.state_of(StreamId{kBlock}));
}

TEST_F(ReplayTest, AnEditThatAModelCalledForNamesItsCallAndItsTurn) {
  create_agent(kAgent, "ann", {{StreamId{kBlock}, "human"}});
  create_block(kBlock, "human", "Ann");
  const LogPosition opened = says(kAgent, "run-1", "I am Anna", "request-1");
  const auto turn =
      std::get<Commit>(*decode_record(*storage_->records(Partition{0}).back().bytes)).command.id;
  Message reply = sample_message("message-2", Role::assistant, "");
  reply.step_id = "step-1";
  reply.tool_calls = {{"call-0", "memory_insert", "{}"}, {"call-1", "core_memory_replace", "{}"}};
  const LogPosition called = commit(kAgent, {AssistantReplied{"run-1", reply, {}, "m", "h", {}}});
  update_block(kBlock, "human", "Anna", command_id_from_text(tool_intent(turn, "step-1", 1)));
  const auto recorder = replay();
  const Cause& cause = *recorder->records.back().cause;
  EXPECT_EQ("tool call core_memory_replace (call-1) in message-2 at " + to_string(called) +
                ", run-1 opened at " + to_string(opened) + ", request request-1",
            describe(cause));
  const auto& records = recorder->records;
  EXPECT_EQ("run-1 opened at " + to_string(opened) + ", request request-1", describe(*records[4].cause));
  EXPECT_EQ("a client's request, request request-1", describe(*records[3].cause));
}

TEST_F(ReplayTest, WhatCannotBeReadYetIsNotTheEnd) {
  create_agent(kAgent, "ann");
  says(kAgent, "run-1", "hello");
  const auto end = run(env_, log_.end(Partition{0}));
  ASSERT_TRUE(end && *end > Offset{1});
  Recorder recorder(log_, Partition{0});
  ASSERT_TRUE(run(env_, recorder.replay.begin(*end)));
  LaggingLog lagging(log_, Offset{end->value() - 1});
  const Status done = run(env_, visit_log(lagging, Partition{0}, Offset{}, *end, recorder));
  ASSERT_FALSE(done) << "a story without its last word was told as if it were whole";
  EXPECT_EQ(Errc::unavailable, done.error().code);
  EXPECT_EQ(end->value() - 1, recorder.records.size());
}

TEST_F(ReplayTest, PrintsForPeopleWhatWasAndWhatIs) {
  create_block(kBlock, "human", "Name: \x1b[31mAnn.");
  const LogPosition changed = update_block(kBlock, "human", "Name: Anna.");
  const std::string id = to_hex(command_id_from_text("command 120"));
  EXPECT_EQ("0:" + std::to_string(changed.offset.value()) +
                "  1970-01-01T00:00:00.000120Z  admitted  commit  epoch 1 n 2  command " + id +
                "\n"
                "  cause  a client's request\n"
                "  " +
                kBlock +
                " #2 BlockUpdated\n"
                "    state  block.value\n"
                "           - \"Name: \\u001b[31mAnn.\"\n"
                "           + \"Name: Anna.\"\n"
                "    views  ~ blocks " +
                kBlock +
                "\n"
                "             value\n"
                "             - \"Name: \\u001b[31mAnn.\"\n"
                "             + \"Name: Anna.\"\n"
                "             created_at\n"
                "             - \"1970-01-01T00:00:00.000110Z\"\n"
                "             + \"1970-01-01T00:00:00.000001Z\"\n"
                "             updated_at\n"
                "             - \"1970-01-01T00:00:00.000110Z\"\n"
                "             + \"1970-01-01T00:00:00.000120Z\"\n",
            text(changed.offset, true));
  EXPECT_EQ("    views  ~ blocks " + kBlock + ": value, created_at, updated_at\n",
            text(changed.offset).substr(text(changed.offset).find("    views")));
}

TEST_F(ReplayTest, PrintsForProgramsUnderStableNames) {
  create_block(kBlock, "human", "Ann");
  const LogPosition changed = update_block(kBlock, "human", "Anna");
  const auto recorder = replay();
  const auto json = Json::parse(replay_json(recorder->records.back(), {}));
  ASSERT_TRUE(json.has_value());
  std::string names;
  for (const auto& [name, value] : json->members()) names += name + " ";
  EXPECT_EQ("position partition offset at verdict kind fault command epoch n node cause events state rows ",
            names);
  EXPECT_EQ(to_string(changed), json->find("position")->as_string());
  const Json& event = json->find("events")->items().front();
  names.clear();
  for (const auto& [name, value] : event.members()) names += name + " ";
  EXPECT_EQ("stream sequence type unreadable waits data state rows ", names);
  EXPECT_EQ(R"([{"path":"block.value","before":"Ann","after":"Anna"}])", event.find("state")->dump());
  const Json& row = event.find("rows")->items().front();
  EXPECT_EQ("changed", row.find("change")->as_string());
  EXPECT_EQ(R"({"before":"Ann","after":"Anna"})", row.find("columns")->find("value")->dump());
}

TEST_F(ReplayTest, AnExpressionSeesTheStateBehindARecordAndItsEvents) {
  create_agent(kAgent, "ann", {{StreamId{kBlock}, "human"}});
  create_block(kBlock, "human", "Ann");
  const auto recorder = replay();
  const ReplayedRecord& record = recorder->records.back();
  const auto holds = [&](const std::string& text, const std::optional<StreamId>& about) {
    const auto parsed = Expression::parse(text, Expression::Asks::states_and_event);
    return parsed && *recorder->replay.holds(*parsed, about, record, 0);
  };
  EXPECT_TRUE(holds("block(\"human\").value = \"Ann\" and event.type = \"BlockCreated\"", std::nullopt));
  EXPECT_TRUE(holds("event.offset = " + std::to_string(record.position.offset.value()), std::nullopt));
  EXPECT_TRUE(holds("event.verdict = \"admitted\" and event.data contains \"ann\"", std::nullopt));
  EXPECT_TRUE(holds("block.value = \"Ann\" and agent exists", StreamId{kAgent}));
  EXPECT_FALSE(holds("block exists or agent exists", StreamId{"agent-other"}));
  EXPECT_FALSE(holds("event.type = \"AgentCreated\"", std::nullopt));
}

TEST(StepCommandTest, WordsMayBeCutShort) {
  const auto kind = [](const std::string& line) {
    const auto command = parse_step_command(line);
    return command ? static_cast<int>(command->kind) : -1;
  };
  using Kind = StepCommand::Kind;
  const std::vector<std::pair<std::string, Kind>> table = {
      {"", Kind::next},           {"n", Kind::next},
      {"next", Kind::next},       {"b", Kind::back},
      {"to 12", Kind::to_offset}, {"t BlockUpdated", Kind::to_type},
      {"p", Kind::print},         {"print agent-1", Kind::print},
      {"help", Kind::help},       {"?", Kind::help},
      {" q ", Kind::quit}};
  for (const auto& [line, wanted] : table) EXPECT_EQ(static_cast<int>(wanted), kind(line)) << line;
  EXPECT_EQ(Offset{12}, parse_step_command("to 12")->offset);
  EXPECT_EQ("BlockUpdated", parse_step_command("to BlockUpdated")->text);
  for (const std::string& line : {"to", "to 12 13", "to 12x", "back 3", "jump", "print a b"}) {
    EXPECT_EQ(-1, kind(line)) << line;
  }
}

TEST(JsonChangesTest, NamesWhatCameWentAndChanged) {
  const auto changes = [](const std::string& before, const std::string& after) {
    std::string all;
    for (const JsonChange& change : json_changes(*Json::parse(before), *Json::parse(after))) {
      all += change.path + ":" + change.before.value_or("") + ">" + change.after.value_or("") + " ";
    }
    return all;
  };
  EXPECT_EQ("", changes(R"({"a":1})", R"({"a":1})"));
  EXPECT_EQ("a:1>2 ", changes(R"({"a":1})", R"({"a":2})"));
  EXPECT_EQ("a.b:1>2 a.c:3> a.d:>4 ", changes(R"({"a":{"b":1,"c":3}})", R"({"a":{"b":2,"d":4}})"));
  EXPECT_EQ("l[2]:>3 ", changes(R"({"l":[1,2]})", R"({"l":[1,2,3]})"));
  EXPECT_EQ("l[0]:1> ", changes(R"({"l":[1,2,3]})", R"({"l":[2,3]})"));
  EXPECT_EQ("l[1].x:1>2 ", changes(R"({"l":[0,{"x":1},3]})", R"({"l":[0,{"x":2},3]})"));
  EXPECT_EQ("l[1]:2> l[1]:>8 l[2]:>9 ", changes(R"({"l":[1,2,3]})", R"({"l":[1,8,9,3]})"));
  EXPECT_EQ(":1>[] ", changes("1", "[]"));
}

}  // namespace
}  // namespace varve::test
