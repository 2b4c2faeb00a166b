#include "runtime/json.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

std::string round_trip(std::string_view text) {
  const auto json = Json::parse(text);
  return json ? json->dump() : "error: " + json.error().message;
}

TEST(Json, KeepsNumbersAndTheOrderOfMembersAsTheyCame) {
  EXPECT_EQ(
      R"({"b":1.50,"a":[1e3,-0,123456789012345678901234567890],"c":{"z":null,"y":true}})",
      round_trip(
          R"({ "b" : 1.50, "a" : [1e3, -0, 123456789012345678901234567890], "c": {"z":null,"y":true} })"));
}

TEST(Json, EscapesOnlyWhatMustBeEscaped) {
  EXPECT_EQ("\"a\\\"\\\\\\n\\u0001\u00fc\U0001f375\"",
            round_trip("\"a\\\"\\\\\\n\\u0001\\u00fc\\ud83c\\udf75\""));
}

struct Refused {
  const char* name;
  std::string text;
};

class JsonRefuses : public testing::TestWithParam<Refused> {};

TEST_P(JsonRefuses, WithThePosition) {
  const auto json = Json::parse(GetParam().text);
  ASSERT_FALSE(json.has_value()) << json->dump();
  EXPECT_EQ(Errc::invalid_argument, json.error().code);
  EXPECT_NE(std::string::npos, json.error().message.find("at byte ")) << json.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Malformed, JsonRefuses,
    testing::Values(Refused{"Empty", ""}, Refused{"Cut", "{\"a\":"}, Refused{"TrailingText", "{} x"},
                    Refused{"TrailingComma", "[1,]"}, Refused{"SingleQuotes", "{'a':1}"},
                    Refused{"BareWord", "nope"}, Refused{"EscapedNul", "\"a\\u0000b\""},
                    Refused{"NulInAName", "{\"a\\u0000\":1}"}, Refused{"LoneHighSurrogate", "\"\\ud800\""},
                    Refused{"LoneLowSurrogate", "\"\\udc00\""}, Refused{"IllFormedUtf8", "\"\xff\""},
                    Refused{"OverlongUtf8", "\"\xc0\xaf\""}, Refused{"CutUtf8", "\"\xe2\x82\""},
                    Refused{"SurrogateInUtf8", "\"\xed\xa0\x80\""},
                    Refused{"TooDeep", std::string(65, '[') + std::string(65, ']')}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Json, NestsAsDeepAsTheLimitAndNoDeeper) {
  EXPECT_TRUE(Json::parse(std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']')).has_value());
  // Far beyond any stack: refused without recursion.
  EXPECT_FALSE(Json::parse(std::string(1'000'000, '[')).has_value());
}

TEST(Json, TheLastOfTwoMembersWithOneNameCounts) {
  const auto json = Json::parse(R"({"a":1,"a":2})");
  ASSERT_TRUE(json.has_value());
  EXPECT_EQ(2, json->find("a")->as_integer());
}

TEST(Json, IntegersAreExactOrNothing) {
  const auto integer = [](std::string_view text) { return Json::parse(text)->as_integer(); };
  EXPECT_EQ(std::int64_t{9223372036854775807}, integer("9223372036854775807"));
  EXPECT_EQ(std::nullopt, integer("9223372036854775808"));
  EXPECT_EQ(std::nullopt, integer("1.0"));
  EXPECT_EQ(std::nullopt, integer("1e3"));
  EXPECT_EQ(std::nullopt, integer("\"1\""));
}

TEST(Json, CanonicalTextDoesNotDependOnTheOrderOfMembers) {
  const auto a = Json::parse(R"({"b":[{"d":1,"c":2}],"a":1})");
  const auto b = Json::parse(R"({"a":1,"b":[{"c":2,"d":1}]})");
  EXPECT_EQ(R"({"a":1,"b":[{"c":2,"d":1}]})", a->canonical());
  EXPECT_EQ(a->canonical(), b->canonical());
}

TEST(JsonWriter, PrintsWhatTheParserReads) {
  JsonWriter out;
  out.begin_object().field("a", "x").field_integer("n", -7).key("l").begin_array().null().boolean(true);
  out.begin_object()
      .end_object()
      .end_array()
      .field_raw("r", "[1,2]")
      .field_optional("o", std::nullopt)
      .end_object();
  EXPECT_EQ(R"({"a":"x","n":-7,"l":[null,true,{}],"r":[1,2],"o":null})", out.text());
  EXPECT_TRUE(Json::parse(out.text()).has_value());
}

}  // namespace
}  // namespace varve
