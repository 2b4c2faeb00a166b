// ActiveViewStore: the views that a process serves from, of whichever generation is active. A rebuild puts
// another store in the place of the present one; reads that are under way end on the old one.
//
// A batch is folded on a checkpoint of one generation and belongs to it alone: after the switch it has lost
// its race, and whoever folds loads the checkpoint of the new one. While the store is held, batches wait, so
// that the new generation can pass the old one. Thread: the Env's.
#pragma once

#include <map>
#include <memory>

#include "projections/view_store.h"
#include "runtime/sync.h"

namespace varve {

class ActiveViewStore final : public ViewStore {
 public:
  ActiveViewStore(Env& env, std::shared_ptr<ViewStore> store) : env_(env), store_(std::move(store)) {}

  Task<LoadedCheckpoint> load(Partition partition) override;
  Task<CommitOutcome> commit(Batch batch) override;
  Task<> read(std::function<Status(ViewReader&)> work) override;

  // From now on batches wait. Ends when none is under way; Errc::unavailable past the deadline, and they go
  // on.
  Task<> hold(MonoTime deadline);
  // They go on: with the store that was there, or with `next`. Gives back the old one, which reads may still
  // use.
  void release();
  std::shared_ptr<ViewStore> replace(std::shared_ptr<ViewStore> next);

 private:
  Env& env_;
  std::shared_ptr<ViewStore> store_;
  std::uint64_t switches_ = 0;
  std::map<Partition, std::uint64_t> loaded_;  // After how many switches.
  bool held_ = false;
  std::size_t committing_ = 0;
  Notifier changed_;
};

}  // namespace varve
