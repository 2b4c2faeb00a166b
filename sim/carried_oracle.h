// CarriedOracle: streams that were carried from one log to another, log against log, at rest:
//
// - I4: what was carried is what the source's log holds up to the export, event by event, each with its time
//   and its command, under its own ids or under new ones; it is sealed.
// - I2: each of them is there once, however often and in whatever pieces it was sent; so is the seal.
// - I1: of a stream that has moved everything that counts at the source is at the target.
#pragma once

#include "sim/log_oracle.h"

namespace varve::sim {

struct CarriedStream {
  StreamId origin;  // At the source.
  StreamId stream;  // At the target.
  std::uint64_t events = 0;
  bool moved = false;  // The source has let it go.
};

void check_carried(const LogOracle& source, const LogOracle& target, const CarriedStream& carried,
                   Violations& violations);

// Agents that the log says have moved, each with its new place.
std::map<StreamId, std::string> moved_agents(const LogOracle& log);

}  // namespace varve::sim
