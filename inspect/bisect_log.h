// What `varve bisect` and GET /v1/varve/bisect answer: a question about a log in words, from its cuts to the
// record that made the condition true, replayed with all that it has changed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inspect/bisect_views.h"
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
  bool by_views = false;                 // Else the log was folded from its start.
  std::string why_not;                   // If nothing was found: a sentence.
  std::optional<ReplayedRecord> record;  // That was found.
  std::vector<std::string> remarks;      // What is not as it should be.
};

// By folding the whole log in memory. Errc::invalid_argument for a cut that is none, or does not come before
// the other.
Task<BisectReport> bisect_log(EventLog& log, BisectQuestion question);

// Whether the log may be played again from its start: to show what the record has changed, and if the views
// cannot answer. Without it the record is shown by itself.
enum class Play : bool { never, if_needed };
// By the views, Find::any alone. If they cannot be asked (they lie behind, or are another log's), by the log,
// and a remark says why; Errc::conflict if that may not be.
Task<BisectReport> bisect_by_views(AskedViews asked, BisectQuestion question, Play play);
// The remark of that.
std::string by_log_because(const std::string& why);

// Lines for people, each with its end; of what was found.
std::string bisect_text(const BisectReport& report, Find find, bool colour);
// One JSON object without a line's end.
std::string bisect_json(const BisectReport& report, const BisectQuestion& question);

}  // namespace varve
