#include "eventlog/ids.h"

#include <algorithm>
#include <charconv>

namespace varve {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

void append_hex(std::string& out, std::uint8_t byte) {
  out.push_back(kDigits[byte >> 4U]);
  out.push_back(kDigits[byte & 15U]);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool parse_number(std::string_view text, std::uint64_t& value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc{} && rest == end && !text.empty();
}

template <std::size_t N>
bool parse_hex(std::string_view hex, std::array<std::uint8_t, N>& bytes) {
  if (hex.size() != 2 * N) return false;
  for (std::size_t i = 0; i < N; ++i) {
    const int high = hex_value(hex[2 * i]);
    const int low = hex_value(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return true;
}

}  // namespace

Partition partition_of(const StreamId& stream, std::uint32_t partitions) {
  CHECK(partitions > 0 && partitions <= kPartitionsMax);
  return Partition{static_cast<std::uint32_t>(xxh64(stream.value()) % partitions)};
}

std::string to_string(const LogPosition& position) {
  return std::to_string(position.partition.value()) + ":" + std::to_string(position.offset.value());
}

std::string to_string(const std::vector<LogPosition>& positions) {
  std::string text;
  for (const LogPosition& position : positions) {
    if (!text.empty()) text += ',';
    text += to_string(position);
  }
  return text;
}

Result<std::vector<LogPosition>> parse_positions(std::string_view text) {
  std::vector<LogPosition> positions;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view one = text.substr(0, comma);
    const bool nothing_follows = comma + 1 == text.size();  // A comma at the end.
    text.remove_prefix(std::min(comma + 1, text.size()));
    const std::size_t colon = one.find(':');
    std::uint64_t partition = 0;
    std::uint64_t offset = 0;
    if (colon == std::string_view::npos || !parse_number(one.substr(0, colon), partition) ||
        !parse_number(one.substr(colon + 1), offset) || partition >= kPartitionsMax || nothing_follows) {
      return Error{Errc::invalid_argument,
                   "a position is written PARTITION:OFFSET, as in 3:1042; not '" + std::string(one) + "'"};
    }
    const Partition named{static_cast<std::uint32_t>(partition)};
    for (const LogPosition& other : positions) {
      if (other.partition == named) {
        return Error{Errc::invalid_argument, "partition " + std::to_string(partition) + " is named twice"};
      }
    }
    positions.push_back({named, Offset{offset}});
  }
  std::sort(positions.begin(), positions.end());
  return positions;
}

void merge_position(std::vector<LogPosition>& positions, const LogPosition& position) {
  for (LogPosition& other : positions) {
    if (other.partition == position.partition) {
      other.offset = std::max(other.offset, position.offset);
      return;
    }
  }
  positions.push_back(position);
  std::sort(positions.begin(), positions.end());
}

std::string to_hex(const CommandId& id) {
  std::string text;
  text.reserve(32);
  for (const std::uint8_t byte : id.bytes) append_hex(text, byte);
  return text;
}

std::string to_hex(CommandHash hash) {
  std::string text;
  text.reserve(16);
  for (int shift = 56; shift >= 0; shift -= 8)
    append_hex(text, static_cast<std::uint8_t>(hash.value() >> shift));
  return text;
}

Result<CommandId> parse_command_id(std::string_view hex) {
  CommandId id;
  if (!parse_hex(hex, id.bytes))
    return Error{Errc::invalid_argument, "a command id is 32 hexadecimal digits"};
  return id;
}

Result<CommandHash> parse_command_hash(std::string_view hex) {
  std::array<std::uint8_t, 8> bytes{};
  if (!parse_hex(hex, bytes)) return Error{Errc::invalid_argument, "a command hash is 16 hexadecimal digits"};
  std::uint64_t value = 0;
  for (const std::uint8_t byte : bytes) value = value << 8U | byte;
  return CommandHash{value};
}

CommandId command_id_from_text(std::string_view text) {
  const auto digest = sha256(text);
  CommandId id;
  std::copy_n(digest.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

CommandHash command_hash(std::string_view route, std::string_view canonical_body) {
  std::string text{route};
  text += '\n';
  text += canonical_body;
  const auto digest = sha256(text);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8; ++i) value = value << 8U | digest[i];
  return CommandHash{value};
}

std::string derived_uuid(const CommandId& command, std::string_view kind, std::uint64_t ordinal,
                         std::uint64_t attempt) {
  std::string text = to_hex(command);
  text += '/';
  text += kind;
  text += '/' + std::to_string(ordinal) + '/' + std::to_string(attempt);
  const auto digest = sha256(text);
  std::array<std::uint8_t, 16> bytes{};
  std::copy_n(digest.begin(), bytes.size(), bytes.begin());
  return uuid4_from(bytes);
}

StreamId derived_stream_in(const CommandId& command, std::string_view kind, std::uint64_t ordinal,
                           Partition home, std::uint32_t partitions) {
  for (std::uint64_t attempt = 0;; ++attempt) {
    StreamId stream{std::string(kind) + "-" + derived_uuid(command, kind, ordinal, attempt)};
    if (partition_of(stream, partitions) == home) return stream;
  }
}

}  // namespace varve
