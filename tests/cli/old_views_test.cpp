// What a start removes from the data directory, and all that it must leave alone.
#include "cli/old_views.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace varve {
namespace {

class OldViewsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "varve-old-views-XXXXXX").string();
    ASSERT_NE(nullptr, ::mkdtemp(name.data()));
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void make(const std::string& name) { std::ofstream{directory_ / name} << "x"; }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory_))
      found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  }

  std::filesystem::path directory_;
};

using Names = std::vector<std::string>;

TEST_F(OldViewsTest, FilesOfOlderGenerationsGoWithWhatLiesBesideThem) {
  for (const char* name : {"views-1.db", "views-1.db-wal", "views-1.db-shm", "views-9.db"}) make(name);
  for (const char* name : {"views-10.db", "views-10.db-wal", "views-10.db-shm", "log.db"}) make(name);
  const OldViews old = remove_old_views(directory_.string(), 10);
  EXPECT_EQ((Names{"views-1.db", "views-1.db-shm", "views-1.db-wal", "views-9.db"}), old.removed);
  EXPECT_EQ(Names{}, old.failed);
  EXPECT_EQ((Names{"log.db", "views-10.db", "views-10.db-shm", "views-10.db-wal"}), names());
  EXPECT_EQ(Names{}, remove_old_views(directory_.string(), 10).removed);
}

TEST_F(OldViewsTest, EverythingElseStays) {
  const Names others{"LOCK",           "control.db",
                     "log.db",         "log.db-wal",
                     "my-views-1.db",  "views-.db",
                     "views-01.db",    "views-1",
                     "views-1.db.bak", "views-1x.db",
                     "views-2.db",     "views-3.db",
                     "views--1.db",    "views-99999999999999999999.db"};
  for (const std::string& name : others) make(name);
  std::filesystem::create_directory(directory_ / "views-1.db");
  std::filesystem::create_symlink(directory_ / "log.db", directory_ / "views-1.db-wal");
  const OldViews old = remove_old_views(directory_.string(), 2);
  EXPECT_EQ(Names{}, old.removed);
  EXPECT_EQ(others.size() + 2, names().size());
}

TEST_F(OldViewsTest, ADirectoryThatCannotBeReadIsAComplaintNoMore) {
  const OldViews old = remove_old_views((directory_ / "none").string(), 2);
  EXPECT_EQ(Names{}, old.removed);
  EXPECT_EQ(1U, old.failed.size());
}

}  // namespace
}  // namespace varve
