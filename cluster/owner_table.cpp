#include "cluster/owner_table.h"

namespace varve {

bool OwnerTable::learn(Partition partition, const Owner& owner) {
  const auto found = owners_.find(partition);
  if (found != owners_.end() && found->second.epoch >= owner.epoch) return false;
  owners_[partition] = owner;
  doubted_.erase(partition);
  return true;
}

bool OwnerTable::learn(Partition partition, const Claim& claim) {
  return learn(partition, Owner{claim.epoch, claim.node, claim.url});
}

std::optional<Owner> OwnerTable::known(Partition partition) const {
  const auto found = owners_.find(partition);
  return found == owners_.end() ? std::nullopt : std::optional(found->second);
}

Task<std::optional<Owner>> OwnerTable::find(Partition partition) {
  if (owners_.contains(partition) && !doubted_.contains(partition)) co_return known(partition);
  const auto looked_up = co_await source_.owner(partition);
  if (!looked_up) {
    if (!owners_.contains(partition)) co_return looked_up.error();
  } else if (*looked_up) {
    learn(partition, **looked_up);
  }
  co_return known(partition);
}

}  // namespace varve
