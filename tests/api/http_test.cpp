// Requests and responses as values: header look-up, percent-decoding, targets, and the head of an answer.
#include "api/http.h"

#include <gtest/gtest.h>

#include <ostream>

#include "api/http_head.h"

namespace varve {
namespace {

TEST(Headers, AreFoundWithoutRegardToCase) {
  Request request;
  request.headers.emplace("Content-Type", "text/plain");
  EXPECT_EQ("text/plain", request.header("content-type"));
  EXPECT_EQ("text/plain", request.header("CONTENT-TYPE"));
  EXPECT_EQ(std::nullopt, request.header("content-typ"));
  EXPECT_EQ(std::nullopt, request.header("content-type2"));
}

TEST(Headers, GiveTheFirstOfSeveralValues) {
  Response response;
  response.headers.emplace("Vary", "a");
  response.headers.emplace("vary", "b");
  EXPECT_EQ("a", response.header("VARY"));
}

struct Decoding {
  const char* name;
  std::string_view text;
  std::optional<std::string> in_path;
  std::optional<std::string> in_query;
  friend std::ostream& operator<<(std::ostream& out, const Decoding& row) { return out << row.name; }
};

class PercentDecode : public testing::TestWithParam<Decoding> {};

TEST_P(PercentDecode, Decodes) {
  EXPECT_EQ(GetParam().in_path, percent_decode(GetParam().text, false));
  EXPECT_EQ(GetParam().in_query, percent_decode(GetParam().text, true));
}

INSTANTIATE_TEST_SUITE_P(
    Table, PercentDecode,
    testing::Values(Decoding{"empty", "", "", ""}, Decoding{"plain", "abc", "abc", "abc"},
                    Decoding{"plus", "a+b", "a+b", "a b"}, Decoding{"encoded_plus", "a%2Bb", "a+b", "a+b"},
                    Decoding{"slash", "human%2Fx", "human/x", "human/x"},
                    Decoding{"lower_case", "%c3%a9", "\xC3\xA9", "\xC3\xA9"},
                    Decoding{"twice_encoded_is_decoded_once", "%2525", "%25", "%25"},
                    Decoding{"zero_byte", "a%00", std::string("a\0", 2), std::string("a\0", 2)},
                    Decoding{"bare_percent", "%", std::nullopt, std::nullopt},
                    Decoding{"cut_short", "a%2", std::nullopt, std::nullopt},
                    Decoding{"no_digit", "%zz", std::nullopt, std::nullopt},
                    Decoding{"one_digit", "%2g", std::nullopt, std::nullopt}),
    [](const auto& info) { return std::string{info.param.name}; });

// "path | name=value name=value", or "refused".
std::string shown(std::string_view target) {
  const auto parsed = parse_target(target);
  if (!parsed) return "refused";
  std::string out = parsed->path + " |";
  for (const auto& [name, value] : parsed->query) out += " " + name + "=" + value;
  return out;
}

TEST(ParseTarget, TakesPathAndQueryApart) {
  EXPECT_EQ("/ |", shown("/"));
  EXPECT_EQ("/v1/agents/ |", shown("/v1/agents/"));
  EXPECT_EQ("/a |", shown("/a?"));
  EXPECT_EQ("/a | x=1 y=2", shown("/a?x=1&y=2"));
  EXPECT_EQ("/a | tags=b tags=a", shown("/a?tags=b&tags=a"));
  EXPECT_EQ("/a | x=1 y=2", shown("/a?&x=1&&y=2&"));
  EXPECT_EQ("/a | x= y=", shown("/a?x&y="));
  EXPECT_EQ("/a | x=1=2", shown("/a?x=1=2"));
  EXPECT_EQ("/a | q=what?", shown("/a?q=what?"));
}

TEST(ParseTarget, DecodesTheQueryOnly) {
  EXPECT_EQ("/human%2Fx+y | a b=c d&e", shown("/human%2Fx+y?a%20b=c+d%26e"));
  EXPECT_EQ("/%zz |", shown("/%zz"));  // The routes decode paths, segment by segment.
}

TEST(ParseTarget, AcceptsWholeUrls) {
  EXPECT_EQ("/v1/x | a=1", shown("http://localhost:8283/v1/x?a=1"));
  EXPECT_EQ("/ |", shown("https://localhost"));
  EXPECT_EQ("/ | a=1", shown("http://localhost?a=1"));
}

TEST(ParseTarget, RefusesWhatIsNoTarget) {
  EXPECT_EQ("refused", shown(""));
  EXPECT_EQ("refused", shown("*"));
  EXPECT_EQ("refused", shown("localhost:80"));
  EXPECT_EQ("refused", shown("/a?x=%"));
  EXPECT_EQ("refused", shown("/a?%z=1"));
  EXPECT_EQ("refused", shown("/a#b"));
}

std::string head(const Response& response, const HttpFraming& framing = {}) {
  std::string out;
  append_http_head(out, response, framing, "today");
  std::string lines;
  for (const char c : out) {
    if (c != '\r') lines.push_back(c == '\n' ? '|' : c);
  }
  return lines;
}

TEST(HttpHead, SaysJsonAndTheLengthOfABody) {
  EXPECT_EQ("HTTP/1.1 200 OK|content-type: application/json|content-length: 2|date: today||",
            head({.status = 200, .headers = {}, .body = "{}"}));
  EXPECT_EQ("HTTP/1.1 404 Not Found|content-length: 0|date: today||",
            head({.status = 404, .headers = {}, .body = ""}));
  EXPECT_EQ("HTTP/1.1 204 No Content|date: today||", head({.status = 204, .headers = {}, .body = ""}));
}

TEST(HttpHead, KeepsTheHandlersHeadersButNotItsFraming) {
  EXPECT_EQ("HTTP/1.1 200 OK|Content-Type: text/html|Varve-Position: 1:8|content-length: 1|date: today||",
            head({.status = 200,
                  .headers = {{"Varve-Position", "1:8"},
                              {"Content-Type", "text/html"},
                              {"Content-Length", "7"},
                              {"Transfer-Encoding", "chunked"},
                              {"Connection", "upgrade"}},
                  .body = "x"}));
}

TEST(HttpHead, LetsNoValueStartALineOfItsOwn) {
  EXPECT_EQ("HTTP/1.1 307 Temporary Redirect|location: /a  set-cookie: b|content-length: 0|date: today||",
            head({.status = 307, .headers = {{"location", "/a\r\nset-cookie: b"}}, .body = ""}));
}

TEST(HttpHead, SaysWhetherTheConnectionStays) {
  const Response response{.status = 200, .headers = {}, .body = ""};
  EXPECT_EQ("HTTP/1.1 200 OK|content-length: 0|date: today|connection: close||",
            head(response, {.http_1_0 = false, .keep_alive = false, .with_body = true}));
  EXPECT_EQ("HTTP/1.1 200 OK|content-length: 0|date: today|connection: keep-alive||",
            head(response, {.http_1_0 = true, .keep_alive = true, .with_body = true}));
}

TEST(HttpDate, IsPrintedAsTheStandardWantsIt) {
  HttpDate date;
  EXPECT_EQ("Sun, 06 Nov 1994 08:49:37 GMT", date.text(WallTime{784'111'777'000'000}));
  EXPECT_EQ("Sun, 06 Nov 1994 08:49:37 GMT", date.text(WallTime{784'111'777'999'999}));
  EXPECT_EQ("Mon, 29 Feb 2016 23:59:59 GMT", date.text(WallTime{1'456'790'399'000'000}));
}

}  // namespace
}  // namespace varve
