// varve-bench-rebuild: the two parts of the benchmark of rebuilds that Python is too slow for (rebuild.py
// drives it).
//
//   varve-bench-rebuild log --directory D --events N    a log as a busy server leaves it
//   varve-bench-rebuild raw --from VIEWS.DB --to FILE    the bound: the same rows by prepared inserts into
//   the
//                                                        same tables, then the same indexes
//
// Each prints one JSON object. Of `raw` only the writing is measured: reading the rows of VIEWS.DB and taking
// their words apart is not. The file has no journal and no sync until the last one.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "eventlog/sqlite_support.h"
#include "projections/search_terms.h"
#include "projections/sqlite_migrate.h"
#include "projections/sqlite_view_reader.h"
#include "tests/bench/measure.h"
#include "tests/bench/rebuild_log.h"

namespace varve::bench {
namespace {

constexpr std::size_t kChunk = 50'000;

template <class T>
T must(Result<T> result) {
  if (!result) give_up(to_string(result.error()));
  return *std::move(result);
}

struct RawColumn {
  std::string name;
  bool integer = false;
};
struct RawTable {
  std::string name;
  bool has_rowid = false;
  std::vector<RawColumn> columns;
};

struct RawCost {
  std::uint64_t rows = 0;
  double insert_seconds = 0;
  double index_seconds = 0;
};

class RawCopy {
 public:
  RawCopy(const std::string& from, const std::string& to)
      : from_(must(sqlite::Database::open(from, sqlite::Access::read_only))),
        to_(must(sqlite::Database::open(to, sqlite::Access::create))),
        path_(to) {}

  RawCost run() {
    prepare();
    for (const RawTable& table : tables()) copy(table);
    cost_.index_seconds = timed([this] {
      for (const std::string& sql : indexes_) exec(to_, sql);
      exec(to_, "PRAGMA synchronous = FULL");
      exec(to_, "BEGIN IMMEDIATE; UPDATE checkpoints SET version = version; COMMIT");
    });
    return cost_;
  }

 private:
  template <class Work>
  static double timed(const Work& work) {
    const auto begun = Clock::now();
    work();
    return seconds_since(begun);
  }
  static void exec(sqlite::Database& db, const std::string& sql) {
    if (const Status done = db.exec(sql); !done) give_up(sql + ": " + to_string(done.error()));
  }
  static std::vector<std::string> texts(sqlite::Database& db, const std::string& sql, int column) {
    auto select = must(db.prepare(sql));
    std::vector<std::string> found;
    while (must(select.step())) found.emplace_back(select.text(column));
    return found;
  }

  void prepare() {
    for (const char* pragma : {"PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF",
                               "PRAGMA cache_size = -131072", "PRAGMA temp_store = MEMORY"}) {
      exec(to_, pragma);
    }
    if (const Status made = migrate(to_, "views", path_); !made) give_up(to_string(made.error()));
    const std::string secondary =
        " FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";
    indexes_ = texts(to_, "SELECT sql" + secondary, 0);
    for (const std::string& name : texts(to_, "SELECT name" + secondary, 0)) exec(to_, "DROP INDEX " + name);
    exec(to_, "DELETE FROM search_index");
  }

  std::vector<RawTable> tables() {
    std::vector<RawTable> found;
    const char* names =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE "
        "'message_words%' AND name <> 'schema_migrations' ORDER BY name";
    for (const std::string& name : texts(to_, names, 0)) {
      RawTable table;
      table.name = name;
      auto info = must(to_.prepare("SELECT name, type FROM pragma_table_info('" + name + "')"));
      while (must(info.step()))
        table.columns.push_back({std::string{info.text(0)}, info.text(1) == "INTEGER"});
      const auto sql = texts(to_, "SELECT sql FROM sqlite_master WHERE name = '" + name + "'", 0);
      table.has_rowid = sql.front().find("WITHOUT ROWID") == std::string::npos;
      if (!table.columns.empty()) found.push_back(std::move(table));
    }
    return found;
  }

