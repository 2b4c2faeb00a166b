// OwnerTable: who owns a partition, as far as this node has heard: from the views, from what other nodes
// answered, from claims that its own readers have read. The higher epoch wins. A hint that is wrong costs one
// request: the node that is asked knows better. Thread: the Env's.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "actors/partition_owner.h"

namespace varve {

struct Owner {
  Epoch epoch;
  std::string node;
  std::string url;

  friend bool operator==(const Owner&, const Owner&) = default;
};

// Where the table looks when it knows nothing, or when what it knows has failed.
class OwnerSource {
 public:
  OwnerSource() = default;
  OwnerSource(const OwnerSource&) = delete;
  OwnerSource& operator=(const OwnerSource&) = delete;
  virtual ~OwnerSource() = default;

  // Of the newest claim that it has seen; nothing if there is none. May be behind.
  virtual Task<std::optional<Owner>> owner(Partition partition) = 0;
};

class OwnerTable {
 public:
  explicit OwnerTable(OwnerSource& source) : source_(source) {}

  // True if it is news.
  bool learn(Partition partition, const Owner& owner);
  bool learn(Partition partition, const Claim& claim);
  // The owner did not answer, or says that it is none: look it up again.
  void doubt(Partition partition) { doubted_.insert(partition); }
  std::optional<Owner> known(Partition partition) const;
  // What is known, from the source if need be.
  Task<std::optional<Owner>> find(Partition partition);

 private:
  OwnerSource& source_;
  std::map<Partition, Owner> owners_;
  std::set<Partition> doubted_;
};

}  // namespace varve
