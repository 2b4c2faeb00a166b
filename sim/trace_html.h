// TraceHtml: a run as one page that needs nothing else: lanes for clients, nodes and the parts of the world
// over virtual time, with messages, crashes, pauses, claims, faults and violations, and the list of lines
// beside it.
//
// Pure. Of a longer run the last kTraceLinesMax lines are on the page, which says so; how long nodes were
// down, paused and owners is known from all of them.
#pragma once

#include <string>
#include <vector>

#include "sim/trace_lines.h"
#include "sim/violation.h"

namespace varve::sim {

inline constexpr std::size_t kTraceLinesMax = 20'000;

struct TracePage {
  std::string title;                  // "v1:4711"
  std::string config;                 // One line.
  std::vector<Violation> violations;  // They stopped the run: they are drawn at its end.
  std::vector<TraceLine> lines;
};
std::string html_of(const TracePage& page);

// sim/trace_template.cpp: everything but the data, which stands where kDataHere is.
extern const char* const kTraceTemplate;
inline constexpr std::string_view kDataHere = "@DATA@";

}  // namespace varve::sim
