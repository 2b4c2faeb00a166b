#include "projections/postgres_search.h"

#include <algorithm>

#include "projections/postgres_query.h"
#include "projections/search_terms.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "runtime/utf8.h"

namespace varve {

namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

// No word of a message looks like it. Agents may share a token: the query compares the ids besides.
std::string agent_token(std::string_view agent_id) {
  std::string token = "@";
  const std::uint64_t hash = xxh64(agent_id);
  for (unsigned shift = 64; shift > 0; shift -= 4) token += kHexDigits[(hash >> (shift - 4)) & 15U];
  return token;
}

// As a tsquery reads it: nothing in quotes is an operator, and no word and no token holds a quote or a
// backslash.
void add_lexeme(std::string& query, std::string_view lexeme) {
  CHECK(lexeme.find_first_of("'\\") == std::string_view::npos);
  query.append(query.empty() ? "'" : " & '").append(lexeme).append("'");
}

std::string match_of(const SearchQuery& search, const std::vector<std::string>& phrases) {
  std::string query;
  if (search.agent_id) add_lexeme(query, agent_token(*search.agent_id));
  for (const std::string& phrase : phrases) {
    std::string_view rest = phrase;
    while (!rest.empty()) {
      const std::string_view word = rest.substr(0, rest.find(' '));
      add_lexeme(query, word);
      rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    }
  }
  return query;
}

void add_conditions(PostgresStatement& sql, const ViewTables& tables, const SearchQuery& search) {
  PostgresParameters& parameters = sql.parameters;
  if (search.agent_id) sql.text += " AND message.agent_id = " + parameters.add(*search.agent_id);
  if (!search.roles.empty()) {
    ArrayParameter roles{ColumnType::text};
    for (const std::string& role : search.roles) {
      if (is_text(role)) roles.add(role);
    }
    sql.text += " AND message.role = ANY(" + parameters.add(std::move(roles)) + ")";
  }
  if (search.start_at) sql.text += " AND message.created_at >= " + parameters.add(*search.start_at);
  if (search.end_at) sql.text += " AND message.created_at <= " + parameters.add(*search.end_at);
  if (search.cut) add_postgres_cut(sql, "message.", *search.cut, false);
  sql.text += " AND EXISTS (SELECT 1 FROM " + tables.of(View::agents) +
              " AS agent WHERE agent.id = message.agent_id AND agent.importing = 0";
  if (search.cut) {
    add_postgres_cut(sql, "agent.", *search.cut, true);
  } else {
    sql.text += " AND agent.to_offset IS NULL";
  }
  sql.text += ") AND NOT EXISTS (SELECT 1 FROM " + tables.of(View::messages) +
              " AS newer WHERE newer.id = message.id AND "
              "(newer.from_offset, newer.from_ordinal) > (message.from_offset, message.from_ordinal)";
  if (search.cut) add_postgres_cut(sql, "newer.", *search.cut, false);
  sql.text += ")";
}

}  // namespace

std::optional<std::string> postgres_lexemes(const Row& message) {
  return postgres_lexemes(message.text(messages::agent_id), message.text(messages::role),
                          message.text(messages::content));
}

std::optional<std::string> postgres_lexemes(std::string_view agent_id, std::string_view role,
                                            std::string_view content) {
  const std::string words = message_words(role, std::string{content});
  if (words.empty()) return std::nullopt;
  return agent_token(agent_id) + " " + words;
}

std::string postgres_words_of(const std::string& lexemes) {
  return "array_to_tsvector(string_to_array(" + lexemes + ", ' '))";
}

PostgresStatement postgres_search(const ViewTables& tables, const SearchQuery& search,
                                  const std::vector<std::string>& phrases,
                                  const std::optional<SearchPlace>& behind, std::size_t limit) {
  CHECK(!phrases.empty());
  PostgresStatement sql;
  if (!std::all_of(phrases.begin(), phrases.end(), is_text) || !is_text(search.agent_id.value_or(""))) {
    // No message holds that, nobody is called that.
    sql.text =
        "SELECT " + postgres_columns(View::messages) + " FROM " + tables.of(View::messages) + " WHERE FALSE";
    return sql;
  }
  PostgresParameters& parameters = sql.parameters;
  sql.text = "SELECT " + postgres_columns(View::messages) + " FROM " + tables.of(View::messages) +
             " AS message WHERE message.words @@ CAST(" + parameters.add(match_of(search, phrases)) +
             " AS tsquery)";
  add_conditions(sql, tables, search);
  if (behind) {
    sql.text += " AND (from_at, from_offset, from_ordinal, from_partition) < (" +
                parameters.add(behind->at.value()) + ", " +
                parameters.add(static_cast<std::int64_t>(behind->offset.value())) + ", " +
                parameters.add(behind->ordinal) + ", " +
                parameters.add(std::int64_t{behind->partition.value()}) + ")";
  }
  sql.text += " ORDER BY from_at DESC, from_offset DESC, from_ordinal DESC, from_partition DESC LIMIT " +
              parameters.add(static_cast<std::int64_t>(limit));
  return sql;
}

bool are_single_words(const std::vector<std::string>& phrases) {
  return std::none_of(phrases.begin(), phrases.end(),
                      [](const std::string& phrase) { return phrase.find(' ') != std::string::npos; });
}

}  // namespace varve
