// ProjectionWorker: folds one partition of the log into the views, batch by batch, each in one transaction
// with its checkpoint. After a lost race, an unknown outcome or any error it drops all its memory and loads
// it again in one read (rule 18). While a full batch is being committed, the next one is folded. Several
// workers on one partition are harmless: the compare-and-set lets one win. Thread: the Env's.
#pragma once

#include <memory>
#include <optional>

#include "eventlog/event_log.h"
#include "projections/fold.h"
#include "projections/view_progress.h"

namespace varve {

inline constexpr std::size_t kBatchChangesMax = 4000;

// Rows that nobody is known to wait for wait for the next ones so long: the beginning of a turn and its end,
// or what several callers wrote, are one transaction then.
inline constexpr std::chrono::milliseconds kGather{2};

class ProjectionWorker {
 public:
  struct Options {
    std::size_t changes_max = kBatchChangesMax;  // With so many a batch is full.
    // Zero where everybody waits at other processes, which this one does not hear of.
    Duration gather{kGather};
  };
  ProjectionWorker(Env& env, EventLog& log, ViewStore& store, ViewProgress& progress, Partition partition,
                   Options options)
      : env_(env), log_(log), store_(store), progress_(progress), partition_(partition), options_(options) {}
  ProjectionWorker(Env& env, EventLog& log, ViewStore& store, ViewProgress& progress, Partition partition)
      : ProjectionWorker(env, log, store, progress, partition, Options{}) {}

  // Runs until stop() or until something stops the partition for good: a damaged record, a truncated log,
  // rows that do not fit the log (a rebuild cures that). The Error is also in failure().
  Task<> run();
  void stop() { stopping_ = true; }
  const std::optional<Error>& failure() const { return failure_; }

 private:
  // From loading the checkpoint to the first thing that makes it load again.
  Task<> follow();
  // Waits for a moment for more than what lies before `next`, unless somebody waits for that. False: it did
  // not wait.
  boost::asio::awaitable<bool> gather(Offset next);
  // False = load again.
  Task<bool> commit(Batch batch);
  // At most one commit runs beside the folding. settle() waits for it: true if there is none.
  void commit_beside(Batch batch);
  Task<bool> settle();
  Task<bool> settle_and_commit(PartitionFold& fold);
  Task<> run_beside(Batch batch, std::shared_ptr<OneShot<bool>> outcome);
  // Takes a ruling that releases a stream, in a batch of its own.
  Task<> release(PartitionFold& fold, LogRecord record);
  Task<> find_rulings(Checkpoint checkpoint);

  Env& env_;
  EventLog& log_;
  ViewStore& store_;
  ViewProgress& progress_;
  Partition partition_;
  Options options_;
  bool stopping_ = false;
  // Of rulings that were in the log when this worker began. Facts of the log, not of the store: kept.
  std::optional<EventPlaces> ruled_;
  std::optional<Error> failure_;
  std::shared_ptr<OneShot<bool>> beside_;
};

}  // namespace varve
