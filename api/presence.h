// Presence: says every few seconds that this process is alive, in the table that its cluster shares. A beat
// that fails is only counted: the next one comes. Thread: the Env's. Lifetime: the Env's tasks end before it
// does.
#pragma once

#include "projections/process_table.h"
#include "runtime/sync.h"

namespace varve {

class Presence {
 public:
  // `processes` outlives it.
  Presence(Env& env, ProcessTable& processes, ProcessSelf self)
      : env_(env), processes_(processes), self_(std::move(self)) {}

  // Once.
  void start();
  // Takes the row away, so that nobody need wait for it to grow old. Ends at the deadline, done or not.
  Task<> stop(MonoTime deadline);

 private:
  Task<> beat();
  Task<> leave();

  Env& env_;
  ProcessTable& processes_;
  ProcessSelf self_;
  bool stopping_ = false;
  bool beating_ = false;  // A beat is under way.
  Notifier stopped_;
};

}  // namespace varve
