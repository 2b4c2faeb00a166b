// ClusterOracles: what must hold in every state of a simulated world, by the numbers of ARCHITECTURE.md and
// the names of the specification. They see durable things through views (so that they serve every log and
// store), what owners trace, and what the world tells them.
//
//   log_oracle.h    I1 I2 I3, and what counts in the log
//   owner_oracle.h  AgreePair OneWriter NoLateEffect DecidedOn, and I1 of answers
//   view_oracle.h   I4 I5 I12
//   state_oracle.h  I7
//   history.h       I6 Linearizable, of what clients saw
//   here            I8, and pending() for I9
//
// after_step() costs nothing while nothing has changed; at_rest() looks at everything.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/history.h"
#include "sim/key_chain.h"
#include "sim/log_oracle.h"
#include "sim/owner_oracle.h"
#include "sim/state_oracle.h"
#include "sim/view_oracle.h"

namespace varve::sim {

// Any storage with partitions() and records(), which must outlive it: MemoryLogStorage, SimLogStorage.
template <class Storage>
class StorageLogView final : public LogView {
 public:
  explicit StorageLogView(const Storage& storage) : storage_(storage) {}
  std::uint32_t partitions() const override { return storage_.partitions(); }
  const std::vector<LogRecord>& records(Partition partition) const override {
    return storage_.records(partition);
  }

 private:
  const Storage& storage_;
};

class ClusterOracles {
 public:
  struct Options {
    // Whether an incarnation takes steps, or may do so again: Scheduler::alive.
    std::function<bool(Incarnation)> alive = [](Incarnation) { return true; };
    const History* history = nullptr;  // Of all clients.
    HistoryOptions history_options;
    bool snapshots_are_kept = false;  // As in StateOracle.
    KeyChain* keys = nullptr;         // Of erasable agents; null: there are none.
  };
  // All must outlive it; `states` may be null.
  ClusterOracles(const LogView& log, ViewsView& views, StatesView* states, Options options);
  ClusterOracles(const ClusterOracles&) = delete;
  ClusterOracles& operator=(const ClusterOracles&) = delete;

  // ---- what the world tells ----

  // For Scheduler::on_trace.
  void on_trace(Incarnation incarnation, std::string_view node, std::string_view line) {
    owners_.on_trace(incarnation, node, line);
    if (line.starts_with(kViolationLine)) take_violation(line.substr(kViolationLine.size()));
  }
  // An answer told a client that these positions hold what it asked for (Varve-Position).
  void acknowledged(const std::vector<LogPosition>& positions);
  // Something outside was attempted: a tool's effect, by the intent that the log holds for it.
  void effect(const std::string& intent);
  // A declared failover of the views took its newest transactions back.
  void views_went_back() { views_.went_back(); }
  // From now on nothing is expected of this partition: the world has truncated or damaged its log.
  void give_up(Partition partition) { log_.give_up(partition); }

  // ---- what is asked of them ----

  void after_step() {
    log_.look();
    views_.look();
    if (states_) states_->look();
  }
  void at_rest();
  // Why the world is not at rest (I9); nothing if it is. For the time after faults have stopped.
  std::optional<std::string> pending();
  // pending() at the end of that time: a violation of I9.
  void check_drained();

  const std::vector<Violation>& violations() const { return violations_.list(); }
  bool clean() const { return violations_.list().empty(); }
  // What at_rest() has found of the clients' history.
  const HistoryVerdict& history() const { return history_; }
  const LogOracle& log() const { return log_; }

 private:
  void take_violation(std::string_view told);

  Options options_;
  Violations violations_;
  LogOracle log_;
  OwnerOracle owners_;
  ViewOracle views_;
  std::optional<StateOracle> states_;
  std::map<std::string, std::uint64_t> effects_;
  HistoryVerdict history_;
};

}  // namespace varve::sim
