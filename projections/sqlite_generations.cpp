#include "projections/sqlite_generations.h"

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

#include "eventlog/sqlite_support.h"
#include "projections/digest.h"
#include "projections/sqlite_files.h"
#include "projections/sqlite_loading.h"
#include "projections/sqlite_view_reader.h"
#include "runtime/mutant.h"
#include "runtime/suspend.h"
#include "runtime/sync.h"

namespace varve {

namespace {

constexpr std::chrono::milliseconds kPassWait{2};

// Generations that are looked for when the old ones are removed.
constexpr std::size_t kOldMax = 100;

Result<std::int64_t> number_of(sqlite::Database& db, const std::string& sql) {
  auto select = db.prepare(sql);
  if (!select) return select.error();
  const auto row = select->step();
  if (!row) return row.error();
  return *row ? select->integer(0) : 0;
}

struct Place {
  std::int64_t next = 0;
  std::int64_t version = 0;
};
using Places = std::map<std::int64_t, Place>;

// Most rows are messages: they are summed on one connection, the rest on another.
constexpr std::size_t kParts = 2;

std::size_t part_of(View view) {
  return view == View::messages ? 0 : 1;
}

Result<RowsSummed> sum_part(const std::string& path, std::uint32_t partitions, std::size_t part) {
  SqliteConnection connection;
  if (const auto opened = connection.open(path, sqlite::Access::read_only); !opened) return opened.error();
  if (const auto begun = connection.run("BEGIN"); !begun) return begun.error();
  SqliteViewReader reader{connection};
  RowsSummed sums;
  sums.rows.resize(partitions);
  for (std::uint32_t number = 0; number < partitions; ++number) {
    auto checkpoint = reader.checkpoint(Partition{number});
    if (!checkpoint) return checkpoint.error();
    sums.checkpoints.push_back(*std::move(checkpoint));
  }
  std::optional<Error> stray;
  for (const View view : all_views()) {
    if (part_of(view) != part) continue;
    const auto add = [&](const Row& row) {
      if (row.from.partition.value() < partitions) {
        add_row(sums.rows[row.from.partition.value()], view, row);
      } else {
        stray = Error{Errc::corrupt, describe(view, row) + " is of no partition"};
      }
    };
    if (const auto read = reader.scan(view, add); !read) return read.error();
  }
  if (stray) return *stray;
  if (const auto ended = connection.run("COMMIT"); !ended) return ended.error();
  return sums;
}

Task<> sum_part_beside(Env* env, std::string path, std::uint32_t partitions, std::size_t part,
                       std::shared_ptr<std::vector<Result<RowsSummed>>> parts) {
  std::function<Result<RowsSummed>()> job = [path = std::move(path), partitions, part] {
    return sum_part(path, partitions, part);
  };
  (*parts)[part] = co_await offload<RowsSummed>(*env, Lane::read, std::move(job));
  co_return ok();
}

// Of a file that is not there or is damaged: none. A rebuild is what mends it. Errc::unavailable: it cannot
// be read at the moment, which says nothing.
Result<Places> places_in(const std::string& path) {
  Places places;
  const auto none_if_damaged = [](const Error& error) -> Result<Places> {
    if (error.code == Errc::unavailable) return error;
    return Places{};
  };
  const auto there = sqlite::file_exists(path);
  if (!there) return there.error();
  if (!*there) return places;
  auto db = sqlite::Database::open(path, sqlite::Access::read_only);
  if (!db) return none_if_damaged(db.error());
  auto select = db->prepare("SELECT \"partition\", next_offset, version FROM checkpoints");
  if (!select) return none_if_damaged(select.error());
  for (;;) {
    const auto row = select->step();
    if (!row) return none_if_damaged(row.error());
    if (!*row) return places;
    places[select->integer(0)] = {select->integer(1), select->integer(2)};
  }
}

bool has_passed(const Places& next, const Places& active) {
  for (const auto& [partition, place] : active) {
    const auto found = next.find(partition);
    if (place.next > 0 && (found == next.end() || found->second.next < place.next)) return false;
  }
  return true;
}

// No version of the new generation is one that was there before the switch: a batch that was folded on the
// old one fits nowhere.
Status raise_versions(const std::string& path, const Places& active) {
  std::int64_t highest = 0;
  for (const auto& [partition, place] : active) highest = std::max(highest, place.version);
  auto db = sqlite::Database::open(path, sqlite::Access::read_write);
  if (!db) return db.error();
  return db->exec("UPDATE checkpoints SET version = version + " + std::to_string(highest));
}

Task<Places> places_of(Env& env, std::string path) {
  std::function<Result<Places>()> job = [path] { return places_in(path); };
  return offload<Places>(env, Lane::store, std::move(job));
}

}  // namespace

std::uint64_t active_generation_of(std::uint64_t named) {
  const bool same_format = named / kGenerationsPerFormat == kViewsGeneration / kGenerationsPerFormat;
  return same_format && named > kViewsGeneration ? named : kViewsGeneration;
}

Result<std::uint64_t> active_generation_in(const std::string& directory) {
  const std::string path = SqliteSnapshotStore::path_of(directory);
  const auto there = sqlite::file_exists(path);
  if (!there) return there.error();
  if (!*there) return active_generation_of(1);
  auto db = sqlite::Database::open(path, sqlite::Access::read_only);
  if (!db) return db.error();
  const auto named = number_of(*db, "SELECT generation FROM active_generation");
  if (!named) return named.error();
  return active_generation_of(static_cast<std::uint64_t>(*named));
}

std::string SqliteGenerations::path_of(std::uint64_t generation) const {
  return SqliteViewStore::path_of({directory_, generation});
}

Task<GenerationsSeen> SqliteGenerations::look() {
  std::function<Result<GenerationsSeen>()> job = [directory = directory_]() -> Result<GenerationsSeen> {
    const auto active = active_generation_in(directory);
    if (!active) return active.error();
    const auto next = sqlite::file_exists(SqliteViewStore::path_of({directory, *active + 1}));
    if (!next) return next.error();
    GenerationsSeen seen{*active, {}};
    if (*next) seen.next = *active + 1;
    return seen;
  };
  co_return co_await offload<GenerationsSeen>(env_, Lane::store, std::move(job));
}

Task<> SqliteGenerations::begin() {
  CHECK(control_ != nullptr);
  auto seen = co_await look();
  if (!seen) co_return seen.error();
  active_ = seen->active;
  shown_ = false;
  next_.reset();
  old_.reset();
  std::function<Result<bool>()> job = [path = path_of(active_ + 1)] { return prepare_file(path); };
  auto loading = co_await offload<bool>(env_, Lane::read, std::move(job));
  if (!loading) co_return loading.error();
  loading_ = *loading && !mutant(Mutant::unfinished_generation_shown);
  co_return co_await open_next();
}

Task<> SqliteGenerations::keep() {
  co_return ok();  // The lock of the directory is what keeps others out.
}

Task<> SqliteGenerations::leave() {
  if (loader_) ignore_error(co_await loader_->settle(), "what is lost is folded again");
  loader_.reset();
  if (!shown_) next_.reset();
  co_return ok();
}

Task<> SqliteGenerations::open_next() {
  loader_.reset();
  if (loading_) {
    using Opened = std::shared_ptr<SqliteLoader>;
    std::function<Result<Opened>()> job = [env = &env_, path = path_of(active_ + 1), window = window_] {
      return SqliteLoader::open(*env, path, window);
    };
    auto opened = co_await offload<Opened>(env_, Lane::read, std::move(job));
    if (!opened) co_return opened.error();
    loader_ = *opened;
    next_ = loader_;
    co_return ok();
  }
  SqliteViewStore::Options options = stores_;
  options.directory = directory_;
  options.generation = active_ + 1;
  using Opened = std::shared_ptr<SqliteViewStore>;
  std::function<Result<Opened>()> job = [env = &env_, options]() -> Result<Opened> {
    auto store = SqliteViewStore::open(*env, options);
    if (!store) return store.error();
    return Opened{std::move(*store)};
  };
  auto opened = co_await offload<Opened>(env_, Lane::read, std::move(job));
  if (!opened) co_return opened.error();
  next_ = std::move(*opened);
  co_return ok();
}

Task<> SqliteGenerations::settle() {
  if (!loader_) co_return ok();
  co_return co_await loader_->settle();
}

Task<> SqliteGenerations::finish_loading() {
  // What waits, if it was not settled, is folded again.
  if (loader_) ignore_error(co_await loader_->settle(), "catching up finds what is lost");
  loader_.reset();
  next_.reset();
  std::function<Result<Unit>()> job = [path = path_of(active_ + 1)] { return finish_file(path); };
  Status made = co_await offload<Unit>(env_, Lane::read, std::move(job));
  if (made) loading_ = false;
  const Status opened = co_await open_next();
  co_return made ? opened : made;
}

Task<RowsSummed> SqliteGenerations::sum_rows(std::uint32_t partitions) {
  const auto parts = std::make_shared<std::vector<Result<RowsSummed>>>(kParts);
  TaskGroup group(env_);
  for (std::size_t part = 0; part < kParts; ++part) {
    ignore_error(group.spawn("rows of a generation",
                             sum_part_beside(&env_, path_of(active_ + 1), partitions, part, parts)),
                 "the group is open");
  }
  group.close();
  ignore_error(co_await group.join(kNever), "every part has its outcome");
  co_return together(*parts);
}

// The active one is held: only the next one moves.
Task<bool> SqliteGenerations::pass_active() {
  auto active = co_await places_of(env_, path_of(active_));
  if (!active) co_return active.error();
  const MonoTime deadline = env_.now() + kSwitchTime;
  for (;;) {
    auto next = co_await places_of(env_, path_of(active_ + 1));
    if (!next) co_return next.error();
    // Without a server nobody has read the active one: it may even claim more than the log holds.
    if (live_ == nullptr || has_passed(*next, *active) || mutant(Mutant::switch_without_compare)) break;
    if (env_.now() >= deadline) co_return false;
    co_await sleep_for(env_, kPassWait);
  }
  std::function<Result<Unit>()> job = [path = path_of(active_ + 1), places = *active] {
    return raise_versions(path, places);
  };
  const Status raised = co_await offload<Unit>(env_, Lane::store, std::move(job));
  if (!raised) co_return raised.error();
  // The one moment that decides, also for whoever starts after this process was killed.
  const Status named = co_await control_->set_active_generation(active_ + 1);
  if (!named) co_return named.error();
  co_return true;
}

Task<bool> SqliteGenerations::show(std::uint32_t /*partitions*/) {
  if (shown_) co_return true;
  if (live_ == nullptr) {
    auto passed = co_await pass_active();
    shown_ = passed && *passed;
    co_return passed;
  }
  if (!mutant(Mutant::switch_without_hold)) {
    if (Status held = co_await live_->hold(env_.now() + kSwitchTime); !held) co_return false;
  }
  auto passed = co_await pass_active();
  if (passed && *passed) {
    shown_ = true;
    old_ = live_->replace(next_);
  } else {
    live_->release();
  }
  co_return passed;
}

Task<> SqliteGenerations::drop_old() {
  if (!shown_) co_return ok();
  const auto closing = std::make_shared<std::shared_ptr<ViewStore>>(std::move(old_));
  old_.reset();
  std::vector<std::string> paths;
  // A rebuild that was killed behind its switch has left older ones.
  for (std::uint64_t number = active_; number > 0 && paths.size() < kOldMax; --number)
    paths.push_back(path_of(number));
  std::function<Result<bool>()> job = [paths, closing]() -> Result<bool> {
    closing->reset();
    for (const std::string& path : paths) {
      if (auto removed = sqlite::remove_database(path); !removed) return removed;
    }
    return true;
  };
  auto removed = co_await offload<bool>(env_, Lane::read, std::move(job));
  co_return removed ? ok() : Status{removed.error()};
}

Task<bool> SqliteGenerations::abort() {
  auto seen = co_await look();
  if (!seen) co_return seen.error();
  next_.reset();
  if (mutant(Mutant::abort_leaves_file)) co_return seen->next.has_value();
  std::function<Result<bool>()> job = [directory = directory_, active = seen->active]() -> Result<bool> {
    bool any = false;
    // Usually one. More if the control file has lost that another was active, and a rebuild was begun on
    // that.
    for (std::uint64_t number = active + 1; number <= active + kOldMax; ++number) {
      const auto removed = sqlite::erase_database(SqliteViewStore::path_of({directory, number}));
      if (!removed) return removed.error();
      if (!*removed) break;
      any = true;
    }
    return any;
  };
  co_return co_await offload<bool>(env_, Lane::store, std::move(job));
}

}  // namespace varve
