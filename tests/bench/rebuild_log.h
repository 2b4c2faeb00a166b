// A log as a busy server leaves it, written straight into a data directory by the log's own writer: for the
// benchmark of rebuilds, which needs millions of events within a minute.
#pragma once

#include <cstdint>
#include <string>

namespace varve::bench {

struct LogPlan {
  std::string directory;  // Made if it is missing; must hold no log.
  std::uint64_t events = 0;
  std::uint64_t agents = 1'000;
  std::uint32_t partitions = 4;
  std::uint64_t seed = 1;
};

struct LogWritten {
  std::uint64_t events = 0;
  std::uint64_t records = 0;
  double seconds = 0;
};

// Agents that talk, call tools, change blocks and tags, and drop old messages from their context. Ends the
// process with a sentence if something fails.
LogWritten write_log(const LogPlan& plan);

[[noreturn]] void give_up(const std::string& why);

}  // namespace varve::bench
