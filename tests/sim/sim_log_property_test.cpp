// What the simulated log promises, under all of its faults, with nodes that crash, pause and are cut off:
// 200 seeds, each with its own faults.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "runtime/suspend.h"
#include "sim/sim_log.h"

namespace varve::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint32_t kPartitions = 2;
constexpr std::size_t kNodes = 3;

struct Sent {
  Partition partition;
  std::string bytes;
  std::uint64_t incarnation = 0;
  Delivery delivery;  // Null: refused.
};

// What one incarnation has sent and read. It outlives it.
struct Diary {
  std::uint64_t incarnation = 0;
  std::vector<Sent> sent;
  std::map<Partition, std::vector<LogRecord>> read;
  // Behind everything that anybody has read.
  std::map<Partition, Offset>* furthest = nullptr;
};

struct Node {
  Node(Scheduler& scheduler, std::size_t number, std::uint64_t seed,
       const std::shared_ptr<SimLogStorage>& storage)
      : env(scheduler, "node" + std::to_string(number), seed), log(env, storage) {}
  ~Node() { env.kill(); }
  SimEnv env;
  SimLog log;
};

Task<> write_on(Node* node, Diary* diary, const bool* enough) {
  while (!*enough) {
    const Partition partition{static_cast<std::uint32_t>(node->env.rng().below(kPartitions))};
    Sent sent{partition, std::to_string(diary->incarnation) + "." + std::to_string(diary->sent.size()),
              diary->incarnation, nullptr};
    const auto delivery = node->log.append(partition, "agent-1", sent.bytes);
    if (delivery) sent.delivery = *delivery;
    diary->sent.push_back(std::move(sent));
    const Duration pause = milliseconds{node->env.rng().below(200)};
    co_await sleep_for(node->env, pause);
  }
  co_return ok();
}

Task<> read_on(Node* node, Diary* diary, Partition partition) {
  std::vector<LogRecord>& seen = diary->read[partition];
  Offset from{};
  while (true) {
    ReadOptions options;
    options.wait_until = node->env.now() + seconds{1};
    const auto batch = co_await node->log.read(partition, from, options);
    if (!batch) {
      EXPECT_EQ(Errc::unavailable, batch.error().code) << batch.error().message;
      co_await sleep_for(node->env, milliseconds{20});
      continue;
    }
    for (const LogRecord& record : batch->records) {
      EXPECT_GE(record.offset, from);
      from = next(record.offset);
      seen.push_back(record);
    }
    EXPECT_EQ(from, batch->next);
    Offset& furthest = (*diary->furthest)[partition];
    furthest = std::max(furthest, from);
    const Offset known = furthest;
    const auto end = co_await node->log.end(partition);
    if (end) EXPECT_GE(*end, known) << "the end lies before what was seen";
  }
}

