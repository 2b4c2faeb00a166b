#include "projections/sqlite_view_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <deque>
#include <span>
#include <utility>

#include "projections/digest.h"
#include "projections/sqlite_migrate.h"
#include "projections/sqlite_query.h"
#include "projections/sqlite_search.h"
#include "projections/sqlite_view_batch.h"
#include "projections/sqlite_view_reader.h"
#include "projections/store_rules.h"
#include "runtime/mutant.h"
#include "runtime/suspend.h"
#include "runtime/sync.h"

namespace varve {

namespace {

constexpr std::size_t kReadConnectionsMax = 4;
// Of one transaction. More wait for the next: the write-ahead log grows with the transaction.
constexpr std::size_t kCommitsPerTransactionMax = 64;
// Changes of all of them together, unless it is one alone: the end of every statement inside a savepoint
// looks through all pages that the savepoint keeps, so that a large batch in one takes a time that grows with
// its square. Alone it needs none.
constexpr std::size_t kChangesPerTransactionMax = 512;

// Handed over together: the sync of the checkpoint finds less than that.
constexpr int kWritebackPages = 16;
// Of a write-ahead log: its header, and a page with the header of its frame
// (https://sqlite.org/fileformat2.html, section 4.1).
constexpr std::int64_t kLogHead = 32;
constexpr std::int64_t kLogFrame = 24 + 4096;

// Ids are random, so a batch touches pages all over the indexes: the cache holds what the last batches
// touched, and savepoints stay in memory. The one comparison so far, with 100,000 messages on a loaded
// machine: 35 ms for a batch of 100 rows against 54 ms with SQLite's defaults.
constexpr std::array kWriterPragmas{
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
};

// A page of an agent's newest messages lies on as many pages of the file as it has messages.
constexpr std::array kReaderPragmas{"PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -16384"};

// The texts of all statements that change a view, made once.
struct ViewSql {
  std::array<std::string, kViews> insert;
  std::array<std::string, kViews> close;

  ViewSql() {
    for (const View view : all_views()) {
      insert[static_cast<std::size_t>(view)] = insert_sql(view);
      close[static_cast<std::size_t>(view)] = close_sql(view);
    }
  }
};

// A commit() that waits for its outcome.
struct Pending {
  Batch batch;
  std::optional<Result<CommitOutcome>> outcome;
};
using Group = std::vector<std::shared_ptr<Pending>>;
using Outcomes = std::vector<Result<CommitOutcome>>;

// Owns the write connection; its methods run on Lane::store, one at a time. Shared with the job that runs
// them.
class Writer {
 public:
  Status open(const std::string& path, const SqliteViewStore::Options& options) {
    search_waiting_max_ = options.search_waiting_max;
    checkpoint_pages_ = options.checkpoint_pages;
    begin_writeback_ = options.begin_writeback;
    log_path_ = path + "-wal";
    if (const auto opened = connection_.open(path, sqlite::Access::create); !opened) return opened;
    for (const char* pragma : kWriterPragmas) {
      if (const auto set = connection_.db().exec(pragma); !set) return set;
    }
    const std::string cache = "PRAGMA cache_size = -" + std::to_string(options.cache_kib);
    if (const auto set = connection_.db().exec(cache); !set) return set;
    if (const auto settled = connection_.db().settle_log(); !settled) return settled;
    if (const auto migrated = migrate(connection_.db(), "views", path); !migrated) return migrated;
    sqlite3_wal_hook(connection_.db().raw(), &Writer::after_commit, this);
    return bring_search_index_up_to_date(connection_);
  }

