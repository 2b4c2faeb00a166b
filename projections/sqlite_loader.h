// SqliteLoader: a ViewStore for the generation in a data directory that a rebuild loads
// (projections/sqlite_loading.h says how its file is made).
//
// What is committed waits in memory and is written many batches at a time, in one transaction: rows that are
// appended, closed already if the same transaction closes them. So "committed" promises only that the next
// batch fits: settle() tells whether all of it is in the file. After an Error whoever loads begins again
// where load() says. A process that dies loses what waited, its checkpoints too.
//
// Rows cannot be read yet. Thread: the Env's; it writes on Lane::read, so that nobody waits for it who
// commits to the views that are served.
#pragma once

#include <memory>
#include <string>

#include "projections/view_store.h"
#include "runtime/env.h"

namespace varve {

// Changes of one transaction. A row and its closing meet in one of them, if they are near each other in the
// log: what does not meet costs a search of its own. That many are about 100 MB, and twice so much may wait.
inline constexpr std::size_t kLoadingWindow = 131'072;

class SqliteLoader final : public ViewStore {
 public:
  // The file is one that prepare_file() has made. Blocks. `env` must outlive this.
  static Result<std::shared_ptr<SqliteLoader>> open(Env& env, const std::string& path, std::size_t window);
  ~SqliteLoader() override;

  // Of what is in the file, after everything that waits.
  Task<LoadedCheckpoint> load(Partition partition) override;
  Task<CommitOutcome> commit(Batch batch) override;
  // Errc::unavailable: there is nothing to be read yet.
  Task<> read(std::function<Status(ViewReader&)> work) override;

  // Writes what waits. An Error: some of what was committed before is lost.
  Task<> settle();

 private:
  struct Impl;
  explicit SqliteLoader(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

}  // namespace varve
