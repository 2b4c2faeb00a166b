// What counts as text: well-formed UTF-8 (so no surrogates) without U+0000, because PostgreSQL keeps nothing
// else and JSON libraries disagree about the rest. Pure.
#pragma once

#include <string>
#include <string_view>

namespace varve {

// True if `text` may be stored.
bool is_text(std::string_view text);

// Replaces every ill-formed byte and U+0000 by U+FFFD: for output of models and tools, which is mended
// rather than refused.
std::string mend_text(std::string_view text);

// The longest prefix of `text` of at most `bytes_max` bytes that does not cut a character.
std::string_view prefix_of_text(std::string_view text, std::size_t bytes_max);

}  // namespace varve