  Outcomes write(const Group& group) {
    if (const auto begun = connection_.run("BEGIN IMMEDIATE"); !begun) return all(group, begun.error());
    Outcomes outcomes;
    for (const auto& pending : group) {
      // Alone, a commit needs no savepoint: whatever fails ends the transaction.
      outcomes.push_back(group.size() == 1 ? write_batch(pending->batch)
                                           : write_in_savepoint(pending->batch));
      // A full disk may make SQLite roll back the whole transaction: then nothing of the group was written.
      if (!connection_.db().in_transaction()) return all(group, nothing_written(outcomes.back()));
    }
    const bool any = std::any_of(outcomes.begin(), outcomes.end(), [](const Result<CommitOutcome>& outcome) {
      return outcome && *outcome == CommitOutcome::committed;
    });
    if (!any) {
      roll_back();
      return outcomes;
    }
    if (const auto done = index_waiting_messages(connection_, search_waiting_max_); !done) {
      return all(group, give_up(done.error()));
    }
    if (const auto ended = connection_.run("COMMIT"); !ended) {
      roll_back();
      return all(group, Error{Errc::outcome_unknown, ended.error().message});
    }
    return outcomes;
  }

  // After the newest commit: the log is long, or a sync has failed. Asked between two jobs.
  bool checkpoint_is_due() const {
    return log_pages_ >= checkpoint_pages_ || !connection_.db().log_is_settled();
  }
  Status checkpoint() { return connection_.db().checkpoint(); }

  bool writeback_is_due() const { return begin_writeback_ && log_pages_ - written_back() >= kWritebackPages; }
  void write_back() {
    const int begun = written_back();
    begin_writeback_(log_path_, kLogHead + begun * kLogFrame, (log_pages_ - begun) * kLogFrame);
    written_back_ = log_pages_;
  }

 private:
  // A shorter log than the one before has begun again.
  int written_back() const { return log_pages_ < written_back_ ? 0 : written_back_; }

  static int after_commit(void* writer, sqlite3* /*db*/, const char* /*schema*/, int pages) {
    static_cast<Writer*>(writer)->log_pages_ = pages;
    return SQLITE_OK;
  }

  static Outcomes all(const Group& group, const Error& error) {
    return Outcomes(group.size(), Result<CommitOutcome>{error});
  }

  static Error nothing_written(const Result<CommitOutcome>& last) {
    if (!last) return Error{Errc::unavailable, last.error().message};
    return Error{Errc::unavailable, "SQLite gave up the transaction"};
  }

  void roll_back() {
    if (!connection_.db().in_transaction()) return;
    ignore_error(connection_.run("ROLLBACK"), "without COMMIT nothing is written, whatever this says");
  }

  Result<CommitOutcome> write_in_savepoint(const Batch& batch) {
    if (const auto begun = connection_.run("SAVEPOINT batch"); !begun) return give_up(begun.error());
    const auto outcome = write_batch(batch);
    if (!connection_.db().in_transaction()) return outcome;
    if (!outcome || *outcome != CommitOutcome::committed) {
      if (const auto undone = connection_.run("ROLLBACK TO batch"); !undone) return give_up(undone.error());
    }
    if (const auto ended = connection_.run("RELEASE batch"); !ended) return give_up(ended.error());
    return outcome;
  }

  // The savepoints are no longer what they should be: the whole transaction ends.
  Error give_up(const Error& error) {
    roll_back();
    return Error{Errc::unavailable, error.message};
  }

  Result<CommitOutcome> write_batch(const Batch& batch) {
    const auto moved = move_checkpoint(connection_, batch);
    if (!moved) return moved.error();
    if (!*moved) return CommitOutcome::lost_race;
    if (mutant(Mutant::views_in_two_transactions)) {
      ignore_error(connection_.run("COMMIT"), "a seeded bug");
      ignore_error(connection_.run("BEGIN IMMEDIATE"), "a seeded bug");
    }
    for (const RowChange& change : batch.changes) {
      const auto* insert = std::get_if<RowInsert>(&change);
      const auto done =
          insert != nullptr ? insert_row(*insert) : close_row(batch.partition, std::get<RowClose>(change));
      if (!done) return done.error();
    }
    if (const auto done = write_quarantine(connection_, batch); !done) return done.error();
    if (const auto done = write_times(connection_, batch); !done) return done.error();
    return CommitOutcome::committed;
  }

  Status insert_row(const RowInsert& insert) {
    const auto prepared = connection_.statement(sql_.insert[static_cast<std::size_t>(insert.view)]);
    if (!prepared) return prepared.error();
    sqlite::Statement& statement = **prepared;
    const Row& row = insert.row;
    bind_row(statement, row);
    const auto done = statement.run();
    if (done ? connection_.db().changes() == 1 : !violates_a_constraint(connection_)) return done;
    return Error{Errc::corrupt,
                 "insert of " + describe(insert.view, row) + ": the entity has an open version already"};
  }

