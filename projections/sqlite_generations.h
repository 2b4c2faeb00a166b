// SqliteGenerations: the generations of the views in a data directory, one file each, of which the control
// file names the active one (projections/sqlite_snapshot_store.h).
//
// For whoever holds the directory's lock alone: a tool while no server runs, or the server itself, which then
// gives its ActiveViewStore: the switch holds up what is committed for a moment and puts the new file in the
// place of the old one. What takes long runs on Lane::read: nobody who commits waits for it.
#pragma once

#include <memory>
#include <string>

#include "projections/active_view_store.h"
#include "projections/generations.h"
#include "projections/sqlite_loader.h"
#include "projections/sqlite_snapshot_store.h"
#include "projections/sqlite_view_store.h"

namespace varve {

// Generations of one format (kViewsGeneration) count up from it; those of the next format begin here.
inline constexpr std::uint64_t kGenerationsPerFormat = 1'000'000;
// The generation that is read, by what the control file names: that one, unless it is of another program's
// format. Pure.
std::uint64_t active_generation_of(std::uint64_t named);
// The same of a directory, whether a server runs on it or not; without a control file the first one. Blocks.
Result<std::uint64_t> active_generation_in(const std::string& directory);

class SqliteGenerations final : public Generations {
 public:
  // How long the switch waits until the next generation has passed the active one.
  static constexpr Duration kSwitchTime = std::chrono::seconds{2};

  // `control`: null for who only looks. `live`: what this process serves from; null: nobody does. Everything
  // must outlive this.
  SqliteGenerations(Env& env, std::string directory, SqliteSnapshotStore* control, ActiveViewStore* live)
      : env_(env), directory_(std::move(directory)), control_(control), live_(live) {}

  // How the next generation is opened when it is loaded, and served after the switch. Directory and
  // generation are not taken from here.
  void open_as(SqliteViewStore::Options options) { stores_ = std::move(options); }
  // Changes of one transaction while it loads; kLoadingWindow if nothing is said.
  void load_by(std::size_t window) { window_ = window; }

  Task<GenerationsSeen> look() override;
  Task<> begin() override;
  Task<> keep() override;
  Task<> leave() override;
  std::shared_ptr<ViewStore> next() override { return next_; }
  bool is_loading() const override { return loading_; }
  Task<> settle() override;
  Task<> finish_loading() override;
  Task<RowsSummed> sum_rows(std::uint32_t partitions) override;
  Task<bool> show(std::uint32_t partitions) override;
  Task<> drop_old() override;
  Task<bool> abort() override;

 private:
  std::string path_of(std::uint64_t generation) const;
  Task<> open_next();
  Task<bool> pass_active();

  Env& env_;
  std::string directory_;
  SqliteSnapshotStore* control_;
  ActiveViewStore* live_;
  SqliteViewStore::Options stores_;
  std::size_t window_ = kLoadingWindow;
  std::uint64_t active_ = 0;  // 0: begin() has not looked.
  bool loading_ = false;
  bool shown_ = false;
  std::shared_ptr<ViewStore> next_;
  std::shared_ptr<SqliteLoader> loader_;  // It, while it is loading.
  std::shared_ptr<ViewStore> old_;        // After the switch.
};

}  // namespace varve
