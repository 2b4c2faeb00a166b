// What the numbers and texts in the columns of the views mean to people, and how they are shown to them.
// Pure.
#pragma once

#include <cstdint>
#include <string>

#include "projections/schema.h"

namespace varve {

enum class Meaning : std::uint8_t { text, integer, boolean, time };
Meaning meaning_of(View view, std::size_t column);

// As JSON, times as text: "Name: Ann.", 17, true, "2026-11-25T22:10:03.123456Z", null.
std::string shown_value(View view, std::size_t column, const Value& value);

// What models and clients have chosen, without what a terminal would obey.
std::string printable(std::string text);

// The row's id, of a view with two of them both: "block-..", "agent-.. red".
std::string shown_key(View view, const Row& row);

// Long texts are cut where they do not differ: 80 bytes before the difference are shown and
// kShownBytesMax in all.
struct ShownPair {
  std::string before;
  std::string after;
};
inline constexpr std::size_t kShownBytesMax = 400;
ShownPair shown_pair(const std::string& before, const std::string& after);
std::string shown_alone(const std::string& text);

}  // namespace varve
