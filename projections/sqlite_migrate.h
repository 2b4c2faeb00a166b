// Brings a SQLite file to the newest schema of its database ("views" or "control"): applies what is missing
// of migrations/sqlite, in order, in one transaction, and remembers the checksum of every file that it
// applied.
#pragma once

#include <string>
#include <string_view>

#include "eventlog/sqlite_support.h"

namespace varve {

// Errc::corrupt, and nothing changed: the file has a newer schema than this program, or one that was made
// from other texts. `path` is for the sentence.
Status migrate(sqlite::Database& db, std::string_view database, const std::string& path);

}  // namespace varve
