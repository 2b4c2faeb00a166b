// Counters: what has happened in a simulated world, by name: injected faults ("fault.log.lost_ack") and
// situations that a soak must have met ("sometimes.append.unknown_was_committed"). Outlives incarnations.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace varve::sim {

class Counters {
 public:
  void add(std::string_view name, std::uint64_t by = 1) {
    const auto found = all_.find(name);
    if (found == all_.end()) {
      all_.emplace(name, by);
    } else {
      found->second += by;
    }
  }
  std::uint64_t of(std::string_view name) const {
    const auto found = all_.find(name);
    return found == all_.end() ? 0 : found->second;
  }
  const std::map<std::string, std::uint64_t, std::less<>>& all() const { return all_; }

 private:
  std::map<std::string, std::uint64_t, std::less<>> all_;
};

}  // namespace varve::sim
