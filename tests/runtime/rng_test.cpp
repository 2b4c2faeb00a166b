#include "runtime/rng.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace varve {
namespace {

TEST(Rng, ASeedMeansTheSameForEver) {
  Rng rng(42);
  EXPECT_EQ(1546998764402558742ULL, rng.u64());
  EXPECT_EQ(6990951692964543102ULL, rng.u64());
  Rng again(42);
  EXPECT_EQ("16c72e0c-2e0b-4815-be3a-116d86d90461", uuid4(again));
}

TEST(Rng, StaysInItsBounds) {
  Rng rng(1);
  std::array<int, 5> counts{};
  for (int i = 0; i < 5000; ++i) ++counts[rng.below(5)];
  for (const int count : counts) EXPECT_GT(count, 800);
  for (int i = 0; i < 1000; ++i) {
    const auto value = rng.between(10, 12);
    EXPECT_TRUE(value >= 10 && value <= 12);
  }
  EXPECT_TRUE(rng.chance(1, 1));
  EXPECT_FALSE(rng.chance(0, 1));
}

TEST(Rng, ForksAreTheirOwn) {
  Rng a(7);
  Rng b(7);
  EXPECT_EQ(a.fork("disk").u64(), b.fork("disk").u64());
  EXPECT_NE(Rng(7).fork("disk").u64(), Rng(7).fork("network").u64());
}

TEST(Uuid, IsVersionFourInLowerCase) {
  Rng rng(3);
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = uuid4(rng);
    EXPECT_TRUE(is_uuid4(id)) << id;
    EXPECT_TRUE(seen.insert(id).second);
  }
  EXPECT_FALSE(is_uuid4("123E4567-e89b-42d3-8456-426614174000"));
  EXPECT_FALSE(is_uuid4("123e4567-e89b-12d3-8456-426614174000"));  // Version 1.
  EXPECT_FALSE(is_uuid4("123e4567-e89b-42d3-7456-426614174000"));  // Another variant.
  EXPECT_FALSE(is_uuid4("123e4567e89b42d38456426614174000"));
}

}  // namespace
}  // namespace varve
