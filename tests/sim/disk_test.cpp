// The simulated disk: what a process sees, what a power cut leaves, what fails and how.
#include "sim/disk.h"

#include <gtest/gtest.h>

namespace varve::sim {
namespace {

using Status = DiskStatus;

class DiskTest : public testing::Test {
 protected:
  // Of one seed; the calm one has no chance in it.
  void use_seed(std::uint64_t seed) {
    disk_.reset();
    scheduler_ = std::make_unique<Scheduler>(seed);
    disk_ = std::make_unique<Disk>(*scheduler_, counters_, Disk::Options{});
  }
  void use_calm() {
    disk_.reset();
    calm_ = std::make_unique<Choices>(Tape{});
    scheduler_ = std::make_unique<Scheduler>(*calm_);
    disk_ = std::make_unique<Disk>(*scheduler_, counters_, Disk::Options{});
  }
  void SetUp() override { use_calm(); }

  Disk::Handle open(const std::string& path) { return *disk_->open(path, true); }
  // A file that has been there for long.
  Disk::Handle durable(const std::string& path, const std::string& content) {
    const Disk::Handle file = open(path);
    disk_->write(file, content, 0);
    EXPECT_EQ(Status::done, disk_->sync(file));
    EXPECT_EQ(Status::done, disk_->sync_directory("/data"));
    return file;
  }
  std::string read(const Disk::Handle& file, std::size_t size, std::uint64_t at) {
    std::string bytes(size, '?');
    bytes.resize(disk_->read(file, bytes.data(), size, at).bytes);
    return bytes;
  }

  Counters counters_;
  std::unique_ptr<Choices> calm_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Disk> disk_;
};

TEST_F(DiskTest, WhatWasWrittenIsReadAndAHoleIsZeros) {
  const Disk::Handle file = open("/data/a");
  disk_->write(file, "tail", 6);
  disk_->write(file, "he", 0);
  EXPECT_EQ(std::string("he\0\0\0\0tail", 10), read(file, 100, 0));
  EXPECT_EQ("ail", read(file, 3, 7));
  EXPECT_EQ("", read(file, 3, 10));
  disk_->truncate(file, 1);
  EXPECT_EQ("h", read(file, 100, 0));
}

TEST_F(DiskTest, TheCalmPowerCutLosesNothing) {
  disk_->write(open("/data/a"), "written", 0);
  disk_->power_cut();
  EXPECT_EQ("written", disk_->content("/data/a"));
}

TEST_F(DiskTest, WhatWasSyncedSurvivesEveryPowerCut) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    use_seed(seed);
    const Disk::Handle file = durable("/data/a", "synced");
    disk_->write(file, "+more", 6);
    disk_->power_cut();
    ASSERT_EQ("synced", disk_->content("/data/a").substr(0, 6)) << seed;
  }
}

TEST_F(DiskTest, APowerCutKeepsLosesTearsAndReordersWhatWasNotSynced) {
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    use_seed(seed);
    const Disk::Handle file = durable("/data/a", std::string(2048, '.'));
    disk_->write(file, std::string(1024, '1'), 0);
    disk_->write(file, std::string(1024, '2'), 1024);
    disk_->power_cut();
    const std::string left = disk_->content("/data/a");
    ASSERT_EQ(2048U, left.size());
    std::string sectors;
    for (std::size_t i = 0; i < 4; ++i) {
      const std::string sector = left.substr(i * 512, 512);
      ASSERT_EQ(std::string(512, sector[0]), sector) << "a sector is old or new, never half of each";
      sectors += sector[0];
    }
    outcomes.insert(sectors);
  }
  EXPECT_TRUE(outcomes.contains("1122"));
  EXPECT_TRUE(outcomes.contains("...."));
  EXPECT_TRUE(outcomes.contains("11.."));
  EXPECT_TRUE(outcomes.contains("..22")) << "the later write without the earlier one";
  EXPECT_TRUE(outcomes.contains(".122") || outcomes.contains("1.22")) << "a torn write";
}

TEST_F(DiskTest, ANameIsDurableWithItsDirectoryOnly) {
  bool lost = false;
  bool back = false;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    use_seed(seed);
    durable("/data/old", "old");
    disk_->remove("/data/old");
    const Disk::Handle file = open("/data/new");
    disk_->write(file, "new", 0);
    disk_->sync(file);  // Not the directory.
    disk_->power_cut();
    lost = lost || !disk_->exists("/data/new");
    back = back || disk_->exists("/data/old");
    use_seed(seed);
    durable("/data/old", "old");
    disk_->remove("/data/old");
    durable("/data/new", "new");
    disk_->power_cut();
    EXPECT_EQ("new", disk_->content("/data/new"));
    EXPECT_FALSE(disk_->exists("/data/old"));
  }
  EXPECT_TRUE(lost);
  EXPECT_TRUE(back);
}

