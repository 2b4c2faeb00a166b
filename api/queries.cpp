#include "api/queries.h"

#include "api/more_queries.h"

#include <algorithm>
#include <map>
#include <set>

namespace varve {
namespace {

constexpr std::int64_t kPageMax = 10'000;

Filter equal(std::size_t column, std::string value) {
  return {static_cast<int>(column), Filter::Op::equal, {Value{std::move(value)}}};
}

Filter contains(std::size_t column, std::string value) {
  return {static_cast<int>(column), Filter::Op::contains, {Value{std::move(value)}}};
}

Filter one_of(std::size_t column, const std::vector<std::string>& values) {
  Filter filter{static_cast<int>(column), Filter::Op::one_of, {}};
  for (const std::string& value : values) filter.values.emplace_back(value);
  return filter;
}

// Agents that are being imported are nobody's business, nor are the blocks that were born with them.
Filter is_whole() {
  return {static_cast<int>(agents::importing), Filter::Op::equal, {Value{std::int64_t{0}}}};
}

Query open_rows(View view, Filter filter) {
  Query query;
  query.view = view;
  query.where.push_back(std::move(filter));
  return query;
}

std::size_t row_limit(std::int64_t limit) {
  return static_cast<std::size_t>(limit == 0 ? kPageMax : std::min(limit, kPageMax));
}

Result<std::optional<Row>> first_row(ViewReader& reader, Query query) {
  query.limit = 1;
  auto rows = reader.select(query);
  if (!rows) return rows.error();
  if (rows->empty()) return std::optional<Row>{};
  return std::optional<Row>{std::move(rows->front())};
}

// The place of a row in an order, as a bound.
std::vector<Value> place_in(const Row& row, const std::vector<int>& order_by) {
  std::vector<Value> place;
  for (const int column : order_by) {
    if (column == kFromOffset) {
      place.emplace_back(static_cast<std::int64_t>(row.from.offset.value()));
    } else if (column == kFromOrdinal) {
      place.emplace_back(row.from.ordinal);
    } else {
      place.push_back(row.values[static_cast<std::size_t>(column)]);
    }
  }
  return place;
}

// `after` and `before` of a list whose cursors follow the asked order; an unknown id is ignored.
Status bound_by_cursors(ViewReader& reader, const Page& page, std::size_t id_column, Query& query) {
  query.descending = page.descending;
  const auto bound = [&](const std::optional<std::string>& id, bool lower) -> Status {
    if (!id) return ok();
    auto row = first_row(reader, open_rows(query.view, equal(id_column, *id)));
    if (!row) return row.error();
    if (*row) (lower ? query.above : query.below) = place_in(**row, query.order_by);
    return ok();
  };
  if (Status done = bound(page.after, !page.descending); !done) return done;
  return bound(page.before, page.descending);
}

// Selects a page, newest rows of a descending list first. With only `before`, the rows next to the cursor are
// those at the far end of the order: as the archived server, the page starts from the order's beginning.
Result<std::vector<Row>> select_page(ViewReader& reader, Query& query, const Page& page) {
  query.limit = row_limit(page.limit);
  return reader.select(query);
}

Result<AgentParts> parts_of(ViewReader& reader, Row agent, const Relationships& include) {
  AgentParts parts;
  const std::string id = agent.text(agents::id);
  parts.agent = std::move(agent);
  auto activity = first_row(reader, open_rows(View::agent_activity, equal(agent_activity::agent_id, id)));
  if (!activity) return activity.error();
  parts.activity = std::move(*activity);
  if (include.blocks) {
    auto blocks = attached_blocks(reader, id);
    if (!blocks) return blocks.error();
    parts.blocks = std::move(*blocks);
  }
  Query in_context = open_rows(View::messages, equal(messages::agent_id, id));
  in_context.order_by = {kFromOffset, kFromOrdinal};
  auto rows = reader.select(in_context);
  if (!rows) return rows.error();
  for (const Row& row : *rows) parts.message_ids.push_back(row.text(messages::id));
  // A summary stands for what came before everything else that is there.
  if (!rows->empty()) {
    std::vector<std::string> ordered{parts.message_ids.front()};
    for (const bool summaries : {true, false}) {
      for (std::size_t i = 1; i < rows->size(); ++i) {
        const bool summary = (*rows)[i].text(messages::role) == "summary";
        if (summary == summaries) ordered.push_back(parts.message_ids[i]);
      }
    }
    parts.message_ids = std::move(ordered);
    const Row& last = rows->back();
    if (last.integer(messages::is_approval_request) != 0) parts.pending_approval = last;
  }
  if (include.tools) {
    auto tools = tools_of(reader, parts.agent.text(agents::tools));
    if (!tools) return tools.error();
    parts.tools = std::move(*tools);
  }
  return parts;
}

// Ids of the agents that have the tags; sorted.
Result<std::vector<std::string>> tagged_agents(ViewReader& reader, const AgentFilter& filter) {
  auto rows = reader.select(open_rows(View::tags, one_of(tags::tag, filter.tags)));
  if (!rows) return rows.error();
  std::map<std::string, std::size_t> counts;
  for (const Row& row : *rows) ++counts[row.text(tags::agent_id)];
  const std::size_t wanted =
      filter.match_all_tags ? std::set<std::string>(filter.tags.begin(), filter.tags.end()).size() : 1;
  std::vector<std::string> ids;
  for (const auto& [id, count] : counts) {
    if (count >= wanted) ids.push_back(id);
  }
  return ids;
}

Result<std::set<std::string>> hidden_blocks(ViewReader& reader) {
  std::set<std::string> hidden;
  const Filter importing{static_cast<int>(agents::importing), Filter::Op::equal, {Value{std::int64_t{1}}}};
  auto rows = reader.select(open_rows(View::agents, importing));
  if (!rows) return rows.error();
  if (rows->empty()) return hidden;
  std::vector<std::string> ids;
  for (const Row& row : *rows) ids.push_back(row.text(agents::id));
  auto attached = reader.select(open_rows(View::attachments, one_of(attachments::agent_id, ids)));
  if (!attached) return attached.error();
  for (const Row& row : *attached) hidden.insert(row.text(attachments::block_id));
  return hidden;
}

Result<bool> is_hidden_block(ViewReader& reader, const std::string& id) {
  if (!reader.is_past()) {  // An index has the few agents that are being imported now.
    auto hidden = hidden_blocks(reader);
    if (!hidden) return hidden.error();
    return hidden->contains(id);
  }
  auto attached = reader.select(open_rows(View::attachments, equal(attachments::block_id, id)));
  if (!attached) return attached.error();
  for (const Row& row : *attached) {
    auto agent =
        first_row(reader, open_rows(View::agents, equal(agents::id, row.text(attachments::agent_id))));
    if (!agent) return agent.error();
    if (*agent && (*agent)->integer(agents::importing) == agents::kImporting) return true;
  }
  return false;
}

// The blocks of these ids that there are.
Result<std::vector<Row>> blocks_with_ids(ViewReader& reader, const std::vector<std::string>& ids) {
  if (!reader.is_past()) return reader.select(open_rows(View::blocks, one_of(blocks::id, ids)));
  // One by one: of a block that has been changed often only the newest version is looked at.
  std::vector<Row> rows;
  for (const std::string& id : ids) {
    auto row = first_row(reader, open_rows(View::blocks, equal(blocks::id, id)));
    if (!row) return row.error();
    if (*row) rows.push_back(std::move(**row));
  }
  return rows;
}

}  // namespace

Result<std::optional<AgentParts>> find_agent(ViewReader& reader, const std::string& id,
                                             const Relationships& include) {
  Query query = open_rows(View::agents, equal(agents::id, id));
  query.where.push_back(is_whole());
  auto row = first_row(reader, std::move(query));
  if (!row) return row.error();
  if (!*row) return std::optional<AgentParts>{};
  auto parts = parts_of(reader, std::move(**row), include);
  if (!parts) return parts.error();
  return std::optional<AgentParts>{std::move(*parts)};
}

Result<std::optional<Row>> find_block(ViewReader& reader, const std::string& id) {
  auto hidden = is_hidden_block(reader, id);
  if (!hidden) return hidden.error();
  if (*hidden) return std::optional<Row>{};
  return first_row(reader, open_rows(View::blocks, equal(blocks::id, id)));
}

Result<bool> agent_exists(ViewReader& reader, const std::string& id) {
  Query query = open_rows(View::agents, equal(agents::id, id));
  query.where.push_back(is_whole());
  auto row = first_row(reader, std::move(query));
  if (!row) return row.error();
  return row->has_value();
}

Result<std::optional<std::string>> find_gone(ViewReader& reader, const std::string& id) {
  auto row = first_row(reader, open_rows(View::agents, equal(agents::id, id)));
  if (!row) return row.error();
  return *row ? gone_of(**row) : std::optional<std::string>{};
}

Result<std::vector<Row>> attached_blocks(ViewReader& reader, const std::string& agent_id) {
  Query query = open_rows(View::attachments, equal(attachments::agent_id, agent_id));
  query.order_by = {kFromOffset, kFromOrdinal};
  auto attached = reader.select(query);
  if (!attached) return attached.error();
  std::vector<Row> found;
  if (attached->empty()) return found;
  std::vector<std::string> ids;
  for (const Row& row : *attached) ids.push_back(row.text(attachments::block_id));
  auto rows = blocks_with_ids(reader, ids);
  if (!rows) return rows.error();
  for (const std::string& id : ids) {
    for (Row& row : *rows) {
      if (row.text(blocks::id) == id) found.push_back(row);
    }
  }
  return found;
}

// The agents that a filter lets through, unbounded.
static Result<Query> filtered_agents(ViewReader& reader, const AgentFilter& filter) {
  Query query;
  query.view = View::agents;
  query.where.push_back(is_whole());
  if (filter.name) query.where.push_back(equal(agents::name, *filter.name));
  if (filter.query_text) query.where.push_back(contains(agents::name, *filter.query_text));
  if (filter.ids) query.where.push_back(one_of(agents::id, *filter.ids));
  if (!filter.tags.empty()) {
    auto ids = tagged_agents(reader, filter);
    if (!ids) return ids.error();
    query.where.push_back(one_of(agents::id, *ids));
  }
  if (filter.last_stop_reason) {
    Query ended =
        open_rows(View::agent_activity, equal(agent_activity::last_stop_reason, *filter.last_stop_reason));
    ended.limit = kRowsPerQueryMax;
    auto rows = reader.select(ended);
    if (!rows) return rows.error();
    std::vector<std::string> ids;
    for (const Row& row : *rows) ids.push_back(row.text(agent_activity::agent_id));
    query.where.push_back(one_of(agents::id, ids));
  }
  return query;
}

Result<std::int64_t> count_agents(ViewReader& reader, const AgentFilter& filter) {
  auto query = filtered_agents(reader, filter);
  if (!query) return query.error();
  return reader.count(*query);
}

Parsed<AgentFilter> agent_filter(const Target& target) {
  AgentFilter filter;
  filter.name = query_value(target, "name");
  filter.query_text = query_value(target, "query_text");
  filter.last_stop_reason = query_value(target, "last_stop_reason");
  filter.tags = query_values(target, "tags");
  filter.match_all_tags = query_value(target, "match_all_tags").value_or("false") == "true";
  const std::string order_by = query_value(target, "order_by").value_or("created_at");
  if (order_by != "created_at" && order_by != "updated_at") {
    return {std::nullopt,
            {422, "query.order_by: expected 'created_at' or 'updated_at', got '" + order_by + "'"}};
  }
  filter.by_update = order_by == "updated_at";
  return {std::move(filter), {}};
}

Result<std::vector<AgentParts>> list_agents(ViewReader& reader, const Page& page, const AgentFilter& filter,
                                            const Relationships& include) {
  auto filtered = filtered_agents(reader, filter);
  if (!filtered) return filtered.error();
  Query& query = *filtered;
  const int time = static_cast<int>(filter.by_update ? agents::updated_at : agents::created_at);
  query.order_by = {time, static_cast<int>(agents::id)};
  if (Status bounded = bound_by_cursors(reader, page, agents::id, query); !bounded) return bounded.error();
  auto rows = select_page(reader, query, page);
  if (!rows) return rows.error();
  std::vector<AgentParts> found;
  for (Row& row : *rows) {
    auto parts = parts_of(reader, std::move(row), include);
    if (!parts) return parts.error();
    found.push_back(std::move(*parts));
  }
  return found;
}

BlockFilter block_filter(const Target& target) {
  BlockFilter filter;
  filter.label = query_value(target, "label");
  filter.label_search = query_value(target, "label_search");
  filter.value_search = query_value(target, "value_search");
  filter.description_search = query_value(target, "description_search");
  return filter;
}

static Query filtered_blocks(const BlockFilter& filter) {
  Query query;
  query.view = View::blocks;
  if (filter.label) query.where.push_back(equal(blocks::label, *filter.label));
  if (filter.label_search) query.where.push_back(contains(blocks::label, *filter.label_search));
  if (filter.value_search) query.where.push_back(contains(blocks::value, *filter.value_search));
  if (filter.description_search)
    query.where.push_back(contains(blocks::description, *filter.description_search));
  return query;
}

Result<std::int64_t> count_blocks(ViewReader& reader, const BlockFilter& filter) {
  auto hidden = hidden_blocks(reader);
  if (!hidden) return hidden.error();
  auto count = reader.count(filtered_blocks(filter));
  if (!count || hidden->empty()) return count;
  Query of_imports = filtered_blocks(filter);
  of_imports.where.push_back(one_of(blocks::id, std::vector<std::string>(hidden->begin(), hidden->end())));
  auto unseen = reader.count(of_imports);
  if (!unseen) return unseen.error();
  return *count - *unseen;
}

Result<std::vector<Row>> list_blocks(ViewReader& reader, const Page& page, const BlockFilter& filter) {
  Query query = filtered_blocks(filter);
  query.order_by = {static_cast<int>(blocks::created_at), static_cast<int>(blocks::id)};
  if (Status bounded = bound_by_cursors(reader, page, blocks::id, query); !bounded) return bounded.error();
  auto hidden = hidden_blocks(reader);
  if (!hidden) return hidden.error();
  if (hidden->empty()) return select_page(reader, query, page);
  // So many more, that the page is full without them.
  const std::size_t wanted = row_limit(page.limit);
  Page wider = page;
  wider.limit = static_cast<std::int64_t>(std::min(wanted + hidden->size(), kRowsPerQueryMax));
  auto rows = select_page(reader, query, wider);
  if (!rows) return rows.error();
  std::erase_if(*rows, [&](const Row& row) { return hidden->contains(row.text(blocks::id)); });
  if (rows->size() > wanted) rows->erase(rows->begin() + static_cast<std::ptrdiff_t>(wanted), rows->end());
  return std::move(*rows);
}

Result<std::vector<Row>> list_messages(ViewReader& reader, const std::string& agent_id, const Page& page) {
  std::vector<Row> rows;
  Query query = {};
  query.view = View::messages;
  query.open_only = false;  // Also what has left the context.
  query.where.push_back(equal(messages::agent_id, agent_id));
  query.order_by = {kFromOffset, kFromOrdinal};
  query.descending = page.descending;
  for (const bool lower : {true, false}) {
    const auto& cursor = lower ? page.after : page.before;
    if (!cursor) continue;
    Query by_id = open_rows(View::messages, equal(messages::id, *cursor));
    by_id.open_only = false;
    auto row = first_row(reader, std::move(by_id));
    if (!row) return row.error();
    if (!*row) {
      return Error{Errc::not_found,
                   "No message found with id '" + *cursor + "' for agent '" + agent_id + "'."};
    }
    // A message of another agent has no place in this list; its time has.
    if ((*row)->text(messages::agent_id) != agent_id) {
      query.order_by = {static_cast<int>(messages::created_at), kFromOffset, kFromOrdinal};
    }
    (lower ? query.above : query.below) = place_in(**row, query.order_by);
  }
  // Both bounds in the same terms.
  for (auto* bound : {&query.above, &query.below}) {
    if (*bound && (*bound)->size() != query.order_by.size()) return rows;
  }
  if (page.limit == 0) return rows;
  query.limit = row_limit(page.limit);
  auto selected = reader.select(query);
  if (!selected) return selected.error();
  rows = std::move(*selected);
  if (page.descending) std::reverse(rows.begin(), rows.end());
  return rows;
}

Result<std::optional<RunParts>> find_run(ViewReader& reader, const std::string& run_id) {
  auto run = first_row(reader, open_rows(View::runs, equal(runs::id, run_id)));
  if (!run) return run.error();
  if (!*run) return std::optional<RunParts>{};
  RunParts parts{std::move(**run), {}, 0};
  Query last_step = open_rows(View::steps, equal(steps::run_id, run_id));
  last_step.order_by = {kFromOffset, kFromOrdinal};
  last_step.descending = true;
  auto step = first_row(reader, std::move(last_step));
  if (!step) return step.error();
  if (*step) {
    parts.context_tokens =
        (*step)->integer(steps::prompt_tokens) + (*step)->integer(steps::completion_tokens);
  }
  Query query = open_rows(View::messages, equal(messages::run_id, run_id));
  query.open_only = false;
  query.order_by = {kFromOffset, kFromOrdinal};
  auto rows = reader.select(query);
  if (!rows) return rows.error();
  // The user's own messages are not part of the answer.
  for (Row& row : *rows) {
    const std::string& role = row.text(messages::role);
    const bool sent = !row.is_null(messages::otid);
    if ((role == "assistant" && !sent) || role == "tool") parts.messages.push_back(std::move(row));
  }
  return std::optional<RunParts>{std::move(parts)};
}

}  // namespace varve
