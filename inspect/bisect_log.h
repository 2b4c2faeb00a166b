// What `varve bisect` and GET /v1/varve/bisect answer: a question about a log in words, from its cuts to the
// record that made the condition true, replayed with all that it has changed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inspect/bisect.h"
#include "inspect/replay.h"

namespace varve {

struct BisectQuestion {
  std::shared_ptr<const Expression> where;
  std::optional<StreamId> about;
  std::string good;  // As History::cut_of() reads it; empty: the empty log.
  std::string bad;   // Empty: the end of the log.
  Find find = Find::any;
};

struct BisectReport {
  BisectAnswer answer;
  std::string why_not;                   // If nothing was found: a sentence.
  std::optional<ReplayedRecord> record;  // That was found.
  std::vector<std::string> remarks;      // History::remarks().
};

// Errc::invalid_argument for a cut that is none, or does not come before the other.
Task<BisectReport> bisect_log(EventLog& log, BisectQuestion question);

// Lines for people, each with its end; of what was found.
std::string bisect_text(const BisectReport& report, Find find, bool colour);
// One JSON object without a line's end.
std::string bisect_json(const BisectReport& report, const BisectQuestion& question);

}  // namespace varve
