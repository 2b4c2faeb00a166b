#include "inspect/bisect_views.h"

#include <algorithm>
#include <numeric>

#include "inspect/cut_facts.h"
#include "projections/as_of.h"
#include "projections/cut_reader.h"
#include "runtime/suspend.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kLook{20};

// Of every partition the offset behind the last one that is in the cut.
using Ends = std::vector<std::uint64_t>;

Ends ends_of(const PastCut& cut, std::uint32_t partitions) {
  Ends ends(partitions, 0);
  for (const LogPosition& position : cut) ends[position.partition.value()] = position.offset.value() + 1;
  return ends;
}

PastCut cut_of(const Ends& ends) {
  PastCut cut;
  for (std::uint32_t number = 0; number < ends.size(); ++number) {
    if (ends[number] > 0) cut.push_back({Partition{number}, Offset{ends[number] - 1}});
  }
  return cut;
}

struct Middle {
  WallTime at;
  std::uint64_t left = 0;  // Offsets of its partition.
};

// Half of what is left has this time or an earlier one, as far as the middles of the partitions tell.
WallTime median(std::vector<Middle> middles) {
  std::sort(middles.begin(), middles.end(),
            [](const Middle& one, const Middle& other) { return one.at < other.at; });
  std::uint64_t all = 0;
  for (const Middle& middle : middles) all += middle.left;
  std::uint64_t passed = 0;
  for (const Middle& middle : middles) {
    passed += middle.left;
    if (passed >= all - passed) return middle.at;
  }
  return middles.back().at;
}

// It does not hold at `low`, and holds at `high`, until they differ by one offset.
class Halving {
 public:
  Halving(AskedViews asked, std::shared_ptr<const Expression> where, std::optional<StreamId> about, Ends low,
          Ends high)
      : asked_(asked),
        states_(asked.views),
        where_(std::move(where)),
        about_(std::move(about)),
        low_(std::move(low)),
        high_(std::move(high)) {}

  Task<bool> ask(PastCut cut) {
    ++states_asked_;
    return states_.holds(where_, about_, std::move(cut));
  }

  Task<> narrow() {
    while (left() > 1) {
      auto middles = co_await find_middles();
      if (!middles) co_return middles.error();
      if (middles->empty()) continue;
      const WallTime time = median(std::move(*middles));
      auto middle = co_await within(time);
      if (!middle) co_return middle.error();
      if (*middle == high_) {
        middle = co_await within(WallTime{time.value() - 1});
        if (!middle) co_return middle.error();
      }
      // All that is left is of one time.
      if (*middle == low_ || *middle == high_) co_return co_await narrow_by_place();
      auto held = co_await ask(cut_of(*middle));
      if (!held) co_return held.error();
      (*held ? high_ : low_) = std::move(*middle);
    }
    if (left() == 1) co_return ok();
    co_return Error{Errc::corrupt, "the views have changed while they were asked"};
  }

  std::uint64_t left() const {
    std::uint64_t left = 0;
    for (std::size_t i = 0; i < low_.size(); ++i) left += high_[i] - low_[i];
    return left;
  }
  std::size_t states_asked() const { return states_asked_; }
  PastCut low() const { return cut_of(low_); }
  PastCut high() const { return cut_of(high_); }
  // That of the one offset.
  LogPosition between() const {
    std::uint32_t number = 0;
    while (high_[number] == low_[number]) ++number;
    return {Partition{number}, Offset{low_[number]}};
  }

 private:
  // What does not count before a middle is passed at once: it changes nothing.
  Task<std::vector<Middle>> find_middles() {
    std::vector<Middle> middles;
    for (std::uint32_t number = 0; number < low_.size(); ++number) {
      const std::uint64_t left = high_[number] - low_[number];
      if (left == 0) continue;
      const Offset middle{low_[number] + (left - 1) / 2};
      const LogPosition position{Partition{number}, middle};
      const Offset from{low_[number]};
      const auto counted = co_await newest_counted(asked_.log, asked_.views, position, from);
      if (!counted) co_return counted.error();
      if (*counted) {
        middles.push_back({(*counted)->at, left});
      } else {
        low_[number] = middle.value() + 1;
      }
    }
    co_return middles;
  }

  // What the time takes of all that is left.
  Task<Ends> within(WallTime time) {
    auto cut = co_await held_up_to(asked_.log, asked_.views, time);
    if (!cut) co_return cut.error();
    Ends ends = ends_of(cut->positions(), static_cast<std::uint32_t>(low_.size()));
    for (std::size_t i = 0; i < ends.size(); ++i) ends[i] = std::clamp(ends[i], low_[i], high_[i]);
    co_return ends;
  }

