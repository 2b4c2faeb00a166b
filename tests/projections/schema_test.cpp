// The schema as data and the schema as SQL are one, and the bytes that digests hash never change.
#include "projections/schema.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "eventlog/sqlite_support.h"
#include "migrations/migrations.h"
#include "projections/store_rules.h"
#include "tests/projections/view_rows.h"

namespace varve::test {
namespace {

std::string hex(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    out += kDigits[static_cast<unsigned char>(c) >> 4U];
    out += kDigits[static_cast<unsigned char>(c) & 15U];
  }
  return out;
}

// "id TEXT key1" or "limit INTEGER" or "name TEXT null".
std::string line(std::string_view name, bool integer, bool nullable, std::int64_t key) {
  std::string out = std::string{name} + (integer ? " INTEGER" : " TEXT");
  if (nullable) out += " null";
  if (key > 0) out += " key" + std::to_string(key);
  return out;
}

// Ordered by name: what a later migration adds to a table stands behind the columns of versions, and every
// statement names its columns.
using Lines = std::set<std::string>;

Lines expected_table(const ViewSchema& schema) {
  Lines out;
  std::int64_t number = 0;
  const auto key = static_cast<std::int64_t>(schema.key_columns);
  for (const Column& column : schema.columns) {
    ++number;
    out.insert(
        line(column.name, column.type == ColumnType::integer, column.nullable, number <= key ? number : 0));
  }
  out.insert(line("from_partition", true, false, key + 3));
  out.insert(line("from_offset", true, false, key + 1));
  out.insert(line("from_ordinal", true, false, key + 2));
  out.insert(line("from_at", true, false, 0));
  out.insert(line("from_sequence", true, false, 0));
  out.insert(line("to_offset", true, true, 0));
  out.insert(line("to_at", true, true, 0));
  return out;
}

// A rowid table has its key beside it, so that a rebuild can make it at the end
// (projections/sqlite_loading.h).
std::map<std::string, std::int64_t, std::less<>> key_beside(sqlite::Database& db, std::string_view table) {
  std::map<std::string, std::int64_t, std::less<>> places;
  const std::string unique = "SELECT \"unique\" FROM pragma_index_list('" + std::string{table} +
                             "') WHERE name = '" + std::string{table} + "_key'";
  auto index = db.prepare(unique);
  if (!index || !*index->step()) return places;
  EXPECT_EQ(1, index->integer(0)) << table;
  auto columns = db.prepare("SELECT name, seqno FROM pragma_index_info('" + std::string{table} + "_key')");
  while (*columns->step()) places[std::string{columns->text(0)}] = columns->integer(1) + 1;
  return places;
}

TEST(Schema, TheMigrationsMakeTheColumnsOfTheSchema) {
  auto db = sqlite::Database::open(":memory:", sqlite::Access::create);
  ASSERT_TRUE(db);
  ASSERT_FALSE(sqlite_migrations("views").empty());
  for (const Migration& migration : sqlite_migrations("views")) {
    const auto done = db->exec(std::string{migration.sql});
    ASSERT_TRUE(done) << to_string(done.error());
  }
  for (const View view : all_views()) {
    const ViewSchema& schema = schema_of(view);
    auto info = db->prepare("PRAGMA table_info(" + std::string{schema.name} + ")");
    ASSERT_TRUE(info) << to_string(info.error());
    const auto beside = key_beside(*db, schema.name);
    Lines table;
    for (auto row = info->step(); row && *row; row = info->step()) {
      EXPECT_TRUE(info->text(2) == "INTEGER" || info->text(2) == "TEXT");
      const auto found = beside.find(info->text(1));
      const std::int64_t key = found == beside.end() ? info->integer(5) : found->second;
      table.insert(line(info->text(1), info->text(2) == "INTEGER", info->integer(3) == 0, key));
    }
    EXPECT_EQ(table, expected_table(schema)) << schema.name;
  }
}

// The words of a message are found by its rowid.
TEST(Schema, AnOlderFileKeepsItsRowsWhereTheyAre) {
  auto db = sqlite::Database::open(":memory:", sqlite::Access::create);
  ASSERT_TRUE(db);
  const auto migrations = sqlite_migrations("views");
  for (const Migration& migration : migrations.first(6)) ASSERT_TRUE(db->exec(std::string{migration.sql}));
  const std::string block =
      "INSERT INTO blocks (rowid, id, label, value, \"limit\", read_only, tags, metadata, extra, "
      "created_at, updated_at, from_partition, from_offset, from_ordinal, from_at, "
      "from_sequence, to_offset, to_at) VALUES ";
  ASSERT_TRUE(db->exec(block + "(7, 'b', 'l', 'old', 1, 0, '', '', '', 1, 2, 3, 4, 5, 6, 7, 8, 9), "
                               "(3, 'b', 'l', 'new', 1, 0, '', '', '', 1, 2, 3, 8, 5, 6, 7, NULL, NULL)"));
  const std::string all =
      "SELECT group_concat(rowid || value || from_offset || coalesce(to_at, '-')) FROM blocks";
  const auto rows = [&db, &all] {
    auto select = db->prepare(all);
    return *select->step() ? std::string{select->text(0)} : "";
  };
  const std::string before = rows();
  EXPECT_EQ("3new8-,7old49", before);
  for (const Migration& migration : migrations.subspan(6)) ASSERT_TRUE(db->exec(std::string{migration.sql}));
  EXPECT_EQ(before, rows());
  EXPECT_FALSE(db->exec(block + "(9, 'b', 'l', 'again', 1, 0, '', '', '', 1, 2, 3, 8, 5, 6, 7, 8, 9)"));
}

TEST(Schema, MigrationsAreNumberedFromOne) {
  for (const char* database : {"views", "control"}) {
    int number = 0;
    for (const Migration& migration : sqlite_migrations(database)) {
      EXPECT_EQ(migration.number, ++number);
      EXPECT_EQ(migration.database, database);
      EXPECT_FALSE(migration.sql.empty());
    }
    EXPECT_GE(number, 1) << database;
  }
  EXPECT_TRUE(sqlite_migrations("no such").empty());
}

TEST(Schema, EveryViewIsNamedOnceAndDescribesItself) {
  std::set<std::string_view> names;
  for (const View view : all_views()) {
    const ViewSchema& schema = schema_of(view);
    EXPECT_EQ(schema.view, view);
    EXPECT_TRUE(names.insert(schema.name).second);
    EXPECT_GE(schema.key_columns, 1U);
    EXPECT_LE(schema.key_columns, schema.columns.size());
    std::set<std::string_view> columns;
    for (const Column& column : schema.columns)
      EXPECT_TRUE(columns.insert(column.name).second) << column.name;
    for (std::size_t i = 0; i < schema.key_columns; ++i) EXPECT_FALSE(schema.columns[i].nullable);
  }
  EXPECT_EQ(names.size(), kViews);
}

TEST(Schema, ColumnNumbersMeanTheColumnsTheyAreNamedAfter) {
  const auto name = [](View view, std::size_t column) {
    return std::string{schema_of(view).columns[column].name};
  };
  EXPECT_EQ(name(View::messages, messages::tool_call_id), "tool_call_id");
  EXPECT_EQ(name(View::messages, messages::otid), "otid");
  EXPECT_EQ(name(View::blocks, blocks::limit), "limit");
  EXPECT_EQ(name(View::blocks, blocks::metadata), "metadata");
  EXPECT_EQ(name(View::agents, agents::embedding), "embedding");
  EXPECT_EQ(name(View::agents, agents::timezone), "timezone");
  EXPECT_EQ(name(View::agent_activity, agent_activity::last_run_duration_ms), "last_run_duration_ms");
  EXPECT_EQ(name(View::runs, runs::error_message), "error_message");
  EXPECT_EQ(name(View::attachments, attachments::block_id), "block_id");
  EXPECT_EQ(name(View::tags, tags::tag), "tag");
  EXPECT_EQ(name(View::shard_owners, shard_owners::claim_id), "claim_id");
}

// Stored digests are sums of hashes of these bytes: a change here makes every stored view look wrong.
TEST(Schema, TheBytesOfARowAreFrozen) {
  const RowInsert row =
      insert(View::agent_activity, {Partition{1}, Offset{2}, 3, WallTime{-1}, Sequence{5}},
             {{agent_activity::agent_id, text("ab")}, {agent_activity::last_run_completion, number(-2)}});
  EXPECT_EQ(hex(canonical_bytes(View::agent_activity, row.row)),
            "52"  // R
            "0e00000000000000"
            "6167656e745f6163746976697479"  // agent_activity
            "0100000000000000"
            "0200000000000000"
            "0300000000000000"
            "ffffffffffffffff"
            "0500000000000000"
            "0500000000000000"  // five values
            "74"
            "0200000000000000"
            "6162"  // "ab"
            "6e"
            "69"
            "feffffffffffffff"  // -2
            "6e"
            "6e");
}

TEST(Schema, TheBytesOfAClosingAreFrozen) {
  const std::vector<Value> key{text("a"), text("")};
  EXPECT_EQ(hex(canonical_closing(View::tags, key, Partition{3}, {Offset{4}, WallTime{5}})),
            "43"  // C
            "0400000000000000"
            "74616773"          // tags
            "0200000000000000"  // two values
            "74"
            "0100000000000000"
            "61"
            "74"
            "0000000000000000"
            "0300000000000000"
            "0400000000000000"
            "0500000000000000");
}

TEST(Schema, TheBytesTellApartWhatDiffers) {
  const auto bytes = [](const std::string& id, const std::string& name) {
    return canonical_bytes(View::tags, tag(id, name, at(1)).row);
  };
  EXPECT_NE(bytes("ab", "c"), bytes("a", "bc"));
  RowInsert null = message("m", "a", at(1));
  RowInsert empty = null;
  empty.row.values[messages::name] = text("");
  EXPECT_NE(canonical_bytes(View::messages, null.row), canonical_bytes(View::messages, empty.row));
  RowInsert later = null;
  later.row.from.at = WallTime{later.row.from.at.value() + 1};
  EXPECT_NE(canonical_bytes(View::messages, null.row), canonical_bytes(View::messages, later.row));
  RowInsert closed = null;
  closed.row.to = RowTo{Offset{9}, WallTime{9}};
  EXPECT_EQ(canonical_bytes(View::messages, null.row), canonical_bytes(View::messages, closed.row));
}

TEST(Schema, DescribesRowsToPeople) {
  EXPECT_EQ(describe(View::agents, agent("agent-1", "x", 0, at(17, 0, 3)).row),
            "agents id=agent-1 from 3:17");
  EXPECT_EQ(describe(View::tags, tag("agent-1", "red", at(2)).row), "tags agent_id=agent-1 tag=red from 0:2");
  const std::vector<Value> key{number(4)};
  EXPECT_EQ(describe_entity(View::shard_owners, key), "shard_owners partition=4");
}

TEST(StoreRules, AnOrderIsMadeTotalOnce) {
  Query query{.view = View::agents, .order_by = {1}};
  EXPECT_EQ(total_order(query), (std::vector<int>{1, kFromPartition, kFromOffset, kFromOrdinal}));
  query.order_by = {kFromOffset, kFromOrdinal, kFromOffset};
  EXPECT_EQ(total_order(query), (std::vector<int>{kFromOffset, kFromOrdinal, kFromPartition}));
  query.order_by = {14, 0};
  EXPECT_EQ(total_order(query), (std::vector<int>{14, 0}));  // One open version per entity: no ties.
  query.open_only = false;
  EXPECT_EQ(total_order(query), (std::vector<int>{14, 0, kFromPartition, kFromOffset, kFromOrdinal}));
}

}  // namespace
}  // namespace varve::test
