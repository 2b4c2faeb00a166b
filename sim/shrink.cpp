#include "sim/shrink.h"

#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include "runtime/hash.h"

namespace varve::sim {
namespace {

// How many of the nemesis' first decisions may be the run's configuration.
constexpr std::size_t kHead = 72;
// How many decisions may hang on one that is dropped: whom it hits, and for how long.
constexpr std::size_t kHangingMax = 3;

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
      whole_domains();
      head();
      all_blocks(Change::zero);
      for (std::size_t i = 0; i < kDomains; ++i) hanging(static_cast<Domain>(i));
      all_blocks(Change::halve);
      for (std::size_t i = 0; i < kDomains; ++i) values(static_cast<Domain>(i), static_cast<std::size_t>(-1));
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

  Places places(Domain domain) const {
    Places all;
    for (std::size_t i = 0; i < best_.tape.length(domain); ++i) {
      if (best_.tape.at(domain, i) != 0) all.push_back(i);
    }
    return all;
  }

  void whole_domains() {
    for (std::size_t i = 0; i < kDomains; ++i) {
      const auto domain = static_cast<Domain>(i);
      Tape candidate = best_.tape;
      candidate.cut(domain, 0);
      try_it(candidate);
    }
  }

  // The end of the tape, then the configuration.
  void head() {
    for (std::size_t i = 0; i < kDomains; ++i) {
      const auto domain = static_cast<Domain>(i);
      for (std::size_t keep = best_.tape.length(domain) / 2; keep > 0 && !spent(); keep /= 2) {
        Tape candidate = best_.tape;
        candidate.cut(domain, best_.tape.length(domain) - keep);
        if (keep < best_.tape.length(domain)) try_it(candidate);
      }
    }
    values(Domain::nemesis, kHead);
    // A configuration that is chosen on purpose may need fewer decisions than the first one: one class of
    // faults alone, the oldest step next.
    for (std::size_t place = 0; place < std::min(best_.tape.length(Domain::nemesis), kHead) && !spent();
         ++place) {
      if (best_.tape.at(Domain::nemesis, place) == 0) try_with(Domain::nemesis, place, 1);
    }
  }

  // Blocks of decisions: halves of every domain, then quarters, down to single ones, so that what is cheap
  // comes first and a domain with many decisions does not spend what the others need.
  void all_blocks(Change change) {
    std::array<bool, kDomains> done{};
    for (std::size_t parts = 2; !spent() && !std::all_of(done.begin(), done.end(), std::identity{});
         parts *= 2) {
      for (std::size_t i = 0; i < kDomains; ++i) {
        if (done[i]) continue;
        const auto domain = static_cast<Domain>(i);
        const std::size_t size = std::max<std::size_t>(places(domain).size() / parts, 1);
        blocks(domain, size, change);
        done[i] = size == 1;
      }
    }
  }

  // The last ones first: what comes late is rarely needed, and dropping it moves nothing.
  void blocks(Domain domain, std::size_t size, Change change) {
    Places all = places(domain);
    for (std::size_t end = all.size(); end > 0 && !spent();) {
      const std::size_t begin = end > size ? end - size : 0;
      Tape candidate = best_.tape;
      for (std::size_t i = begin; i < end; ++i) {
        const std::uint64_t value = candidate.at(domain, all[i]);
        candidate.set(domain, all[i], change == Change::zero ? 0 : value / 2);
      }
      end = begin;
      if (!try_it(candidate)) continue;
      // The tape is another one: its places may have moved.
      const std::size_t reached = all[begin];
      all = places(domain);
      end = static_cast<std::size_t>(std::lower_bound(all.begin(), all.end(), reached) - all.begin());
    }
  }

  // Drops a decision together with those that hang on it.
  void hanging(Domain domain) {
    Places all = places(domain);
    for (std::size_t i = all.size(); i > 0 && !spent(); --i) {
      if (i > all.size()) continue;
      const std::size_t place = all[i - 1];
      for (std::size_t count = 1; count <= kHangingMax; ++count) {
        Tape dropped = best_.tape;
        dropped.set(domain, place, 0);
        dropped.take_out(domain, place + 1, count);
        Tape gone = best_.tape;
        gone.take_out(domain, place, count);
        if (!try_it(dropped) && !try_it(gone)) continue;
        all = places(domain);
        break;
      }
    }
  }

  // Makes each of the first `count` decisions as small as it can be.
  void values(Domain domain, std::size_t count) {
    for (std::size_t place = 0; place < std::min(best_.tape.length(domain), count) && !spent(); ++place) {
      const std::uint64_t value = best_.tape.at(domain, place);
      if (value == 0 || try_with(domain, place, 0) || value == 1 || try_with(domain, place, 1)) continue;
      // Between what is too small and what is small enough.
      std::uint64_t low = 1;
      std::uint64_t high = best_.tape.at(domain, place);
      while (low + 1 < high && !spent()) {
        const std::uint64_t middle = low + (high - low) / 2;
        if (try_with(domain, place, middle)) {
          high = middle;
        } else {
          low = middle;
        }
      }
    }
  }

  bool try_with(Domain domain, std::size_t place, std::uint64_t value) {
    Tape candidate = best_.tape;
    candidate.set(domain, place, value);
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
  for (std::size_t i = 0; i < kDomains; ++i) {
    const auto domain = static_cast<Domain>(i);
    size.length += tape.length(domain);
    for (std::size_t at = 0; at < tape.length(domain); ++at) {
      const std::uint64_t value = tape.at(domain, at);
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
