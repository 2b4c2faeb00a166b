#include "sim/cluster_oracles.h"

#include <algorithm>

#include "runtime/mutant.h"

namespace varve::sim {

ClusterOracles::ClusterOracles(const LogView& log, ViewsView& views, StatesView* states, Options options)
    : options_(std::move(options)),
      log_(log, violations_),
      owners_(log_, violations_, options_.alive),
      views_(log_, views, violations_) {
  if (states != nullptr) {
    StateOracle::Options wanted{options_.snapshots_are_kept};
    if (options_.keys != nullptr)
      wanted.open = [keys = options_.keys](ActorState& state) { keys->open(state); };
    states_.emplace(log_, *states, violations_, std::move(wanted));
  }
  if (options_.keys == nullptr) return;
  log_.open_with([keys = options_.keys](std::shared_ptr<const Record> record) {
    return keys->opened(std::move(record));
  });
}

void ClusterOracles::take_violation(std::string_view told) {
  const std::size_t space = std::min(told.find(' '), told.size());
  violations_.add(std::string(told.substr(0, space)),
                  std::string(told.substr(std::min(space + 1, told.size()))));
}

void ClusterOracles::acknowledged(const std::vector<LogPosition>& positions) {
  for (const LogPosition& position : positions) log_.acknowledged(position);
}

void ClusterOracles::effect(const std::string& intent) {
  if (++effects_[intent] == 2) violations_.add("I8", "the effect of " + intent + " was attempted twice");
}

void ClusterOracles::at_rest() {
  if (mutant(Mutant::canary)) violations_.add("Canary", "it sings");
  log_.at_rest();
  views_.at_rest();
  if (states_) states_->at_rest();
  if (options_.history == nullptr) return;
  history_ = check(*options_.history, options_.history_options);
  for (const Violation& violation : history_.violations) {
    violations_.add(violation.invariant, violation.what);
  }
}

std::optional<std::string> ClusterOracles::pending() {
  after_step();
  if (options_.history != nullptr && options_.history->open() > 0) {
    return "an operation is open: " + options_.history->oldest_open();
  }
  for (std::uint32_t i = 0; i < log_.partitions(); ++i) {
    std::string reason = owners_.pending(Partition{i});
    if (!reason.empty()) return reason;
  }
  for (const auto& [stream, run] : log_.open_turns()) return stream.value() + " has an open turn: " + run;
  std::string behind = views_.pending();
  if (!behind.empty()) return behind;
  return std::nullopt;
}

void ClusterOracles::check_drained() {
  if (const auto reason = pending()) violations_.add("I9", *reason);
}

}  // namespace varve::sim
