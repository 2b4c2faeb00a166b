// Shard: activation, snapshots and the recovery row. The invariant (Recovery.tla): every stream whose last
// record lies before the recovery row has a snapshot of exactly that state; the records after it are in tail_
// or in resident actors.
#include <algorithm>

#include "actors/sealed_state.h"
#include "actors/shard.h"
#include "actors/state_codec.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

constexpr std::size_t kSnapshotChunk = 64;
constexpr std::size_t kListChunk = 4096;
constexpr std::chrono::milliseconds kRetryWait{100};

bool is_sound(const SnapshotRow& row) {
  return xxh64(row.state) == row.hash || mutant(Mutant::snapshot_hash_ignored);
}

}  // namespace

Task<> Shard::main() {
  // The row first, then the snapshots, and both before the claim: a reader that starts behind its own claim
  // would wait for it for ever.
  auto start = co_await recovery_start();
  while (!start && start.error().code == Errc::unavailable && !fenced_) {
    co_await sleep_for(env_, kRetryWait);
    start = co_await recovery_start();
  }
  if (!start) {
    // Snapshots are never newer truth than the log: without them all of it is read.
    env_.log(LogLevel::warning, "partition " + std::to_string(partition_.value()) +
                                    ": reading the log from its start: " + start.error().message);
    env_.count("recoveries_from_start");
    start = PartitionOwner::Start{};
    // A log that lacks the record that the row knows was truncated or exchanged, from wherever it is read.
    if (recovery_ && !mutant(Mutant::start_without_mark)) start->mark = recovery_->mark;
  }
  co_return co_await owner_.run(std::move(*start));
}

Task<PartitionOwner::Start> Shard::recovery_start() {
  PartitionOwner::Start from;
  auto row = co_await ports_.snapshots.recovery(partition_);
  if (!row) co_return row.error();
  if (!*row) co_return from;
  recovery_ = std::move(*row);
  std::uint64_t rows = 0;
  KnownStreams listed;
  StreamId after;
  for (;;) {
    auto page = co_await ports_.snapshots.list(partition_, after, kListChunk);
    if (!page) co_return page.error();
    for (const SnapshotPlace& place : *page) {
      if (!(place.born < recovery_->next)) continue;  // The reader will meet it.
      ++rows;
      listed.note(place.stream, place.seen);
    }
    if (page->size() < kListChunk) break;
    after = page->back().stream;
  }
  if (rows < recovery_->streams && !mutant(Mutant::missing_snapshot_ignored)) {
    co_return Error{Errc::corrupt, std::to_string(recovery_->streams - rows) + " snapshots are missing"};
  }
  from = {recovery_->next, recovery_->admission, recovery_->at, recovery_->mark};
  streams_ = recovery_->streams;
  known_ = std::move(listed);
  if (mutant(Mutant::recovery_without_admission)) from.admission = {};
  co_return from;
}

Shard::Actor* Shard::resident_actor(const StreamId& stream) const {
  const auto found = actors_.find(stream);
  return found != actors_.end() && !is_locked(*found->second) ? found->second.get() : nullptr;
}

Task<Shard::Actor*> Shard::activate(StreamId stream) {
  for (;;) {
    if (const auto found = actors_.find(stream); found != actors_.end()) {
      if (is_locked(*found->second)) co_return co_await unlock(stream);
      co_return found->second.get();
    }
    const auto busy = activating_.find(stream);
    if (busy == activating_.end()) break;
    const auto notifier = busy->second;
    co_await notifier->wait(env_, kNever);
  }
  const auto notifier = std::make_shared<Notifier>();
  activating_.emplace(stream, notifier);
  auto loaded = co_await load(stream);
  activating_.erase(stream);
  notifier->notify_all();
  if (!loaded) co_return loaded.error();
  env_.count("activations");
  auto actor = std::make_unique<Actor>();
  actor->state = std::move(loaded->state);
  actor->seen = loaded->seen;
  actor->saved = loaded->saved;
  actor->used = env_.now();
  apply_tail(*actor);
  Actor* address = actor.get();
  actors_.emplace(stream, std::move(actor));
  if (is_locked(*address)) co_return co_await unlock(stream);
  co_return address;
}

