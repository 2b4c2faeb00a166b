// The numbered SQL files of this folder, embedded at build time: a binary brings its own schema along.
//
// Forward only: a file that has been released never changes (its checksum is stored where it was applied);
// what comes next is a new file with the next number of its database.
#pragma once

#include <span>
#include <string_view>

namespace varve {

struct Migration {
  int number;                 // 1, 2, 3 ... per database.
  std::string_view database;  // "views" or "control" of SQLite; "postgres".
  std::string_view name;      // "0001_views"
  std::string_view sql;
};

// Of one database, in order.
std::span<const Migration> sqlite_migrations(std::string_view database);
// In order: one database holds everything.
std::span<const Migration> postgres_migrations();

}  // namespace varve
