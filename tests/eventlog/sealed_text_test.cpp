// Sealed texts: what opens and what does not, a format that lives for ever, and that no text of any event is
// forgotten.
#include "eventlog/sealed_text.h"

#include <gtest/gtest.h>

#include <set>

#include "eventlog/personal_texts.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

StreamKey key_of(std::uint8_t first) {
  StreamKey key;
  for (std::size_t i = 0; i < key.bytes.size(); ++i) key.bytes[i] = static_cast<std::uint8_t>(first + i);
  return key;
}

const StreamId kAnn{"agent-ann"};
constexpr const char* kField = "agents.name";

TEST(SealedText, OpensWhereItWasSealed) {
  const TextSeal seal(kAnn, key_of(0));
  for (const std::string text : {"Ann", "\U0001f375", "a \"quoted\" line\n", "varve-sealed:1:AAAA"}) {
    const std::string sealed = seal.seal(TextKind::text, kField, "1", text);
    EXPECT_TRUE(is_sealed(TextKind::text, sealed)) << sealed;
    EXPECT_EQ(std::string::npos, sealed.find(text));
    EXPECT_EQ(text, seal.open(TextKind::text, kField, sealed));
  }
  const std::string long_text(100'000, 'x');
  EXPECT_EQ(long_text, seal.open(TextKind::text, kField, seal.seal(TextKind::text, kField, "1", long_text)));
}

TEST(SealedText, JsonBecomesAJsonString) {
  const TextSeal seal(kAnn, key_of(0));
  const std::string sealed = seal.seal(TextKind::json, kField, "1", R"({"a":[1,2.50]})");
  const auto json = Json::parse(sealed);
  ASSERT_TRUE(json && json->is_string()) << sealed;
  EXPECT_TRUE(is_sealed(TextKind::json, sealed));
  EXPECT_FALSE(is_sealed(TextKind::text, sealed));
  EXPECT_EQ(R"({"a":[1,2.50]})", seal.open(TextKind::json, kField, sealed));
}

TEST(SealedText, EmptyOnesStayAsTheyAre) {
  const TextSeal seal(kAnn, key_of(0));
  EXPECT_EQ("", seal.seal(TextKind::text, kField, "1", ""));
  for (const char* json : {"", "null", "{}", "[]", "\"\""})
    EXPECT_EQ(json, seal.seal(TextKind::json, kField, "1", json));
}

TEST(SealedText, OpensNowhereElse) {
  const TextSeal seal(kAnn, key_of(0));
  const std::string sealed = seal.seal(TextKind::text, kField, "1", "Ann");
  EXPECT_FALSE(TextSeal(kAnn, key_of(1)).open(TextKind::text, kField, sealed));
  EXPECT_FALSE(TextSeal(StreamId{"agent-bob"}, key_of(0)).open(TextKind::text, kField, sealed));
  EXPECT_FALSE(seal.open(TextKind::text, "agents.system", sealed));
  EXPECT_FALSE(seal.open(TextKind::json, kField, sealed));
}

TEST(SealedText, OneOtherCharacterAndItDoesNotOpen) {
  const TextSeal seal(kAnn, key_of(0));
  const std::string sealed = seal.seal(TextKind::text, kField, "1", "Ann");
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string other = sealed;
    other[i] = other[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(seal.open(TextKind::text, kField, other)) << i;
    EXPECT_FALSE(seal.open(TextKind::text, kField, sealed.substr(0, i))) << i;
  }
  EXPECT_FALSE(seal.open(TextKind::text, kField, sealed + "A"));
  EXPECT_FALSE(seal.open(TextKind::text, kField, "varve-sealed:1:"));
  EXPECT_FALSE(seal.open(TextKind::text, kField, "varve-sealed:1:!"));
}

// Nothing is drawn: who decides the same again writes the same bytes. But what differs in anything that it is
// bound to looks different.
TEST(SealedText, TheSameIsSealedToTheSameBytes) {
  const TextSeal seal(kAnn, key_of(0));
  const auto of = [&seal](const char* field, const char* salt, const char* text) {
    return seal.seal(TextKind::text, field, salt, text);
  };
  EXPECT_EQ(of(kField, "1", "Ann"), of(kField, "1", "Ann"));
  const std::set<std::string> all{of(kField, "1", "Ann"), of(kField, "2", "Ann"), of(kField, "1", "Anne"),
                                  of("agents.system", "1", "Ann")};
  std::set<std::string> nonces;
  for (const std::string& sealed : all) nonces.insert(sealed.substr(15, 32));
  EXPECT_EQ(4U, nonces.size());
}

// For ever: what was sealed once must open as long as there is a key.
TEST(SealedText, HasAFormatThatStays) {
  const TextSeal seal(StreamId{"agent-123e4567-e89b-42d3-8456-426614174000"}, key_of(0));
  EXPECT_EQ("varve-sealed:1:VTeF1pooR25AF7aQiHPvEiFBAug0rWewItqUWcoSZwC2v1/Omz+N5FgJBQ",
            seal.seal(TextKind::text, "agents.name", "salt", "Ann"));
}

// ---- completeness ----

Message full_message() {
  Message message = test::sample_message("message-1", Role::tool, "said");
  message.name = "carol";
  message.sender_id = "sender";
  message.group_id = "group";
  message.otid = "otid";
  message.step_id = "step-1";
  message.tool_calls = {{"call-1", "tool", "arguments"}};
  message.reasoning = "thought";
  message.tool_call_id = "call-0";
  message.stdout_lines = R"(["out"])";
  message.stderr_lines = R"(["err"])";
  message.extra = R"({"more":"extra"})";
  return message;
}

std::vector<Event> full_events() {
  std::vector<Event> events = test::sample_events();
  for (Event& event : events) {
    if (auto* created = std::get_if<AgentCreated>(&event)) created->messages = {full_message()};
    if (auto* received = std::get_if<UserMessageReceived>(&event)) received->messages = {full_message()};
    if (auto* replied = std::get_if<AssistantReplied>(&event)) replied->message = full_message();
    if (auto* returned = std::get_if<ToolReturned>(&event)) returned->message = full_message();
    if (auto* summarized = std::get_if<ContextSummarized>(&event)) summarized->summary = full_message();
    if (auto* imported = std::get_if<MessagesImported>(&event)) imported->messages = {full_message()};
    if (auto* finished = std::get_if<TurnFinished>(&event)) finished->request = R"({"option":"x"})";
    if (auto* failed = std::get_if<TurnFailed>(&event)) failed->request = R"({"option":"x"})";
    if (auto* cancelled = std::get_if<TurnCancelled>(&event)) cancelled->request = R"({"option":"x"})";
  }
  return events;
}

// Whatever is written in plain, by its path in the event's data. A new field of an event stands either here,
// or in personal_texts.cpp; to put it here is to say that it tells nothing about a person.
const std::set<std::string> kPlain{
    "settings.agent_type",
    "settings.model",
    "settings.embedding",
    "settings.timezone",
    "settings.tools",
    "settings.tags",
    "blocks",
    "blocks.id",
    "blocks.label",
    "block",
    "label",
    "block.label",
    "block.tags",
    "tags_added",
    "tags_removed",
    "message_ids",
    "out_of_context",
    "run_id",
    "stop_reason",
    "error_type",
    "model",
    "prompt_hash",
    "hash",
    "origin",
    "cut",
    "place",
    "id",
    "type",
    "role",
    // Messages.
    "M.id",
    "M.role",
    "M.sender_id",
    "M.group_id",
    "M.otid",
    "M.step_id",
    "M.tool_calls.id",
    "M.tool_calls.name",
    "M.tool_call_id",
};
// Of streams that are never erasable.
const std::set<std::string> kNeverSealed{"ToolCreated", "ToolUpdated", "EventTeleported", "TeleportSealed"};

void collect(const Json& json, const std::string& path, std::set<std::string>& plain) {
  if (json.is_string()) {
    if (!is_sealed(TextKind::text, json.as_string())) plain.insert(path);
    return;
  }
  for (const Json& item : json.items()) collect(item, path, plain);
  for (const auto& member : json.members()) {
    std::string name = member.first;
    const bool message = name == "message" || name == "messages" || name == "summary";
    if (message && !member.second.is_string()) name = "M";
    const std::string below = name == "M" || path.empty() ? name : path + "." + name;
    collect(member.second, below, plain);
  }
}

std::set<std::string> plain_texts(const Event& event) {
  JsonWriter out;
  write_event(out, event);
  const auto json = Json::parse(out.text());
  std::set<std::string> plain;
  collect(*json->find("data"), "", plain);
  return plain;
}

TEST(PersonalTexts, EveryTextOfEveryEventIsSealedOrSaidToBePlain) {
  const TextSeal seal(kAnn, key_of(0));
  for (const Event& event : full_events()) {
    if (kNeverSealed.contains(std::string(type_of(event)))) continue;
    Event sealed = event;
    for_personal_texts(sealed, sealing(seal, "salt"));
    for (const std::string& path : plain_texts(sealed)) {
      EXPECT_TRUE(kPlain.contains(path)) << type_of(event) << " has " << path << " in plain";
    }
    for_personal_texts(sealed, opening(seal));
    EXPECT_EQ(event, sealed) << type_of(event);
  }
}

// Which the test above would not see if it looked in the wrong place.
TEST(PersonalTexts, UnsealedTheyAreSeen) {
  std::set<std::string> personal;
  for (const Event& event : full_events()) {
    if (kNeverSealed.contains(std::string(type_of(event)))) continue;
    for (const std::string& path : plain_texts(event)) {
      if (!kPlain.contains(path)) personal.insert(path);
    }
  }
  for (const char* path :
       {"settings.name", "settings.system", "M.content", "M.reasoning", "M.tool_calls.arguments",
        "M.extra.more", "block.value", "message", "request.option"}) {
    EXPECT_TRUE(personal.contains(path)) << path;
  }
}

// A record is read by programs that have no key.
TEST(PersonalTexts, ASealedRecordIsARecordLikeAnyOther) {
  const TextSeal seal(kAnn, key_of(0));
  Commit commit = test::sample_commit();
  for (Part& part : commit.parts) {
    for (StoredEvent& stored : part.events) for_personal_texts(std::get<Event>(stored), sealing(seal, "s"));
  }
  const auto bytes = encode_record(Record{commit});
  ASSERT_TRUE(bytes);
  EXPECT_EQ(Record{commit}, *decode_record(*bytes));
}

}  // namespace
}  // namespace varve
