// Reads as of a cut, as every ViewStore must answer them: a part of the exam in view_store_contract.h.
#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "projections/cut_reader.h"
#include "projections/memory_view_store.h"
#include "tests/projections/view_store_search_contract.h"

namespace varve::test {
namespace {

Cut cut_of(const char* text) {
  const auto cut = parse_cut(text);
  EXPECT_TRUE(cut) << text;
  return cut ? *cut : Cut{};
}

}  // namespace

TEST_P(ViewStoreContract, AsOfACutAVersionIsOpenUntilItEnds) {
  ASSERT_EQ(commit({agent("a1", "old", 1, at(3)), close(View::agents, {text("a1")}, 5),
                    agent("a1", "new", 1, at(5)), close(View::agents, {text("a1")}, 9)}),
            "committed");
  const auto seen = [this](const char* cut) {
    const auto rows = select({.view = View::agents, .cut = cut_of(cut)});
    EXPECT_TRUE(rows && rows->size() <= 1U);
    if (!rows || rows->empty()) return std::string{"none"};
    return text_of(rows->front().values[agents::name]) + (rows->front().to ? " ended" : "");
  };
  EXPECT_EQ(seen("0:2,"), "none");
  EXPECT_EQ(seen("0:3,"), "old");
  EXPECT_EQ(seen("0:4,"), "old");
  EXPECT_EQ(seen("0:5,"), "new");
  EXPECT_EQ(seen("0:8,"), "new");
  EXPECT_EQ(seen("0:9,"), "none");
  EXPECT_EQ(seen(","), "none");
  EXPECT_EQ(seen("1:100,"), "none");
}

TEST_P(ViewStoreContract, AsOfACutAClosingBehindItHasNotCome) {
  ASSERT_EQ(commit({message("m1", "a1", at(1)), message("m2", "a1", at(2)),
                    close(View::messages, {text("m1")}, 3), message("m3", "a1", at(4))}),
            "committed");
  Query query{.view = View::messages, .open_only = false, .order_by = {0}, .cut = cut_of("0:2,")};
  auto rows = select(query);
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 2U);
  EXPECT_FALSE((*rows)[0].to);
  query.cut = cut_of("0:3,");
  rows = select(query);
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 2U);
  EXPECT_EQ((*rows)[0].to, (RowTo{Offset{3}, WallTime{3'000'000}}));
  EXPECT_EQ(count(query), 2);
  query.open_only = true;
  EXPECT_EQ(count(query), 1);
  EXPECT_EQ(ids(query), "m2");
}

TEST_P(ViewStoreContract, EveryPartitionHasItsOwnPlaceInACut) {
  for (std::uint32_t partition = 0; partition < 3; ++partition) {
    const std::string name = std::to_string(partition);
    ASSERT_EQ(
        commit({agent("a" + name, "", 1, at(1, 0, partition)), agent("b" + name, "", 2, at(9, 0, partition))},
               partition),
        "committed");
  }
  const auto seen = [this](Cut cut) {
    return ids({.view = View::agents, .order_by = {0}, .cut = std::move(cut)});
  };
  EXPECT_EQ(seen(cut_of("0:1,1:9,2:0")), "a0 a1 b1");
  EXPECT_EQ(seen(cut_of("1:5,2:9")), "a1 a2 b2");
  EXPECT_EQ(seen(cut_of("0:100,1:100,2:100,7:1")), "a0 a1 a2 b0 b1 b2");
  EXPECT_EQ(seen(Cut::of_partition({Partition{1}, Offset{8}})), "a0 a1 a2 b0 b2");
  EXPECT_EQ(seen(Cut::of_partition({Partition{2}, Offset{9}})), "a0 a1 a2 b0 b1 b2");
  EXPECT_EQ(seen(cut_of("0:18446744073709551615,")), "a0 b0");
}

