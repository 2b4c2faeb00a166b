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

constexpr const char* kInsert = "INSERT INTO message_words (rowid, agent, words) VALUES (?, ?, ?)";

Status add_words(sqlite::Statement& statement, std::int64_t rowid, std::string_view agent_id,
                 const std::string& words) {
  statement.bind(1, rowid).bind_text(2, agent_token(agent_id)).bind_text(3, words);
  return statement.run();
}

Result<std::int64_t> rowid_of(SqliteConnection& connection, const Row& message) {
  const auto prepared = connection.statement(
      "SELECT rowid FROM messages WHERE id = ? AND from_offset = ? AND from_ordinal = ? AND from_partition = "
      "?");
  if (!prepared) return prepared.error();
  sqlite::Statement& statement = **prepared;
  statement.bind_text(1, message.text(messages::id))
      .bind(2, static_cast<std::int64_t>(message.from.offset.value()))
      .bind(3, message.from.ordinal)
      .bind(4, message.from.partition.value());
  const auto found = statement.step();
  const std::int64_t rowid = found && *found ? statement.integer(0) : 0;
  statement.reset();
  if (!found) return found.error();
  CHECK(*found);  // It was inserted in this transaction.
  return rowid;
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
  auto insert = connection.db().prepare(kInsert);
  if (!insert) return insert.error();
  for (;;) {
    const auto row = messages->step();
    if (!row) return row.error();
    if (!*row) break;
    const std::string words = message_words(messages->text(2), std::string{messages->text(3)});
    if (words.empty()) continue;
    if (const auto done = add_words(*insert, messages->integer(0), messages->text(1), words); !done)
      return done;
  }
  const auto remember = connection.statement("UPDATE search_index SET version = ?");
  if (!remember) return remember.error();
  (*remember)->bind(1, kSearchVersion);
  return (*remember)->run();
}

}  // namespace

Status index_messages(SqliteConnection& connection, const Batch& batch) {
  for (const RowChange& change : batch.changes) {
    const auto* inserted = std::get_if<RowInsert>(&change);
    if (inserted == nullptr || inserted->view != View::messages) continue;
    const Row& message = inserted->row;
    const std::string words = message_words(message.text(messages::role), message.text(messages::content));
    if (words.empty()) continue;
    const auto rowid = rowid_of(connection, message);
    if (!rowid) return rowid.error();
    // Not INSERT .. SELECT: that begins a savepoint of its own.
    const auto insert = connection.statement(kInsert);
    if (!insert) return insert.error();
    if (const auto done = add_words(**insert, *rowid, message.text(messages::agent_id), words); !done) {
      return done;
    }
  }
  return ok();
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
