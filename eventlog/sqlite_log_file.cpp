#include "eventlog/sqlite_log_file.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "runtime/check.h"
#include "runtime/hash.h"
#include "runtime/mutant.h"

namespace varve::sqlite {
namespace {

constexpr std::int64_t kFormat = 1;

std::string path_of(const std::string& directory) {
  return directory + "/log.db";
}

std::string table_of(std::size_t partition) {
  return "records_" + std::to_string(partition);
}

std::int64_t sql_integer(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}
std::uint64_t unsigned_integer(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

Error system_error(const std::string& doing) {
  const int code = errno;
  return Error{Errc::unavailable, doing + ": " + std::strerror(code)};
}

// Makes the names in the directory durable.
Status sync_names(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return system_error("open " + path);
  const int rc = ::fsync(descriptor);
  Status status = rc == 0 ? ok() : Status{system_error("fsync " + path)};
  ::close(descriptor);
  return status;
}

Status make_directory(const std::string& directory) {
  std::error_code error;
  if (std::filesystem::is_directory(directory, error)) return ok();
  const auto parent = std::filesystem::absolute(directory).lexically_normal().parent_path();
  std::filesystem::create_directories(parent, error);
  if (error)
    return Error{Errc::unavailable, "make the directory " + parent.string() + ": " + error.message()};
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return system_error("make the directory " + directory);
  return sync_names(parent.string());
}

Result<Statement> prepare_newest(Database& db, std::size_t partition) {
  return db.prepare("SELECT max(offset) FROM " + table_of(partition));
}

Result<Offset> end_of(Statement& newest) {
  const auto row = newest.step();
  if (!row) return row.error();
  const Offset end = newest.is_null(0) ? Offset{} : next(Offset{unsigned_integer(newest.integer(0))});
  newest.reset();
  return end;
}

void append_little_endian(std::string& out, std::uint64_t value) {
  for (unsigned shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(value >> shift & 0xffU));
}

}  // namespace

Error beyond_the_end(Partition partition, Offset end, Offset from) {
  return Error{Errc::corrupt, "the log of partition " + std::to_string(partition.value()) + " ends at " +
                                  std::to_string(end.value()) + ", a reader wants " +
                                  std::to_string(from.value()) + ": it was truncated or exchanged"};
}

std::uint64_t record_checksum(Partition partition, Offset offset, std::string_view key,
                              std::string_view bytes) {
  std::string text;
  if (!mutant(Mutant::checksum_without_place)) {
    append_little_endian(text, partition.value());
    append_little_endian(text, offset.value());
  }
  append_little_endian(text, xxh64(bytes));
  text += key;
  return xxh64(text);
}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<DirectoryLock> DirectoryLock::take(const std::string& directory) {
  const std::string path = directory + "/LOCK";
  DirectoryLock lock;
  lock.descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock.descriptor_ < 0) return system_error("open " + path);
  if (::flock(lock.descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_error("lock " + path);
    std::array<char, 32> holder{};
    const ssize_t size = ::pread(lock.descriptor_, holder.data(), holder.size() - 1, 0);
    std::string pid(holder.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    return Error{Errc::conflict, "another server (process " + (pid.empty() ? "unknown" : pid) + ") uses " +
                                     directory +
                                     "; stop it first, or give this one a data directory of its own"};
  }
  // The number only serves the message above, so that a full disk does not keep the server from starting.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.descriptor_, 0) == 0) {
    [[maybe_unused]] const ssize_t written = ::pwrite(lock.descriptor_, pid.data(), pid.size(), 0);
  }
  return lock;
}

namespace {

class SystemLogFiles final : public LogFiles {
 public:
  Result<std::shared_ptr<void>> claim(const std::string& directory) override {
    if (Status made = make_directory(directory); !made) return made.error();
    auto lock = DirectoryLock::take(directory);
    if (!lock) return lock.error();
    return std::shared_ptr<void>{std::make_shared<DirectoryLock>(std::move(*lock))};
  }
  Status sync_directory(const std::string& directory) override { return sync_names(directory); }
};

}  // namespace

std::shared_ptr<LogFiles> system_log_files() {
  return std::make_shared<SystemLogFiles>();
}

Result<std::shared_ptr<LogWriter>> LogWriter::open(LogFiles& files, const std::string& directory,
                                                   std::uint32_t partitions) {
  if (partitions == 0 || partitions > kPartitionsMax) {
    return Error{Errc::invalid_argument,
                 "the number of partitions must be 1 to " + std::to_string(kPartitionsMax)};
  }
  auto lock = files.claim(directory);
  if (!lock) return lock.error();
  const std::string path = path_of(directory);
  auto db = Database::open(path, Access::create);
  if (!db) return db.error();

  std::shared_ptr<LogWriter> writer(new LogWriter);
  writer->directory_ = directory;
  writer->lock_ = std::move(*lock);
  writer->db_ = std::move(*db);
  if (Status prepared = writer->prepare_schema(partitions, files.checkpoint_pages()); !prepared)
    return prepared.error();
  if (Status synced = files.sync_directory(directory); !synced) return synced.error();
  return writer;
}

Status LogWriter::prepare_schema(std::uint32_t partitions, int checkpoint_pages) {
  const Status set_up = db_.exec(
      "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA "
      "wal_autocheckpoint = " +
      std::to_string(checkpoint_pages) +
      ";"
      "PRAGMA journal_size_limit = 67108864; PRAGMA trusted_schema = OFF; BEGIN IMMEDIATE;"
      "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;");
  if (!set_up) return set_up.error();
  if (mutant(Mutant::ack_before_sync))
    ignore_error(db_.exec("COMMIT; PRAGMA synchronous = OFF; BEGIN IMMEDIATE"), "a seeded bug");
  auto mode = db_.prepare("PRAGMA journal_mode");
  if (!mode) return mode.error();
  const auto row = mode->step();
  if (!row) return row.error();
  if (mode->text(0) != "wal") {
    return Error{Errc::unavailable, "the file system of " + directory_ + " does not allow a write-ahead log"};
  }
  mode->reset();
  // Records that a killed server wrote, but did not sync, become visible now: let them be durable first
  // (rule 1).
  if (Status settled = mutant(Mutant::unsynced_is_read) ? ok() : db_.settle_log(); !settled)
    return settled.error();
  if (Status format = check_meta("format", kFormat); !format) return format.error();
  if (Status same = check_meta("partitions", partitions); !same) return same.error();
  for (std::uint32_t i = 0; i < partitions; ++i) {
    const std::string table = table_of(i);
    const Status created =
        db_.exec("CREATE TABLE IF NOT EXISTS " + table +
                 "(offset INTEGER PRIMARY KEY, key TEXT NOT NULL, checksum INTEGER NOT NULL,"
                 " bytes BLOB NOT NULL)");
    if (!created) return created.error();
    auto insert =
        db_.prepare("INSERT INTO " + table + "(offset, key, checksum, bytes) VALUES (?1, ?2, ?3, ?4)");
    if (!insert) return insert.error();
    auto newest = prepare_newest(db_, i);
    if (!newest) return newest.error();
    inserts_.push_back(std::move(*insert));
    newest_.push_back(std::move(*newest));
  }
  return db_.exec("COMMIT");
}

Status LogWriter::check_meta(const std::string& name, std::int64_t expected) {
  auto insert = db_.prepare("INSERT INTO meta(name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING");
  if (!insert) return insert.error();
  if (Status inserted = insert->bind_text(1, name).bind(2, expected).run(); !inserted)
    return inserted.error();
  auto select = db_.prepare("SELECT value FROM meta WHERE name = ?1");
  if (!select) return select.error();
  const auto row = select->bind_text(1, name).step();
  if (!row) return row.error();
  const std::int64_t stored = select->integer(0);
  if (stored == expected) return ok();
  if (name == "format") {
    return Error{Errc::invalid_argument, "the log in " + directory_ + " has format " +
                                             std::to_string(stored) + ", this program knows format " +
                                             std::to_string(expected) + "; upgrade first"};
  }
  return Error{Errc::invalid_argument, "the log in " + directory_ + " was made with " +
                                           std::to_string(stored) + " partitions, the configuration says " +
                                           std::to_string(expected) +
                                           "; the number is fixed when a log is made"};
}

Result<std::vector<Offset>> LogWriter::ends() {
  std::vector<Offset> ends;
  for (Statement& newest : newest_) {
    const auto end = end_of(newest);
    if (!end) return end.error();
    ends.push_back(*end);
  }
  return ends;
}

Status LogWriter::insert(const std::vector<FileRecord>& records) {
  if (Status begun = db_.exec("BEGIN IMMEDIATE"); !begun) return begun.error();
  for (const FileRecord& record : records) {
    Statement& insert = inserts_[record.partition.value()];
    const std::uint64_t checksum =
        record_checksum(record.partition, record.offset, record.key, *record.bytes);
    insert.bind(1, sql_integer(record.offset.value())).bind_text(2, record.key);
    insert.bind(3, sql_integer(checksum)).bind_blob(4, *record.bytes);
    if (Status inserted = insert.run(); !inserted) return inserted.error();
  }
  // Everything but the commit frame goes to the file now: a full disk shows here, where the answer is still a
  // certain "not written", and not at COMMIT.
  const int rc = sqlite3_db_cacheflush(db_.raw());
  if (rc != SQLITE_OK) return error_of(rc, db_.raw(), "write to " + directory_);
  return ok();
}

WriteResult LogWriter::rolled_back(WriteResult result) {
  // Most errors have rolled the transaction back already.
  if (db_.in_transaction()) {
    const Status rolled_back = db_.exec("ROLLBACK");
    result.unusable = result.unusable || !rolled_back;
  }
  return result;
}

WriteResult LogWriter::write(const std::vector<FileRecord>& records) {
  WriteResult result;
  if (Status inserted = insert(records); !inserted) {
    result.error = inserted.error();
    result.error.code = Errc::unavailable;
    return rolled_back(std::move(result));
  }
  const Status committed = db_.exec("COMMIT");
  if (committed || mutant(Mutant::log_commit_not_inspected)) {
    result.outcome = WriteResult::Outcome::written;
    return result;
  }
  result.outcome = WriteResult::Outcome::unknown;
  const Errc told = mutant(Mutant::disk_false_not_written) ? Errc::unavailable : Errc::outcome_unknown;
  result.error = Error{told, committed.error().message};
  // After a failed sync the kernel may have dropped what it could not write, and the next sync succeeds
  // without it: nothing more may be built on this file before it has been opened, and read, again.
  const int code = db_.last_code();
  result.unusable = code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
  result = rolled_back(std::move(result));
  auto found = ends();
  result.unusable = result.unusable || !found;
  if (found) result.ends = std::move(*found);
  return result;
}

Result<std::shared_ptr<LogFileReader>> LogFileReader::open(const std::string& directory) {
  const std::string path = path_of(directory);
  // Asked where SQLite will look for it.
  sqlite3_vfs* vfs = sqlite3_vfs_find(nullptr);
  int exists = 0;
  if (vfs->xAccess(vfs, path.c_str(), SQLITE_ACCESS_EXISTS, &exists) != SQLITE_OK || exists == 0) {
    return Error{Errc::not_found, "there is no log in " + directory};
  }
  auto db = Database::open(path, Access::read_only);
  if (!db) return db.error();
  std::shared_ptr<LogFileReader> reader(new LogFileReader);
  reader->db_ = std::move(*db);

  auto meta = reader->db_.prepare(
      "SELECT (SELECT value FROM meta WHERE name = 'format'), (SELECT value FROM meta WHERE name = "
      "'partitions')");
  if (!meta) return meta.error();
  const auto row = meta->step();
  if (!row) return row.error();
  if (meta->integer(0) != kFormat) {
    return Error{Errc::invalid_argument,
                 "the log in " + directory + " has format " + std::to_string(meta->integer(0)) +
                     ", this program knows format " + std::to_string(kFormat) + "; upgrade first"};
  }
  const std::int64_t partitions = meta->integer(1);
  if (partitions < 1 || partitions > std::int64_t{kPartitionsMax}) {
    return Error{Errc::corrupt, "the log in " + directory + " has no valid number of partitions"};
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(partitions); ++i) {
    auto select = reader->db_.prepare("SELECT offset, key, checksum, bytes FROM " + table_of(i) +
                                      " WHERE offset >= ?1 AND offset < ?2 ORDER BY offset");
    if (!select) return select.error();
    auto newest = prepare_newest(reader->db_, i);
    if (!newest) return newest.error();
    reader->selects_.push_back(std::move(*select));
    reader->newest_.push_back(std::move(*newest));
  }
  return reader;
}

Result<Offset> LogFileReader::end(Partition partition) {
  return end_of(newest_[partition.value()]);
}

Result<ReadBatch> LogFileReader::read(Partition partition, Offset from, Offset end,
                                      const ReadOptions& options) {
  Statement& select = selects_[partition.value()];
  select.bind(1, sql_integer(from.value())).bind(2, sql_integer(end.value()));
  ReadBatch batch;
  batch.next = from;
  std::size_t bytes = 0;
  std::optional<Error> fault;
  while (batch.next < end && (batch.records.empty() ||
                              (batch.records.size() < options.records_max && bytes < options.bytes_max))) {
    const auto row = select.step();
    const std::string place = to_string(LogPosition{partition, batch.next});
    if (!row) {
      fault = Error{row.error().code, "read record " + place + ": " + row.error().message};
      break;
    }
    if (!*row || unsigned_integer(select.integer(0)) != batch.next.value()) {
      fault = Error{Errc::corrupt, "record " + place + " is missing from the log"};
      break;
    }
    auto content = std::make_shared<const std::string>(select.blob(3));
    const std::uint64_t checksum = record_checksum(partition, batch.next, select.text(1), *content);
    if (unsigned_integer(select.integer(2)) != checksum && !mutant(Mutant::checksum_ignored)) {
      fault = Error{Errc::corrupt, "record " + place + " fails its checksum"};
      break;
    }
    bytes += content->size();
    batch.records.push_back({batch.next, std::move(content)});
    batch.next = next(batch.next);
  }
  select.reset();
  if (fault && batch.records.empty() && !mutant(Mutant::bad_record_ends_log)) return *fault;
  return batch;
}

Result<ReadBatch> LogFileReader::read(Partition partition, Offset from, const ReadOptions& options) {
  if (Status begun = db_.exec("BEGIN"); !begun) return begun.error();
  Result<ReadBatch> result;
  const auto last = end(partition);
  if (!last) {
    result = last.error();
  } else if (from > *last) {
    result = beyond_the_end(partition, *last, from);
  } else {
    result = read(partition, from, *last, options);
  }
  if (!db_.in_transaction()) return result;  // An error may have ended it.
  const Status ended = db_.exec("COMMIT");
  if (!ended && result) return ended.error();
  return result;
}

}  // namespace varve::sqlite
