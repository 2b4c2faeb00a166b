#include "tests/eventlog/faulty_vfs.h"

#include "runtime/check.h"

namespace varve::test {
namespace {

struct FaultyFile {
  sqlite3_file base;  // First, as SQLite wants it.
  FaultyVfs* vfs;
  int kind;
  sqlite3_file* real;  // Lies behind this struct in the same allocation.
};

FaultyFile* file_of(sqlite3_file* file) {
  return reinterpret_cast<FaultyFile*>(file);
}
sqlite3_file* real_of(sqlite3_file* file) {
  return file_of(file)->real;
}
const sqlite3_io_methods* methods_of(sqlite3_file* file) {
  return real_of(file)->pMethods;
}

int close_file(sqlite3_file* f) {
  return methods_of(f)->xClose(real_of(f));
}
int read_file(sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
  return methods_of(f)->xRead(real_of(f), to, size, at);
}
int write_file(sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
  if (file_of(f)->vfs->strikes(file_of(f)->kind, false)) return SQLITE_FULL;
  return methods_of(f)->xWrite(real_of(f), from, size, at);
}
int truncate_file(sqlite3_file* f, sqlite3_int64 size) {
  return methods_of(f)->xTruncate(real_of(f), size);
}
int sync_file(sqlite3_file* f, int flags) {
  if (file_of(f)->vfs->strikes(file_of(f)->kind, true)) return SQLITE_IOERR_FSYNC;
  return methods_of(f)->xSync(real_of(f), flags);
}
int file_size(sqlite3_file* f, sqlite3_int64* size) {
  return methods_of(f)->xFileSize(real_of(f), size);
}
int lock_file(sqlite3_file* f, int level) {
  return methods_of(f)->xLock(real_of(f), level);
}
int unlock_file(sqlite3_file* f, int level) {
  return methods_of(f)->xUnlock(real_of(f), level);
}
int check_lock(sqlite3_file* f, int* out) {
  return methods_of(f)->xCheckReservedLock(real_of(f), out);
}
int file_control(sqlite3_file* f, int op, void* arg) {
  return methods_of(f)->xFileControl(real_of(f), op, arg);
}
int sector_size(sqlite3_file* f) {
  return methods_of(f)->xSectorSize(real_of(f));
}
int characteristics(sqlite3_file* f) {
  return methods_of(f)->xDeviceCharacteristics(real_of(f));
}
int shm_map(sqlite3_file* f, int page, int size, int extend, void volatile** out) {
  return methods_of(f)->xShmMap(real_of(f), page, size, extend, out);
}
int shm_lock(sqlite3_file* f, int offset, int n, int flags) {
  return methods_of(f)->xShmLock(real_of(f), offset, n, flags);
}
void shm_barrier(sqlite3_file* f) {
  methods_of(f)->xShmBarrier(real_of(f));
}
int shm_unmap(sqlite3_file* f, int remove) {
  return methods_of(f)->xShmUnmap(real_of(f), remove);
}

const sqlite3_io_methods kMethods = {
    2,         close_file,  read_file,  write_file,   truncate_file, sync_file,       file_size,
    lock_file, unlock_file, check_lock, file_control, sector_size,   characteristics, shm_map,
    shm_lock,  shm_barrier, shm_unmap,  nullptr,      nullptr,
};

sqlite3_vfs* real_vfs = nullptr;

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  FaultyFile* faulty = file_of(file);
  faulty->base.pMethods = nullptr;
  faulty->vfs = static_cast<FaultyVfs*>(vfs->pAppData);
  faulty->kind = flags & (FaultyVfs::kWal | FaultyVfs::kMainFile);
  faulty->real = reinterpret_cast<sqlite3_file*>(faulty + 1);
  const int rc = real_vfs->xOpen(real_vfs, name, faulty->real, flags, out_flags);
  if (faulty->real->pMethods != nullptr) faulty->base.pMethods = &kMethods;
  return rc;
}

}  // namespace

FaultyVfs::FaultyVfs() {
  real_vfs = sqlite3_vfs_find(nullptr);
  vfs_ = *real_vfs;
  vfs_.szOsFile = static_cast<int>(sizeof(FaultyFile)) + real_vfs->szOsFile;
  vfs_.zName = "faulty";
  vfs_.pNext = nullptr;
  vfs_.pAppData = this;
  vfs_.xOpen = open_file;
  CHECK(sqlite3_vfs_register(&vfs_, 1) == SQLITE_OK);
}

FaultyVfs::~FaultyVfs() {
  CHECK(sqlite3_vfs_unregister(&vfs_) == SQLITE_OK);
  CHECK(sqlite3_vfs_register(real_vfs, 1) == SQLITE_OK);
}

void FaultyVfs::fail(int files, int first, int count) {
  syncs_only_ = false;
  files_ = files;
  first_ = first;
  count_ = count;
  seen_ = 0;
  failed_ = 0;
}

void FaultyVfs::fail_syncs(int files, int first, int count) {
  fail(files, first, count);
  syncs_only_ = true;
}

bool FaultyVfs::strikes(int file, bool is_sync) {
  if ((file & files_) == 0 || (syncs_only_ && !is_sync)) return false;
  const int number = seen_++;
  if (number < first_ || number - first_ >= count_) return false;
  ++failed_;
  return true;
}

}  // namespace varve::test
