// StateOracle: I7. Snapshots and the states of actors in memory are states that the log gives, recovery rows
// say what a reader from the start would say, and with their snapshots they stand for everything before them.
// And of I8: no call of a tool has edited a block twice.
//
// It replays all commits that count by the LogOracle's admission, so it is asked at rest, not after a step.
// Of a stream with rulings, any number of them may have been met: before, it is corrupt at the event.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "actors/actor_state.h"
#include "eventlog/rulings.h"
#include "eventlog/snapshot_store.h"
#include "projections/memory_snapshot_store.h"
#include "sim/log_oracle.h"

namespace varve::sim {

// A running owner of a partition, or one that still believes it is.
struct Resident {
  std::string node;
  Partition partition;
  Offset next;  // What its reader has passed.
  std::function<std::optional<ActorState>(const StreamId&)> peek;
};

class StatesView {
 public:
  StatesView() = default;
  StatesView(const StatesView&) = delete;
  StatesView& operator=(const StatesView&) = delete;
  virtual ~StatesView() = default;
  virtual void snapshots(const std::function<void(const SnapshotRow&)>& visit) = 0;
  virtual std::optional<RecoveryRow> recovery(Partition partition) = 0;
  virtual std::vector<Resident> residents() = 0;
};

// The stored half over memory; `residents` lists the running half.
class MemoryStatesView final : public StatesView {
 public:
  // `storage` must outlive it.
  MemoryStatesView(const MemorySnapshotStorage& storage, std::function<std::vector<Resident>()> residents)
      : storage_(storage), residents_(std::move(residents)) {}
  void snapshots(const std::function<void(const SnapshotRow&)>& visit) override {
    for (const auto& [stream, row] : storage_.snapshots) visit(row);
  }
  std::optional<RecoveryRow> recovery(Partition partition) override {
    const auto found = storage_.recovery.find(partition);
    return found == storage_.recovery.end() ? std::nullopt : std::optional{found->second};
  }
  std::vector<Resident> residents() override { return residents_ ? residents_() : std::vector<Resident>{}; }

 private:
  const MemorySnapshotStorage& storage_;
  std::function<std::vector<Resident>()> residents_;
};

class StateOracle {
 public:
  struct Options {
    // The world loses and damages no snapshot rows: everything before a recovery row has its snapshot.
    bool snapshots_are_kept = false;
    // Opens the texts of an erasable stream's state, whoever has sealed them; null: there are none.
    std::function<void(ActorState&)> open = {};
  };
  // All must outlive it.
  StateOracle(LogOracle& log, StatesView& states, Violations& violations, Options options);

  // Recovery rows that have moved: what they stand for is in the snapshots from that moment on.
  void look();
  void at_rest();

 private:
  struct Step {
    const Commit* commit;
    std::size_t part;
    Offset offset;
  };
  using States = std::map<std::pair<StreamId, Sequence>, std::set<std::string>>;

  void replay();
  void replay_stream(const StreamId& stream, const std::vector<Step>& steps, const EventPlaces& absent);
  bool ruled(const StreamId& stream) const { return ruled_.contains(stream); }
  bool is_state(const StreamId& stream, Sequence sequence, const std::string& state) const;
  // As the replay of opened records has it.
  std::string opened(const std::string& state) const;
  // The stream's sequence after the last commit before `next`.
  Sequence sequence_before(const StreamId& stream, Offset next) const;
  void check_snapshot(const SnapshotRow& row);
  void check_recovery(const RecoveryRow& row);
  void check_moved(const RecoveryRow& row);
  void check_resident(const Resident& resident);

  LogOracle& log_;
  StatesView& states_;
  Violations& violations_;
  Options options_;
  States replayed_;  // Every state that every stream has ever had.
  std::map<StreamId, Partition> streams_;
  std::map<StreamId, EventPlaces> ruled_;
  std::map<StreamId, Sequence> snapshots_;    // Sound ones.
  std::map<Partition, std::uint64_t> moved_;  // The version of the recovery row that was looked at.
};

}  // namespace varve::sim
