// The SQLite stores: both exams, and what only files can do: be of a newer schema, be damaged, lose a
// transaction or the answer of a COMMIT.
#include "projections/sqlite_view_store.h"

#include <sqlite3.h>

#include <atomic>
#include <fstream>
#include <future>

#include "eventlog/sqlite_support.h"
#include "migrations/migrations.h"
#include "projections/search_terms.h"
#include "projections/sqlite_query.h"
#include "projections/sqlite_snapshot_store.h"
#include "tests/projections/snapshot_store_contract.h"
#include "tests/projections/temp_directory.h"
#include "tests/projections/view_store_search_contract.h"

namespace varve::test {
namespace {

void execute(const std::string& path, const std::string& sql) {
  auto db = sqlite::Database::open(path, sqlite::Access::read_write);
  ASSERT_TRUE(db) << to_string(db.error());
  const auto done = db->exec(sql);
  ASSERT_TRUE(done) << to_string(done.error());
}

// The first column of every row.
std::vector<std::string> query(const std::string& path, const std::string& sql) {
  auto db = sqlite::Database::open(path, sqlite::Access::read_only);
  EXPECT_TRUE(db) << to_string(db.error());
  if (!db) return {};
  auto statement = db->prepare(sql);
  EXPECT_TRUE(statement) << to_string(statement.error());
  if (!statement) return {};
  std::vector<std::string> values;
  for (auto row = statement->step(); row && *row; row = statement->step())
    values.emplace_back(statement->text(0));
  return values;
}

class SqliteViewWorld final : public ViewStoreWorld {
 public:
  explicit SqliteViewWorld(std::int64_t search_waiting_max = kSearchWaitingMax)
      : search_waiting_max_(search_waiting_max) {}
  std::unique_ptr<ViewStore> open(Env& env) override {
    auto store = SqliteViewStore::open(
        env, {.directory = directory_.path(), .search_waiting_max = search_waiting_max_});
    EXPECT_TRUE(store) << to_string(store.error());
    return store ? *std::move(store) : nullptr;
  }
  std::vector<TimesRow> times(Partition partition) override {
    auto db = sqlite::Database::open(directory_.path() + "/views-1.db", sqlite::Access::read_only);
    EXPECT_TRUE(db);
    auto statement = db->prepare(
        "SELECT first_offset, last_offset, first_at, last_at FROM times WHERE \"partition\" = ? ORDER BY 1");
    EXPECT_TRUE(statement);
    statement->bind(1, partition.value());
    std::vector<TimesRow> rows;
    for (auto row = statement->step(); row && *row; row = statement->step()) {
      rows.push_back({Offset{static_cast<std::uint64_t>(statement->integer(0))},
                      Offset{static_cast<std::uint64_t>(statement->integer(1))},
                      WallTime{statement->integer(2)}, WallTime{statement->integer(3)}});
    }
    return rows;
  }

 private:
  std::int64_t search_waiting_max_;
  TempDirectory directory_;
};

class SqliteSnapshotWorld final : public SnapshotStoreWorld {
 public:
  std::unique_ptr<SnapshotStore> open(Env& env) override {
    auto store = SqliteSnapshotStore::open(env, directory_.path());
    EXPECT_TRUE(store) << to_string(store.error());
    return store ? *std::move(store) : nullptr;
  }

