// ViewFacts: what an expression sees of folded views at a moment. Rows are versions, valid from one position
// to another, so one fold of a log answers for every moment up to its end.
//
// It sees what a client of the API would: not what a deleted agent or one that is being imported has left
// behind, and of messages also those that have left the context. Pure.
#pragma once

#include <optional>
#include <set>
#include <vector>

#include "eventlog/ids.h"
#include "inspect/expression.h"
#include "projections/memory_view_store.h"

namespace varve {

// Of every partition everything up to this offset, inclusive; of a partition that is not named nothing.
using PastCut = std::vector<LogPosition>;

// The column that says whose agent's a row is; none: nobody's.
std::optional<std::size_t> owner_column(View view);

class ViewFacts final : public Facts {
 public:
  // Whether there is an event, and which.
  using EventReader = std::function<Value(EventField)>;

  // `storage` must outlive it. No cut: all that is folded. `about`: an agent or a block, if the question is
  // about what is its own alone.
  ViewFacts(const MemoryViewStorage& storage, const std::optional<PastCut>& cut,
            const std::optional<StreamId>& about, EventReader event);

  Result<std::int64_t> count(const Selector& selector) override;
  Result<bool> any(const Selector& selector, const std::function<bool(const RowNow&)>& fits) override;
  Value event(EventField field) override { return event_ ? event_(field) : Value{}; }

 private:
  using Visit = std::function<bool(const RowNow&)>;  // True: enough.
  bool visit(const Selector& selector, const Visit& enough) const;
  std::vector<std::size_t> candidates(const Selector& selector) const;

  bool within(Partition partition, Offset offset) const;
  bool born(const Row& row) const { return within(row.from.partition, row.from.offset); }
  bool open(const Row& row) const {
    return born(row) && !(row.to && within(row.from.partition, row.to->offset));
  }
  bool is_there(View view, const Row& row) const;
  bool agent_is_there(const Value& id) const;
  bool block_is_gone(const Value& id) const;
  bool is_newest(const Row& message) const;
  bool concerns(View view, const Row& row) const;
  const MemoryTable& table(View view) const { return storage_.tables[static_cast<std::size_t>(view)]; }
  std::vector<std::size_t> with(View view, std::size_t column, const Value& value) const;

  const MemoryViewStorage& storage_;
  std::optional<std::vector<std::optional<Offset>>> cut_;  // By number of partition.
  std::optional<StreamId> about_;
  std::set<Value> blocks_;  // Those of `about_`.
  EventReader event_;
};

}  // namespace varve
