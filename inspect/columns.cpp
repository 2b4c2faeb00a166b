#include "inspect/columns.h"

#include <algorithm>
#include <array>

#include "runtime/json.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

constexpr std::size_t kBeforeDifference = 80;

bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U;
}

std::string cut(const std::string& text, std::size_t from) {
  const std::string_view rest = std::string_view(text).substr(std::min(from, text.size()));
  std::string shown = from == 0 ? "" : "...";
  const std::string_view kept = prefix_of_text(rest, kShownBytesMax);
  shown.append(kept);
  if (kept.size() < rest.size()) shown.append("... (" + std::to_string(text.size()) + " bytes)");
  return shown;
}

}  // namespace

Meaning meaning_of(View view, std::size_t column) {
  const Column& of = schema_of(view).columns[column];
  if (of.type == ColumnType::text) return Meaning::text;
  constexpr std::array<std::string_view, 4> kBooleans{"is_error", "is_approval_request", "read_only",
                                                      "importing"};
  if (std::find(kBooleans.begin(), kBooleans.end(), of.name) != kBooleans.end()) return Meaning::boolean;
  const bool time = of.name.ends_with("_at") || of.name == "last_run_completion";
  return time ? Meaning::time : Meaning::integer;
}

std::string shown_value(View view, std::size_t column, const Value& value) {
  std::string out;
  if (const auto* text = std::get_if<std::string>(&value)) {
    append_json_string(out, *text);
  } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
    const Meaning meaning = meaning_of(view, column);
    if (meaning == Meaning::boolean) return *number != 0 ? "true" : "false";
    if (meaning == Meaning::time) return "\"" + format_rfc3339_micros(WallTime{*number}) + "\"";
    return std::to_string(*number);
  } else {
    return "null";
  }
  return out;
}

std::string shown_key(View view, const Row& row) {
  std::string key;
  for (std::size_t i = 0; i < schema_of(view).key_columns; ++i) {
    const auto* text = std::get_if<std::string>(&row.values[i]);
    key.append(i == 0 ? "" : " ").append(text != nullptr ? *text : shown_value(view, i, row.values[i]));
  }
  return key;
}

std::string printable(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return text;
}

std::string shown_alone(const std::string& text) {
  return cut(text, 0);
}

ShownPair shown_pair(const std::string& before, const std::string& after) {
  std::size_t same = 0;
  while (same < before.size() && same < after.size() && before[same] == after[same]) ++same;
  std::size_t from = same > kBeforeDifference ? same - kBeforeDifference : 0;
  while (from > 0 && continues_character(before[from])) --from;
  if (before.size() <= kShownBytesMax && after.size() <= kShownBytesMax) from = 0;
  return {cut(before, from), cut(after, from)};
}

}  // namespace varve
