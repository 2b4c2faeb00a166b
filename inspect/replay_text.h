// A replayed record as `varve replay` prints it, for people and for programs. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "inspect/replay.h"

namespace varve {

struct ReplayStyle {
  bool diff = false;               // What was and what is, below each change.
  bool colour = false;             // For a terminal.
  std::optional<StreamId> stream;  // Of a commit only the events of this stream.
};

// Lines, each with its end.
std::string replay_text(const ReplayedRecord& record, const ReplayStyle& style);

// One JSON object without a line's end; docs/debugging.md names its fields, which do not change.
std::string replay_json(const ReplayedRecord& record, const ReplayStyle& style);
// The same of a record that the log itself calls damaged.
std::string damaged_json(const std::string& why);

// "opened", "changed", "closed"
const char* kind_of(const RowDelta& delta);
// The columns in which the versions of a changed row differ.
std::vector<std::size_t> changed_columns(const RowDelta& delta);

// JSON on several lines, for people.
std::string indented(const Json& json);

}  // namespace varve