 private:
  TempDirectory directory_;
};

INSTANTIATE_TEST_SUITE_P(Sqlite, ViewStoreContract,
                         ::testing::Values(ViewStoreCase{"sqlite",
                                                         [] { return std::make_unique<SqliteViewWorld>(); }}),
                         name_of_case);
// Few messages are searched while they wait for the index; with no patience all are found through it.
INSTANTIATE_TEST_SUITE_P(
    Sqlite, MessageSearchContract,
    ::testing::Values(ViewStoreCase{"sqlite_waiting", [] { return std::make_unique<SqliteViewWorld>(); }},
                      ViewStoreCase{"sqlite_indexed", [] { return std::make_unique<SqliteViewWorld>(0); }}),
    name_of_case);
INSTANTIATE_TEST_SUITE_P(Sqlite, SnapshotStoreContract,
                         ::testing::Values(SnapshotStoreCase{
                             "sqlite", [] { return std::make_unique<SqliteSnapshotWorld>(); }}),
                         name_of_snapshot_case);

// Every connection of this process asks here before it commits.
std::atomic<bool> refuse_commits{false};

int watch_commits(sqlite3* db, const char** /*message*/, const void* /*api*/) {
  sqlite3_commit_hook(
      db, [](void*) { return refuse_commits.load() ? 1 : 0; }, nullptr);
  return SQLITE_OK;
}

class SqliteViewStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RealEnv::Options options;
    options.read_threads = 4;
    env_ = std::make_unique<RealEnv>(options);
    reopen();
  }
  void TearDown() override { env_->shut_down(); }

  void reopen(std::int64_t search_waiting_max = kSearchWaitingMax) {
    auto store = SqliteViewStore::open(
        *env_, {.directory = directory_.path(), .search_waiting_max = search_waiting_max});
    ASSERT_TRUE(store) << to_string(store.error());
    store_ = *std::move(store);
  }
  // What open() says, after everything was closed.
  std::string refusal() {
    store_.reset();
    const auto store = SqliteViewStore::open(*env_, {.directory = directory_.path()});
    return store ? "opened" : to_string(store.error());
  }
  std::string commit(Batch batch) { return text_of(run(*env_, store_->commit(std::move(batch)))); }
  std::string path() const { return directory_.path() + "/views-1.db"; }
  // The ids of what a search finds.
  std::string found(const std::string& words, std::size_t limit = 50) {
    auto ids = std::make_shared<std::string>();
    std::function<Status(ViewReader&)> work = [ids, words, limit](ViewReader& reader) -> Status {
      const auto hits = reader.search_messages({.query = words, .limit = limit});
      if (!hits) return hits.error();
      for (const SearchHit& hit : *hits) *ids += (ids->empty() ? "" : " ") + hit.row.text(messages::id);
      return ok();
    };
    const Status status = run(*env_, store_->read(std::move(work)));
    return status ? *ids : to_string(status.error());
  }
  std::vector<std::string> message_ids() { return query(path(), "SELECT id FROM messages ORDER BY id"); }

  TempDirectory directory_;
  std::unique_ptr<RealEnv> env_;
  std::unique_ptr<SqliteViewStore> store_;
};

TEST_F(SqliteViewStoreTest, EveryGenerationHasItsFile) {
  ASSERT_EQ(commit(batch_of(0, 0, {message("m1", "a1", at(1))})), "committed");
  auto next = SqliteViewStore::open(*env_, {.directory = directory_.path(), .generation = 2});
  ASSERT_TRUE(next) << to_string(next.error());
  const auto loaded = run(*env_, (*next)->load(Partition{0}));
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->checkpoint, Checkpoint{});
  EXPECT_TRUE(std::filesystem::exists(directory_.path() + "/views-1.db"));
  EXPECT_TRUE(std::filesystem::exists(directory_.path() + "/views-2.db"));
}

TEST_F(SqliteViewStoreTest, RefusesAFileOfANewerSchemaAndLeavesItAlone) {
  const auto known = query(path(), "SELECT name FROM schema_migrations ORDER BY number");
  const std::string next = std::to_string(known.size() + 1);
  execute(path(), "INSERT INTO schema_migrations VALUES (" + next + ", 'newer_views', 5)");
  const std::string sentence = refusal();
  EXPECT_NE(sentence.find("was written by a newer version of Varve"), std::string::npos) << sentence;
  EXPECT_NE(sentence.find("views-1.db"), std::string::npos) << sentence;
  auto expected = known;
  expected.emplace_back("newer_views");
  EXPECT_EQ(query(path(), "SELECT name FROM schema_migrations ORDER BY number"), expected);
}