  Status close_row(Partition partition, const RowClose& close) {
    const auto prepared = connection_.statement(sql_.close[static_cast<std::size_t>(close.view)]);
    if (!prepared) return prepared.error();
    sqlite::Statement& statement = **prepared;
    statement.bind(1, static_cast<std::int64_t>(close.to.offset.value()))
        .bind(2, close.to.at.value())
        .bind(3, partition.value());
    int number = 4;
    for (const Value& value : close.key) bind_value(statement, number++, value);
    if (const auto done = statement.run(); !done) return done;
    const std::int64_t met = connection_.db().changes();
    if (met == 1) return ok();
    return Error{Errc::corrupt, "closing of " + describe_entity(close.view, close.key) + " at " +
                                    to_string(LogPosition{partition, close.to.offset}) + " met " +
                                    std::to_string(met) + " open rows, not 1"};
  }

  SqliteConnection connection_;
  std::int64_t search_waiting_max_ = 0;
  int checkpoint_pages_ = 0;
  int log_pages_ = 0;     // In the write-ahead log,
  int written_back_ = 0;  // and how many of them were handed to begin_writeback_.
  std::string log_path_;
  decltype(SqliteViewStore::Options::begin_writeback) begin_writeback_;
  ViewSql sql_;
};

// A checkpoint copies the newest of every page into the file and syncs both, which takes some milliseconds.
// It is a job of its own between two groups of commits: nobody waits for it who is committed already. On a
// connection of its own, beside the commits, it competed with the syncs of the log, and its stalls were
// longer (docs/benchmarks.md).
Task<> run_checkpoint(Env* env, std::shared_ptr<Writer> writer) {
  const MonoTime begun = env->now();
  std::function<Result<Unit>()> job = [writer] { return writer->checkpoint(); };
  ignore_error(co_await offload<Unit>(*env, Lane::store, std::move(job)),
               "nothing is lost: the pages stay in the log, and the next commit asks for another");
  env->observe({"view_checkpoint", {}, {}, {}}, env->now() - begun);
  co_return ok();
}

// Behind the commit, not in it: nobody waits for it but the next commit, if that is as quick.
Task<> run_writeback(Env* env, std::shared_ptr<Writer> writer) {
  std::function<Result<Unit>()> job = [writer]() -> Result<Unit> {
    writer->write_back();
    return Unit{};
  };
  co_return co_await offload<Unit>(*env, Lane::store, std::move(job));
}

// One read transaction on Lane::read. The connection is opened by the first that uses it.
Status read_on(SqliteConnection& connection, const std::string& path,
               const std::function<Status(SqliteViewReader&)>& work) {
  if (!connection.is_open()) {
    if (const auto opened = connection.open(path, sqlite::Access::read_only); !opened) return opened;
    for (const char* pragma : kReaderPragmas) {
      if (const auto set = connection.db().exec(pragma); !set) return set;
    }
  }
  if (const auto begun = connection.run("BEGIN"); !begun) return begun;
  SqliteViewReader reader{connection};
  const Status status = work(reader);
  const auto ended = connection.run("COMMIT");
  return status ? ended : status;
}

}  // namespace

// Lives on the Env's thread; what its jobs touch they share.
struct SqliteViewStore::Impl {
  explicit Impl(Env& e) : env(e) {}

  Env& env;
  std::string path;
  std::shared_ptr<Writer> writer = std::make_shared<Writer>();
  std::deque<std::shared_ptr<Pending>> queue;  // Commits that no transaction has taken yet.
  bool writing = false;
  Notifier written;
  std::vector<std::shared_ptr<SqliteConnection>> free;  // Connections that no read holds.
  Notifier freed;

  Group take_group() {
    Group group;
    std::size_t changes = 0;
    while (!queue.empty() && group.size() < kCommitsPerTransactionMax) {
      changes += queue.front()->batch.changes.size();
      if (!group.empty() && changes > kChangesPerTransactionMax) break;
      group.push_back(std::move(queue.front()));
      queue.pop_front();
    }
    return group;
  }

