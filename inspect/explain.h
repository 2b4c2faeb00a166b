// Explain: the chain of events that made a row what it is, field by field, each with its command and cause.
//
// A row is named by its id, as the API prints it: message-<uuid>, block-<uuid>, agent-<uuid>, run-<uuid>,
// step-<uuid>, tool-<uuid>. A field is a column of its view; besides, messages have `in_context`, and agents
// `blocks` (what is attached).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "inspect/causes.h"
#include "projections/schema.h"

namespace varve {

struct RowName {
  View view = View::agents;
  std::string id;
  std::optional<std::string> field;
};
// Errc::invalid_argument says which ids and fields there are. `field` may be empty; "block-<uuid>.value"
// names one, too.
Result<RowName> parse_row_name(std::string row, std::string field);

// An event that has touched the row.
struct Touch {
  LogPosition position;
  WallTime at;
  std::string type;  // Of the event; "Ruling" for one that let rows appear.
  StreamId stream;
  Sequence sequence;
  CommandId command;
  Cause cause;
  std::string carried = {};  // As ReplayedEvent has it.
};

struct FieldChange {
  std::size_t touch = 0;              // Which of the events.
  std::optional<std::string> before;  // JSON; nothing: the row was not there.
  std::optional<std::string> after;   // Nothing: the row was closed.
};

struct ExplainedField {
  std::string name;
  std::vector<FieldChange> chain;  // Oldest first.
};

struct Explanation {
  RowName row;
  bool is_there = false;  // At the end of the log.
  std::vector<Touch> touches;
  std::vector<ExplainedField> fields;  // The asked one, or all that have a chain.
  std::vector<std::string> remarks;    // Damaged records, parked events that may be missing here.
};

// Errc::not_found if no event of the log made such a row.
Task<Explanation> explain(EventLog& log, RowName row);

std::string explanation_text(const Explanation& explanation);
// One JSON object without a line's end.
std::string explanation_json(const Explanation& explanation);

}  // namespace varve
