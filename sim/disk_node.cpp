#include "sim/disk_node.h"

#include "eventlog/sqlite_event_log.h"
#include "eventlog/sqlite_log_file.h"
#include "projections/sqlite_generations.h"
#include "projections/sqlite_snapshot_store.h"
#include "projections/sqlite_view_reader.h"
#include "projections/sqlite_view_store.h"

namespace varve::sim {
namespace {

// What the log does beside SQLite, on the simulated disk.
class DiskLogFiles final : public sqlite::LogFiles {
 public:
  // `checkpoint_pages`: 0 = as in production.
  DiskLogFiles(Disk& disk, int checkpoint_pages) : disk_(disk), checkpoint_pages_(checkpoint_pages) {}

  Result<std::shared_ptr<void>> claim(const std::string& directory) override {
    if (!disk_.lock(directory)) return Error{Errc::conflict, "another server uses " + directory};
    // Nothing to point to; the last reference lets go of the lock.
    const auto let_go = [&disk = disk_, incarnation = disk_.incarnation(),
                         directory](std::nullptr_t /*nothing*/) { disk.unlock(incarnation, directory); };
    return std::shared_ptr<void>{nullptr, let_go};
  }
  Status sync_directory(const std::string& directory) override {
    if (disk_.sync_directory(directory) == DiskStatus::done) return ok();
    return Error{Errc::unavailable, "fsync " + directory + ": Input/output error"};
  }
  int checkpoint_pages() const override {
    return checkpoint_pages_ > 0 ? checkpoint_pages_ : LogFiles::checkpoint_pages();
  }

 private:
  Disk& disk_;
  int checkpoint_pages_;
};

constexpr std::size_t kRecordsPerRead = 1000;
constexpr std::size_t kRebuildBatch = 20;  // Small, so that a rebuild can be interrupted inside a partition.

Status read_records(Partition partition, MemoryLogStorage& into) {
  auto file = sqlite::LogFileReader::open(DiskNode::kDirectory);
  if (!file) return file.error();
  const auto end = (*file)->end(partition);
  if (!end) return end.error();
  ReadOptions options;
  options.records_max = kRecordsPerRead;
  for (Offset from; from < *end;) {
    const auto batch = (*file)->read(partition, from, *end, options);
    if (!batch) return batch.error();
    for (const LogRecord& record : batch->records) into.land(partition, record.bytes);
    if (batch->next <= from) return Error{Errc::corrupt, "a reader does not come to the end of the log"};
    from = batch->next;
  }
  return ok();
}

Result<std::shared_ptr<MemoryLogStorage>> read_whole_log() {
  auto file = sqlite::LogFileReader::open(DiskNode::kDirectory);
  if (!file) return file.error();
  const std::uint32_t partitions = (*file)->partitions();
  auto storage = std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{partitions, 0});
  for (std::uint32_t i = 0; i < partitions; ++i) {
    if (Status read = read_records(Partition{i}, *storage); !read) return read.error();
  }
  return storage;
}

std::uint64_t number_at(const std::string& text, std::size_t at) {
  std::uint64_t number = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    number = number * 10 + static_cast<std::uint64_t>(text[at] - '0');
  }
  return number;
}

Status read_views(const std::string& path, std::uint32_t partitions, MemoryViewStorage& into) {
  SqliteConnection connection;
  if (Status opened = connection.open(path, sqlite::Access::read_only); !opened) return opened;
  if (Status begun = connection.run("BEGIN"); !begun) return begun;
  SqliteViewReader reader(connection);
  for (const View view : all_views()) {
    Query query;
    query.view = view;
    query.open_only = false;
    query.order_by = {kFromOffset, kFromOrdinal};
    auto rows = reader.select(query);
    if (!rows) return rows.error();
    CHECK(rows->size() < query.limit);
    for (Row& row : *rows) {
      if (into.tables[static_cast<std::size_t>(view)].insert(std::move(row))) continue;
      return Error{Errc::corrupt, "two versions of one row in the views"};
    }
  }
  for (std::uint32_t i = 0; i < partitions; ++i) {
    auto checkpoint = reader.checkpoint(Partition{i});
    if (!checkpoint) return checkpoint.error();
    if (checkpoint->version != 0) into.checkpoints.emplace(Partition{i}, *checkpoint);
  }
  auto parked = reader.quarantine();
  if (!parked) return parked.error();
  into.quarantine = *std::move(parked);
  return connection.run("COMMIT");
}

Result<std::size_t> count_indexes(const std::string& path) {
  auto db = sqlite::Database::open(path, sqlite::Access::read_only);
  if (!db) return db.error();
  auto count = db->prepare("SELECT count(*) FROM sqlite_master WHERE type = 'index'");
  if (!count) return count.error();
  const auto row = count->step();
  if (!row) return row.error();
  return static_cast<std::size_t>(count->integer(0));
}

