// Assignment: which partitions this node ought to own, as a consumer group says it. It is a hint: the log's
// claims alone decide who writes. What it is for is that nodes do not claim against each other for ever.
//
// Implementations: StaticAssignment (everything, for ever), sim's group, Kafka's consumer group. All pass
// tests/cluster/assignment_contract.h. Thread: the one of the Env it was made with.
#pragma once

#include <cstdint>
#include <vector>

#include "eventlog/ids.h"
#include "runtime/task.h"
#include "runtime/time.h"

namespace varve {

struct AssignmentChange {
  enum class Kind : unsigned char {
    assigned,  // These partitions, besides those that are held.
    revoked,   // Drain them and release() them: nobody else gets them before that or the coordinator's
               // time-out.
    lost,      // Somebody else may own them already: stop at once, release nothing.
  };
  Kind kind = Kind::assigned;
  std::uint64_t generation = 0;  // Of the group; never decreases.
  std::vector<Partition> partitions;
};

class Assignment {
 public:
  Assignment() = default;
  Assignment(const Assignment&) = delete;
  Assignment& operator=(const Assignment&) = delete;
  virtual ~Assignment() = default;

  // Joins the group at the first call. Changes come in order, each once. Errc::unavailable at the deadline.
  virtual Task<AssignmentChange> next(MonoTime deadline) = 0;
  // Whether the coordinator accepts, now, that this member holds the partition in the present generation:
  // asked right before every claim. Errc::unavailable: it cannot be reached.
  virtual Task<bool> prove(Partition partition) = 0;
  // Revoked partitions are drained. What is not held is ignored.
  virtual void release(std::vector<Partition> partitions) = 0;
  // Gives everything back. Later calls of next() find nothing.
  virtual Task<> leave(MonoTime deadline) = 0;
};

}  // namespace varve
