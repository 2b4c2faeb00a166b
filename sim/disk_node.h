// DiskNode: the embedded server on a simulated disk: the SQLite log, views and snapshots that production
// runs, with the node on top. One object per world; boot() begins an incarnation, crash() ends it.
//
// Promises: crash() makes the files' handles inert before it destroys a task, and a task's handles before its
// node; closing what is open then changes nothing. A boot that fails closes its files, as a process that
// exits.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "api/node.h"
#include "api/projection_routes.h"
#include "eventlog/memory_event_log.h"
#include "projections/memory_snapshot_store.h"
#include "projections/memory_view_store.h"
#include "sim/disk.h"
#include "sim/position_watch.h"
#include "sim/scheduler.h"
#include "sim/sqlite_vfs.h"

namespace varve {
class SqliteEventLog;
}

namespace varve::sim {

class DiskNode {
 public:
  using MakeModel = std::function<std::unique_ptr<ModelClient>(Env&)>;
  struct Options {
    std::uint64_t seed = 1;
    std::uint32_t partitions = kPartitionsDefault;
    NodeOptions node;
    MakeModel model;
    std::string name = "node";
    int checkpoint_pages = 0;      // Of the views' write-ahead log; 0 = as in production.
    int log_checkpoint_pages = 0;  // Of the log's.
    // The views can be rebuilt: the active generation is served, by way of the watch if there is one.
    bool generations = false;
    PositionWatch* watch = nullptr;
  };
  enum class Death : unsigned char {
    process,  // kill -9: the machine goes on, and what was written is there.
    power,    // What was not synced is there or not.
  };
  static constexpr const char* kDirectory = "/data";

  // All must outlive the node; no other SqliteVfs may be there.
  DiskNode(Scheduler& scheduler, Disk& disk, Options options);
  ~DiskNode();
  DiskNode(const DiskNode&) = delete;
  DiskNode& operator=(const DiskNode&) = delete;

  // Opens the files and starts the node. An Error: one of them could not be opened; nothing runs.
  Status boot();
  void crash(Death death);
  // The process exits by itself: its tasks end, and SQLite closes its files.
  void stop();
  bool up() const { return life_ != nullptr; }
  SimEnv& env();
  Node& node();
  EventLog& log();
  ViewStore& views();
  // Rebuilds; null without generations.
  ProjectionRoutes* projections();

  // ---- for oracles: what the files hold, read on a copy of the disk, so that nothing here notices ----

  struct Image {
    std::shared_ptr<MemoryLogStorage> log;
    MemoryViewStorage views;
    MemorySnapshotStorage snapshots;
    std::size_t indexes = 0;  // Of the views' file.
  };
  // Every record of the log, verified. Errc::not_found if there is no log yet.
  Result<std::shared_ptr<MemoryLogStorage>> read_log() const;
  // The log, the views and the snapshots. A file that is missing counts as empty; a damaged one is an Error.
  Result<Image> image() const;
  // Of the first generation.
  static std::string views_path();
  // Files of views that nobody reads: of every generation but the active one, or of newer ones only.
  enum class Rest : unsigned char { all, newer };
  Result<std::vector<std::string>> idle_views(Rest rest) const;
  static std::string log_path();
  static std::string control_path();

 private:
  struct Life;
  Status open_views(Life& life) const;
  // On the disk that SQLite uses at present.
  Result<std::uint64_t> active_generation() const;
  template <class Work>
  auto on_a_copy(const Work& work) const;

  Scheduler& scheduler_;
  Disk& disk_;
  Options options_;
  Rng seeds_;
  SqliteVfs vfs_;
  std::unique_ptr<Life> life_;
};

}  // namespace varve::sim
