// KeyChain: the keys of erasable streams in a simulated world. Every node's KeyStore keeps them here, so that
// they outlive its deaths; and apart from them, for oracles alone, there is a copy of every key that was ever
// made, so that what was sealed can be judged also when its key is destroyed.
//
// A call may fail, as that of a database that cannot be reached; then nothing was done.
#pragma once

#include <memory>

#include "actors/actor_state.h"
#include "eventlog/record.h"
#include "projections/memory_key_store.h"
#include "sim/choices.h"
#include "sim/counters.h"

namespace varve::sim {

class KeyChain {
 public:
  // Both must outlive it and its stores.
  KeyChain(Choices& choices, Counters& counters);

  // Of one incarnation. The chain and `env` outlive it.
  std::unique_ptr<KeyStore> store(Env& env);
  void set_faults(std::uint32_t unreachable_ppm) { unreachable_ppm_ = unreachable_ppm; }
  bool has(const StreamId& stream) const { return keys_->keys.contains(stream); }
  std::size_t made() const;

  // ---- for oracles: as whoever has the keys sees it ----

  std::shared_ptr<const Record> opened(std::shared_ptr<const Record> record);
  void open(ActorState& state);

 private:
  class Store;
  const StreamKey* ever(const StreamId& stream);

  Choices& choices_;
  Counters& counters_;
  std::uint32_t unreachable_ppm_ = 0;
  std::shared_ptr<MemoryKeyStorage> keys_ = std::make_shared<MemoryKeyStorage>();
  StreamKeys ever_;
};

}  // namespace varve::sim
