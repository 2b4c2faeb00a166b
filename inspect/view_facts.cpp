#include "inspect/view_facts.h"

#include <algorithm>

namespace varve {

std::optional<std::size_t> owner_column(View view) {
  switch (view) {
    case View::messages:
      return messages::agent_id;
    case View::runs:
      return runs::agent_id;
    case View::steps:
      return steps::agent_id;
    case View::attachments:
      return attachments::agent_id;
    case View::tags:
      return tags::agent_id;
    case View::agent_activity:
      return agent_activity::agent_id;
    case View::agents:
    case View::blocks:
    case View::shard_owners:
    case View::tools:
      return std::nullopt;
  }
  return std::nullopt;
}

ViewFacts::ViewFacts(const MemoryViewStorage& storage, const std::optional<PastCut>& cut,
                     const std::optional<StreamId>& about, EventReader event)
    : storage_(storage), about_(about), event_(std::move(event)) {
  if (cut) {
    cut_.emplace();
    for (const LogPosition& position : *cut) {
      const std::size_t number = position.partition.value();
      if (cut_->size() <= number) cut_->resize(number + 1);
      (*cut_)[number] = position.offset;
    }
  }
  if (!about_) return;
  blocks_.insert(Value{about_->value()});
  for (const std::size_t number : with(View::attachments, attachments::agent_id, Value{about_->value()})) {
    const Row& row = table(View::attachments).rows()[number];
    if (open(row)) blocks_.insert(row.values[attachments::block_id]);
  }
}

bool ViewFacts::within(Partition partition, Offset offset) const {
  if (!cut_) return true;
  const std::size_t number = partition.value();
  return number < cut_->size() && (*cut_)[number] && offset <= *(*cut_)[number];
}

std::vector<std::size_t> ViewFacts::with(View view, std::size_t column, const Value& value) const {
  Query query;
  query.view = view;
  query.open_only = false;
  query.where.push_back({static_cast<int>(column), Filter::Op::equal, {value}});
  std::vector<std::size_t> numbers;
  for (const std::size_t number : table(view).candidates(query)) {
    if (table(view).rows()[number].values[column] == value) numbers.push_back(number);
  }
  return numbers;
}

bool ViewFacts::agent_is_there(const Value& id) const {
  for (const std::size_t number : with(View::agents, agents::id, id)) {
    const Row& row = table(View::agents).rows()[number];
    if (open(row)) return row.integer(agents::importing) == 0;
  }
  return false;
}

// One that was never here may live in a partition that is not folded.
bool ViewFacts::block_is_gone(const Value& id) const {
  bool seen = false;
  for (const std::size_t number : with(View::blocks, blocks::id, id)) {
    const Row& row = table(View::blocks).rows()[number];
    if (open(row)) return false;
    seen = seen || born(row);
  }
  return seen;
}

// Of the versions of a message the newest is the message.
bool ViewFacts::is_newest(const Row& message) const {
  const auto place = [](const Row& row) { return std::pair{row.from.offset, row.from.ordinal}; };
  for (const std::size_t number : with(View::messages, messages::id, message.values[messages::id])) {
    const Row& other = table(View::messages).rows()[number];
    if (born(other) && place(other) > place(message)) return false;
  }
  return true;
}

bool ViewFacts::is_there(View view, const Row& row) const {
  if (!born(row)) return false;
  if (view == View::messages) {
    return agent_is_there(row.values[messages::agent_id]) && (!row.to || open(row) || is_newest(row));
  }
  if (!open(row)) return false;
  if (view == View::agents) return row.integer(agents::importing) == 0;
  if (view == View::attachments && block_is_gone(row.values[attachments::block_id])) return false;
  const auto owner = owner_column(view);
  return !owner || agent_is_there(row.values[*owner]);
}

bool ViewFacts::concerns(View view, const Row& row) const {
  if (!about_) return true;
  const Value self{about_->value()};
  if (view == View::agents) return row.values[agents::id] == self;
  if (view == View::blocks) return blocks_.contains(row.values[blocks::id]);
  if (view == View::attachments && row.values[attachments::block_id] == self) return true;
  const auto owner = owner_column(view);
  return !owner || row.values[*owner] == self;
}

std::vector<std::size_t> ViewFacts::candidates(const Selector& selector) const {
  const View view = selector.view;
  if (selector.key) {
    std::vector<std::size_t> numbers = with(view, name_column(view), Value{*selector.key});
    // The first column of a view is text, but for the owners, whose partition is a number.
    const std::vector<std::size_t> by_id = with(view, 0, Value{*selector.key});
    numbers.insert(numbers.end(), by_id.begin(), by_id.end());
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    return numbers;
  }
  const auto owner = owner_column(view);
  if (about_ && owner && view != View::attachments) return with(view, *owner, Value{about_->value()});
  Query query;
  query.view = view;
  query.open_only = !cut_ && view != View::messages;
  return table(view).candidates(query);
}

bool ViewFacts::visit(const Selector& selector, const Visit& enough) const {
  for (const std::size_t number : candidates(selector)) {
    const Row& row = table(selector.view).rows()[number];
    const bool is_open = open(row);
    if (selector.context && !is_open) continue;
    if (!is_there(selector.view, row) || !concerns(selector.view, row)) continue;
    if (enough(RowNow{row, is_open})) return true;
  }
  return false;
}

Result<std::int64_t> ViewFacts::count(const Selector& selector) {
  std::int64_t counted = 0;
  visit(selector, [&counted](const RowNow& /*now*/) {
    ++counted;
    return false;
  });
  return counted;
}

Result<bool> ViewFacts::any(const Selector& selector, const std::function<bool(const RowNow&)>& fits) {
  return visit(selector, fits);
}

}  // namespace varve