// A record that the state has not seen. It has seen more than the reader if its snapshot is that of an owner
// who is ahead.
void Shard::take_part(Actor& actor, const Commit& commit, const Part& part, Offset offset,
                      const EventPlaces& absent) {
  if (offset <= actor.seen && !mutant(Mutant::tail_applied_twice)) return;
  const bool deciding = part.stream == commit.parts.front().stream;
  apply_part(actor.state, commit, part, offset, deciding, absent);
  actor.seen = offset;
}

void Shard::keep_in_tail(const StreamId& stream, Offset before, TailPart entry) {
  Tail& tail = tail_.try_emplace(stream, Tail{before, {}}).first->second;
  tail.parts.push_back(std::move(entry));
}

// What the reader has met meanwhile and before.
void Shard::apply_tail(Actor& actor) {
  const auto tail = tail_.find(actor.state.stream);
  if (tail == tail_.end()) return;
  for (const TailPart& entry : tail->second.parts) {
    if (actor.seal) {
      take_part(actor, *entry.commit, opened_part(entry.part(), *actor.seal), entry.offset, absent_);
    } else {
      take_part(actor, *entry.commit, entry.part(), entry.offset, absent_);
    }
  }
  tail_.erase(tail);
}

// The state before the tail.
Task<Shard::Loaded> Shard::load(StreamId stream) {
  auto row = co_await ports_.snapshots.get(stream);
  if (!row) co_return row.error();
  if (auto loaded = loaded_from(stream, *row)) co_return std::move(*loaded);
  auto rebuilt = co_await rebuild(stream);
  // What it says is known: it is written once more only if a newer program could read more of the stream.
  if (rebuilt && rebuilt->state.corrupt && *row && is_sound(**row)) rebuilt->saved = (*row)->seen;
  co_return rebuilt;
}

std::optional<Shard::Loaded> Shard::loaded_from(const StreamId& stream,
                                                const std::optional<SnapshotRow>& row) const {
  Loaded loaded;
  loaded.state.stream = stream;
  if (row) {
    auto decoded =
        is_sound(*row) ? decode_state(row->state) : Result<ActorState>{Error{Errc::corrupt, "hash"}};
    if (!decoded) {
      env_.log(LogLevel::warning,
               "the snapshot of '" + stream.value() + "' is damaged, rebuilding it from the log");
      env_.count("snapshots_damaged");
      return std::nullopt;
    }
    // A later program may read what this snapshot's could not, and a ruling may say that it is absent.
    if (decoded->corrupt) return std::nullopt;
    if (mutant(Mutant::window_not_restored)) decoded->recent = {};
    loaded = {std::move(*decoded), row->seen, row->seen};
  }
  const auto tail = tail_.find(stream);
  const Offset needed = tail == tail_.end() ? known_.last(stream) : tail->second.before;
  if (loaded.seen < needed && !mutant(Mutant::vanished_snapshot_believed)) {
    env_.log(LogLevel::warning, "the snapshot of '" + stream.value() + "' " +
                                    (row ? "is older than one that was there" : "has vanished") +
                                    ", rebuilding it from the log");
    env_.count("snapshots_lost");
    return std::nullopt;
  }
  if (tail == tail_.end()) return loaded;
  Sequence expected = next(loaded.state.sequence);
  for (const TailPart& entry : tail->second.parts) {
    if (entry.offset <= loaded.seen) continue;
    if (entry.part().first != expected) return std::nullopt;
    expected = Sequence{expected.value() + entry.part().events.size()};
  }
  return loaded;
}

