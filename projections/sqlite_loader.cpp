#include "projections/sqlite_loader.h"

#include <array>
#include <functional>
#include <utility>
#include <vector>

#include "projections/loading_queue.h"
#include "projections/sqlite_loading.h"
#include "projections/sqlite_query.h"
#include "projections/sqlite_search.h"
#include "projections/sqlite_view_batch.h"
#include "projections/sqlite_view_reader.h"
#include "projections/store_rules.h"
#include "runtime/suspend.h"

namespace varve {

namespace {

using Batches = LoadingQueue::Batches;

// Binds as many values, from parameter `number` on; gives back the next one.
int bind_packed(sqlite::Statement& statement, int number, PackedReader& reader, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    switch (reader.next()) {
      case PackedReader::Kind::integer:
        statement.bind(number++, reader.integer());
        break;
      case PackedReader::Kind::text:
        statement.bind_kept_text(number++, reader.text());
        break;
      case PackedReader::Kind::null:
        statement.bind_null(number++);
        break;
    }
  }
  return number;
}

std::array<std::string, kViews> append_texts() {
  std::array<std::string, kViews> texts;
  for (const View view : all_views())
    texts[static_cast<std::size_t>(view)] = append_sql(view, loading_table(view));
  return texts;
}

// Owns the connection; used by one job at a time.
class LoadingFile {
 public:
  Status open(const std::string& path) { return open_loading(connection_, path); }

  Status write(Batches& batches) {
    if (Status fits = close_in_place(batches); !fits) return fits;
    if (const auto begun = connection_.run("BEGIN IMMEDIATE"); !begun) return begun;
    Status written = write_all(batches);
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

  Status write_all(const Batches& batches) {
    for (const PackedBatch& packed : batches) {
      const auto moved = move_checkpoint(connection_, packed.batch);
      if (!moved) return moved.error();
      if (!*moved) return Error{Errc::conflict, "another program loads this generation"};
      if (Status done = write_quarantine(connection_, packed.batch); !done) return done;
      if (Status done = write_times(connection_, packed.batch); !done) return done;
    }
    for (const View view : all_views()) {
      for (const PackedBatch& packed : batches) {
        if (Status done = append_rows(view, packed); !done) return done;
        if (Status done = append_closings(view, packed); !done) return done;
      }
    }
    return index_waiting_messages(connection_, 0);
  }

  Status append_rows(View view, const PackedBatch& packed) {
    constexpr std::size_t kPosition = 5;
    const auto prepared = connection_.statement(append_[static_cast<std::size_t>(view)]);
    if (!prepared) return prepared.error();
    sqlite::Statement& statement = **prepared;
    const std::size_t count = schema_of(view).columns.size() + kPosition;
    for (const PackedBatch::Insert& insert : packed.inserts[static_cast<std::size_t>(view)]) {
      PackedReader reader{packed.bytes, insert.begin};
      const int to = bind_packed(statement, 1, reader, count);
      if (insert.to) {
        statement.bind(to, static_cast<std::int64_t>(insert.to->offset.value()))
            .bind(to + 1, insert.to->at.value());
      } else {
        statement.bind_null(to).bind_null(to + 1);
      }
      if (const auto done = statement.run(); !done) return done;
    }
    return ok();
  }

  Status append_closings(View view, const PackedBatch& packed) {
    const auto prepared = connection_.statement(closing_sql());
    if (!prepared) return prepared.error();
    sqlite::Statement& statement = **prepared;
    for (const PackedBatch::Close& close : packed.closes[static_cast<std::size_t>(view)]) {
      statement.bind(1, static_cast<std::int64_t>(view)).bind(2, packed.batch.partition.value()).bind_null(4);
      PackedReader reader{packed.bytes, close.begin};
      bind_packed(statement, 3, reader, schema_of(view).key_columns);
      statement.bind(5, static_cast<std::int64_t>(close.to.offset.value())).bind(6, close.to.at.value());
      if (const auto done = statement.run(); !done) return done;
    }
    return ok();
  }

  SqliteConnection connection_;
  const std::array<std::string, kViews> append_ = append_texts();
};

}  // namespace

struct SqliteLoader::Impl {
  Impl(Env& e, std::size_t window)
      : env(e), queue(e, window, [&env = e, file = file](std::shared_ptr<Batches> batches) {
          return write(&env, file, std::move(batches));
        }) {}

  static Task<> write(Env* env, std::shared_ptr<LoadingFile> file, std::shared_ptr<Batches> batches) {
    std::function<Result<Unit>()> job = [file, batches] {
      Status written = file->write(*batches);
      batches->clear();  // Takes a while: not on the Env's thread.
      return written;
    };
    co_return co_await offload<Unit>(*env, Lane::read, std::move(job));
  }
  static Task<LoadedCheckpoint> read(Env* env, std::shared_ptr<LoadingFile> file, Partition partition) {
    std::function<Result<LoadedCheckpoint>()> job = [file, partition] { return file->load(partition); };
    co_return co_await offload<LoadedCheckpoint>(*env, Lane::read, std::move(job));
  }

  Env& env;
  std::shared_ptr<LoadingFile> file = std::make_shared<LoadingFile>();
  LoadingQueue queue;
};

SqliteLoader::SqliteLoader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteLoader::~SqliteLoader() = default;

Result<std::shared_ptr<SqliteLoader>> SqliteLoader::open(Env& env, const std::string& path,
                                                         std::size_t window) {
  auto impl = std::make_unique<Impl>(env, window);
  if (const auto opened = impl->file->open(path); !opened) return opened.error();
  return std::shared_ptr<SqliteLoader>(new SqliteLoader{std::move(impl)});
}

Task<> SqliteLoader::settle() {
  return impl_->queue.settle();
}

Task<LoadedCheckpoint> SqliteLoader::load(Partition partition) {
  LoadingQueue::Read read = [env = &impl_->env, file = impl_->file, partition] {
    return Impl::read(env, file, partition);
  };
  return impl_->queue.load(partition, std::move(read));
}

Task<CommitOutcome> SqliteLoader::commit(Batch batch) {
  check_batch(batch);
  return impl_->queue.commit(std::move(batch));
}

Task<> SqliteLoader::read(std::function<Status(ViewReader&)> /*work*/) {
  co_return Error{Errc::unavailable, "the generation is being loaded"};
}

}  // namespace varve
