// OtherPlace: a second server with a log of its own, of another cluster, in the same simulated world: where
// agents are carried to. One node over memory stores; its machine may die and come back. A model of its own
// answers everybody with what he said.
//
// Promise: every oracle of a cluster watches its log, views and states. Its lines are not those of the
// cluster's nodes: whoever reads traces gives it those under its name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/cluster_oracles.h"
#include "sim/network.h"

namespace varve::sim {

class OtherPlace {
 public:
  static constexpr const char* kName = "elsewhere";
  static constexpr const char* kUrl = "http://elsewhere:8283";
  struct Site {
    Scheduler& scheduler;
    Network& network;
    std::uint32_t partitions = 1;
    std::uint64_t seed = 0;
  };
  explicit OtherPlace(Site site);
  ~OtherPlace();
  OtherPlace(const OtherPlace&) = delete;
  OtherPlace& operator=(const OtherPlace&) = delete;

  void boot();
  void crash();
  // Dies, and comes back when so much time has passed.
  void crash_for(Duration down);
  bool up() const { return life_ != nullptr; }

  // A line under its name.
  void on_trace(Incarnation incarnation, std::string_view line);
  void after_step() { oracles_->after_step(); }
  void acknowledged(const std::vector<LogPosition>& positions) { oracles_->acknowledged(positions); }
  // Why it is not at rest.
  std::optional<std::string> pending() { return oracles_->pending(); }
  void at_rest() { oracles_->at_rest(); }
  const std::vector<Violation>& violations() const { return oracles_->violations(); }
  const LogOracle& log() const { return oracles_->log(); }

 private:
  struct Life;
  struct Stores;
  std::vector<Resident> residents();

  Site site_;
  Rng seeds_;
  SimEnv world_;  // Never dies.
  std::unique_ptr<Stores> stores_;
  std::unique_ptr<ClusterOracles> oracles_;
  std::unique_ptr<Life> life_;
};

}  // namespace varve::sim