TEST_F(DiskTest, ARenamingIsWholeOrNotAtAll) {
  std::set<std::vector<std::string>> outcomes;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    use_seed(seed);
    durable("/data/a", "a");
    EXPECT_EQ(Status::done, disk_->rename("/data/a", "/data/b"));
    disk_->power_cut();
    outcomes.insert(disk_->files());
  }
  EXPECT_EQ((std::set<std::vector<std::string>>{{"/data/a"}, {"/data/b"}}), outcomes);
}

TEST_F(DiskTest, TheDeathOfAProcessLosesNothingButItsHandles) {
  const Disk::Handle file = open("/data/a");
  disk_->write(file, "written", 0);
  EXPECT_TRUE(disk_->lock("/data"));
  EXPECT_FALSE(disk_->lock("/data"));
  disk_->kill();
  EXPECT_TRUE(disk_->lock("/data"));
  EXPECT_EQ("written", disk_->content("/data/a"));
  EXPECT_EQ(Status::failed, disk_->write(file, "late", 0).status);
  EXPECT_EQ(Status::failed, disk_->sync(file));
  EXPECT_EQ(Status::failed, disk_->truncate(file, 0));
  EXPECT_EQ("written", disk_->content("/data/a"));
}

TEST_F(DiskTest, AFailedSyncLeavesBytesThatTheNextSyncDoesNotSave) {
  bool lost = false;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    use_seed(seed);
    const Disk::Handle file = durable("/data/a", "old");
    disk_->write(file, "new", 0);
    Disk::Faults faults;
    faults.sync_error_ppm = 1'000'000;
    disk_->set_faults(faults);
    EXPECT_EQ(Status::failed, disk_->sync(file));
    disk_->set_faults({});
    EXPECT_EQ(Status::done, disk_->sync(file));
    EXPECT_EQ("new", disk_->content("/data/a")) << "the cache has them";
    disk_->power_cut();
    lost = lost || disk_->content("/data/a") == "old";
  }
  EXPECT_TRUE(lost);
}

TEST_F(DiskTest, AFullDiskTakesWhatFits) {
  disk_->set_capacity(5);
  const Disk::Handle file = open("/data/a");
  const DiskResult put = disk_->write(file, "1234567", 0);
  EXPECT_EQ(Status::full, put.status);
  EXPECT_EQ(5U, put.bytes);
  EXPECT_EQ(Status::done, disk_->write(file, "abc", 0).status) << "what is there may be written again";
  disk_->set_capacity(100);
  EXPECT_EQ(Status::done, disk_->write(file, "67", 5).status);
  EXPECT_EQ("abc4567", disk_->content("/data/a"));
}

TEST_F(DiskTest, ReadsAreShortOrFailWhenTheyAreToldTo) {
  use_seed(1);
  const Disk::Handle file = durable("/data/a", "0123456789");
  Disk::Faults faults;
  faults.short_read_ppm = 1'000'000;
  disk_->set_faults(faults);
  const std::string some = read(file, 10, 0);
  EXPECT_LT(some.size(), 10U);
  EXPECT_GT(some.size(), 0U);
  EXPECT_EQ(std::string("0123456789").substr(0, some.size()), some);
  faults.read_error_ppm = 1'000'000;
  disk_->set_faults(faults);
  char byte = 0;
  EXPECT_EQ(Status::failed, disk_->read(file, &byte, 1, 0).status);
}

TEST_F(DiskTest, TheMachineStandsStillAtTheChosenOperation) {
  const Disk::Handle file = durable("/data/a", "old");
  disk_->crash_at_operation(disk_->operations() + 2);
  EXPECT_EQ(Status::done, disk_->write(file, "one", 0).status);
  EXPECT_FALSE(disk_->frozen());
  EXPECT_EQ(Status::failed, disk_->write(file, "two", 0).status);
  EXPECT_TRUE(disk_->frozen());
  EXPECT_EQ(Status::failed, disk_->sync(file));
  EXPECT_FALSE(disk_->open("/data/b", true));
  disk_->power_cut();
  EXPECT_FALSE(disk_->frozen());
  EXPECT_EQ("one", disk_->content("/data/a"));
}

TEST_F(DiskTest, RotTurnsBitsOnThePlatterToo) {
  durable("/data/a", "abc");
  EXPECT_FALSE(disk_->rot("/data/a", 3, 1));
  EXPECT_TRUE(disk_->rot("/data/a", 1, 0x20));
  EXPECT_EQ("aBc", disk_->content("/data/a"));
  disk_->power_cut();
  EXPECT_EQ("aBc", disk_->content("/data/a"));
}

TEST_F(DiskTest, AForkIsADiskOfItsOwn) {
  const Disk::Handle file = open("/data/a");
  disk_->write(file, "cached", 0);
  const auto copy = disk_->fork(counters_);
  disk_->write(file, "later!", 0);
  EXPECT_EQ("cached", copy->content("/data/a"));
}

}  // namespace
}  // namespace varve::sim