Status read_snapshots(MemorySnapshotStorage& into) {
  auto db = sqlite::Database::open(DiskNode::control_path(), sqlite::Access::read_only);
  if (!db) return db.error();
  auto rows =
      db->prepare("SELECT stream, \"partition\", sequence, born, open_turn, hash, state FROM snapshots");
  if (!rows) return rows.error();
  for (;;) {
    const auto stepped = rows->step();
    if (!stepped) return stepped.error();
    if (!*stepped) break;
    SnapshotRow row;
    row.stream = StreamId{std::string{rows->text(0)}};
    row.partition = Partition{static_cast<std::uint32_t>(rows->integer(1))};
    row.sequence = Sequence{static_cast<std::uint64_t>(rows->integer(2))};
    row.born = Offset{static_cast<std::uint64_t>(rows->integer(3))};
    row.open_turn = rows->integer(4) != 0;
    row.hash = static_cast<std::uint64_t>(rows->integer(5));
    row.state = std::string{rows->text(6)};
    into.snapshots.emplace(row.stream, row);
  }
  auto recovery = db->prepare(
      "SELECT \"partition\", next_offset, streams, version, epoch, \"index\", cluster, at, mark_offset, "
      "mark_hash "
      "FROM recovery");
  if (!recovery) return recovery.error();
  for (;;) {
    const auto stepped = recovery->step();
    if (!stepped) return stepped.error();
    if (!*stepped) break;
    RecoveryRow row;
    row.partition = Partition{static_cast<std::uint32_t>(recovery->integer(0))};
    row.next = Offset{static_cast<std::uint64_t>(recovery->integer(1))};
    row.streams = static_cast<std::uint64_t>(recovery->integer(2));
    row.version = static_cast<std::uint64_t>(recovery->integer(3));
    row.admission.epoch = Epoch{static_cast<std::uint64_t>(recovery->integer(4))};
    row.admission.index = Index{static_cast<std::uint64_t>(recovery->integer(5))};
    row.admission.cluster = std::string{recovery->text(6)};
    row.at = WallTime{recovery->integer(7)};
    if (!recovery->is_null(8)) {
      row.mark = Mark{false, Offset{static_cast<std::uint64_t>(recovery->integer(8))},
                      static_cast<std::uint64_t>(recovery->integer(9))};
    }
    into.recovery.emplace(row.partition, row);
  }
  return ok();
}

}  // namespace

struct DiskNode::Life {
  Life(Scheduler& scheduler, const std::string& name, std::uint64_t seed) : env(scheduler, name, seed) {}
  ~Life() { env.kill(); }
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;

  SimEnv env;
  std::unique_ptr<SqliteEventLog> log;
  std::unique_ptr<SqliteSnapshotStore> snapshots;
  std::unique_ptr<SqliteViewStore> only_views;  // Without generations.
  std::unique_ptr<ActiveViewStore> live;        // With them.
  std::unique_ptr<SqliteGenerations> generations;
  std::unique_ptr<ViewStore> watched;
  ViewStore* views = nullptr;  // One of these.
  std::unique_ptr<ProjectionRoutes> projections;
  std::unique_ptr<ModelClient> model;
  std::unique_ptr<Node> node;
};

DiskNode::DiskNode(Scheduler& scheduler, Disk& disk, Options options)
    : scheduler_(scheduler),
      disk_(disk),
      options_(std::move(options)),
      seeds_(options_.seed ^ 0xd15cULL),
      vfs_(scheduler, disk, seeds_.u64()) {}

DiskNode::~DiskNode() {
  crash(Death::process);
}

std::string DiskNode::views_path() {
  return SqliteViewStore::path_of({kDirectory, kViewsGeneration});
}
std::string DiskNode::log_path() {
  return std::string{kDirectory} + "/log.db";
}
std::string DiskNode::control_path() {
  return SqliteSnapshotStore::path_of(kDirectory);
}

SimEnv& DiskNode::env() {
  CHECK(life_);
  return life_->env;
}
Node& DiskNode::node() {
  CHECK(life_);
  return *life_->node;
}
EventLog& DiskNode::log() {
  CHECK(life_);
  return *life_->log;
}

ViewStore& DiskNode::views() {
  CHECK(life_);
  return *life_->views;
}

ProjectionRoutes* DiskNode::projections() {
  CHECK(life_);
  return life_->projections.get();
}

