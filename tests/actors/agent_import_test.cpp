// Imports as their deciders see them: in order, again, with gaps, too late; and what a snapshot keeps of
// them.
#include <gtest/gtest.h>

#include "actors/decide.h"
#include "actors/state_codec.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

constexpr std::int64_t kDay = std::int64_t{24} * 3600 * 1'000'000;

struct ImportedActor {
  ActorState state;
  Index n;
  Facts facts{StreamId{"agent-1"}, {}, WallTime{1000}, 4, {}, WallTime{1000}};

  // As the shard does it: decide, then apply what was decided.
  Result<Decision> send(const std::string& id, const Command& command) {
    facts.command = command_id_from_text(id);
    auto decision = decide(state, command, facts);
    if (!decision || decision->events.empty()) return decision;
    Commit commit;
    commit.at = facts.now;
    commit.command = {facts.command, {}, false};
    Part part{facts.self, next(state.sequence), {}};
    for (const Event& event : decision->events) part.events.emplace_back(event);
    apply_part(state, commit, part, Offset{7}, true);
    return decision;
  }
  void done(const std::string& id, const Command& command) {
    const auto decision = send(id, command);
    ASSERT_TRUE(decision) << decision.error().message;
  }
  BeginImport begin(std::int64_t records, const std::string& hash = "h") const {
    BeginImport command;
    command.settings = test::sample_settings();
    command.new_blocks = {test::sample_block(), test::sample_block()};
    command.records = records;
    command.hash = hash;
    return command;
  }
  static AppendImport append(std::int64_t ordinal) {
    AppendImport command;
    command.ordinal = ordinal;
    command.messages = {test::sample_message("", Role::system, "S"),
                        test::sample_message("", Role::user, "old")};
    command.out_of_context = {1};
    return command;
  }
};

std::string outcome(const Result<Decision>& decision) {
  if (!decision) return to_string(decision.error().code);
  std::string types;
  for (const Event& event : decision->events) types += std::string(type_of(event)) + " ";
  return types;
}

TEST(AgentImport, BeginsTakesItsRecordsAndIsSealed) {
  ImportedActor actor;
  const auto begun = actor.send("b", actor.begin(2));
  EXPECT_EQ("AgentCreated ImportBegun ", outcome(begun));
  EXPECT_EQ(1U, begun->births.size());  // Of two blocks with one label the first.
  EXPECT_TRUE(actor.state.agent()->importing);
  EXPECT_EQ("not_found", outcome(actor.send("x", UpdateAgent{})));
  EXPECT_EQ("conflict", outcome(actor.send("s", SealImport{})));
  EXPECT_EQ("MessagesImported ", outcome(actor.send("r0", ImportedActor::append(0))));
  EXPECT_EQ("conflict", outcome(actor.send("r2", ImportedActor::append(2))));
  EXPECT_EQ("MessagesImported ", outcome(actor.send("r1", ImportedActor::append(1))));
  EXPECT_EQ("conflict", outcome(actor.send("r2", ImportedActor::append(2))));  // There are only two.
  EXPECT_EQ("AgentUpdated ImportSealed ", outcome(actor.send("s", SealImport{})));
  EXPECT_FALSE(actor.state.agent()->importing);
  EXPECT_EQ(2U, actor.state.agent()->context.size());
  EXPECT_NE("not_found", outcome(actor.send("x", UpdateAgent{})));
}

TEST(AgentImport, AForkBeginsWithWhatItWasMadeOf) {
  ImportedActor actor;
  BeginImport begin = actor.begin(1);
  begin.origin = StreamId{"agent-0"};
  begin.origin_cut = "0:17,1:88";
  const auto begun = actor.send("b", begin);
  EXPECT_EQ("AgentForked AgentCreated ImportBegun ", outcome(begun));
  EXPECT_EQ((Event{AgentForked{StreamId{"agent-0"}, "0:17,1:88"}}), begun->events.front());
  EXPECT_TRUE(actor.state.agent()->importing);
  EXPECT_EQ("", outcome(actor.send("b", begin)));
  actor.done("r0", ImportedActor::append(0));
  EXPECT_EQ("AgentUpdated ImportSealed ", outcome(actor.send("s", SealImport{})));
}

