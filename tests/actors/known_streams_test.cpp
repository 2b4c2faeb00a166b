#include "actors/known_streams.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "runtime/rng.h"

namespace varve {
namespace {

TEST(KnownStreams, NobodyIsKnownAtFirst) {
  const KnownStreams known;
  EXPECT_FALSE(known.contains(StreamId{"agent-1"}));
  EXPECT_EQ(Offset{}, known.last(StreamId{"agent-1"}));
  EXPECT_EQ(0U, known.size());
}

TEST(KnownStreams, TheLastRecordNeverMovesBack) {
  KnownStreams known;
  known.note(StreamId{"agent-1"}, Offset{7});
  known.note(StreamId{"agent-1"}, Offset{9});
  known.note(StreamId{"agent-1"}, Offset{8});
  EXPECT_EQ(Offset{9}, known.last(StreamId{"agent-1"}));
  EXPECT_FALSE(known.contains(StreamId{"agent-2"}));
  EXPECT_EQ(1U, known.size());
}

TEST(KnownStreams, AgreesWithAMapHoweverManyThereAre) {
  KnownStreams known;
  std::map<std::string, Offset> expected;
  Rng rng(11);
  for (std::uint64_t record = 1; record <= 20'000; ++record) {
    const std::string stream = "agent-" + std::to_string(rng.between(0, 6'000));
    known.note(StreamId{stream}, Offset{record});
    expected[stream] = Offset{record};
  }
  EXPECT_EQ(expected.size(), known.size());
  for (int i = 0; i <= 7'000; ++i) {
    const std::string stream = "agent-" + std::to_string(i);
    const auto there = expected.find(stream);
    EXPECT_EQ(there == expected.end() ? Offset{} : there->second, known.last(StreamId{stream})) << stream;
  }
}

}  // namespace
}  // namespace varve
