// The nouns of the log. The golden numbers are frozen for ever: a stream that hashed elsewhere would lose its
// history, and a derived id that changed would make a retry create a second agent.
#include "eventlog/ids.h"

#include <gtest/gtest.h>

namespace varve::test {
namespace {

struct Golden {
  const char* stream;
  std::uint32_t of_4;
  std::uint32_t of_7;
  std::uint32_t of_1024;
};

// Computed with the xxHash library itself, not with this program.
constexpr Golden kPartitions[] = {
    {"", 1, 6, 409},
    {"catalogue", 3, 4, 455},
    {"agent-00000000-0000-4000-8000-000000000000", 0, 4, 520},
    {"agent-123e4567-e89b-42d3-8456-426614174000", 0, 4, 12},
    {"agent-ffffffff-ffff-4fff-bfff-ffffffffffff", 3, 5, 963},
    {"agent-7f3c1a52-9b0e-4c7d-8a41-5d2e6f708192", 0, 2, 188},
    {"block-00000000-0000-4000-8000-000000000000", 1, 2, 45},
    {"block-123e4567-e89b-42d3-8456-426614174000", 0, 0, 208},
    {"block-ffffffff-ffff-4fff-bfff-ffffffffffff", 3, 3, 347},
    {"block-0badcafe-dead-4bee-9f00-00c0ffee0000", 0, 0, 376},
};

TEST(PartitionTest, OfAStreamIsFrozen) {
  for (const Golden& golden : kPartitions) {
    SCOPED_TRACE(golden.stream);
    const StreamId stream{golden.stream};
    EXPECT_EQ(Partition{golden.of_4}, partition_of(stream, 4));
    EXPECT_EQ(Partition{golden.of_7}, partition_of(stream, 7));
    EXPECT_EQ(Partition{golden.of_1024}, partition_of(stream, kPartitionsMax));
    EXPECT_EQ(Partition{0}, partition_of(stream, 1));
  }
}

TEST(PartitionTest, StreamsSpreadEvenly) {
  std::vector<int> streams(kPartitionsDefault);
  Rng rng(1);
  for (int i = 0; i < 4000; ++i) {
    ++streams[partition_of(StreamId{"agent-" + uuid4(rng)}, kPartitionsDefault).value()];
  }
  for (const int count : streams) EXPECT_NEAR(1000, count, 150);
}

// The list as it is printed again, or the error's code.
std::string parsed(std::string_view text) {
  const auto positions = parse_positions(text);
  return positions ? to_string(*positions) : to_string(positions.error().code);
}

TEST(PositionTest, IsPrintedAsPartitionAndOffset) {
  EXPECT_EQ("3:1042", to_string(LogPosition{Partition{3}, Offset{1042}}));
  EXPECT_EQ("", to_string(std::vector<LogPosition>{}));
  EXPECT_EQ("1:88,3:1042",
            to_string(std::vector<LogPosition>{{Partition{1}, Offset{88}}, {Partition{3}, Offset{1042}}}));
}

TEST(PositionTest, IsReadBackInOrderOfPartitions) {
  EXPECT_EQ("", parsed(""));
  EXPECT_EQ("3:1042", parsed("3:1042"));
  EXPECT_EQ("0:17,1:88,1023:0", parsed("1023:0,0:17,1:88"));
  EXPECT_EQ("0:18446744073709551615", parsed("0:18446744073709551615"));
}

TEST(PositionTest, AnythingElseIsRefused) {
  for (const char* text :
       {":", "1", "1:", ":1", "1:2:3", "a:1", "1:b", "-1:2", "1:-2", "+1:2", " 1:2", "1:2 ", "1:2,", ",1:2",
        "1:2,,3:4", "1024:0", "99999999999999999999:1", "0:18446744073709551616", "1:2;3:4"}) {
    EXPECT_EQ("invalid_argument", parsed(text)) << "'" << text << "'";
  }
}

TEST(PositionTest, APartitionNamedTwiceIsRefused) {
  const auto positions = parse_positions("1:2,3:4,1:5");
  ASSERT_FALSE(positions);
  EXPECT_EQ("invalid_argument: partition 1 is named twice", to_string(positions.error()));
}

TEST(PositionTest, MergingKeepsTheNewestOfEachPartition) {
  std::vector<LogPosition> positions;
  for (const auto& [partition, offset] : {std::pair{3U, 5U}, {1U, 7U}, {3U, 4U}, {3U, 9U}, {0U, 0U}}) {
    merge_position(positions, {Partition{partition}, Offset{offset}});
  }
  EXPECT_EQ("0:0,1:7,3:9", to_string(positions));
}

CommandId counting_id() {
  CommandId id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = static_cast<std::uint8_t>(i);
  return id;
}

TEST(CommandIdTest, IsPrintedAsHexAndReadBack) {
  const std::string hex = "000102030405060708090a0b0c0d0e0f";
  EXPECT_EQ(hex, to_hex(counting_id()));
  const auto id = parse_command_id(hex);
  ASSERT_TRUE(id);
  EXPECT_EQ(counting_id(), *id);
  for (const char* text : {"", "00", "000102030405060708090a0b0c0d0e0", "000102030405060708090a0b0c0d0e0f0",
                           "000102030405060708090a0b0c0d0e0g", "000102030405060708090A0B0C0D0E0F"}) {
    EXPECT_FALSE(parse_command_id(text)) << text;
  }
}

TEST(CommandIdTest, OfATextIsFrozen) {
  EXPECT_EQ("29a93ef45314fcad56e8532df3a5bfb2", to_hex(command_id_from_text("retry-me")));
  EXPECT_EQ("e3b0c44298fc1c149afbf4c8996fb924", to_hex(command_id_from_text("")));
}

TEST(CommandHashTest, IsFrozenAndReadBack) {
  const CommandHash hash = command_hash("POST /v1/agents", "{}");
  EXPECT_EQ("f49c02e6589db483", to_hex(hash));
  const auto back = parse_command_hash("f49c02e6589db483");
  ASSERT_TRUE(back);
  EXPECT_EQ(hash, *back);
  EXPECT_EQ("00000000000000ff", to_hex(CommandHash{255}));
  EXPECT_FALSE(parse_command_hash("f49c02e6589db48"));
  EXPECT_NE(hash, command_hash("POST /v1/agents", "{\"a\":1}"));
  EXPECT_NE(hash, command_hash("POST /v1/blocks", "{}"));
}

TEST(DerivedIdTest, IsFrozenAndShapedAsAUuid) {
  const CommandId id = counting_id();
  EXPECT_EQ("518d8547-db40-496d-8eb5-1a96b5a27d7d", derived_uuid(id, "agent", 0));
  EXPECT_EQ("569f0804-25b0-410c-8a58-ed47fb2ac3d6", derived_uuid(id, "block", 0));
  EXPECT_EQ("076c33f3-29c7-40db-a55a-6428f18b2de0", derived_uuid(id, "block", 1));
  EXPECT_EQ("1896fd3a-f013-4748-857d-45eeab93b93e", derived_uuid(id, "block", 0, 1));
  EXPECT_EQ("4caf3a7c-7cc1-4757-aab5-d70d4f189e94", derived_uuid(id, "message", 12));
  EXPECT_TRUE(is_uuid4(derived_uuid(id, "message", 12)));
}

TEST(DerivedIdTest, OfAnotherCommandIsAnother) {
  CommandId other = counting_id();
  other.bytes[15] ^= 1;
  EXPECT_NE(derived_uuid(counting_id(), "agent", 0), derived_uuid(other, "agent", 0));
}

TEST(DerivedIdTest, ABirthLandsInItsHomePartitionAndIsFrozen) {
  const CommandId id = counting_id();
  // The first attempt that hashes there: numbers 5, 10, 0 and 1.
  const char* expected[] = {
      "block-9cbe80fa-bc6a-478b-be5c-6e5aefda540b", "block-d94c10a4-eb4e-489c-ba71-bf346f356e3e",
      "block-569f0804-25b0-410c-8a58-ed47fb2ac3d6", "block-1896fd3a-f013-4748-857d-45eeab93b93e"};
  for (std::uint32_t home = 0; home < 4; ++home) {
    EXPECT_EQ(expected[home], derived_stream_in(id, "block", 0, Partition{home}, 4).value());
  }
  for (std::uint64_t ordinal = 0; ordinal < 8; ++ordinal) {
    const StreamId stream = derived_stream_in(id, "block", ordinal, Partition{1000}, kPartitionsMax);
    EXPECT_EQ(Partition{1000}, partition_of(stream, kPartitionsMax));
  }
}

}  // namespace
}  // namespace varve::test
