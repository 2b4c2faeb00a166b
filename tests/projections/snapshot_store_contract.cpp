#include "tests/projections/snapshot_store_contract.h"

namespace varve::test {

TEST_P(SnapshotStoreContract, ANewStoreIsEmpty) {
  EXPECT_EQ(stored("agent-1"), "none");
  EXPECT_EQ(recovery(0), std::nullopt);
  EXPECT_EQ(list(0), "");
  EXPECT_EQ(open_turns(0), "");
}

TEST_P(SnapshotStoreContract, ASnapshotComesBackAsItWasWritten) {
  SnapshotRow row = snapshot("agent-1", 7, "{\"text\":\"it's 😀\"}");
  row.partition = Partition{3};
  row.born = Offset{42};
  row.open_turn = true;
  row.corrupt = true;
  row.bad_offset = Offset{99};
  SnapshotRow large = snapshot("agent-2", 1, std::string(std::size_t{1} << 20U, 'x'));
  put({row, large});
  EXPECT_EQ(get("agent-1"), row);
  EXPECT_EQ(get("agent-2"), large);
  restart();
  EXPECT_EQ(get("agent-1"), row);
}

TEST_P(SnapshotStoreContract, ASnapshotIsOnlyReplacedByOneThatHasSeenMore) {
  put({snapshot("agent-1", 5, "five")});
  put({snapshot("agent-1", 4, "four")});  // A zombie's.
  EXPECT_EQ(stored("agent-1"), "5:five");
  put({snapshot("agent-1", 5, "other")});
  EXPECT_EQ(stored("agent-1"), "5:five");
  put({snapshot("agent-1", 6, "six"), snapshot("agent-2", 1, "one")});
  EXPECT_EQ(stored("agent-1"), "6:six");
  EXPECT_EQ(stored("agent-2"), "1:one");
  put({snapshot("agent-3", 2, "two"), snapshot("agent-3", 3, "three"), snapshot("agent-3", 1, "one")});
  EXPECT_EQ(stored("agent-3"), "3:three");
}

// A stream that turns corrupt, or whose event is ruled absent, changes without a sequence; and what could not
// be read may count for a sequence later.
TEST_P(SnapshotStoreContract, WhatARowHasSeenIsNotItsSequence) {
  SnapshotRow row = snapshot("agent-1", 20, "sound");
  row.sequence = Sequence{5};
  put({row});
  SnapshotRow corrupt = snapshot("agent-1", 22, "the last good state");
  corrupt.sequence = Sequence{5};
  corrupt.corrupt = true;
  corrupt.bad_offset = Offset{22};
  put({corrupt});
  EXPECT_EQ(get("agent-1"), corrupt);
  row.sequence = Sequence{9};  // Higher, but of less.
  put({row});
  EXPECT_EQ(get("agent-1"), corrupt);
  SnapshotRow ruled = snapshot("agent-1", 30, "without the event");
  ruled.sequence = Sequence{5};
  put({ruled});
  EXPECT_EQ(get("agent-1"), ruled);
}

// A newer program reads what an older could not; never the other way round.
TEST_P(SnapshotStoreContract, ASoundRowReplacesACorruptOneThatHasSeenAsMuch) {
  SnapshotRow corrupt = snapshot("agent-1", 22, "the last good state");
  corrupt.corrupt = true;
  put({corrupt});
  put({snapshot("agent-1", 21, "older")});
  EXPECT_EQ(get("agent-1"), corrupt);
  put({snapshot("agent-1", 22, "read")});
  EXPECT_EQ(stored("agent-1"), "22:read");
  put({corrupt});
  EXPECT_EQ(stored("agent-1"), "22:read");
}

TEST_P(SnapshotStoreContract, ABadSnapshotIsReplacedInPlace) {
  SnapshotRow bad = snapshot("agent-1", 5, "damaged");
  bad.hash = xxh64("what it was");
  put({bad});
  EXPECT_EQ(get("agent-1"), bad);  // Whoever gets it compares.
  put({snapshot("agent-1", 5, "mended")});
  EXPECT_EQ(stored("agent-1"), "5:mended");
  put({snapshot("agent-1", 5, "again")});
  EXPECT_EQ(stored("agent-1"), "5:mended");
}

// The recovery row relies on what the bad one has seen: one that has seen less would pass for all there is.
TEST_P(SnapshotStoreContract, ABadSnapshotIsNotReplacedByAnOlderOne) {
  SnapshotRow bad = snapshot("agent-1", 9, "damaged");
  bad.hash = xxh64("what it was");
  put({bad});
  put({snapshot("agent-1", 7, "a zombie's")});
  EXPECT_EQ(get("agent-1"), bad);
  put({snapshot("agent-1", 10, "newer")});
  EXPECT_EQ(stored("agent-1"), "10:newer");
}

TEST_P(SnapshotStoreContract, ANewerSnapshotReplacesEveryColumn) {
  SnapshotRow row = snapshot("agent-1", 5, "open");
  row.open_turn = true;
  row.born = Offset{3};
  put({row});
  EXPECT_EQ(open_turns(0), "agent-1");
  row = snapshot("agent-1", 6, "closed");
  row.born = Offset{3};
  row.corrupt = true;
  row.bad_offset = Offset{8};
  put({row});
  EXPECT_EQ(get("agent-1"), row);
  EXPECT_EQ(open_turns(0), "");
}

TEST_P(SnapshotStoreContract, TheRecoveryRowMovesByCompareAndSet) {
  RecoveryRow row;
  row.partition = Partition{2};
  row.next = Offset{10};
  row.admission = {Epoch{3}, Index{4}, "c"};
  row.at = WallTime{77};
  row.mark = {false, Offset{9}, 0xffff'ffff'ffff'fff1U};
  row.streams = 6;
  RecoveryRow wrong = row;
  wrong.version = 1;
  EXPECT_FALSE(move(wrong));  // There is no row yet.
  EXPECT_EQ(recovery(2), std::nullopt);
  EXPECT_TRUE(move(row));
  EXPECT_FALSE(move(row));  // There is one now.
  row.version = 1;
  EXPECT_EQ(recovery(2), row);
  EXPECT_EQ(recovery(1), std::nullopt);

  RecoveryRow further = row;
  further.next = Offset{20};
  further.mark = Mark{};
  EXPECT_TRUE(move(further));
  EXPECT_FALSE(move(further));  // Its version is 2 by now.
  further.version = 2;
  EXPECT_EQ(recovery(2), further);
  restart();
  EXPECT_EQ(recovery(2), further);
}

TEST_P(SnapshotStoreContract, TheRecoveryRowNeverMovesBack) {
  RecoveryRow row;
  row.next = Offset{10};
  ASSERT_TRUE(move(row));
  row.version = 1;
  row.next = Offset{9};
  EXPECT_FALSE(move(row));
  EXPECT_EQ(recovery(0)->next, Offset{10});
  row.next = Offset{10};
  row.streams = 5;
  EXPECT_TRUE(move(row));
  EXPECT_EQ(recovery(0)->streams, 5U);
}

TEST_P(SnapshotStoreContract, ListsTheRowsOfAPartitionPageByPage) {
  std::vector<SnapshotRow> rows;
  for (const std::uint64_t i : {3U, 0U, 5U, 1U, 4U, 2U}) {
    SnapshotRow row = snapshot("agent-" + std::to_string(i), 100 + i, "{}");
    row.partition = Partition{i < 4 ? 1U : 2U};
    row.born = Offset{10 * i};
    rows.push_back(row);
  }
  put(rows);
  const std::string all =
      "agent-0 born 0 seen 100; agent-1 born 10 seen 101; agent-2 born 20 seen 102; agent-3 born 30 seen 103";
  EXPECT_EQ(list(1), all);
  EXPECT_EQ(list(2), "agent-4 born 40 seen 104; agent-5 born 50 seen 105");
  EXPECT_EQ(list(3), "");
  EXPECT_EQ(list(1, "", 2), "agent-0 born 0 seen 100; agent-1 born 10 seen 101");
  EXPECT_EQ(list(1, "agent-1", 2), "agent-2 born 20 seen 102; agent-3 born 30 seen 103");
  EXPECT_EQ(list(1, "agent-3", 2), "");
  put({snapshot("agent-6", 1, "{}")});
  restart();
  EXPECT_EQ(list(1), all);
}

TEST_P(SnapshotStoreContract, ListsOpenTurnsInOrder) {
  std::vector<SnapshotRow> rows;
  for (const char* stream : {"agent-c", "agent-a", "agent-d", "agent-b"}) {
    SnapshotRow row = snapshot(stream, 1, "{}");
    row.open_turn = std::string{stream} != "agent-d";
    row.partition = Partition{std::string{stream} == "agent-b" ? 1U : 0U};
    rows.push_back(row);
  }
  put(rows);
  EXPECT_EQ(open_turns(0), "agent-a agent-c");
  EXPECT_EQ(open_turns(1), "agent-b");
}

}  // namespace varve::test
