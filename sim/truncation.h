// Truncation: after a run has come to rest, the log of one partition loses records that have been read, as in
// a cluster that was restored from an older copy: while every node is down, or under running ones. Then
// (DESIGN.md, section 4) no reader that knows of a lost record goes on:
//
// - no node claims the partition, serves it or writes to it, if its recovery row knows of it, and nobody is
//   answered that a command to it was carried out;
// - its views stay as they are, if their checkpoint knows of it.
//
// Once, at the end of a run, behind the last look of every other oracle. Lifetime: ends before its world.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/cluster_world.h"
#include "sim/log_oracle.h"
#include "sim/sim_client.h"

namespace varve::sim {

class Truncation {
 public:
  Truncation(ClusterWorld& world, const LogOracle& log);
  ~Truncation();

  // For Scheduler::on_trace.
  void on_trace(std::string_view node, std::string_view line);
  // `step` as Scheduler::step. What is broken.
  std::vector<Violation> run(const std::function<bool()>& step);

 private:
  struct Cut {
    Partition partition;
    Offset end;
    StreamId agent;  // Of the partition; its birth is not lost.
  };
  std::optional<Cut> choose_cut();
  static Task<> knock(Truncation* self, Cut cut);

  ClusterWorld& world_;
  const LogOracle& log_;
  SimEnv env_;
  SimClient client_;
  std::string owner_;  // How what an owner of the partition says begins; empty: nothing was cut yet.
  Violations violations_;
};

}  // namespace varve::sim
