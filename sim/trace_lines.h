// TraceLines: what the lines of a run's trace mean: which lane a line belongs to (a node, a client, the log
// ..), what kind of thing it tells, which lines are one message, and how long something lasted (a node was
// down, paused, cut off; owned a partition). For the page that draws a run.
//
// Pure. A line that it does not know is of kind "other"; it never fails.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/time.h"

namespace varve::sim {

struct TraceLine {
  MonoTime at;
  std::uint64_t step = 0;
  std::string text;
};

// Each has a colour and a switch on the page.
enum class TraceKind : unsigned char {
  boot,
  crash,
  pause,  // And its end.
  fault,  // Links, clocks, stores, disks, the log's leaders.
  claim,
  serve,  // And its end.
  commit,
  read,
  request,
  answer,
  group,
  log,
  model,
  other,
};
inline constexpr std::size_t kTraceKinds = 14;
const char* to_string(TraceKind kind);

struct TraceMessage {
  std::size_t sent_line = 0;
  std::size_t came_line = 0;  // The line of its arrival, or of its end.
  std::size_t from = 0;       // Lanes.
  std::size_t to = 0;
  bool answer = false;  // Drawn when it arrives: when it left is not traced.
  bool lost = false;    // Or broken, or refused.
};

struct TraceBand {
  enum class Kind : unsigned char { down, paused, cut_off, one_way, owns };
  Kind kind = Kind::down;
  std::size_t lane = 0;
  MonoTime from;
  MonoTime to;
  std::string label;
};
const char* to_string(TraceBand::Kind kind);

struct TraceModel {
  std::vector<std::string> lanes;    // Clients, nodes, then the rest of the world.
  std::vector<std::size_t> lane_of;  // Of each line.
  std::vector<TraceKind> kind_of;
  std::vector<TraceMessage> messages;
  std::vector<TraceBand> bands;
};
TraceModel model_of(const std::vector<TraceLine>& lines);

}  // namespace varve::sim