  Task<> write_group();
  Task<> read_with(std::function<Status(SqliteViewReader&)> work);
};

// The first commit that finds nobody writing writes for all that wait.
Task<> SqliteViewStore::Impl::write_group() {
  writing = true;
  // Whoever is about to commit too joins this transaction: partitions move together under load.
  co_await yield(env);
  auto group = std::make_shared<Group>(take_group());
  std::function<Result<Outcomes>()> job = [writer = writer, group] { return writer->write(*group); };
  auto outcomes = co_await offload<Outcomes>(env, Lane::store, std::move(job));
  for (std::size_t i = 0; i < group->size(); ++i) {
    (*group)[i]->outcome = outcomes ? (*outcomes)[i] : Result<CommitOutcome>{outcomes.error()};
  }
  if (writer->checkpoint_is_due()) {
    env.spawn("checkpoint of the views", run_checkpoint(&env, writer));
  } else if (group->size() > 1 && writer->writeback_is_due()) {
    env.spawn("writeback of the views", run_writeback(&env, writer));
  }
  writing = false;
  written.notify_all();
  co_return ok();
}

Task<> SqliteViewStore::Impl::read_with(std::function<Status(SqliteViewReader&)> work) {
  while (free.empty()) co_await freed.wait(env, kNever);
  const auto connection = std::move(free.back());
  free.pop_back();
  std::function<Result<Unit>()> job = [connection, path = path, work = std::move(work)] {
    return read_on(*connection, path, work);
  };
  const Status status = co_await offload<Unit>(env, Lane::read, std::move(job));
  free.push_back(connection);
  freed.notify_all();
  co_return status;
}

SqliteViewStore::SqliteViewStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteViewStore::~SqliteViewStore() = default;

std::string SqliteViewStore::path_of(const Options& options) {
  return options.directory + "/views-" + std::to_string(options.generation) + ".db";
}

Result<std::unique_ptr<SqliteViewStore>> SqliteViewStore::open(Env& env, Options options) {
  auto impl = std::make_unique<Impl>(env);
  impl->path = path_of(options);
  if (const auto opened = impl->writer->open(impl->path, options); !opened) return opened.error();
  for (std::size_t i = 0; i < kReadConnectionsMax; ++i)
    impl->free.push_back(std::make_shared<SqliteConnection>());
  return std::unique_ptr<SqliteViewStore>(new SqliteViewStore{std::move(impl)});
}

Task<LoadedCheckpoint> SqliteViewStore::load(Partition partition) {
  auto loaded = std::make_shared<LoadedCheckpoint>();
  std::function<Status(SqliteViewReader&)> work = [loaded, partition](SqliteViewReader& reader) -> Status {
    auto checkpoint = reader.checkpoint(partition);
    if (!checkpoint) return checkpoint.error();
    auto quarantine = reader.quarantine(partition);
    if (!quarantine) return quarantine.error();
    std::vector<StreamId> parked = streams_of(*quarantine);
    *loaded = LoadedCheckpoint{*std::move(checkpoint), std::move(parked), *std::move(quarantine)};
    return ok();
  };
  const Status status = co_await impl_->read_with(std::move(work));
  if (!status) co_return status.error();
  co_return std::move(*loaded);
}

Task<CommitOutcome> SqliteViewStore::commit(Batch batch) {
  check_batch(batch);
  auto pending = std::make_shared<Pending>();
  pending->batch = std::move(batch);
  impl_->queue.push_back(pending);
  while (!pending->outcome) {
    if (impl_->writing) {
      co_await impl_->written.wait(impl_->env, kNever);
    } else {
      ignore_error(co_await impl_->write_group(), "every outcome is with its commit");
    }
  }
  co_return *pending->outcome;
}

Task<> SqliteViewStore::read(std::function<Status(ViewReader&)> work) {
  std::function<Status(SqliteViewReader&)> with_reader = [work = std::move(work)](SqliteViewReader& reader) {
    return work(reader);
  };
  co_return co_await impl_->read_with(std::move(with_reader));
}

}  // namespace varve
