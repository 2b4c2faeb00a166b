#include "sim/key_chain.h"

#include "actors/sealed_state.h"
#include "runtime/suspend.h"

namespace varve::sim {
namespace {

constexpr Track kTrack{Domain::store, kTracksOfDomain - 1};
constexpr std::uint32_t kMillion = 1'000'000;

}  // namespace

class KeyChain::Store final : public KeyStore {
 public:
  Store(KeyChain& chain, Env& env) : chain_(chain), env_(env), keys_(env, chain.keys_) {}

  Task<StreamKeys> create(std::vector<StreamId> streams) override {
    if (Status reached = co_await reach(); !reached) co_return reached.error();
    co_return co_await keys_.create(std::move(streams));
  }
  Task<StreamKeys> read(std::vector<StreamId> streams) override {
    if (Status reached = co_await reach(); !reached) co_return reached.error();
    co_return co_await keys_.read(std::move(streams));
  }
  Task<> destroy(std::vector<StreamId> streams) override {
    if (Status reached = co_await reach(); !reached) co_return reached.error();
    co_return co_await keys_.destroy(std::move(streams));
  }

 private:
  Task<> reach() {
    co_await yield(env_);
    const std::uint32_t ppm = chain_.unreachable_ppm_;
    if (ppm == 0 || !chain_.choices_.chance(kTrack, ppm, kMillion)) co_return ok();
    chain_.counters_.add("fault.keys.unreachable");
    co_return Error{Errc::unavailable, "the keys cannot be reached"};
  }

  KeyChain& chain_;
  Env& env_;
  MemoryKeyStore keys_;
};

KeyChain::KeyChain(Choices& choices, Counters& counters) : choices_(choices), counters_(counters) {}

std::unique_ptr<KeyStore> KeyChain::store(Env& env) {
  return std::make_unique<Store>(*this, env);
}

std::size_t KeyChain::made() const {
  return ever_.size();
}

// A stream's key is there before its first record is, and goes behind its last one: whoever looks at every
// record misses none.
const StreamKey* KeyChain::ever(const StreamId& stream) {
  const auto there = keys_->keys.find(stream);
  if (there != keys_->keys.end()) ever_[stream] = there->second;
  const auto found = ever_.find(stream);
  return found == ever_.end() ? nullptr : &found->second;
}

std::shared_ptr<const Record> KeyChain::opened(std::shared_ptr<const Record> record) {
  const auto* commit = std::get_if<Commit>(record.get());
  if (commit == nullptr) return record;
  std::optional<Commit> plain;
  for (std::size_t i = 0; i < commit->parts.size(); ++i) {
    const StreamKey* key = ever(commit->parts[i].stream);
    if (key == nullptr) continue;
    if (!plain) plain = *commit;
    plain->parts[i] = opened_part(commit->parts[i], TextSeal{commit->parts[i].stream, *key});
  }
  if (!plain) return record;
  return std::make_shared<const Record>(std::move(*plain));
}

void KeyChain::open(ActorState& state) {
  if (const StreamKey* key = ever(state.stream)) open_state(state, TextSeal{state.stream, *key});
}

}  // namespace varve::sim
