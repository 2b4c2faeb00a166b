// The PostgreSQL view store: the whole exam, and what only a server can do: refuse a statement, keep one
// waiting, hold other generations beside this one.
#include "projections/postgres_view_store.h"

#include <set>

#include "projections/search_terms.h"
#include "tests/projections/postgres_view_world.h"
#include "tests/projections/view_store_search_contract.h"

namespace varve::test {
namespace {

const ViewStoreCase kPostgres{"postgres", [] { return std::make_unique<PostgresViewWorld>(); }};

INSTANTIATE_TEST_SUITE_P(Postgres, ViewStoreContract, ::testing::Values(kPostgres), name_of_case);
INSTANTIATE_TEST_SUITE_P(Postgres, MessageSearchContract, ::testing::Values(kPostgres), name_of_case);

// The shared database goes while the test program can still say that something is wrong.
class DropSharedDatabase final : public ::testing::Environment {
 public:
  void TearDown() override { shared_database_slot().reset(); }
};
const auto* const kDropSharedDatabase =
    ::testing::AddGlobalTestEnvironment(std::make_unique<DropSharedDatabase>().release());

class PostgresViewStoreTest : public ::testing::Test {
 protected:
  PostgresViewStoreTest() : env_(quiet_env()) {
    open(postgres_at(world_.url()));
    EXPECT_TRUE(run(env_, store_->prepare()));
  }
  ~PostgresViewStoreTest() override { env_.shut_down(); }

  void open(PostgresOptions options) { store_ = world_.open_pooled(env_, std::move(options)); }
  std::string commit(Batch batch) { return text_of(run(env_, store_->commit(std::move(batch)))); }
  LoadedCheckpoint load(std::uint32_t partition = 0) {
    const auto loaded = run(env_, store_->load(Partition{partition}));
    EXPECT_TRUE(loaded) << to_string(loaded.error());
    return loaded ? *loaded : LoadedCheckpoint{};
  }
  std::string found(const SearchQuery& search) { return found_by(*store_, search); }
  std::string found_by(ViewStore& store, const SearchQuery& search) {
    auto ids = std::make_shared<std::string>();
    const Status status = run(env_, store.read([ids, search](ViewReader& reader) -> Status {
      const auto hits = reader.search_messages(search);
      if (!hits) return hits.error();
      for (const SearchHit& hit : *hits) *ids += (ids->empty() ? "" : " ") + hit.row.text(messages::id);
      return ok();
    }));
    return status ? *ids : to_string(status.error());
  }
  // Runs SQL on the tables of the generation: $ stands for its schema.
  std::vector<std::string> query(std::string statement) {
    for (auto at = statement.find('$'); at != std::string::npos; at = statement.find('$', at))
      statement.replace(at, 1, world_.schema());
    return sql(world_.url(), statement);
  }
  // Whoever inserts a tag "boom" gets this error.
  void fail_with(const std::string& sqlstate) {
    query(
        "CREATE OR REPLACE FUNCTION $.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION "
        "''refused'' USING ERRCODE = ''" +
        sqlstate + "''; END'");
    query(
        "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON $.tags FOR EACH ROW WHEN (new.tag = 'boom') "
        "EXECUTE FUNCTION $.refuse()");
  }

