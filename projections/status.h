// How far the views are: what `varve projections list|status` and GET /v1/varve/projections tell. Asks the
// views, and the log for its ends and for the time of the oldest record that is not folded; changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "projections/generations.h"

namespace varve {

struct ProjectionPartition {
  Partition partition;
  Checkpoint checkpoint;
  std::optional<Offset> end;  // Of the log; nothing if it could not be asked.
  // For how long the oldest record that is not folded has been in the log; 0 if all are.
  std::optional<std::int64_t> behind_us;

  // Offsets, which have gaps: of records it is the number at most.
  std::optional<std::uint64_t> lag() const;
};

struct ProjectionStatus {
  GenerationsSeen generations;
  std::vector<ProjectionPartition> partitions;
  std::vector<QuarantineRow> quarantine;  // The first row of each parked stream.
  std::string log_fault;                  // Why the log could not be asked; empty = it was.
};

Task<ProjectionStatus> projection_status(Env& env, EventLog& log, ViewStore& views, Generations& generations);

// {"projection":"core","generation":2,"next":null,"views":["messages"..],
//  "partitions":[{"partition","version","next_offset","end","lag","lag_seconds","at","digests":{..}}..],
//  "quarantined":[{"stream","partition","offset","event","type","reason"}..],"log_fault":null}
std::string projection_json(const ProjectionStatus& status);

}  // namespace varve
