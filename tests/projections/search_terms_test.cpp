// What a word is, what a query asks for, and when a text holds it: all tables.
#include "projections/search_terms.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/utf8.h"

namespace varve::test {
namespace {

// "word|a phrase".
std::string phrases_of(std::string_view query) {
  std::string out;
  for (const std::string& phrase : search_phrases(query)) out += (out.empty() ? "" : "|") + phrase;
  return out;
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

std::size_t count_of(std::string_view text, char wanted) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), wanted));
}

TEST(SearchTerms, WordsOfATextInAscii) {
  struct Case {
    std::string_view text;
    std::string_view words;
  };
  const Case cases[] = {
      {"", ""},
      {" \t\n.,;", ""},
      {"hello", "hello"},
      {"Hello, WORLD!", "hello world"},
      {"  two\twords\n", "two words"},
      {"it's don't", "it s don t"},
      {"snake_case kebab-case a.b/c", "snake case kebab case a b c"},
      {"3.14 and 2024-01-02", "3 14 and 2024 01 02"},
      {"C++ C# f(x)=y", "c c f x y"},
      {"[`@{ /:", ""},
      {"AZaz09", "azaz09"},
      {std::string_view{"a\0b\x7f"
                        "c",
                        5},
       "a b c"},
  };
  for (const Case& one : cases) EXPECT_EQ(search_words(one.text), one.words) << one.text;
}

TEST(SearchTerms, BeyondAsciiBytesAreCompared) {
  struct Case {
    std::string_view text;
    std::string_view words;
  };
  const Case cases[] = {
      {"Müller trinkt Öl", "müller trinkt Öl"},                  // No case beyond ASCII.
      {"caf\xc3\xa9 cafe\xcc\x81", "caf\xc3\xa9 cafe\xcc\x81"},  // Nor composition.
      {"Привет, мир", "Привет мир"},
      {"日本語。テスト", "日本語。テスト"},  // No spaces, no words.
      {"😀ok 😀", "😀ok 😀"},
      {"memory\u2014like \u201cquoted\u201d don\u2019t wait\u2026", "memory like quoted don t wait"},
      {"a\u00a0b\u2000c\u206fd", "a b c d"},
      {"a\u2070b \u20acx", "a\u2070b \u20acx"},  // Just beyond the separators.
      {"\u2014\u2013", ""},
      {"x\xe2\x80", "x\xe2\x80"},  // Ill-formed text ends somewhere too.
  };
  for (const Case& one : cases) EXPECT_EQ(search_words(one.text), one.words) << one.text;
}

TEST(SearchTerms, LongWordsAreCutBetweenCharacters) {
  const std::string limit(kSearchWordBytesMax, 'x');
  EXPECT_EQ(search_words(limit), limit);
  EXPECT_EQ(search_words(limit + "yz next"), limit + " next");
  EXPECT_EQ(phrases_of(limit + "other"), limit);
  const std::string odd = "x" + repeated("ä", kSearchWordBytesMax);
  const std::string cut = search_words(odd);
  EXPECT_EQ(cut.size(), kSearchWordBytesMax - 1);
  EXPECT_TRUE(is_text(cut));
}

TEST(SearchTerms, AMessageHasSoManyWords) {
  const std::string words = search_words(repeated("w ", kSearchWordsPerMessageMax) + "beyond");
  EXPECT_EQ(count_of(words, 'w'), kSearchWordsPerMessageMax);
  EXPECT_EQ(words.find("beyond"), std::string::npos);
}

TEST(SearchTerms, PhrasesOfAQuery) {
  struct Case {
    std::string_view query;
    std::string_view phrases;
  };
  const Case cases[] = {
      {"", ""},
      {"\"", ""},
      {"\"\"", ""},
      {"\" . \" -", ""},
      {"hello World", "hello|world"},
      {"kebab-case", "kebab|case"},
      {"\"Hello, world\"", "hello world"},
      {"a \"b c\" d", "a|b c|d"},
      {"a\"b c\"d", "a|b c|d"},
      {"\"a b\"\"c d\"", "a b|c d"},
      {"\"a b", "a|b"},  // No partner: it only separates.
      {"\"a b\" \"c d", "a b|c|d"},
      {"\"a b\" c d\"", "a b|c|d"},
      {"AND OR NOT NEAR(a b, 3)", "and|or|not|near|a|b|3"},
      {"a* ^b -c +d words:e {f} (g)", "a|b|c|d|words|e|f|g"},
      {"'; DROP TABLE messages; --", "drop|table|messages"},
      {"\u201cnot a phrase\u201d", "not|a|phrase"},
  };
  for (const Case& one : cases) EXPECT_EQ(phrases_of(one.query), one.phrases) << one.query;
}

TEST(SearchTerms, AQueryHasSoManyWords) {
  const std::string words = repeated("w ", kSearchWordsPerQueryMax);
  EXPECT_EQ(search_phrases(words).size(), kSearchWordsPerQueryMax);
  EXPECT_EQ(search_phrases(words + "beyond"), search_phrases(words));
  // A phrase is cut where the words end, and nothing comes after it.
  const auto cut = search_phrases(repeated("w ", kSearchWordsPerQueryMax - 2) + "\"a b c\" d");
  ASSERT_EQ(cut.size(), kSearchWordsPerQueryMax - 1);
  EXPECT_EQ(cut.back(), "a b");
  EXPECT_EQ(search_phrases("\"" + words + "beyond\" d").size(), 1U);
}

TEST(SearchTerms, ATextHoldsEveryPhraseAsWholeWords) {
  struct Case {
    std::string_view text;
    std::string_view query;
    bool held;
  };
  const Case cases[] = {
      {"the quick brown fox", "fox quick", true},
      {"the quick brown fox", "foxes", false},
      {"the quick brown fox", "fo", false},
      {"the quick brown fox", "ox", false},
      {"the quick brown fox", "quick cat", false},
      {"the quick brown fox", "\"quick brown\" the", true},
      {"the quick brown fox", "\"brown quick\"", false},
      {"the quick brown fox", "\"quick fox\"", false},
      {"the quick brown fox", "\"he quick\"", false},
      {"the quick-brown; Fox", "\"quick brown fox\"", true},
      {"fox", "fox fox", true},
      {"fox", "\"fox fox\"", false},
      {"", "fox", false},
      {"Öl", "öl", false},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(holds_phrases(search_words(one.text), search_phrases(one.query)), one.held) << one.query;
  }
}

TEST(SearchTerms, TheWordsOfAMessageAreThoseOfItsText) {
  struct Case {
    std::string_view role;
    std::string_view content;
    std::string_view words;
  };
  const Case cases[] = {
      {"user", R"("Hello \"you\"\nthere")", "hello you there"},
      {"assistant",
       R"([{"type":"text","text":"One "},{"type":"image","url":"no"},{"type":"text","text":"two"}])",
       "one two"},
      {"tool", R"("{\"status\": \"OK\"}")", "status ok"},
      {"user", R"("")", ""},
      {"user", "not JSON", ""},
      {"user", "{}", ""},
      {"system", R"("You are")", ""},
      {"summary", R"("We spoke")", ""},
      {"approval", R"("yes")", ""},
      {"", R"("x")", ""},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(message_words(one.role, std::string{one.content}), one.words) << one.role << one.content;
  }
}

}  // namespace
}  // namespace varve::test
