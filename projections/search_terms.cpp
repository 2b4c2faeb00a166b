#include "projections/search_terms.h"

#include <algorithm>
#include <array>
#include <utility>

#include "eventlog/event.h"
#include "eventlog/sealed_text.h"
#include "runtime/check.h"
#include "runtime/utf8.h"

namespace varve {

namespace {

constexpr std::array<std::string_view, 3> kRoles{"user", "assistant", "tool"};

unsigned byte_at(std::string_view text, std::size_t at) {
  return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
}

// The bytes of the separator at `at`; 0: part of a word.
std::size_t separator_at(std::string_view text, std::size_t at) {
  const unsigned first = byte_at(text, at);
  if (first < 0x80U) {
    const bool letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z');
    return letter || (first >= '0' && first <= '9') ? 0 : 1;
  }
  const unsigned second = byte_at(text, at + 1);
  if (first == 0xc2U && second == 0xa0U) return 2;
  if (first != 0xe2U) return 0;
  const unsigned third = byte_at(text, at + 2);
  if (second == 0x80U && third >= 0x80U && third <= 0xbfU) return 3;
  return second == 0x81U && third >= 0x80U && third <= 0xafU ? 3 : 0;
}

// Bytes of the character at `at`, so that a separator is looked for only where a character begins.
std::size_t character_at(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  while (end < text.size() && (byte_at(text, end) & 0xc0U) == 0x80U) ++end;
  return end - at;
}

char folded(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Walks over a text word by word.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}

  // Appends the next word to `out`, with a space before it if there is something; false at the end.
  bool append_next(std::string& out) {
    while (at_ < text_.size()) {
      const std::size_t separator = separator_at(text_, at_);
      if (separator == 0) break;
      at_ += separator;
    }
    const std::size_t begin = at_;
    while (at_ < text_.size() && separator_at(text_, at_) == 0) at_ += character_at(text_, at_);
    if (begin == at_) return false;
    if (!out.empty()) out += ' ';
    for (const char c : prefix_of_text(text_.substr(begin, at_ - begin), kSearchWordBytesMax))
      out += folded(c);
    return true;
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::string search_words(std::string_view text) {
  std::string words;
  Words next{text};
  for (std::size_t count = 0; count < kSearchWordsPerMessageMax && next.append_next(words);) ++count;
  return words;
}

std::vector<std::string> search_phrases(std::string_view query) {
  std::vector<std::string> phrases;
  std::size_t left = kSearchWordsPerQueryMax;
  while (!query.empty() && left > 0) {
    const bool quoted = query.front() == '"' && query.find('"', 1) != std::string_view::npos;
    if (query.front() == '"') query.remove_prefix(1);
    const std::string_view part = query.substr(0, query.find('"'));
    query.remove_prefix(part.size() + (quoted ? 1 : 0));
    Words next{part};
    std::string phrase;
    for (; left > 0 && next.append_next(phrase); --left) {
      if (!quoted) phrases.push_back(std::exchange(phrase, {}));
    }
    if (!phrase.empty()) phrases.push_back(std::move(phrase));
  }
  return phrases;
}

bool holds_phrases(std::string_view words, const std::vector<std::string>& phrases) {
  CHECK(!phrases.empty());
  const std::string all = " " + std::string{words} + " ";
  return std::all_of(phrases.begin(), phrases.end(), [&all](const std::string& phrase) {
    return all.find(" " + phrase + " ") != std::string::npos;
  });
}

bool is_searched(std::string_view role) {
  return std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end();
}

std::string message_words(std::string_view role, const std::string& content) {
  // What is sealed is found by nothing.
  if (!is_searched(role) || is_sealed(TextKind::json, content)) return {};
  Message message;
  message.content = content;
  return search_words(text_of(message));
}

}  // namespace varve
