#include "projections/sqlite_snapshot_store.h"

#include <sqlite3.h>

#include "projections/sqlite_migrate.h"
#include "projections/sqlite_view_reader.h"
#include "runtime/suspend.h"

namespace varve {

namespace {

constexpr int kCheckpointPages = 1000;

std::int64_t stored(std::uint64_t number) {
  return static_cast<std::int64_t>(number);
}

std::uint64_t unsigned_at(const sqlite::Statement& row, int column) {
  return static_cast<std::uint64_t>(row.integer(column));
}

}  // namespace

// Its methods run on Lane::store, one at a time.
class SqliteSnapshotStore::File {
 public:
  Status open(const std::string& path) {
    if (const auto opened = connection_.open(path, sqlite::Access::create); !opened) return opened;
    for (const char* pragma : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"}) {
      if (const auto set = connection_.db().exec(pragma); !set) return set;
    }
    if (const auto settled = connection_.db().settle_log(); !settled) return settled;
    if (const auto migrated = migrate(connection_.db(), "control", path); !migrated) return migrated;
    sqlite3_wal_hook(connection_.db().raw(), &File::after_commit, this);
    return ok();
  }

  Status put(const std::vector<SnapshotRow>& rows) {
    const Status done = put_in_transaction(rows);
    checkpoint_if_due();
    return done;
  }

  Status put_in_transaction(const std::vector<SnapshotRow>& rows) {
    return in_transaction([this, &rows]() -> Status {
      for (const SnapshotRow& row : rows) {
        const auto wanted = is_to_be_written(row);
        if (!wanted) return wanted.error();
        if (!*wanted) continue;
        if (const auto written = write(row); !written) return written;
      }
      return ok();
    });
  }

  Result<std::optional<SnapshotRow>> get(const StreamId& stream) {
    const auto prepared = connection_.statement(
        "SELECT stream, \"partition\", sequence, born, open_turn, corrupt, bad_offset, hash, state, seen "
        "FROM snapshots WHERE stream = ?");
    if (!prepared) return prepared.error();
    sqlite::Statement& found = **prepared;
    found.bind_text(1, stream.value());
    const auto stepped = found.step();
    if (!stepped) return stepped.error();
    std::optional<SnapshotRow> row;
    if (*stepped) {
      row.emplace();
      row->stream = stream;
      row->partition = Partition{static_cast<std::uint32_t>(found.integer(1))};
      row->sequence = Sequence{unsigned_at(found, 2)};
      row->born = Offset{unsigned_at(found, 3)};
      row->open_turn = found.integer(4) != 0;
      row->corrupt = found.integer(5) != 0;
      row->bad_offset = Offset{unsigned_at(found, 6)};
      row->hash = unsigned_at(found, 7);
      row->state = std::string{found.text(8)};
      row->seen = Offset{unsigned_at(found, 9)};
    }
    found.reset();
    return row;
  }

  Result<std::optional<RecoveryRow>> recovery(Partition partition) {
    const auto prepared = connection_.statement(
        "SELECT next_offset, epoch, \"index\", cluster, at, mark_offset, mark_hash, streams, version FROM "
        "recovery "
        "WHERE \"partition\" = ?");
    if (!prepared) return prepared.error();
    sqlite::Statement& found = **prepared;
    found.bind(1, partition.value());
    const auto stepped = found.step();
    if (!stepped) return stepped.error();
    std::optional<RecoveryRow> row;
    if (*stepped) {
      row.emplace();
      row->partition = partition;
      row->next = Offset{unsigned_at(found, 0)};
      row->admission = {Epoch{unsigned_at(found, 1)}, Index{unsigned_at(found, 2)},
                        std::string{found.text(3)}};
      row->at = WallTime{found.integer(4)};
      if (!found.is_null(5)) row->mark = Mark{false, Offset{unsigned_at(found, 5)}, unsigned_at(found, 6)};
      row->streams = unsigned_at(found, 7);
      row->version = unsigned_at(found, 8);
    }
    found.reset();
    return row;
  }

  Result<bool> move_recovery(const RecoveryRow& row) {
    auto moved = move_in_transaction(row);
    checkpoint_if_due();
    return moved;
  }