TEST_F(SqliteViewStoreTest, RefusesAFileMadeByOtherTexts) {
  execute(path(), "UPDATE schema_migrations SET checksum = checksum + 1");
  EXPECT_NE(refusal().find("another text of the migration 0001_views"), std::string::npos);
}

TEST_F(SqliteViewStoreTest, RefusesWhatIsNoDatabase) {
  store_.reset();
  std::filesystem::remove(path());
  std::ofstream{path()} << std::string(10'000, 'x');
  EXPECT_EQ(refusal().substr(0, 8), "corrupt:");
}

TEST_F(SqliteViewStoreTest, RefusesAMissingDirectory) {
  const auto store = SqliteViewStore::open(*env_, {.directory = directory_.path() + "/none"});
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::unavailable);
}

// Two selects of one read, with a whole commit between them.
TEST_F(SqliteViewStoreTest, AReadDoesNotSeeACommitThatFallsIntoIt) {
  ASSERT_EQ(commit(batch_of(0, 0, {message("m1", "a1", at(1))})), "committed");
  auto committed = std::make_shared<std::promise<void>>();
  auto seen = std::make_shared<std::vector<std::int64_t>>();
  auto* env = env_.get();
  auto* store = store_.get();
  std::function<Status(ViewReader&)> work = [=](ViewReader& reader) -> Status {
    seen->push_back(*reader.count({.view = View::messages}));
    // lint: allow(capturing-coroutine) a plain function; the coroutine in it takes its parameters by value
    env->post([=] {
      struct Commit {
        static Task<> run(ViewStore* to, std::shared_ptr<std::promise<void>> done) {
          Batch batch = batch_of(0, 1, {message("m2", "a1", at(2))});
          const auto outcome = co_await to->commit(std::move(batch));
          EXPECT_EQ(text_of(outcome), "committed");
          done->set_value();
          co_return ok();
        }
      };
      env->spawn("commit", Commit::run(store, committed));
    });
    committed->get_future().wait();
    seen->push_back(*reader.count({.view = View::messages}));
    seen->push_back(static_cast<std::int64_t>(reader.checkpoint(Partition{0})->version));
    return ok();
  };
  const auto status = run(*env_, store_->read(std::move(work)));
  ASSERT_TRUE(status) << to_string(status.error());
  EXPECT_EQ(*seen, (std::vector<std::int64_t>{1, 1, 1}));
  EXPECT_EQ(message_ids().size(), 2U);
}

Task<> read_many(Env* env, ViewStore* store, std::size_t reads,
                 std::shared_ptr<std::atomic<std::size_t>> finished) {
  TaskGroup group{*env};
  for (std::size_t i = 0; i < reads; ++i) {
    std::function<Status(ViewReader&)> work = [finished](ViewReader& reader) -> Status {
      const auto counted = reader.count({.view = View::messages});
      if (counted && *counted == 1) ++*finished;
      return ok();
    };
    const auto spawned = group.spawn("read", store->read(std::move(work)));
    if (!spawned) co_return spawned;
  }
  co_return co_await group.join(kNever);
}

TEST_F(SqliteViewStoreTest, MoreReadsThanConnectionsWaitForTheirTurn) {
  ASSERT_EQ(commit(batch_of(0, 0, {message("m1", "a1", at(1))})), "committed");
  auto finished = std::make_shared<std::atomic<std::size_t>>(0);
  const auto status = run(*env_, read_many(env_.get(), store_.get(), 50, finished));
  ASSERT_TRUE(status) << to_string(status.error());
  EXPECT_EQ(finished->load(), 50U);
}

