// Shard: rulings. A stream that is corrupt because of an event which nobody can read is sound again when a
// ruling says that the event is absent: its history is folded once more, without it.
#include <algorithm>

#include "actors/sealed_state.h"
#include "actors/shard.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kRetryWait{100};

Error refused(const EventPlace& place, const std::string& why) {
  return {Errc::conflict, "event " + std::to_string(place.event) + " of '" + place.stream.value() +
                              "' at offset " + std::to_string(place.offset.value()) +
                              " cannot be skipped: " + why};
}

// The record must hold the stream's next event there, and this program must not be able to read it.
Status check_poison(const ActorState& state, const EventPlace& place, const LogRecord& record) {
  const auto read = decoded(record);
  if (!read) return read.error();
  const auto* commit = std::get_if<Commit>(&**read);
  if (commit == nullptr) return refused(place, "the record there is no commit");
  for (const Part& part : commit->parts) {
    if (part.stream != place.stream) continue;
    const Sequence bad = next(state.sequence);
    const auto count = static_cast<std::int64_t>(part.events.size());
    if (place.event < 0 || place.event >= count)
      return refused(place, "its record has " + std::to_string(count) + " events of the stream");
    const auto number = static_cast<std::uint64_t>(place.event);
    if (part.first.value() + number != bad.value()) {
      return refused(place, "the stream is not damaged by this event, but by its sequence " +
                                std::to_string(bad.value()));
    }
    if (std::holds_alternative<UnreadableEvent>(part.events[number])) return ok();
    return refused(place, "this program can read it");
  }
  return refused(place, "the record there holds nothing of the stream");
}

}  // namespace

Task<LogPosition> Shard::rule(EventPlace place, MonoTime deadline) {
  if (fenced_ || stopping_) co_return Error{Errc::unavailable, "this node gives the partition up"};
  if (Status owned = co_await owner_.wait_owned(deadline); !owned) co_return owned.error();
  // A refusal may come from a stale owner, like any other.
  if (Status present = co_await owner_.present(deadline); !present) co_return present.error();
  const StreamId stream = place.stream;
  auto activated = co_await activate(stream);
  if (!activated) co_return activated.error();
  const ActorState& state = (*activated)->state;
  if (!state.corrupt) co_return refused(place, "the stream is sound");
  if (state.bad_offset != place.offset) {
    co_return refused(place, "the stream is damaged at offset " + std::to_string(state.bad_offset.value()));
  }
  std::vector<Offset> offsets{place.offset};
  auto record = co_await records_at(ports_.log, partition_, std::move(offsets));
  if (!record) co_return record.error();
  const auto found = actors_.find(stream);
  if (found == actors_.end() || !found->second->state.corrupt)
    co_return refused(place, "the stream is sound");
  if (Status poison = check_poison(found->second->state, place, record->front()); !poison)
    co_return poison.error();
  auto offset = co_await owner_.rule(std::move(place), deadline);
  if (!offset) co_return offset.error();
  LogPosition position{partition_, *offset};
  co_return position;
}

Task<CommandAnswer> Shard::skip(StreamId stream, SkipEvent command, MonoTime deadline) {
  EventPlace place{stream, command.offset, command.event};
  auto ruled = co_await rule(std::move(place), deadline);
  if (!ruled) co_return ruled.error();
  CommandAnswer answer;
  answer.stream = std::move(stream);
  answer.positions = {*ruled};
  answer.offset = ruled->offset;
  co_return answer;
}

void Shard::on_ruling(const Ruling& ruling, Offset offset) {
  ++records_since_round_;
  absent_.insert(place_of(ruling));
  unread_[ruling.stream].ruling = offset;
  known_.note(ruling.stream, offset);
  // Not before everything has been read: more of the stream may follow.
  if (owner_.owned()) reread_ruled();
}

void Shard::reread_ruled() {
  for (auto& [stream, unread] : unread_) {
    if (!unread.running) unread.running = launch("reread", reread(stream));
  }
}

// Folds the history of the stream again: its snapshot and what is resident may hold what is absent now, or
// end before it.
Task<> Shard::reread(StreamId stream) {
  while (!fenced_) {
    auto activated = co_await activate(stream);
    const std::size_t ruled = absent_.size();
    auto read = activated ? co_await rebuild(stream) : Result<Loaded>{activated.error()};
    if (!read) {
      env_.log(LogLevel::warning,
               "'" + stream.value() + "' cannot be read again: " + to_string(read.error()));
      co_await fenced_now_.wait(env_, env_.now() + kRetryWait);
      continue;
    }
    const auto found = actors_.find(stream);
    const bool again = found == actors_.end() || absent_.size() != ruled;
    // The command of a sound one is decided and applied before it is exchanged.
    if (again || (!found->second->state.corrupt && found->second->pumping)) {
      co_await yield(env_);
      continue;
    }
    Actor& actor = *found->second;
    actor.state = std::move(read->state);
    if (actor.seal) open_state(actor.state, *actor.seal);
    actor.seen = read->seen;
    apply_tail(actor);
    const auto unread = unread_.find(stream);
    actor.seen = std::max(actor.seen, unread->second.ruling);
    unread_.erase(unread);
    env_.count("streams_reread");
    if (owner_.owned()) {
      resume(actor);
      admit_waiting_turn(actor);
    }
    co_return ok();
  }
  co_return ok();
}

}  // namespace varve
