#include "api/json_place.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace varve {
namespace {

constexpr std::size_t kKeyBytesMax = 80;  // Of a name in a message; longer ones are cut.
constexpr std::size_t kLevelsMax = 64;

struct Level {
  bool list = false;
  std::size_t index = 0;
  std::string key;
  bool value = false;  // Behind the colon of a member.
};

// The end of the string that begins at `start`, behind its quote.
std::size_t end_of_string(std::string_view text, std::size_t start) {
  std::size_t i = start + 1;
  while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
  return std::min(i + 1, text.size());
}

}  // namespace

std::string json_path_at(std::string_view text, std::size_t byte) {
  text = text.substr(0, std::min(byte, text.size()));
  std::vector<Level> levels;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') {
      const std::size_t end = end_of_string(text, i);
      if (!levels.empty() && !levels.back().list && !levels.back().value) {
        levels.back().key = std::string(text.substr(i + 1, std::min(end - i - 1, kKeyBytesMax)));
        if (levels.back().key.ends_with('"')) levels.back().key.pop_back();
      }
      i = end;
      continue;
    }
    if ((c == '{' || c == '[') && levels.size() < kLevelsMax) levels.push_back({c == '[', 0, {}, false});
    if ((c == '}' || c == ']') && !levels.empty()) levels.pop_back();
    if (c == ':' && !levels.empty()) levels.back().value = true;
    if (c == ',' && !levels.empty()) {
      ++levels.back().index;
      levels.back().value = false;
    }
    ++i;
  }
  std::string path;
  for (const Level& level : levels) {
    if (level.list) {
      path += "[" + std::to_string(level.index) + "]";
    } else if (!level.key.empty()) {
      path += (path.empty() ? "" : ".") + level.key;
    }
  }
  return path;
}

std::string place_of_error(std::string_view text, const Error& error) {
  constexpr std::string_view kStart = "JSON error at byte ";
  std::string_view message = error.message;
  if (!message.starts_with(kStart)) return {};
  message.remove_prefix(kStart.size());
  std::size_t byte = 0;
  const auto [rest, failed] = std::from_chars(message.data(), message.data() + message.size(), byte);
  if (failed != std::errc{}) return {};
  const std::string path = json_path_at(text, byte);
  return path.empty() ? "" : " (at " + path + ")";
}

}  // namespace varve
