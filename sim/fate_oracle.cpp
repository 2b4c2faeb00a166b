#include "sim/fate_oracle.h"

namespace varve::sim {

void FateOracle::on_trace(std::string_view text) {
  const auto line = owner_line(text);
  if (!line || !*line) return;
  const OwnerLine& told = **line;
  const Key key{told.partition, told.epoch, told.n, told.id};
  if (told.kind == OwnerLine::Kind::commit_sent) fates_[key] = {};  // Once more, under the same n.
  if (told.kind == OwnerLine::Kind::never) fates_[key] = {Told::never, {}};
  if (told.kind == OwnerLine::Kind::done) fates_[key] = {Told::done, told.offset};
}

std::vector<Violation> FateOracle::broken(const LogOracle& log) const {
  std::vector<Violation> found;
  for (const auto& [key, fate] : fates_) {
    const auto& [partition, epoch, n, command] = key;
    if (log.given_up(partition)) continue;
    const std::string what = "the record e=" + std::to_string(epoch.value()) +
                             " n=" + std::to_string(n.value()) + " of partition " +
                             std::to_string(partition.value());
    const JudgedRecord* counts = log.commit_of(partition, epoch, n);
    if (fate.told == Told::never && counts != nullptr && counts->commit()->command.id == command) {
      found.push_back(
          {"NoLateEffect", what + " was called off; it counts at " + place(partition, counts->offset)});
    }
    if (fate.told != Told::done) continue;
    const JudgedRecord* there = log.record_at(partition, fate.at);
    if (there == nullptr || !there->admitted() || there->after.epoch != epoch || there->after.index != n) {
      found.push_back(
          {"I1", what + " was called done at " + place(partition, fate.at) + ", where it does not count"});
    }
  }
  return found;
}

}  // namespace varve::sim
