#include "projections/postgres_process_table.h"

namespace varve {
namespace {

// Rows of the dead. Two processes that forget at once pass over each other's.
constexpr const char* kKeep =
    "WITH dead AS (DELETE FROM processes WHERE node IN (SELECT node FROM processes WHERE seen_at < now() - "
    "interval '1 hour' FOR UPDATE SKIP LOCKED)) "
    "INSERT INTO processes (node, cluster, url, roles, started_at, seen_at) VALUES ($1, $2, $3, $4, now(), "
    "now()) ON CONFLICT (node) DO UPDATE SET url = excluded.url, roles = excluded.roles, seen_at = now()";
constexpr const char* kSeen =
    "SELECT node, url, roles, floor(extract(epoch FROM greatest(now() - seen_at, interval '0')))::bigint "
    "FROM processes WHERE cluster = $1 AND seen_at > now() - $2::bigint * interval '1 second' ORDER BY node";

std::string joined(const std::vector<std::string>& roles) {
  std::string text;
  for (const std::string& role : roles) text += (text.empty() ? "" : ",") + role;
  return text;
}

std::vector<std::string> parted(std::string_view text) {
  std::vector<std::string> roles;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    roles.emplace_back(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
  }
  return roles;
}

Task<> write(PostgresPool& pool, std::string sql, PostgresParams parameters) {
  std::function<Result<Unit>(PostgresSession&)> job = [sql, parameters](PostgresSession& session) {
    const auto written = session.write(sql, parameters);
    return written ? Result<Unit>{Unit{}} : Result<Unit>{written.error()};
  };
  const PostgresUse how{Lane::read, pool.options().answer};
  co_return co_await pool.run<Unit>(how, std::move(job));
}

}  // namespace

Task<> PostgresProcessTable::keep(ProcessSelf self) {
  PostgresParams parameters{self.node, self.cluster, self.url, joined(self.roles)};
  co_return co_await write(pool_, kKeep, std::move(parameters));
}

Task<> PostgresProcessTable::leave(std::string node) {
  PostgresParams parameters{node};
  co_return co_await write(pool_, "DELETE FROM processes WHERE node = $1", std::move(parameters));
}

Task<std::vector<ProcessSeen>> PostgresProcessTable::seen(std::string cluster) {
  const auto life = std::chrono::duration_cast<std::chrono::seconds>(kProcessLife).count();
  PostgresParams parameters{cluster, std::to_string(life)};
  std::function<Result<std::vector<ProcessSeen>>(PostgresSession&)> job =
      [parameters](PostgresSession& session) -> Result<std::vector<ProcessSeen>> {
    const auto rows = session.ask(kSeen, parameters);
    if (!rows) return rows.error();
    std::vector<ProcessSeen> seen;
    for (std::size_t row = 0; row < rows->size(); ++row) {
      seen.push_back({std::string{rows->text(row, 0)}, std::string{rows->text(row, 1)},
                      parted(rows->text(row, 2)), rows->integer(row, 3)});
    }
    return seen;
  };
  const PostgresUse how{Lane::read, pool_.options().answer};
  co_return co_await pool_.run<std::vector<ProcessSeen>>(how, std::move(job));
}

}  // namespace varve
