#include "sim/faulty_store.h"

#include <algorithm>

#include "runtime/check.h"
#include "sim/violation.h"

namespace varve::sim {

namespace {

constexpr std::uint64_t kMillion = 1'000'000;
constexpr std::size_t kViewsTrack = 0;
constexpr std::size_t kSnapshotsTrack = 16;

Error doubtful() {
  return Error{Errc::outcome_unknown, "the connection was lost after COMMIT was sent"};
}

}  // namespace

StoreLink::StoreLink(Choices& choices, Env& world, Counters& counters, std::string name,
                     std::size_t first_track)
    : choices_(choices),
      world_(world),
      counters_(counters),
      name_(std::move(name)),
      first_track_(first_track) {}

Track StoreLink::track(Fault fault) const {
  return {Domain::store, first_track_ + static_cast<std::size_t>(fault)};
}

bool StoreLink::chance(Fault fault, std::uint32_t ppm, const char* name) {
  if (ppm == 0 || !choices_.chance(track(fault), ppm, kMillion)) return false;
  counters_.add("fault." + name_ + "." + name);
  world_.trace(name_ + " " + name);
  return true;
}

Duration StoreLink::delay() {
  return kTrip + std::chrono::microseconds{choices_.spread(track(Fault::trip), faults_.delay_us)};
}

void StoreLink::later(std::function<void()> work) {
  world_.call_at(world_.now() + delay(), std::move(work));
}

Task<> StoreLink::go(Env& env) {
  const Duration way = delay();
  co_await sleep_for(env, way);
  if (chance(Fault::read, faults_.read_ppm, "read"))
    co_return Error{Errc::unavailable, "the connection was lost"};
  co_return ok();
}

boost::asio::awaitable<void> StoreLink::come_back(Env& env) {
  const Duration way = delay();
  co_await sleep_for(env, way);
}

void StoreLink::begin(std::uint64_t sent_on, std::function<void()> commit, Reply reply) {
  if (holding_) {
    holding_ = false;
    world_.trace(name_ + " holds a transaction");
    held_ = [this, sent_on, commit = std::move(commit), reply = std::move(reply)] {
      const bool lands = sent_on == connection_;
      if (lands) commit();
      later([reply, lands] { reply(lands ? std::nullopt : std::optional<Error>{doubtful()}); });
    };
    return;
  }
  later([this, sent_on, commit = std::move(commit), reply = std::move(reply)] {
    const std::optional<Error> error = sent_on == connection_ ? decide(commit) : doubtful();
    later([reply, error] { reply(error); });
  });
}

void StoreLink::release() {
  holding_ = false;
  if (!held_) return;
  world_.trace(name_ + " releases a transaction");
  std::exchange(held_, nullptr)();
}

std::optional<Error> StoreLink::decide(const std::function<void()>& commit) {
  if (chance(Fault::unreachable, faults_.unreachable_ppm, "unreachable")) {
    return Error{Errc::unavailable, "the database cannot be reached"};
  }
  if (chance(Fault::aborted, faults_.aborted_ppm, "aborted")) {
    return Error{Errc::unavailable, "the connection was lost in the middle; everything is rolled back"};
  }
  if (chance(Fault::serialization, faults_.serialization_ppm, "serialization")) {
    return Error{Errc::unavailable, "could not serialize access; everything is rolled back"};
  }
  if (chance(Fault::lost_commit, faults_.lost_commit_ppm, "lost_commit")) return doubtful();
  if (chance(Fault::late, faults_.late_ppm, "late")) {
    land_late(commit);
    return doubtful();
  }
  commit();
  if (chance(Fault::lost_ack, faults_.lost_ack_ppm, "lost_ack")) return doubtful();
  return std::nullopt;
}

void StoreLink::land_late(std::function<void()> commit) {
  const std::uint64_t late_us = choices_.spread(track(Fault::late), faults_.late_us);
  const MonoTime at = world_.now() + delay() + std::chrono::microseconds{late_us};
  world_.call_at(at, [this, sent_on = connection_, commit = std::move(commit)] {
    if (sent_on != connection_) return;
    world_.trace(name_ + " lands late");
    commit();
  });
}

ViewDatabase::ViewDatabase(Choices& choices, Env& world, Counters& counters,
                           std::shared_ptr<MemoryViewStorage> storage, std::size_t history)
    : counters_(counters),
      world_(world),
      link_(choices, world, counters, "views", kViewsTrack),
      storage_(std::move(storage)),
      history_(history) {
  if (history_ > 0) base_ = *storage_;
}

Result<CommitOutcome> ViewDatabase::apply(const Batch& batch) {
  auto outcome = apply_batch(*storage_, batch);
  if (!outcome) {
    // It has passed the comparison of versions, so it follows from these very rows.
    world_.trace(std::string(kViolationLine) +
                 "I5 a batch does not fit the views: " + outcome.error().message);
    return outcome;
  }
  if (*outcome != CommitOutcome::committed) return outcome;
  if (history_ > 0) {
    recent_.push_back(batch);
    if (recent_.size() > history_) {
      const auto moved = apply_batch(*base_, recent_.front());
      CHECK(moved && *moved == CommitOutcome::committed);
      recent_.pop_front();
    }
  }
  for (const Hook& hook : hooks_) hook(batch, *storage_);
  return outcome;
}

std::size_t ViewDatabase::failover(std::size_t commits) {
  const std::size_t lost = std::min(commits, recent_.size());
  recent_.resize(recent_.size() - lost);
  if (!sessions_survive_) link_.disconnect();
  counters_.add("fault.views.failover");
  if (lost > 0) counters_.add("sometimes.views.failover_lost_commits");
  world_.trace("views failover loses " + std::to_string(lost));
  if (lost == 0) return 0;
  *storage_ = *base_;
  for (const Batch& batch : recent_) {
    const auto again = apply_batch(*storage_, batch);
    CHECK(again && *again == CommitOutcome::committed);
  }
  for (const auto& hook : failover_hooks_) hook(*storage_);
  return lost;
}

Task<LoadedCheckpoint> FaultyViewStore::load(Partition partition) {
  const Status there = co_await database_.link().go(env_);
  if (!there) co_return there.error();
  const std::uint64_t connection = database_.link().connection();
  MemoryViewStore calm{env_, database_.storage()};
  auto loaded = co_await calm.load(partition);
  sessions_[partition] = connection;
  co_await database_.link().come_back(env_);
  co_return loaded;
}

Task<CommitOutcome> FaultyViewStore::commit(Batch batch) {
  const auto kept = std::make_shared<const Batch>(std::move(batch));
  std::function<Result<CommitOutcome>()> transaction = [database = &database_, kept] {
    return database->apply(*kept);
  };
  const auto session = sessions_.find(kept->partition);
  const std::uint64_t connection =
      session == sessions_.end() ? database_.link().connection() : session->second;
  co_return co_await database_.link().write_on<CommitOutcome>(env_, connection, std::move(transaction));
}

Task<> FaultyViewStore::read(std::function<Status(ViewReader&)> work) {
  const Status there = co_await database_.link().go(env_);
  if (!there) co_return there.error();
  MemoryViewStore calm{env_, database_.storage()};
  const Status status = co_await calm.read(std::move(work));
  co_await database_.link().come_back(env_);
  co_return status;
}

SnapshotDatabase::SnapshotDatabase(Choices& choices, Env& world, Counters& counters,
                                   std::shared_ptr<MemorySnapshotStorage> storage, std::size_t history)
    : counters_(counters),
      world_(world),
      link_(choices, world, counters, "snapshots", kSnapshotsTrack),
      storage_(std::move(storage)),
      history_(history) {}

void SnapshotDatabase::remember(Undo undo) {
  if (history_ == 0) return;
  recent_.push_back(std::move(undo));
  if (recent_.size() > history_) recent_.pop_front();
}

void SnapshotDatabase::put(std::vector<SnapshotRow> rows) {
  Undo undo;
  for (const SnapshotRow& row : rows) {
    const auto stored = storage_->snapshots.find(row.stream);
    const bool none = stored == storage_->snapshots.end();
    undo.snapshots.emplace(row.stream, none ? std::nullopt : std::optional<SnapshotRow>{stored->second});
    const bool sound = !none && xxh64(stored->second.state) == stored->second.hash;
    if (sound && row.seen < stored->second.seen) {
      counters_.add("sometimes.snapshots.older_row_refused");
    }
  }
  put_rows(*storage_, std::move(rows));
  for (const auto& [stream, before] : undo.snapshots) {
    const bool sound = before && xxh64(before->state) == before->hash;
    if (!sound || storage_->snapshots.at(stream).seen >= before->seen) continue;
    world_.trace(std::string(kViolationLine) + "I7 the snapshot of " + stream.value() +
                 " was replaced by an older one");
  }
  remember(std::move(undo));
}

bool SnapshotDatabase::move(RecoveryRow row) {
  const Partition partition = row.partition;
  const auto stored = storage_->recovery.find(partition);
  Undo undo;
  const bool none = stored == storage_->recovery.end();
  undo.recovery.emplace(partition, none ? std::nullopt : std::optional<RecoveryRow>{stored->second});
  const bool back = !none && row.next < stored->second.next;
  const bool moved = move_recovery_row(*storage_, std::move(row));
  if (moved && back) {
    world_.trace(std::string(kViolationLine) + "I7 the recovery row of partition " +
                 std::to_string(partition.value()) + " went back");
  }
  if (moved) remember(std::move(undo));
  if (!moved) counters_.add("sometimes.snapshots.recovery_row_refused");
  return moved;
}

void SnapshotDatabase::hold_next_put(std::string place) {
  CHECK(!held_);
  hold_from_ = std::move(place);
}

void SnapshotDatabase::take_if_held(const std::string& place,
                                    const std::shared_ptr<const std::vector<SnapshotRow>>& rows) {
  if (held_ || hold_from_.empty() || place != hold_from_) return;
  held_ = rows;
  link_.hold_next();
}

void SnapshotDatabase::release() {
  hold_from_.clear();
  held_.reset();
  link_.release();
}

bool SnapshotDatabase::lose_snapshot(const StreamId& stream) {
  if (storage_->snapshots.erase(stream) == 0) return false;
  counters_.add("fault.snapshots.lost_row");
  world_.trace("snapshots loses the row of " + stream.value());
  return true;
}

bool SnapshotDatabase::damage_snapshot(const StreamId& stream) {
  const auto found = storage_->snapshots.find(stream);
  if (found == storage_->snapshots.end()) return false;
  counters_.add("fault.snapshots.damaged_row");
  world_.trace("snapshots damages the row of " + stream.value());
  std::string& state = found->second.state;
  if (state.empty()) {
    state = "x";
  } else {
    char& byte = state[link_.choose_damage(state.size())];
    byte = static_cast<char>(byte ^ 1);
  }
  return true;
}

void SnapshotDatabase::lose_all() {
  storage_->snapshots.clear();
  storage_->recovery.clear();
  recent_.clear();
  link_.disconnect();
  counters_.add("fault.snapshots.lost_all");
  world_.trace("snapshots loses everything");
}

std::size_t SnapshotDatabase::failover(std::size_t writes) {
  const std::size_t lost = std::min(writes, recent_.size());
  link_.disconnect();
  counters_.add("fault.snapshots.failover");
  world_.trace("snapshots failover loses " + std::to_string(lost));
  for (std::size_t i = 0; i < lost; ++i) {
    for (auto& [stream, row] : recent_.back().snapshots) {
      if (row) {
        storage_->snapshots[stream] = std::move(*row);
      } else {
        storage_->snapshots.erase(stream);
      }
    }
    for (auto& [partition, row] : recent_.back().recovery) {
      if (row) {
        storage_->recovery[partition] = std::move(*row);
      } else {
        storage_->recovery.erase(partition);
      }
    }
    recent_.pop_back();
  }
  return lost;
}

Task<> FaultySnapshotStore::put(std::vector<SnapshotRow> rows) {
  const auto kept = std::make_shared<const std::vector<SnapshotRow>>(std::move(rows));
  database_.take_if_held(place_, kept);
  std::function<Status()> transaction = [database = &database_, kept] {
    database->put(*kept);
    return ok();
  };
  co_return co_await database_.link().write<Unit>(env_, std::move(transaction));
}

// A task does nothing before it is awaited: the question is asked at the other end of the link.
template <class T>
Task<T> FaultySnapshotStore::ask(Task<T> question) {
  const Status there = co_await database_.link().go(env_);
  if (!there) co_return there.error();
  auto found = co_await std::move(question);
  co_await database_.link().come_back(env_);
  co_return found;
}

Task<std::optional<SnapshotRow>> FaultySnapshotStore::get(StreamId stream) {
  return ask(calm_.get(std::move(stream)));
}

Task<std::optional<RecoveryRow>> FaultySnapshotStore::recovery(Partition partition) {
  return ask(calm_.recovery(partition));
}

Task<bool> FaultySnapshotStore::move_recovery(RecoveryRow row) {
  const auto kept = std::make_shared<const RecoveryRow>(std::move(row));
  std::function<Result<bool>()> transaction = [database = &database_, kept]() -> Result<bool> {
    return database->move(*kept);
  };
  co_return co_await database_.link().write<bool>(env_, std::move(transaction));
}

Task<std::vector<SnapshotPlace>> FaultySnapshotStore::list(Partition partition, StreamId after,
                                                           std::size_t limit) {
  return ask(calm_.list(partition, std::move(after), limit));
}

Task<std::vector<StreamId>> FaultySnapshotStore::open_turns(Partition partition) {
  return ask(calm_.open_turns(partition));
}

}  // namespace varve::sim