Task<Shard::Loaded> Shard::rebuild(StreamId stream) {
  env_.count("streams_rebuilt");
  Loaded read;
  read.state.stream = stream;
  AdmissionState admission;
  Offset from;
  const Offset end = owner_.next_offset();
  EventPlaces absent = absent_;
  auto rulings = co_await rulings_in(ports_.log, partition_, from, end, admission);
  if (!rulings) co_return rulings.error();
  for (const FoundRuling& found : *rulings) {
    absent.insert(place_of(found.ruling));
    if (found.ruling.stream == stream) read.seen = found.at;
  }
  while (from < end) {
    ReadOptions options;
    auto batch = co_await ports_.log.read(partition_, from, options);
    if (!batch) co_return batch.error();
    for (const LogRecord& record : batch->records) {
      if (record.offset >= end) break;
      auto decoded = decode_record(*record.bytes);
      if (!decoded) co_return decoded.error();
      if (admit(admission, *decoded) != Verdict::admitted) continue;
      const auto* commit = std::get_if<Commit>(&*decoded);
      if (commit == nullptr) continue;
      for (std::size_t i = 0; i < commit->parts.size(); ++i) {
        if (commit->parts[i].stream != stream) continue;
        apply_part(read.state, *commit, commit->parts[i], record.offset, i == 0, absent);
        read.seen = std::max(read.seen, record.offset);
      }
    }
    if (batch->next <= from) co_return not_readable_yet();
    from = batch->next;
  }
  // What lies behind `end` is in tail_, and activate() applies it.
  co_return read;
}

Task<> Shard::housekeep() {
  while (!stopping_) {
    co_await fenced_now_.wait(env_, env_.now() + options_.housekeeping);
    if (!owner_.owned() || stopping_) continue;
    const bool due = records_since_round_ >= options_.snapshot_records ||
                     (records_since_round_ > 0 && env_.now() - last_round_ >= options_.snapshot_time);
    if (due) {
      if (Status round = co_await snapshot_round(); !round) {
        env_.log(LogLevel::warning, "a round of snapshots failed: " + to_string(round.error()));
      }
    }
    ignore_error(co_await passivate_idle(options_.idle), "the next round tries again");
  }
  co_return ok();
}

SnapshotRow Shard::row_of(const Actor& actor) const {
  const ActorState& state = actor.state;
  SnapshotRow row;
  row.stream = state.stream;
  row.partition = partition_;
  row.sequence = state.sequence;
  row.seen = actor.seen;
  row.born = state.born;
  row.open_turn = state.has_open_turn();
  row.corrupt = state.corrupt;
  row.bad_offset = state.bad_offset;
  if (actor.seal) {
    ActorState sealed = state;
    if (!mutant(Mutant::snapshot_in_plain)) seal_state(sealed, *actor.seal);
    row.state = encode_state(sealed);
  } else {
    row.state = encode_state(state);
  }
  row.hash = xxh64(row.state);
  return row;
}

// Encodes and stores the present states of resident streams, a chunk at a time. Not of those that are to be
// read again: the ruling would pass for seen.
Task<> Shard::save(std::vector<StreamId> streams) {
  for (std::size_t start = 0; start < streams.size(); start += kSnapshotChunk) {
    std::vector<SnapshotRow> rows;
    std::vector<std::pair<StreamId, Offset>> saved;
    const std::size_t end = std::min(streams.size(), start + kSnapshotChunk);
    for (std::size_t i = start; i < end; ++i) {
      const auto found = actors_.find(streams[i]);
      if (found == actors_.end() || !found->second->dirty() || unread_.contains(streams[i])) continue;
      rows.push_back(row_of(*found->second));
      saved.emplace_back(streams[i], found->second->seen);
    }
    if (rows.empty()) continue;
    if (Status put = co_await ports_.snapshots.put(std::move(rows)); !put) co_return put;
    for (const auto& [stream, seen] : saved) {
      const auto found = actors_.find(stream);
      if (found != actors_.end()) found->second->saved = seen;
    }
  }
  co_return ok();
}