TEST_F(SqliteViewStoreTest, CommitsOfAllPartitionsAreOneTransaction) {
  std::vector<Batch> batches;
  for (std::uint32_t partition = 0; partition < 100; ++partition) {
    batches.push_back(
        batch_of(partition, 0, {message("m" + std::to_string(partition), "a", at(1, 0, partition))}));
  }
  static std::atomic<int> commits{0};
  commits = 0;
  const auto count_commits = [](sqlite3* db, const char**, const void*) {
    sqlite3_commit_hook(
        db, [](void*) { return commits++ < 0 ? 1 : 0; }, nullptr);
    return SQLITE_OK;
  };
  using Entry = int (*)(sqlite3*, const char**, const void*);
  const Entry entry = count_commits;
  sqlite3_auto_extension(reinterpret_cast<void (*)()>(entry));
  store_.reset();
  reopen();
  commits = 0;
  const auto outcomes = run(*env_, commit_together(env_.get(), store_.get(), std::move(batches)));
  sqlite3_reset_auto_extension();
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(*outcomes, std::vector<std::string>(100, "committed"));
  // The first goes alone, or with whoever was there; 64 at most go together.
  EXPECT_LE(commits.load(), 3);
  EXPECT_GE(commits.load(), 2);
}

TEST_F(SqliteViewStoreTest, ACommitWithoutAnAnswerIsUnknown) {
  sqlite3_auto_extension(reinterpret_cast<void (*)()>(watch_commits));
  store_.reset();
  reopen();
  sqlite3_reset_auto_extension();
  refuse_commits = true;
  std::vector<Batch> batches;
  batches.push_back(batch_of(0, 0, {message("m1", "a1", at(1))}));
  const auto outcomes = run(*env_, commit_together(env_.get(), store_.get(), std::move(batches)));
  refuse_commits = false;
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(outcomes->front().substr(0, 15), "outcome_unknown");
  EXPECT_TRUE(message_ids().empty());
  EXPECT_EQ(commit(batch_of(0, 0, {message("m1", "a1", at(1))})), "committed");
}

// As after a full disk: SQLite itself rolls back everything, also what the others of the group had written.
TEST_F(SqliteViewStoreTest, WhenSqliteGivesUpTheTransactionNobodyHasWritten) {
  execute(path(),
          "CREATE TRIGGER disk_full BEFORE INSERT ON tags WHEN new.tag = 'boom' "
          "BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END");
  std::vector<Batch> batches;
  for (std::uint32_t partition = 0; partition < 4; ++partition) {
    const std::string name = std::to_string(partition);
    batches.push_back(batch_of(partition, 0,
                               {message("m" + name, "a", at(1, 0, partition)),
                                tag("a" + name, partition == 2 ? "boom" : "fine", at(1, 1, partition))}));
  }
  const auto outcomes = run(*env_, commit_together(env_.get(), store_.get(), std::move(batches)));
  ASSERT_TRUE(outcomes);
  // The one that found nobody writing may have gone alone.
  for (std::size_t i = 1; i < 4; ++i)
    EXPECT_EQ((*outcomes)[i].substr(0, 11), "unavailable") << (*outcomes)[i];
  const std::size_t alone = (*outcomes)[0] == "committed" ? 1 : 0;
  EXPECT_EQ(message_ids().size(), alone);
  EXPECT_EQ(query(path(), "SELECT version FROM checkpoints").size(), alone);
  execute(path(), "DROP TRIGGER disk_full");
  EXPECT_EQ(commit(batch_of(2, 0, {tag("a2", "boom", at(1, 1, 2))})), "committed");
}

