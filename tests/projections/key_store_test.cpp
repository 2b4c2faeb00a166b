// The key stores of one process: the exam of every key store, and what only a file can get wrong: that the
// bytes of a destroyed key are still in it.
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "projections/memory_key_store.h"
#include "projections/sqlite_key_store.h"
#include "tests/projections/key_store_contract.h"
#include "tests/projections/temp_directory.h"

namespace varve::test {
namespace {

class MemoryKeyWorld final : public KeyStoreWorld {
 public:
  std::unique_ptr<KeyStore> open(Env& env) override {
    return std::make_unique<MemoryKeyStore>(env, storage_);
  }

 private:
  std::shared_ptr<MemoryKeyStorage> storage_ = std::make_shared<MemoryKeyStorage>();
};

class SqliteKeyWorld final : public KeyStoreWorld {
 public:
  std::unique_ptr<KeyStore> open(Env& env) override {
    auto store = SqliteKeyStore::open(env, directory_.path());
    EXPECT_TRUE(store) << to_string(store.error());
    return store ? *std::move(store) : nullptr;
  }

 private:
  TempDirectory directory_;
};

INSTANTIATE_TEST_SUITE_P(Memory, KeyStoreContract,
                         ::testing::Values(KeyStoreCase{"memory",
                                                        [] { return std::make_unique<MemoryKeyWorld>(); }}),
                         name_of_key_case);
INSTANTIATE_TEST_SUITE_P(Sqlite, KeyStoreContract,
                         ::testing::Values(KeyStoreCase{"sqlite",
                                                        [] { return std::make_unique<SqliteKeyWorld>(); }}),
                         name_of_key_case);

class SqliteKeys : public ::testing::Test {
 protected:
  void TearDown() override { env_.shut_down(); }

  // Every byte of every file of the directory, one file behind the other.
  std::string everything() const {
    std::string all;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      std::ifstream file(entry.path(), std::ios::binary);
      all.append(std::istreambuf_iterator<char>(file), {});
    }
    return all;
  }
  static std::string bytes_of(const StreamKey& key) { return {key.bytes.begin(), key.bytes.end()}; }

  TempDirectory directory_;
  RealEnv env_;
};

TEST_F(SqliteKeys, TheBytesOfADestroyedKeyAreInNoFile) {
  auto store = *SqliteKeyStore::open(env_, directory_.path());
  std::vector<StreamId> streams;
  for (int i = 0; i < 200; ++i) streams.emplace_back("agent-" + std::to_string(i));
  const auto made = run(env_, store->create(streams));
  ASSERT_TRUE(made);
  const std::string before = everything();
  for (const auto& [stream, key] : *made) ASSERT_NE(std::string::npos, before.find(bytes_of(key)));
  // Some now and the rest later: pages are split, merged and freed.
  const std::vector<StreamId> some(streams.begin(), streams.begin() + 77);
  ASSERT_TRUE(run(env_, store->destroy(some)));
  std::string after = everything();
  for (const StreamId& stream : some) EXPECT_EQ(std::string::npos, after.find(bytes_of(made->at(stream))));
  ASSERT_TRUE(run(env_, store->destroy(streams)));
  after = everything();
  for (const auto& [stream, key] : *made) EXPECT_EQ(std::string::npos, after.find(bytes_of(key)));
}

TEST_F(SqliteKeys, TheFileIsMadeWithTheFirstKeyAndForItsOwnerOnly) {
  auto store = *SqliteKeyStore::open(env_, directory_.path());
  ASSERT_TRUE(run(env_, store->read({StreamId{"agent-1"}})));
  ASSERT_TRUE(run(env_, store->destroy({StreamId{"agent-1"}})));
  const std::string path = SqliteKeyStore::path_of(directory_.path());
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(run(env_, store->create({StreamId{"agent-1"}})));
  struct stat status {};
  ASSERT_EQ(0, ::stat(path.c_str(), &status));
  EXPECT_EQ(0600U, status.st_mode & 0777U);
}

TEST_F(SqliteKeys, ADamagedFileIsAnErrorAndNotAnEmptyStore) {
  {
    auto store = *SqliteKeyStore::open(env_, directory_.path());
    ASSERT_TRUE(run(env_, store->create({StreamId{"agent-1"}})));
  }
  std::ofstream(SqliteKeyStore::path_of(directory_.path()))
      << "no database at all, but long enough to be one";
  const auto opened = SqliteKeyStore::open(env_, directory_.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(Errc::corrupt, opened.error().code);
}

}  // namespace
}  // namespace varve::test