Task<> Shard::snapshot_round() {
  if (round_running_) co_return ok();
  // The recovery row may not pass a ruling before the states are those without the event.
  if (!unread_.empty()) co_return Error{Errc::unavailable, "a stream is being read again"};
  // Nor an erasure whose keys may still be there: who recovers from there would not know of it.
  const bool over = mutant(Mutant::snapshot_over_erasure);
  if (!erasing_.empty() && !over) co_return Error{Errc::unavailable, "keys are being destroyed"};
  round_running_ = true;
  // Everything before this position is in resident actors or in tail_.
  RecoveryRow row;
  row.partition = partition_;
  row.next = owner_.next_offset();
  row.admission = owner_.admission();
  row.at = owner_.admitted_at();
  row.mark = owner_.mark();
  row.streams = streams_;
  row.version = recovery_ ? recovery_->version : 0;
  records_since_round_ = 0;
  last_round_ = env_.now();

  std::vector<StreamId> in_tail;
  for (const auto& [stream, parts] : tail_) in_tail.push_back(stream);
  Status status = ok();
  for (const StreamId& stream : in_tail) {
    auto actor = co_await activate(stream);
    if (!actor) status = actor.error();
  }
  if (status) {
    std::vector<StreamId> dirty;
    for (const auto& [stream, actor] : actors_) {
      if (actor->dirty()) dirty.push_back(stream);
    }
    status = co_await save(std::move(dirty));
  }
  if (status && !unread_.empty()) status = Error{Errc::unavailable, "a stream is to be read again"};
  if (mutant(Mutant::recovery_row_after_save)) {
    row.next = owner_.next_offset();
    row.admission = owner_.admission();
    row.mark = owner_.mark();
    row.streams = streams_;
  }
  if (status) {
    auto moved = co_await ports_.snapshots.move_recovery(row);
    if (!moved) {
      status = moved.error();
    } else if (*moved) {
      ++row.version;
      recovery_ = row;
    } else {
      // Another owner's row: take it as it is; ours would be older.
      auto stored = co_await ports_.snapshots.recovery(partition_);
      if (stored) recovery_ = std::move(*stored);
    }
  }
  env_.count("snapshot_rounds");
  round_running_ = false;
  co_return status;
}

Task<> Shard::passivate_idle(Duration idle_for) {
  std::vector<StreamId> candidates;
  std::vector<std::pair<MonoTime, StreamId>> by_use;
  const bool crowded = actors_.size() > options_.resident_max;
  for (const auto& [stream, actor] : actors_) {
    if (actor->busy() || actor->state.has_open_turn()) continue;
    if (actor->state.sequence == Sequence{} || env_.now() - actor->used >= idle_for) {
      candidates.push_back(stream);
    } else if (crowded) {
      by_use.emplace_back(actor->used, stream);
    }
  }
  if (crowded) {
    std::sort(by_use.begin(), by_use.end());
    const std::size_t over = actors_.size() - options_.resident_max;
    for (std::size_t i = candidates.size(); i < over && i < by_use.size(); ++i)
      candidates.push_back(by_use[i].second);
  }
  co_return co_await passivate(std::move(candidates));
}

Task<> Shard::passivate(std::vector<StreamId> streams) {
  if (streams.empty()) co_return ok();
  if (!mutant(Mutant::unsaved_is_dropped)) {
    if (Status saved = co_await save(streams); !saved) co_return saved;
  }
  for (const StreamId& stream : streams) {
    const auto found = actors_.find(stream);
    if (found == actors_.end() || found->second->busy()) continue;
    const bool changed = found->second->dirty() || unread_.contains(stream);  // Meanwhile.
    if (changed && !mutant(Mutant::unsaved_is_dropped)) continue;
    actors_.erase(found);
    env_.count("passivations");
  }
  co_return ok();
}

Task<> Shard::drain(MonoTime deadline) {
  stopping_ = true;
  // Again and again: a message whose commit was under way when this began opens its turn only now.
  std::set<std::string> handed_over;
  for (;;) {
    std::vector<std::pair<StreamId, std::string>> open;
    for (const auto& [stream, actor] : actors_) {
      if (!actor->state.has_open_turn()) continue;
      const AgentState* agent = actor->state.agent();
      if (handed_over.insert(agent->turn->run_id).second) open.emplace_back(stream, agent->turn->run_id);
    }
    for (const auto& [stream, run_id] : open) {
      Command hand_over = HandOverTurn{run_id};
      ignore_error(co_await submit(stream, std::move(hand_over), deadline),
                   "the turn is resumed all the same, it only counts");
      const auto found = actors_.find(stream);
      if (found != actors_.end() && found->second->turn) found->second->turn->abandon();
    }
    if (fenced_ || env_.now() >= deadline) break;
    if (!open.empty()) continue;
    const bool busy = std::any_of(actors_.begin(), actors_.end(), [](const auto& entry) {
      return entry.second->pumping || !entry.second->mailbox.empty();
    });
    if (!busy) break;
    co_await sleep_for(env_, std::chrono::milliseconds{5});
  }
  Status round = ok();
  if (owner_.owned()) round = co_await snapshot_round();
  owner_.stop();
  co_return round;
}

}  // namespace varve
