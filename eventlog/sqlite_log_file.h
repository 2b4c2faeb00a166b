// The file behind SqliteEventLog: who may write it, what it looks like, and the blocking work on it. The port
// objects in sqlite_event_log.cpp run this behind offload.
//
// Layout of <directory>/log.db (WAL, synchronous=FULL): `meta` with the format and the number of partitions,
// and one table of records per partition, keyed by offset. A table each, because SQLite appends to the right
// edge of a tree without moving rows: measured 1.2 to 1.6 times as fast as one table for all partitions. 8
// KiB pages, because a record of 2 KB wastes half of a 4 KiB page (twice as fast, two thirds of the file).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eventlog/event_log.h"
#include "eventlog/sqlite_support.h"

namespace varve::sqlite {

// XXH64 over the record and its place, so that a row that moved is found as well as one that changed.
std::uint64_t record_checksum(Partition partition, Offset offset, std::string_view key,
                              std::string_view bytes);

// <directory>/LOCK, held as long as the object lives; the kernel lets go of it when the process dies.
class DirectoryLock {
 public:
  DirectoryLock() = default;
  DirectoryLock(DirectoryLock&& other) noexcept { std::swap(descriptor_, other.descriptor_); }
  DirectoryLock& operator=(DirectoryLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~DirectoryLock();

  // Errc::conflict names the directory and the process that holds it.
  static Result<DirectoryLock> take(const std::string& directory);

 private:
  int descriptor_ = -1;
};

// What the log needs of its directory that SQLite does not do. The simulator gives its own.
class LogFiles {
 public:
  LogFiles() = default;
  LogFiles(const LogFiles&) = delete;
  LogFiles& operator=(const LogFiles&) = delete;
  virtual ~LogFiles() = default;

  // Makes the directory if it is missing and holds its lock until the last reference is gone. Errc::conflict:
  // another server holds it.
  virtual Result<std::shared_ptr<void>> claim(const std::string& directory) = 0;
  // Makes the names in the directory durable.
  virtual Status sync_directory(const std::string& directory) = 0;
  // The commit that passes so many pages of the write-ahead log checkpoints it: 8 MB, measured 5 to 25 ms
  // each.
  virtual int checkpoint_pages() const { return 1000; }
};
// Those of the operating system.
std::shared_ptr<LogFiles> system_log_files();

struct FileRecord {
  Partition partition;
  Offset offset;
  std::string key;
  std::shared_ptr<const std::string> bytes;
};

struct WriteResult {
  enum class Outcome : unsigned char { written, not_written, unknown };
  Outcome outcome = Outcome::not_written;
  Error error;               // Of the two others.
  std::vector<Offset> ends;  // After `unknown`: what the file holds, by partition.
  bool unusable = false;     // Nothing more may be written before the file is opened again.
};

// The one writer. Holds the lock.
class LogWriter {
 public:
  // Makes the directory and the file if they are missing.
  static Result<std::shared_ptr<LogWriter>> open(LogFiles& files, const std::string& directory,
                                                 std::uint32_t partitions);

  // All records in one transaction.
  WriteResult write(const std::vector<FileRecord>& records);
  // One offset behind the newest record, by partition.
  Result<std::vector<Offset>> ends();

 private:
  LogWriter() = default;
  Status prepare_schema(std::uint32_t partitions, int checkpoint_pages);
  Status check_meta(const std::string& name, std::int64_t expected);
  Status insert(const std::vector<FileRecord>& records);
  WriteResult rolled_back(WriteResult result);

  std::string directory_;
  std::shared_ptr<void> lock_;  // Let go of after the connection is closed.
  Database db_;
  std::vector<Statement> inserts_;
  std::vector<Statement> newest_;
};

// A connection for reading; works with and without a running writer.
class LogFileReader {
 public:
  static Result<std::shared_ptr<LogFileReader>> open(const std::string& directory);

  std::uint32_t partitions() const { return static_cast<std::uint32_t>(selects_.size()); }
  Result<Offset> end(Partition partition);
  // The records from `from` up to `end` (not included). Good records before a damaged one are returned first.
  Result<ReadBatch> read(Partition partition, Offset from, Offset end, const ReadOptions& options);
  // The same up to the file's end, which is read in the same transaction.
  Result<ReadBatch> read(Partition partition, Offset from, const ReadOptions& options);

 private:
  LogFileReader() = default;

  Database db_;
  std::vector<Statement> selects_;
  std::vector<Statement> newest_;
};

// "the log of partition 3 ends at 17, a reader wants 20: it was truncated or exchanged"
Error beyond_the_end(Partition partition, Offset end, Offset from);

}  // namespace varve::sqlite
