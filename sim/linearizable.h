// Linearizability of one entity's history: is there an order of the calls, each at some moment between its
// begin and its end, in which the model gives every answer that was given? (The algorithm of Wing and Gong
// with Lowe's memory of configurations.) A call without an end may have taken effect, once, at any time after
// its begin, or never. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/hash.h"
#include "sim/model.h"

namespace varve::sim {

inline constexpr std::uint64_t kForever = std::numeric_limits<std::uint64_t>::max();

struct Call {
  Op op;
  Outcome outcome;
  std::uint64_t begin = 0;
  std::uint64_t end = kForever;  // Times differ from each other, but for kForever.
  std::size_t entry = 0;         // In the history, for reports.
};

struct Linearization {
  enum class Verdict : unsigned char { yes, no, gave_up };
  Verdict verdict = Verdict::yes;
  std::size_t states = 0;   // Looked at.
  std::size_t blocked = 0;  // `no`: the call that could not be explained in the longest order that was found.
};

inline const AgentModel* turns_of(const AgentModel& state) {
  return &state;
}
inline const AgentModel* turns_of(const BlockModel& /*state*/) {
  return nullptr;
}

template <class State>
class Linearizer {
 public:
  Linearizer(const std::vector<Call>& calls, std::size_t states_max)
      : calls_(calls), states_max_(states_max), done_(calls.size(), false) {
    build_list();
  }

  Linearization run() {
    std::size_t at = next_[kHead];
    while (ends_left_ > 0) {
      if (is_call(at)) {
        at = try_call(at) ? next_[kHead] : next_[at];
        if (result_.states <= states_max_) continue;
        result_.verdict = Linearization::Verdict::gave_up;
        return result_;
      }
      // A call has ended that is not in the order yet: what was chosen last was wrong.
      if (stack_.size() >= longest_) {
        longest_ = stack_.size();
        result_.blocked = events_[at].call;
      }
      if (stack_.empty()) {
        result_.verdict = Linearization::Verdict::no;
        return result_;
      }
      at = take_back();
    }
    return result_;
  }

 private:
  static constexpr std::size_t kHead = 0;
  struct Event {
    std::uint64_t time = 0;
    std::size_t call = 0;
    bool begins = false;
    friend bool operator<(const Event& a, const Event& b) { return a.time < b.time; }
  };
  struct Chosen {
    std::size_t event;
    State before;
  };

  // Events in the order of time as a doubly linked list; place 0 is its head, the last one its end.
  void build_list() {
    std::vector<Event> events;
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      events.push_back({calls_[i].begin, i, true});
      if (calls_[i].end != kForever) events.push_back({calls_[i].end, i, false});
    }
    std::stable_sort(events.begin(), events.end());
    events_.push_back({});
    events_.insert(events_.end(), events.begin(), events.end());
    end_of_.assign(calls_.size(), kHead);
    for (std::size_t i = 0; i < events_.size(); ++i) {
      next_.push_back(i + 1);
      previous_.push_back(i == 0 ? 0 : i - 1);
      if (i == kHead || events_[i].begins) continue;
      end_of_[events_[i].call] = i;
      ++ends_left_;
    }
    previous_.push_back(events_.size() - 1);
  }
  bool is_call(std::size_t at) const { return events_[at].begins; }
  void lift(std::size_t at) {
    next_[previous_[at]] = next_[at];
    previous_[next_[at]] = previous_[at];
  }
  void put_back(std::size_t at) {
    next_[previous_[at]] = at;
    previous_[next_[at]] = at;
  }

  // Puts the call next in the order, if the model allows it there and this has not been tried before.
  bool try_call(std::size_t at) {
    const std::size_t number = events_[at].call;
    const Call& call = calls_[number];
    State after = state_;
    const Outcome expected = after.apply(call.op);
    if (call.outcome.answer == Answer::unknown) {
      if (expected.answer != Answer::ok || after == state_) return false;
    } else if (!agrees(expected, call.outcome, turns_of(after))) {
      return false;
    }
    done_[number] = true;
    ++result_.states;
    if (!seen_.insert(key_of(after)).second) {
      done_[number] = false;
      return false;
    }
    stack_.push_back({at, std::move(state_)});
    state_ = std::move(after);
    lift(at);
    if (end_of_[number] != kHead) {
      lift(end_of_[number]);
      --ends_left_;
    }
    return true;
  }
  // Where to go on.
  std::size_t take_back() {
    Chosen chosen = std::move(stack_.back());
    stack_.pop_back();
    state_ = std::move(chosen.before);
    const std::size_t number = events_[chosen.event].call;
    done_[number] = false;
    if (end_of_[number] != kHead) {
      put_back(end_of_[number]);
      ++ends_left_;
    }
    put_back(chosen.event);
    return next_[chosen.event];
  }
  std::pair<std::uint64_t, std::uint64_t> key_of(const State& state) const {
    std::string bytes;
    bytes.reserve(done_.size());
    for (const bool done : done_) bytes += done ? '1' : '0';
    const Sum128 hash = xxh128(bytes + fingerprint(state));
    return {hash.high, hash.low};
  }

  const std::vector<Call>& calls_;
  std::size_t states_max_;
  State state_;
  std::vector<bool> done_;
  std::vector<Event> events_;
  std::vector<std::size_t> next_;
  std::vector<std::size_t> previous_;
  std::vector<std::size_t> end_of_;  // Of each call; kHead = it has none.
  std::size_t ends_left_ = 0;
  std::size_t longest_ = 0;
  std::vector<Chosen> stack_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
  Linearization result_;
};

}  // namespace varve::sim
