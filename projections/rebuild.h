// Rebuild: makes the next generation of the views from the log, beside the active one, and puts it in its
// place: load (partitions in parallel, large batches, no secondary indexes), indexes, catch up, verify
// (the rows of every partition must add up to its digest), switch, remove the old one after a grace period.
//
// Promises: the active generation is read and folded into until the switch, and nobody who reads goes back.
// How far it is is in the next generation's own checkpoints: killed at any moment it can be run again, by
// anybody, and goes on. What may pass (a store or a log that is away) is tried again for kPatience. An Error
// leaves the next generation as it is: run again, or abort. Thread: the Env's; records are decoded, folded
// and summed on Lane::read, so that as many partitions are folded at a time as there are jobs and processors.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "projections/fold.h"
#include "projections/generations.h"
#include "runtime/sync.h"

namespace varve {

struct RebuildOptions {
  std::size_t jobs = 2;  // Partitions at a time, while it loads.
  // Larger ones are hardly faster, and what asks for a moment inside a batch reads the batch's records.
  std::size_t batch_changes = 8'000;
  std::size_t batch_bytes = std::size_t{16} << 20U;  // Of records.
  Duration grace = std::chrono::seconds{30};         // Between the switch and the end of the old generation.
  RowRewrite rewrite;                                // Of a fold that is not this program's.
};

struct RebuildProgress {
  enum class Phase : unsigned char {
    beginning,
    loading,
    indexing,
    catching_up,
    verifying,
    switching,
    waiting,
    done
  };
  Phase phase = Phase::beginning;
  std::uint64_t generation = 0;  // The next one.
  // Offsets, which have gaps: of all partitions together.
  std::uint64_t folded = 0;
  std::uint64_t end = 0;
  std::uint64_t resumed_at = 0;  // Of them were folded before this run.
  std::uint64_t rows = 0;        // Changes that this run has written.
  MonoTime begun;
};
const char* to_string(RebuildProgress::Phase phase);

class Rebuild {
 public:
  static constexpr Duration kPatience = std::chrono::minutes{2};

  Rebuild(Env& env, EventLog& log, Generations& generations, RebuildOptions options)
      : env_(env), log_(log), generations_(generations), options_(std::move(options)) {}

  // Once. Errc::cancelled after stop().
  Task<> run();
  void stop() { stopping_ = true; }
  const RebuildProgress& progress() const { return progress_; }

 private:
  using Ends = std::vector<Offset>;  // One per partition.

  Task<> work();
  Task<> load();
  Task<> load_up_to(Ends to);
  // Where the next generation is, by its own checkpoints.
  Task<> look_again();
  Task<> catch_up();
  Task<> verify();
  Task<> verify_once();
  Task<> switch_over();
  Task<> drop_old();

  Task<Ends> ends();
  // Folds every partition up to `ends`, `jobs` of them at a time.
  Task<> fold_all(Ends ends, std::size_t jobs);
  Task<> fold_next(std::shared_ptr<Ends> ends);
  // Tries again what may pass.
  Task<> fold(Partition partition, Offset to);
  Task<> fold_once(Partition partition, Offset to);
  // What one job on the lane folds with, and what it tells.
  struct Folding;
  struct Folded;
  static Result<Folded> fold_some(Folding& folding, std::size_t from);
  Task<> fold_records(std::shared_ptr<Folding> folding);
  Task<> fold_read(std::shared_ptr<Folding> folding);
  // False: it is a ruling that the indexes are needed for.
  Task<bool> take_ruling_at(std::shared_ptr<Folding> folding, std::size_t number);
  Task<> commit(Batch batch);
  Task<> follow(Partition partition);
  Task<> keep_alive();
  Status stopped() const;
  // Again and again while it may pass, for kPatience.
  Task<> patiently(std::function<Task<>()> work);
  void advance(Partition partition, Offset next);

  Env& env_;
  EventLog& log_;
  Generations& generations_;
  RebuildOptions options_;
  RebuildProgress progress_;
  bool stopping_ = false;
  bool following_ = false;  // Until the switch is done.
  bool ended_ = false;
  Notifier end_;
  std::optional<Error> failure_;      // Of a task of its own.
  std::vector<Offset> folded_;        // One per partition.
  std::set<Partition> waits_;         // At a ruling that releases a stream, which needs the indexes.
  std::uint32_t next_partition_ = 0;  // Of fold_all().
};

}  // namespace varve
