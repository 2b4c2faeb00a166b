// SqliteViewStore: the views of one generation in one SQLite file, views-<generation>.db, in WAL mode.
//
// Commits that arrive together share one transaction, each in a savepoint of its own with an outcome of its
// own; they run on Lane::store. Reads run on Lane::read, each on a connection and in a transaction of its
// own. synchronous=NORMAL: what a power cut takes is whole transactions from the end, rows and checkpoint
// together, and the log gives them back.
#pragma once

#include <memory>
#include <string>

#include "projections/view_store.h"
#include "runtime/env.h"

namespace varve {

// The generation that this program folds and reads. Raised with every change that rows of old need; files of
// older ones are removed when this one has caught up (cli/old_views.h).
inline constexpr std::uint64_t kViewsGeneration = 2;

// Messages that may wait until they are indexed for search; a search reads them one by one. A transaction of
// the index costs far more than a few words in it (docs/benchmarks.md).
inline constexpr std::int64_t kSearchWaitingMax = 128;

// Pages of the write-ahead log (4 KiB each) at which a checkpoint follows the commit, which keeps it bounded.
// Fewer: shorter stalls, but more of them (docs/benchmarks.md).
inline constexpr int kCheckpointPages = 9000;

inline constexpr int kWriterCacheKib = 32'768;

class SqliteViewStore final : public ViewStore {
 public:
  struct Options {
    std::string directory;  // Exists.
    std::uint64_t generation = 1;
    std::int64_t search_waiting_max = kSearchWaitingMax;
    int checkpoint_pages = kCheckpointPages;
    int cache_kib = kWriterCacheKib;  // Of the connection that writes.
    // Begins to write so many bytes of the file from `offset` on to the disk, and does not wait: a hint,
    // called on Lane::store after commits. Most of a checkpoint is the sync of the write-ahead log; what was
    // begun early is clean by then. Empty: the system writes when it likes.
    std::function<void(const std::string& file, std::int64_t offset, std::int64_t bytes)> begin_writeback;
  };

  // Makes the file, or brings it to the newest schema; blocks the caller meanwhile. `env` must outlive the
  // store. Errc::unavailable if the file cannot be opened, Errc::corrupt if it is damaged or of a newer
  // schema.
  static Result<std::unique_ptr<SqliteViewStore>> open(Env& env, Options options);
  ~SqliteViewStore() override;

  Task<LoadedCheckpoint> load(Partition partition) override;
  Task<CommitOutcome> commit(Batch batch) override;
  Task<> read(std::function<Status(ViewReader&)> work) override;

  // The file of a generation.
  static std::string path_of(const Options& options);

 private:
  struct Impl;
  explicit SqliteViewStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace varve