TEST_P(ViewStoreContract, CursorsPageWithinTheCut) {
  std::vector<RowChange> changes;
  for (int i = 0; i < 9; ++i) {
    changes.emplace_back(
        message("m" + std::to_string(i), "a1", at(1 + static_cast<std::uint64_t>(i) / 3, i % 3)));
  }
  ASSERT_EQ(commit(std::move(changes)), "committed");
  Query query{.view = View::messages,
              .where = {equal(messages::agent_id, text("a1"))},
              .open_only = false,
              .order_by = {kFromOffset, kFromOrdinal},
              .descending = true,
              .limit = 4,
              .cut = cut_of("0:2,")};
  EXPECT_EQ(ids(query), "m5 m4 m3 m2");
  query.below = std::vector<Value>{number(1), number(2)};
  EXPECT_EQ(ids(query), "m1 m0");
  query.below = std::vector<Value>{number(3), number(1)};  // Behind the cut: as if it were its end.
  EXPECT_EQ(ids(query), "m5 m4 m3 m2");
  query.below.reset();
  query.above = std::vector<Value>{number(2), number(0)};
  query.descending = false;
  EXPECT_EQ(ids(query), "m4 m5");
}

TEST_P(ViewStoreContract, FindsTheBatchOfAnOffset) {
  const auto batch = [this](std::uint64_t offset, std::uint32_t partition = 0) {
    auto found = std::make_shared<std::optional<TimesRow>>();
    const Status status = read([=](ViewReader& reader) -> Status {
      auto row = reader.batch_at(Partition{partition}, Offset{offset});
      if (!row) return row.error();
      *found = *row;
      return ok();
    });
    EXPECT_TRUE(status) << to_string(status.error());
    if (!*found) return std::string{"none"};
    return std::to_string((*found)->first.value()) + "-" + std::to_string((*found)->last.value()) + " at " +
           std::to_string((*found)->first_at.value()) + "-" + std::to_string((*found)->last_at.value());
  };
  EXPECT_EQ(batch(5), "none");
  Batch one = batch_of(0, 0, {});
  one.times = TimesRow{Offset{2}, Offset{4}, WallTime{0}, WallTime{70}};
  ASSERT_EQ(commit(one), "committed");
  Batch two = batch_of(0, 1, {});
  two.times = TimesRow{Offset{8}, Offset{8}, WallTime{70}, WallTime{70}};
  ASSERT_EQ(commit(two), "committed");
  EXPECT_EQ(batch(1), "none");
  EXPECT_EQ(batch(2), "2-4 at 0-70");
  EXPECT_EQ(batch(7), "2-4 at 0-70");
  EXPECT_EQ(batch(8), "8-8 at 70-70");
  EXPECT_EQ(batch(~std::uint64_t{0}), "8-8 at 70-70");
  EXPECT_EQ(batch(8, 1), "none");
}

TEST_P(MessageSearchContract, FindsAsOfACutWhatWasThereThen) {
  ASSERT_EQ(commit({said({"m1", "tea for two"}, at(2))}), "committed");
  ASSERT_EQ(commit({close(View::messages, {text("m1")}, 4), said({"m1", "coffee"}, at(4)),
                    said({"m2", "tea again", "user", "a2"}, at(5))}),
            "committed");
  ASSERT_EQ(commit({close(View::agents, {text("a2")}, 7)}), "committed");
  const auto as_of = [this](const char* words, const char* cut) {
    return found(SearchQuery{.query = words, .cut = cut_of(cut)});
  };
  EXPECT_EQ(as_of("tea", "0:1,"), "");
  EXPECT_EQ(as_of("tea", "0:3,"), "m1");
  EXPECT_EQ(as_of("tea", "0:4,"), "");
  EXPECT_EQ(as_of("coffee", "0:4,"), "m1");
  EXPECT_EQ(as_of("tea", "0:6,"), "m2");
  EXPECT_EQ(as_of("tea", "0:7,"), "");
  EXPECT_EQ(as_of("tea", "1:7,"), "");
  EXPECT_EQ(found("tea"), "");
}

// ---- as of any cut, a store is what it was when the fold stood there ----

namespace {

constexpr std::uint32_t kPartitions = 3;

// A random history of all views, record by record, and what the views were behind each record.
class History {
 public:
  struct Moment {
    Offset offset;
    MemoryViewStorage views;
  };

  explicit History(std::uint64_t seed) : rng_(seed) {
    for (std::uint32_t i = 0; i < kPartitions; ++i) grow(Partition{i}, 40 + rng_.below(40));
  }

  const std::vector<Batch>& batches() const { return batches_; }
  std::uint64_t below(std::uint64_t bound) { return rng_.below(bound); }

