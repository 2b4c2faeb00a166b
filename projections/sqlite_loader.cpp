#include "projections/sqlite_loader.h"

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "projections/sqlite_loading.h"
#include "projections/sqlite_query.h"
#include "projections/sqlite_view_batch.h"
#include "projections/sqlite_view_reader.h"
#include "projections/store_rules.h"
#include "runtime/suspend.h"
#include "runtime/sync.h"

namespace varve {

namespace {

using Batches = std::vector<Batch>;

// An entity, by values that outlive it.
struct EntityRef {
  Partition partition;
  std::span<const Value> key;

  bool operator==(const EntityRef& other) const {
    return partition == other.partition &&
           std::equal(key.begin(), key.end(), other.key.begin(), other.key.end());
  }
};
struct EntityHash {
  std::size_t operator()(const EntityRef& entity) const {
    std::size_t sum = entity.partition.value();
    for (const Value& value : entity.key) sum = sum * 31 + std::hash<Value>{}(value);
    return sum;
  }
};

// What one transaction does to one view: rows as they are at its end, and what it closes of earlier ones.
struct ViewLoad {
  struct Insert {
    const Row* row = nullptr;
    std::optional<RowTo> to;
  };
  struct Close {
    Partition partition;
    const RowClose* close = nullptr;
  };
  std::vector<Insert> inserts;
  std::vector<Close> closes;
  std::unordered_map<EntityRef, std::size_t, EntityHash> open;  // Of `inserts`.

  Status add(Partition partition, const RowInsert& insert) {
    const std::size_t keys = schema_of(insert.view).key_columns;
    const EntityRef entity{partition, {insert.row.values.data(), keys}};
    if (!insert.row.to && !open.emplace(entity, inserts.size()).second) {
      return Error{Errc::corrupt, "insert of " + describe(insert.view, insert.row) +
                                      ": the entity has an open version already"};
    }
    inserts.push_back({&insert.row, insert.row.to});
    return ok();
  }
  void add(Partition partition, const RowClose& close) {
    const auto found = open.find(EntityRef{partition, close.key});
    if (found == open.end()) {
      closes.push_back({partition, &close});
      return;
    }
    inserts[found->second].to = close.to;
    open.erase(found);
  }
};
using Load = std::array<ViewLoad, kViews>;

Status add_batch(Load& load, const Batch& batch) {
  for (const RowChange& change : batch.changes) {
    if (const auto* close = std::get_if<RowClose>(&change)) {
      load[static_cast<std::size_t>(close->view)].add(batch.partition, *close);
      continue;
    }
    const auto& insert = std::get<RowInsert>(change);
    const Status added = load[static_cast<std::size_t>(insert.view)].add(batch.partition, insert);
    if (!added) return added;
  }
  return ok();
}

// Owns the connection; used by one job at a time.
class LoadingFile {
 public:
  Status open(const std::string& path) { return open_loading(connection_, path); }

  Status write(const Batches& batches) {
    Load load;
    for (const Batch& batch : batches) {
      if (Status added = add_batch(load, batch); !added) return added;
    }
    if (const auto begun = connection_.run("BEGIN IMMEDIATE"); !begun) return begun;
    Status written = write_all(batches, load);
    if (written) written = connection_.run("COMMIT");
    if (!written) roll_back();
    return written;
  }

  Result<LoadedCheckpoint> load(Partition partition) {
    if (const auto begun = connection_.run("BEGIN"); !begun) return begun.error();
    SqliteViewReader reader{connection_};
    auto checkpoint = reader.checkpoint(partition);
    auto quarantine = reader.quarantine(partition);
    roll_back();
    if (!checkpoint) return checkpoint.error();
    if (!quarantine) return quarantine.error();
    std::vector<StreamId> parked = streams_of(*quarantine);
    return LoadedCheckpoint{*std::move(checkpoint), std::move(parked), *std::move(quarantine)};
  }

 private:
  void roll_back() {
    if (!connection_.db().in_transaction()) return;
    ignore_error(connection_.run("ROLLBACK"), "without COMMIT nothing is written, whatever this says");
  }

  Status write_all(const Batches& batches, const Load& load) {
    for (const Batch& batch : batches) {
      const auto moved = move_checkpoint(connection_, batch);
      if (!moved) return moved.error();
      if (!*moved) return Error{Errc::conflict, "another program loads this generation"};
      if (Status done = write_quarantine(connection_, batch); !done) return done;
      if (Status done = write_times(connection_, batch); !done) return done;
    }
    for (const View view : all_views()) {
      const ViewLoad& of = load[static_cast<std::size_t>(view)];
      if (Status done = append_rows(view, of); !done) return done;
      if (Status done = append_closings(view, of); !done) return done;
    }
    return ok();
  }

  Status append_rows(View view, const ViewLoad& load) {
    const auto prepared = connection_.statement(append_sql(view, loading_table(view)));
    if (!prepared) return prepared.error();
    for (const ViewLoad::Insert& insert : load.inserts) {
      bind_row(**prepared, *insert.row, insert.to);
      if (const auto done = (*prepared)->run(); !done) return done;
    }
    return ok();
  }