SimLogStorage::Faults some_faults(Rng& rng) {
  SimLogStorage::Faults faults;
  if (rng.chance(1, 8)) return faults;
  const auto rate = [&rng]() -> std::uint32_t {
    constexpr std::uint32_t kRates[] = {0, 0, 2'000, 20'000, 100'000};
    return kRates[rng.below(5)];
  };
  faults.delay_us = static_cast<std::uint32_t>(rng.below(2) * 300'000);
  for (std::uint32_t* ppm :
       {&faults.refused_ppm, &faults.lost_ppm, &faults.late_ppm, &faults.lost_ack_ppm, &faults.duplicate_ppm,
        &faults.reset_ppm, &faults.few_replicas_ppm, &faults.stall_ppm, &faults.leader_change_ppm,
        &faults.replaced_ppm, &faults.orphan_lost_ppm, &faults.orphan_late_ppm, &faults.lag_ppm,
        &faults.read_error_ppm, &faults.short_batch_ppm}) {
    *ppm = rate();
  }
  return faults;
}

class Story {
 public:
  explicit Story(std::uint64_t seed) : rng_(seed), scheduler_(seed) {
    storage_ = std::make_shared<SimLogStorage>(
        scheduler_, world_, counters_,
        SimLogStorage::Options{.partitions = kPartitions, .sparse = rng_.chance(1, 2)});
    storage_->on_visible([this](Partition partition, const LogRecord& record) {
      auto& before = became_visible_[partition];
      if (!before.empty()) EXPECT_LT(before.back().offset, record.offset) << "an offset was used again";
      before.push_back(record);
    });
    faults_ = some_faults(rng_);
    storage_->set_faults(faults_);
  }

  void tell() {
    for (std::size_t i = 0; i < kNodes; ++i) boot(i);
    for (int i = 0; i < 40; ++i) {
      pass(milliseconds{rng_.below(1500)});
      disturb(rng_.below(kNodes));
    }
    for (const auto& node : nodes_) {
      node->env.resume();
      node->log.cut_off(false);
    }
    storage_->heal();
    enough_ = true;
    pass(seconds{90});  // The latest of the late.
    check_that_it_works_again();
    check_what_is_visible();
    check_outcomes();
    check_order();
    for (const auto& diary : diaries_) check_reader(*diary);
  }
  const Counters& counters() const { return counters_; }
  std::uint64_t trace_hash() const { return scheduler_.trace_hash(); }

 private:
  void pass(Duration duration) {
    const MonoTime until = scheduler_.now() + duration;
    while (scheduler_.now() < until && scheduler_.step()) {
    }
  }

  void boot(std::size_t i) {
    nodes_[i] = nullptr;
    nodes_[i] = std::make_unique<Node>(scheduler_, i, rng_.u64(), storage_);
    diaries_.push_back(std::make_unique<Diary>());
    diary_of_[i] = diaries_.back().get();
    diary_of_[i]->incarnation = diaries_.size();
    diary_of_[i]->furthest = &furthest_;
    Node* node = nodes_[i].get();
    node->env.spawn("writer", write_on(node, diary_of_[i], &enough_));
    for (std::uint32_t p = 0; p < kPartitions; ++p)
      node->env.spawn("reader", read_on(node, diary_of_[i], Partition{p}));
  }

  void disturb(std::size_t i) {
    switch (rng_.below(8)) {
      case 0:
        return boot(i);
      case 1:
        return nodes_[i]->env.pause();
      case 2:
        return nodes_[i]->log.cut_off(true);
      case 3:
        return storage_->change_leader(Partition{static_cast<std::uint32_t>(rng_.below(kPartitions))});
      default:
        nodes_[i]->env.resume();
        nodes_[i]->log.cut_off(false);
    }
  }

  void check_that_it_works_again() {
    for (const auto& node : nodes_) {
      for (std::uint32_t p = 0; p < kPartitions; ++p) {
        const auto delivery = node->log.append(Partition{p}, "agent-1", "after all");
        ASSERT_TRUE(delivery);
        pass(seconds{2});
        EXPECT_TRUE((*delivery)->ready()) << "the log does not answer";
      }
    }
  }

  void check_what_is_visible() {
    for (std::uint32_t p = 0; p < kPartitions; ++p) {
      const auto& now = storage_->records(Partition{p});
      const auto& then = became_visible_[Partition{p}];
      ASSERT_EQ(then.size(), now.size());
      for (std::size_t i = 0; i < now.size(); ++i) {
        EXPECT_EQ(then[i].offset, now[i].offset);
        EXPECT_EQ(*then[i].bytes, *now[i].bytes);
        places_[*now[i].bytes].push_back({Partition{p}, now[i].offset});
      }
    }
  }

  void check_outcomes() {
    std::set<std::uint64_t> living;
    for (const Diary* diary : diary_of_) living.insert(diary->incarnation);
    for (const auto& diary : diaries_) {
      for (const Sent& sent : diary->sent) {
        const auto found = places_.find(sent.bytes);
        const std::size_t times = found == places_.end() ? 0 : found->second.size();
        if (!sent.delivery) {
          EXPECT_EQ(0U, times) << sent.bytes << " was refused and has landed";
          continue;
        }
        if (faults_.duplicate_ppm == 0) EXPECT_LE(times, 1U) << sent.bytes << " has landed twice";
        if (!sent.delivery->ready()) {
          EXPECT_FALSE(living.contains(sent.incarnation)) << sent.bytes << " was never answered";
          continue;
        }
        check_answer(sent, times);
      }
    }
  }
  void check_answer(const Sent& sent, std::size_t times) {
    // It is set: the answer comes without waiting.
    Result<Offset> outcome;
    world_.spawn("ask", [](Delivery delivery, Env* env, Result<Offset>* out) -> Task<> {
      *out = co_await delivery->get(*env, kNever);
      co_return ok();
    }(sent.delivery, &world_, &outcome));
    while (!outcome && outcome.error().message == "never ran" && scheduler_.step()) {
    }
    if (!outcome) {
      EXPECT_EQ(Errc::outcome_unknown, outcome.error().code);
      return;
    }
    ASSERT_GE(times, 1U) << sent.bytes << " was acknowledged and is not there";
    bool there = false;
    for (const LogPosition& place : places_[sent.bytes])
      there = there || (place.partition == sent.partition && place.offset == *outcome);
    EXPECT_TRUE(there) << sent.bytes << " lies elsewhere than was reported";
  }

  // One producer's records land in the order of their appends.
  void check_order() {
    if (faults_.duplicate_ppm != 0 || faults_.replaced_ppm != 0) return;
    for (const auto& diary : diaries_) {
      std::map<Partition, Offset> last;
      for (const Sent& sent : diary->sent) {
        const auto found = places_.find(sent.bytes);
        if (found == places_.end()) continue;
        const Offset offset = found->second.front().offset;
        if (last.contains(sent.partition)) EXPECT_LT(last[sent.partition], offset) << sent.bytes;
        last[sent.partition] = offset;
      }
    }
  }

  // A reader has seen the beginning of the log, in order; one that lives has seen all of it.
  void check_reader(const Diary& diary) {
    bool living = false;
    for (const Diary* its : diary_of_) living = living || its == &diary;
    for (const auto& [partition, seen] : diary.read) {
      const auto& all = storage_->records(partition);
      ASSERT_LE(seen.size(), all.size());
      if (living) EXPECT_EQ(all.size(), seen.size());
      for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(all[i].offset, seen[i].offset);
    }
  }

  Rng rng_;
  Scheduler scheduler_;
  SimEnv world_{scheduler_, "world", 1};
  Counters counters_;
  SimLogStorage::Faults faults_;
  std::shared_ptr<SimLogStorage> storage_;
  std::map<Partition, std::vector<LogRecord>> became_visible_;
  std::map<std::string, std::vector<LogPosition>> places_;
  std::map<Partition, Offset> furthest_;
  bool enough_ = false;
  std::vector<std::unique_ptr<Diary>> diaries_;
  std::array<Diary*, kNodes> diary_of_{};
  std::array<std::unique_ptr<Node>, kNodes> nodes_;
};

TEST(SimLogProperty, ItKeepsItsPromisesUnderEveryFault) {
  Counters all;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Story story(seed);
    story.tell();
    for (const auto& [name, count] : story.counters().all()) all.add(name, count);
    if (HasFailure()) break;
  }
  for (const char* name : {"fault.log.refused",
                           "fault.log.lost",
                           "fault.log.late",
                           "fault.log.lost_ack",
                           "fault.log.duplicate",
                           "fault.log.reset",
                           "fault.log.few_replicas",
                           "fault.log.stall",
                           "fault.log.leader_change",
                           "fault.log.producer_replaced",
                           "fault.log.orphan_lost",
                           "fault.log.orphan_late",
                           "fault.log.lag",
                           "fault.log.read_error",
                           "fault.log.short_batch",
                           "fault.log.cut_off",
                           "sometimes.append.unknown",
                           "sometimes.append.unknown_was_committed",
                           "sometimes.append.unknown_was_lost",
                           "sometimes.append.retry_was_recognised",
                           "sometimes.log.unreplicated_was_lost",
                           "sometimes.zombie.append_landed"}) {
    EXPECT_GT(all.of(name), 0U) << name << " was never seen";
  }
}

TEST(SimLogProperty, OneSeedGivesOneTrace) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    Story one(seed);
    one.tell();
    Story two(seed);
    two.tell();
    EXPECT_EQ(one.trace_hash(), two.trace_hash());
  }
}

}  // namespace
}  // namespace varve::sim
