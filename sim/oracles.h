// Oracles: what must hold in every state of a simulated world, by the numbers of ARCHITECTURE.md. They read
// the world's durable things directly and decode the log by themselves.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "projections/fold.h"
#include "sim/violation.h"
#include "sim/world.h"

namespace varve::sim {

class Oracles {
 public:
  explicit Oracles(const World& world);
  // Of durable things that lie elsewhere; all must outlive the oracles.
  Oracles(const MemoryLogStorage& log, const MemoryViewStorage& views,
          const MemorySnapshotStorage& snapshots);

  // After every step: the log is append-only (I1), and whenever a view transaction has happened, the views
  // equal the fold of the log up to their checkpoint (I4), with it (I5).
  void after_step();
  // An answer acknowledged these positions to a client.
  void acknowledged(const std::vector<LogPosition>& positions);
  // At rest: I1 to I3 over the whole log, I7 for resident actors and snapshots, I12 for every row.
  void at_rest(World& world);
  // The same with the node that runs, or none.
  void at_rest(Node* node);

  const std::vector<Violation>& violations() const { return violations_; }

 private:
  struct Shadow {
    explicit Shadow(Partition partition) : fold(partition, Checkpoint{}, {}) {}
    PartitionFold fold;
    MemoryViewStorage storage;
    std::uint64_t version = 0;     // Of the checkpoint that was compared last.
    std::size_t records_seen = 0;  // Of the log, and their hash.
    std::uint64_t hash = 0;
  };
  void fail(std::string invariant, std::string what) {
    violations_.push_back({std::move(invariant), std::move(what)});
  }
  void check_append_only(Partition partition, Shadow& shadow);
  void check_views(Partition partition, Shadow& shadow);
  void check_partition_of_rows();
  void check_log(Partition partition);
  void check_states(Node* node);

  const MemoryLogStorage& log_;
  const MemoryViewStorage& views_;
  const MemorySnapshotStorage& snapshots_;
  std::vector<Shadow> shadows_;
  std::set<LogPosition> acknowledged_;
  std::vector<Violation> violations_;
};

}  // namespace varve::sim
