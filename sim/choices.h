// Choices: every decision that a simulated world takes, one number each. Chance is drawn from one seed, a
// stream for every track, so that one more draw of the network moves no draw of the disk. 0 is always the
// benign answer: no fault, the oldest of what is ready, the shortest delay, the first option.
//
// A Tape is the record of a run's decisions, a track for each thing that decides for itself: a class of
// faults, a client, a node's messages. A world that replays a tape gets its numbers; past the end of a track,
// and where a number does not fit any more, it gets 0. That is what makes a failing run shrinkable: fewer and
// smaller numbers are a calmer world, and a decision that is dropped moves only those behind it on its track.
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
  config,    // What the run is made of: drawn first, always the same number of decisions.
  schedule,  // Which of the ready things runs next.
  time,      // How long offloaded work takes; a track for each node.
  travel,    // How long messages are on their way; a track for each sender.
  network,   // What happens to them; likewise.
  log,       // A track for each fault, and for delays.
  group,     // The consumer groups: assignments.
  disk,
  store,
  model,
  nemesis,   // Crashes, pauses, partitions: when and whom; a track for each class.
  workload,  // What the clients ask for; a track for each of them.
};
inline constexpr std::size_t kDomains = 12;
const char* to_string(Domain domain);

inline constexpr std::size_t kTracksOfDomain = 32;
inline constexpr std::size_t kTracks = kDomains * kTracksOfDomain;

// A place of its own on the tape.
struct Track {
  // NOLINTNEXTLINE(google-explicit-constructor): a domain is its first track.
  constexpr Track(Domain its_domain) : domain(its_domain) {}
  // Numbers that are too high share what there is.
  constexpr Track(Domain its_domain, std::size_t its_number)
      : domain(its_domain), number(static_cast<unsigned char>(its_number % kTracksOfDomain)) {}
  constexpr std::size_t index() const { return static_cast<std::size_t>(domain) * kTracksOfDomain + number; }
  static constexpr Track at(std::size_t index) {
    return {static_cast<Domain>(index / kTracksOfDomain), index % kTracksOfDomain};
  }

  Domain domain;
  unsigned char number = 0;
};
// "nemesis", "nemesis.3"
std::string to_string(Track track);
// The number at the end of a name: 2 of "node-2"; 0 if there is none.
std::size_t number_in(std::string_view name);

class Tape {
 public:
  std::uint64_t at(Track track, std::size_t index) const;
  void add(Track track, std::uint64_t value);
  void set(Track track, std::size_t index, std::uint64_t value);
  std::size_t length(Track track) const { return of(track).size(); }
  // Keeps the first `length` decisions.
  void cut(Track track, std::size_t length);
  // Takes out `count` decisions from `index` on; those behind them move.
  void take_out(Track track, std::size_t index, std::size_t count);
  // One line per track: "schedule 3:2 17:1", index and value of what is not 0.
  std::string encode() const;
  static Result<Tape> decode(std::string_view text);

  friend bool operator==(const Tape&, const Tape&) = default;

 private:
  std::vector<std::uint64_t>& of(Track track) { return values_[track.index()]; }
  const std::vector<std::uint64_t>& of(Track track) const { return values_[track.index()]; }
  std::array<std::vector<std::uint64_t>, kTracks> values_;
};

class Choices {
 public:
  explicit Choices(std::uint64_t seed);
  explicit Choices(Tape replayed);

  // 0 .. bound-1; 0 is benign. A bound of 0 or 1 gives 0 and takes no place on the tape.
  std::uint64_t choose(Track track, std::uint64_t bound);
  // True, the fault, with this probability.
  bool chance(Track track, std::uint64_t numerator, std::uint64_t denominator);
  // Whether and how much in one decision: with this probability 1 .. bound, else 0.
  std::uint64_t maybe(Track track, std::uint64_t numerator, std::uint64_t denominator, std::uint64_t bound);
  // Mostly short, rarely up to `longest`: small numbers are benign. Log-uniform in [0, longest].
  std::uint64_t spread(Track track, std::uint64_t longest);

  // What was decided until now, if record() was called before the first decision.
  void record() { recording_ = true; }
  const Tape& tape() const { return tape_; }

 private:
  Rng& stream(Track track);
  std::uint64_t take(Track track, std::uint64_t drawn, std::uint64_t bound);

  std::uint64_t seed_ = 0;
  std::array<std::optional<Rng>, kTracks> streams_;  // As they are needed; none if a tape is replayed.
  std::optional<Tape> replayed_;
  std::array<std::size_t, kTracks> next_{};
  bool recording_ = false;
  Tape tape_;
};

// Of a run: the tape's decisions if there is a tape, else the seed's.
Choices choices_of(std::uint64_t seed, const std::optional<Tape>& tape, bool record);

}  // namespace varve::sim