  PostgresViewWorld world_;
  RealEnv env_;
  std::unique_ptr<PooledViewStore> store_;
};

// ---- the schema ----

// "id text C not null key1"
std::string line(std::string_view name, bool integer, bool nullable, std::size_t key) {
  std::string out = std::string{name} + (integer ? " bigint -" : " text C");
  out += nullable ? " null" : " not null";
  if (key > 0) out += " key" + std::to_string(key);
  return out;
}

TEST_F(PostgresViewStoreTest, TheTablesOfAGenerationHaveTheColumnsOfTheSchema) {
  for (const View view : all_views()) {
    const ViewSchema& schema = schema_of(view);
    const std::size_t key = schema.key_columns;
    std::set<std::string> expected;
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
      const Column& column = schema.columns[i];
      expected.insert(
          line(column.name, column.type == ColumnType::integer, column.nullable, i < key ? i + 1 : 0));
    }
    expected.insert(line("from_offset", true, false, key + 1));
    expected.insert(line("from_ordinal", true, false, key + 2));
    expected.insert(line("from_partition", true, false, key + 3));
    for (const char* name : {"from_at", "from_sequence"}) expected.insert(line(name, true, false, 0));
    for (const char* name : {"to_offset", "to_at"}) expected.insert(line(name, true, true, 0));
    if (view == View::messages) expected.insert("words tsvector - null");

    for (const std::string& table :
         {"template_" + std::string{schema.name}, world_.schema() + "." + std::string{schema.name}}) {
      const auto columns = query(
          "SELECT attname || ' ' || format_type(atttypid, NULL) || ' ' || coalesce(nullif(collname, "
          "'default'), "
          "'-') || CASE WHEN attnotnull THEN ' not null' ELSE ' null' END || "
          "coalesce(' key' || array_position(conkey, attnum), '') "
          "FROM pg_attribute LEFT JOIN pg_collation ON pg_collation.oid = attcollation "
          "LEFT JOIN pg_constraint ON conrelid = attrelid AND contype = 'p' "
          "WHERE attrelid = '" +
          table + "'::regclass AND attnum > 0 AND NOT attisdropped");
      EXPECT_EQ(std::set<std::string>(columns.begin(), columns.end()), expected) << table;
    }
  }
}

TEST_F(PostgresViewStoreTest, AGenerationIsACopyOfTheShapeWithItsIndexesAndItsRoom) {
  const auto shape_of = [this](const std::string& schema, const std::string& prefix) {
    auto lines = query("SELECT replace(replace(regexp_replace(indexdef, 'INDEX \\S+ ON', 'INDEX ON'), '" +
                       schema + ".', ''), '" + prefix + "', '') FROM pg_indexes WHERE schemaname = '" +
                       schema + "' AND tablename ^@ '" + prefix + "' ORDER BY 1");
    const auto room = query("SELECT replace(relname, '" + prefix +
                            "', '') || ' ' || reloptions::text FROM pg_class "
                            "WHERE relnamespace = '" +
                            schema + "'::regnamespace AND reloptions IS NOT NULL AND relname ^@ '" + prefix +
                            "' ORDER BY 1");
    lines.insert(lines.end(), room.begin(), room.end());
    return lines;
  };
  EXPECT_EQ(shape_of(world_.schema(), ""), shape_of("public", "template_"));
  EXPECT_GT(shape_of(world_.schema(), "").size(), 30U);
}

// Closing a message is to touch no index, so no index may depend on what a closing changes.
TEST_F(PostgresViewStoreTest, AClosedMessageStaysOnItsPageAndInNoIndexAnew) {
  std::vector<RowChange> changes;
  std::vector<RowChange> closes;
  for (int i = 0; i < 100; ++i) {
    changes.emplace_back(message("m" + std::to_string(i), "a1", at(1, i)));
    if (i % 20 == 0) closes.emplace_back(close(View::messages, {text("m" + std::to_string(i))}, 2));
  }
  ASSERT_EQ(commit(batch_of(0, 0, std::move(changes))), "committed");
  ASSERT_EQ(commit(batch_of(0, 1, std::move(closes))), "committed");
  env_.shut_down();
  store_.reset();  // A session that ends reports what it has counted.
  std::string updates;
  for (int i = 0; i < 500 && updates != "5 5"; ++i) {
    updates = query(
        "SELECT n_tup_upd || ' ' || n_tup_hot_upd FROM pg_stat_all_tables "
        "WHERE relid = '$.messages'::regclass")[0];
  }
  EXPECT_EQ(updates, "5 5");
}

// The paths that must stay fast never sort and never scan.
TEST_F(PostgresViewStoreTest, TheMainQueriesWalkAnIndex) {
  const auto plan = [this](const std::string& statement) {
    std::string out;
    for (const std::string& line :
         query("SET enable_seqscan = off; SET enable_bitmapscan = off; EXPLAIN (COSTS OFF) " + statement)) {
      out += line + "\n";
    }
    return out;
  };
  const auto walks = [&plan](const std::string& statement, const std::string& index) {
    const std::string walked = plan(statement);
    EXPECT_NE(walked.find(index), std::string::npos) << walked;
    EXPECT_EQ(walked.find("Sort"), std::string::npos) << walked;
  };
  walks(
      "SELECT * FROM $.messages WHERE TRUE AND agent_id = 'a' AND (from_offset, from_ordinal) < (5, 0) "
      "ORDER BY from_offset DESC, from_ordinal DESC, from_partition DESC LIMIT 50",
      "messages_agent_id_from_offset_from_ordinal_from_partition_idx");
  walks(
      "SELECT * FROM $.messages WHERE TRUE AND run_id = 'r' ORDER BY from_offset, from_ordinal, "
      "from_partition LIMIT 50",
      "messages_run_id_from_offset_from_ordinal_from_partition_idx");
  walks("SELECT * FROM $.agents WHERE to_offset IS NULL ORDER BY created_at, id LIMIT 50",
        "agents_created_at_id_idx");
  walks("SELECT * FROM $.agents WHERE to_offset IS NULL AND name = 'n' ORDER BY created_at, id LIMIT 50",
        "agents_name_created_at_id_idx");
  // As of a cut: what came later is not walked past, and of an entity one version is looked at.
  const std::string in_cut = "from_offset <= coalesce(('{5,9}'::bigint[])[from_partition + 1], -1)";
  walks("SELECT * FROM $.messages WHERE TRUE AND " + in_cut +
            " AND from_offset <= 9 AND agent_id = 'a' "
            "ORDER BY from_offset DESC, from_ordinal DESC, from_partition DESC LIMIT 50",
        "Index Cond: ((agent_id = 'a'::text) AND (from_offset <= 9))");
  walks("SELECT * FROM (SELECT * FROM $.blocks WHERE TRUE AND id = 'b' AND " + in_cut +
            " AND from_offset <= 9 ORDER BY from_offset DESC, from_ordinal DESC LIMIT 1) AS newest "
            "WHERE TRUE AND " +
            in_cut + " AND id = 'b' LIMIT 1",
        "Index Cond: ((id = 'b'::text) AND (from_offset <= 9))");
  // Of runs there is an index of the open ones, too, but not by their ids.
  for (const std::string table : {"messages", "runs", "steps"}) {
    walks("UPDATE $." + table +
              " AS t SET to_offset = 1 WHERE coalesce(t.to_offset, -1) = -1 AND t.from_partition = 0 AND "
              "t.id = 'm'",
          table + "_pkey");
  }
}

// ---- generations ----

TEST_F(PostgresViewStoreTest, GenerationsKnowNothingOfEachOther) {
  ASSERT_EQ(commit(batch_of(0, 0, {message("m1", "a1", at(1))})), "committed");
  PostgresViewWorld next;
  const auto other = next.open_pooled(env_, postgres_at(next.url()));
  const auto loaded = run(env_, other->load(Partition{0}));
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->checkpoint, Checkpoint{});
  EXPECT_EQ(text_of(run(env_, other->commit(batch_of(0, 0, {message("m1", "a1", at(1))})))), "committed");
  EXPECT_EQ(load().checkpoint.version, 1U);
}

