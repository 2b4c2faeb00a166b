// Files of SQLite databases, looked at and removed by way of SQLite's own default file system. So they are
// those of whatever disk the databases are on, a simulated one included.
//
// Blocks. For adapters.
#pragma once

#include <string>

#include "runtime/result.h"

namespace varve::sqlite {

// A file without a byte counts as one that is not there: nothing is in it.
Result<bool> file_exists(const std::string& path);

// Removes a database with what belongs to it; true if there was something. Errc::unavailable: some of it may
// be left.
Result<bool> remove_database(const std::string& path);

// The same for a file that will be used again if it is found. As long as a part of it is left it is empty:
// never the database without the newest pages, which lie in its write-ahead log. Nobody has it open.
Result<bool> erase_database(const std::string& path);

}  // namespace varve::sqlite
