// Digests that are kept while folding equal digests of the rows that are stored: for any sequence of changes,
// on every store.
#include "projections/digest.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "projections/memory_view_store.h"
#include "projections/sqlite_view_store.h"
#include "runtime/real_env.h"
#include "tests/projections/temp_directory.h"
#include "tests/projections/view_rows.h"
#include "tests/support/run.h"

namespace varve::test {
namespace {

// Draws batches that a fold could have made: it closes what is open and opens what is not.
class RandomChanges {
 public:
  explicit RandomChanges(std::uint64_t seed) : rng_(seed) {}

  Batch next(Partition partition) {
    Batch batch;
    batch.partition = partition;
    batch.expected_version = version_[partition]++;
    batch.checkpoint.version = version_[partition];
    const std::uint64_t changes = rng_.below(12);
    for (std::uint64_t i = 0; i < changes; ++i) add(batch);
    return batch;
  }

 private:
  void add(Batch& batch) {
    const View view = all_views()[rng_.below(kViews)];
    const RowFrom from{batch.partition, Offset{++offset_ / 3}, static_cast<std::int64_t>(offset_),
                       WallTime{static_cast<std::int64_t>(rng_.below(1000))}, Sequence{offset_}};
    Row row = blank(view, from);
    for (std::size_t i = 0; i < row.values.size(); ++i) row.values[i] = value(schema_of(view).columns[i]);
    const auto keys = static_cast<std::ptrdiff_t>(schema_of(view).key_columns);
    // An entity of its own per partition, few of them, so that they meet again.
    if (schema_of(view).columns[0].type == ColumnType::text) {
      row.values[0] = text(std::to_string(batch.partition.value()) + "-" + std::to_string(rng_.below(5)));
    } else {
      row.values[0] = number(static_cast<std::int64_t>(batch.partition.value()));
    }
    std::vector<Value> key(row.values.begin(), row.values.begin() + keys);
    auto& open = open_[{view, key}];
    if (open) {
      batch.changes.emplace_back(RowClose{view, key, {from.offset, from.at}});
      open = false;
      if (rng_.chance(1, 3)) return;
    }
    open = true;
    batch.changes.emplace_back(RowInsert{view, std::move(row)});
  }

  Value value(const Column& column) {
    if (column.nullable && rng_.chance(1, 2)) return {};
    if (column.type == ColumnType::integer) return number(static_cast<std::int64_t>(rng_.below(4)) - 2);
    constexpr const char* kTexts[] = {"", "a", "it's", "😀"};
    return text(kTexts[rng_.below(4)]);
  }

