#include "inspect/bisect.h"

#include <algorithm>

namespace varve {
namespace {

bool holds(const PastCut& cut, LogPosition position) {
  return std::any_of(cut.begin(), cut.end(), [&](const LogPosition& end) {
    return end.partition == position.partition && position.offset <= end.offset;
  });
}

// States by number: 0 is the good cut, each next one has one record more.
struct Asking {
  PastStates& states;
  std::shared_ptr<const Expression> where;
  std::optional<StreamId> about;
  PastCut good;
  std::vector<LogPosition> between;
  std::size_t asked = 0;

  PastCut cut(std::size_t number) const {
    PastCut cut = good;
    for (std::size_t i = 0; i < number; ++i) merge_position(cut, between[i]);
    return cut;
  }
  Task<bool> ask(PastCut cut) {
    ++asked;
    return states.holds(where, about, std::move(cut));
  }
};

// The number of the first state behind the good cut in which it holds; one too many: in none.
Task<std::size_t> scan(std::shared_ptr<Asking> asking) {
  PastCut cut = asking->good;
  for (std::size_t number = 1; number <= asking->between.size(); ++number) {
    merge_position(cut, asking->between[number - 1]);
    auto held = co_await asking->ask(cut);
    if (!held) co_return held.error();
    if (*held) co_return number;
  }
  co_return asking->between.size() + 1;
}

// False at `low`, true at `high`: a number in which it holds, and not in the one before.
Task<std::size_t> halve(std::shared_ptr<Asking> asking, std::size_t low, std::size_t high) {
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    auto held = co_await asking->ask(asking->cut(middle));
    if (!held) co_return held.error();
    (*held ? high : low) = middle;
  }
  co_return high;
}

}  // namespace

Status check_order(const PastCut& good, const PastCut& bad) {
  for (const LogPosition& position : good) {
    if (holds(bad, position)) continue;
    return Error{Errc::invalid_argument, "the good cut " + cut_text(good) + " must come before the bad one " +
                                             cut_text(bad) + ": " + to_string(position) + " does not"};
  }
  return ok();
}

Task<BisectAnswer> bisect(PastStates& states, std::vector<PastRecord> records,
                          std::shared_ptr<const Expression> where, std::optional<StreamId> about,
                          PastCut good, PastCut bad, Find find) {
  if (Status ordered = check_order(good, bad); !ordered) co_return ordered.error();
  auto asking =
      std::make_shared<Asking>(Asking{states, std::move(where), std::move(about), std::move(good), {}});
  for (const PastRecord& record : records) {
    if (!holds(asking->good, record.position) && holds(bad, record.position)) {
      asking->between.push_back(record.position);
    }
  }
  const std::size_t last = asking->between.size();
  BisectAnswer answer;
  answer.records = last;
  auto at_good = co_await asking->ask(asking->good);
  if (!at_good) co_return at_good.error();
  Result<std::size_t> found = std::size_t{0};
  if (*at_good) {
    answer.kind = BisectAnswer::Kind::true_at_good;
  } else if (find == Find::first) {
    found = co_await scan(asking);
  } else {
    auto at_bad = co_await asking->ask(asking->cut(last));
    if (!at_bad) co_return at_bad.error();
    found = last + 1;
    if (*at_bad) found = co_await halve(asking, 0, last);
  }
  if (!found) co_return found.error();
  answer.states_asked = asking->asked;
  if (*at_good) co_return answer;
  if (*found > last) {
    answer.kind = BisectAnswer::Kind::false_at_bad;
    co_return answer;
  }
  answer.position = asking->between[*found - 1];
  answer.before = asking->cut(*found - 1);
  answer.after = asking->cut(*found);
  co_return answer;
}

}  // namespace varve