TEST_F(PostgresViewStoreTest, PreparingAgainChangesNothing) {
  ASSERT_EQ(commit(batch_of(0, 0, {message("m1", "a1", at(1))})), "committed");
  open(postgres_at(world_.url()));
  ASSERT_TRUE(run(env_, store_->prepare()));
  EXPECT_EQ(load().checkpoint.version, 1U);
  EXPECT_EQ(query("SELECT id FROM $.messages"), std::vector<std::string>{"m1"});
}

TEST_F(PostgresViewStoreTest, RefusesMessagesThatWereIndexedByAnotherVersion) {
  query("UPDATE $.search_index SET version = version + 1");
  open(postgres_at(world_.url()));
  const Status prepared = run(env_, store_->prepare());
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code, Errc::corrupt);
  EXPECT_NE(prepared.error().message.find("rebuild"), std::string::npos) << prepared.error().message;
}

TEST(PostgresLiveViews, AReaderOfLiveReadsWhatIsShown) {
  const ViewsDatabase database;
  RealEnv env{quiet_env()};
  PooledViewStore first{env, postgres_at(database.url()), {1, PostgresViewStore::Reads::live}};
  PooledViewStore second{env, postgres_at(database.url()), {2, PostgresViewStore::Reads::live}};
  ASSERT_TRUE(run(env, first.prepare()));
  ASSERT_TRUE(run(env, second.prepare()));
  const auto commit = [&env](ViewStore& store, Batch batch) {
    return text_of(run(env, store.commit(std::move(batch))));
  };
  ASSERT_EQ(commit(first, batch_of(0, 0, {agent("a1", "old", 1, at(1))})), "committed");
  ASSERT_EQ(commit(second, batch_of(0, 0, {agent("a1", "new", 1, at(1))})), "committed");
  ASSERT_EQ(commit(second, batch_of(0, 1, {tag("a1", "red", at(2))})), "committed");

  const auto seen = [&env](ViewStore& store) {
    auto out = std::make_shared<std::string>();
    const Status status = run(env, store.read([out](ViewReader& reader) -> Status {
      const auto rows = reader.select({.view = View::agents});
      const auto checkpoint = reader.checkpoint(Partition{0});
      if (!rows || !checkpoint) return Error{Errc::unavailable, "a read failed"};
      *out = rows->front().text(agents::name) + " " + std::to_string(checkpoint->version);
      return ok();
    }));
    return status ? *out : to_string(status.error());
  };
  EXPECT_EQ(seen(first), "old 1");
  EXPECT_EQ(seen(second), "old 1");
  ASSERT_TRUE(run(env, show_generation(first.pool(), 2)));
  EXPECT_EQ(seen(first), "new 2");
  EXPECT_EQ(seen(second), "new 2");
  EXPECT_EQ(sql(database.url(), "SELECT number FROM varve_live.generation"), std::vector<std::string>{"2"});
  // Each goes on writing its own.
  EXPECT_EQ(run(env, first.load(Partition{0}))->checkpoint.version, 1U);
  env.shut_down();
}

