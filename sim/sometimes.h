// Sometimes: situations that are worth nothing if they never happen. Each is counted where it happens
// (sim/counters.h, or a node's own counters), and a soak of enough seeds that has not met one fails and names
// it: something that injects faults or leads clients has gone blind.
//
// SometimesWatch counts those that only the whole trace shows: who believed what while somebody else did.
// Pure.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sim/counters.h"

namespace varve::sim {

struct Sometimes {
  const char* id;  // Of the counter.
  // A soak of so many must have met it. Measured in windows of 100 seeds: so many miss it by chance less than
  // once in a thousand times.
  std::uint64_t seeds;
  const char* why;
};
// Of situations that the swarm does not lead to: tests of the component meet them.
inline constexpr std::uint64_t kNotInSoaks = std::numeric_limits<std::uint64_t>::max();

const std::vector<Sometimes>& sometimes();

class SometimesWatch {
 public:
  explicit SometimesWatch(Counters& counters) : counters_(counters) {}

  // Of every line of the trace, as it is printed.
  void on_line(std::string_view line);

 private:
  using Node = std::string;
  // What a node believes about a partition.
  struct Belief {
    bool claiming = false;
    bool serving = false;
    std::uint64_t epoch = 0;
    std::set<std::uint64_t> under_way;  // Commits, by index.
  };
  void of_owner(const Node& node, std::string_view rest);
  void of_read(std::string_view rest);
  void serves(const Node& node, const std::string& partition, std::uint64_t epoch);
  void crashed(const Node& node);
  void paused(const Node& node);
  void resumed(const Node& node);
  // Somebody else serves it under a newer epoch.
  bool overtaken(const Node& node, const std::string& partition, const Belief& belief) const;

  Counters& counters_;
  std::map<std::string, std::map<Node, Belief>> partitions_;
};

}  // namespace varve::sim
