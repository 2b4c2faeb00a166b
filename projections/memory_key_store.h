// MemoryKeyStore: keys in memory, for tests. MemoryKeyStorage is the world and outlives incarnations; the
// port belongs to one of them. A write happens in a step of its own. Keys come from Env::rng(): in a
// simulated world a seed gives the same ones again. No server of people's own data keeps its keys here.
#pragma once

#include <memory>
#include <optional>

#include "eventlog/key_store.h"
#include "runtime/env.h"

namespace varve {

struct MemoryKeyStorage {
  StreamKeys keys;
  std::optional<Error> fault;  // While it is there, every call is answered with it.
};

class MemoryKeyStore final : public KeyStore {
 public:
  // `env` must outlive the store.
  MemoryKeyStore(Env& env, std::shared_ptr<MemoryKeyStorage> storage)
      : env_(env), storage_(std::move(storage)) {}

  Task<StreamKeys> create(std::vector<StreamId> streams) override;
  Task<StreamKeys> read(std::vector<StreamId> streams) override;
  Task<> destroy(std::vector<StreamId> streams) override;

 private:
  Env& env_;
  std::shared_ptr<MemoryKeyStorage> storage_;
};

}  // namespace varve
