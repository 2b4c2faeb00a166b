// Shrink: makes the tape of a failing run small, so that what is left is what the failure needs. It knows
// nothing of worlds: it changes decisions towards 0, which is benign, and asks whether the run still fails.
//
// Whole domains and tracks, then the run's configuration (fewer nodes, clients and operations), then blocks
// of decisions, halves and single ones are set to 0; decisions that follow a dropped one are taken out with
// it, because those behind them would move otherwise; what remains is made smaller. Again from the beginning
// until nothing helps or the budget is spent.
//
// Pure and deterministic: the same tape, budget and answers give the same tape.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "sim/choices.h"

namespace varve::sim {

// How much a tape decides: fewer decisions first, then a shorter tape, then smaller numbers.
struct TapeSize {
  std::uint64_t decisions = 0;  // That are not 0.
  std::uint64_t length = 0;
  std::uint64_t sum = 0;  // Of all numbers.

  friend auto operator<=>(const TapeSize&, const TapeSize&) = default;
};
TapeSize size_of(const Tape& tape);

struct Shrunk {
  Tape tape;
  TapeSize before;
  TapeSize after;
  std::uint64_t runs = 0;
  bool finished = false;  // Nothing smaller fails; false: the budget was spent.
};

// Whether a run with this tape fails as the first one did. If so: the decisions that it took, which are those
// of the tape without what it did not use or could not use.
using StillFails = std::function<std::optional<Tape>(const Tape&)>;
// After every improvement.
using ShrinkProgress = std::function<void(const Shrunk& so_far)>;

// `tape` must fail.
Shrunk shrink(const Tape& tape, std::uint64_t runs_max, const StillFails& fails,
              const ShrinkProgress& progress);

}  // namespace varve::sim
