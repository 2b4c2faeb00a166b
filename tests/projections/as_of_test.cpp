// From a time or a position to a cut: exact, whatever lies between in the log.
#include "projections/as_of.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "eventlog/memory_event_log.h"
#include "projections/memory_view_store.h"
#include "projections/worker.h"
#include "sim/scheduler.h"
#include "tests/support/samples.h"

namespace varve {
namespace {

constexpr std::uint32_t kPartitions = 3;

std::string text_of(const AsOf& asked) {
  if (const auto* time = std::get_if<WallTime>(&asked)) return format_rfc3339_micros(*time);
  if (const auto* position = std::get_if<LogPosition>(&asked)) return "at " + to_string(*position);
  return "cut " + to_string(std::get<Cut>(asked));
}

TEST(AsOf, ReadsTimesPositionsAndCuts) {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"},
      {"2026-01-31T12:00:00.123456+01:00", "2026-01-31T11:00:00.123456Z"},
      {"2026-01-31T12:00:00 01:00", "2026-01-31T11:00:00.000000Z"},
      {"2026-01-31 12:00:00Z", "2026-01-31T12:00:00.000000Z"},
      {"2026-01-31", "2026-01-31T00:00:00.000000Z"},
      {"0:17", "at 0:17"},
      {"0:17,", "cut 0:17,"},
      {"0:17,1:88", "cut 0:17,1:88"},
      {"1:88,0:17,", "cut 0:17,1:88"},
      {",", "cut ,"},
  };
  for (const auto& [text, meaning] : cases) {
    const auto asked = parse_as_of(text);
    ASSERT_TRUE(asked) << text << ": " << asked.error().message;
    EXPECT_EQ(meaning, text_of(*asked)) << text;
  }
  for (const char* text : {"", "yesterday", "17", ":", "0:", ":17", "0:17,0:18", "0:17,,", "2026-02-30",
                           "2026-01-31T25:00:00Z", "0:99999999999999999999", "-1:5", "5000:1"}) {
    const auto asked = parse_as_of(text);
    ASSERT_FALSE(asked) << text;
    EXPECT_EQ(Errc::invalid_argument, asked.error().code) << text;
  }
  EXPECT_EQ("expected a time as 2026-01-31T12:00:00Z, a position as 0:17 or a cut as 0:17,1:88, got 'now'",
            parse_as_of("now").error().message);
}

// A log of three partitions with all that does not count in it, and the workers that fold it.
class AsOfTest : public testing::Test {
 public:
  struct Landed {
    LogPosition position;
    WallTime at;
    bool admitted = false;
  };

  void start(std::uint64_t seed, bool sparse) {
    rng_ = Rng{seed};
    log_ = std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{kPartitions, sparse ? seed : 0});
    views_ = std::make_shared<MemoryViewStorage>();
    life_ = std::make_unique<Life>(*this);
    landed_.clear();
    states_ = {};
    numbers_ = {};
    blocks_ = 0;
  }
  void TearDown() override {
    if (life_) life_->env.kill();
  }

  void land(Partition partition, const Record& record) {
    const Offset offset = log_->land(partition, std::make_shared<const std::string>(*encode_record(record)));
    const Verdict verdict = admit(states_[partition.value()], record);
    landed_.push_back({{partition, offset}, time_of(record), verdict == Verdict::admitted});
  }
  void land_foreign(Partition partition) {
    log_->land(partition, std::make_shared<const std::string>("not ours"));
  }
  void claim(Partition partition, std::int64_t at) {
    const AdmissionState& state = states_[partition.value()];
    land(partition, Claim{next(state.epoch), {}, "varve", "n", "", kPartitions, WallTime{at}});
    numbers_[partition.value()] = 0;
  }
  void commit(Partition partition, Epoch epoch, std::uint64_t n, std::int64_t at) {
    const StreamId stream{"block-" + std::to_string(++blocks_)};
    const CommandRef command{command_id_from_text(stream.value()), CommandHash{1}, true};
    Part part{stream, Sequence{1}, {Event{BlockCreated{test::sample_block()}}}};
    land(partition, Commit{epoch, Index{n}, "n", WallTime{at}, command, {part}});
  }
  void commit(Partition partition, std::int64_t at) {
    commit(partition, states_[partition.value()].epoch, ++numbers_[partition.value()], at);
  }

