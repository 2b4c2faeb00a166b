#include "projections/sqlite_search.h"

#include <optional>

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

constexpr const char* kInsert = "INSERT INTO message_words (rowid, agent, words) VALUES (?, ?, ?)";

Status add_words(sqlite::Statement& statement, std::int64_t rowid, std::string_view agent_id,
                 const std::string& words) {
  statement.bind(1, rowid).bind_text(2, agent_token(agent_id)).bind_text(3, words);
  return statement.run();
}

// The newest row that is indexed; nothing if the index was made by another version of kSearchVersion.
Result<std::optional<std::int64_t>> indexed_until(SqliteConnection& connection) {
  const auto prepared = connection.statement("SELECT indexed FROM search_index WHERE version = ?");
  if (!prepared) return prepared.error();
  (*prepared)->bind(1, kSearchVersion);
  const auto found = (*prepared)->step();
  std::optional<std::int64_t> until;
  if (found && *found) until = (*prepared)->integer(0);
  (*prepared)->reset();
  if (!found) return found.error();
  return until;
}

// Indexes the messages behind row `from` and remembers up to where.
Status add_messages(SqliteConnection& connection, std::int64_t from) {
  const auto prepared = connection.statement(
      "SELECT rowid, agent_id, role, content FROM messages WHERE rowid > ? ORDER BY rowid");
  if (!prepared) return prepared.error();
  sqlite::Statement& message = **prepared;
  // Not INSERT .. SELECT: that begins a savepoint of its own.
  const auto insert = connection.statement(kInsert);
  if (!insert) return insert.error();
  message.bind(1, from);
  std::int64_t last = from;
  Status status = ok();
  while (status) {
    const auto row = message.step();
    if (!row) return row.error();
    if (!*row) break;
    last = message.integer(0);
    const std::string words = message_words(message.text(2), std::string{message.text(3)});
    if (!words.empty()) status = add_words(**insert, last, message.text(1), words);
  }
  message.reset();
  if (!status) return status;
  const auto remember = connection.statement("UPDATE search_index SET version = ?, indexed = ?");
  if (!remember) return remember.error();
  (*remember)->bind(1, kSearchVersion).bind(2, last);
  return (*remember)->run();
}

Status fill(SqliteConnection& connection) {
  if (const auto emptied = connection.run("INSERT INTO message_words (message_words) VALUES ('delete-all')");
      !emptied) {
    return emptied;
  }
  return add_messages(connection, 0);
}

// What is asked for but for the words; `hint` keeps SQLite from using an index of messages.
void add_conditions(SqlQuery& sql, const SearchQuery& search, const char* hint) {
  if (search.agent_id) {
    sql.text.append(" AND ").append(hint).append("message.agent_id = ?");
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
  if (search.cut) add_cut(sql, "message.", *search.cut, false);
  sql.text += " AND EXISTS (SELECT 1 FROM agents WHERE agents.id = message.agent_id AND importing = 0";
  if (search.cut) {
    add_cut(sql, "agents.", *search.cut, true);
  } else {
    sql.text += " AND agents.to_offset IS NULL";
  }
  sql.text +=
      ") AND NOT EXISTS (SELECT 1 FROM messages AS newer WHERE newer.id = message.id "
      "AND (newer.from_offset, newer.from_ordinal) > (message.from_offset, message.from_ordinal)";
  if (search.cut) add_cut(sql, "newer.", *search.cut, false);
  sql.text += ")";
}

// The rows whose rowids `sql` selects.
void select_rows(SqlQuery& sql) {
  sql.text = "SELECT " + select_columns(View::messages) + " FROM messages WHERE rowid IN (" + sql.text + ")";
  sql.text.append(kNewestFirst);
}

}  // namespace

Status index_waiting_messages(SqliteConnection& connection, std::int64_t waiting_max) {
  const auto prepared = connection.statement(
      "SELECT indexed, (SELECT coalesce(max(rowid), 0) FROM messages) FROM search_index");
  if (!prepared) return prepared.error();
  const auto found = (*prepared)->step();
  const std::int64_t indexed = found && *found ? (*prepared)->integer(0) : 0;
  const std::int64_t newest = found && *found ? (*prepared)->integer(1) : 0;
  (*prepared)->reset();
  if (!found) return found.error();
  // Nothing is ever deleted from messages: rows are numbered without gaps.
  if (newest - indexed <= waiting_max) return ok();
  return add_messages(connection, indexed);
}

Status bring_search_index_up_to_date(SqliteConnection& connection) {
  const auto before = indexed_until(connection);
  if (!before) return before.error();
  if (const auto begun = connection.run("BEGIN IMMEDIATE"); !begun) return begun;
  const auto status = *before ? add_messages(connection, **before) : fill(connection);
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
  add_conditions(sql, search, "");
  sql.text.append(kNewestFirst).append(" LIMIT ?");
  sql.parameters.emplace_back(static_cast<std::int64_t>(search.limit));
  select_rows(sql);
  return sql;
}

SqlQuery waiting_sql(const SearchQuery& search) {
  SqlQuery sql;
  sql.text =
      "SELECT message.rowid FROM messages AS message WHERE message.rowid > (SELECT indexed FROM "
      "search_index)";
  add_conditions(sql, search, "+");
  select_rows(sql);
  return sql;
}

}  // namespace varve