// ---- what the server refuses ----

TEST_F(PostgresViewStoreTest, WhatTheServerRefusesWasNotWrittenAndMayBeTriedAgain) {
  ASSERT_EQ(commit(batch_of(0, 0, {tag("a1", "red", at(1))})), "committed");
  const Batch batch = batch_of(0, 1,
                               {message("m1", "a1", at(11)), tag("a1", "boom", at(11, 1)),
                                close(View::tags, {text("a1"), text("red")}, 11)});
  // A serialization failure, a deadlock, a full disk, no memory, a statement that took too long, read only.
  for (const char* sqlstate : {"40001", "40P01", "53100", "53200", "57014", "25006"}) {
    fail_with(sqlstate);
    EXPECT_EQ(commit(batch).substr(0, 12), "unavailable:") << sqlstate;
    EXPECT_EQ(load().checkpoint.version, 1U);
    EXPECT_TRUE(query("SELECT id FROM $.messages").empty());
  }
  query("DROP TRIGGER refuse ON $.tags");
  EXPECT_EQ(commit(batch), "committed");
  EXPECT_EQ(query("SELECT tag FROM $.tags WHERE to_offset IS NULL"), std::vector<std::string>{"boom"});
}

TEST_F(PostgresViewStoreTest, WaitsForALockOnlyForAWhile) {
  ASSERT_EQ(commit(batch_of(0, 0, {tag("a1", "red", at(1))})), "committed");
  PostgresOptions impatient = postgres_at(world_.url());
  impatient.lock = std::chrono::milliseconds{200};
  open(impatient);
  pqxx::connection other(world_.url());
  {
    pqxx::nontransaction holder(other);
    holder.exec("BEGIN; SELECT 1 FROM " + world_.schema() + ".checkpoints FOR UPDATE");
    EXPECT_EQ(commit(batch_of(0, 1, {tag("a1", "blue", at(11))})).substr(0, 12), "unavailable:");
    EXPECT_EQ(load().checkpoint.version, 1U);
    holder.exec("ROLLBACK");
  }
  EXPECT_EQ(commit(batch_of(0, 1, {tag("a1", "blue", at(11))})), "committed");
}

