#include "sim/shrink.h"

#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include "runtime/hash.h"

namespace varve::sim {
namespace {

// How many decisions may hang on one that is dropped: whom it hits, and for how long.
constexpr std::size_t kHangingMax = 3;
constexpr std::size_t kHangingOnStrikes = 5;

using Places = std::vector<std::size_t>;

class Shrinker {
 public:
  Shrinker(const Tape& tape, std::uint64_t runs_max, const StillFails& fails, const ShrinkProgress& progress)
      : fails_(fails), progress_(progress), runs_max_(runs_max) {
    best_.tape = tape;
    best_.before = best_.after = size_of(tape);
  }

  Shrunk run() {
    // What the run did not use goes first.
    try_it(best_.tape);
    for (bool better = true; better && !spent();) {
      const TapeSize before = best_.after;
      whole_tracks();
      head();
      all_blocks(Change::zero);
      for_each_track([this](Track track) { hanging(track); });
      all_blocks(Change::halve);
      for_each_track([this](Track track) { values(track); });
      better = best_.after < before;
    }
    best_.finished = !spent();
    return std::move(best_);
  }

 private:
  enum class Change : unsigned char { zero, halve };

  bool spent() const { return best_.runs >= runs_max_; }

  // Keeps the candidate if it fails and is smaller.
  bool try_it(const Tape& candidate) {
    if (spent() || !asked_.insert(xxh64(candidate.encode())).second) return false;
    ++best_.runs;
    std::optional<Tape> used = fails_(candidate);
    if (!used) return false;
    const TapeSize size = size_of(*used);
    if (!(size < best_.after)) return false;
    best_.tape = std::move(*used);
    best_.after = size;
    progress_(best_);
    return true;
  }

  // Of those on which something is decided.
  void for_each_track(const std::function<void(Track)>& work) {
    for (std::size_t i = 0; i < kTracks; ++i) {
      const Track track = Track::at(i);
      if (best_.tape.length(track) > 0) work(track);
    }
  }

  Places places(Track track) const {
    Places all;
    for (std::size_t i = 0; i < best_.tape.length(track); ++i) {
      if (best_.tape.at(track, i) != 0) all.push_back(i);
    }
    return all;
  }

  void whole_tracks() {
    // Domains first, so that a run of many tracks is soon one of few.
    for (std::size_t domain = 0; domain < kDomains && !spent(); ++domain) {
      Tape candidate = best_.tape;
      for (std::size_t i = 0; i < kTracksOfDomain; ++i) candidate.cut({static_cast<Domain>(domain), i}, 0);
      try_it(candidate);
    }
    for_each_track([this](Track track) {
      Tape candidate = best_.tape;
      candidate.cut(track, 0);
      try_it(candidate);
    });
  }

  // The end of the tape, then the configuration.
  void head() {
    for_each_track([this](Track track) {
      for (std::size_t keep = best_.tape.length(track) / 2; keep > 0 && !spent(); keep /= 2) {
        Tape candidate = best_.tape;
        candidate.cut(track, best_.tape.length(track) - keep);
        if (keep < best_.tape.length(track)) try_it(candidate);
      }
    });
    for_each_track([this](Track track) {
      if (track.domain != Domain::config) return;
      values(track);
      // A configuration that is chosen on purpose may need fewer decisions than the first one: one class of
      // faults alone, the oldest step next.
      for (std::size_t place = 0; place < best_.tape.length(track) && !spent(); ++place) {
        if (best_.tape.at(track, place) == 0) try_with(track, place, 1);
      }
    });
  }

  // Blocks of decisions: halves of every track, then quarters, down to single ones, so that what is cheap
  // comes first and a track with many decisions does not spend what the others need.
  void all_blocks(Change change) {
    std::array<bool, kTracks> done{};
    bool more = true;
    for (std::size_t parts = 2; more && !spent(); parts *= 2) {
      more = false;
      for_each_track([&](Track track) {
        if (done[track.index()]) return;
        const std::size_t size = std::max<std::size_t>(places(track).size() / parts, 1);
        blocks(track, size, change);
        done[track.index()] = size == 1;
        more = more || size > 1;
      });
    }
  }

  // The last ones first: what comes late is rarely needed, and dropping it moves nothing.
  void blocks(Track track, std::size_t size, Change change) {
    Places all = places(track);
    for (std::size_t end = all.size(); end > 0 && !spent();) {
      const std::size_t begin = end > size ? end - size : 0;
      Tape candidate = best_.tape;
      for (std::size_t i = begin; i < end; ++i) {
        const std::uint64_t value = candidate.at(track, all[i]);
        candidate.set(track, all[i], change == Change::zero ? 0 : value / 2);
      }
      end = begin;
      if (!try_it(candidate)) continue;
      // The tape is another one: its places may have moved.
      const std::size_t reached = all[begin];
      all = places(track);
      end = static_cast<std::size_t>(std::lower_bound(all.begin(), all.end(), reached) - all.begin());
    }
  }

  // Drops a decision together with those that hang on it.
  void hanging(Track track) {
    const std::size_t most = track.domain == Domain::nemesis ? kHangingOnStrikes : kHangingMax;
    Places all = places(track);
    for (std::size_t i = all.size(); i > 0 && !spent(); --i) {
      if (i > all.size()) continue;
      const std::size_t place = all[i - 1];
      for (std::size_t count = 1; count <= most; ++count) {
        Tape dropped = best_.tape;
        dropped.set(track, place, 0);
        dropped.take_out(track, place + 1, count);
        Tape gone = best_.tape;
        gone.take_out(track, place, count);
        if (!try_it(dropped) && !try_it(gone)) continue;
        all = places(track);
        break;
      }
    }
  }

  // Makes each decision as small as it can be.
  void values(Track track) {
    for (std::size_t place = 0; place < best_.tape.length(track) && !spent(); ++place) {
      const std::uint64_t value = best_.tape.at(track, place);
      if (value == 0 || try_with(track, place, 0) || value == 1 || try_with(track, place, 1)) continue;
      // Between what is too small and what is small enough.
      std::uint64_t low = 1;
      std::uint64_t high = best_.tape.at(track, place);
      while (low + 1 < high && !spent()) {
        const std::uint64_t middle = low + (high - low) / 2;
        if (try_with(track, place, middle)) {
          high = middle;
        } else {
          low = middle;
        }
      }
    }
  }

  bool try_with(Track track, std::size_t place, std::uint64_t value) {
    Tape candidate = best_.tape;
    candidate.set(track, place, value);
    return try_it(candidate);
  }

  const StillFails& fails_;
  const ShrinkProgress& progress_;
  std::uint64_t runs_max_;
  Shrunk best_;
  std::set<std::uint64_t> asked_;  // Tapes, by their hash.
};

}  // namespace

TapeSize size_of(const Tape& tape) {
  TapeSize size;
  for (std::size_t i = 0; i < kTracks; ++i) {
    const Track track = Track::at(i);
    size.length += tape.length(track);
    for (std::size_t at = 0; at < tape.length(track); ++at) {
      const std::uint64_t value = tape.at(track, at);
      if (value == 0) continue;
      ++size.decisions;
      size.sum += value;
    }
  }
  return size;
}

Shrunk shrink(const Tape& tape, std::uint64_t runs_max, const StillFails& fails,
              const ShrinkProgress& progress) {
  return Shrinker(tape, runs_max, fails, progress).run();
}

}  // namespace varve::sim