// The paths that must stay fast never sort and never scan.
TEST_F(SqliteViewStoreTest, TheMainQueriesWalkAnIndex) {
  const auto plan = [this](const std::string& sql) {
    auto db = sqlite::Database::open(path(), sqlite::Access::read_only);
    auto statement = db->prepare("EXPLAIN QUERY PLAN " + sql);
    std::string out;
    for (auto row = statement->step(); row && *row; row = statement->step()) {
      out += (out.empty() ? "" : "; ") + std::string{statement->text(3)};
    }
    return out;
  };
  EXPECT_EQ(
      plan("SELECT * FROM messages WHERE 1 AND agent_id = ? AND (from_offset, from_ordinal) < (?, ?) "
           "ORDER BY from_offset DESC, from_ordinal DESC, from_partition DESC LIMIT ?"),
      "SEARCH messages USING INDEX messages_by_agent (agent_id=? AND (from_offset,from_ordinal)<(?,?))");
  EXPECT_EQ(plan("SELECT * FROM messages WHERE 1 AND run_id = ? "
                 "ORDER BY from_offset, from_ordinal, from_partition LIMIT ?"),
            "SEARCH messages USING INDEX messages_by_run (run_id=?)");
  EXPECT_EQ(plan("SELECT * FROM agents WHERE to_offset IS NULL ORDER BY created_at, id LIMIT ?"),
            "SCAN agents USING INDEX agents_by_creation");
  EXPECT_EQ(plan("SELECT * FROM agents WHERE to_offset IS NULL AND name = ? ORDER BY created_at, id LIMIT ?"),
            "SEARCH agents USING INDEX agents_by_name (name=?)");
  // As of a cut: what came later is not walked past, and of an entity one version is looked at.
  Query past{.view = View::messages,
             .where = {equal(messages::agent_id, text("a1"))},
             .open_only = false,
             .order_by = {kFromOffset, kFromOrdinal},
             .descending = true,
             .cut = Cut{{{Partition{0}, Offset{5}}, {Partition{1}, Offset{9}}}}};
  EXPECT_EQ(plan(select_sql(past).text),
            "SEARCH messages USING INDEX messages_by_agent (agent_id=? AND from_offset<?)");
  past.below = std::vector<Value>{number(4), number(0)};
  EXPECT_EQ(
      plan(select_sql(past).text),
      "SEARCH messages USING INDEX messages_by_agent (agent_id=? AND (from_offset,from_ordinal)<(?,?))");
  Query one{.view = View::blocks, .where = {equal(blocks::id, text("b1"))}, .limit = 1, .cut = past.cut};
  EXPECT_NE(plan(select_sql(one).text).find("SEARCH blocks USING INDEX blocks_key (id=? AND from_offset<?)"),
            std::string::npos)
      << plan(select_sql(one).text);
  one.cut = Cut::of_partition({Partition{0}, Offset{5}});
  EXPECT_NE(plan(select_sql(one).text).find("SEARCH blocks USING INDEX blocks_key (id=?)"), std::string::npos)
      << plan(select_sql(one).text);
  EXPECT_EQ(
      plan("UPDATE messages SET to_offset = ?, to_at = ? WHERE to_offset IS NULL AND from_partition = ? "
           "AND id = ?"),
      "SEARCH messages USING INDEX messages_key (id=?)");
}

// ---- the search index ----

std::vector<std::string> indexed(const std::string& path, const std::string& match) {
  return query(path,
               "SELECT messages.id FROM message_words JOIN messages ON messages.rowid = message_words.rowid "
               "WHERE message_words MATCH '" +
                   match + "' ORDER BY messages.id");
}

// As after the migration of a file that had messages before there was an index.
TEST_F(SqliteViewStoreTest, MessagesThatHaveNoWordsYetGetThemWhenTheFileIsOpened) {
  ASSERT_EQ(commit(batch_of(0, 0,
                            {said({"m1", "green tea"}, at(1)), said({"m2", "tea", "system"}, at(2)),
                             said({"m3", "Black Tea"}, at(3)), close(View::messages, {text("m1")}, 4)})),
            "committed");
  store_.reset();
  execute(path(), "INSERT INTO message_words (message_words) VALUES ('delete-all')");
  execute(path(), "UPDATE search_index SET version = 0");
  EXPECT_TRUE(indexed(path(), "tea").empty());
  reopen();
  EXPECT_EQ(indexed(path(), "agent : a1 AND words : tea"), (std::vector<std::string>{"m1", "m3"}));
  EXPECT_EQ(indexed(path(), "black"), std::vector<std::string>{"m3"});
  ASSERT_EQ(commit(batch_of(0, 1, {said({"m4", "tea"}, at(5))})), "committed");
  reopen();
  EXPECT_EQ(indexed(path(), "tea"), (std::vector<std::string>{"m1", "m3", "m4"}));
}

