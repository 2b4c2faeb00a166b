#include "sim/disk.h"

#include <algorithm>

namespace varve::sim {
namespace {

std::string directory_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

void put(std::string& image, std::string_view bytes, std::uint64_t at) {
  const auto begin = static_cast<std::size_t>(at);
  if (image.size() < begin + bytes.size()) image.resize(begin + bytes.size(), '\0');
  image.replace(begin, bytes.size(), bytes);
}

}  // namespace

struct Disk::Inode {
  // A write, or a truncation to `at` if there are no bytes.
  struct Change {
    std::uint64_t at = 0;
    std::optional<std::string> bytes;
  };
  static void apply(std::string& image, const Change& change) {
    if (change.bytes) {
      put(image, *change.bytes, change.at);
    } else {
      image.resize(static_cast<std::size_t>(change.at), '\0');
    }
  }

  std::uint64_t number = 0;
  std::string name;  // For traces: the one it was made with.
  std::string cached;
  std::string durable;
  std::vector<Change> pending;  // What the cache has and the platter may lack, in order.
};

std::uint64_t Disk::Handle::inode() const {
  return inode_->number;
}

Disk::Disk(Scheduler& scheduler, Counters& counters, Options options)
    : scheduler_(scheduler), counters_(counters), options_(options) {}
Disk::~Disk() = default;

Disk::Step Disk::begin(std::string_view what, const std::string& where) {
  if (frozen_) return Step::refuse;
  ++operations_;
  if (operations_ != crash_at_) return Step::run;
  frozen_ = true;
  counters_.add("fault.disk.crash_at_operation");
  const bool happens = choose(Fault::cut, 2) == 1;
  scheduler_.trace("disk: the machine stands still at " + std::string(what) + " of " + where +
                   (happens ? ", which happens" : ""));
  return happens ? Step::run_and_fail : Step::refuse;
}

std::uint64_t Disk::choose(Fault fault, std::uint64_t bound) {
  return scheduler_.choices().choose({Domain::disk, static_cast<std::size_t>(fault)}, bound);
}

bool Disk::strikes(Fault fault, std::uint32_t ppm, const char* counter) {
  if (!scheduler_.choices().chance({Domain::disk, static_cast<std::size_t>(fault)}, ppm, 1'000'000))
    return false;
  counters_.add(counter);
  scheduler_.trace(counter);
  return true;
}

void Disk::apply(Names& names, const NameChange& change) {
  for (const auto& [path, inode] : change.entries) {
    if (inode) {
      names[path] = inode;
    } else {
      names.erase(path);
    }
  }
}

void Disk::change_names(NameChange change) {
  apply(names_, change);
  pending_names_.push_back(std::move(change));
}

std::optional<Disk::Handle> Disk::open(const std::string& path, bool create) {
  if (frozen_) return std::nullopt;
  const auto found = names_.find(path);
  if (found != names_.end()) return Handle{found->second, incarnation_};
  if (!create) return std::nullopt;
  const Step step = begin("creation", path);
  if (step == Step::refuse) return std::nullopt;
  auto inode = std::make_shared<Inode>();
  inode->number = next_inode_++;
  inode->name = path;
  change_names({{{path, inode}}});
  if (step == Step::run_and_fail) return std::nullopt;
  return Handle{std::move(inode), incarnation_};
}

Disk::Handle Disk::open_unnamed() {
  auto inode = std::make_shared<Inode>();
  inode->number = next_inode_++;
  return Handle{std::move(inode), incarnation_};
}

DiskResult Disk::read(const Handle& file, char* to, std::size_t size, std::uint64_t at) {
  if (dead(file) || frozen_) return {DiskStatus::failed, 0};
  const std::string& image = file.inode_->cached;
  if (at >= image.size()) return {};
  if (strikes(Fault::read_error, faults_.read_error_ppm, "fault.disk.read_error"))
    return {DiskStatus::failed, 0};
  std::size_t bytes = std::min(size, image.size() - static_cast<std::size_t>(at));
  if (bytes > 1 && strikes(Fault::short_read, faults_.short_read_ppm, "fault.disk.short_read")) {
    bytes -= 1 + static_cast<std::size_t>(choose(Fault::short_read, bytes - 1));
  }
  image.copy(to, bytes, static_cast<std::size_t>(at));
  return {DiskStatus::done, bytes};
}

std::uint64_t Disk::used() const {
  std::uint64_t bytes = 0;
  for (const auto& [path, inode] : names_) bytes += inode->cached.size();
  return bytes;
}

DiskResult Disk::write(const Handle& file, std::string_view bytes, std::uint64_t at) {
  if (dead(file)) return {DiskStatus::failed, 0};
  Inode& inode = *file.inode_;
  const Step step = begin("a write", inode.name);
  if (step == Step::refuse) return {DiskStatus::failed, 0};
  DiskResult result{step == Step::run ? DiskStatus::done : DiskStatus::failed, bytes.size()};
  if (step == Step::run && strikes(Fault::write_error, faults_.write_error_ppm, "fault.disk.write_error")) {
    result = {DiskStatus::failed, static_cast<std::size_t>(choose(Fault::write_error, bytes.size()))};
  }
  const std::uint64_t end = std::max<std::uint64_t>(inode.cached.size(), at);
  const std::uint64_t grown = at + result.bytes > end ? at + result.bytes - end : 0;
  const std::uint64_t in_use = used();
  const std::uint64_t space = options_.capacity > in_use ? options_.capacity - in_use : 0;
  if (grown > space) {
    counters_.add("fault.disk.full");
    scheduler_.trace("fault.disk.full");
    result = {DiskStatus::full, result.bytes - std::min<std::size_t>(result.bytes, grown - space)};
  }
  if (result.bytes > 0) {
    Inode::Change change{at, std::string(bytes.substr(0, result.bytes))};
    Inode::apply(inode.cached, change);
    inode.pending.push_back(std::move(change));
  }
  return result;
}

DiskStatus Disk::truncate(const Handle& file, std::uint64_t size) {
  if (dead(file)) return DiskStatus::failed;
  const Step step = begin("a truncation", file.inode_->name);
  if (step == Step::refuse) return DiskStatus::failed;
  Inode::Change change{size, std::nullopt};
  Inode::apply(file.inode_->cached, change);
  file.inode_->pending.push_back(std::move(change));
  return step == Step::run ? DiskStatus::done : DiskStatus::failed;
}

DiskStatus Disk::sync(const Handle& file) {
  if (dead(file)) return DiskStatus::failed;
  Inode& inode = *file.inode_;
  const Step step = begin("a sync", inode.name);
  if (step == Step::refuse) return DiskStatus::failed;
  if (step == Step::run && strikes(Fault::sync_error, faults_.sync_error_ppm, "fault.disk.sync_error")) {
    // The platter has them or not; for the cache they are clean, and nobody will write them again.
    resolve(inode, static_cast<Cut>(choose(Fault::sync_error, 4)));
    return DiskStatus::failed;
  }
  for (const Inode::Change& change : inode.pending) Inode::apply(inode.durable, change);
  inode.pending.clear();
  return step == Step::run ? DiskStatus::done : DiskStatus::failed;
}

std::uint64_t Disk::size(const Handle& file) const {
  return dead(file) ? 0 : file.inode_->cached.size();
}

bool Disk::is_empty(const std::string& path) const {
  const auto found = names_.find(path);
  return found == names_.end() || found->second->cached.empty();
}

DiskStatus Disk::remove(const std::string& path) {
  if (frozen_) return DiskStatus::failed;
  if (!names_.contains(path)) return DiskStatus::missing;
  const Step step = begin("removal", path);
  if (step == Step::refuse) return DiskStatus::failed;
  change_names({{{path, nullptr}}});
  return step == Step::run ? DiskStatus::done : DiskStatus::failed;
}

DiskStatus Disk::rename(const std::string& from, const std::string& to) {
  if (frozen_) return DiskStatus::failed;
  const auto found = names_.find(from);
  if (found == names_.end()) return DiskStatus::missing;
  const Step step = begin("renaming", from);
  if (step == Step::refuse) return DiskStatus::failed;
  change_names({{{from, nullptr}, {to, found->second}}});
  return step == Step::run ? DiskStatus::done : DiskStatus::failed;
}

DiskStatus Disk::sync_directory(const std::string& directory) {
  const Step step = begin("a sync", directory);
  if (step == Step::refuse) return DiskStatus::failed;
  if (step == Step::run && strikes(Fault::names, faults_.sync_error_ppm, "fault.disk.directory_sync_error")) {
    return DiskStatus::failed;
  }
  std::erase_if(pending_names_, [&](const NameChange& change) {
    if (directory_of(change.entries.front().first) != directory) return false;
    apply(durable_, change);
    return true;
  });
  return step == Step::run ? DiskStatus::done : DiskStatus::failed;
}

void Disk::end_incarnation() {
  ++incarnation_;
  locks_.clear();
  frozen_ = false;
  crash_at_ = 0;
}

void Disk::kill() {
  scheduler_.trace("disk: the process is dead");
  end_incarnation();
}

// Sector by sector: new, old, or garbage.
void Disk::tear(std::string& image, const std::string& bytes, std::uint64_t at) {
  for (std::uint64_t from = at; from < at + bytes.size();) {
    const std::uint64_t to = std::min<std::uint64_t>((from / kSector + 1) * kSector, at + bytes.size());
    std::string piece =
        bytes.substr(static_cast<std::size_t>(from - at), static_cast<std::size_t>(to - from));
    if (choose(Fault::cut, 2) == 1) {
      const auto place = static_cast<std::size_t>(from);
      const bool same =
          image.size() >= place + piece.size() && image.compare(place, piece.size(), piece) == 0;
      piece.clear();
      if (!same && strikes(Fault::garbage, faults_.garbage_ppm, "fault.disk.garbage_sector")) {
        piece.assign(static_cast<std::size_t>(to - from), static_cast<char>(choose(Fault::garbage, 256)));
      }
    }
    if (!piece.empty()) put(image, piece, from);
    from = to;
  }
}

void Disk::resolve(Inode& inode, Cut cut) {
  const std::size_t count = inode.pending.size();
  if (count == 0) return;
  const std::size_t whole =
      cut == Cut::keep_first ? static_cast<std::size_t>(choose(Fault::cut, count + 1)) : 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Inode::Change& change = inode.pending[i];
    // Of `each`: kept, lost or torn. The first one that is not kept of `keep_first` is torn.
    std::uint64_t fate = cut == Cut::lose_all ? 1 : 0;
    if (cut == Cut::each) fate = choose(Fault::cut, 3);
    if (cut == Cut::keep_first && i >= whole) fate = i == whole ? 2 : 1;
    if (fate == 2 && !change.bytes) fate = 1;
    if (fate == 0) {
      Inode::apply(inode.durable, change);
    } else if (fate == 2) {
      counters_.add("fault.disk.torn_write");
      tear(inode.durable, *change.bytes, change.at);
    } else {
      counters_.add("fault.disk.lost_write");
    }
  }
  inode.pending.clear();
}