  Rng rng_;
  std::uint64_t offset_ = 0;
  std::map<Partition, std::uint64_t> version_;
  std::map<std::pair<View, std::vector<Value>>, bool> open_;
};

constexpr std::uint32_t kPartitions = 3;

void expect_digests(ViewReader& reader, const std::array<ViewDigests, kPartitions>& expected) {
  for (std::uint32_t partition = 0; partition < kPartitions; ++partition) {
    const auto digests = digest_of_rows(reader, Partition{partition});
    RC_ASSERT(digests.has_value());
    RC_ASSERT(*digests == expected[partition]);
  }
}

TEST(Digest, KeptWhileFoldingEqualsThatOfTheRows) {
  EXPECT_TRUE(rc::check("in the memory store", [](std::uint64_t seed) {
    RandomChanges changes{seed};
    MemoryViewStorage storage;
    std::array<ViewDigests, kPartitions> expected{};
    for (std::uint32_t step = 0; step < 24; ++step) {
      const Partition partition{step % kPartitions};
      const Batch batch = changes.next(partition);
      const auto outcome = apply_batch(storage, batch);
      RC_ASSERT(outcome.has_value());
      RC_ASSERT(*outcome == CommitOutcome::committed);
      add_changes(expected[partition.value()], partition, batch.changes);
    }
    MemoryViewReader reader{storage};
    expect_digests(reader, expected);
  }));
}

TEST(Digest, IsTheSameInSqlite) {
  EXPECT_TRUE(rc::check("in the SQLite store", [](std::uint64_t seed) {
    TempDirectory directory;
    RealEnv env;
    auto store = SqliteViewStore::open(env, {.directory = directory.path()});
    RC_ASSERT(store.has_value());
    RandomChanges changes{seed};
    std::array<ViewDigests, kPartitions> expected{};
    for (std::uint32_t step = 0; step < 12; ++step) {
      const Partition partition{step % kPartitions};
      Batch batch = changes.next(partition);
      add_changes(expected[partition.value()], partition, batch.changes);
      const auto outcome = run(env, (*store)->commit(std::move(batch)));
      RC_ASSERT(outcome.has_value());
      RC_ASSERT(*outcome == CommitOutcome::committed);
    }
    auto found = std::make_shared<std::array<Result<ViewDigests>, kPartitions>>();
    const auto read = run(env, (*store)->read([found](ViewReader& reader) -> Status {
      for (std::uint32_t partition = 0; partition < kPartitions; ++partition) {
        (*found)[partition] = digest_of_rows(reader, Partition{partition});
      }
      return ok();
    }));
    RC_ASSERT(read.has_value());
    for (std::uint32_t partition = 0; partition < kPartitions; ++partition) {
      RC_ASSERT((*found)[partition].has_value());
      RC_ASSERT(*(*found)[partition] == expected[partition]);
    }
    env.shut_down();
  }));
}

// More rows than one page, several versions of an entity across its edge.
TEST(Digest, CountsEveryRowOfManyPages) {
  MemoryViewStorage storage;
  Batch batch;
  batch.checkpoint.version = 1;
  const std::uint64_t rows = 2 * kPageRows + 7;
  for (std::uint64_t i = 0; i < rows; ++i) {
    const std::string name = std::to_string(i / 3);
    if (i % 3 != 0) batch.changes.emplace_back(close(View::tags, {text("a"), text(name)}, i));
    batch.changes.emplace_back(tag("a", name, at(i)));
  }
  ViewDigests expected{};
  add_changes(expected, Partition{0}, batch.changes);
  ASSERT_TRUE(apply_batch(storage, batch));
  MemoryViewReader reader{storage};
  const auto digests = digest_of_rows(reader, Partition{0});
  ASSERT_TRUE(digests);
  EXPECT_EQ(*digests, expected);
  std::uint64_t visited = 0;
  Row last;
  const auto status = for_each_row(reader, View::tags, Partition{0}, [&](const Row& row) {
    if (visited++ > 0) {
      EXPECT_TRUE(place_before(View::tags, last, row));
    }
    last = row;
  });
  EXPECT_TRUE(status);
  EXPECT_EQ(visited, rows);
}

TEST(Digest, NoticesWhatTheTableHasLostOrChanged) {
  ViewDigests expected{};
  const std::vector<RowChange> changes{agent("a1", "x", 1, at(1)), tag("a1", "red", at(2)),
                                       close(View::tags, {text("a1"), text("red")}, 3)};
  add_changes(expected, Partition{0}, changes);
  const auto digests_of = [](std::vector<RowChange> made) {
    MemoryViewStorage storage;
    Batch batch;
    batch.checkpoint.version = 1;
    batch.changes = std::move(made);
    EXPECT_TRUE(apply_batch(storage, batch));
    MemoryViewReader reader{storage};
    return *digest_of_rows(reader, Partition{0});
  };
  EXPECT_EQ(digests_of(changes), expected);
  EXPECT_NE(digests_of({changes[0]}), expected);
  EXPECT_NE(digests_of({changes[0], changes[1]}), expected);
  EXPECT_NE(digests_of({agent("a1", "y", 1, at(1)), changes[1], changes[2]}), expected);
  EXPECT_NE(digests_of({changes[0], changes[1], close(View::tags, {text("a1"), text("red")}, 4)}), expected);
}

TEST(Digest, DoesNotDependOnHowChangesAreBatched) {
  const std::vector<RowChange> changes{message("m1", "a", at(1)), message("m2", "a", at(2)),
                                       close(View::messages, {text("m1")}, 3)};
  ViewDigests at_once{};
  add_changes(at_once, Partition{0}, changes);
  ViewDigests one_by_one{};
  for (const RowChange& change : changes) add_changes(one_by_one, Partition{0}, {change});
  EXPECT_EQ(at_once, one_by_one);
  ViewDigests elsewhere{};
  add_changes(elsewhere, Partition{1}, {changes[2]});
  EXPECT_NE(elsewhere[0].closings, at_once[0].closings);
}

TEST(Digest, IsPrintedAndParsed) {
  ViewDigests digests{};
  EXPECT_EQ(*parse_digests(to_text(digests)), digests);
  add_changes(digests, Partition{0},
              {message("m1", "a", at(1)), tag("a", "t", at(1, 1)), close(View::messages, {text("m1")}, 3)});
  const std::string printed = to_text(digests);
  EXPECT_EQ(printed.substr(0, 9), "messages=");
  ASSERT_TRUE(parse_digests(printed));
  EXPECT_EQ(*parse_digests(printed), digests);
  for (const std::string& wrong : {std::string{}, printed + " ", printed.substr(1), printed.substr(0, 70),
                                   printed.substr(0, printed.size() - 1) + "g"}) {
    const auto parsed = parse_digests(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_EQ(parsed.error().code, Errc::corrupt);
  }
}

}  // namespace
}  // namespace varve::test
