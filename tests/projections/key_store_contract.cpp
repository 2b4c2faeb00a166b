#include "tests/projections/key_store_contract.h"

#include <set>

namespace varve::test {

TEST_P(KeyStoreContract, ANewStoreHasNoKeys) {
  EXPECT_TRUE(read({"agent-1"}).empty());
  destroy({"agent-1"});
  EXPECT_TRUE(read({}).empty());
}

TEST_P(KeyStoreContract, EveryStreamGetsAKeyOfItsOwnAndKeepsIt) {
  const StreamKeys made = create({"agent-1", "block-1", "block-2"});
  ASSERT_EQ(3U, made.size());
  std::set<std::array<std::uint8_t, 32>> different;
  for (const auto& [stream, key] : made) different.insert(key.bytes);
  EXPECT_EQ(3U, different.size());
  EXPECT_FALSE(different.contains({})) << "a key of nothing but zeros";
  EXPECT_EQ(made, read({"agent-1", "block-1", "block-2", "agent-2"}));
  restart();
  EXPECT_EQ(made, read({"block-2", "agent-1", "block-1"}));
}

TEST_P(KeyStoreContract, WhatIsThereIsNotMadeAnew) {
  const StreamKeys first = create({"agent-1"});
  const StreamKeys again = create({"agent-2", "agent-1"});
  ASSERT_EQ(2U, again.size());
  EXPECT_EQ(first.at(StreamId{"agent-1"}), again.at(StreamId{"agent-1"}));
  restart();
  EXPECT_EQ(again, create({"agent-1", "agent-2"}));
}

TEST_P(KeyStoreContract, ADestroyedKeyIsGone) {
  const StreamKeys made = create({"agent-1", "agent-2", "block-1"});
  destroy({"agent-1", "block-1", "agent-unknown"});
  EXPECT_TRUE(read({"agent-1", "block-1"}).empty());
  EXPECT_EQ(1U, read({"agent-1", "agent-2"}).size());
  restart();
  EXPECT_TRUE(read({"agent-1", "block-1"}).empty());
  EXPECT_EQ(made.at(StreamId{"agent-2"}), read({"agent-2"}).at(StreamId{"agent-2"}));
  destroy({"agent-1"});
}

TEST_P(KeyStoreContract, WhoComesAfterADestructionGetsAnotherKey) {
  const StreamKeys first = create({"agent-1"});
  destroy({"agent-1"});
  EXPECT_NE(first, create({"agent-1"}));
}

TEST_P(KeyStoreContract, ManyAtOnce) {
  std::vector<std::string> names;
  for (int i = 0; i < 300; ++i) names.push_back("block-" + std::to_string(i));
  const StreamKeys made = create(names);
  EXPECT_EQ(names.size(), made.size());
  EXPECT_EQ(made, read(names));
  destroy(names);
  EXPECT_TRUE(read(names).empty());
}

}  // namespace varve::test
