// FaultyVfs: as long as it lives, SQLite's files of new connections go through it, and it can make writes and
// syncs of one kind of file fail. Everything else is passed on to the real file system.
#pragma once

#include <sqlite3.h>

#include <atomic>

namespace varve::test {

class FaultyVfs {
 public:
  FaultyVfs();
  ~FaultyVfs();
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  static constexpr int kWal = SQLITE_OPEN_WAL;
  static constexpr int kMainFile = SQLITE_OPEN_MAIN_DB;

  // Of the writes and syncs of such files from now on, number `first` (from 0) and the following ones fail,
  // `count` in all.
  void fail(int files, int first, int count);
  // The same, but only syncs are counted.
  void fail_syncs(int files, int first, int count);
  void heal() { fail(0, 0, 0); }
  // How many operations have failed since then.
  int failed() const { return failed_; }

  // True if this operation is to fail.
  bool strikes(int file, bool is_sync);

 private:
  sqlite3_vfs vfs_{};
  std::atomic<int> files_{0};
  std::atomic<bool> syncs_only_{false};
  std::atomic<int> first_{0};
  std::atomic<int> count_{0};
  std::atomic<int> seen_{0};
  std::atomic<int> failed_{0};
};

}  // namespace varve::test
