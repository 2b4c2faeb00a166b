// Shard: the keys of erasable streams. Their events are sealed just before they are written; what is read
// back, and what a snapshot has, is opened as soon as the key is there. Then the actor has a seal, and its
// state is plain: what decides, what a model is shown and what a turn publishes knows nothing of all this.
//
// Promises: keys are durable before the first text that is sealed with them is written. Nothing is written in
// plain for want of a key. An agent that the log says is erased has no key in the end: who owns the partition
// destroys it before any of its snapshots makes recovery begin behind AgentErased, so whoever recovers meets
// the event again as long as the key may be there.
#include <algorithm>

#include "actors/sealed_state.h"
#include "actors/shard.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kRetryWait{200};
constexpr std::chrono::seconds kBlockTime{5};
// How long who erases an agent waits for its keys to be destroyed. It goes on without him.
constexpr std::chrono::seconds kErasureWait{10};

}  // namespace

bool Shard::is_locked(const Actor& actor) const {
  return !actor.seal && actor.state.erasable && !actor.state.deleted;
}

Error Shard::key_is_missing(const StreamId& stream) {
  return {Errc::corrupt, "the key of '" + stream.value() + "' is missing: its texts cannot be read"};
}

Task<Shard::Actor*> Shard::unlock(StreamId stream) {
  Result<StreamKeys> keys{StreamKeys{}};
  if (ports_.keys != nullptr) {
    std::vector<StreamId> asked{stream};
    keys = co_await ports_.keys->read(std::move(asked));
  }
  if (!keys) {
    co_return Error{Errc::unavailable,
                    "the key of '" + stream.value() + "' cannot be read: " + keys.error().message};
  }
  const auto found = actors_.find(stream);
  if (found == actors_.end()) co_return co_await activate(stream);
  Actor* actor = found->second.get();
  const auto key = keys->find(stream);
  if (key == keys->end()) {
    env_.count("keys_missing");
  } else if (is_locked(*actor)) {
    actor->seal.emplace(stream, key->second);
    open_state(actor->state, *actor->seal);
  }
  co_return actor;
}

bool Shard::is_to_be_sealed(const Actor& actor, const std::vector<Part>& parts) {
  if (actor.seal) return true;
  return std::any_of(parts.begin(), parts.end(), [](const Part& part) { return begins_erasable(part); });
}

// An Error, and nothing was written, if there must be keys and cannot be. A deletion needs none.
Task<> Shard::seal_parts(Actor* actor, std::vector<Part>* parts, CommandId command) {
  std::vector<StreamId> begun;
  for (const Part& part : *parts) {
    if (begins_erasable(part)) begun.push_back(part.stream);
  }
  StreamKeys keys;
  if (!begun.empty()) {
    if (ports_.keys == nullptr)
      co_return Error{Errc::invalid_argument, "body.erasable: this server keeps no keys"};
    auto made = co_await ports_.keys->create(std::move(begun));
    if (!made) {
      co_return Error{Errc::unavailable, "the agent's keys cannot be kept: " + made.error().message};
    }
    keys = std::move(*made);
  }
  const StreamId& own = parts->front().stream;
  if (const auto key = keys.find(own); key != keys.end()) actor->seal.emplace(own, key->second);
  const std::string salt = to_hex(command);
  const bool plain = mutant(Mutant::texts_in_plain);
  if (actor->seal && !plain) seal_part(parts->front(), *actor->seal, salt);
  for (std::size_t i = 1; i < parts->size(); ++i) {
    Part& birth = (*parts)[i];
    const auto key = keys.find(birth.stream);
    if (key != keys.end()) seal_part(birth, TextSeal{birth.stream, key->second}, salt);
  }
  co_return ok();
}

void Shard::note_erasure(const Part& part) {
  const AgentErased* erased = erasure_in(part);
  if (erased == nullptr || ports_.keys == nullptr) return;
  erasing_[part.stream] = erased->blocks;
  if (owner_.owned()) finish_erasures();
}

void Shard::finish_erasures() {
  if (!destroying_ && !erasing_.empty()) destroying_ = launch("erase keys", destroy_keys());
}

Task<> Shard::destroy_keys() {
  while (!erasing_.empty() && owner_.owned() && !fenced_) {
    const StreamId stream = erasing_.begin()->first;
    std::vector<StreamId> blocks = erasing_.begin()->second;
    const Status destroyed = co_await destroy_keys_of(stream, std::move(blocks));
    if (destroyed) {
      erasing_.erase(stream);
      env_.count("agents_erased");
      erased_.notify_all();
      continue;
    }
    env_.log(LogLevel::warning, "'" + stream.value() + "' is erased, but its keys are not destroyed yet: " +
                                    to_string(destroyed.error()));
    co_await fenced_now_.wait(env_, env_.now() + kRetryWait);
  }
  destroying_ = false;
  co_return ok();
}

// Its blocks first: as long as one of them is there, somebody may read it.
Task<> Shard::destroy_keys_of(StreamId agent, std::vector<StreamId> blocks) {
  for (const StreamId& block : blocks) {
    Command deletion = DeleteBlock{};
    auto deleted = co_await submit(block, std::move(deletion), env_.now() + kBlockTime);
    if (deleted || deleted.error().code == Errc::not_found || deleted.error().code == Errc::corrupt) continue;
    co_return deleted.error();
  }
  blocks.push_back(std::move(agent));
  if (Status destroyed = co_await ports_.keys->destroy(blocks); !destroyed) co_return destroyed;
  for (const StreamId& stream : blocks) {
    const auto found = actors_.find(stream);
    if (found != actors_.end() && found->second->state.deleted) found->second->seal.reset();
  }
  co_return ok();
}

Task<> Shard::keys_destroyed(StreamId stream, MonoTime deadline) {
  if (mutant(Mutant::erased_before_keys)) co_return ok();
  const MonoTime until = std::min(deadline, env_.now() + kErasureWait);
  while (erasing_.contains(stream) && !fenced_ && env_.now() < until) co_await erased_.wait(env_, until);
  if (!erasing_.contains(stream)) co_return ok();
  co_return Error{
      Errc::unavailable,
      "the agent is erased and will not come back, but its keys are not destroyed yet; ask again"};
}

}  // namespace varve