TEST_F(SqliteViewStoreTest, ManyMessagesAreIndexedAtOnceAndFoundBeforeThat) {
  reopen(2);
  ASSERT_EQ(commit(batch_of(0, 0, {agent("a1", "one", 1, at(0)), said({"m1", "tea"}, at(1))})), "committed");
  ASSERT_EQ(commit(batch_of(0, 1, {said({"m2", "tea"}, at(2))})), "committed");
  EXPECT_TRUE(indexed(path(), "tea").empty());
  EXPECT_EQ(found("tea"), "m2 m1");
  ASSERT_EQ(commit(batch_of(0, 2, {said({"m3", "tea"}, at(3))})), "committed");
  EXPECT_EQ(indexed(path(), "tea"), (std::vector<std::string>{"m1", "m2", "m3"}));
  ASSERT_EQ(commit(batch_of(0, 3, {said({"m4", "tea"}, at(4)), said({"m5", "milk"}, at(5))})), "committed");
  EXPECT_EQ(indexed(path(), "tea"), (std::vector<std::string>{"m1", "m2", "m3"}));
  // One of the rows that wait, the rest from the index, newest first; never more than asked for.
  EXPECT_EQ(found("tea"), "m4 m3 m2 m1");
  EXPECT_EQ(found("tea", 2), "m4 m3");
}

TEST_F(SqliteViewStoreTest, TheWriteAheadLogStaysSmall) {
  store_.reset();
  auto store = SqliteViewStore::open(*env_, {.directory = directory_.path(), .checkpoint_pages = 20});
  ASSERT_TRUE(store) << to_string(store.error());
  store_ = *std::move(store);
  constexpr std::uint64_t kCommits = 200;
  for (std::uint64_t i = 0; i < kCommits; ++i) {
    const std::string id = "m" + std::to_string(i);
    ASSERT_EQ(commit(batch_of(0, i, {message(id, "a1", at(i + 1))})), "committed");
  }
  // 20 pages, and what the commit that reached them wrote. Without a checkpoint every commit adds four at
  // least.
  EXPECT_LE(std::filesystem::file_size(path() + "-wal"), std::uint64_t{50} * 4096);
  EXPECT_EQ(message_ids().size(), kCommits);
}

// What was asked for while many commits waited: [offset, end) of the write-ahead log.
struct Writeback {
  std::string file;
  std::int64_t offset;
  std::int64_t end;
};

// Commits one batch to each of four partitions, all at once.
Task<> commit_at_once(Env* env, ViewStore* store, std::uint64_t round) {
  TaskGroup group(*env);
  for (std::uint32_t partition = 0; partition < 4; ++partition) {
    const std::string id = "m" + std::to_string(partition) + "-" + std::to_string(round);
    Task<> one = [](ViewStore* views, Batch batch) -> Task<> {
      const auto done = co_await views->commit(std::move(batch));
      if (!done) co_return done.error();
      co_return ok();
    }(store, batch_of(partition, round, {message(id, "a1", at(round + 1, 0, partition))}));
    if (Status spawned = group.spawn("commit", std::move(one)); !spawned) co_return spawned;
  }
  co_return co_await group.join(kNever);
}

