// KnownStreams: of every stream of a partition, where its last record is, as far as the reader has come. So a
// shard tells a stream that never was from one whose snapshot has vanished or is too old.
//
// Promises: 16 bytes a stream (and up to an eighth more while streams are born), O(log n) a question. Streams
// are known by the hash of their id: two of one hash count as one, and then the answer is "known, up to the
// later", which costs a look into the log and nothing else. Never forgets.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "eventlog/ids.h"

namespace varve {

class KnownStreams {
 public:
  // The stream has a record there; later ones win.
  void note(const StreamId& stream, Offset record);
  // The last one; 0 = there is none (a log begins with a claim).
  Offset last(const StreamId& stream) const;
  bool contains(const StreamId& stream) const { return last(stream) != Offset{}; }
  std::size_t size() const { return sorted_.size() + fresh_.size(); }

 private:
  struct Entry {
    std::uint64_t hash = 0;
    Offset last;
  };
  void merge();

  std::vector<Entry> sorted_;              // By hash.
  std::map<std::uint64_t, Offset> fresh_;  // Not yet in sorted_.
};

}  // namespace varve