// A history has a summary where it was made; what it stands for came before everything that is left.
TEST(AgentImport, ASummaryIsInFrontOfWhatItDoesNotStandFor) {
  ImportedActor actor;
  actor.done("b", actor.begin(1));
  AppendImport append;
  append.messages = {test::sample_message("", Role::system, "S"), test::sample_message("", Role::user, "old"),
                     test::sample_message("", Role::user, "kept"),
                     test::sample_message("", Role::summary, "first"),
                     test::sample_message("", Role::summary, "second")};
  append.out_of_context = {1};
  actor.done("r0", append);
  std::string context;
  std::int64_t tokens = 0;
  for (const ContextMessage& entry : actor.state.agent()->context) {
    context += text_of(*entry.message) + ";";
    tokens += entry.tokens;
  }
  EXPECT_EQ("S;first;second;kept;", context);
  EXPECT_EQ(tokens, actor.state.agent()->context_tokens);
}

TEST(AgentImport, EveryCommandMayComeAgain) {
  ImportedActor actor;
  actor.done("b", actor.begin(1));
  EXPECT_EQ("", outcome(actor.send("b", actor.begin(1))));
  actor.done("r0", ImportedActor::append(0));
  EXPECT_EQ("", outcome(actor.send("r0", ImportedActor::append(0))));
  actor.done("s", SealImport{});
  EXPECT_EQ("", outcome(actor.send("b", actor.begin(1))));
  EXPECT_EQ("", outcome(actor.send("r0", ImportedActor::append(0))));
  EXPECT_EQ("", outcome(actor.send("s", SealImport{})));
  EXPECT_EQ("conflict", outcome(actor.send("b", actor.begin(1, "another file"))));
  EXPECT_EQ("conflict", outcome(actor.send("b2", actor.begin(1))));
  actor.done("d", DeleteAgent{});
  EXPECT_EQ("", outcome(actor.send("b", actor.begin(1))));
  EXPECT_EQ("", outcome(actor.send("s", SealImport{})));
}

TEST(AgentImport, AfterADayItIsOver) {
  ImportedActor actor;
  actor.done("b", actor.begin(1));
  actor.facts.now = WallTime{1000 + 9 * kDay};  // Of one owner's clock.
  actor.facts.log_time = WallTime{1000 + kDay};
  EXPECT_EQ("", outcome(actor.send("b", actor.begin(1))));
  EXPECT_EQ("not_found", outcome(actor.send("d", DeleteAgent{})));
  actor.facts.now = WallTime{1000};
  actor.facts.log_time = WallTime{1001 + kDay};
  EXPECT_EQ("not_found", outcome(actor.send("b", actor.begin(1))));
  EXPECT_EQ("not_found", outcome(actor.send("r0", ImportedActor::append(0))));
  EXPECT_EQ("AgentDeleted ", outcome(actor.send("d", DeleteAgent{})));
}

TEST(AgentImport, CommandsToWhatIsNoImportAreRefused) {
  ImportedActor actor;
  EXPECT_EQ("not_found", outcome(actor.send("r0", ImportedActor::append(0))));
  CreateAgent create;
  create.settings = test::sample_settings();
  actor.done("c", create);
  EXPECT_EQ("conflict", outcome(actor.send("r0", ImportedActor::append(0))));
  EXPECT_EQ("conflict", outcome(actor.send("c", actor.begin(1))));
  ImportedActor other;
  BeginImport large = other.begin(1);
  large.settings.system = std::string(kSettingsBytesMax, 'x');
  EXPECT_EQ("invalid_argument", outcome(other.send("b", large)));
  large = other.begin(1);
  large.system_message = true;
  other.done("b", large);
  EXPECT_EQ(1U, other.state.agent()->context.size());
}

TEST(AgentImport, ASnapshotAndACommandKeepIt) {
  ImportedActor actor;
  actor.done("b", actor.begin(3));
  AppendImport append = ImportedActor::append(0);
  append.messages[0].extra = R"({"model":"m"})";
  append.messages[0].sent_at = WallTime{5};
  actor.done("r0", append);
  const auto state = decode_state(encode_state(actor.state));
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(actor.state, *state);
  EXPECT_EQ(1, state->agent()->records_imported);
  BeginImport fork = actor.begin(3);
  fork.origin = StreamId{"agent-0"};
  fork.origin_cut = "0:17,";
  for (const Command& command :
       {Command{actor.begin(3)}, Command{fork}, Command{append}, Command{SealImport{}},
        Command{PreviewTurn{append.messages, R"({"a":1})"}}, Command{SkipEvent{Offset{88}, 2}}}) {
    const CommandEnvelope envelope{{command_id_from_text("b"), {}, false}, StreamId{"agent-1"}, command};
    const auto decoded = decode_command(encode_command(envelope));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(command, decoded->command);
  }
}

}  // namespace
}  // namespace varve
