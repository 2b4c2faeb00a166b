// The archive that carries streams from one log to another: lines of text, compressed with zstd
// (docs/teleport.md). Each line is a frame, its hash before it:
//
//   <64 hexadecimal digits> {"kind":"header","format":"varve-teleport","v":1,"source":"varve",..}
//   <64 hexadecimal digits> {"kind":"tool","tool":{..}}
//   <64 hexadecimal digits> {"kind":"record","stream":"agent-..","seq":1,"at":US,"cmd":{..},"events":[..]}
//   <64 hexadecimal digits> {"kind":"seal","frames":N,"records":N,"events":N}
//
// A frame's hash is the SHA-256 of the hash before it, a space, and its JSON, so what has been changed,
// moved, left out or cut off is found and named. Events are carried as their source wrote them: type, v,
// data. An absent one ({"absent":true}) was skipped there by a ruling.
//
// Promises: memory for one frame and what has come of the next; an archive without its seal is not whole.
// Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "eventlog/record.h"

namespace varve {

inline constexpr std::string_view kArchiveFormat = "varve-teleport";
inline constexpr std::int64_t kArchiveVersion = 1;
// More than any record has.
inline constexpr std::size_t kFrameBytesMax = kRecordBytesMax + (std::size_t{1} << 20U);

struct ArchiveHeader {
  std::string source;  // The cluster.
  std::string cut;     // Of its log: what is in the archive happened up to there.
  std::int64_t tools = 0;
  std::int64_t agents = 0;
  std::int64_t blocks = 0;
  std::int64_t records = 0;
  std::int64_t events = 0;
  std::vector<std::string> left_out;  // A sentence about each agent that was asked for by "all" in vain.
  friend bool operator==(const ArchiveHeader&, const ArchiveHeader&) = default;
};
struct ArchiveTool {
  ToolValue tool;
  friend bool operator==(const ArchiveTool&, const ArchiveTool&) = default;
};
struct ArchiveEvent {
  std::string type;  // Empty: absent.
  std::int64_t version = 0;
  std::string data;  // JSON, as it was written.
  friend bool operator==(const ArchiveEvent&, const ArchiveEvent&) = default;
};
// What one record of the source's log holds of one stream.
struct ArchiveRecord {
  StreamId stream;
  Sequence first;  // Of its first event.
  WallTime at;
  CommandRef command;
  std::vector<ArchiveEvent> events;
  friend bool operator==(const ArchiveRecord&, const ArchiveRecord&) = default;
};
struct ArchiveSeal {
  std::int64_t frames = 0;  // Before it.
  std::int64_t records = 0;
  std::int64_t events = 0;
  friend bool operator==(const ArchiveSeal&, const ArchiveSeal&) = default;
};
// In the place of all that should follow: the source could not go on.
struct ArchiveFailure {
  std::string why;
  friend bool operator==(const ArchiveFailure&, const ArchiveFailure&) = default;
};
using ArchiveFrame = std::variant<ArchiveHeader, ArchiveTool, ArchiveRecord, ArchiveSeal, ArchiveFailure>;

// "record of agent-.., events 3 to 5"
std::string describe(const ArchiveFrame& frame);

class ArchiveWriter {
 public:
  ArchiveWriter();
  ~ArchiveWriter();
  ArchiveWriter(const ArchiveWriter&) = delete;
  ArchiveWriter& operator=(const ArchiveWriter&) = delete;

  void write(const ArchiveFrame& frame);
  // The seal, with what was counted.
  void seal();
  // Nothing is written after a failure or the seal.
  void fail(const std::string& why);
  // The bytes that have come of it since the last call; may be empty until the end.
  std::string take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class ArchiveReader {
 public:
  ArchiveReader();
  ~ArchiveReader();
  ArchiveReader(const ArchiveReader&) = delete;
  ArchiveReader& operator=(const ArchiveReader&) = delete;

  // More bytes of the archive.
  void feed(std::string_view bytes);
  // The next frame; nothing: it needs more bytes. Errc::corrupt names the frame that is damaged and what was
  // expected of it; after that there are no more.
  Result<std::optional<ArchiveFrame>> next();
  // When there are no more bytes: Errc::corrupt if the seal has not come.
  Status end() const;

  // Frames that have come.
  std::int64_t frames() const;
  // Of the last one: after the seal, what names the archive.
  const std::string& hash() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace varve