  // `low_` and so many offsets more, partition by partition.
  Ends behind(std::uint64_t count) const {
    Ends ends = low_;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      const std::uint64_t taken = std::min(count, high_[i] - low_[i]);
      ends[i] += taken;
      count -= taken;
    }
    return ends;
  }
  Task<> narrow_by_place() {
    std::uint64_t low = 0;
    std::uint64_t high = left();
    while (high - low > 1) {
      const std::uint64_t middle = low + (high - low) / 2;
      auto held = co_await ask(cut_of(behind(middle)));
      if (!held) co_return held.error();
      (*held ? high : low) = middle;
    }
    Ends last = behind(high);
    low_ = behind(low);
    high_ = std::move(last);
    co_return ok();
  }

  AskedViews asked_;
  ViewStates states_;
  std::shared_ptr<const Expression> where_;
  std::optional<StreamId> about_;
  Ends low_;
  Ends high_;
  std::size_t states_asked_ = 0;
};

// ---- from texts to cuts ----

struct Held {
  std::vector<Checkpoint> checkpoints;  // By number of partition.
  std::vector<QuarantineRow> parked;
};

Task<Held> held_by(AskedViews asked) {
  auto held = std::make_shared<Held>();
  const std::uint32_t partitions = asked.log.partitions();
  std::function<Status(ViewReader&)> work = [held, partitions](ViewReader& reader) -> Status {
    for (std::uint32_t number = 0; number < partitions; ++number) {
      auto checkpoint = reader.checkpoint(Partition{number});
      if (!checkpoint) return checkpoint.error();
      held->checkpoints.push_back(std::move(*checkpoint));
    }
    auto parked = reader.quarantine();
    if (!parked) return parked.error();
    held->parked = std::move(*parked);
    return ok();
  };
  if (Status read = co_await asked.views.read(std::move(work)); !read) co_return read.error();
  co_return std::move(*held);
}

// Errc::unavailable if the views do not hold `ends` in time.
Task<Held> held_with(AskedViews asked, Ends ends, Duration patience) {
  const MonoTime deadline = asked.env.now() + patience;
  for (;;) {
    auto held = co_await held_by(asked);
    if (!held) co_return held.error();
    std::size_t behind = 0;
    while (behind < ends.size() && held->checkpoints[behind].next.value() >= ends[behind]) ++behind;
    if (behind == ends.size()) co_return std::move(*held);
    if (asked.env.now() >= deadline) {
      co_return Error{Errc::unavailable, "the views of partition " + std::to_string(behind) +
                                             " end before offset " +
                                             std::to_string(held->checkpoints[behind].next.value()) +
                                             ", what was asked before " + std::to_string(ends[behind])};
    }
    co_await sleep_for(asked.env, kLook);
  }
}

Task<Ends> ends_of_log(AskedViews asked) {
  Ends ends;
  for (std::uint32_t number = 0; number < asked.log.partitions(); ++number) {
    const auto end = co_await asked.log.end(Partition{number});
    if (!end) co_return end.error();
    ends.push_back(end->value());
  }
  co_return ends;
}

std::vector<LogPosition> named_by(const AsOf& as_of) {
  if (const auto* position = std::get_if<LogPosition>(&as_of)) return {*position};
  const auto* cut = std::get_if<Cut>(&as_of);
  return cut != nullptr ? cut->positions() : std::vector<LogPosition>{};
}

// Nothing: the text is empty.
Result<std::optional<AsOf>> parse_cut_of(const std::string& text, const Ends& ends) {
  if (text.empty()) return std::optional<AsOf>{};
  auto as_of = parse_as_of(text);
  if (!as_of) return as_of.error();
  for (const LogPosition& position : named_by(*as_of)) {
    const std::uint32_t number = position.partition.value();
    if (number >= ends.size()) {
      return Error{Errc::invalid_argument, "the log has partitions 0 to " + std::to_string(ends.size() - 1) +
                                               ", not " + std::to_string(number)};
    }
    if (position.offset.value() < ends[number]) continue;
    return Error{Errc::invalid_argument, to_string(position) + " lies beyond the end of the log"};
  }
  return std::optional<AsOf>{std::move(*as_of)};
}

// What the views must hold to answer for it: a time may be any, so all that there is.
Ends needed_for(const std::optional<AsOf>& as_of, const Ends& all) {
  const bool is_cut = as_of && std::holds_alternative<Cut>(*as_of);
  return is_cut ? ends_of(named_by(*as_of), static_cast<std::uint32_t>(all.size())) : all;
}

