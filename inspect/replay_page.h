// A page of a replay, for those who ask over HTTP: some records of one partition as JSON, and where the next
// page begins. Each page plays the partition again from its start, so it holds nothing between two questions;
// it is bounded in records and in bytes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inspect/replay.h"

namespace varve {

inline constexpr std::size_t kReplayRecordsMax = 100;
inline constexpr std::size_t kReplayRecordsUsual = 50;
// With so many bytes a page ends, too; one record may be larger.
inline constexpr std::size_t kReplayBytesMax = 4U << 20U;

struct ReplayQuestion {
  std::optional<StreamId> stream;           // Only what concerns it; it is in `partition`.
  Partition partition;                      // Of the log.
  Offset from;                              // Records at this offset or behind it,
  std::optional<Offset> to;                 // and not behind this one.
  std::shared_ptr<const Expression> until;  // Null: no condition ends it.
  std::size_t records_max = kReplayRecordsUsual;
};

struct ReplayPage {
  std::vector<std::string> records;  // replay_json() of each, or damaged_json().
  std::optional<Offset> next;        // Where the next page begins; nothing: this was the last.
  bool held = false;                 // `until` holds behind the last record.
  bool known = true;                 // False: there is nothing of the stream, as far as this page has seen.
};

// Errc::unavailable: try again.
Task<ReplayPage> replay_page(EventLog& log, ReplayQuestion question);

// {"records":[..],"next":OFFSET or null,"held":true, false or, without a condition, null}
std::string replay_page_json(const ReplayPage& page, const ReplayQuestion& question);

}  // namespace varve
