// What clients were shown of turns and imports, against the log: what fits passes, and every kind of lie is
// named. And the effects of agents: none without its record in the log.
#include "sim/witness.h"

#include <gtest/gtest.h>

#include "sim/effects.h"
#include "tests/sim/oracle_stage.h"

namespace varve::sim {
namespace {

const StreamId kAgent = [] {
  for (int salt = 0;; ++salt) {
    StreamId stream{"agent-" + std::to_string(salt)};
    if (partition_of(stream, 2) == kP) return stream;
  }
}();

Message said(const std::string& id, const std::string& text) {
  Message message;
  message.id = id;
  message.role = Role::assistant;
  message.step_id = "step-of-" + id;
  message.content = "\"" + text + "\"";
  return message;
}

// A log that is owned once, and what the witnesses say about it.
struct Testimony {
  Testimony() { land(Claim{Epoch{1}, command(1), "varve", "node-1", "http://sim", 2, WallTime{1}}); }

  void land(const Record& record) {
    auto bytes = encode_record(record);
    ASSERT_TRUE(bytes.has_value());
    const Offset offset{log.in(kP).size()};
    log.in(kP).push_back({offset, std::make_shared<const std::string>(std::move(*bytes))});
    oracle.look();
    now = now + Duration{1};
    effects.look();
  }
  CommandId commit(const StreamId& stream, std::vector<Event> events, CommandId id = {}) {
    if (id == CommandId{}) id = command(100 + static_cast<int>(n));
    Commit commit{Epoch{1}, Index{++n}, "node-1", WallTime{2}, {id, CommandHash{1}, true}, {}};
    Part part{stream, Sequence{next_[stream] + 1}, {}};
    next_[stream] += events.size();
    for (Event& event : events) part.events.emplace_back(std::move(event));
    commit.parts.push_back(std::move(part));
    land(commit);
    return id;
  }
  CommandId begin_turn(const std::string& run) { return begin_turn(run, "hello " + run); }
  CommandId begin_turn(const std::string& run, const std::string& text) {
    Message message;
    message.id = "message-of-" + run;
    message.step_id = "step-of-" + run;
    message.content = "\"" + text + "\"";
    UserMessageReceived begun;
    begun.run_id = run;
    begun.messages.push_back(std::move(message));
    return commit(kAgent, {begun});
  }
  void reply(const std::string& run, Message message) {
    AssistantReplied replied;
    replied.run_id = run;
    replied.message = std::move(message);
    commit(kAgent, {replied});
  }
  void finish(const std::string& run) { commit(kAgent, {TurnFinished{run, "end_turn", {}, {}, "{}"}}); }
  void answered_by_the_model(const std::string& run, std::size_t step) {
    const ModelStep asked{"step-of-" + run, step};
    journal.end(asked, journal.begin(asked, "node-1", now), ModelAsking::End::replied);
  }

  std::string first() const {
    Violations found;
    Witness(oracle).check(evidence, found);
    return found.list().empty() ? "" : found.list().front().invariant + ": " + found.list().front().what;
  }
  std::string first_effect() {
    effects.at_rest();
    const auto& found = effects.violations();
    return found.empty() ? "" : found.front().invariant + ": " + found.front().what;
  }

  FakeLog log;
  Violations broken;
  LogOracle oracle{log, broken};
  Evidence evidence;
  ModelJournal journal;
  History history;
  MonoTime now{1};
  std::set<CommandId> clients;
  Effects effects{oracle,
                  journal,
                  history,
                  {[this] { return now; },
                   [this](const CommandId& id, const std::string& value) {
                     return clients.contains(id) || evidence.keyless.contains(value);
                   }}};
  std::uint64_t n = 0;

