// The scenarios `disk` and `rebuild`: the lifecycle story, or that of rebuilt views, on the embedded server
// with its SQLite files on a simulated disk.
// The sweep runs it once for every disk operation, with the machine standing still at that operation.
//
// After every boot and at the end: the log verifies, holds everything that was acknowledged and everything
// that the views had folded before the crash; the views are the fold of the log; snapshots are states that
// the log gives.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/disk_node.h"
#include "sim/sweep.h"

namespace varve::sim {

// What a test does to the world at its end.
class DiskStage {
 public:
  virtual ~DiskStage() = default;
  virtual Disk& disk() = 0;
  virtual DiskNode& node() = 0;
  // Boots if the node is down, and gives it time to recover and to fold.
  virtual Status settle() = 0;
  // Runs a task of the node to its end.
  virtual Status run(Task<> task) = 0;
};

// What is played.
enum class DiskTale : unsigned char {
  lifecycle,
  rebuild,  // sim/stories/rebuild.h
};

struct DiskRunOptions {
  DiskTale tale = DiskTale::lifecycle;
  std::uint64_t seed = 1;
  std::uint64_t crash_at_operation = 0;  // 0 = only the crash of the story itself.
  DiskNode::Death death = DiskNode::Death::power;
  // With faults, the node is killed or loses its power again and again, until the faults end.
  Disk::Faults faults;
  bool nemesis = false;
  bool full_disk = false;  // The disk is full for some of that time.
  bool print_trace = false;
  std::optional<Tape> tape;  // Its decisions instead of the seed's.
  bool record = false;       // What was decided, in the result's tape.
  Scheduler::LineReader on_line;
  // At the end, with everything at rest; what it says is a failure.
  std::function<std::string(DiskStage&)> at_the_end;
};

struct DiskRunResult {
  std::uint64_t steps = 0;
  std::uint64_t operations = 0;  // Of the disk.
  std::uint64_t trace_hash = 0;
  std::uint64_t content_hash = 0;  // Of every file at the end.
  std::vector<std::string> failures;
  Counters counters;
  Tape tape;
};

DiskRunResult run_disk_lifecycle(const DiskRunOptions& options);

// Stands still at every `stride`-th operation, beginning with `first`.
struct DiskSweep {
  std::uint64_t seed = 1;
  std::uint64_t first = 1;
  std::uint64_t stride = 1;
  DiskNode::Death death = DiskNode::Death::power;
  DiskTale tale = DiskTale::lifecycle;
};
SweepResult sweep_disk_lifecycle(const DiskSweep& sweep);

}  // namespace varve::sim
