// SqliteVfs: SQLite's only way to the world, led to a simulated disk. While it lives it is SQLite's default
// VFS, so the code under test opens its files as in production. It behaves as SQLite's own VFS for Unix does:
// the same locks, the same answers to a full disk and to a short read, the directory synced with the first
// sync of a new journal. Shared memory is on the heap and belongs to the connections of one incarnation.
//
// Time is the scheduler's, chance comes from a seed, and SQLite's own generator begins anew with every
// SqliteVfs: one seed, one content of every file. Waiting for a lock costs no time: everything lives on one
// thread, so a lock that is taken stays taken.
//
// One at a time, or properly nested: an inner one is the default until it goes.
#pragma once

#include <memory>

#include "sim/disk.h"

namespace varve::sim {

// SQLite without threads and mutexes. Once per program, before any connection is open.
void configure_sqlite_for_simulation();

class SqliteVfs {
 public:
  SqliteVfs(Scheduler& scheduler, Disk& disk, std::uint64_t seed);
  // No connection may be open.
  ~SqliteVfs();
  SqliteVfs(const SqliteVfs&) = delete;
  SqliteVfs& operator=(const SqliteVfs&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace varve::sim
