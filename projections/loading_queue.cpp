#include "projections/loading_queue.h"

#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "runtime/suspend.h"
#include "runtime/sync.h"

namespace varve {

namespace {

struct EntityRef {
  Partition partition;
  std::string_view key;

  bool operator==(const EntityRef&) const = default;
};
struct EntityHash {
  std::size_t operator()(const EntityRef& entity) const {
    return std::hash<std::string_view>{}(entity.key) * 31 + entity.partition.value();
  }
};

Status close_in_place(LoadingQueue::Batches& batches, View view) {
  const auto number = static_cast<std::size_t>(view);
  std::unordered_map<EntityRef, PackedBatch::Insert*, EntityHash> open;
  for (PackedBatch& packed : batches) {
    const Partition partition = packed.batch.partition;
    std::erase_if(packed.closes[number], [&](const PackedBatch::Close& close) {
      const auto found = open.find({partition, packed.key_of(close)});
      if (found == open.end()) return false;
      found->second->to = close.to;
      open.erase(found);
      return true;
    });
    for (PackedBatch::Insert& insert : packed.inserts[number]) {
      if (insert.to || open.emplace(EntityRef{partition, packed.key_of(insert)}, &insert).second) continue;
      return Error{Errc::corrupt, "a batch of partition " + std::to_string(partition.value()) +
                                      " opens a row of " + std::string{schema_of(view).name} +
                                      " that is open already"};
    }
  }
  return ok();
}

}  // namespace

Status close_in_place(LoadingQueue::Batches& batches) {
  for (const View view : all_views()) {
    if (Status fits = close_in_place(batches, view); !fits) return fits;
  }
  return ok();
}

// Shared with the task that writes.
struct LoadingQueue::Impl {
  Impl(Env& e, std::size_t w, Write how) : env(e), window(w), write(std::move(how)) {}

  struct Place {
    std::uint64_t version = 0;
    Offset next;
  };

  Env& env;
  std::size_t window;
  Write write;
  std::deque<PackedBatch> queue;
  std::size_t waiting = 0;           // Changes in the queue.
  std::map<Partition, Place> ahead;  // Behind the queue; of the partitions that were loaded.
  std::uint64_t failures = 0;
  std::size_t settling = 0;      // Who waits until the queue is empty.
  bool busy = false;             // It is written, or read.
  std::optional<Error> failure;  // Until somebody loads.
  std::optional<Error> lost;     // Until settle() has told it.
  Notifier changed;

  bool is_due() const { return !queue.empty() && (waiting >= window || settling > 0); }
  Batches take() {
    Batches batches;
    std::size_t changes = 0;
    while (!queue.empty() && (batches.empty() || changes + queue.front().changes <= window)) {
      changes += queue.front().changes;
      batches.push_back(std::move(queue.front()));
      queue.pop_front();
    }
    waiting -= changes;
    return batches;
  }
  void fail(const Error& error) {
    ++failures;
    failure = error;
    lost = error;
    queue.clear();
    waiting = 0;
    ahead.clear();
  }

  static Task<> write_what_is_due(std::shared_ptr<Impl> self);
  static void begin_writing(const std::shared_ptr<Impl>& self);
  static Task<> empty_queue(std::shared_ptr<Impl> self);
};

Task<> LoadingQueue::Impl::write_what_is_due(std::shared_ptr<Impl> self) {
  while (self->is_due()) {
    const auto batches = std::make_shared<Batches>(self->take());
    const Status written = co_await self->write(batches);
    if (!written) self->fail(written.error());
    self->changed.notify_all();
  }
  self->busy = false;
  self->changed.notify_all();
  co_return ok();
}

void LoadingQueue::Impl::begin_writing(const std::shared_ptr<Impl>& self) {
  if (self->busy || !self->is_due()) return;
  self->busy = true;
  self->env.spawn("rows that are loaded", write_what_is_due(self));
}

Task<> LoadingQueue::Impl::empty_queue(std::shared_ptr<Impl> self) {
  ++self->settling;
  while (self->busy || !self->queue.empty()) {
    begin_writing(self);
    co_await self->changed.wait(self->env, kNever);
  }
  --self->settling;
  co_return ok();
}

LoadingQueue::LoadingQueue(Env& env, std::size_t window, Write write)
    : impl_(std::make_shared<Impl>(env, window, std::move(write))) {}
LoadingQueue::~LoadingQueue() = default;

Task<> LoadingQueue::settle() {
  const auto impl = impl_;
  ignore_error(co_await Impl::empty_queue(impl), "what was lost is remembered");
  const std::optional<Error> lost = std::exchange(impl->lost, std::nullopt);
  co_return lost ? Status{*lost} : ok();
}

Task<LoadedCheckpoint> LoadingQueue::load(Partition partition, Read read) {
  const auto impl = impl_;
  ignore_error(co_await Impl::empty_queue(impl), "loading again is what mends it");
  impl->failure.reset();
  impl->busy = true;
  auto loaded = co_await read();
  impl->busy = false;
  impl->changed.notify_all();
  if (loaded) impl->ahead[partition] = {loaded->checkpoint.version, loaded->checkpoint.next};
  co_return loaded;
}

Task<CommitOutcome> LoadingQueue::commit(Batch batch) {
  const auto impl = impl_;
  while (impl->waiting >= impl->window && !impl->failure) {
    Impl::begin_writing(impl);
    co_await impl->changed.wait(impl->env, kNever);
  }
  if (impl->failure) co_return *impl->failure;
  const auto found = impl->ahead.find(batch.partition);
  if (found == impl->ahead.end()) co_return CommitOutcome::lost_race;
  Impl::Place& ahead = found->second;
  const bool fits =
      batch.expected_version == ahead.version && (ahead.version == 0 || batch.expected_next == ahead.next);
  if (!fits) co_return CommitOutcome::lost_race;
  ahead = {batch.checkpoint.version, batch.checkpoint.next};
  const std::uint64_t failures = impl->failures;
  const auto moved = std::make_shared<Batch>(std::move(batch));
  std::function<Result<PackedBatch>()> job = [moved] { return packed(std::move(*moved)); };
  auto done = co_await offload<PackedBatch>(impl->env, Lane::read, std::move(job));
  if (!done) co_return done.error();
  // What came before it is lost.
  if (impl->failures != failures) co_return CommitOutcome::lost_race;
  impl->waiting += done->changes;
  impl->queue.push_back(std::move(*done));
  Impl::begin_writing(impl);
  co_return CommitOutcome::committed;
}

}  // namespace varve
