// What simulated clients make of the answers they get: JSON and server-sent events, as values that the model
// can be compared with. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/model.h"
#include "sim/sim_client.h"

namespace varve::sim {

// One message of a turn, as a stream shows it, in parts or in pieces of parts.
struct StreamedMessage {
  std::string id;
  std::int64_t number = 0;                                 // The highest that any part of it carried.
  std::vector<std::pair<std::string, std::string>> parts;  // Type and text, pieces joined.
};

// What came over one connection of a stream, as far as it came.
struct StreamRead {
  std::string run;
  std::vector<StreamedMessage> messages;
  std::int64_t newest = 0;  // Whoever asks for what comes behind this number misses nothing.
  std::string stop_reason;  // Empty: the turn's end was not told.
  std::string error;        // The type of an error event.
  bool done = false;        // The closing mark came.
};
StreamRead read_stream(std::string_view body);

// The texts of a turn's replies, as Seen has them.
Texts replies_of(const std::vector<StreamedMessage>& messages);

// The answer of a whole exchange, and what it shows.
Outcome outcome_of(const Op& op, const Exchange& came);

// What else a success tells: the run of a turn and how it ended, runs that were cancelled, agents that an
// import made. Empty if it tells no such thing.
struct TurnTold {
  std::string run;
  std::string stop_reason;
};
TurnTold turn_told(const Exchange& came);
Texts runs_cancelled(const Exchange& came);
Texts agents_imported(const Exchange& came);

}  // namespace varve::sim
