#include "projections/memory_search.h"

#include <algorithm>
#include <tuple>

#include "projections/search_terms.h"
#include "projections/store_rules.h"

namespace varve {

namespace {

const MemoryTable& table_of(const MemoryViewStorage& storage, View view) {
  return storage.tables[static_cast<std::size_t>(view)];
}

Filter equal(std::size_t column, Value value) {
  return {static_cast<int>(column), Filter::Op::equal, {std::move(value)}};
}

bool passes(const SearchQuery& search, const Row& message) {
  const std::string& role = message.text(messages::role);
  const std::int64_t created_at = message.integer(messages::created_at);
  if (!search.roles.empty() && std::count(search.roles.begin(), search.roles.end(), role) == 0) return false;
  if (search.agent_id && message.text(messages::agent_id) != *search.agent_id) return false;
  return created_at >= search.start_at.value_or(created_at) &&
         created_at <= search.end_at.value_or(created_at);
}

// Neither deleted nor being imported.
bool is_whole(const MemoryViewStorage& storage, const Value& agent_id, const std::optional<Cut>& cut) {
  const MemoryTable& table = table_of(storage, View::agents);
  const Query same{.view = View::agents, .where = {equal(agents::id, agent_id)}};
  const std::vector<std::size_t> versions = table.candidates(same);
  return std::any_of(versions.begin(), versions.end(), [&](std::size_t number) {
    const Row& agent = table.rows()[number];
    return is_there(agent, cut) && is_open(agent, cut) && agent.integer(agents::importing) == 0;
  });
}

bool is_newest_version(const MemoryTable& table, const Row& message, const std::optional<Cut>& cut) {
  const Query same{.where = {equal(messages::id, message.values[messages::id])}, .open_only = false};
  const std::vector<std::size_t> versions = table.candidates(same);
  return std::none_of(versions.begin(), versions.end(), [&](std::size_t number) {
    const Row& version = table.rows()[number];
    const RowFrom& other = version.from;
    return is_there(version, cut) &&
           std::tie(other.offset, other.ordinal) > std::tie(message.from.offset, message.from.ordinal);
  });
}

bool is_newer(const SearchHit& left, const SearchHit& right) {
  const RowFrom& l = left.row.from;
  const RowFrom& r = right.row.from;
  return std::tie(l.at, l.offset, l.ordinal, l.partition) > std::tie(r.at, r.offset, r.ordinal, r.partition);
}

}  // namespace

std::vector<SearchHit> search_storage(const MemoryViewStorage& storage, const SearchQuery& search) {
  const std::vector<std::string> phrases = search_phrases(search.query);
  std::vector<SearchHit> hits;
  if (phrases.empty()) return hits;
  const MemoryTable& table = table_of(storage, View::messages);
  Query query{.view = View::messages, .open_only = false};
  if (search.agent_id) query.where.push_back(equal(messages::agent_id, Value{*search.agent_id}));
  for (const std::size_t number : table.candidates(query)) {
    const Row& message = table.rows()[number];
    if (!passes(search, message) || !is_there(message, search.cut)) continue;
    if (!is_whole(storage, message.values[messages::agent_id], search.cut)) continue;
    const std::string words = message_words(message.text(messages::role), message.text(messages::content));
    if (!holds_phrases(words, phrases) || !is_newest_version(table, message, search.cut)) continue;
    hits.push_back({message});
    if (is_open(message, search.cut)) hits.back().row.to.reset();
  }
  std::sort(hits.begin(), hits.end(), is_newer);
  hits.resize(std::min(hits.size(), search.limit));
  for (std::size_t i = 0; i < hits.size(); ++i) hits[i].rank = static_cast<std::int64_t>(i) + 1;
  return hits;
}

}  // namespace varve
