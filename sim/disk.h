// Disk: the simulated disk under one machine, with the file system on it. What a process reads is the cache;
// what a power cut leaves is what had reached the platter, and any part of the rest.
//
// Promises what a real file system does, and no more. sync() makes a file's bytes durable, but not its name:
// creations, removals and renames are durable once their directory is synced. A sync that fails leaves every
// byte it should have written on the platter or not; the cache keeps them and calls them clean, so that the
// next sync succeeds without them (as Linux does). A write never harms bytes beside its own; sectors of 512
// bytes are old or new, or, with Faults::garbage_ppm and if the write changes them, garbage.
//
// power_cut(): the pending changes are all kept, all lost, kept up to one of them, or decided one by one and
// torn by sector. The calm choice (0) keeps everything that was written. Pending names are kept or lost one
// by one, but of one name never a later change without the earlier ones. kill() is the death of the process
// alone: the machine goes on, and the cache with it.
//
// Both make every handle of the incarnation inert first: whatever it does later fails and changes nothing.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sim/counters.h"
#include "sim/scheduler.h"

namespace varve::sim {

enum class DiskStatus : unsigned char {
  done,
  failed,   // An I/O error, or the handle is dead.
  full,     // No space.
  missing,  // There is no such file.
};

struct DiskResult {
  DiskStatus status = DiskStatus::done;
  std::size_t bytes = 0;  // How far a read or a write came.
};

class Disk {
  struct Inode;

 public:
  static constexpr std::uint64_t kSector = 512;

  struct Options {
    std::uint64_t capacity = std::numeric_limits<std::uint64_t>::max();  // Bytes of all files together.
  };
  // All 0: the disk never fails by itself, and a power cut does not make garbage.
  struct Faults {
    std::uint32_t read_error_ppm = 0;
    std::uint32_t short_read_ppm = 0;  // Fewer bytes than there are; the next read goes on.
    std::uint32_t write_error_ppm = 0;
    std::uint32_t sync_error_ppm = 0;
    std::uint32_t garbage_ppm = 0;  // Of a sector that a power cut tears.
  };

  // An open file of one incarnation.
  class Handle {
   public:
    Handle() = default;
    std::uint64_t inode() const;
    std::uint64_t incarnation() const { return incarnation_; }

   private:
    friend class Disk;
    Handle(std::shared_ptr<Inode> inode, std::uint64_t incarnation)
        : inode_(std::move(inode)), incarnation_(incarnation) {}
    std::shared_ptr<Inode> inode_;
    std::uint64_t incarnation_ = 0;
  };

  Disk(Scheduler& scheduler, Counters& counters, Options options);
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // ---- what a process does; paths are "/directory/name" ----

  // Null: missing and not to be made, or failed.
  std::optional<Handle> open(const std::string& path, bool create);
  // A file without a name: gone with its last handle.
  Handle open_unnamed();
  DiskResult read(const Handle& file, char* to, std::size_t size, std::uint64_t at);
  DiskResult write(const Handle& file, std::string_view bytes, std::uint64_t at);
  DiskStatus truncate(const Handle& file, std::uint64_t size);
  DiskStatus sync(const Handle& file);
  std::uint64_t size(const Handle& file) const;
  bool exists(const std::string& path) const { return names_.contains(path); }
  bool is_empty(const std::string& path) const;
  DiskStatus remove(const std::string& path);
  DiskStatus rename(const std::string& from, const std::string& to);
  DiskStatus sync_directory(const std::string& directory);
  bool dead(const Handle& file) const { return file.incarnation_ != incarnation_; }
  std::uint64_t incarnation() const { return incarnation_; }
  // The kernel's lock on a directory: false if this incarnation holds it already. Death lets go of it.
  bool lock(const std::string& directory) { return locks_.insert(directory).second; }
  void unlock(std::uint64_t incarnation, const std::string& directory) {
    if (incarnation == incarnation_) locks_.erase(directory);
  }

  // ---- what happens to it ----

  void set_faults(const Faults& faults) { faults_ = faults; }
  void set_capacity(std::uint64_t bytes) { options_.capacity = bytes; }
  void kill();
  void power_cut();
  // Creations, writes, truncations, removals, renames and syncs so far, whoever asked for them.
  std::uint64_t operations() const { return operations_; }
  // The operation of this number (the first is 1) fails, having happened or not, and all after it fail, too:
  // the machine stands still until kill() or power_cut(). 0 = never.
  void crash_at_operation(std::uint64_t number) { crash_at_ = number; }
  bool frozen() const { return frozen_; }
  // Bit rot: these bits of a byte turn over, on the platter and for whoever reads it. False: no such byte.
  bool rot(const std::string& path, std::uint64_t at, unsigned char bits);
  // Behind everybody's back, at once and for good.
  void erase(const std::string& path);

  // ---- for oracles ----

  std::vector<std::string> files() const;
  std::string content(const std::string& path) const;  // The cache's; empty if there is no such file.
  std::uint64_t used() const;                          // Bytes of all files together.
  // A disk of its own with the files as processes see them now, all durable.
  std::unique_ptr<Disk> fork(Counters& counters) const;

 private:
  struct NameChange {
    std::vector<std::pair<std::string, std::shared_ptr<Inode>>> entries;  // Null: the name goes.
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;
  enum class Step : unsigned char { run, refuse, run_and_fail };
  enum class Cut : unsigned char { keep_all, lose_all, keep_first, each };

  Step begin(std::string_view what, const std::string& where);
  void change_names(NameChange change);
  static void apply(Names& names, const NameChange& change);
  // Each kind of fault decides on a track of its own, what a power cut leaves on the first.
  enum class Fault : unsigned char { cut, read_error, short_read, write_error, sync_error, names, garbage };
  std::uint64_t choose(Fault fault, std::uint64_t bound);
  bool strikes(Fault fault, std::uint32_t ppm, const char* counter);
  void resolve(Inode& inode, Cut cut);
  void resolve_names(Cut cut);
  void tear(std::string& image, const std::string& bytes, std::uint64_t at);
  void end_incarnation();

  Scheduler& scheduler_;
  Counters& counters_;
  Options options_;
  Faults faults_;
  Names names_;    // As processes see them.
  Names durable_;  // As they are on the platter.
  std::vector<NameChange> pending_names_;
  std::set<std::string> locks_;
  std::uint64_t next_inode_ = 1;
  std::uint64_t incarnation_ = 1;
  std::uint64_t operations_ = 0;
  std::uint64_t crash_at_ = 0;
  bool frozen_ = false;
};

}  // namespace varve::sim
