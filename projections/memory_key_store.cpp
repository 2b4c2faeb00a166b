#include "projections/memory_key_store.h"

#include "runtime/suspend.h"

namespace varve {
namespace {

StreamKey drawn(Rng& rng) {
  StreamKey key;
  for (std::uint8_t& byte : key.bytes) byte = static_cast<std::uint8_t>(rng.below(256));
  return key;
}

}  // namespace

Task<StreamKeys> MemoryKeyStore::create(std::vector<StreamId> streams) {
  co_await yield(env_);  // A crash may fall here: nothing was written.
  if (storage_->fault) co_return *storage_->fault;
  StreamKeys made;
  for (const StreamId& stream : streams) {
    auto& keys = storage_->keys;
    if (!keys.contains(stream)) keys.emplace(stream, drawn(env_.rng()));
    made.emplace(stream, keys.at(stream));
  }
  co_await yield(env_);  // A crash may fall here: all of it was written.
  co_return made;
}

Task<StreamKeys> MemoryKeyStore::read(std::vector<StreamId> streams) {
  co_await yield(env_);
  if (storage_->fault) co_return *storage_->fault;
  StreamKeys found;
  for (const StreamId& stream : streams) {
    const auto key = storage_->keys.find(stream);
    if (key != storage_->keys.end()) found.insert(*key);
  }
  co_return found;
}

Task<> MemoryKeyStore::destroy(std::vector<StreamId> streams) {
  co_await yield(env_);  // A crash may fall here: nothing was written.
  if (storage_->fault) co_return *storage_->fault;
  for (const StreamId& stream : streams) storage_->keys.erase(stream);
  co_await yield(env_);  // A crash may fall here: all of it was written.
  co_return ok();
}

}  // namespace varve
