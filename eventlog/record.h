// Record: what one append writes. A Commit (the events of one command), a Claim (a node takes a partition) or
// a Ruling (an operator's decision about a poisoned event), as one JSON object:
//
//   {"v":1,"kind":"commit","epoch":E,"n":N,"node":"..","at":MICROS,
//    "cmd":{"id":HEX32,"hash":HEX16,"client":true,"request":".."},
//    "parts":[{"stream":"agent-..","seq":S,"events":[{"type":"..","v":1,"data":{..}},..]},..]}
//   {"v":1,"kind":"claim","epoch":E,"id":HEX32,"cluster":"..","node":"..","url":"..","partitions":P,"at":US}
//   {"v":1,"kind":"ruling","epoch":E,"n":N,"node":"..","at":MICROS,"stream":"..","offset":O,"event":I}
//
// The first part of a commit is the stream that decided; further parts are births only (seq 1 of new streams
// in the same partition). A record whose bytes do not begin with {"v": is not ours (Foreign). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "eventlog/event.h"
#include "eventlog/ids.h"

namespace varve {

inline constexpr std::int64_t kRecordVersion = 1;
inline constexpr std::string_view kRecordMagic = "{\"v\":";

inline constexpr std::size_t kRecordBytesMax = std::size_t{10} << 20U;
inline constexpr std::size_t kBodyBytesMax = std::size_t{4} << 20U;      // Of a request.
inline constexpr std::size_t kSettingsBytesMax = std::size_t{4} << 20U;  // Of an agent, together.
inline constexpr std::size_t kOutputBytesMax = std::size_t{1}
                                               << 20U;  // Of a model or a tool; cut and marked.
inline constexpr std::size_t kBlockBytesMax = std::size_t{1} << 20U;
// A body may be stored twice in a record (text that JSON escapes, plus what the server adds).
static_assert(2 * kBodyBytesMax + (std::size_t{1} << 20U) <= kRecordBytesMax);

inline constexpr std::size_t kRequestIdBytesMax = 128;
// True for 1 to kRequestIdBytesMax printable ASCII characters without spaces.
bool is_request_id(std::string_view text);

struct CommandRef {
  CommandId id;
  CommandHash hash;
  bool client = false;  // Sent by a client: remembered in the stream's window of command ids.
  // Of the client's request that led to it, for people who look for one in logs and events; empty = unknown.
  // Nothing is decided by it: a retry may come with another one.
  std::string request_id = {};
  friend bool operator==(const CommandRef&, const CommandRef&) = default;
};

// An event that this program cannot read: poison for whoever folds it.
struct UnreadableEvent {
  std::string type;
  std::int64_t version = 0;
  std::string why;
  std::string data;  // JSON, as it came.
  friend bool operator==(const UnreadableEvent&, const UnreadableEvent&) = default;
};
using StoredEvent = std::variant<Event, UnreadableEvent>;

struct Part {
  StreamId stream;
  Sequence first;  // Sequence of the first event; the others follow.
  std::vector<StoredEvent> events;
  friend bool operator==(const Part&, const Part&) = default;
};

struct Commit {
  Epoch epoch;
  Index n;
  std::string node;
  WallTime at;
  CommandRef command;
  std::vector<Part> parts;
  friend bool operator==(const Commit&, const Commit&) = default;
};

struct Claim {
  Epoch epoch;
  CommandId id;  // Drawn for every attempt.
  std::string cluster;
  std::string node;  // Drawn at every process start.
  std::string url;
  std::uint32_t partitions = 0;
  WallTime at;
  friend bool operator==(const Claim&, const Claim&) = default;
};

struct Ruling {
  Epoch epoch;
  Index n;
  std::string node;
  WallTime at;
  StreamId stream;
  Offset offset;           // Of the record that holds the poisoned event.
  std::int64_t event = 0;  // Its ordinal among the part's events.
  friend bool operator==(const Ruling&, const Ruling&) = default;
};

// A record that is not ours. Readers skip, count and name it.
struct ForeignRecord {
  friend bool operator==(const ForeignRecord&, const ForeignRecord&) = default;
};

using Record = std::variant<Commit, Claim, Ruling, ForeignRecord>;

// Errc::resource_exhausted over kRecordBytesMax.
Result<std::string> encode_record(const Record& record);
// ForeignRecord for what is not ours. Errc::corrupt for our magic with malformed content or a newer version
// ("upgrade first"); both stop a reader, neither is ever skipped.
Result<Record> decode_record(std::string_view bytes);

WallTime time_of(const Record& record);

}  // namespace varve
