#include "projections/sqlite_loading.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "projections/sqlite_migrate.h"
#include "projections/sqlite_search.h"

namespace varve {

namespace {

constexpr const char* kSecondary =
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";

// The columns key1 and key2 hold a value as it is bound: they have no type.
constexpr const char* kMakeClosings =
    "CREATE TABLE IF NOT EXISTS loading_closings (view INTEGER, from_partition INTEGER, key1, key2, "
    "to_offset INTEGER, to_at INTEGER)";

constexpr const char* kVersion = "from_offset, from_ordinal, from_partition";

// Rows are appended: the cache holds little more than what one transaction writes.
constexpr const char* kLoadingCache = "PRAGMA cache_size = -65536";
// Sorting takes as much memory at a time as the cache: what fits into the processor's is sorted faster.
constexpr const char* kFinishingCache = "PRAGMA cache_size = -4096";
constexpr const char* kClosingCache = "PRAGMA cache_size = -65536";

struct NamedIndex {
  std::string name;
  std::string sql;
};

Result<std::vector<NamedIndex>> secondary_indexes(sqlite::Database& db) {
  auto select = db.prepare(kSecondary);
  if (!select) return select.error();
  std::vector<NamedIndex> indexes;
  for (;;) {
    const auto row = select->step();
    if (!row) return row.error();
    if (!*row) return indexes;
    indexes.push_back({std::string{select->text(0)}, std::string{select->text(1)}});
  }
}

// As the migrations make them.
Result<std::vector<NamedIndex>> wanted_indexes() {
  auto db = sqlite::Database::open(":memory:", sqlite::Access::create);
  if (!db) return db.error();
  if (const auto made = migrate(*db, "views", ":memory:"); !made) return made.error();
  return secondary_indexes(*db);
}

// Of a table: what a closing is looked up in.
bool is_key(const NamedIndex& index) {
  return index.name.ends_with("_key");
}

// Those that live in their primary key.
bool is_kept_in_its_key(View view) {
  return view == View::agent_activity || view == View::attachments || view == View::tags ||
         view == View::shard_owners || view == View::steps;
}

std::string name_of(View view) {
  return "\"" + std::string{schema_of(view).name} + "\"";
}

std::string key_columns(View view) {
  std::string names;
  for (std::size_t i = 0; i < schema_of(view).key_columns; ++i)
    names += "\"" + std::string{schema_of(view).columns[i].name} + "\", ";
  return names + kVersion;
}

Result<std::int64_t> number_of(sqlite::Database& db, const std::string& sql) {
  auto select = db.prepare(sql);
  if (!select) return select.error();
  const auto row = select->step();
  if (!row) return row.error();
  return *row ? select->integer(0) : 0;
}

Result<bool> has_table(sqlite::Database& db, const std::string& name) {
  const auto count =
      number_of(db, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '" + name + "'");
  if (!count) return count.error();
  return *count > 0;
}

Status in_transaction(sqlite::Database& db, const std::function<Status()>& work) {
  if (const auto begun = db.exec("BEGIN IMMEDIATE"); !begun) return begun;
  const Status status = work();
  const auto ended = db.exec(status ? "COMMIT" : "ROLLBACK");
  return status ? ended : status;
}

Status keep_old_pages(sqlite::Database& db) {
  // Of a file that was left with a write-ahead log this ends it.
  if (const auto set = db.exec("PRAGMA journal_mode = TRUNCATE"); !set) return set;
  return db.exec("PRAGMA synchronous = FULL");
}

Status make_loading_tables(sqlite::Database& db) {
  if (const auto made = db.exec(kMakeClosings); !made) return made;
  for (const View view : all_views()) {
    if (!is_kept_in_its_key(view)) continue;
    const auto made = db.exec("CREATE TABLE IF NOT EXISTS " + loading_table(view) + " AS SELECT * FROM " +
                              name_of(view) + " WHERE 0");
    if (!made) return made;
  }
  return ok();
}

// ---- finishing

// In the order of the key: every row comes behind the one before it.
Status move_into_keys(sqlite::Database& db) {
  for (const View view : all_views()) {
    if (!is_kept_in_its_key(view)) continue;
    const std::string from = loading_table(view);
    const auto there = has_table(db, from);
    if (!there) return there.error();
    if (!*there) continue;
    const Status moved = in_transaction(db, [&]() -> Status {
      const auto done = db.exec("INSERT INTO " + name_of(view) + " SELECT * FROM " + from + " ORDER BY " +
                                key_columns(view));
      return done ? db.exec("DROP TABLE " + from) : done;
    });
    if (!moved) return moved;
  }
  return ok();
}

Status make_indexes(sqlite::Database& db, const std::string& path, const std::vector<NamedIndex>& wanted,
                    const std::function<bool(const NamedIndex&)>& chosen) {
  const auto there = secondary_indexes(db);
  if (!there) return there.error();
  for (const NamedIndex& index : wanted) {
    const auto same = [&index](const NamedIndex& other) { return other.name == index.name; };
    if (!chosen(index) || std::any_of(there->begin(), there->end(), same)) continue;
    if (const auto made = db.exec(index.sql); !made) {
      return Error{made.error().code == Errc::unavailable ? Errc::unavailable : Errc::corrupt,
                   "the index " + index.name + " of " + path + " cannot be made: " + made.error().message};
    }
  }
  return ok();
}

// The version that was open at that moment is the newest of those that begin before it. One that began in the
// same record was closed when it was appended.
std::string close_loaded_sql(View view) {
  const std::string columns = key_columns(view);
  std::string sql = "UPDATE " + name_of(view) +
                    " SET to_offset = ?1, to_at = ?2 WHERE to_offset IS NULL AND (" + columns +
                    ") = (SELECT " + columns + " FROM " + name_of(view) + " WHERE from_partition = ?3";
  for (std::size_t i = 0; i < schema_of(view).key_columns; ++i) {
    sql += " AND \"" + std::string{schema_of(view).columns[i].name} + "\" = ?" + std::to_string(4 + i);
  }
  return sql + " AND from_offset < ?1 ORDER BY from_offset DESC, from_ordinal DESC LIMIT 1)";
}

Status close_rows(SqliteConnection& connection, View view) {
  auto select = connection.db().prepare(
      "SELECT to_offset, to_at, from_partition, key1, key2 FROM loading_closings WHERE view = ? ORDER BY "
      "rowid");
  if (!select) return select.error();
  auto close = connection.db().prepare(close_loaded_sql(view));
  if (!close) return close.error();
  const ViewSchema& schema = schema_of(view);
  select->bind(1, static_cast<std::int64_t>(view));
  for (;;) {
    const auto row = select->step();
    if (!row) return row.error();
    if (!*row) return ok();
    for (int i = 0; i < 3; ++i) close->bind(i + 1, select->integer(i));
    std::vector<Value> key;
    for (std::size_t i = 0; i < schema.key_columns; ++i) {
      const int column = static_cast<int>(i) + 3;
      if (schema.columns[i].type == ColumnType::integer) {
        key.emplace_back(select->integer(column));
      } else {
        key.emplace_back(std::string{select->text(column)});
      }
      bind_value(*close, column + 1, key.back());
    }
    if (const auto done = close->run(); !done) return done;
    if (connection.db().changes() == 1) continue;
    const LogPosition at{Partition{static_cast<std::uint32_t>(select->integer(2))},
                         Offset{static_cast<std::uint64_t>(select->integer(0))}};
    return Error{Errc::corrupt,
                 "closing of " + describe_entity(view, key) + " at " + to_string(at) + " met no open row"};
  }
}

Status close_all_rows(SqliteConnection& connection) {
  const auto there = has_table(connection.db(), "loading_closings");
  if (!there) return there.error();
  if (!*there) return ok();
  return in_transaction(connection.db(), [&]() -> Status {
    for (const View view : all_views()) {
      if (Status done = close_rows(connection, view); !done) return done;
    }
    return connection.db().exec("DROP TABLE loading_closings");
  });
}

}  // namespace

Result<bool> prepare_file(const std::string& path) {
  const auto wanted = wanted_indexes();
  if (!wanted) return wanted.error();
  SqliteConnection connection;
  if (const auto opened = connection.open(path, sqlite::Access::create); !opened) return opened.error();
  sqlite::Database& db = connection.db();
  if (const auto made = migrate(db, "views", path); !made) return made.error();
  const auto indexes = secondary_indexes(db);
  if (!indexes) return indexes.error();
  const auto folded = number_of(db, "SELECT count(*) FROM checkpoints");
  if (!folded) return folded.error();
  if (*folded > 0 && indexes->size() == wanted->size()) return false;
  if (const auto set = keep_old_pages(db); !set) return set.error();
  // With indexes of a part of the rows, later ones would be refused that only come before their time.
  const Status prepared = in_transaction(db, [&]() -> Status {
    for (const NamedIndex& index : *indexes) {
      if (const auto done = db.exec("DROP INDEX \"" + index.name + "\""); !done) return done;
    }
    return make_loading_tables(db);
  });
  if (!prepared) return prepared.error();
  if (const auto indexed = bring_search_index_up_to_date(connection); !indexed) return indexed.error();
  return true;
}

Status open_loading(SqliteConnection& connection, const std::string& path) {
  if (const auto opened = connection.open(path, sqlite::Access::read_write); !opened) return opened;
  if (const auto set = keep_old_pages(connection.db()); !set) return set;
  return connection.db().exec(kLoadingCache);
}

std::string loading_table(View view) {
  const std::string name{schema_of(view).name};
  return is_kept_in_its_key(view) ? "loading_" + name : name;
}

std::string closing_sql() {
  return "INSERT INTO loading_closings (view, from_partition, key1, key2, to_offset, to_at) "
         "VALUES (?, ?, ?, ?, ?, ?)";
}

Status finish_file(const std::string& path) {
  const auto wanted = wanted_indexes();
  if (!wanted) return wanted.error();
  SqliteConnection connection;
  if (const auto opened = connection.open(path, sqlite::Access::read_write); !opened) return opened;
  sqlite::Database& db = connection.db();
  if (const auto set = keep_old_pages(db); !set) return set;
  if (const auto set = db.exec(kFinishingCache); !set) return set;
  // Sorting is shared by threads, where there are some.
  if (const auto set = db.exec("PRAGMA threads = 2"); !set) return set;
  if (Status done = move_into_keys(db); !done) return done;
  if (Status done = make_indexes(db, path, *wanted, is_key); !done) return done;
  if (const auto set = db.exec(kClosingCache); !set) return set;
  if (Status done = close_all_rows(connection); !done) return done;
  if (const auto set = db.exec(kFinishingCache); !set) return set;
  return make_indexes(db, path, *wanted, [](const NamedIndex& /*index*/) { return true; });
}

}  // namespace varve
