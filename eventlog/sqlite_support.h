// The SQLite C API as values: a Database and its Statements close themselves, and every result code becomes
// an Error. For adapters' .cpp files; sqlite3.h itself stays out of headers.
//
// A connection and its statements are used by one thread at a time; handing them on between jobs is fine.
// Statements must not outlive their Database.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace varve::sqlite {

// BUSY, LOCKED, FULL, IOERR, CANTOPEN, READONLY and the like: unavailable. CORRUPT, NOTADB: corrupt.
Errc errc_of(int rc);
// "<doing>: disk I/O error (SQLite 778)"
Error error_of(int rc, sqlite3* db, std::string_view doing);

class Statement {
 public:
  Statement() = default;
  Statement(Statement&& other) noexcept { swap(other); }
  Statement& operator=(Statement&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Statement();

  explicit operator bool() const { return statement_ != nullptr; }

  // Parameters count from 1; text and blobs are copied. A failed bind is reported by the next step().
  Statement& bind(int parameter, std::int64_t value);
  Statement& bind_text(int parameter, std::string_view text);
  // Not copied: the text stays where it is until the parameter is bound anew, or nobody steps any more.
  Statement& bind_kept_text(int parameter, std::string_view text);
  Statement& bind_blob(int parameter, std::string_view bytes);
  Statement& bind_null(int parameter);

  // True: there is a row. False: done. After an error the statement is reset.
  Result<bool> step();
  // Makes it ready to run again and ends its implicit read transaction. Bindings stay.
  void reset();
  // For statements without rows: step, then reset.
  Status run();

  // Columns count from 0. Views are valid until the next step() or reset().
  std::int64_t integer(int column) const;
  std::string_view text(int column) const;
  std::string_view blob(int column) const;
  bool is_null(int column) const;

 private:
  friend class Database;
  Statement(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  void note(int rc);
  void swap(Statement& other) noexcept {
    std::swap(db_, other.db_);
    std::swap(statement_, other.statement_);
    std::swap(bind_rc_, other.bind_rc_);
  }

  sqlite3* db_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
  int bind_rc_ = 0;  // The first bind that failed since the last step().
};

enum class Access : unsigned char {
  create,      // Read and write; the file is made if it is missing.
  read_write,  // The file must exist.
  read_only,
};

class Database {
 public:
  Database() = default;
  Database(Database&& other) noexcept { *this = std::move(other); }
  Database& operator=(Database&& other) noexcept {
    std::swap(db_, other.db_);
    std::swap(log_is_settled_, other.log_is_settled_);
    return *this;
  }
  ~Database();

  // A connection without SQLite's own mutex. Waits up to 5 s for locks of other connections.
  static Result<Database> open(const std::string& path, Access access);

  explicit operator bool() const { return db_ != nullptr; }

  // One or more statements whose rows are of no interest.
  Status exec(const std::string& sql);
  Result<Statement> prepare(std::string_view sql);
  // Makes durable what the write-ahead log holds: writes its bytes again, as they are, and syncs them. After
  // a sync that failed, in this process or in one before it, the system takes bytes for written that are not
  // on the disk, and the next sync succeeds without them. In a write transaction, or it begins one: that
  // keeps others out.
  Status settle_log();
  // Brings what it can of the log into the file, without waiting for anybody. An Error loses nothing, but its
  // sync may have: the next checkpoint settles the log first, lest pages reach the file whose log does not
  // reach the disk.
  Status checkpoint();
  bool log_is_settled() const { return log_is_settled_; }
  // Rows that the newest INSERT, UPDATE or DELETE changed.
  std::int64_t changes() const;
  bool in_transaction() const;
  // SQLite's extended code of the newest failure on this connection.
  int last_code() const;

  // For what is not wrapped here (backup, hooks).
  sqlite3* raw() const { return db_; }

 private:
  sqlite3* db_ = nullptr;
  bool log_is_settled_ = true;
};

}  // namespace varve::sqlite
