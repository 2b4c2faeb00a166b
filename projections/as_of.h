// as_of: from what somebody names (a time, a position, a cut) to the cut that it means, exactly.
//
// - A time T takes in every partition what has `at` <= T; later than all, what is there.
// - A position takes its partition up to there, and the others up to its record's `at`.
// - A cut is taken as it is.
// Asked again with the cut that came of it, the same rows are read: nothing before a cut ever changes, but
// for streams in quarantine that are tried again with success.
//
// From time to offset: the batches of the views narrow it down (ViewReader::batch_at), and one batch of each
// partition is read in the log. Before a time that is newer than the views, it waits for the views to pass
// the log's ends of this moment; so what was acknowledged before is in the cut. Needs no server: a log and a
// view store do. Thread: the Env's.
#pragma once

#include <optional>
#include <string_view>
#include <variant>

#include "eventlog/cut.h"
#include "eventlog/event_log.h"
#include "projections/view_progress.h"

namespace varve {

using AsOf = std::variant<WallTime, LogPosition, Cut>;

// A time as 2026-01-31T12:00:00Z (RFC 3339, also cut short), a position as 0:17, a cut as 0:17,1:88 (one of a
// single partition as 0:17,). Errc::invalid_argument with what was expected.
Result<AsOf> parse_as_of(std::string_view text);

// All of them outlive the call.
struct AsOfSources {
  Env& env;
  EventLog& log;
  ViewStore& views;
  ViewProgress& progress;
};

struct ResolvedCut {
  Cut cut;
  bool behind = false;  // The views did not pass the log's ends in time: the cut is what they have.
};

// The views have passed the cut that it returns. Waits until `deadline` for positions that are not there.
// Errc::not_found: one lies beyond the log's end, which the sentence names. Errc::unavailable: it is in the
// log, and the views have not got to it. Errc::invalid_argument: the log has no such partition.
Task<ResolvedCut> resolve_as_of(AsOfSources sources, AsOf asked, MonoTime deadline);

// ---- without waiting for the views ----

// Of the records that the views hold those with `at` <= time. Both outlive the calls.
Task<Cut> held_up_to(EventLog& log, ViewStore& views, WallTime time);

struct CountedRecord {
  LogPosition position;
  WallTime at;
};
// The newest record that counts, lies at `position` or before it in its partition, and behind all before
// `from`. The views hold `position`.
Task<std::optional<CountedRecord>> newest_counted(EventLog& log, ViewStore& views, LogPosition position,
                                                  Offset from);

}  // namespace varve
