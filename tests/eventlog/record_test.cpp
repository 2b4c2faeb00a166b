// The record codec and the event catalogue: the formats that live for ever.
#include "eventlog/record.h"

#include <gtest/gtest.h>

#include "runtime/rng.h"
#include "tests/support/golden.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

using test::sample_claim;
using test::sample_commit;
using test::sample_ruling;

std::string encoded(const Record& record) {
  return *encode_record(record);
}

TEST(RecordCodec, HasAGoldenFilePerKind) {
  EXPECT_GOLDEN("record_commit.json", encoded(sample_commit()) + "\n");
  EXPECT_GOLDEN("record_claim.json", encoded(sample_claim()) + "\n");
  EXPECT_GOLDEN("record_ruling.json", encoded(sample_ruling()) + "\n");
}

TEST(RecordCodec, ReadsItsGoldenFiles) {
  const auto read = [](const char* name) {
    std::string text = test::read_golden(name);
    text.pop_back();  // The newline.
    return decode_record(text);
  };
  EXPECT_EQ(Record{sample_commit()}, *read("record_commit.json"));
  EXPECT_EQ(Record{sample_claim()}, *read("record_claim.json"));
  EXPECT_EQ(Record{sample_ruling()}, *read("record_ruling.json"));
}

// The id of a request came later: records without one are what they were, and programs that do not know of it
// pass over the member.
TEST(RecordCodec, KeepsTheIdOfARequest) {
  Commit commit = sample_commit();
  commit.command.request_id = "trace:1/2~\"\\";
  EXPECT_GOLDEN("record_commit_request.json", encoded(commit) + "\n");
  std::string text = test::read_golden("record_commit_request.json");
  text.pop_back();
  EXPECT_EQ(Record{commit}, *decode_record(text));
}

TEST(RecordCodec, AMalformedIdOfARequestStopsNobody) {
  const std::string good = encoded(sample_commit());
  for (const std::string id : {"7", "{}", "\"a b\"", "\"\"", "null"}) {
    std::string bytes = good;
    bytes.replace(bytes.find(R"("client")"), 0, R"("request":)" + id + ",");
    const auto read = decode_record(bytes);
    ASSERT_TRUE(read) << id;
    EXPECT_EQ(Record{sample_commit()}, *read) << id;
  }
  const std::string over(kRequestIdBytesMax + 1, 'x');
  EXPECT_FALSE(is_request_id(over));
  EXPECT_TRUE(is_request_id(over.substr(1)));
}

TEST(EventCatalogue, HasAGoldenFileOfEveryType) {
  std::string text;
  for (const Event& event : test::sample_events()) {
    JsonWriter out;
    write_event(out, event);
    text += out.text() + "\n";
  }
  EXPECT_GOLDEN("events.jsonl", text);
  EXPECT_EQ(std::variant_size_v<Event>, test::sample_events().size());
}

TEST(EventCatalogue, ReadsWhatItWrites) {
  for (const Event& event : test::sample_events()) {
    JsonWriter out;
    write_event(out, event);
    const auto json = Json::parse(out.text());
    const auto read = read_event(type_of(event), version_of(event), *json->find("data"));
    ASSERT_TRUE(read.has_value()) << out.text() << ": " << read.error().message;
    EXPECT_EQ(event, *read) << out.text();
  }
}

TEST(EventCatalogue, LiftsVersionOneOfBlockCreated) {
  const auto json = Json::parse(test::read_golden("event_block_created_v1.json"));
  ASSERT_TRUE(json.has_value());
  const auto lifted = read_event("BlockCreated", 1, *json->find("data"));
  ASSERT_TRUE(lifted.has_value()) << lifted.error().message;
  EXPECT_EQ(Event{BlockCreated{test::sample_block()}}, *lifted);
}

TEST(EventCatalogue, RefusesWhatItDoesNotKnow) {
  const Json data = Json::object();
  EXPECT_EQ(Errc::corrupt, read_event("AgentTeleported", 1, data).error().code);
  const auto newer = read_event("AgentDeleted", 2, data);
  ASSERT_FALSE(newer);
  EXPECT_NE(std::string::npos, newer.error().message.find("upgrade first"));
  EXPECT_FALSE(read_event("BlockAttached", 1, data));
  EXPECT_FALSE(read_event("BlockCreated", 0, data));
}

TEST(RecordCodec, KeepsAnUnreadableEventForWhoeverFoldsIt) {
  std::string text = encoded(sample_commit());
  const std::size_t at = text.find("\"BlockCreated\"");
  text.replace(at, 14, "\"BlockCreates\"");
  const auto record = decode_record(text);
  ASSERT_TRUE(record.has_value());
  const auto& event = std::get<Commit>(*record).parts[1].events[0];
  ASSERT_TRUE(std::holds_alternative<UnreadableEvent>(event));
  EXPECT_EQ("BlockCreates", std::get<UnreadableEvent>(event).type);
  EXPECT_EQ(text, encoded(*record));  // Nothing of it is lost.
}

TEST(RecordCodec, SkipsOnlyWhatIsNotOurs) {
  EXPECT_EQ(Record{ForeignRecord{}}, *decode_record(""));
  EXPECT_EQ(Record{ForeignRecord{}}, *decode_record("hello"));
  EXPECT_EQ(Record{ForeignRecord{}}, *decode_record(R"({"kind":"commit","v":1})"));
}

