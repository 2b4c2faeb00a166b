#include "runtime/result.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "eventlog/ids.h"

namespace varve {
namespace {

TEST(Result, IsAnErrorUntilSomebodySaysOtherwise) {
  const Result<int> never;
  ASSERT_FALSE(never.has_value());
  EXPECT_EQ(Errc::cancelled, never.error().code);
  EXPECT_FALSE(Status{}.has_value());
}

TEST(Result, HoldsAValueOrAnError) {
  const Result<std::string> value{std::string("x")};
  EXPECT_EQ("x", *value);
  const Result<std::string> error{Error{Errc::conflict, "no"}};
  EXPECT_EQ("conflict: no", to_string(error.error()));
}

TEST(ResultDeathTest, ReadingTheWrongSideIsABug) {
  const Result<int> error{Error{Errc::conflict, "no"}};
  EXPECT_DEATH((void)*error, "CHECK failed");
  const Result<int> value{1};
  EXPECT_DEATH((void)value.error(), "CHECK failed");
}

// Domain types do not turn into each other or into numbers.
static_assert(!std::is_convertible_v<Offset, Sequence>);
static_assert(!std::is_convertible_v<Offset, std::uint64_t>);
static_assert(!std::is_convertible_v<std::uint64_t, Offset>);
static_assert(!std::is_constructible_v<Sequence, Offset>);

}  // namespace
}  // namespace varve
