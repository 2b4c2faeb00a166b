// The SQLite log takes the exam of the port; then what its file, its lock and its readers promise. Failing
// disks and dying processes: sqlite_event_log_fault_test.cpp.
#include "eventlog/sqlite_event_log.h"

#include <fstream>
#include <sstream>

#include "eventlog/sqlite_log_file.h"
#include "tests/eventlog/sqlite_log_support.h"

namespace varve::test {
namespace {

class SqliteWorld final : public LogWorld {
 public:
  std::unique_ptr<EventLog> open(Env& env) override { return open_sqlite_log(env, directory_.path()); }

 private:
  TemporaryDirectory directory_;
};

const LogCase kCases[] = {{"sqlite", [] { return std::make_unique<SqliteWorld>(); }}};

INSTANTIATE_TEST_SUITE_P(Sqlite, EventLogContract, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

class SqliteEventLogTest : public ::testing::Test {
 protected:
  void execute(const std::string& sql) {
    auto db = sqlite::Database::open(directory_.path() + "/log.db", sqlite::Access::read_write);
    ASSERT_TRUE(db);
    const Status done = db->exec(sql);
    ASSERT_TRUE(done) << to_string(done.error());
  }
  void write(std::initializer_list<const char*> records) {
    Life life(directory_.path());
    for (const char* record : records) ASSERT_TRUE(life.append(record));
  }
  // What a worker reads from `from` on, batch by batch, and the error that stops it.
  std::string read(Offset from = Offset{}) {
    Life life(directory_.path());
    std::string text;
    while (true) {
      const auto batch = run(life.env, read_once(life.log.get(), Partition{0}, from, {}));
      if (!batch) return text + "| " + to_string(batch.error());
      if (batch->records.empty()) return text;
      text += text_of(batch->records) + " ";
      from = batch->next;
    }
  }
  std::string open_error(std::uint32_t partitions = kPartitionsDefault) {
    RealEnv env;
    const auto log = SqliteEventLog::open(env, {directory_.path(), partitions});
    return log ? "none" : to_string(log.error());
  }

  TemporaryDirectory directory_;
};

TEST_F(SqliteEventLogTest, MakesItsDirectoryForItsOwnUserOnly) {
  const std::string path = directory_.path() + "/var/lib/varve";
  const Life life(path);
  ASSERT_NE(life.log, nullptr);
  EXPECT_EQ(std::filesystem::perms::owner_all, std::filesystem::status(path).permissions());
}

TEST_F(SqliteEventLogTest, ASecondServerIsRefusedByName) {
  {
    const Life first(directory_.path());
    EXPECT_EQ("conflict: another server (process " + std::to_string(::getpid()) + ") uses " +
                  directory_.path() + "; stop it first, or give this one a data directory of its own",
              open_error());
  }
  EXPECT_EQ("none", open_error());
}

TEST_F(SqliteEventLogTest, AnotherNumberOfPartitionsIsRefused) {
  write({"a"});
  EXPECT_EQ(
      "invalid_argument: the log in " + directory_.path() +
          " was made with 4 partitions, the configuration says 8; the number is fixed when a log is made",
      open_error(8));
  EXPECT_EQ("invalid_argument: the number of partitions must be 1 to 1024", open_error(0));
  EXPECT_EQ("a ", read());
}

TEST_F(SqliteEventLogTest, ALogOfANewerProgramIsRefused) {
  write({"a"});
  execute("UPDATE meta SET value = 2 WHERE name = 'format'");
  const std::string refusal = "invalid_argument: the log in " + directory_.path() +
                              " has format 2, this program knows format 1; upgrade first";
  EXPECT_EQ(refusal, open_error());
  RealEnv env;
  const auto reader = SqliteLogReader::open(env, directory_.path());
  ASSERT_FALSE(reader);
  EXPECT_EQ(refusal, to_string(reader.error()));
}

TEST_F(SqliteEventLogTest, AFileThatIsNoDatabaseIsCorrupt) {
  std::ofstream(directory_.path() + "/log.db") << std::string(10'000, 'x');
  EXPECT_EQ("corrupt", open_error().substr(0, 7));
}

TEST_F(SqliteEventLogTest, ADirectoryThatCannotBeMadeIsNamed) {
  std::ofstream(directory_.path() + "/file") << "x";
  RealEnv env;
  const auto log = SqliteEventLog::open(env, {.directory = directory_.path() + "/file/data"});
  ASSERT_FALSE(log);
  EXPECT_EQ(Errc::unavailable, log.error().code);
  EXPECT_NE(std::string::npos, log.error().message.find(directory_.path() + "/file"));
}

TEST_F(SqliteEventLogTest, OffsetsAreDense) {
  Life life(directory_.path());
  EXPECT_EQ("0", life.outcome("a"));
  EXPECT_EQ("1", life.outcome("b"));
  EXPECT_EQ("2", life.outcome("c"));
}

TEST_F(SqliteEventLogTest, DamagedBytesAreNamedAndWhatLiesBeforeThemIsRead) {
  write({"good one", "the needle", "good two"});
  const std::string path = directory_.path() + "/log.db";
  std::stringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  std::string bytes = content.str();
  const std::size_t at = bytes.find("needle");
  ASSERT_NE(std::string::npos, at);
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  EXPECT_EQ("good one | corrupt: record 0:1 fails its checksum", read());
  EXPECT_EQ("good two ", read(Offset{2}));
}

TEST_F(SqliteEventLogTest, EveryColumnIsUnderTheChecksum) {
  write({"a", "b", "c"});
  execute("UPDATE records_0 SET key = 'agent-2' WHERE offset = 1");
  EXPECT_EQ("a | corrupt: record 0:1 fails its checksum", read());
  execute("UPDATE records_0 SET key = 'agent-1', checksum = checksum + 1 WHERE offset = 1");
  EXPECT_EQ("a | corrupt: record 0:1 fails its checksum", read());
  execute("UPDATE records_0 SET checksum = checksum - 1 WHERE offset = 1");
  EXPECT_EQ("a b c ", read());
}

TEST_F(SqliteEventLogTest, RecordsThatChangedPlacesAreFound) {
  write({"a", "b", "c"});
  execute(
      "UPDATE records_0 SET offset = 9 WHERE offset = 0; UPDATE records_0 SET offset = 0 WHERE offset = 1;"
      "UPDATE records_0 SET offset = 1 WHERE offset = 9");
  EXPECT_EQ("| corrupt: record 0:0 fails its checksum", read());
  execute("INSERT INTO records_1 SELECT * FROM records_0 WHERE offset = 2");
  Life life(directory_.path());
  const auto moved = run(life.env, read_once(life.log.get(), Partition{1}, Offset{2}, {}));
  ASSERT_FALSE(moved);
  EXPECT_EQ("corrupt: record 1:2 fails its checksum", to_string(moved.error()));
}

TEST_F(SqliteEventLogTest, AMissingRecordIsNamed) {
  write({"a", "b", "c"});
  execute("DELETE FROM records_0 WHERE offset = 1");
  EXPECT_EQ("a | corrupt: record 0:1 is missing from the log", read());
}

TEST_F(SqliteEventLogTest, ALogThatLostItsEndIsNoticedByItsReaders) {
  write({"a", "b", "c"});
  execute("DELETE FROM records_0 WHERE offset >= 1");
  EXPECT_EQ("| corrupt: the log of partition 0 ends at 1, a reader wants 3: it was truncated or exchanged",
            read(Offset{3}));
}

TEST_F(SqliteEventLogTest, RecordsThatLeftTheTailAreReadFromTheFile) {
  Life life(directory_.path());
  const std::size_t count = SqliteEventLog::kTailRecordsMax + 500;
  std::string expected;
  std::vector<Delivery> deliveries;
  for (std::size_t i = 0; i < count; ++i) {
    expected += (i == 0 ? "" : " ") + std::to_string(i);
    auto delivery = life.log->append(Partition{0}, "agent-1", std::to_string(i));
    ASSERT_TRUE(delivery);
    deliveries.push_back(*delivery);
  }
  ASSERT_TRUE(run(life.env, outcome_of(&life.env, deliveries.back())));
  EXPECT_EQ(expected, life.records());
  const auto one = run(life.env, read_once(life.log.get(), Partition{0}, Offset{499}, {.records_max = 2}));
  ASSERT_TRUE(one);
  EXPECT_EQ("499 500", text_of(one->records));
}

TEST_F(SqliteEventLogTest, ReadsDoNotWaitForEachOther) {
  write({"a", "b", "c"});
  Life life(directory_.path());  // An empty tail: all of these go to the file, at once.
  auto texts = std::make_shared<std::vector<std::string>>();
  for (std::uint64_t from = 0; from < 3; ++from) {
    life.env.spawn("reader",
                   [](EventLog* log, Offset at, std::shared_ptr<std::vector<std::string>> out) -> Task<> {
                     const ReadOptions options;
                     const auto batch = co_await log->read(Partition{0}, at, options);
                     out->push_back(batch ? text_of(batch->records) : to_string(batch.error()));
                     co_return ok();
                   }(life.log.get(), Offset{from}, texts));
  }
  while (texts->size() < 3) life.env.io_context().run_one();
  std::sort(texts->begin(), texts->end());
  EXPECT_EQ((std::vector<std::string>{"a b c", "b c", "c"}), *texts);
}

class SqliteLogReaderTest : public SqliteEventLogTest {};

TEST_F(SqliteLogReaderTest, ReadsBesideTheServer) {
  Life life(directory_.path());
  ASSERT_TRUE(life.append("a"));
  const auto reader = SqliteLogReader::open(life.env, directory_.path());
  ASSERT_TRUE(reader) << to_string(reader.error());
  EXPECT_EQ(4U, (*reader)->partitions());
  EXPECT_EQ("a", text_of(*run(life.env, read_to_end(reader->get(), Partition{0}, Offset{}))));
  ASSERT_TRUE(life.append("b"));
  EXPECT_EQ("a b", text_of(*run(life.env, read_to_end(reader->get(), Partition{0}, Offset{}))));
  EXPECT_EQ(Offset{2}, *run(life.env, read_end(reader->get(), Partition{0})));
}

TEST_F(SqliteLogReaderTest, WaitsAtTheEnd) {
  Life life(directory_.path());
  const auto reader = SqliteLogReader::open(life.env, directory_.path());
  ASSERT_TRUE(reader);
  const ReadOptions patient{.wait_until = life.env.now() + std::chrono::seconds(20)};
  Task<ReadBatch> waiting = read_once(reader->get(), Partition{0}, Offset{}, patient);
  life.env.post([&life] { ASSERT_TRUE(life.log->append(Partition{0}, "agent-1", "a")); });
  const auto batch = run(life.env, std::move(waiting));
  ASSERT_TRUE(batch);
  EXPECT_EQ("a", text_of(batch->records));
  const ReadOptions hasty{.wait_until = life.env.now() + std::chrono::milliseconds(30)};
  const auto nothing = run(life.env, read_once(reader->get(), Partition{0}, Offset{1}, hasty));
  ASSERT_TRUE(nothing);
  EXPECT_TRUE(nothing->records.empty());
}

TEST_F(SqliteLogReaderTest, NeverWrites) {
  write({"a"});
  RealEnv env;
  const auto reader = SqliteLogReader::open(env, directory_.path());
  ASSERT_TRUE(reader);
  const auto refused = (*reader)->append(Partition{0}, "agent-1", "b");
  ASSERT_FALSE(refused);
  EXPECT_EQ("unavailable: the log in " + directory_.path() + " is open for reading only",
            to_string(refused.error()));
  EXPECT_EQ("a", text_of(*run(env, read_to_end(reader->get(), Partition{0}, Offset{}))));
}

TEST_F(SqliteLogReaderTest, RefusesWhatTheServerRefuses) {
  write({"a", "b"});
  execute("UPDATE records_0 SET bytes = 'x' WHERE offset = 1");
  RealEnv env;
  const auto reader = SqliteLogReader::open(env, directory_.path());
  ASSERT_TRUE(reader);
  const auto damaged = run(env, read_once(reader->get(), Partition{0}, Offset{1}, {}));
  ASSERT_FALSE(damaged);
  EXPECT_EQ("corrupt: record 0:1 fails its checksum", to_string(damaged.error()));
  const auto beyond = run(env, read_once(reader->get(), Partition{0}, Offset{3}, {}));
  ASSERT_FALSE(beyond);
  EXPECT_EQ(Errc::corrupt, beyond.error().code);
}

TEST_F(SqliteLogReaderTest, SaysThatThereIsNoLog) {
  RealEnv env;
  const auto reader = SqliteLogReader::open(env, directory_.path());
  ASSERT_FALSE(reader);
  EXPECT_EQ("not_found: there is no log in " + directory_.path(), to_string(reader.error()));
}

TEST_F(SqliteLogReaderTest, ReadsFromAnotherProcess) {
  Pipe go;
  const std::string path = directory_.path();
  const pid_t child = start_child([&go, path] {
    go.close_writing();
    if (go.read_line() != "go") return 2;
    RealEnv env;
    const auto reader = SqliteLogReader::open(env, path);
    if (!reader) return 3;
    const auto records = run(env, read_to_end(reader->get(), Partition{0}, Offset{}));
    if (!records) return 4;
    return text_of(*records) == "a b" ? 0 : 5;
  });
  go.close_reading();
  Life life(path);
  ASSERT_TRUE(life.append("a"));
  ASSERT_TRUE(life.append("b"));
  ASSERT_TRUE(go.write("go\n"));
  EXPECT_EQ(0, wait_for(child));
}

}  // namespace
}  // namespace varve::test
