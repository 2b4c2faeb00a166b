// CutFacts: what an expression sees of the views of a store as of a cut, read through a CutReader. It answers
// as ViewFacts does of a log folded in memory up to that cut: rows as a client of the API would find them
// (inspect/view_facts.h); a property test compares the two.
//
// It reads what a condition names, page by page: a condition on one agent or one block reads little, one on
// all messages reads them all. Lives as long as one read of the store. Thread: whichever runs that read.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "inspect/expression.h"
#include "projections/view_store.h"

namespace varve {

class CutFacts final : public Facts {
 public:
  // `reader` answers as of a cut and outlives it. `about`: as of ViewFacts.
  CutFacts(ViewReader& reader, std::optional<StreamId> about) : reader_(reader), about_(std::move(about)) {}

  Result<std::int64_t> count(const Selector& selector) override;
  Result<bool> any(const Selector& selector, const std::function<bool(const RowNow&)>& fits) override;
  Value event(EventField /*field*/) override { return Value{}; }

  using Filters = std::vector<Filter>;  // All of them.
  // One way to find rows. A row that several find is found by the first.
  struct Look {
    Filters read;  // By the store.
    Filters kept;  // Of what was read, by us.
  };

 private:
  using Visit = std::function<bool(const RowNow&)>;  // True: enough.

  Result<bool> visit(const Selector& selector, const Visit& enough);
  Result<bool> walk(const Selector& selector, const std::vector<Look>& looks, std::size_t number,
                    const Visit& enough);
  Result<bool> take(const Selector& selector, const Row& row, bool newest, const Visit& enough);
  Result<bool> is_there(View view, const Row& row, bool newest);
  Result<bool> agent_is_there(const Value& id);
  Result<bool> block_is_gone(const Value& id);
  Result<std::vector<Filters>> looks_about(View view);
  Status learn_blocks();

  ViewReader& reader_;
  std::optional<StreamId> about_;
  std::optional<std::vector<Value>> blocks_;  // Those of `about_`, once somebody has asked.
  std::map<Value, bool> agents_;              // Whether they are there.
  std::map<Value, bool> gone_;                // Blocks.
};

}  // namespace varve
