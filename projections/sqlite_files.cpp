#include "projections/sqlite_files.h"

#include <sqlite3.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace varve::sqlite {
namespace {

Error cannot(const char* what, const std::string& path, int rc) {
  return {Errc::unavailable, std::string("cannot ") + what + " " + path + ": " + sqlite3_errstr(rc) +
                                 " (SQLite " + std::to_string(rc) + ")"};
}

// An open file, as SQLite wants it: some memory of its file system's size.
class RawFile {
 public:
  explicit RawFile(sqlite3_vfs& vfs)
      : memory_((static_cast<std::size_t>(vfs.szOsFile) + sizeof(std::max_align_t) - 1) /
                sizeof(std::max_align_t)) {}
  ~RawFile() {
    if (get()->pMethods != nullptr) get()->pMethods->xClose(get());
  }
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;
  sqlite3_file* get() { return reinterpret_cast<sqlite3_file*>(memory_.data()); }

 private:
  std::vector<std::max_align_t> memory_;
};

// Durably.
Status make_empty(sqlite3_vfs& vfs, const std::string& path) {
  RawFile file(vfs);
  constexpr int kFlags = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE;
  // SQLite hands over names with what follows them: options, of which there are none.
  std::string name = path;
  name.append(3, '\0');
  if (const int rc = vfs.xOpen(&vfs, name.c_str(), file.get(), kFlags, nullptr); rc != SQLITE_OK)
    return cannot("open", path, rc);
  if (const int rc = file.get()->pMethods->xTruncate(file.get(), 0); rc != SQLITE_OK)
    return cannot("empty", path, rc);
  if (const int rc = file.get()->pMethods->xSync(file.get(), SQLITE_SYNC_NORMAL); rc != SQLITE_OK)
    return cannot("sync", path, rc);
  return ok();
}

}  // namespace

Result<bool> file_exists(const std::string& path) {
  sqlite3_vfs* vfs = sqlite3_vfs_find(nullptr);
  int there = 0;
  const int rc = vfs->xAccess(vfs, path.c_str(), SQLITE_ACCESS_EXISTS, &there);
  if (rc != SQLITE_OK) return cannot("look at", path, rc);
  return there != 0;
}

Result<bool> remove_database(const std::string& path) {
  sqlite3_vfs* vfs = sqlite3_vfs_find(nullptr);
  bool any = false;
  // The database last: as long as it is there, somebody sees what is left of it.
  for (const char* end : {"-journal", "-wal", "-shm", ""}) {
    const std::string name = path + end;
    const int rc = vfs->xDelete(vfs, name.c_str(), 1);
    if (rc == SQLITE_IOERR_DELETE_NOENT) continue;
    if (rc != SQLITE_OK) return cannot("remove", name, rc);
    any = true;
  }
  return any;
}

Result<bool> erase_database(const std::string& path) {
  const auto there = file_exists(path);
  if (!there) return there;
  if (*there) {
    if (const Status emptied = make_empty(*sqlite3_vfs_find(nullptr), path); !emptied) return emptied.error();
  }
  return remove_database(path);
}

}  // namespace varve::sqlite