// The loser has taken its snapshot before it waits for the winner's row lock.
TEST_F(PostgresViewStoreTest, WhoWaitedForTheWinnerHasLostTheRace) {
  for (const std::uint64_t version : {std::uint64_t{0}, std::uint64_t{1}}) {
    std::vector<Batch> batches;
    for (int i = 0; i < 2; ++i) {
      batches.push_back(batch_of(0, version, {tag("a" + std::to_string(version), "same", at(10 * version))}));
    }
    pqxx::connection other(world_.url());
    pqxx::nontransaction holder(other);
    const std::string table = world_.schema() + ".checkpoints";
    // An equal batch of somebody else, whose commit comes while ours waits.
    holder.exec("BEGIN; " + (version == 0
                                 ? "INSERT INTO " + table + " VALUES (0, 1, 10, 0, 0, '', 0, NULL, NULL, '" +
                                       to_text(ViewDigests{}) + "')"
                                 : "UPDATE " + table + " SET version = version + 1, next_offset = 20"));
    holder.exec("INSERT INTO " + world_.schema() + ".tags VALUES ('a" + std::to_string(version) +
                "', 'same', 0, " + std::to_string(10 * version) + ", 0, 0, 1)");
    auto outcome = std::make_shared<std::string>();
    struct Commit {
      static Task<> run(ViewStore* store, Batch batch, std::shared_ptr<std::string> out) {
        *out = text_of(co_await store->commit(std::move(batch)));
        co_return ok();
      }
      // Until a session waits for a lock.
      static Task<> release(Env* env, std::string url, pqxx::nontransaction* holder) {
        for (int i = 0; i < 500; ++i) {
          if (!sql(url,
                   "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type "
                   "= 'Lock'")
                   .empty()) {
            break;
          }
          co_await sleep_for(*env, std::chrono::milliseconds{5});
        }
        holder->exec("COMMIT");
        co_return ok();
      }
    };
    env_.spawn("commit", Commit::run(store_.get(), batches[0], outcome));
    ASSERT_TRUE(run(env_, Commit::release(&env_, world_.url(), &holder)));
    EXPECT_EQ(commit(batches[1]), "lost race");  // Also lets the other one end: commits run in order.
    EXPECT_EQ(*outcome, "lost race");
    EXPECT_EQ(load().checkpoint.version, version + 1);
  }
}

TEST_F(PostgresViewStoreTest, TextThatPostgresDoesNotStoreStopsTheProjection) {
  const std::string sentence = commit(batch_of(0, 0, {tag("a1", std::string{"a\0b", 3}, at(1))}));
  EXPECT_EQ(sentence.substr(0, 17), "invalid_argument:") << sentence;
  EXPECT_EQ(load().checkpoint.version, 0U);
}

TEST_F(PostgresViewStoreTest, WhatCannotBeStoredIsNotFoundEither) {
  ASSERT_EQ(commit(batch_of(0, 0, {agent("a1", "a", 1, at(1)), said({"m1", "tea"}, at(1))})), "committed");
  const std::string zero{"a\0b", 3};
  const auto counted = [this](const Filter& filter) {
    auto rows = std::make_shared<Result<std::vector<Row>>>();
    (void)run(env_, store_->read([rows, filter](ViewReader& reader) -> Status {
      *rows = reader.select({.view = View::agents, .where = {filter}});
      return ok();
    }));
    return *rows ? std::to_string((*rows)->size()) : to_string(rows->error());
  };
  EXPECT_EQ(counted(equal(agents::name, text(zero))), "0");
  EXPECT_EQ(counted(equal(agents::name, text("\xff"))), "0");
  const int name = static_cast<int>(agents::name);
  EXPECT_EQ(counted({name, Filter::Op::one_of, {text(zero), text("a")}}), "1");
  EXPECT_EQ(counted({name, Filter::Op::one_of, {text(zero)}}), "0");
  EXPECT_EQ(counted({name, Filter::Op::contains, {text(zero)}}), "0");
  EXPECT_EQ(found({.query = "tea\xff"}), "");
  EXPECT_EQ(found({.query = "tea", .agent_id = zero}), "");
  EXPECT_EQ(found({.query = "tea", .roles = {zero, "user"}}), "m1");
}