  // One statement is one transaction.
  Result<bool> move_in_transaction(const RecoveryRow& row) {
    const auto prepared = connection_.statement(
        row.version == 0
            ? "INSERT INTO recovery (version, next_offset, epoch, \"index\", cluster, at, mark_offset, "
              "mark_hash, "
              "streams, \"partition\") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            : "UPDATE recovery SET version = ?, next_offset = ?, epoch = ?, \"index\" = ?, cluster = ?, at = "
              "?, "
              "mark_offset = ?, mark_hash = ?, streams = ? "
              "WHERE \"partition\" = ? AND version = ? AND next_offset <= ?");
    if (!prepared) return prepared.error();
    sqlite::Statement& statement = **prepared;
    statement.bind(1, stored(row.version + 1))
        .bind(2, stored(row.next.value()))
        .bind(3, stored(row.admission.epoch.value()))
        .bind(4, stored(row.admission.index.value()))
        .bind_text(5, row.admission.cluster)
        .bind(6, row.at.value());
    if (row.mark.none) {
      statement.bind_null(7).bind_null(8);
    } else {
      statement.bind(7, stored(row.mark.offset.value())).bind(8, stored(row.mark.hash));
    }
    statement.bind(9, stored(row.streams)).bind(10, row.partition.value());
    if (row.version != 0) statement.bind(11, stored(row.version)).bind(12, stored(row.next.value()));
    if (const auto done = statement.run(); !done) return done.error();
    return connection_.db().changes() == 1;
  }

  Result<std::vector<SnapshotPlace>> list(Partition partition, const StreamId& after, std::size_t limit) {
    const auto prepared = connection_.statement(
        "SELECT stream, born, seen FROM snapshots WHERE \"partition\" = ? AND stream > ? ORDER BY stream "
        "LIMIT ?");
    if (!prepared) return prepared.error();
    sqlite::Statement& found = **prepared;
    found.bind(1, partition.value()).bind_text(2, after.value()).bind(3, static_cast<std::int64_t>(limit));
    std::vector<SnapshotPlace> places;
    for (;;) {
      const auto stepped = found.step();
      if (!stepped) return stepped.error();
      if (!*stepped) break;
      places.push_back({StreamId{std::string{found.text(0)}}, Offset{unsigned_at(found, 1)},
                        Offset{unsigned_at(found, 2)}});
    }
    found.reset();
    return places;
  }

  Result<std::vector<StreamId>> open_turns(Partition partition) {
    const auto prepared = connection_.statement(
        "SELECT stream FROM snapshots WHERE \"partition\" = ? AND open_turn = 1 ORDER BY stream");
    if (!prepared) return prepared.error();
    (*prepared)->bind(1, partition.value());
    std::vector<StreamId> streams;
    for (;;) {
      const auto stepped = (*prepared)->step();
      if (!stepped) return stepped.error();
      if (!*stepped) break;
      streams.emplace_back(std::string{(*prepared)->text(0)});
    }
    (*prepared)->reset();
    return streams;
  }

  Result<std::uint64_t> active_generation() {
    const auto prepared = connection_.statement("SELECT generation FROM active_generation");
    if (!prepared) return prepared.error();
    return number_of(**prepared);
  }

  // Durable when it returns, unlike the rows: the old generation's files are removed after it.
  Status set_active_generation(std::uint64_t generation) {
    const auto prepared = connection_.statement("UPDATE active_generation SET generation = ?");
    if (!prepared) return prepared.error();
    if (const auto set = connection_.db().exec("PRAGMA synchronous = FULL"); !set) return set;
    (*prepared)->bind(1, stored(generation));
    const Status named = (*prepared)->run();
    const Status set = connection_.db().exec("PRAGMA synchronous = NORMAL");
    return named ? set : named;
  }

 private:
  static int after_commit(void* file, sqlite3* /*db*/, const char* /*schema*/, int pages) {
    static_cast<File*>(file)->log_pages_ = pages;
    return SQLITE_OK;
  }

  // SQLite's own would hide that it failed.
  void checkpoint_if_due() {
    if (log_pages_ < kCheckpointPages && connection_.db().log_is_settled()) return;
    ignore_error(connection_.db().checkpoint(), "nothing is lost: the pages stay in the log");
  }

  template <class Work>
  Status in_transaction(const Work& work) {
    if (const auto begun = connection_.run("BEGIN IMMEDIATE"); !begun) return begun;
    const Status done = work();
    if (done) {
      const auto ended = connection_.run("COMMIT");
      if (ended) return ended;
      roll_back();
      return Error{Errc::outcome_unknown, ended.error().message};
    }
    roll_back();
    return done;
  }

  void roll_back() {
    if (!connection_.db().in_transaction()) return;
    ignore_error(connection_.run("ROLLBACK"), "without COMMIT nothing is written, whatever this says");
  }

  Result<bool> is_to_be_written(const SnapshotRow& row) {
    const auto prepared =
        connection_.statement("SELECT seen, corrupt, hash, state FROM snapshots WHERE stream = ?");
    if (!prepared) return prepared.error();
    sqlite::Statement& found = **prepared;
    found.bind_text(1, row.stream.value());
    const auto stepped = found.step();
    if (!stepped) return stepped.error();
    bool wanted = !*stepped;
    if (!wanted) {
      const Offset seen{unsigned_at(found, 0)};
      // The state, which may be long, is read only if it decides.
      const bool damaged = seen == row.seen && xxh64(found.text(3)) != unsigned_at(found, 2);
      wanted = replaces(row, seen, found.integer(1) != 0, damaged);
    }
    found.reset();
    return wanted;
  }

