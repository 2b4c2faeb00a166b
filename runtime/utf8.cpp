#include "runtime/utf8.h"

#include <cstdint>
#include <cstring>

namespace varve {
namespace {

std::uint8_t byte_at(std::string_view text, std::size_t i) {
  return static_cast<std::uint8_t>(text[i]);
}

// Length of the well-formed character at `i`, 0 if there is none. Unicode 15, table 3-7.
std::size_t character_at(std::string_view text, std::size_t i) {
  const std::uint8_t lead = byte_at(text, i);
  if (lead < 0x80) return lead == 0 ? 0 : 1;
  std::size_t length = 0;
  std::uint8_t low = 0x80;
  std::uint8_t high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  if (length == 0 || i + length > text.size()) return 0;
  if (byte_at(text, i + 1) < low || byte_at(text, i + 1) > high) return 0;
  for (std::size_t k = 2; k < length; ++k) {
    if ((byte_at(text, i + k) & 0xc0U) != 0x80U) return 0;
  }
  return length;
}

// How much of the beginning is ASCII without U+0000, by whole words: most of what there is.
std::size_t plain_prefix(std::string_view text) {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHigh = 0x8080808080808080;
  std::size_t i = 0;
  for (; i + sizeof(std::uint64_t) <= text.size(); i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + i, sizeof(word));
    if (((word | (word - kOnes)) & kHigh) != 0) break;  // A high bit, or a zero that was borrowed for.
  }
  return i;
}

}  // namespace

bool is_text(std::string_view text) {
  std::size_t i = 0;
  while (true) {
    i += plain_prefix(text.substr(i));
    if (i == text.size()) return true;
    const std::size_t length = character_at(text, i);
    if (length == 0) return false;
    i += length;
  }
}

std::string mend_text(std::string_view text) {
  std::string mended;
  mended.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = character_at(text, i);
    if (length == 0) {
      mended += "\xef\xbf\xbd";
      ++i;
    } else {
      mended.append(text, i, length);
      i += length;
    }
  }
  return mended;
}

std::string_view prefix_of_text(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (byte_at(text, end) & 0xc0U) == 0x80U) --end;
  return text.substr(0, end);
}

}  // namespace varve