TEST_F(PostgresViewStoreTest, AReadWhoseStatementFailedFails) {
  const Status status = run(env_, store_->read([this](ViewReader& reader) -> Status {
    query("ALTER TABLE $.tags RENAME TO gone");
    EXPECT_FALSE(reader.select({.view = View::tags}));
    return ok();  // As if nothing had happened.
  }));
  EXPECT_FALSE(status);
  query("ALTER TABLE $.gone RENAME TO tags");
  EXPECT_EQ(commit(batch_of(0, 0, {tag("a1", "red", at(1))})), "committed");
}

// ---- batches ----

// Rows of all kinds that follow each other in one statement.
TEST_F(PostgresViewStoreTest, AnEntityMayBeClosedAndOpenedManyTimesInOneBatch) {
  ASSERT_EQ(commit(batch_of(0, 0, {agent("a1", "0", 1, at(1)), message("m1", "a1", at(1))})), "committed");
  std::vector<RowChange> changes;
  for (std::uint64_t i = 1; i <= 5; ++i) {
    changes.emplace_back(close(View::agents, {text("a1")}, 10 + i));
    changes.emplace_back(agent("a1", std::to_string(i), 1, at(10 + i)));
    changes.emplace_back(close(View::messages, {text("m1")}, 10 + i));
    changes.emplace_back(message("m1", "a1", at(10 + i, 1)));
  }
  ASSERT_EQ(commit(batch_of(0, 1, std::move(changes))), "committed");
  EXPECT_EQ(query("SELECT name || ' ' || coalesce(to_offset::text, '') FROM $.agents ORDER BY from_offset"),
            (std::vector<std::string>{"0 11", "1 12", "2 13", "3 14", "4 15", "5 "}));
  EXPECT_EQ(
      query(
          "SELECT from_offset || ' ' || coalesce(to_offset::text, '') FROM $.messages ORDER BY from_offset"),
      (std::vector<std::string>{"1 11", "11 12", "12 13", "13 14", "14 15", "15 "}));
}

// In a table whose index knows the open versions, a row that comes closed is not in it.
TEST_F(PostgresViewStoreTest, ARowThatComesClosedIsRefusedTooIfItsEntityIsOpen) {
  ASSERT_EQ(commit(batch_of(0, 0, {tag("a1", "red", at(1)), message("m1", "a1", at(1))})), "committed");
  EXPECT_EQ(
      commit(batch_of(0, 1, {tag("a1", "red", at(12)), close(View::tags, {text("a1"), text("red")}, 13)})),
      "corrupt: insert of tags agent_id=a1 tag=red from 0:12: the entity has an open version already");
  EXPECT_EQ(commit(batch_of(0, 1, {message("m1", "a1", at(12)), close(View::messages, {text("m1")}, 13)})),
            "corrupt: insert of messages id=m1 from 0:12: the entity has an open version already");
  EXPECT_EQ(load().checkpoint.version, 1U);
}

TEST_F(PostgresViewStoreTest, ABatchThatContradictsItselfIsRefusedByNameUnlessTheRaceIsLost) {
  const std::vector<RowChange> twice{tag("a1", "red", at(1)), tag("a1", "red", at(2))};
  EXPECT_EQ(commit(batch_of(0, 0, twice)),
            "corrupt: insert of tags agent_id=a1 tag=red from 0:2: the entity has an open version already");
  EXPECT_EQ(commit(batch_of(0, 4, twice)), "lost race");
  EXPECT_EQ(commit(batch_of(0, 0,
                            {tag("a1", "red", at(1)), close(View::tags, {text("a1"), text("red")}, 2),
                             close(View::tags, {text("a1"), text("red")}, 3)})),
            "corrupt: closing of tags agent_id=a1 tag=red at 0:3 met 0 open rows, not 1");
  EXPECT_EQ(load().checkpoint.version, 0U);
  EXPECT_TRUE(query("SELECT tag FROM $.tags").empty());
}

