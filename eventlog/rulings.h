// Rulings as the log holds them: which events are absent for everybody who folds their streams, and how to
// find the decisions about them. A ruling counts from its own position on; who folds the event before that
// has to stop at it, also if this program could read it, or a rebuild would differ from what was live.
#pragma once

#include <compare>
#include <cstdint>
#include <set>
#include <vector>

#include "eventlog/admission.h"
#include "eventlog/event_log.h"

namespace varve {

// An event, named by the record that holds it and its ordinal among its part's events.
struct EventPlace {
  StreamId stream;
  Offset offset;
  std::int64_t event = 0;
  friend auto operator<=>(const EventPlace&, const EventPlace&) = default;
};
using EventPlaces = std::set<EventPlace>;

inline EventPlace place_of(const Ruling& ruling) {
  return {ruling.stream, ruling.offset, ruling.event};
}

// False = it is no ruling, whatever else it is. Without decoding it.
bool may_be_ruling(const LogRecord& record);

struct FoundRuling {
  Offset at;
  Ruling ruling;
};

// The admitted rulings of [from, to), in order; `admission` is the state at `from`. Decodes nothing while it
// meets no ruling. Ends without an Error before a record that is damaged, and at the log's end if `to` lies
// behind it: whoever folds will name that. Errc::unavailable: try again.
Task<std::vector<FoundRuling>> rulings_in(EventLog& log, Partition partition, Offset from, Offset to,
                                          AdmissionState admission);

// The records at exactly these offsets, in their order. Errc::corrupt if one is not there.
Task<std::vector<LogRecord>> records_at(EventLog& log, Partition partition, std::vector<Offset> offsets);

}  // namespace varve
