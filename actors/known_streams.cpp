#include "actors/known_streams.h"

#include <algorithm>

#include "runtime/hash.h"

namespace varve {
namespace {

// So many are cheap to keep aside; beyond, an eighth of all: merging costs O(1) a stream in the long run.
constexpr std::size_t kFreshMin = 256;

// Of a vector of entries, for whoever may change them and whoever may not.
template <class Entries>
auto find_in(Entries& sorted, std::uint64_t hash) {
  const auto place =
      std::lower_bound(sorted.begin(), sorted.end(), hash,
                       [](const auto& entry, std::uint64_t wanted) { return entry.hash < wanted; });
  return place != sorted.end() && place->hash == hash ? place : sorted.end();
}

}  // namespace

void KnownStreams::note(const StreamId& stream, Offset record) {
  const std::uint64_t hash = xxh64(stream.value());
  if (const auto entry = find_in(sorted_, hash); entry != sorted_.end()) {
    entry->last = std::max(entry->last, record);
    return;
  }
  Offset& last = fresh_[hash];
  last = std::max(last, record);
  if (fresh_.size() > std::max(kFreshMin, sorted_.size() / 8)) merge();
}

Offset KnownStreams::last(const StreamId& stream) const {
  const std::uint64_t hash = xxh64(stream.value());
  if (const auto entry = find_in(sorted_, hash); entry != sorted_.end()) return entry->last;
  const auto fresh = fresh_.find(hash);
  return fresh == fresh_.end() ? Offset{} : fresh->second;
}

void KnownStreams::merge() {
  std::vector<Entry> merged;
  merged.reserve(sorted_.size() + fresh_.size());
  auto old = sorted_.cbegin();
  for (const auto& [hash, last] : fresh_) {
    for (; old != sorted_.cend() && old->hash < hash; ++old) merged.push_back(*old);
    merged.push_back({hash, last});
  }
  merged.insert(merged.end(), old, sorted_.cend());
  sorted_ = std::move(merged);
  fresh_.clear();
}

}  // namespace varve