void Disk::resolve_names(Cut cut) {
  std::set<std::string> lost;  // Names of which a change was lost: the later ones build on it.
  for (const NameChange& change : pending_names_) {
    bool keep = cut != Cut::lose_all;
    if (cut == Cut::keep_first || cut == Cut::each) keep = choose(Fault::cut, 2) == 0;
    for (const auto& [path, inode] : change.entries) keep = keep && !lost.contains(path);
    if (keep) {
      apply(durable_, change);
      continue;
    }
    counters_.add("fault.disk.lost_name");
    for (const auto& [path, inode] : change.entries) lost.insert(path);
  }
  pending_names_.clear();
}

void Disk::power_cut() {
  end_incarnation();
  const auto cut = static_cast<Cut>(choose(Fault::cut, 4));
  counters_.add("fault.disk.power_cut");
  scheduler_.trace("disk: power cut, way " + std::to_string(static_cast<int>(cut)));
  resolve_names(cut);
  names_ = durable_;
  for (const auto& [path, inode] : names_) {
    resolve(*inode, cut);
    inode->cached = inode->durable;
  }
}

bool Disk::rot(const std::string& path, std::uint64_t at, unsigned char bits) {
  const auto found = names_.find(path);
  if (found == names_.end() || at >= found->second->cached.size()) return false;
  counters_.add("fault.disk.bit_rot");
  scheduler_.trace("disk: bit rot in " + path + " at " + std::to_string(at));
  const auto turn = [&](std::string& image) {
    if (at >= image.size()) return;
    char& byte = image[static_cast<std::size_t>(at)];
    byte = static_cast<char>(static_cast<unsigned char>(byte) ^ bits);
  };
  turn(found->second->cached);
  turn(found->second->durable);
  return true;
}

void Disk::erase(const std::string& path) {
  names_.erase(path);
  durable_.erase(path);
  for (NameChange& change : pending_names_) {
    std::erase_if(change.entries, [&](const auto& entry) { return entry.first == path; });
  }
  std::erase_if(pending_names_, [](const NameChange& change) { return change.entries.empty(); });
}

std::vector<std::string> Disk::files() const {
  std::vector<std::string> paths;
  for (const auto& [path, inode] : names_) paths.push_back(path);
  return paths;
}

std::string Disk::content(const std::string& path) const {
  const auto found = names_.find(path);
  return found == names_.end() ? std::string{} : found->second->cached;
}

std::unique_ptr<Disk> Disk::fork(Counters& counters) const {
  auto copy = std::make_unique<Disk>(scheduler_, counters, Options{});
  for (const auto& [path, inode] : names_) {
    auto twin = std::make_shared<Inode>();
    twin->number = copy->next_inode_++;
    twin->name = path;
    twin->cached = inode->cached;
    twin->durable = inode->cached;
    copy->names_.emplace(path, twin);
    copy->durable_.emplace(path, std::move(twin));
  }
  return copy;
}

}  // namespace varve::sim