  // Something lands: mostly what counts, with times that run on and now and then stand still; and what
  // another owner's clock says of records that do not count.
  void land_something() {
    const Partition partition{static_cast<std::uint32_t>(rng_.below(kPartitions))};
    const AdmissionState& state = states_[partition.value()];
    if (rng_.chance(2, 3)) now_ += static_cast<std::int64_t>(rng_.below(3));
    const std::int64_t elsewhere = now_ + static_cast<std::int64_t>(rng_.below(41)) - 20;
    const std::uint64_t kind = rng_.below(20);
    if (state.epoch == Epoch{} || kind == 0) {
      claim(partition, now_);
    } else if (kind < 3) {
      commit(partition, Epoch{state.epoch.value() - 1}, 1 + rng_.below(9), elsewhere);  // A zombie's.
    } else if (kind == 3) {
      land(partition, Claim{state.epoch, {}, "varve", "z", "", kPartitions, WallTime{elsewhere}});
    } else if (kind == 4 && state.index > Index{}) {
      commit(partition, state.epoch, state.index.value(), now_);  // A duplicate.
    } else if (kind == 5) {
      land_foreign(partition);
    } else if (kind ==
               6) {  // Behind a gap: its owner, whose clock was fast, stops there; another takes over.
      commit(partition, state.epoch, state.index.value() + 3,
             now_ + static_cast<std::int64_t>(rng_.below(20)));
      claim(partition, now_);
    } else {
      commit(partition, now_);
    }
  }

  void run_for(std::chrono::milliseconds time) {
    const MonoTime end = life_->scheduler.now() + time;
    life_->env.call_at(end, [] {});
    while (life_->scheduler.now() < end && life_->scheduler.step()) {
    }
  }
  // A history whose views were folded in batches of many sizes.
  void grow(std::size_t records) {
    for (std::size_t i = 0; i < records; ++i) {
      land_something();
      if (rng_.chance(1, 6)) run_for(std::chrono::milliseconds{600});
    }
    run_for(std::chrono::milliseconds{1200});
  }

  using Answer = std::shared_ptr<std::optional<Result<ResolvedCut>>>;
  Answer begin(AsOf asked) {
    auto answer = std::make_shared<std::optional<Result<ResolvedCut>>>();
    const MonoTime deadline = life_->scheduler.now() + std::chrono::seconds{5};
    life_->env.spawn("ask", ask(*life_, std::move(asked), deadline, answer));
    return answer;
  }
  Result<ResolvedCut> resolve(AsOf asked) {
    const Answer answer = begin(std::move(asked));
    while (!answer->has_value() && life_->scheduler.step()) {
    }
    return answer->has_value() ? std::move(**answer) : Error{Errc::cancelled, "no answer"};
  }
  std::string resolved_text(AsOf asked) {
    const auto resolved = resolve(std::move(asked));
    if (!resolved) return to_string(resolved.error());
    return to_string(resolved->cut) + (resolved->behind ? " behind" : "");
  }

  // Everything that counts and is at most as old, and nothing else; `own`: but for this position's partition.
  void expect_exact(const Cut& cut, WallTime time, const std::optional<LogPosition>& own) const {
    for (const Landed& record : landed_) {
      if (!record.admitted) continue;
      const bool is_own = own && own->partition == record.position.partition;
      const bool expected = is_own ? record.position.offset <= own->offset : record.at <= time;
      EXPECT_EQ(expected, cut.holds(record.position))
          << to_string(record.position) << " at " << record.at.value() << ", time " << time.value()
          << ", cut " << to_string(cut);
    }
  }

  // Records that do not count, are not later than `time` and lie behind one that counts and is later.
  int deceiving(WallTime time) const {
    int found = 0;
    std::set<Partition> passed;
    for (const Landed& record : landed_) {
      if (record.admitted && record.at > time) passed.insert(record.position.partition);
      if (!record.admitted && record.at <= time) found += passed.contains(record.position.partition) ? 1 : 0;
    }
    return found;
  }

  struct Life {
    explicit Life(AsOfTest& test) : port(env, test.log_), store(env, test.views_), progress(env, store) {
      for (std::uint32_t i = 0; i < kPartitions; ++i) {
        workers.push_back(std::make_unique<ProjectionWorker>(env, port, store, progress, Partition{i}));
        env.spawn("worker", workers.back()->run());
      }
    }
    ~Life() { env.kill(); }
    Life(const Life&) = delete;
    Life& operator=(const Life&) = delete;
    sim::Scheduler scheduler{1};
    sim::SimEnv env{scheduler, "test", 1};
    MemoryEventLog port;
    MemoryViewStore store;
    ViewProgress progress;
    std::vector<std::unique_ptr<ProjectionWorker>> workers;
  };

