// What a message is searched by: its words. Every store finds by these words and by nothing else, so that
// FTS5, tsvector and a plain scan agree. No stemming, no stop words, no rank by relevance.
//
// A word is a run of ASCII letters and digits and of characters beyond ASCII; ASCII letters count as lower
// case. Everything else of ASCII separates words, as do the no-break space and General Punctuation (U+2000 to
// U+206F): models write dashes and curly quotes. Other characters are compared by their bytes: no case, no
// accents, no composition, and Chinese or Japanese text without spaces is one long word. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "projections/schema.h"

namespace varve {

// A longer word is cut to its first characters, in messages and in queries alike.
inline constexpr std::size_t kSearchWordBytesMax = 64;
// What a message says after so many words is not found: PostgreSQL counts no position beyond 16,383.
inline constexpr std::size_t kSearchWordsPerMessageMax = 16'000;
// Later words of a query are ignored.
inline constexpr std::size_t kSearchWordsPerQueryMax = 32;
// Raise it with every change of what is found: stores then index their messages anew.
inline constexpr std::int64_t kSearchVersion = 1;

// The words of a text, each followed by one space but the last.
std::string search_words(std::string_view text);

// What a message must hold, all of it: single words, and phrases as words with one space between them. Text
// between two double quotes is a phrase; a last quote without a partner only separates. Nothing is an
// operator.
std::vector<std::string> search_phrases(std::string_view query);

// True if `words` (of search_words) holds every phrase, as whole words. There must be a phrase.
bool holds_phrases(std::string_view words, const std::vector<std::string>& phrases);

// True if messages of this role are found. Not `system`: every agent has that text, and it is no
// conversation.
bool is_searched(std::string_view role);

// The words of a message, from the role and the content of its row; empty if its role is not searched.
std::string message_words(std::string_view role, const std::string& content);

}  // namespace varve
