// Generations: the complete builds of the views that a store holds. One is active: readers read it, workers
// fold into it. Beside it at most one next one is made, by whoever rebuilds (projections/rebuild.h).
//
// Thread: the one of the Env it was made with.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "projections/view_store.h"

namespace varve {

struct GenerationsSeen {
  std::uint64_t active = 0;
  std::optional<std::uint64_t> next;  // Being made, or left by a rebuild that was interrupted.
};

// What the rows of a generation add up to, beside its checkpoints; one of each for every partition.
struct RowsSummed {
  std::vector<std::array<ViewDigest, kViews>> rows;
  std::vector<Checkpoint> checkpoints;
};

// Of parts that were summed side by side. Errc::unavailable: the generation moved on between them.
Result<RowsSummed> together(const std::vector<Result<RowsSummed>>& parts);

class Generations {
 public:
  Generations() = default;
  Generations(const Generations&) = delete;
  Generations& operator=(const Generations&) = delete;
  virtual ~Generations() = default;

  virtual Task<GenerationsSeen> look() = 0;

  // Begins the next generation, or goes on with the one that was left; then this is who rebuilds.
  // Errc::conflict with a sentence: somebody else is.
  virtual Task<> begin() = 0;
  // Says that this rebuild is alive; call it every few seconds. Errc::conflict: somebody else has it now.
  virtual Task<> keep() = 0;

  // Ends what begin() began, before the switch: whoever comes next need not wait.
  virtual Task<> leave() = 0;

  // After begin(). While is_loading() it has no secondary indexes: batches may be large, reads are slow, and
  // of entities nothing may be asked.
  virtual std::shared_ptr<ViewStore> next() = 0;
  virtual bool is_loading() const = 0;
  // While it is loading: all rows are there, and finish_loading() was interrupted.
  virtual bool is_loaded() const { return false; }
  // While it is loading: everything that was committed is in the store now. An Error: some of it is lost, and
  // the checkpoints say what.
  virtual Task<> settle();
  // Ends the loading: makes what was left out; interrupted, it goes on when it is called again. next() is
  // another object afterwards. Errc::corrupt: the rows do not fit together.
  virtual Task<> finish_loading() = 0;
  // The proof that the next generation's rows are those of its digests, whole and of one moment.
  virtual Task<RowsSummed> sum_rows(std::uint32_t partitions);

  // Makes the next generation the active one, in one transaction: stops what folds into the active one, waits
  // for a moment until the next one has passed it in every partition (the caller goes on folding into it
  // meanwhile), switches. From then on a batch for the old generation loses its race. False: it has not
  // passed in time, and nothing has changed.
  virtual Task<bool> show(std::uint32_t partitions) = 0;

  // Removes what is older than the active generation. Errc::unavailable: somebody still reads it.
  virtual Task<> drop_old() = 0;
  // Removes the next generation and every trace of it; true if there was one. Errc::conflict: somebody is at
  // work on it.
  virtual Task<bool> abort() = 0;
};

}  // namespace varve