// As many as a large record makes; and the first of many that does not fit is named.
TEST_F(PostgresViewStoreTest, ALargeBatchIsOneStatement) {
  constexpr int kRows = 20'000;
  std::vector<RowChange> changes;
  std::vector<RowChange> closes;
  for (int i = 0; i < kRows; ++i) {
    changes.emplace_back(message("m" + std::to_string(i), "a" + std::to_string(i % 7), at(1, i)));
    closes.emplace_back(close(View::messages, {text("m" + std::to_string(i))}, 12));
  }
  ASSERT_EQ(commit(batch_of(0, 0, changes)), "committed");
  EXPECT_EQ(query("SELECT count(DISTINCT id) || ' ' || count(DISTINCT xmin::text) FROM $.messages")[0],
            std::to_string(kRows) + " 1");
  closes.insert(closes.begin() + 100, close(View::messages, {text("none")}, 12));
  EXPECT_EQ(commit(batch_of(0, 1, closes)),
            "corrupt: closing of messages id=none at 0:12 met 0 open rows, not 1");
  closes.erase(closes.begin() + 100);
  ASSERT_EQ(commit(batch_of(0, 1, closes)), "committed");
  EXPECT_EQ(query("SELECT count(*) FROM $.messages WHERE to_offset = 12")[0], std::to_string(kRows));
}

// ---- search ----

TEST_F(PostgresViewStoreTest, AMessageOfManyDifferentLongWordsIsFoundByItsLast) {
  std::string long_text;
  for (std::size_t i = 0; i + 1 < kSearchWordsPerMessageMax; ++i) {
    const std::string number = std::to_string(i);
    long_text += number + std::string(kSearchWordBytesMax - number.size(), 'x') + " ";
  }
  ASSERT_EQ(commit(batch_of(0, 0, {agent("a1", "one", 1, at(0)), said({"m1", long_text + "inside"}, at(1))})),
            "committed");
  EXPECT_EQ(found({.query = "inside"}), "m1");
  EXPECT_EQ(found({.query = "\"15998" + std::string(kSearchWordBytesMax - 5, 'x') + " inside\""}), "m1");
}

// A tsvector would know only 256 places of a word.
TEST_F(PostgresViewStoreTest, APhraseIsFoundBehindHundredsOfItsWords) {
  std::string tea;
  for (int i = 0; i < 1'000; ++i) tea += "green tea? ";
  ASSERT_EQ(commit(batch_of(0, 0,
                            {agent("a1", "one", 1, at(0)), said({"m1", tea + "tea green fox"}, at(1)),
                             said({"m2", tea + "fox green"}, at(2))})),
            "committed");
  EXPECT_EQ(found({.query = "\"green fox\""}), "m1");
  EXPECT_EQ(found({.query = "\"green tea\" fox"}), "m2 m1");
}

// More candidates than are looked at together.
TEST_F(PostgresViewStoreTest, APhraseIsLookedForInAllMessagesThatHoldItsWords) {
  std::vector<RowChange> changes{agent("a1", "one", 1, at(0))};
  for (std::uint64_t i = 1; i <= 1'000; ++i) {
    changes.emplace_back(said({"m" + std::to_string(i), i % 300 == 7 ? "green tea" : "tea, green"}, at(i)));
  }
  ASSERT_EQ(commit(batch_of(0, 0, std::move(changes))), "committed");
  EXPECT_EQ(found({.query = "\"green tea\""}), "m907 m607 m307 m7");
  EXPECT_EQ(found({.query = "\"green tea\"", .limit = 2}), "m907 m607");
}

}  // namespace
}  // namespace varve::test