struct Bad {
  const char* name;
  std::string text;
  const char* why;
};
class RecordRefuses : public testing::TestWithParam<Bad> {};

TEST_P(RecordRefuses, WithAReason) {
  const auto record = decode_record(GetParam().text);
  ASSERT_FALSE(record.has_value());
  EXPECT_EQ(Errc::corrupt, record.error().code);
  EXPECT_NE(std::string::npos, record.error().message.find(GetParam().why)) << record.error().message;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(std::string::npos, at) << from;
  return text.replace(at, from.size(), to);
}

INSTANTIATE_TEST_SUITE_P(
    Malformed, RecordRefuses,
    testing::Values(
        Bad{"Newer", with(encoded(sample_claim()), "{\"v\":1", "{\"v\":2"), "upgrade first"},
        Bad{"Cut", encoded(sample_claim()).substr(0, 40), "at byte"},
        Bad{"UnknownKind", with(encoded(sample_claim()), "\"claim\"", "\"clam\""), "kind"},
        Bad{"MissingNode", with(encoded(sample_claim()), "\"node\"", "\"nude\""), "\"node\" is missing"},
        Bad{"NegativeEpoch", with(encoded(sample_claim()), "\"epoch\":4", "\"epoch\":-4"), "negative"},
        Bad{"NoPartitions", with(encoded(sample_claim()), "\"partitions\":4", "\"partitions\":0"),
            "partitions"},
        Bad{"BadId", with(encoded(sample_claim()), "\"id\":\"", "\"id\":\"x"), "32 hexadecimal"},
        Bad{"BadHash", with(encoded(sample_commit()), "\"hash\":\"01", "\"hash\":\"0"), "16 hexadecimal"},
        Bad{"SequenceZero", with(encoded(sample_commit()), "\"seq\":1", "\"seq\":0"), "counts from 1"},
        Bad{"NoParts",
            R"({"v":1,"kind":"commit","epoch":1,"n":1,"node":"n","at":1,"cmd":{"id":")" +
                std::string(32, '0') + R"(","hash":")" + std::string(16, '0') + R"("},"parts":[]})",
            "parts"},
        Bad{"EscapedNul", with(encoded(sample_claim()), "\"varve\"", "\"var\\u0000ve\""), "at byte"},
        Bad{"LoneSurrogate", with(encoded(sample_claim()), "\"varve\"", "\"\\udc00\""), "at byte"},
        Bad{"IllFormed", with(encoded(sample_claim()), "\"varve\"", "\"\xc3\x28\""), "at byte"}),
    [](const auto& param) { return std::string(param.param.name); });

// A client's body may be nested as deep as bodies may be; in a record it lies deeper.
TEST(RecordCodec, ReadsWhatWasNestedAsDeepAsAnyBody) {
  std::string deep = "1";
  for (std::size_t i = 1; i < kJsonDepthMax; ++i) deep = "{\"a\":" + deep + "}";
  AgentCreated created;
  created.settings = test::sample_settings();
  created.settings.metadata = deep;
  Commit commit;
  commit.parts.push_back({StreamId{"agent-1"}, Sequence{1}, {Event{created}}});
  const auto bytes = encode_record(Record{commit});
  ASSERT_TRUE(bytes);
  const auto decoded = decode_record(*bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(Record{commit}, *decoded);
}

TEST(RecordCodec, RefusesARecordOverTheLimit) {
  Commit commit = sample_commit();
  BlockValue block = test::sample_block();
  block.value.assign(kRecordBytesMax, 'x');
  commit.parts[1].events[0] = Event{BlockCreated{block}};
  const auto refused = encode_record(commit);
  ASSERT_FALSE(refused);
  EXPECT_EQ(Errc::resource_exhausted, refused.error().code);
}

// Whatever the events hold, reading gives back what was written.
TEST(RecordCodec, RoundTripsRandomCommits) {
  Rng rng(20261123);
  const auto events = test::sample_events();
  const std::vector<std::string> texts{
      "", "x", "\"quoted\"\\", "line\nline\ttab\x01", "\u00fc\u20ac\U0001f375", std::string(3000, 'y')};
  const auto text = [&] { return texts[rng.below(texts.size())]; };
  for (int i = 0; i < 500; ++i) {
    Commit commit = sample_commit();
    commit.epoch = Epoch{rng.below(1'000'000)};
    commit.n = Index{rng.below(1'000'000)};
    commit.node = text();
    commit.command.client = rng.chance(1, 2);
    commit.parts.clear();
    const std::uint64_t parts = 1 + rng.below(4);
    for (std::uint64_t p = 0; p < parts; ++p) {
      Part part{StreamId{"agent-" + text()}, Sequence{1 + rng.below(1000)}, {}};
      const std::uint64_t count = 1 + rng.below(4);
      for (std::uint64_t e = 0; e < count; ++e) {
        Event event = events[rng.below(events.size())];
        if (auto* updated = std::get_if<BlockUpdated>(&event)) updated->block.value = text();
        if (auto* failed = std::get_if<TurnFailed>(&event)) failed->message = text();
        part.events.emplace_back(std::move(event));
      }
      commit.parts.push_back(std::move(part));
    }
    const Record record{commit};
    const auto read = decode_record(encoded(record));
    ASSERT_TRUE(read.has_value()) << read.error().message;
    ASSERT_EQ(record, *read);
  }
}

}  // namespace
}  // namespace varve
