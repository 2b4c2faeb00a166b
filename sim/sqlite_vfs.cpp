#include "sim/sqlite_vfs.h"

#include <sqlite3.h>

#include <array>
#include <cstring>

#include "runtime/check.h"

namespace varve::sim {
namespace {

constexpr std::size_t kShmLocks = SQLITE_SHM_NLOCK;

// What the connections to one file share: locks and the index of the write-ahead log.
struct SharedFile {
  int readers = 0;  // Connections at SHARED or above.
  bool reserved = false;
  bool pending = false;
  bool exclusive = false;
  // A connection's SHARED lock of one area, and its EXCLUSIVE one (-1).
  std::array<int, kShmLocks> shm_locks{};
};

struct SharedMemory {
  std::vector<std::unique_ptr<char[]>> regions;  // NOLINT(modernize-avoid-c-arrays): SQLite's blocks.
};

struct Machine {
  Scheduler& scheduler;
  Disk& disk;
  Rng rng;
  // By incarnation and inode; gone with the last connection.
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::weak_ptr<SharedFile>> shared{};
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::weak_ptr<SharedMemory>> memory{};
};

template <class T>
std::shared_ptr<T> share(std::map<std::pair<std::uint64_t, std::uint64_t>, std::weak_ptr<T>>& all,
                         const Disk::Handle& handle) {
  std::weak_ptr<T>& slot = all[{handle.incarnation(), handle.inode()}];
  auto found = slot.lock();
  if (!found) {
    found = std::make_shared<T>();
    slot = found;
  }
  return found;
}

// One open file.
struct OpenFile {
  Machine& machine;
  Disk::Handle handle;
  std::string path;
  std::shared_ptr<SharedFile> shared;
  bool new_journal = false;  // Its directory is synced with it, once.
  bool delete_on_close = false;
  int level = SQLITE_LOCK_NONE;
  std::shared_ptr<SharedMemory> memory{};
  std::array<int, kShmLocks> held{};  // As SharedFile::shm_locks, of this connection: 0, 1 or -1.
};

// What SQLite allocates.
struct SqliteFile {
  sqlite3_file base;  // First, as SQLite wants it.
  OpenFile* open;     // Owned.
};

OpenFile& open_of(sqlite3_file* file) {
  return *reinterpret_cast<SqliteFile*>(file)->open;
}
Machine& machine_of(sqlite3_vfs* vfs) {
  return *static_cast<Machine*>(vfs->pAppData);
}
std::string directory_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

int unlock_file(sqlite3_file* f, int level) {
  OpenFile& file = open_of(f);
  if (file.level <= level) return SQLITE_OK;
  SharedFile& shared = *file.shared;
  if (file.level >= SQLITE_LOCK_RESERVED) {
    shared.reserved = false;
    shared.pending = false;
    shared.exclusive = false;
  }
  if (level == SQLITE_LOCK_NONE && file.level >= SQLITE_LOCK_SHARED) --shared.readers;
  file.level = level;
  return SQLITE_OK;
}

int shm_unmap(sqlite3_file* f, int /*remove*/) {
  OpenFile& file = open_of(f);
  for (std::size_t i = 0; i < kShmLocks; ++i) {
    if (file.held[i] == 1) --file.shared->shm_locks[i];
    if (file.held[i] == -1) file.shared->shm_locks[i] = 0;
    file.held[i] = 0;
  }
  file.memory.reset();
  return SQLITE_OK;
}

int close_file(sqlite3_file* f) {
  const std::unique_ptr<OpenFile> file{&open_of(f)};
  unlock_file(f, SQLITE_LOCK_NONE);
  shm_unmap(f, 0);
  if (file->delete_on_close && !file->path.empty() && !file->machine.disk.dead(file->handle)) {
    file->machine.disk.remove(file->path);
  }
  f->pMethods = nullptr;
  return SQLITE_OK;
}

int read_file(sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
  OpenFile& file = open_of(f);
  auto* bytes = static_cast<char*>(to);
  std::size_t left = static_cast<std::size_t>(size);
  auto place = static_cast<std::uint64_t>(at);
  while (left > 0) {
    const DiskResult got = file.machine.disk.read(file.handle, bytes, left, place);
    if (got.status != DiskStatus::done) return SQLITE_IOERR_READ;
    if (got.bytes == 0) break;
    bytes += got.bytes;
    place += got.bytes;
    left -= got.bytes;
  }
  if (left == 0) return SQLITE_OK;
  std::memset(bytes, 0, left);  // The end of the file; SQLite wants zeros.
  return SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
  CHECK(size < 128 * 1024);  // More than SQLite's VFS for Unix can.
  OpenFile& file = open_of(f);
  const std::string_view bytes{static_cast<const char*>(from), static_cast<std::size_t>(size)};
  const DiskResult put = file.machine.disk.write(file.handle, bytes, static_cast<std::uint64_t>(at));
  if (put.status == DiskStatus::full) return SQLITE_FULL;
  return put.status == DiskStatus::done ? SQLITE_OK : SQLITE_IOERR_WRITE;
}

int truncate_file(sqlite3_file* f, sqlite3_int64 size) {
  OpenFile& file = open_of(f);
  const DiskStatus status = file.machine.disk.truncate(file.handle, static_cast<std::uint64_t>(size));
  return status == DiskStatus::done ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

int sync_file(sqlite3_file* f, int /*flags*/) {
  OpenFile& file = open_of(f);
  if (file.machine.disk.sync(file.handle) != DiskStatus::done) return SQLITE_IOERR_FSYNC;
  if (file.new_journal) {
    file.new_journal = false;
    // What it says is ignored, as SQLite's VFS for Unix does.
    file.machine.disk.sync_directory(directory_of(file.path));
  }
  return SQLITE_OK;
}

int file_size(sqlite3_file* f, sqlite3_int64* size) {
  OpenFile& file = open_of(f);
  if (file.machine.disk.dead(file.handle)) return SQLITE_IOERR_FSTAT;
  *size = static_cast<sqlite3_int64>(file.machine.disk.size(file.handle));
  return SQLITE_OK;
}

int lock_file(sqlite3_file* f, int level) {
  OpenFile& file = open_of(f);
  if (file.level >= level) return SQLITE_OK;
  if (file.machine.disk.dead(file.handle)) return SQLITE_IOERR_LOCK;
  SharedFile& shared = *file.shared;
  const bool mine = file.level >= SQLITE_LOCK_RESERVED;
  if (level == SQLITE_LOCK_SHARED) {
    if (shared.pending || shared.exclusive) return SQLITE_BUSY;
    ++shared.readers;
  } else if (!mine && (shared.reserved || shared.pending || shared.exclusive)) {
    return SQLITE_BUSY;
  } else if (level == SQLITE_LOCK_RESERVED) {
    shared.reserved = true;
  } else {
    shared.pending = true;
    if (shared.readers > 1) {
      file.level = SQLITE_LOCK_PENDING;
      return SQLITE_BUSY;
    }
    shared.exclusive = true;
  }
  file.level = level;
  return SQLITE_OK;
}

int check_reserved_lock(sqlite3_file* f, int* out) {
  const SharedFile& shared = *open_of(f).shared;
  *out = shared.reserved || shared.pending || shared.exclusive ? 1 : 0;
  return SQLITE_OK;
}

int file_control(sqlite3_file* /*f*/, int op, void* arg) {
  if (op == SQLITE_FCNTL_HAS_MOVED) {
    *static_cast<int*>(arg) = 0;
    return SQLITE_OK;
  }
  return SQLITE_NOTFOUND;
}

int sector_size(sqlite3_file* /*f*/) {
  return 4096;
}

int characteristics(sqlite3_file* /*f*/) {
  return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

int shm_map(sqlite3_file* f, int region, int size, int extend, void volatile** out) {
  OpenFile& file = open_of(f);
  *out = nullptr;
  if (file.machine.disk.dead(file.handle)) return SQLITE_IOERR_SHMMAP;
  if (!file.memory) file.memory = share(file.machine.memory, file.handle);
  auto& regions = file.memory->regions;
  const auto wanted = static_cast<std::size_t>(region);
  if (wanted >= regions.size() && extend == 0) return SQLITE_OK;
  while (wanted >= regions.size()) {
    regions.push_back(std::make_unique<char[]>(static_cast<std::size_t>(size)));  // NOLINT
  }
  *out = regions[wanted].get();
  return SQLITE_OK;
}

int shm_lock(sqlite3_file* f, int offset, int n, int flags) {
  OpenFile& file = open_of(f);
  if (file.machine.disk.dead(file.handle)) return SQLITE_IOERR_SHMLOCK;
  auto& locks = file.shared->shm_locks;
  const auto begin = static_cast<std::size_t>(offset);
  const auto end = begin + static_cast<std::size_t>(n);
  const bool lock = (flags & SQLITE_SHM_LOCK) != 0;
  const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  for (std::size_t i = begin; lock && i < end; ++i) {
    if (exclusive ? locks[i] != file.held[i] || file.held[i] == 1 : locks[i] < 0) return SQLITE_BUSY;
  }
  for (std::size_t i = begin; i < end; ++i) {
    if (lock && exclusive) {
      locks[i] = file.held[i] = -1;
    } else if (lock && file.held[i] == 0) {
      ++locks[i];
      file.held[i] = 1;
    } else if (!lock && file.held[i] != 0) {
      locks[i] = file.held[i] == 1 ? locks[i] - 1 : 0;
      file.held[i] = 0;
    }
  }
  return SQLITE_OK;
}

void shm_barrier(sqlite3_file* /*f*/) {}

const sqlite3_io_methods kMethods = {
    2,         close_file,  read_file,           write_file,   truncate_file, sync_file,       file_size,
    lock_file, unlock_file, check_reserved_lock, file_control, sector_size,   characteristics, shm_map,
    shm_lock,  shm_barrier, shm_unmap,           nullptr,      nullptr,
};

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* f, int flags, int* out_flags) {
  Machine& machine = machine_of(vfs);
  f->pMethods = nullptr;
  std::optional<Disk::Handle> handle;
  bool created = false;
  if (name == nullptr) {
    handle = machine.disk.open_unnamed();
  } else {
    created = !machine.disk.exists(name);
    handle = machine.disk.open(name, (flags & SQLITE_OPEN_CREATE) != 0);
  }
  if (!handle) return SQLITE_CANTOPEN;
  constexpr int kJournals = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
  auto shared = share(machine.shared, *handle);
  auto file = std::make_unique<OpenFile>(OpenFile{machine, *handle, name == nullptr ? "" : name,
                                                  std::move(shared), created && (flags & kJournals) != 0,
                                                  (flags & SQLITE_OPEN_DELETEONCLOSE) != 0});
  reinterpret_cast<SqliteFile*>(f)->open = file.release();
  f->pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int delete_file(sqlite3_vfs* vfs, const char* name, int sync_directory) {
  Disk& disk = machine_of(vfs).disk;
  const DiskStatus removed = disk.remove(name);
  if (removed == DiskStatus::missing) return SQLITE_IOERR_DELETE_NOENT;
  if (removed != DiskStatus::done) return SQLITE_IOERR_DELETE;
  if (sync_directory != 0 && disk.sync_directory(directory_of(name)) != DiskStatus::done) {
    return SQLITE_IOERR_DIR_FSYNC;
  }
  return SQLITE_OK;
}

int access_file(sqlite3_vfs* vfs, const char* name, int flags, int* out) {
  const Disk& disk = machine_of(vfs).disk;
  // An empty file does not count as one that exists, as in SQLite's VFS for Unix.
  *out = disk.exists(name) && (flags != SQLITE_ACCESS_EXISTS || !disk.is_empty(name)) ? 1 : 0;
  return SQLITE_OK;
}

int full_path(sqlite3_vfs* /*vfs*/, const char* name, int size, char* out) {
  const std::string_view path{name};
  if (path.size() + 1 > static_cast<std::size_t>(size)) return SQLITE_CANTOPEN;
  out[path.copy(out, path.size())] = '\0';
  return SQLITE_OK;
}

int randomness(sqlite3_vfs* vfs, int size, char* out) {
  Machine& machine = machine_of(vfs);
  for (int i = 0; i < size; ++i) out[i] = static_cast<char>(machine.rng.below(256));
  return size;
}

int sleep_for(sqlite3_vfs* /*vfs*/, int microseconds) {
  return microseconds;
}

int current_time_ms(sqlite3_vfs* vfs, sqlite3_int64* out) {
  constexpr sqlite3_int64 kJulianDayOf2026Ms = 212'633'985'600'000;
  *out = kJulianDayOf2026Ms + machine_of(vfs).scheduler.now().value() / 1'000'000;
  return SQLITE_OK;
}

int last_error(sqlite3_vfs* /*vfs*/, int /*size*/, char* /*out*/) {
  return 0;
}

}  // namespace

struct SqliteVfs::Impl {
  Machine machine;
  sqlite3_vfs vfs{};
  sqlite3_vfs* before = nullptr;
  bool nested = false;  // The outer one's chance goes on as if nothing had been.
};

void configure_sqlite_for_simulation() {
  // The configuration is closed while the library is initialised.
  CHECK(sqlite3_shutdown() == SQLITE_OK);
  CHECK(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == SQLITE_OK);
  CHECK(sqlite3_initialize() == SQLITE_OK);
}

SqliteVfs::SqliteVfs(Scheduler& scheduler, Disk& disk, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(Impl{{scheduler, disk, Rng{seed}}})) {
  sqlite3_vfs& vfs = impl_->vfs;
  vfs.iVersion = 2;
  vfs.szOsFile = static_cast<int>(sizeof(SqliteFile));
  vfs.mxPathname = 512;
  vfs.zName = "simulated";
  vfs.pAppData = &impl_->machine;
  vfs.xOpen = open_file;
  vfs.xDelete = delete_file;
  vfs.xAccess = access_file;
  vfs.xFullPathname = full_path;
  vfs.xRandomness = randomness;
  vfs.xSleep = sleep_for;
  vfs.xGetLastError = last_error;
  vfs.xCurrentTimeInt64 = current_time_ms;
  impl_->before = sqlite3_vfs_find(nullptr);
  impl_->nested = std::string_view{impl_->before->zName} == vfs.zName;
  if (impl_->nested) sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SAVE);
  CHECK(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
  sqlite3_randomness(0, nullptr);
}

SqliteVfs::~SqliteVfs() {
  CHECK(sqlite3_vfs_unregister(&impl_->vfs) == SQLITE_OK);
  CHECK(sqlite3_vfs_register(impl_->before, 1) == SQLITE_OK);
  sqlite3_randomness(0, nullptr);
  if (impl_->nested) sqlite3_test_control(SQLITE_TESTCTRL_PRNG_RESTORE);
}

}  // namespace varve::sim
