// ProcessTable: which processes of a cluster are alive, also those that own no partition and are in no claim,
// as they say themselves: each writes its row every kProcessBeat, and is taken for gone when it has not for
// kProcessLife. It is for people to look at; nothing is decided by it.
//
// Thread: the Env's.
#pragma once

#include <string>
#include <vector>

#include "runtime/task.h"
#include "runtime/time.h"

namespace varve {

inline constexpr Duration kProcessBeat = std::chrono::seconds{5};
inline constexpr Duration kProcessLife = std::chrono::seconds{15};

struct ProcessSelf {
  std::string cluster;
  std::string node;  // Drawn at every start.
  std::string url;
  std::vector<std::string> roles;
};

struct ProcessSeen {
  std::string node;
  std::string url;
  std::vector<std::string> roles;
  std::int64_t seen_seconds = 0;  // Ago.
};

class ProcessTable {
 public:
  ProcessTable() = default;
  ProcessTable(const ProcessTable&) = delete;
  ProcessTable& operator=(const ProcessTable&) = delete;
  virtual ~ProcessTable() = default;

  // Is alive now. What has been dead for long may be forgotten on the way.
  virtual Task<> keep(ProcessSelf self) = 0;
  // Is gone.
  virtual Task<> leave(std::string node) = 0;
  // Those of the cluster that are alive, ordered by node.
  virtual Task<std::vector<ProcessSeen>> seen(std::string cluster) = 0;
};

}  // namespace varve