  Status write(const SnapshotRow& row) {
    const auto prepared = connection_.statement(
        "INSERT INTO snapshots (stream, \"partition\", sequence, born, open_turn, corrupt, bad_offset, hash, "
        "state, seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (stream) DO UPDATE SET \"partition\" = excluded.\"partition\", sequence = "
        "excluded.sequence, "
        "born = excluded.born, open_turn = excluded.open_turn, corrupt = excluded.corrupt, "
        "bad_offset = excluded.bad_offset, hash = excluded.hash, state = excluded.state, "
        "seen = excluded.seen");
    if (!prepared) return prepared.error();
    (*prepared)
        ->bind_text(1, row.stream.value())
        .bind(2, row.partition.value())
        .bind(3, stored(row.sequence.value()))
        .bind(4, stored(row.born.value()))
        .bind(5, row.open_turn ? 1 : 0)
        .bind(6, row.corrupt ? 1 : 0)
        .bind(7, stored(row.bad_offset.value()))
        .bind(8, stored(row.hash))
        .bind_text(9, row.state)
        .bind(10, stored(row.seen.value()));
    return (*prepared)->run();
  }

  static Result<std::uint64_t> number_of(sqlite::Statement& statement) {
    const auto stepped = statement.step();
    if (!stepped) return stepped.error();
    if (!*stepped) {
      statement.reset();
      return Error{Errc::corrupt, "the control file lacks its row of the active generation"};
    }
    const std::uint64_t number = unsigned_at(statement, 0);
    statement.reset();
    return number;
  }

  SqliteConnection connection_;
  int log_pages_ = 0;  // In the write-ahead log.
};

SqliteSnapshotStore::SqliteSnapshotStore(Env& env, std::shared_ptr<File> file)
    : env_(env), file_(std::move(file)) {}
SqliteSnapshotStore::~SqliteSnapshotStore() = default;

std::string SqliteSnapshotStore::path_of(const std::string& directory) {
  return directory + "/control.db";
}

Result<std::unique_ptr<SqliteSnapshotStore>> SqliteSnapshotStore::open(Env& env,
                                                                       const std::string& directory) {
  auto file = std::make_shared<File>();
  if (const auto opened = file->open(path_of(directory)); !opened) return opened.error();
  return std::unique_ptr<SqliteSnapshotStore>(new SqliteSnapshotStore{env, std::move(file)});
}

Task<> SqliteSnapshotStore::put(std::vector<SnapshotRow> rows) {
  std::function<Status()> job = [file = file_, rows = std::move(rows)] { return file->put(rows); };
  co_return co_await offload<Unit>(env_, Lane::store, std::move(job));
}

Task<std::optional<SnapshotRow>> SqliteSnapshotStore::get(StreamId stream) {
  std::function<Result<std::optional<SnapshotRow>>()> job = [file = file_, stream] {
    return file->get(stream);
  };
  co_return co_await offload<std::optional<SnapshotRow>>(env_, Lane::store, std::move(job));
}

Task<std::optional<RecoveryRow>> SqliteSnapshotStore::recovery(Partition partition) {
  std::function<Result<std::optional<RecoveryRow>>()> job = [file = file_, partition] {
    return file->recovery(partition);
  };
  co_return co_await offload<std::optional<RecoveryRow>>(env_, Lane::store, std::move(job));
}

Task<bool> SqliteSnapshotStore::move_recovery(RecoveryRow row) {
  std::function<Result<bool>()> job = [file = file_, row = std::move(row)] {
    return file->move_recovery(row);
  };
  co_return co_await offload<bool>(env_, Lane::store, std::move(job));
}

Task<std::vector<SnapshotPlace>> SqliteSnapshotStore::list(Partition partition, StreamId after,
                                                           std::size_t limit) {
  std::function<Result<std::vector<SnapshotPlace>>()> job = [file = file_, partition, after, limit] {
    return file->list(partition, after, limit);
  };
  co_return co_await offload<std::vector<SnapshotPlace>>(env_, Lane::store, std::move(job));
}

Task<std::vector<StreamId>> SqliteSnapshotStore::open_turns(Partition partition) {
  std::function<Result<std::vector<StreamId>>()> job = [file = file_, partition] {
    return file->open_turns(partition);
  };
  co_return co_await offload<std::vector<StreamId>>(env_, Lane::store, std::move(job));
}

Task<std::uint64_t> SqliteSnapshotStore::active_generation() {
  std::function<Result<std::uint64_t>()> job = [file = file_] { return file->active_generation(); };
  co_return co_await offload<std::uint64_t>(env_, Lane::store, std::move(job));
}

Task<> SqliteSnapshotStore::set_active_generation(std::uint64_t generation) {
  std::function<Status()> job = [file = file_, generation] {
    return file->set_active_generation(generation);
  };
  co_return co_await offload<Unit>(env_, Lane::store, std::move(job));
}

}  // namespace varve
