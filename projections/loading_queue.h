// LoadingQueue: what is committed to a generation that a rebuild loads waits in memory and is written many
// batches at a time, in one transaction, while the next ones are folded.
//
// So "committed" promises only that the next batch fits: settle() tells whether all of it is in the store.
// After an Error whoever loads begins again where load() says. A process that dies loses what waited, its
// checkpoints too. Thread: the Env's; batches are packed on Lane::read.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "projections/packed_batch.h"
#include "runtime/env.h"

namespace varve {

class LoadingQueue {
 public:
  using Batches = std::vector<PackedBatch>;
  // One transaction, of batches that it may change; one at a time.
  using Write = std::function<Task<>(std::shared_ptr<Batches>)>;
  using Read = std::function<Task<LoadedCheckpoint>()>;

  // `window`: changes of one transaction; as many may wait. `env` must outlive this.
  LoadingQueue(Env& env, std::size_t window, Write write);
  ~LoadingQueue();
  LoadingQueue(const LoadingQueue&) = delete;
  LoadingQueue& operator=(const LoadingQueue&) = delete;

  // After everything that waits; nothing is written while `read` is at work.
  Task<LoadedCheckpoint> load(Partition partition, Read read);
  Task<CommitOutcome> commit(Batch batch);
  // Writes what waits. An Error: some of what was committed before is lost.
  Task<> settle();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// What a batch closes of an earlier one is closed in place. Left are closings of what was written before.
// Errc::corrupt: an entity is opened while it is open. Pure; for whoever writes.
Status close_in_place(LoadingQueue::Batches& batches);

}  // namespace varve
