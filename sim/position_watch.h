// PositionWatch: nobody who reads the views goes back. It stands before a store, and compares every load and
// every read with what had been shown or committed to anybody before it began, whatever generation that was
// of. It outlives the server: only a power cut may take something back, and whoever makes one says so.
//
// Every read looks at the checkpoints too, in its own transaction.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "projections/view_store.h"

namespace varve::sim {

class PositionWatch {
 public:
  using Positions = std::map<Partition, Offset>;

  explicit PositionWatch(std::uint32_t partitions) : partitions_(partitions) {}

  // The same store, watched. Both must outlive it.
  std::unique_ptr<ViewStore> before(ViewStore& store);
  // A power cut may have taken the newest transactions.
  void lost() { newest_.clear(); }

  // What somebody was shown that was older than what had been shown before; sentences.
  const std::vector<std::string>& broken() const { return broken_; }

 private:
  class Store;
  void shown(Partition partition, Offset now, const Positions& before);
  void committed(Partition partition, Offset now);

  std::uint32_t partitions_;
  Positions newest_;
  std::vector<std::string> broken_;
};

}  // namespace varve::sim