  static Task<> ask(Life& life, AsOf asked, MonoTime deadline, Answer answer) {
    const AsOfSources sources{life.env, life.port, life.store, life.progress};
    *answer = co_await resolve_as_of(sources, std::move(asked), deadline);
    co_return ok();
  }

  using Newest = std::shared_ptr<std::optional<Result<std::optional<CountedRecord>>>>;
  static Task<> ask_newest(Life& life, LogPosition position, Offset from, Newest answer) {
    *answer = co_await newest_counted(life.port, life.store, position, from);
    co_return ok();
  }
  Result<std::optional<CountedRecord>> newest(LogPosition position, Offset from) {
    auto answer = std::make_shared<std::optional<Result<std::optional<CountedRecord>>>>();
    life_->env.spawn("ask", ask_newest(*life_, position, from, answer));
    while (!answer->has_value() && life_->scheduler.step()) {
    }
    return answer->has_value() ? std::move(**answer) : Error{Errc::cancelled, "no answer"};
  }

  Rng rng_{1};
  std::shared_ptr<MemoryLogStorage> log_;
  std::shared_ptr<MemoryViewStorage> views_;
  std::unique_ptr<Life> life_;
  std::vector<Landed> landed_;
  std::array<AdmissionState, kPartitions> states_;
  std::array<std::uint64_t, kPartitions> numbers_{};
  std::uint64_t blocks_ = 0;
  std::int64_t now_ = 1000;
};

TEST_F(AsOfTest, ATimeTakesExactlyWhatIsNotLater) {
  int deceived = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    start(seed, seed % 2 == 0);
    const std::int64_t begun = now_;
    grow(150);
    EXPECT_GT(views_->times.size(), 20U);
    for (std::int64_t time = begun - 3; time <= now_ + 3 && !HasFailure(); ++time) {
      const auto resolved = resolve(WallTime{time});
      ASSERT_TRUE(resolved) << to_string(resolved.error());
      EXPECT_FALSE(resolved->behind);
      expect_exact(resolved->cut, WallTime{time}, std::nullopt);
      deceived += deceiving(WallTime{time});
      // Asked again, it is the same.
      const auto again = parse_as_of(to_string(resolved->cut));
      ASSERT_TRUE(again);
      EXPECT_EQ(to_string(resolved->cut), resolved_text(*again));
    }
  }
  EXPECT_GT(deceived, 500);  // Whoever took these for real would have been wrong.
}

TEST_F(AsOfTest, APositionTakesTheOtherPartitionsUpToItsTime) {
  for (std::uint64_t seed = 21; seed <= 28; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    start(seed, seed % 2 == 0);
    grow(120);
    for (const Landed& record : landed_) {
      if (!record.admitted || HasFailure()) continue;
      const auto resolved = resolve(record.position);
      ASSERT_TRUE(resolved) << to_string(resolved.error());
      EXPECT_EQ(record.position.offset, resolved->cut.last(record.position.partition));
      expect_exact(resolved->cut, record.at, record.position);
    }
  }
}

// Behind whole batches of records that do not count, too. What lies behind a gap may be taken for it.
TEST_F(AsOfTest, TheNewestRecordThatCountsIsFoundAcrossBatches) {
  int without = 0;
  for (std::uint64_t seed = 41; seed <= 46; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    start(seed, seed % 2 == 0);
    grow(60);
    for (int i = 0; i < 6; ++i) {  // Each a batch of its own.
      for (std::uint32_t number = 0; number < kPartitions; ++number) land_foreign(Partition{number});
      run_for(std::chrono::milliseconds{600});
    }
    grow(20);
    for (const Landed& record : landed_) {
      // Also in the midst of what does not count.
      const LogPosition position{
          record.position.partition,
          Offset{record.position.offset.value() - rng_.below(record.position.offset.value() + 1) / 2}};
      const Offset from{rng_.below(position.offset.value() + 1)};
      std::optional<Landed> expected;
      for (const Landed& other : landed_) {
        const bool before = other.position.partition == position.partition &&
                            other.position.offset <= position.offset && other.position.offset >= from;
        if (before && other.admitted) expected = other;
      }
      const auto found = newest(position, from);
      ASSERT_TRUE(found) << to_string(found.error());
      without += *found ? 0 : 1;
      if (*found) EXPECT_GE((*found)->position.offset, from);
      if (*found) EXPECT_LE((*found)->position.offset, position.offset);
      if (!expected) continue;
      ASSERT_TRUE(*found) << to_string(position) << " from " << from.value() << ", expected "
                          << to_string(expected->position);
      EXPECT_GE((*found)->position.offset, expected->position.offset);
      EXPECT_GE((*found)->at, expected->at);
    }
  }
  EXPECT_GT(without, 0);
}