// As `varve serve` does it.
Status DiskNode::boot() {
  CHECK(!life_);
  scheduler_.trace(options_.name + ": boot");
  auto life = std::make_unique<Life>(scheduler_, options_.name, seeds_.u64());
  const SqliteEventLog::Options log_options{
      kDirectory, options_.partitions, std::make_shared<DiskLogFiles>(disk_, options_.log_checkpoint_pages)};
  auto log = SqliteEventLog::open(life->env, log_options);
  if (!log) return log.error();
  life->log = std::move(*log);
  auto snapshots = SqliteSnapshotStore::open(life->env, kDirectory);
  if (!snapshots) return snapshots.error();
  life->snapshots = std::move(*snapshots);
  if (const Status opened = open_views(*life); !opened) return opened;
  life->model = options_.model(life->env);
  NodeIdentity identity;
  identity.node = uuid4(life->env.rng());
  identity.url = "http://" + options_.name;
  life->node = std::make_unique<Node>(life->env, std::move(identity),
                                      Node::Ports{*life->log, *life->snapshots, *life->views, *life->model},
                                      options_.node);
  life->node->start();
  life_ = std::move(life);
  return ok();
}

Status DiskNode::open_views(Life& life) const {
  SqliteViewStore::Options view_options{kDirectory, kViewsGeneration};
  if (options_.checkpoint_pages > 0) view_options.checkpoint_pages = options_.checkpoint_pages;
  const auto active = active_generation();
  if (!active) return active.error();
  view_options.generation = *active;
  auto views = SqliteViewStore::open(life.env, view_options);
  if (!views) return views.error();
  if (!options_.generations) {
    life.only_views = std::move(*views);
    life.views = life.only_views.get();
    return ok();
  }
  life.live = std::make_unique<ActiveViewStore>(life.env, std::shared_ptr<ViewStore>{std::move(*views)});
  life.views = life.live.get();
  if (options_.watch != nullptr) {
    life.watched = options_.watch->before(*life.live);
    life.views = life.watched.get();
  }
  life.generations =
      std::make_unique<SqliteGenerations>(life.env, kDirectory, life.snapshots.get(), life.live.get());
  life.generations->load_by(2 * kRebuildBatch);
  const ProjectionRoutes::Ports ports{*life.log, *life.views, *life.generations, kRebuildBatch};
  life.projections = std::make_unique<ProjectionRoutes>(life.env, ports);
  return ok();
}

void DiskNode::crash(Death death) {
  disk_.kill();  // From now on nothing that is destroyed reaches the disk.
  if (life_) scheduler_.trace(options_.name + ": crash");
  life_.reset();
  if (death == Death::power) disk_.power_cut();
}

void DiskNode::stop() {
  if (life_) scheduler_.trace(options_.name + ": stop");
  life_.reset();
  disk_.kill();
}

template <class Work>
auto DiskNode::on_a_copy(const Work& work) const {
  Counters nobody;
  const auto copy = disk_.fork(nobody);
  const SqliteVfs vfs(scheduler_, *copy, 1);
  return work(*copy);
}

Result<std::shared_ptr<MemoryLogStorage>> DiskNode::read_log() const {
  return on_a_copy([](const Disk& /*disk*/) { return read_whole_log(); });
}

Result<std::uint64_t> DiskNode::active_generation() const {
  if (!options_.generations) return kViewsGeneration;
  return active_generation_in(kDirectory);
}

Result<std::vector<std::string>> DiskNode::idle_views(Rest rest) const {
  const auto read = [this, rest](const Disk& disk) -> Result<std::vector<std::string>> {
    const auto active = active_generation();
    if (!active) return active.error();
    const std::string prefix = std::string{kDirectory} + "/views-";
    std::vector<std::string> idle;
    for (const std::string& file : disk.files()) {
      if (!file.starts_with(prefix)) continue;
      const std::uint64_t number = number_at(file, prefix.size());
      if (number > *active || (rest == Rest::all && number != *active)) idle.push_back(file);
    }
    return idle;
  };
  return on_a_copy(read);
}

Result<DiskNode::Image> DiskNode::image() const {
  const auto read = [this](const Disk& disk) -> Result<Image> {
    Image image;
    auto log = read_whole_log();
    if (!log) return log.error();
    image.log = std::move(*log);
    const auto active = active_generation();
    if (!active) return active.error();
    const std::string path = SqliteViewStore::path_of({kDirectory, *active});
    if (disk.exists(path)) {
      if (Status views = read_views(path, image.log->partitions(), image.views); !views) return views.error();
      const auto indexes = count_indexes(path);
      if (!indexes) return indexes.error();
      image.indexes = *indexes;
    }
    if (disk.exists(control_path())) {
      if (Status snapshots = read_snapshots(image.snapshots); !snapshots) return snapshots.error();
    }
    return image;
  };
  return on_a_copy(read);
}

}  // namespace varve::sim