  Cut cut() {
    Cut cut;
    for (const auto& [partition, moments] : moments_) {
      if (rng_.chance(10, 100)) continue;
      cut.set({partition, Offset{rng_.below(moments.back().offset.value() + 3)}});
    }
    return cut;
  }

  // The versions of a view when the folds stood there, in the order of partition and position.
  std::vector<Row> rows(View view, const Cut& cut, bool open_only) const {
    std::vector<Row> all;
    for (const auto& [partition, moments] : moments_) {
      const Moment* last = nullptr;
      for (const Moment& moment : moments) {
        if (cut.holds({partition, moment.offset})) last = &moment;
      }
      if (last == nullptr) continue;
      MemoryViewReader reader(last->views);
      const auto rows = reader.select({.view = view, .open_only = open_only, .order_by = kPlace});
      all.insert(all.end(), rows->begin(), rows->end());
    }
    return all;
  }

  Query query() {
    Query query;
    query.view = all_views()[rng_.below(kViews)];
    query.open_only = rng_.chance(1, 2);
    query.descending = rng_.chance(1, 2);
    const ViewSchema& schema = schema_of(query.view);
    if (rng_.chance(1, 2))
      query.where = {equal(std::size_t{0}, key_value(schema.columns[0], random_entity()))};
    const std::uint64_t column = rng_.below(schema.columns.size());
    if (rng_.chance(1, 2)) query.order_by.push_back(static_cast<int>(column));
    query.order_by.insert(query.order_by.end(), {kFromOffset, kFromOrdinal});
    if (rng_.chance(1, 3) && query.order_by.size() == 2)
      query.below = std::vector<Value>{number(static_cast<std::int64_t>(rng_.below(100))), number(0)};
    query.limit = rng_.chance(1, 2) ? rng_.below(6) : 1000;
    return query;
  }

  static const std::vector<int> kPlace;

 private:
  static Value key_value(const Column& column, std::uint64_t entity) {
    return column.type == ColumnType::integer ? number(static_cast<std::int64_t>(entity))
                                              : text("e" + std::to_string(entity));
  }
  // An entity belongs to one partition.
  std::uint64_t entity_of(Partition partition) {
    return std::uint64_t{10} * partition.value() + rng_.below(4);
  }
  std::uint64_t random_entity() {
    const Partition partition{static_cast<std::uint32_t>(rng_.below(kPartitions))};
    return entity_of(partition);
  }

  RowInsert insert_of(View view, const std::vector<Value>& key, RowFrom from) {
    Row row = blank(view, from);
    std::copy(key.begin(), key.end(), row.values.begin());
    for (std::size_t i = key.size(); i < row.values.size(); ++i) {
      const std::uint64_t drawn = rng_.below(4);
      row.values[i] = key_value(schema_of(view).columns[i], drawn);
    }
    return {view, std::move(row)};
  }

  std::vector<RowChange> changes_at(Partition partition, Offset offset, WallTime at) {
    std::vector<RowChange> changes;
    std::int64_t ordinal = 0;
    for (std::uint64_t left = 1 + rng_.below(5); left > 0; --left) {
      const View view = all_views()[rng_.below(kViews)];
      std::vector<Value> key;
      for (std::size_t i = 0; i < schema_of(view).key_columns; ++i) {
        const std::uint64_t entity = entity_of(partition);
        key.push_back(key_value(schema_of(view).columns[i], entity));
      }
      const bool open = open_.contains({view, key});
      if (open) changes.emplace_back(RowClose{view, key, {offset, at}});
      if (open && rng_.chance(40, 100)) {
        open_.erase({view, key});
        continue;
      }
      open_.insert({view, key});
      changes.emplace_back(
          insert_of(view, key, {partition, offset, ordinal++, at, Sequence{offset.value()}}));
    }
    return changes;
  }