TEST_F(SqliteViewStoreTest, WritebackBeginsBehindCommitsThatShareATransaction) {
  store_.reset();
  constexpr std::int64_t kHead = 32;
  constexpr std::int64_t kFrame = 4096 + 24;
  std::vector<Writeback> asked;  // Of the lane's thread; looked at when that has ended.
  SqliteViewStore::Options options{.directory = directory_.path(), .checkpoint_pages = 200};
  options.begin_writeback = [&asked](const std::string& file, std::int64_t offset, std::int64_t bytes) {
    asked.push_back({file, offset, offset + bytes});
  };
  auto store = SqliteViewStore::open(*env_, options);
  ASSERT_TRUE(store) << to_string(store.error());
  store_ = *std::move(store);
  for (std::uint64_t i = 0; i < 30; ++i) {
    ASSERT_EQ(commit(batch_of(4, i, {message("s" + std::to_string(i), "a1", at(i + 1, 0, 4))})), "committed");
  }
  for (std::uint64_t i = 0; i < 100; ++i) {
    const auto done = run(*env_, commit_at_once(env_.get(), store_.get(), i));
    ASSERT_TRUE(done) << to_string(done.error());
  }
  const std::string log = path() + "-wal";
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(log));
  store_.reset();
  env_->shut_down();

  ASSERT_GE(asked.size(), 3U);
  std::int64_t end = kHead;
  std::size_t restarts = 0;
  for (const Writeback& each : asked) {
    EXPECT_EQ(each.file, log);
    if (each.offset == kHead && end != kHead) ++restarts;
    EXPECT_EQ(each.offset, each.offset == kHead ? kHead : end) << "a hole, or twice";
    EXPECT_EQ((each.end - each.offset) % kFrame, 0);
    EXPECT_GT(each.end, each.offset);
    EXPECT_LE(each.end, size);
    end = each.end;
  }
  EXPECT_GE(restarts, 1U) << "the log begins again after a checkpoint";
  // The thirty that came alone were more than a megabyte, and waited for company.
  EXPECT_GE(asked.front().end - asked.front().offset, 100 * kFrame);
}

TEST_F(SqliteViewStoreTest, WordsOfAnotherVersionAreMadeAnewAndOfThisOneAreKept) {
  ASSERT_EQ(commit(batch_of(0, 0, {said({"m1", "tea"}, at(1))})), "committed");
  reopen();
  store_.reset();
  execute(path(), "INSERT INTO message_words (rowid, words) VALUES (77, 'stale')");
  reopen();
  EXPECT_EQ(query(path(), "SELECT rowid FROM message_words WHERE message_words MATCH 'stale'").size(), 1U);
  EXPECT_EQ(indexed(path(), "tea"), std::vector<std::string>{"m1"});
  store_.reset();
  execute(path(), "UPDATE search_index SET version = version + 1");
  reopen();
  EXPECT_TRUE(query(path(), "SELECT rowid FROM message_words WHERE message_words MATCH 'stale'").empty());
  EXPECT_EQ(indexed(path(), "tea"), std::vector<std::string>{"m1"});
}

TEST_F(SqliteViewStoreTest, TheIndexSplitsWordsAsSearchTermsDoes) {
  // Every character of ASCII between two words, and some beyond it.
  std::string all;
  for (int c = 1; c < 128; ++c) all += std::string{"A"} + static_cast<char>(c) + "z ";
  all += "Ä\u0301 \u00a0 x\u2014y \u3000 \u00df 日本 😀 \ufb01";
  ASSERT_EQ(commit(batch_of(0, 0, {said({"m1", all}, at(1))})), "committed");
  reopen();
  execute(path(), "CREATE VIRTUAL TABLE temp_words USING fts5vocab(message_words, 'instance')");
  std::string words;
  for (const std::string& word :
       query(path(), "SELECT term FROM temp_words WHERE col = 'words' ORDER BY offset"))
    words += (words.empty() ? "" : " ") + word;
  EXPECT_EQ(words, search_words(all));
}

// ---- the control file ----

class SqliteSnapshotStoreTest : public ::testing::Test {
 protected:
  void TearDown() override { env_.shut_down(); }

