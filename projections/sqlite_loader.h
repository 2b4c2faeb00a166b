// SqliteLoader: a ViewStore for the generation in a data directory that a rebuild loads
// (projections/sqlite_loading.h says how its file is made).
//
// What is committed waits in a LoadingQueue and is appended in one transaction: rows are closed already if it
// closes them, too.
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
  explicit SqliteLoader(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace varve
