#include "eventlog/sqlite_support.h"

#include <sqlite3.h>

#include <algorithm>
#include <vector>

#include "runtime/check.h"
#include "runtime/mutant.h"

namespace varve::sqlite {
namespace {

constexpr int kBusyTimeoutMs = 5000;
constexpr sqlite3_int64 kPieceMax = 1 << 16;  // SQLite's VFS for Unix writes less than 128 KiB at once.

// SQLite takes an empty blob with a null pointer for NULL.
const char* data_of(std::string_view bytes) {
  return bytes.data() == nullptr ? "" : bytes.data();
}

Status rewrite_log(sqlite3* db) {
  sqlite3_file* log = nullptr;
  int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, static_cast<void*>(&log));
  if (rc != SQLITE_OK) return error_of(rc, db, "find the write-ahead log");
  if (log->pMethods == nullptr) return ok();  // There is none.
  sqlite3_int64 size = 0;
  rc = log->pMethods->xFileSize(log, &size);
  std::vector<char> piece(static_cast<std::size_t>(std::min(size, kPieceMax)));
  for (sqlite3_int64 at = 0; rc == SQLITE_OK && at < size; at += kPieceMax) {
    const int bytes = static_cast<int>(std::min(size - at, kPieceMax));
    rc = log->pMethods->xRead(log, piece.data(), bytes, at);
    if (rc == SQLITE_OK) rc = log->pMethods->xWrite(log, piece.data(), bytes, at);
  }
  if (rc == SQLITE_OK && size > 0) rc = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
  return rc == SQLITE_OK ? ok() : Status{error_of(rc, nullptr, "write the write-ahead log again")};
}

}  // namespace

Errc errc_of(int rc) {
  switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Errc::corrupt;
    default:
      return Errc::unavailable;
  }
}

Error error_of(int rc, sqlite3* db, std::string_view doing) {
  std::string message{doing};
  message += ": ";
  message += db != nullptr && sqlite3_errcode(db) == rc ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
  message += " (SQLite " + std::to_string(rc) + ")";
  return Error{errc_of(rc), std::move(message)};
}

Statement::~Statement() {
  sqlite3_finalize(statement_);
}

void Statement::note(int rc) {
  if (bind_rc_ == SQLITE_OK) bind_rc_ = rc;
}

Statement& Statement::bind(int parameter, std::int64_t value) {
  note(sqlite3_bind_int64(statement_, parameter, value));
  return *this;
}

Statement& Statement::bind_text(int parameter, std::string_view text) {
  note(sqlite3_bind_text64(statement_, parameter, data_of(text), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind_kept_text(int parameter, std::string_view text) {
  note(sqlite3_bind_text64(statement_, parameter, data_of(text), text.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind_blob(int parameter, std::string_view bytes) {
  note(sqlite3_bind_blob64(statement_, parameter, data_of(bytes), bytes.size(), SQLITE_TRANSIENT));
  return *this;
}

Statement& Statement::bind_null(int parameter) {
  note(sqlite3_bind_null(statement_, parameter));
  return *this;
}

Result<bool> Statement::step() {
  CHECK(statement_ != nullptr);
  const int bound = std::exchange(bind_rc_, SQLITE_OK);
  // A wrong index, or binding a statement that still runs, is a bug; running out of memory or length is not.
  CHECK(bound != SQLITE_RANGE);
  CHECK(bound != SQLITE_MISUSE);
  if (bound != SQLITE_OK) return error_of(bound, db_, "bind");
  const int rc = sqlite3_step(statement_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  Error error = error_of(rc, db_, sqlite3_sql(statement_));
  reset();
  return error;
}

void Statement::reset() {
  sqlite3_reset(statement_);
}

Status Statement::run() {
  const auto row = step();
  if (!row) return row.error();
  reset();
  return ok();
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string_view Statement::text(int column) const {
  const void* data = sqlite3_column_text(statement_, column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return data == nullptr ? std::string_view{} : std::string_view{static_cast<const char*>(data), size};
}

std::string_view Statement::blob(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return data == nullptr ? std::string_view{} : std::string_view{static_cast<const char*>(data), size};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Database::~Database() {
  CHECK(sqlite3_close(db_) == SQLITE_OK);
}

// Statistics of memory that nobody reads would cost a lock at every allocation. Says "misuse", and changes
// nothing, in a process that has begun to use the library otherwise.
static void configure_once() {
  static const int kDone = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  (void)kDone;
}

Result<Database> Database::open(const std::string& path, Access access) {
  configure_once();
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (access == Access::read_only) flags |= SQLITE_OPEN_READONLY;
  if (access != Access::read_only) flags |= SQLITE_OPEN_READWRITE;
  if (access == Access::create) flags |= SQLITE_OPEN_CREATE;
  Database database;
  const int rc = sqlite3_open_v2(path.c_str(), &database.db_, flags, nullptr);
  if (rc != SQLITE_OK) return error_of(rc, database.db_, "open " + path);
  sqlite3_busy_timeout(database.db_, kBusyTimeoutMs);
  return database;
}

Status Database::exec(const std::string& sql) {
  const int rc = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return error_of(rc, db_, sql);
  return ok();
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int rc = sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                    &statement, nullptr);
  if (rc != SQLITE_OK) return error_of(rc, db_, sql);
  CHECK(statement != nullptr);
  return Statement{db_, statement};
}

Status Database::settle_log() {
  if (sqlite3_txn_state(db_, nullptr) == SQLITE_TXN_WRITE) return rewrite_log(db_);
  if (Status begun = exec("BEGIN IMMEDIATE"); !begun) return begun;
  Status settled = rewrite_log(db_);
  const Status ended = exec("ROLLBACK");
  return settled ? ended : settled;
}

Status Database::checkpoint() {
  if (!log_is_settled_ && !mutant(Mutant::checkpoint_of_unsynced)) {
    if (Status settled = settle_log(); !settled) return settled;
  }
  const int rc = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  log_is_settled_ = rc == SQLITE_OK || rc == SQLITE_BUSY;
  return log_is_settled_ ? ok() : Status{error_of(rc, db_, "checkpoint")};
}

std::int64_t Database::changes() const {
  return sqlite3_changes64(db_);
}
bool Database::in_transaction() const {
  return sqlite3_get_autocommit(db_) == 0;
}
int Database::last_code() const {
  return sqlite3_extended_errcode(db_);
}

}  // namespace varve::sqlite