  std::unique_ptr<SqliteSnapshotStore> open() {
    auto store = SqliteSnapshotStore::open(env_, directory_.path());
    EXPECT_TRUE(store) << to_string(store.error());
    return store ? *std::move(store) : nullptr;
  }

  TempDirectory directory_;
  RealEnv env_;
};

TEST_F(SqliteSnapshotStoreTest, KeepsTheActiveGeneration) {
  auto store = open();
  EXPECT_EQ(*run(env_, store->active_generation()), 1U);
  EXPECT_TRUE(run(env_, store->set_active_generation(7)));
  EXPECT_EQ(*run(env_, store->active_generation()), 7U);
  store.reset();
  store = open();
  EXPECT_EQ(*run(env_, store->active_generation()), 7U);
}

TEST_F(SqliteSnapshotStoreTest, AStateDamagedOnDiskIsReplaced) {
  const auto store = open();
  ASSERT_TRUE(run(env_, store->put({snapshot("agent-1", 5, "good")})));
  execute(directory_.path() + "/control.db", "UPDATE snapshots SET state = 'gooo'");
  ASSERT_TRUE(run(env_, store->put({snapshot("agent-1", 5, "good")})));
  EXPECT_EQ(query(directory_.path() + "/control.db", "SELECT state FROM snapshots"),
            std::vector<std::string>{"good"});
}

TEST_F(SqliteSnapshotStoreTest, APutIsOneTransaction) {
  const auto store = open();
  execute(directory_.path() + "/control.db",
          "CREATE TRIGGER refuse BEFORE INSERT ON snapshots WHEN new.stream = 'agent-2' "
          "BEGIN SELECT RAISE(ABORT, 'no'); END");
  const auto status = run(env_, store->put({snapshot("agent-1", 1, "{}"), snapshot("agent-2", 1, "{}")}));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::unavailable);
  EXPECT_TRUE(query(directory_.path() + "/control.db", "SELECT stream FROM snapshots").empty());
  EXPECT_TRUE(run(env_, store->put({snapshot("agent-1", 1, "{}")})));
}

// What a program has left that knew sequences only.
TEST_F(SqliteSnapshotStoreTest, RowsOfBeforeTheyKnewWhatTheyHaveSeenGoWithTheRecoveryRows) {
  const std::string path = directory_.path() + "/control.db";
  const auto migrations = sqlite_migrations("control");
  open().reset();
  for (const char* table : {"snapshots", "recovery", "active_generation"})
    execute(path, std::string{"DROP TABLE "} + table);
  execute(path, "DELETE FROM schema_migrations");
  execute(path, std::string{migrations[0].sql});
  execute(path, "INSERT INTO schema_migrations VALUES (1, '" + std::string{migrations[0].name} + "', " +
                    std::to_string(static_cast<std::int64_t>(xxh64(migrations[0].sql))) + ")");
  execute(path, "INSERT INTO snapshots VALUES ('agent-1', 0, 5, 1, 0, 0, 0, 0, '{}')");
  execute(path, "INSERT INTO recovery VALUES (0, 1, 10, 1, 1, 'varve', 1, NULL, NULL, 1)");
  const auto store = open();
  EXPECT_FALSE(run(env_, store->get(StreamId{"agent-1"}))->has_value());
  EXPECT_FALSE(run(env_, store->recovery(Partition{0}))->has_value());
  EXPECT_EQ(*run(env_, store->active_generation()), 1U);
}

TEST_F(SqliteSnapshotStoreTest, RefusesAFileOfANewerSchema) {
  open().reset();
  execute(directory_.path() + "/control.db", "INSERT INTO schema_migrations VALUES (3, '0003_control', 5)");
  const auto store = SqliteSnapshotStore::open(env_, directory_.path());
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("newer version of Varve"), std::string::npos) << store.error().message;
}

}  // namespace
}  // namespace varve::test