Task<PastCut> resolve(AskedViews asked, AsOf as_of) {
  std::vector<LogPosition> named = named_by(as_of);
  if (std::holds_alternative<Cut>(as_of)) co_return named;
  const auto* time = std::get_if<WallTime>(&as_of);
  WallTime at = time != nullptr ? *time : WallTime{};
  if (time == nullptr) {
    const Offset start;
    const auto counted = co_await newest_counted(asked.log, asked.views, named.front(), start);
    if (!counted) co_return counted.error();
    if (!*counted) co_return named;  // Nothing counts up to there, at no time.
    at = (*counted)->at;
  }
  auto cut = co_await held_up_to(asked.log, asked.views, at);
  if (!cut) co_return cut.error();
  if (time == nullptr) cut->set(named.front());
  co_return cut->positions();
}

// Up to the last record of every partition.
PastCut all_that_is_held(const Held& held) {
  PastCut cut;
  for (std::uint32_t number = 0; number < held.checkpoints.size(); ++number) {
    const Mark& mark = held.checkpoints[number].mark;
    if (!mark.none) cut.push_back({Partition{number}, mark.offset});
  }
  return cut;
}

}  // namespace

Task<bool> ViewStates::holds(std::shared_ptr<const Expression> where, std::optional<StreamId> about,
                             PastCut cut) {
  auto held = std::make_shared<bool>(false);
  const Cut moment{cut};
  std::function<Status(ViewReader&)> work = [held, where, about, moment](ViewReader& reader) -> Status {
    CutReader past(reader, moment);
    CutFacts facts(past, about);
    const auto answer = where->holds(facts);
    if (!answer) return answer.error();
    *held = *answer;
    return ok();
  };
  if (Status read = co_await views_.read(std::move(work)); !read) co_return read.error();
  co_return *held;
}

Task<CutsInViews> cuts_in_views(AskedViews asked, std::string good, std::string bad, Duration patience) {
  auto ends = co_await ends_of_log(asked);
  if (!ends) co_return ends.error();
  auto from = parse_cut_of(good, *ends);
  if (!from) co_return Error{from.error().code, "good: " + from.error().message};
  auto to = parse_cut_of(bad, *ends);
  if (!to) co_return Error{to.error().code, "bad: " + to.error().message};
  Ends needed = needed_for(*to, *ends);
  if (*from) {
    const Ends also = needed_for(*from, *ends);
    for (std::size_t i = 0; i < needed.size(); ++i) needed[i] = std::max(needed[i], also[i]);
  }
  auto held = co_await held_with(asked, std::move(needed), patience);
  if (!held) co_return held.error();
  for (std::uint32_t number = 0; number < held->checkpoints.size(); ++number) {
    const Partition partition{number};
    const Mark mark = held->checkpoints[number].mark;
    const Status same = co_await check_mark(asked.log, partition, mark);
    if (!same && same.error().code != Errc::corrupt) co_return same.error();
    if (!same) co_return Error{Errc::corrupt, "they are not of this log: " + same.error().message};
  }
  CutsInViews cuts;
  cuts.bad = all_that_is_held(*held);
  if (*to) {
    auto cut = co_await resolve(asked, **to);
    if (!cut) co_return cut.error();
    cuts.bad = std::move(*cut);
  }
  if (*from) {
    auto cut = co_await resolve(asked, **from);
    if (!cut) co_return cut.error();
    cuts.good = std::move(*cut);
  }
  for (const QuarantineRow& row : held->parked) {
    cuts.remarks.push_back(row.stream.value() + " is parked at " +
                           to_string(LogPosition{row.partition, row.offset}) + ": " + row.reason);
  }
  co_return cuts;
}

Task<BisectAnswer> bisect_views(AskedViews asked, std::shared_ptr<const Expression> where,
                                std::optional<StreamId> about, PastCut good, PastCut bad) {
  if (Status ordered = check_order(good, bad); !ordered) co_return ordered.error();
  const std::uint32_t partitions = asked.log.partitions();
  Halving halving(asked, std::move(where), std::move(about), ends_of(good, partitions),
                  ends_of(bad, partitions));
  BisectAnswer answer;
  answer.records = halving.left();
  auto at_good = co_await halving.ask(std::move(good));
  if (!at_good) co_return at_good.error();
  if (*at_good) {
    answer.kind = BisectAnswer::Kind::true_at_good;
    answer.states_asked = halving.states_asked();
    co_return answer;
  }
  auto at_bad = co_await halving.ask(std::move(bad));
  if (!at_bad) co_return at_bad.error();
  if (*at_bad) {
    if (Status narrowed = co_await halving.narrow(); !narrowed) co_return narrowed.error();
    answer.position = halving.between();
    answer.before = halving.low();
    answer.after = halving.high();
  } else {
    answer.kind = BisectAnswer::Kind::false_at_bad;
  }
  answer.states_asked = halving.states_asked();
  co_return answer;
}

}  // namespace varve
