// The nouns of the log, each its own type, and how they are printed. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/hash.h"
#include "runtime/result.h"
#include "runtime/rng.h"
#include "runtime/tagged.h"
#include "runtime/time.h"

namespace varve {

// The history of one actor: "agent-<uuid4>", "block-<uuid4>", "catalogue". It is also the entity's id in the
// API.
using StreamId = Tagged<struct StreamIdTag, std::string>;
// Place of an event in its stream: 1, 2, 3 ... no gaps; 0 = no event yet.
using Sequence = Tagged<struct SequenceTag, std::uint64_t>;
// One totally ordered part of the log.
using Partition = Tagged<struct PartitionTag, std::uint32_t>;
// Place of a record in its partition; increasing, may have gaps, never used to count.
using Offset = Tagged<struct OffsetTag, std::uint64_t>;
// Number of an ownership of a partition; each admitted claim raises it by one. 0 = never claimed.
using Epoch = Tagged<struct EpochTag, std::uint64_t>;
// Index of a commit in its epoch: 1, 2, 3 ... no gaps; 0 = none yet.
using Index = Tagged<struct IndexTag, std::uint64_t>;

constexpr Sequence next(Sequence s) {
  return Sequence{s.value() + 1};
}
constexpr Offset next(Offset o) {
  return Offset{o.value() + 1};
}
constexpr Epoch next(Epoch e) {
  return Epoch{e.value() + 1};
}
constexpr Index next(Index i) {
  return Index{i.value() + 1};
}

inline constexpr std::uint32_t kPartitionsDefault = 4;
inline constexpr std::uint32_t kPartitionsMax = 1024;

// XXH64(stream id, seed 0) % partitions: frozen for ever by a golden test, because a stream may never move.
Partition partition_of(const StreamId& stream, std::uint32_t partitions);

struct LogPosition {
  Partition partition;
  Offset offset;

  friend auto operator<=>(const LogPosition&, const LogPosition&) = default;
};

// "3:1042"
std::string to_string(const LogPosition& position);
// Comma-separated positions: "1:88,3:1042".
std::string to_string(const std::vector<LogPosition>& positions);
// Errc::invalid_argument if `text` is not such a list, or names a partition twice.
Result<std::vector<LogPosition>> parse_positions(std::string_view text);

// Adds `position`, keeping the newest of each partition, ordered by partition.
void merge_position(std::vector<LogPosition>& positions, const LogPosition& position);

// A record by place and content (XXH64 of its bytes), re-read by every reader when it starts: another record
// at the place means that the log was truncated or exchanged. hash 0 at offset 0 with `none` = nothing read
// yet.
struct Mark {
  bool none = true;
  Offset offset;
  std::uint64_t hash = 0;

  friend bool operator==(const Mark&, const Mark&) = default;
};

// 128 bits that name a command before it leaves the API node.
struct CommandId {
  std::array<std::uint8_t, 16> bytes{};
  friend auto operator<=>(const CommandId&, const CommandId&) = default;
};
// First 8 bytes of SHA-256 over route and canonical body: tells a retry from another use of its key.
using CommandHash = Tagged<struct CommandHashTag, std::uint64_t>;

// 32 and 16 hexadecimal digits, and back.
std::string to_hex(const CommandId& id);
std::string to_hex(CommandHash hash);
Result<CommandId> parse_command_id(std::string_view hex);
Result<CommandHash> parse_command_hash(std::string_view hex);

CommandId command_id_from_text(std::string_view text);  // First 16 bytes of its SHA-256.
CommandHash command_hash(std::string_view route, std::string_view canonical_body);

// The id of whatever a command creates: SHA-256 of (command id, kind, ordinal, attempt) shaped as uuid4, so
// that a retry creates nothing new. `attempt` counts up until a birth hashes to its parent's partition.
std::string derived_uuid(const CommandId& command, std::string_view kind, std::uint64_t ordinal,
                         std::uint64_t attempt = 0);
// "block-<derived uuid>" in partition `home`.
StreamId derived_stream_in(const CommandId& command, std::string_view kind, std::uint64_t ordinal,
                           Partition home, std::uint32_t partitions);

}  // namespace varve
