// FateOracle: what committers were told of their records, against a log that is looked at later: NoLateEffect
// (what was told as "never" does not count) and I1 (what was told as "done" counts, where it was said to be).
// For worlds whose log can be read at rest only, as that of a simulated disk; owner_oracle.h sees it at once.
#pragma once

#include <map>
#include <string_view>
#include <tuple>

#include "sim/log_oracle.h"
#include "sim/owner_trace.h"

namespace varve::sim {

class FateOracle {
 public:
  // Any line of any incarnation; those of owners count.
  void on_trace(std::string_view line);
  // With the log as readers have it now.
  std::vector<Violation> broken(const LogOracle& log) const;

 private:
  // Of the record, with its command: an n may be given again.
  using Key = std::tuple<Partition, Epoch, Index, CommandId>;
  enum class Told : unsigned char { nothing, never, done };
  struct Fate {
    Told told = Told::nothing;
    Offset at;  // Of what is done.
  };
  std::map<Key, Fate> fates_;
};

}  // namespace varve::sim
