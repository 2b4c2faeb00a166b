// MemoryViewStore: the views in memory. The reference that the other stores are compared with, and the store
// of the simulation: MemoryViewStorage is the world and outlives incarnations, the port belongs to one of
// them.
//
// A commit happens in a step of its own, so a crash falls before or after it, never into it. Reads run on the
// Env's thread, in one step: nothing changes under them.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "projections/view_store.h"
#include "runtime/env.h"

namespace varve {

// The versions of one view, and ways to find them.
class MemoryTable {
 public:
  explicit MemoryTable(View view);

  // False, and nothing changed: the entity has an open version already, or a version at that position.
  bool insert(Row row);
  // False, and nothing changed: the partition has no open version of the entity.
  bool close(const std::vector<Value>& key, Partition partition, const RowTo& to);
  // Takes back the newest insert(), or the close() of this entity's newest version.
  void undo_insert();
  void undo_close(const std::vector<Value>& key, std::size_t row);

  const std::vector<Row>& rows() const { return rows_; }
  // The number of the entity's open version.
  std::optional<std::size_t> open_row(const std::vector<Value>& key) const;
  // The numbers of the rows that a query can only find; each once.
  std::vector<std::size_t> candidates(const Query& query) const;

 private:
  std::vector<Value> key_of(const Row& row) const;
  std::vector<Value> place_of(const Row& row) const;

  View view_;
  std::vector<Row> rows_;                           // In the order in which they were inserted.
  std::map<std::vector<Value>, std::size_t> open_;  // Entity -> its row with no closing.
  std::set<std::vector<Value>> places_;             // Entity and position of every row.
  std::map<std::size_t, std::map<Value, std::vector<std::size_t>>>
      by_column_;  // Of the columns often asked for.
};

// What a store holds. A value: copy it to keep a moment.
struct MemoryViewStorage {
  MemoryViewStorage();

  std::vector<MemoryTable> tables;  // One per view.
  std::map<Partition, Checkpoint> checkpoints;
  std::vector<QuarantineRow> quarantine;
  std::vector<std::pair<Partition, TimesRow>> times;
};

// One transaction, as ViewStore::commit() promises it. Also for a scratch storage, in which a command's own
// events are folded to render its answer.
Result<CommitOutcome> apply_batch(MemoryViewStorage& storage, const Batch& batch);

// Reads a storage, which must outlive it.
class MemoryViewReader final : public ViewReader {
 public:
  explicit MemoryViewReader(const MemoryViewStorage& storage) : storage_(storage) {}

  Result<std::vector<Row>> select(const Query& query) override;
  Result<std::int64_t> count(const Query& query) override;
  Result<std::vector<SearchHit>> search_messages(const SearchQuery& search) override;
  Result<Checkpoint> checkpoint(Partition partition) override;
  Result<std::vector<QuarantineRow>> quarantine() override;
  Result<std::optional<TimesRow>> batch_at(Partition partition, Offset offset) override;

 private:
  const MemoryViewStorage& storage_;
};

class MemoryViewStore final : public ViewStore {
 public:
  // `env` must outlive the store.
  MemoryViewStore(Env& env, std::shared_ptr<MemoryViewStorage> storage)
      : env_(env), storage_(std::move(storage)) {}

  Task<LoadedCheckpoint> load(Partition partition) override;
  Task<CommitOutcome> commit(Batch batch) override;
  Task<> read(std::function<Status(ViewReader&)> work) override;

 private:
  Env& env_;
  std::shared_ptr<MemoryViewStorage> storage_;
};

}  // namespace varve
