// Choices: every decision that a simulated world takes, one number each. Chance is drawn from one seed, a
// stream for every domain, so that one more draw of the network moves no draw of the disk. 0 is always the
// benign answer: no fault, the oldest of what is ready, the shortest delay, the first option.
//
// A Tape is the record of a run's decisions. A world that replays a tape gets its numbers; past its end, and
// where a number does not fit any more, it gets 0. That is what makes a failing run shrinkable: fewer and
// smaller numbers are a calmer world.
//
// Never: chance for the code under test (Env::rng() gives it, from the seed of its incarnation).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/result.h"
#include "runtime/rng.h"

namespace varve::sim {

enum class Domain : unsigned char {
  schedule,  // Which of the ready things runs next.
  time,      // How long offloaded work takes.
  clock,     // Skew, drift, jumps.
  network,
  log,
  group,  // The consumer group: assignments.
  disk,
  store,
  model,
  nemesis,   // Crashes, pauses, partitions: when and whom.
  workload,  // What the clients ask for.
};
inline constexpr std::size_t kDomains = 11;
const char* to_string(Domain domain);

class Tape {
 public:
  std::uint64_t at(Domain domain, std::size_t index) const;
  void add(Domain domain, std::uint64_t value);
  void set(Domain domain, std::size_t index, std::uint64_t value);
  std::size_t length(Domain domain) const { return of(domain).size(); }
  // Keeps the first `length` decisions.
  void cut(Domain domain, std::size_t length);
  // Takes out `count` decisions from `index` on; those behind them move.
  void take_out(Domain domain, std::size_t index, std::size_t count);
  // One line per domain: "schedule 3:2 17:1", index and value of what is not 0.
  std::string encode() const;
  static Result<Tape> decode(std::string_view text);

  friend bool operator==(const Tape&, const Tape&) = default;

 private:
  std::vector<std::uint64_t>& of(Domain domain) { return values_[static_cast<std::size_t>(domain)]; }
  const std::vector<std::uint64_t>& of(Domain domain) const {
    return values_[static_cast<std::size_t>(domain)];
  }
  std::array<std::vector<std::uint64_t>, kDomains> values_;
};

class Choices {
 public:
  explicit Choices(std::uint64_t seed);
  explicit Choices(Tape replayed);

  // 0 .. bound-1; 0 is benign. A bound of 0 or 1 gives 0 and takes no place on the tape.
  std::uint64_t choose(Domain domain, std::uint64_t bound);
  // True, the fault, with this probability.
  bool chance(Domain domain, std::uint64_t numerator, std::uint64_t denominator);
  // Mostly short, rarely up to `longest`: small numbers are benign. Log-uniform in [0, longest].
  std::uint64_t spread(Domain domain, std::uint64_t longest);

  // What was decided until now, if record() was called before the first decision.
  void record() { recording_ = true; }
  const Tape& tape() const { return tape_; }

 private:
  std::uint64_t take(Domain domain, std::uint64_t drawn, std::uint64_t bound);

  std::vector<Rng> streams_;  // None if a tape is replayed.
  std::optional<Tape> replayed_;
  std::array<std::size_t, kDomains> next_{};
  bool recording_ = false;
  Tape tape_;
};

// Of a run: the tape's decisions if there is a tape, else the seed's.
Choices choices_of(std::uint64_t seed, const std::optional<Tape>& tape, bool record);

}  // namespace varve::sim
