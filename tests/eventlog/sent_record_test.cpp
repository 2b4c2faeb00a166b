// What was sent and is read back byte for byte: its value is what decoding gives, or it is decoded.
#include "eventlog/sent_record.h"

#include <gtest/gtest.h>

#include "tests/support/samples.h"

namespace varve {
namespace {

Commit commit_of(Event event) {
  Commit commit = test::sample_commit();
  commit.parts = {{StreamId{"agent-a"}, Sequence{3}, {std::move(event)}}};
  return commit;
}

Commit commit_with_metadata(const std::string& metadata) {
  AgentUpdated updated;
  updated.settings = test::sample_settings();
  updated.settings.metadata = metadata;
  return commit_of(Event{std::move(updated)});
}

// Whether reading the bytes needs no decoding. If so, the value is what decoding gives.
bool is_spared(const Commit& commit) {
  const SentRecord sent = *SentRecord::of(commit);
  const auto value = sent.as(sent.bytes());
  if (!value) return false;
  const auto decoded = decode_record(sent.bytes());
  EXPECT_TRUE(decoded) << sent.bytes();
  if (decoded) EXPECT_EQ(*decoded, *value) << sent.bytes();
  return true;
}

TEST(SentRecord, IsReadAsItWasSent) {
  for (const Event& event : test::sample_events()) {
    const bool read_anew =
        std::holds_alternative<EventTeleported>(event) || std::holds_alternative<TeleportSealed>(event);
    EXPECT_EQ(!read_anew, is_spared(commit_of(event))) << type_of(event);
  }
  EXPECT_TRUE(is_spared(test::sample_commit()));
}

TEST(SentRecord, IsNothingForOtherBytes) {
  const SentRecord sent = *SentRecord::of(test::sample_commit());
  Commit later = test::sample_commit();
  later.n = next(later.n);
  EXPECT_EQ(nullptr, sent.as(SentRecord::of(later)->bytes()));
  EXPECT_EQ(nullptr, sent.as(""));
  EXPECT_EQ(nullptr, sent.as(sent.bytes() + " "));
}

// Opaque JSON lives on as the parser prints it, whoever reads it.
TEST(SentRecord, IsDecodedIfTheParserWouldPrintItInAnotherWay) {
  EXPECT_TRUE(is_spared(commit_with_metadata(R"({"a":[1,2.50,"x y"],"b":null})")));
  EXPECT_TRUE(is_spared(commit_with_metadata("null")));
  EXPECT_TRUE(is_spared(commit_with_metadata(R"("line\nline")")));
  EXPECT_FALSE(is_spared(commit_with_metadata(R"({"a": 1})")));
  EXPECT_FALSE(is_spared(commit_with_metadata("{ }")));
  EXPECT_FALSE(is_spared(commit_with_metadata(R"("\u00fc")")));
  EXPECT_FALSE(is_spared(commit_with_metadata(R"("a\/b")")));
  EXPECT_FALSE(is_spared(commit_with_metadata(R"("one","two":"three")")));
  EXPECT_FALSE(is_spared(commit_with_metadata("")));
}

// Nobody could read these, so the one who wrote them may not go on as if they were well.
TEST(SentRecord, IsDecodedIfTheParserWouldRefuseIt) {
  for (const std::string& text :
       {std::string("\xc3\x28"), std::string("a\0b", 3), std::string("\xed\xa0\x80")}) {
    Commit commit = test::sample_commit();
    commit.node = text;
    EXPECT_FALSE(is_spared(commit));
    EXPECT_FALSE(decode_record(SentRecord::of(commit)->bytes()));
  }
  Commit no_parts = test::sample_commit();
  no_parts.parts.clear();
  EXPECT_FALSE(is_spared(no_parts));
  Commit no_sequence = test::sample_commit();
  no_sequence.parts.front().first = Sequence{};
  EXPECT_FALSE(is_spared(no_sequence));
  Commit odd_request = test::sample_commit();
  odd_request.command.request_id = "a b";
  EXPECT_FALSE(is_spared(odd_request));
}

TEST(SentRecord, IsSharedWithWhoeverReadsTheSameRecord) {
  const SentRecord sent = *SentRecord::of(test::sample_commit());
  const LogRecord record{Offset{7}, std::make_shared<const std::string>(sent.bytes())};
  const auto value = decoded_as(record, sent);
  ASSERT_TRUE(value);
  EXPECT_EQ(*value, *decoded(record));
  EXPECT_EQ(sent.as(sent.bytes()), *value);

  Commit later = test::sample_commit();
  later.n = next(later.n);
  const LogRecord other{Offset{8}, std::make_shared<const std::string>(SentRecord::of(later)->bytes())};
  const auto decoded_other = decoded_as(other, sent);
  ASSERT_TRUE(decoded_other);
  EXPECT_EQ(Record{later}, **decoded_other);
}

TEST(SentRecord, IsRefusedOverTheLimit) {
  EXPECT_EQ(Errc::resource_exhausted,
            SentRecord::of(commit_with_metadata(std::string(kRecordBytesMax, '1'))).error().code);
}

}  // namespace
}  // namespace varve
