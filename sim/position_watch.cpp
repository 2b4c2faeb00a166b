#include "sim/position_watch.h"

#include <algorithm>

namespace varve::sim {

class PositionWatch::Store final : public ViewStore {
 public:
  Store(PositionWatch& watch, ViewStore& store) : watch_(watch), store_(store) {}

  Task<LoadedCheckpoint> load(Partition partition) override {
    const Positions before = watch_.newest_;
    auto loaded = co_await store_.load(partition);
    if (loaded) watch_.shown(partition, loaded->checkpoint.next, before);
    co_return loaded;
  }

  Task<CommitOutcome> commit(Batch batch) override {
    const Partition partition = batch.partition;
    const Offset next = batch.checkpoint.next;
    auto outcome = co_await store_.commit(std::move(batch));
    if (outcome && *outcome == CommitOutcome::committed) watch_.committed(partition, next);
    co_return outcome;
  }

  Task<> read(std::function<Status(ViewReader&)> work) override {
    const Positions before = watch_.newest_;
    const auto now = std::make_shared<Positions>();
    std::function<Status(ViewReader&)> looking = [now, partitions = watch_.partitions_,
                                                  work = std::move(work)](ViewReader& reader) -> Status {
      for (std::uint32_t i = 0; i < partitions; ++i) {
        const auto checkpoint = reader.checkpoint(Partition{i});
        if (!checkpoint) return checkpoint.error();
        (*now)[Partition{i}] = checkpoint->next;
      }
      return work(reader);
    };
    Status status = co_await store_.read(std::move(looking));
    if (status) {
      for (const auto& [partition, next] : *now) watch_.shown(partition, next, before);
    }
    co_return status;
  }

 private:
  PositionWatch& watch_;
  ViewStore& store_;
};

std::unique_ptr<ViewStore> PositionWatch::before(ViewStore& store) {
  return std::make_unique<Store>(*this, store);
}

void PositionWatch::shown(Partition partition, Offset now, const Positions& before) {
  const auto found = before.find(partition);
  if (found != before.end() && now < found->second) {
    broken_.push_back("a read of partition " + std::to_string(partition.value()) +
                      " shows the views up to offset " + std::to_string(now.value()) +
                      ", after one had shown them up to " + std::to_string(found->second.value()));
  }
  committed(partition, now);
}

void PositionWatch::committed(Partition partition, Offset now) {
  Offset& newest = newest_[partition];
  newest = std::max(newest, now);
}

}  // namespace varve::sim