  void grow(Partition partition, std::uint64_t records) {
    MemoryViewStorage views;
    std::uint64_t offset = rng_.below(3);
    Batch batch;
    for (std::uint64_t i = 0; i < records; ++i) {
      const WallTime at{static_cast<std::int64_t>(offset) * 1000};
      Batch record;
      record.partition = partition;
      const Checkpoint before = views.checkpoints[partition];
      record.expected_version = before.version;
      record.expected_next = before.next;
      record.checkpoint.version = before.version + 1;
      record.checkpoint.next = Offset{offset + 1};
      record.changes = changes_at(partition, Offset{offset}, at);
      CHECK(apply_batch(views, record));
      moments_[partition].push_back({Offset{offset}, views});
      batch.changes.insert(batch.changes.end(), record.changes.begin(), record.changes.end());
      if (i + 1 == records || rng_.chance(1, 3)) finish(batch, partition, Offset{offset + 1});
      offset += 1 + rng_.below(2);
    }
  }
  void finish(Batch& batch, Partition partition, Offset next) {
    Checkpoint& stored = checkpoints_[partition];
    batch.partition = partition;
    batch.expected_version = stored.version;
    batch.expected_next = stored.next;
    stored.version += 1;
    stored.next = next;
    batch.checkpoint = stored;
    batches_.push_back(std::exchange(batch, Batch{}));
  }

  Rng rng_;
  std::map<Partition, std::vector<Moment>> moments_;
  std::map<Partition, Checkpoint> checkpoints_;
  std::set<std::pair<View, std::vector<Value>>> open_;
  std::vector<Batch> batches_;
};

const std::vector<int> History::kPlace{kFromPartition, kFromOffset, kFromOrdinal};

// One random cut: every view, and a random question, of which the memory store knows the answer.
Status check_a_cut(History& history, const MemoryViewStorage& reference, ViewReader& store) {
  const Cut cut = history.cut();
  CutReader reader(store, cut);
  const bool open_only = history.below(2) == 0;
  for (const View view : all_views()) {
    const Query all{.view = view, .open_only = open_only, .order_by = History::kPlace};
    const auto rows = reader.select(all);
    if (!rows) return rows.error();
    const std::vector<Row> expected = history.rows(view, cut, open_only);
    EXPECT_EQ(*rows, expected) << schema_of(view).name << " as of " << to_string(cut);
    if (history.below(kViews) > 0) continue;
    const auto counted = reader.count(all);
    if (!counted) return counted.error();
    EXPECT_EQ(static_cast<std::size_t>(*counted), expected.size()) << schema_of(view).name;
  }
  const Query query = history.query();
  MemoryViewReader memory(reference);
  CutReader in_memory(memory, cut);
  const auto expected = in_memory.select(query);
  const auto answered = reader.select(query);
  if (!expected || !answered) return Error{Errc::corrupt, "a random query was refused"};
  EXPECT_EQ(*answered, *expected) << schema_of(query.view).name << " as of " << to_string(cut);
  return ok();
}

}  // namespace

TEST_P(ViewStoreContract, AsOfAnyCutIsAViewWhoseFoldStoppedThere) {
  constexpr int kHistories = 5;
  constexpr int kCuts = 2000;
  constexpr std::chrono::seconds kTimeOfAServer{30};
  const bool server = GetParam().name.starts_with("postgres");
  const auto begun = std::chrono::steady_clock::now();
  int checked = 0;
  for (int seed = 1; seed <= kHistories && !HasFailure(); ++seed) {
    SCOPED_TRACE("history " + std::to_string(seed));
    env_->shut_down();
    store_.reset();
    world_ = GetParam().make_world();
    env_ = std::make_unique<RealEnv>(quiet());
    store_ = world_->open(*env_);
    History history(static_cast<std::uint64_t>(seed));
    MemoryViewStorage reference;
    for (const Batch& batch : history.batches()) {
      ASSERT_TRUE(apply_batch(reference, batch));
      ASSERT_EQ(commit(batch), "committed");
    }
    const Status status = read([&](ViewReader& reader) -> Status {
      for (int i = 0; i < kCuts && !HasFailure(); ++i, ++checked) {
        if (server && std::chrono::steady_clock::now() - begun > seed * kTimeOfAServer / kHistories) break;
        if (Status one = check_a_cut(history, reference, reader); !one) return one;
      }
      return ok();
    });
    ASSERT_TRUE(status) << to_string(status.error());
  }
  RecordProperty("cuts", checked);
  if (!server) EXPECT_EQ(checked, kHistories * kCuts);
  EXPECT_GT(checked, 500);
}

}  // namespace varve::test
