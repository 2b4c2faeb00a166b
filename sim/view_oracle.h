// ViewOracle: the stored views against the fold of the log. After every transaction in a cheap form: a shadow
// fold of each partition goes as far as the checkpoint, and must have come to the same digests, admission
// state, time and mark (I4); the number of rows must be the fold's (I5); every change must be one of the
// partition's own entities (I12). Every kRowsEvery-th time, and at rest, the rows themselves are added up
// (I5); at rest the log is folded once more from its start and compared row by row.
//
// Only records that count by the LogOracle's admission are folded. A partition with parked streams or rulings
// is folded from its start each time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "projections/fold.h"
#include "projections/memory_view_store.h"
#include "sim/log_oracle.h"

namespace varve::sim {

// The stored views, of whatever store, as a reader would find them now.
class ViewsView {
 public:
  static constexpr std::uint64_t kNotCounted = ~std::uint64_t{0};
  ViewsView() = default;
  ViewsView(const ViewsView&) = delete;
  ViewsView& operator=(const ViewsView&) = delete;
  virtual ~ViewsView() = default;
  // Of the partition's checkpoint, 0 = none. Asked after every step: it must cost nothing.
  virtual std::uint64_t version(Partition partition) const = 0;
  // Versions in all tables together, or kNotCounted if that costs anything.
  virtual std::uint64_t rows() const = 0;
  virtual ViewReader& reader() = 0;
};

class MemoryViewsView final : public ViewsView {
 public:
  // `storage` must outlive it.
  explicit MemoryViewsView(const MemoryViewStorage& storage) : storage_(storage), reader_(storage) {}
  std::uint64_t version(Partition partition) const override {
    const auto found = storage_.checkpoints.find(partition);
    return found == storage_.checkpoints.end() ? 0 : found->second.version;
  }
  std::uint64_t rows() const override {
    std::uint64_t rows = 0;
    for (const MemoryTable& table : storage_.tables) rows += table.rows().size();
    return rows;
  }
  ViewReader& reader() override { return reader_; }

 private:
  const MemoryViewStorage& storage_;
  MemoryViewReader reader_;
};

class ViewOracle {
 public:
  static constexpr std::uint64_t kRowsEvery = 16;

  // All must outlive it.
  ViewOracle(LogOracle& log, ViewsView& views, Violations& violations);

  // Compares what has changed.
  void look();
  // A declared failover took the newest transactions back: versions may be lower now.
  void went_back();
  void at_rest();
  // Nothing = every partition is folded to the end of its log.
  std::string pending();

 private:
  struct Shadow {
    explicit Shadow(Partition partition) : fold(partition, Checkpoint{}, {}) {}
    PartitionFold fold;
    std::size_t next = 0;       // Of the judged records.
    std::uint64_t version = 0;  // Of the checkpoint that was compared last.
    std::uint64_t rows = 0;
    Offset stored_next;  // Of that checkpoint.
    bool went_back = false;
    bool quarantined = false;  // Its fold cannot simply go on: a stream is or was parked.
  };
  // The whole fold of a partition up to a checkpoint, parked where the views are parked.
  struct Refold {
    explicit Refold(Partition partition) : fold(partition, Checkpoint{}, {}) {}
    PartitionFold fold;
    MemoryViewStorage storage;
    std::uint64_t rows = 0;
  };

  void compare(Partition partition, Shadow& shadow);
  void compare_checkpoint(Partition partition, const Shadow& shadow, const Checkpoint& stored);
  bool advance(Partition partition, Shadow& shadow, Offset to);
  void check_homes(Partition partition, const Batch& batch);
  Status refold(Partition partition, const Checkpoint& stored, Refold& out);
  Status refold_record(Partition partition, const LogRecord& record, Refold& out);
  Status apply(Refold& out);
  Result<EventPlaces> stops(Partition partition, const Checkpoint& stored);
  void compare_rows(Partition partition, const Checkpoint& stored, const Refold& replay);
  void compare_count();

  LogOracle& log_;
  ViewsView& views_;
  Violations& violations_;
  std::vector<Shadow> shadows_;
  std::uint64_t rows_ = 0;  // Of all shadows.
};

}  // namespace varve::sim