  Status append_closings(View view, const ViewLoad& load) {
    const auto prepared = connection_.statement(closing_sql());
    if (!prepared) return prepared.error();
    sqlite::Statement& statement = **prepared;
    for (const ViewLoad::Close& each : load.closes) {
      statement.bind(1, static_cast<std::int64_t>(view)).bind(2, each.partition.value()).bind_null(4);
      for (std::size_t i = 0; i < each.close->key.size(); ++i)
        bind_value(statement, static_cast<int>(3 + i), each.close->key[i]);
      statement.bind(5, static_cast<std::int64_t>(each.close->to.offset.value()))
          .bind(6, each.close->to.at.value());
      if (const auto done = statement.run(); !done) return done;
    }
    return ok();
  }

  SqliteConnection connection_;
};

}  // namespace

// Shared with the task that writes.
struct SqliteLoader::Impl {
  Impl(Env& e, std::size_t w) : env(e), window(w) {}

  struct Place {
    std::uint64_t version = 0;
    Offset next;
  };

  Env& env;
  std::size_t window;
  std::shared_ptr<LoadingFile> file = std::make_shared<LoadingFile>();
  std::deque<Batch> queue;
  std::size_t waiting = 0;           // Changes in the queue.
  std::map<Partition, Place> ahead;  // Behind the queue; of the partitions that were loaded.
  std::size_t settling = 0;          // Who waits until the queue is empty.
  bool busy = false;                 // A job has the file.
  std::optional<Error> failure;      // Until somebody loads.
  std::optional<Error> lost;         // Until settle() has told it.
  Notifier changed;

  bool is_due() const { return !queue.empty() && (waiting >= window || settling > 0); }
  Batches take() {
    Batches batches;
    std::size_t changes = 0;
    while (!queue.empty() && (batches.empty() || changes + queue.front().changes.size() <= window)) {
      changes += queue.front().changes.size();
      batches.push_back(std::move(queue.front()));
      queue.pop_front();
    }
    waiting -= changes;
    return batches;
  }
  void fail(const Error& error) {
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

Task<> SqliteLoader::Impl::write_what_is_due(std::shared_ptr<Impl> self) {
  while (self->is_due()) {
    const auto batches = std::make_shared<Batches>(self->take());
    std::function<Result<Unit>()> job = [file = self->file, batches] {
      Status written = file->write(*batches);
      batches->clear();  // Takes a while: not on the Env's thread.
      return written;
    };
    const Status written = co_await offload<Unit>(self->env, Lane::read, std::move(job));
    if (!written) self->fail(written.error());
    self->changed.notify_all();
  }
  self->busy = false;
  self->changed.notify_all();
  co_return ok();
}

void SqliteLoader::Impl::begin_writing(const std::shared_ptr<Impl>& self) {
  if (self->busy || !self->is_due()) return;
  self->busy = true;
  self->env.spawn("rows that are loaded", write_what_is_due(self));
}

Task<> SqliteLoader::Impl::empty_queue(std::shared_ptr<Impl> self) {
  ++self->settling;
  while (self->busy || !self->queue.empty()) {
    begin_writing(self);
    co_await self->changed.wait(self->env, kNever);
  }
  --self->settling;
  co_return ok();
}

SqliteLoader::SqliteLoader(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteLoader::~SqliteLoader() = default;

Result<std::shared_ptr<SqliteLoader>> SqliteLoader::open(Env& env, const std::string& path,
                                                         std::size_t window) {
  auto impl = std::make_shared<Impl>(env, window);
  if (const auto opened = impl->file->open(path); !opened) return opened.error();
  return std::shared_ptr<SqliteLoader>(new SqliteLoader{std::move(impl)});
}

Task<> SqliteLoader::settle() {
  const auto impl = impl_;
  ignore_error(co_await Impl::empty_queue(impl), "what was lost is remembered");
  const std::optional<Error> lost = std::exchange(impl->lost, std::nullopt);
  co_return lost ? Status{*lost} : ok();
}

Task<LoadedCheckpoint> SqliteLoader::load(Partition partition) {
  const auto impl = impl_;
  ignore_error(co_await Impl::empty_queue(impl), "loading again is what mends it");
  impl->failure.reset();
  impl->busy = true;
  std::function<Result<LoadedCheckpoint>()> job = [file = impl->file, partition] {
    return file->load(partition);
  };
  auto loaded = co_await offload<LoadedCheckpoint>(impl->env, Lane::read, std::move(job));
  impl->busy = false;
  impl->changed.notify_all();
  if (loaded) impl->ahead[partition] = {loaded->checkpoint.version, loaded->checkpoint.next};
  co_return loaded;
}

Task<CommitOutcome> SqliteLoader::commit(Batch batch) {
  const auto impl = impl_;
  check_batch(batch);
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
  impl->waiting += batch.changes.size();
  impl->queue.push_back(std::move(batch));
  Impl::begin_writing(impl);
  co_return CommitOutcome::committed;
}

Task<> SqliteLoader::read(std::function<Status(ViewReader&)> /*work*/) {
  co_return Error{Errc::unavailable, "the generation is being loaded"};
}

}  // namespace varve