  void copy(const RawTable& table) {
    std::string columns = table.has_rowid ? "rowid" : "";
    std::string marks = table.has_rowid ? "?" : "";
    for (const RawColumn& column : table.columns) {
      columns += (columns.empty() ? "\"" : ", \"") + column.name + "\"";
      marks += marks.empty() ? "?" : ", ?";
    }
    auto select = must(from_.prepare("SELECT " + columns + " FROM \"" + table.name + "\""));
    auto insert =
        must(to_.prepare("INSERT INTO \"" + table.name + "\" (" + columns + ") VALUES (" + marks + ")"));
    const bool messages = table.name == "messages";
    for (;;) {
      const auto rows = chunk(select, table);
      const auto words = messages ? words_of(rows, table) : std::vector<Words>{};
      cost_.rows += rows.size();
      cost_.insert_seconds += timed([&] {
        exec(to_, "BEGIN");
        for (const auto& row : rows) {
          int number = 1;
          for (const Value& value : row) bind_value(insert, number++, value);
          if (const Status done = insert.run(); !done) give_up(table.name + ": " + to_string(done.error()));
        }
        if (messages) index(words);
        exec(to_, "COMMIT");
      });
      if (rows.size() < kChunk) return;
    }
  }

  static std::vector<std::vector<Value>> chunk(sqlite::Statement& select, const RawTable& table) {
    std::vector<std::vector<Value>> rows;
    const int first = table.has_rowid ? 1 : 0;
    while (rows.size() < kChunk && must(select.step())) {
      std::vector<Value> row;
      if (table.has_rowid) row.emplace_back(select.integer(0));
      for (std::size_t i = 0; i < table.columns.size(); ++i) {
        const int column = first + static_cast<int>(i);
        if (select.is_null(column)) {
          row.emplace_back();
        } else if (table.columns[i].integer) {
          row.emplace_back(select.integer(column));
        } else {
          row.emplace_back(std::string{select.text(column)});
        }
      }
      rows.push_back(std::move(row));
    }
    return rows;
  }

  struct Words {
    std::int64_t rowid = 0;
    std::string agent;
    std::string words;
  };
  static std::vector<Words> words_of(const std::vector<std::vector<Value>>& rows, const RawTable& table) {
    const auto at = [&table](const char* name) {
      std::size_t i = 0;
      while (table.columns[i].name != name) ++i;
      return i + 1;
    };
    const std::size_t agent = at("agent_id");
    const std::size_t role = at("role");
    const std::size_t content = at("content");
    std::vector<Words> found;
    for (const auto& row : rows) {
      Words one{std::get<std::int64_t>(row[0]), search_words(std::get<std::string>(row[agent])),
                message_words(std::get<std::string>(row[role]), std::get<std::string>(row[content]))};
      std::erase(one.agent, ' ');
      if (!one.words.empty()) found.push_back(std::move(one));
    }
    return found;
  }
  void index(const std::vector<Words>& words) {
    auto insert = must(to_.prepare("INSERT INTO message_words (rowid, agent, words) VALUES (?, ?, ?)"));
    for (const Words& one : words) {
      insert.bind(1, one.rowid).bind_text(2, one.agent).bind_text(3, one.words);
      if (const Status done = insert.run(); !done) give_up(to_string(done.error()));
    }
  }

  sqlite::Database from_;
  sqlite::Database to_;
  std::string path_;
  std::vector<std::string> indexes_;
  RawCost cost_;
};

int run_raw(const std::string& from, const std::string& to) {
  std::filesystem::remove(to);
  const RawCost cost = RawCopy(from, to).run();
  std::printf("{\"rows\":%llu,\"seconds\":%.3f,\"insert_seconds\":%.3f,\"index_seconds\":%.3f}\n",
              static_cast<unsigned long long>(cost.rows), cost.insert_seconds + cost.index_seconds,
              cost.insert_seconds, cost.index_seconds);
  return 0;
}

int run_log(const LogPlan& plan) {
  const LogWritten written = write_log(plan);
  std::printf("{\"events\":%llu,\"records\":%llu,\"seconds\":%.3f}\n",
              static_cast<unsigned long long>(written.events),
              static_cast<unsigned long long>(written.records), written.seconds);
  return 0;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  using varve::bench::LogPlan;
  CLI::App app{"What the benchmark of rebuilds needs besides varve itself"};
  app.require_subcommand(1);
  LogPlan plan;
  auto* log = app.add_subcommand("log", "Write a log as a busy server leaves it");
  log->add_option("--directory", plan.directory)->required();
  log->add_option("--events", plan.events)->required();
  log->add_option("--agents", plan.agents)->capture_default_str();
  log->add_option("--partitions", plan.partitions)->capture_default_str();
  log->add_option("--seed", plan.seed)->capture_default_str();
  std::string from;
  std::string to;
  auto* raw = app.add_subcommand("raw", "Write the rows of a file of views into another one");
  raw->add_option("--from", from)->required();
  raw->add_option("--to", to)->required();
  CLI11_PARSE(app, argc, argv);
  return *log ? varve::bench::run_log(plan) : varve::bench::run_raw(from, to);
}
