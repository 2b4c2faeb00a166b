// The text of a cut, and what it holds.
#include "eventlog/cut.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

LogPosition position(std::uint32_t partition, std::uint64_t offset) {
  return {Partition{partition}, Offset{offset}};
}

TEST(Cut, IsPrintedByPartitionAndReadBack) {
  struct Case {
    std::vector<LogPosition> positions;
    const char* text;
  };
  const std::vector<Case> cases{
      {{}, ","},
      {{position(0, 17)}, "0:17,"},
      {{position(0, 17), position(1, 88)}, "0:17,1:88"},
      {{position(1, 88), position(0, 17)}, "0:17,1:88"},
      {{position(1, 5), position(0, 17), position(1, 0)}, "0:17,1:0"},
      {{position(1023, 18446744073709551615U)}, "1023:18446744073709551615,"},
  };
  for (const Case& one : cases) {
    const Cut cut{one.positions};
    EXPECT_EQ(one.text, to_string(cut));
    const auto read = parse_cut(one.text);
    ASSERT_TRUE(read) << one.text;
    EXPECT_EQ(cut, *read) << one.text;
  }
  EXPECT_EQ((Cut{{position(0, 1), position(2, 3)}}), *parse_cut("2:3,0:1,"));
}

TEST(Cut, WhatIsNoCutIsRefused) {
  for (const char* text : {"", "0:17", ",,", "0:17,,", ",0:17", "0:17,0:18", "0:17,0:17", "a:1,", "0:-1,",
                           "0:1;1:2", "1024:0,", "0:18446744073709551616,", "0:17,*", "*", " ,", "0:17, 1:2"})
    EXPECT_FALSE(parse_cut(text)) << text;
}

TEST(Cut, HoldsWhatIsAtItsOffsetsOrBefore) {
  const Cut cut{{position(0, 17), position(2, 0)}};
  EXPECT_TRUE(cut.holds(position(0, 17)));
  EXPECT_FALSE(cut.holds(position(0, 18)));
  EXPECT_FALSE(cut.holds(position(1, 0)));
  EXPECT_TRUE(cut.holds(position(2, 0)));
  EXPECT_FALSE(cut.holds(position(2, 1)));
  EXPECT_FALSE(Cut{}.holds(position(0, 0)));
  EXPECT_EQ(Offset{17}, cut.last(Partition{0}));
  EXPECT_FALSE(cut.last(Partition{1}));
}

TEST(Cut, OfOnePartitionHasTheOthersWhole) {
  const Cut cut = Cut::of_partition(position(1, 5));
  EXPECT_TRUE(cut.holds(position(1, 5)));
  EXPECT_FALSE(cut.holds(position(1, 6)));
  EXPECT_TRUE(cut.holds(position(0, 1'000'000)));
  EXPECT_EQ("1:5,*", to_string(cut));
  EXPECT_NE(cut, (Cut{{position(1, 5)}}));
}

}  // namespace
}  // namespace varve
