#include "projections/active_view_store.h"

#include <utility>

namespace varve {

Task<LoadedCheckpoint> ActiveViewStore::load(Partition partition) {
  const std::shared_ptr<ViewStore> store = store_;
  const std::uint64_t switches = switches_;
  auto loaded = co_await store->load(partition);
  if (switches != switches_) co_return Error{Errc::unavailable, "the views were switched meanwhile"};
  loaded_[partition] = switches;
  co_return loaded;
}

Task<CommitOutcome> ActiveViewStore::commit(Batch batch) {
  while (held_) co_await changed_.wait(env_, kNever);
  const auto loaded = loaded_.find(batch.partition);
  if (loaded == loaded_.end() || loaded->second != switches_) co_return CommitOutcome::lost_race;
  const std::shared_ptr<ViewStore> store = store_;
  ++committing_;
  auto outcome = co_await store->commit(std::move(batch));
  --committing_;
  changed_.notify_all();
  co_return outcome;
}

Task<> ActiveViewStore::read(std::function<Status(ViewReader&)> work) {
  const std::shared_ptr<ViewStore> store = store_;
  co_return co_await store->read(std::move(work));
}

Task<> ActiveViewStore::hold(MonoTime deadline) {
  held_ = true;
  while (committing_ > 0 && env_.now() < deadline) co_await changed_.wait(env_, deadline);
  if (committing_ == 0) co_return ok();
  release();
  co_return Error{Errc::unavailable, "a batch of the views took too long"};
}

void ActiveViewStore::release() {
  held_ = false;
  changed_.notify_all();
}

std::shared_ptr<ViewStore> ActiveViewStore::replace(std::shared_ptr<ViewStore> next) {
  std::swap(store_, next);
  ++switches_;
  release();
  return next;
}

}  // namespace varve
