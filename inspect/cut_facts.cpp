#include "inspect/cut_facts.h"

#include <algorithm>

#include "inspect/view_facts.h"
#include "projections/digest.h"

namespace varve {
namespace {

constexpr std::size_t kPage = 500;

Filter equals(std::size_t column, Value value) {
  return {static_cast<int>(column), Filter::Op::equal, {std::move(value)}};
}

// All that this file filters by: a value, or one of some.
bool fits(const Row& row, const std::vector<Filter>& filters) {
  return std::all_of(filters.begin(), filters.end(), [&row](const Filter& filter) {
    const Value& value = row.values[static_cast<std::size_t>(filter.column)];
    return std::find(filter.values.begin(), filter.values.end(), value) != filter.values.end();
  });
}

bool is_text(View view, std::size_t column) {
  return schema_of(view).columns[column].type == ColumnType::text;
}

// Rows with this id, or this name. Of a message the store must give all versions, whatever the role of each:
// the newest decides.
std::vector<CutFacts::Look> looks_by_key(const Selector& selector) {
  if (!selector.key) return {{}};
  std::vector<CutFacts::Look> looks;
  const std::size_t name = name_column(selector.view);
  if (is_text(selector.view, 0)) looks.push_back({{equals(0, Value{*selector.key})}, {}});
  if (name == 0 || !is_text(selector.view, name)) return looks;
  looks.emplace_back();
  auto& filters = selector.view == View::messages ? looks.back().kept : looks.back().read;
  filters.push_back(equals(name, Value{*selector.key}));
  return looks;
}

// Versions of one entity behind each other, in the order in which they came.
std::vector<int> page_order(View view) {
  std::vector<int> order;
  for (std::size_t i = 0; i < schema_of(view).key_columns; ++i) order.push_back(static_cast<int>(i));
  order.push_back(kFromOffset);
  order.push_back(kFromOrdinal);
  return order;
}

}  // namespace

Status CutFacts::learn_blocks() {
  if (blocks_) return ok();
  std::vector<Value> blocks{Value{about_->value()}};
  Query query{.view = View::attachments, .where = {equals(attachments::agent_id, blocks.front())}};
  query.order_by = page_order(query.view);
  query.limit = kPage;
  for (;;) {
    const auto rows = reader_.select(query);
    if (!rows) return rows.error();
    for (const Row& row : *rows) blocks.push_back(row.values[attachments::block_id]);
    if (rows->size() < kPage) break;
    query.above = place_of(query.view, rows->back());
  }
  blocks_ = std::move(blocks);
  return ok();
}

Result<std::vector<CutFacts::Filters>> CutFacts::looks_about(View view) {
  if (!about_) return std::vector<Filters>{{}};
  const Value self{about_->value()};
  if (view == View::agents) return std::vector<Filters>{{equals(agents::id, self)}};
  if (view == View::blocks) {
    if (Status learned = learn_blocks(); !learned) return learned.error();
    return std::vector<Filters>{{Filter{static_cast<int>(blocks::id), Filter::Op::one_of, *blocks_}}};
  }
  if (view == View::attachments)
    return std::vector<Filters>{{equals(attachments::block_id, self)}, {equals(attachments::agent_id, self)}};
  const auto owner = owner_column(view);
  if (!owner) return std::vector<Filters>{{}};
  return std::vector<Filters>{{equals(*owner, self)}};
}

Result<bool> CutFacts::agent_is_there(const Value& id) {
  if (const auto known = agents_.find(id); known != agents_.end()) return known->second;
  const Query query{.view = View::agents, .where = {equals(agents::id, id)}, .limit = 1};
  const auto rows = reader_.select(query);
  if (!rows) return rows.error();
  const bool there = !rows->empty() && rows->front().integer(agents::importing) == 0;
  agents_.emplace(id, there);
  return there;
}

// One that was never here is not gone: see ViewFacts.
Result<bool> CutFacts::block_is_gone(const Value& id) {
  if (const auto known = gone_.find(id); known != gone_.end()) return known->second;
  Query query{.view = View::blocks, .where = {equals(blocks::id, id)}, .limit = 1};
  const auto open = reader_.select(query);
  if (!open) return open.error();
  bool gone = false;
  if (open->empty()) {
    query.open_only = false;
    const auto ever = reader_.select(query);
    if (!ever) return ever.error();
    gone = !ever->empty();
  }
  gone_.emplace(id, gone);
  return gone;
}

Result<bool> CutFacts::is_there(View view, const Row& row, bool newest) {
  if (view == View::messages) {
    if (row.to && !newest) return false;
    return agent_is_there(row.values[messages::agent_id]);
  }
  if (view == View::agents) return row.integer(agents::importing) == 0;
  if (view == View::attachments) {
    const auto gone = block_is_gone(row.values[attachments::block_id]);
    if (!gone || *gone) return gone ? Result<bool>{false} : gone;
  }
  const auto owner = owner_column(view);
  if (!owner) return true;
  return agent_is_there(row.values[*owner]);
}

Result<bool> CutFacts::take(const Selector& selector, const Row& row, bool newest, const Visit& enough) {
  const auto there = is_there(selector.view, row, newest);
  if (!there) return there;
  return *there && enough(RowNow{row, !row.to});
}

Result<bool> CutFacts::walk(const Selector& selector, const std::vector<Look>& looks, std::size_t number,
                            const Visit& enough) {
  const auto found_before = [&looks, number](const Row& row) {
    const auto end = looks.begin() + static_cast<std::ptrdiff_t>(number);
    return std::any_of(looks.begin(), end, [&row](const Look& look) { return fits(row, look.read); });
  };
  const auto give = [&](const Row& row, bool newest) -> Result<bool> {
    if (!fits(row, looks[number].kept)) return false;
    return take(selector, row, newest, enough);
  };
  Query query{.view = selector.view, .where = looks[number].read};
  // A message that has left the context is a message yet.
  query.open_only = selector.view != View::messages || selector.context;
  query.order_by = page_order(query.view);
  query.limit = kPage;
  std::optional<Row> last;  // Whether it is its entity's newest, the next row says.
  for (;;) {
    auto rows = reader_.select(query);
    if (!rows) return rows.error();
    const bool ends = rows->size() < kPage;
    if (!ends) query.above = place_of(query.view, rows->back());
    for (Row& row : *rows) {
      if (found_before(row)) continue;
      if (last) {
        const auto done = give(*last, last->values[0] != row.values[0]);
        if (!done || *done) return done;
      }
      last = std::move(row);
    }
    if (ends) break;
  }
  return last ? give(*last, true) : Result<bool>{false};
}

Result<bool> CutFacts::visit(const Selector& selector, const Visit& enough) {
  const auto about = looks_about(selector.view);
  if (!about) return about.error();
  std::vector<Look> looks;
  for (const Look& keys : looks_by_key(selector)) {
    for (const Filters& ours : *about) {
      looks.push_back(keys);
      looks.back().read.insert(looks.back().read.end(), ours.begin(), ours.end());
    }
  }
  for (std::size_t number = 0; number < looks.size(); ++number) {
    const auto done = walk(selector, looks, number, enough);
    if (!done || *done) return done;
  }
  return false;
}

Result<std::int64_t> CutFacts::count(const Selector& selector) {
  std::int64_t counted = 0;
  const Visit every = [&counted](const RowNow& /*now*/) {
    ++counted;
    return false;
  };
  const auto visited = visit(selector, every);
  if (!visited) return visited.error();
  return counted;
}

Result<bool> CutFacts::any(const Selector& selector, const std::function<bool(const RowNow&)>& fits) {
  return visit(selector, fits);
}

}  // namespace varve
