// What counts as text, and how times are printed.
#include <gtest/gtest.h>

#include "runtime/real_env.h"
#include "runtime/time.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

TEST(Text, IsWellFormedUtf8WithoutNul) {
  EXPECT_TRUE(is_text(""));
  EXPECT_TRUE(is_text("sixteen letters."));
  EXPECT_TRUE(is_text("plain, \u00fc, \u20ac, \U0001f375"));
  EXPECT_FALSE(is_text(std::string_view("a\0b", 3)));
  EXPECT_FALSE(is_text("\xff"));
  EXPECT_FALSE(is_text("\xed\xa0\x80"));      // A surrogate.
  EXPECT_FALSE(is_text("\xf4\x90\x80\x80"));  // Beyond U+10FFFF.
  EXPECT_FALSE(is_text("\xe2\x82"));          // Cut.
}

// Letters are looked at by words of eight.
TEST(Text, IsLookedAtWhereverItEnds) {
  for (std::size_t size = 1; size <= 20; ++size) {
    for (std::size_t i = 0; i < size; ++i) {
      const std::string letters(size, 'a');
      const auto with = [&](std::string_view bytes) { return std::string(letters).replace(i, 1, bytes); };
      EXPECT_TRUE(is_text(with("\x7f")));
      EXPECT_TRUE(is_text(with("\u20ac")));
      EXPECT_FALSE(is_text(with(std::string_view("\0", 1))));
      EXPECT_FALSE(is_text(with("\xff")));
      EXPECT_FALSE(is_text(with("\xe2\x82")));
    }
  }
}

TEST(Text, IsMendedByteByByte) {
  EXPECT_EQ("a\ufffdb", mend_text(std::string_view("a\0b", 3)));
  EXPECT_EQ("x\ufffd\ufffdy", mend_text("x\xe2\x82y"));
  EXPECT_TRUE(is_text(mend_text("\xff\xfe\xed\xa0\x80")));
}

TEST(Text, IsCutBetweenCharacters) {
  EXPECT_EQ("a", prefix_of_text("a\u20acb", 3));
  EXPECT_EQ("a\u20ac", prefix_of_text("a\u20acb", 4));
  EXPECT_EQ("abc", prefix_of_text("abc", 10));
}

TEST(Time, IsPrintedAsClientsKnowIt) {
  const WallTime time{1'795'416'233'020'081};
  EXPECT_EQ("2026-11-23T06:43:53.020081Z", format_rfc3339_micros(time));
  EXPECT_EQ("2026-11-23T06:43:53+00:00", format_rfc3339_seconds(time));
  EXPECT_EQ("1970-01-01T00:00:00.000000Z", format_rfc3339_micros(WallTime{0}));
  EXPECT_EQ("2024-02-29T23:59:59.999999Z", format_rfc3339_micros(WallTime{1'709'251'199'999'999}));
}

TEST(Time, ALongWaitEndsAtNever) {
  EXPECT_EQ(kNever, MonoTime{kNever.value() - 5} + Duration{10});
  EXPECT_EQ(MonoTime{15}, MonoTime{5} + Duration{10});
}

TEST(LogLine, IsTextForPeopleOrOneJsonObject) {
  EXPECT_EQ("1970-01-01T00:00:00.000001Z info    hi",
            log_line(LogFormat::text, WallTime{1}, LogLevel::info, "hi"));
  EXPECT_EQ("1970-01-01T00:00:00.000001Z warning hi",
            log_line(LogFormat::text, WallTime{1}, LogLevel::warning, "hi"));
  EXPECT_EQ(R"({"time":"1970-01-01T00:00:00.000001Z","level":"error","message":"a \"b\"\nc"})",
            log_line(LogFormat::json, WallTime{1}, LogLevel::error, "a \"b\"\nc"));
  EXPECT_EQ("{\"time\":\"1970-01-01T00:00:00.000001Z\",\"level\":\"debug\",\"message\":\"x\ufffd\"}",
            log_line(LogFormat::json, WallTime{1}, LogLevel::debug, "x\xff"));
}

}  // namespace
}  // namespace varve