 private:
  std::map<StreamId, std::uint64_t> next_;
};

StreamRead shown(const std::string& run, std::vector<StreamedMessage> messages) {
  StreamRead read;
  read.run = run;
  read.messages = std::move(messages);
  return read;
}
StreamedMessage message(const std::string& id, std::int64_t number, const std::string& text) {
  return {id, number, {{"assistant_message", text}}};
}

struct TwoReplies : Testimony {
  TwoReplies() {
    begin_turn("run-1");
    answered_by_the_model("run-1", 0);
    reply("run-1", said("m-1", "one"));
    answered_by_the_model("run-1", 1);
    reply("run-1", said("m-2", "two"));
    finish("run-1");
  }
};

TEST(Witness, AStreamThatShowsTheTurnFits) {
  TwoReplies turn;
  turn.evidence.streams = {{0, false, shown("run-1", {message("m-1", 1, "one"), message("m-2", 2, "two")})},
                           {1, false, shown("run-1", {message("m-2", 2, "two")})}};
  turn.evidence.ends = {{"run-1", "end_turn"}};
  EXPECT_EQ("", turn.first());
}

TEST(Witness, AStreamThatLeavesOutRepeatsOrChangesIsNamed) {
  TwoReplies leaves_out;
  leaves_out.evidence.streams = {{0, false, shown("run-1", {message("m-2", 2, "two")})}};
  EXPECT_EQ("I6: a stream of run-1 from 0 on shows m-2, which is not message 1 of that turn",
            leaves_out.first());
  TwoReplies repeats;
  repeats.evidence.streams = {{1, false, shown("run-1", {message("m-1", 1, "one")})}};
  EXPECT_EQ("I6: a stream of run-1 from 1 on shows m-1, which is not message 2 of that turn",
            repeats.first());
  TwoReplies changes;
  changes.evidence.streams = {{0, false, shown("run-1", {message("m-1", 1, "won")})}};
  EXPECT_EQ("I6: a stream of run-1 from 0 on shows 'won' for 'one'", changes.first());
  TwoReplies numbers;
  numbers.evidence.streams = {{0, false, shown("run-1", {message("m-1", 2, "one")})}};
  EXPECT_EQ("I6: a stream of run-1 from 0 on numbers m-1 2 instead of 1", numbers.first());
}

TEST(Witness, PiecesOfAReplyThatWasNeverCommittedAreNoLie) {
  TwoReplies turn;
  const auto lost = message("m-0", 0, "on");
  turn.evidence.streams = {{0, true, shown("run-1", {lost, message("m-1", 1, "one")})}};
  EXPECT_EQ("", turn.first());
  turn.evidence.streams = {{0, false, shown("run-1", {lost})}};
  EXPECT_NE("", turn.first()) << "whole messages are committed ones";
}

TEST(Witness, TheEndThatWasToldIsTheEndInTheLog) {
  TwoReplies turn;
  turn.evidence.cancelled = {"run-1"};
  EXPECT_EQ("I6: a client was told that run-1 is cancelled; in the log it is not", turn.first());
  turn.evidence.cancelled.clear();
  turn.evidence.ends = {{"run-1", "cancelled"}};
  EXPECT_EQ("I6: a client was told that run-1 ended by 'cancelled'; in the log it is 'end_turn'",
            turn.first());
  turn.evidence.ends = {{"run-2", "end_turn"}};
  EXPECT_EQ("I6: a client was told that run-2 ended; the log has no such end", turn.first());
  turn.evidence.ends.clear();
  turn.finish("run-1");
  EXPECT_EQ("I2: run-1 ends 2 times", turn.first());
}

TEST(Witness, AnImportIsDoneOnceAndWhole) {
  const auto begin = [](Testimony& world, const StreamId& agent) {
    AgentCreated created;
    created.settings.name = "elder";
    MessagesImported some;
    some.messages = {said("m-1", "old"), said("m-2", "older")};
    world.commit(agent, {created, ImportBegun{1, "h"}});
    world.commit(agent, {some});
    world.commit(agent, {ImportSealed{}});
  };
  Testimony right;
  begin(right, kAgent);
  right.evidence.imports = {{0, "elder", 2, {kAgent.value()}, kAgent.value()}};
  EXPECT_EQ("", right.first());
  right.evidence.imports[0].messages = 3;
  EXPECT_EQ("I2: the import of 'elder' is sealed, and a part of it is missing", right.first());
  right.evidence.imports[0] = {0, "elder", 2, {"agent-other"}, ""};
  EXPECT_EQ("I2: the import of 'elder' was answered with another agent than " + kAgent.value(),
            right.first());
  right.evidence.imports[0] = {0, "elder", 2, {}, ""};
  begin(right, StreamId{"agent-twice"});
  EXPECT_EQ("I2: the import of 'elder' has made 2 agents", right.first());
}

// A client without a key is known by what it writes, which nobody else does.
TEST(Witness, WhatWasSentWithoutAKeyIsThereOnce) {
  Testimony turns;
  turns.begin_turn("run-1", "message-1");
  turns.begin_turn("run-2", "message-2");
  EXPECT_EQ("", turns.first());
  turns.begin_turn("run-3", "message-1");
  EXPECT_EQ("I2: 'message-1' has begun 2 turns", turns.first());

  Testimony values;
  const auto write = [&values](const std::string& value, int id) {
    values.commit(block_in(kP, 1), {BlockUpdated{value_of(value), {}}}, command(id));
  };
  values.evidence.keyless = {"value-1"};
  write("value-1", 7);
  write("value-2", 8);
  write("value-2", 9);  // Somebody else's: a tool may do that.
  EXPECT_EQ("", values.first());
  write("value-1", 10);
  EXPECT_EQ("I2: 'value-1' was written 2 times", values.first());
}

TEST(Effects, AStepThatTheLogHoldsMayBeAskedForOnce) {
  TwoReplies turn;
  EXPECT_EQ("", turn.first_effect());
  turn.answered_by_the_model("run-1", 1);
  EXPECT_EQ("I8: the model was asked about step 1 of the turn step-of-run-1 2 times under 1 ownerships",
            turn.first_effect());
}

TEST(Effects, TheModelIsNotAskedBeforeTheMessageIsDurable) {
  Testimony early;
  early.answered_by_the_model("run-1", 0);
  early.begin_turn("run-1");
  EXPECT_EQ("I8: the model was asked about step 0 of the turn step-of-run-1 before the log held it",
            early.first_effect());
  Testimony never;
  never.answered_by_the_model("run-1", 0);
  EXPECT_EQ("I8: the model was asked about step 0 of the turn step-of-run-1, which is not in the log",
            never.first_effect());
}

TEST(Effects, AReplyIsOneThatTheModelGave) {
  Testimony made_up;
  made_up.begin_turn("run-1");
  made_up.reply("run-1", said("m-1", "one"));
  EXPECT_EQ("I8: the reply 0 of the turn step-of-run-1 was never asked for", made_up.first_effect());
}

// A reply that calls a tool, and the command that the call is.
struct OneCall : Testimony {
  OneCall() {
    const CommandId turn = begin_turn("run-1");
    const ModelStep asked{"step-of-run-1", 0};
    const std::size_t asking = journal.begin(asked, "node-1", now);
    journal.name_call(asked, asking, "call-1");
    journal.end(asked, asking, ModelAsking::End::replied);
    Message message = said("m-1", "");
    message.tool_calls.push_back({"call-1", "memory_insert", R"({"label":"human","new_string":"note"})"});
    edit = command_id_from_text(to_hex(turn) + "/tool/step-of-m-1/0");
    reply("run-1", std::move(message));
  }
  void edit_block(const StreamId& block) { commit(block, {BlockUpdated{value_of("x\nnote"), {}}}, edit); }
  CommandId edit;
};

TEST(Effects, ABlockIsEditedByClientsAndByCallsInTheLogAlone) {
  OneCall called;
  called.edit_block(block_in(kP, 1));
  EXPECT_EQ("", called.first_effect());
  called.clients.insert(command(7));
  called.commit(block_in(kP, 1), {BlockUpdated{value_of("y"), {}}}, command(7));
  EXPECT_EQ("", called.first_effect());
  called.commit(block_in(kP, 1), {BlockUpdated{value_of("z"), {}}}, command(8));
  called.evidence.keyless = {"w"};
  called.commit(block_in(kP, 1), {BlockUpdated{value_of("w"), {}}}, command(9));
  EXPECT_NE(std::string::npos, called.first_effect().find(to_hex(command(8))))
      << "of command 9 it says nothing";
  EXPECT_EQ("I8: " + block_in(kP, 1).value() + " was edited by " + to_hex(command(8)) +
                ", which neither a client nor a tool call in the log asked for",
            called.first_effect());
}

TEST(Effects, ACallEditsOneBlock) {
  OneCall called;
  called.edit_block(block_in(kP, 1));
  called.edit_block(block_in(kP, 2));
  EXPECT_EQ(
      "I8: the tool call call-1 has edited " + block_in(kP, 1).value() + " and " + block_in(kP, 2).value(),
      called.first_effect());
}

TEST(Effects, AnEditIsAnOperationOfTheHistory) {
  OneCall called;
  called.edit_block(block_in(kP, 1));
  ASSERT_EQ(1U, called.history.entries().size());
  EXPECT_EQ("EditBlock " + block_in(kP, 1).value() + " '' -> 'note'",
            describe(called.history.entries()[0].op));
  EXPECT_EQ("x\nnote", called.history.entries()[0].outcome.seen.value);
}

TEST(Effects, ACallThatIsSaidToBeDoneIsDone) {
  OneCall called;
  ToolReturned returned;
  returned.run_id = "run-1";
  returned.message.role = Role::tool;
  returned.message.tool_call_id = "call-1";
  called.commit(kAgent, {returned});
  EXPECT_EQ("I8: the tool call call-1 is said to be done, and has edited nothing", called.first_effect());
  OneCall failed;
  returned.message.is_error = true;
  failed.commit(kAgent, {returned});
  EXPECT_EQ("", failed.first_effect());
}

// ---- streams, as clients read them

TEST(ClientAnswers, AStreamIsReadAsFarAsItCame) {
  const std::string body =
      "data: {\"message_type\":\"ping\",\"run_id\":\"run-1\"}\n\n"
      "data: {\"id\":\"m-1\",\"message_type\":\"assistant_message\",\"content\":\"on\",\"seq_id\":0,"
      "\"run_id\":\"run-1\"}\n\n"
      "data: {\"id\":\"m-1\",\"message_type\":\"assistant_message\",\"content\":\"e\",\"seq_id\":1,"
      "\"run_id\":\"run-1\"}\n\n"
      "data: {\"message_type\":\"stop_reason\",\"stop_reason\":\"end_turn\"}\n\n";
  const StreamRead cut = read_stream(body + "data: [DO");
  EXPECT_EQ("run-1", cut.run);
  ASSERT_EQ(1U, cut.messages.size());
  EXPECT_EQ("one", cut.messages[0].parts[0].second);
  EXPECT_EQ(1, cut.messages[0].number);
  EXPECT_EQ("end_turn", cut.stop_reason);
  EXPECT_FALSE(cut.done);
  EXPECT_TRUE(read_stream(body + "data: [DONE]\n\n").done);
}

TEST(ClientAnswers, AnInterruptionIsAnErrorWithoutAnEnd) {
  const StreamRead read = read_stream(
      "event: error\ndata: {\"message_type\":\"error_message\",\"run_id\":\"run-1\",\"error_type\":"
      "\"interrupted\"}\n\ndata: [DONE]\n\n");
  EXPECT_EQ("interrupted", read.error);
  EXPECT_EQ("", read.stop_reason);
  EXPECT_EQ("run-1", read.run);
}

}  // namespace
}  // namespace varve::sim
