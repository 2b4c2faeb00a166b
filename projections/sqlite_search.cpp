#include "projections/sqlite_search.h"

#include "projections/search_terms.h"
#include "runtime/check.h"

namespace varve {

namespace {

constexpr std::string_view kNewestFirst =
    " ORDER BY from_at DESC, from_offset DESC, from_ordinal DESC, from_partition DESC";

// An agent's id as one token, so that the index itself narrows to the agent. Ids that differ only in case and
// punctuation share a token: the query compares the ids besides.
std::string agent_token(std::string_view agent_id) {
  std::string token = search_words(agent_id);
  std::erase(token, ' ');
  return token;
}

// Phrases hold nothing that FTS5 would read as syntax: search_terms leaves letters, digits and bytes beyond
// ASCII.
std::string match_of(const SearchQuery& search, const std::vector<std::string>& phrases) {
  std::string match;
  if (search.agent_id) {
    const std::string token = agent_token(*search.agent_id);
    if (!token.empty()) match = "agent : \"" + token + "\" AND ";
  }
  match += "words : (";
  for (std::size_t i = 0; i < phrases.size(); ++i)
    match.append(i == 0 ? "\"" : " AND \"").append(phrases[i]).append("\"");
  return match + ")";
}

Status add_words(sqlite::Statement& statement, const std::string& agent_id, const std::string& words) {
  statement.bind_text(1, agent_token(agent_id)).bind_text(2, words);
  return statement.run();
}

Result<bool> is_up_to_date(SqliteConnection& connection) {
  const auto prepared = connection.statement("SELECT version FROM search_index");
  if (!prepared) return prepared.error();
  const auto found = (*prepared)->step();
  const bool same = found && *found && (*prepared)->integer(0) == kSearchVersion;
  (*prepared)->reset();
  if (!found) return found.error();
  return same;
}

Status fill(SqliteConnection& connection) {
  if (const auto emptied = connection.run("INSERT INTO message_words (message_words) VALUES ('delete-all')");
      !emptied) {
    return emptied;
  }
  auto messages =
      connection.db().prepare("SELECT rowid, agent_id, role, content FROM messages ORDER BY rowid");
  if (!messages) return messages.error();
  auto insert = connection.db().prepare("INSERT INTO message_words (agent, words, rowid) VALUES (?, ?, ?)");
  if (!insert) return insert.error();
  for (;;) {
    const auto row = messages->step();
    if (!row) return row.error();
    if (!*row) break;
    const std::string words = message_words(messages->text(2), std::string{messages->text(3)});
    if (words.empty()) continue;
    insert->bind(3, messages->integer(0));
    if (const auto done = add_words(*insert, std::string{messages->text(1)}, words); !done) return done;
  }
  const auto remember = connection.statement("UPDATE search_index SET version = ?");
  if (!remember) return remember.error();
  (*remember)->bind(1, kSearchVersion);
  return (*remember)->run();
}

}  // namespace

Status index_message(SqliteConnection& connection, const Row& message) {
  const std::string words = message_words(message.text(messages::role), message.text(messages::content));
  if (words.empty()) return ok();
  const auto insert = connection.statement(
      "INSERT INTO message_words (agent, words, rowid) VALUES (?, ?, last_insert_rowid())");
  if (!insert) return insert.error();
  return add_words(**insert, message.text(messages::agent_id), words);
}

Status bring_search_index_up_to_date(SqliteConnection& connection) {
  const auto before = is_up_to_date(connection);
  if (!before) return before.error();
  if (*before) return ok();
  if (const auto begun = connection.run("BEGIN IMMEDIATE"); !begun) return begun;
  const auto status = fill(connection);
  const auto ended = connection.run(status ? "COMMIT" : "ROLLBACK");
  return status ? ended : status;
}

SqlQuery search_sql(const SearchQuery& search, const std::vector<std::string>& phrases) {
  CHECK(!phrases.empty());
  SqlQuery sql;
  // CROSS JOIN: SQLite is not to walk the messages of an agent and ask the index about each.
  sql.text =
      "SELECT message.rowid FROM message_words CROSS JOIN messages AS message "
      "ON message.rowid = message_words.rowid WHERE message_words MATCH ?";
  sql.parameters.emplace_back(match_of(search, phrases));
  if (search.agent_id) {
    sql.text += " AND agent_id = ?";
    sql.parameters.emplace_back(*search.agent_id);
  }
  if (!search.roles.empty()) {
    sql.text += " AND role IN (";
    for (std::size_t i = 0; i < search.roles.size(); ++i) {
      sql.text += i == 0 ? "?" : ", ?";
      sql.parameters.emplace_back(search.roles[i]);
    }
    sql.text += ")";
  }
  if (search.start_at) {
    sql.text += " AND created_at >= ?";
    sql.parameters.emplace_back(*search.start_at);
  }
  if (search.end_at) {
    sql.text += " AND created_at <= ?";
    sql.parameters.emplace_back(*search.end_at);
  }
  sql.text +=
      " AND EXISTS (SELECT 1 FROM agents WHERE agents.id = message.agent_id AND agents.to_offset IS NULL "
      "AND importing = 0)"
      " AND NOT EXISTS (SELECT 1 FROM messages AS newer WHERE newer.id = message.id "
      "AND (newer.from_offset, newer.from_ordinal) > (message.from_offset, message.from_ordinal))";
  sql.text.append(kNewestFirst).append(" LIMIT ?");
  sql.parameters.emplace_back(static_cast<std::int64_t>(search.limit));
  sql.text = "SELECT " + select_columns(View::messages) + " FROM messages WHERE rowid IN (" + sql.text + ")";
  sql.text.append(kNewestFirst);
  return sql;
}

}  // namespace varve