TEST_F(AsOfTest, AGapHasTheTimeOfWhatCameBeforeIt) {
  start(1, false);
  claim(Partition{0}, 1000);
  land_foreign(Partition{0});
  commit(Partition{0}, 3000);
  claim(Partition{1}, 1500);
  run_for(std::chrono::milliseconds{1200});
  EXPECT_EQ("0:0,", resolved_text(LogPosition{Partition{0}, Offset{0}}));
  EXPECT_EQ("0:1,", resolved_text(LogPosition{Partition{0}, Offset{1}}));
  EXPECT_EQ("0:2,1:0", resolved_text(LogPosition{Partition{0}, Offset{2}}));
  EXPECT_EQ("0:0,1:0", resolved_text(LogPosition{Partition{1}, Offset{0}}));
}

// An old one, and the first of its batch: nothing in the batch says that its number was there before.
TEST_F(AsOfTest, ADuplicateHasTheTimeOfWhatCameBeforeIt) {
  start(1, false);
  claim(Partition{0}, 1000);
  commit(Partition{0}, 2000);
  commit(Partition{0}, 3000);
  claim(Partition{1}, 2500);
  run_for(std::chrono::milliseconds{1200});
  commit(Partition{0}, Epoch{1}, 1, 2000);
  run_for(std::chrono::milliseconds{1200});
  EXPECT_EQ("0:3,1:0", resolved_text(LogPosition{Partition{0}, Offset{3}}));
}

TEST_F(AsOfTest, AnEmptyLogHasOneMoment) {
  start(1, false);
  EXPECT_EQ(",", resolved_text(WallTime{5000}));
  EXPECT_EQ(",", resolved_text(Cut{}));
  EXPECT_EQ("not_found: 2:0 lies beyond the log's end: partition 2 is empty",
            resolved_text(LogPosition{Partition{2}, Offset{0}}));
}

TEST_F(AsOfTest, WhatIsBeyondTheEndIsAwaited) {
  start(1, false);
  claim(Partition{0}, 1000);
  run_for(std::chrono::milliseconds{1200});
  const MonoTime asked = life_->scheduler.now();
  EXPECT_EQ("not_found: 0:1 lies beyond the log's end: partition 0 ends before offset 1",
            resolved_text(LogPosition{Partition{0}, Offset{1}}));
  EXPECT_GE(life_->scheduler.now() - asked, std::chrono::seconds{5});
  EXPECT_LT(life_->scheduler.now() - asked, std::chrono::seconds{6});

  const Cut cut{{{Partition{0}, Offset{1}}, {Partition{1}, Offset{0}}}};
  const Answer waits = begin(cut);
  run_for(std::chrono::seconds{3});
  EXPECT_FALSE(waits->has_value());
  commit(Partition{0}, 2000);
  claim(Partition{1}, 2000);
  run_for(std::chrono::seconds{1});
  ASSERT_TRUE(waits->has_value());
  ASSERT_TRUE(**waits) << to_string((**waits).error());
  EXPECT_EQ(cut, (**waits)->cut);
}

TEST_F(AsOfTest, WhatTheViewsHaveNotGotToIsNotMissing) {
  start(1, false);
  claim(Partition{0}, 1000);
  run_for(std::chrono::milliseconds{1200});
  for (const auto& worker : life_->workers) worker->stop();
  run_for(std::chrono::milliseconds{1200});
  commit(Partition{0}, 2000);
  EXPECT_EQ("unavailable: the views have not reached the position in time",
            resolved_text(LogPosition{Partition{0}, Offset{1}}));
  // A time is answered with what is there.
  EXPECT_EQ("0:0, behind", resolved_text(WallTime{2000}));
  EXPECT_EQ("0:0, behind", resolved_text(WallTime{1000}));
  EXPECT_EQ(",", resolved_text(WallTime{999}));
}

TEST_F(AsOfTest, APartitionThatTheLogDoesNotHaveIsRefused) {
  start(1, false);
  EXPECT_EQ("invalid_argument: 3:0 names no partition of this log, which has 3, numbered from 0",
            resolved_text(LogPosition{Partition{3}, Offset{0}}));
  EXPECT_EQ("invalid_argument: 9:0 names no partition of this log, which has 3, numbered from 0",
            resolved_text(Cut{{{Partition{0}, Offset{0}}, {Partition{9}, Offset{0}}}}));
}

}  // namespace
}  // namespace varve
