// Everything that crosses threads, under ThreadSanitizer whatever the preset is: the hand-over of RealEnv,
// and the SQLite log and views that live on its lanes. The counters here are plain on purpose: nothing but
// the hand-over orders what the threads do. `test_cross_thread racy` does it wrong, and is seen to be caught.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/sqlite_event_log.h"
#include "projections/sqlite_view_store.h"
#include "runtime/real_env.h"
#include "runtime/sync.h"
#include "tests/projections/temp_directory.h"
#include "tests/projections/view_rows.h"
#include "tests/support/run.h"
#include "tests/support/samples.h"

namespace varve::test {
namespace {

constexpr std::array kLanes{Lane::log, Lane::store, Lane::read};
constexpr int kJobs = 400;

RealEnv::Options four_readers() {
  RealEnv::Options options;
  options.read_threads = 4;
  options.log_sink = [](LogLevel, std::string_view) {};
  return options;
}

// What one thread hands to another: long enough to be torn.
using Load = std::map<int, std::string>;

Load make_load(int number) {
  Load load;
  for (int i = 0; i < 20; ++i) load.emplace(i, std::string(100, static_cast<char>('a' + number % 26)));
  return load;
}

Result<Load> job(const std::shared_ptr<const Load>& input, int number) {
  Load out = *input;
  out.merge(make_load(number));
  return out;
}

Task<> send_jobs(Env* env, Lane lane, std::uint64_t* characters) {
  for (int number = 0; number < kJobs; ++number) {
    const auto input = std::make_shared<const Load>(make_load(number));
    std::function<Result<Load>()> work = [input, number] { return job(input, number); };
    auto done = co_await offload<Load>(*env, lane, std::move(work));
    if (!done) co_return done.error();
    for (const auto& [key, text] : *done) *characters += text.size();
  }
  co_return ok();
}

Task<> hammer(RealEnv* env, std::uint64_t* characters) {
  TaskGroup group{*env};
  for (const Lane lane : kLanes) {
    for (int i = 0; i < 3; ++i) {
      const auto spawned = group.spawn("jobs", send_jobs(env, lane, characters));
      if (!spawned) co_return spawned;
    }
  }
  co_return co_await group.join(kNever);
}

TEST(CrossThread, ResultsOfLanesComeBackToTheEnvsThread) {
  RealEnv env(four_readers());
  std::uint64_t characters = 0;
  std::uint64_t timers = 0;
  std::function<void()> tick = [&] {
    ++timers;
    env.cancel(env.call_at(env.now() + std::chrono::hours{1}, [] {}));
    env.call_at(env.now() + std::chrono::microseconds{100}, tick);
  };
  tick();
  const Status done = run(env, hammer(&env, &characters));
  ASSERT_TRUE(done) << to_string(done.error());
  EXPECT_EQ(characters, 9U * kJobs * 20 * 100);
  EXPECT_GT(timers, 1U);
  env.shut_down();
}

TEST(CrossThread, AnyThreadMayPostAndTheEnvsThreadRunsIt) {
  RealEnv env(four_readers());
  int ran = 0;
  int reported = 0;
  constexpr int kPosts = 50;
  const auto stop_at_the_end = [&] {
    if (ran == kJobs * kPosts && reported == kJobs) env.stop();
  };
  const auto posted = [&] {
    ++ran;
    stop_at_the_end();
  };
  for (int i = 0; i < kJobs; ++i) {
    env.offload(
        kLanes[static_cast<std::size_t>(i) % kLanes.size()],
        [&env, posted] {
          for (int n = 0; n < kPosts; ++n) env.post(posted);
        },
        [&reported, stop_at_the_end] {
          ++reported;
          stop_at_the_end();
        });
  }
  env.run();
  EXPECT_EQ(kJobs * kPosts, ran);
  EXPECT_EQ(kJobs, reported);
  env.shut_down();
}

TEST(CrossThread, AnyThreadMayStopTheLoop) {
  for (int round = 0; round < 50; ++round) {
    RealEnv env(four_readers());
    env.offload(
        Lane::read, [&env] { env.stop(); }, [] {});
    env.run();
    env.shut_down();
  }
}

TEST(CrossThread, WorkOfOneLaneRunsInOrder) {
  RealEnv env(four_readers());
  std::vector<int> order;  // Touched by the lane alone, until it has ended.
  int reported = 0;
  for (int i = 0; i < kJobs; ++i) {
    env.offload(
        Lane::log, [&order, i] { order.push_back(i); },
        [&] {
          if (++reported == kJobs) env.stop();
        });
  }
  env.run();
  for (int i = 0; i < kJobs; ++i) EXPECT_EQ(i, order[static_cast<std::size_t>(i)]);
  env.shut_down();
}

// The end of an incarnation with work under way: the lanes end first, then the tasks that wait for them.
TEST(CrossThread, ShutsDownWhileTheLanesAreBusy) {
  for (int round = 0; round < 20; ++round) {
    RealEnv env(four_readers());
    std::uint64_t characters = 0;
    env.spawn("hammer", hammer(&env, &characters));
    env.call_at(env.now() + std::chrono::microseconds{200 * round}, [&env] { env.stop(); });
    env.run();
    env.shut_down();
    EXPECT_LT(characters, 9U * kJobs * 20 * 100);
  }
}

Task<> write_log(Env* env, EventLog* log, Partition partition, int records) {
  for (int i = 0; i < records; ++i) {
    auto bytes = encode_record(sample_commit());
    auto delivery = log->append(partition, "agent-a", std::move(*bytes));
    if (!delivery) co_return delivery.error();
    const Delivery on_its_way = *delivery;
    auto offset = co_await on_its_way->get(*env, kNever);
    if (!offset) co_return offset.error();
  }
  co_return ok();
}

Task<> read_log(Env* env, EventLog* log, Partition partition, std::size_t records, std::size_t* parts) {
  Offset from;
  std::size_t seen = 0;
  while (seen < records) {
    ReadOptions options;
    options.wait_until = env->now() + std::chrono::seconds{5};
    auto batch = co_await log->read(partition, from, options);
    if (!batch) co_return batch.error();
    for (const LogRecord& record : batch->records) {
      const auto read = decoded(record);  // Shared by all readers of a record.
      if (!read) co_return read.error();
      *parts += std::get<Commit>(**read).parts.size();
    }
    seen += batch->records.size();
    from = batch->next;
  }
  co_return ok();
}

Task<> use_log(Env* env, EventLog* log, std::size_t* parts) {
  constexpr int kRecords = 60;
  TaskGroup group{*env};
  for (std::uint32_t i = 0; i < log->partitions(); ++i) {
    Status spawned = group.spawn("write", write_log(env, log, Partition{i}, kRecords));
    for (int reader = 0; spawned && reader < 2; ++reader)
      spawned = group.spawn("read", read_log(env, log, Partition{i}, kRecords, parts));
    if (!spawned) co_return spawned;
  }
  if (Status joined = co_await group.join(kNever); !joined) co_return joined;
  co_return co_await read_log(env, log, Partition{0}, kRecords, parts);
}

TEST(CrossThread, WritersAndReadersOfTheSqliteLog) {
  const TempDirectory directory;
  RealEnv env(four_readers());
  auto log = SqliteEventLog::open(env, {directory.path(), 4, nullptr});
  ASSERT_TRUE(log) << to_string(log.error());
  std::size_t parts = 0;
  const Status used = run(env, use_log(&env, log->get(), &parts));
  EXPECT_TRUE(used) << to_string(used.error());
  EXPECT_EQ(parts, 9U * 60 * 2);
  env.shut_down();
}

Task<> commit_rows(ViewStore* store, std::uint32_t partition, int batches) {
  for (int i = 0; i < batches; ++i) {
    Batch batch;
    batch.partition = Partition{partition};
    batch.expected_version = static_cast<std::uint64_t>(i);
    batch.expected_next = Offset{batch.expected_version};
    batch.checkpoint.version = batch.expected_version + 1;
    batch.checkpoint.next = Offset{batch.checkpoint.version};
    for (int row = 0; row < 10; ++row) {
      const std::string id = std::to_string(partition) + "-" + std::to_string(i) + "-" + std::to_string(row);
      batch.changes.emplace_back(message(id, "a1", at(batch.checkpoint.version, row, partition)));
    }
    auto outcome = co_await store->commit(std::move(batch));
    if (!outcome) co_return outcome.error();
    if (*outcome != CommitOutcome::committed) co_return Error{Errc::conflict, "a race without a rival"};
  }
  co_return ok();
}

Task<> count_rows(ViewStore* store, int reads, std::int64_t* newest) {
  for (int i = 0; i < reads; ++i) {
    const auto found = std::make_shared<std::int64_t>();
    std::function<Status(ViewReader&)> work = [found](ViewReader& views) -> Status {
      Query query;
      query.view = View::messages;
      auto counted = views.count(query);
      if (!counted) return counted.error();
      *found = *counted;
      return ok();
    };
    if (Status read = co_await store->read(std::move(work)); !read) co_return read;
    *newest = std::max(*newest, *found);
  }
  co_return ok();
}

Task<> use_views(Env* env, ViewStore* store, std::int64_t* newest) {
  TaskGroup group{*env};
  Status spawned = ok();
  for (std::uint32_t partition = 0; spawned && partition < 4; ++partition)
    spawned = group.spawn("commit", commit_rows(store, partition, 30));
  for (int reader = 0; spawned && reader < 5; ++reader)
    spawned = group.spawn("read", count_rows(store, 40, newest));
  if (!spawned) co_return spawned;
  if (Status joined = co_await group.join(kNever); !joined) co_return joined;
  co_return co_await count_rows(store, 1, newest);
}

TEST(CrossThread, CommitsReadsAndCheckpointsOfTheSqliteViews) {
  const TempDirectory directory;
  RealEnv env(four_readers());
  SqliteViewStore::Options options;
  options.directory = directory.path();
  options.search_waiting_max = 8;
  options.checkpoint_pages = 4;  // Checkpoints beside the commits, all the time.
  auto store = SqliteViewStore::open(env, options);
  ASSERT_TRUE(store) << to_string(store.error());
  std::int64_t newest = 0;
  const Status used = run(env, use_views(&env, store->get(), &newest));
  EXPECT_TRUE(used) << to_string(used.error());
  EXPECT_EQ(4 * 30 * 10, newest);
  env.shut_down();
}

// Work that touches what is the Env's thread's, without the hand-over.
int do_it_wrong() {
  RealEnv env(four_readers());
  int count = 0;
  int reported = 0;
  const auto touch = [&count] {
    for (int i = 0; i < 10'000; ++i) {
      ++count;
      asm volatile("" : : : "memory");  // Every time, not once for all.
    }
  };
  for (int i = 0; i < kJobs; ++i) {
    env.offload(Lane::read, touch, [&] {
      touch();
      if (++reported == kJobs) env.stop();
    });
  }
  env.run();
  env.shut_down();
  return count > 0 ? 0 : 1;
}

TEST(CrossThread, ARaceIsCaught) {
  FILE* pipe = ::popen("exec /proc/$PPID/exe racy 2>&1", "r");
  ASSERT_NE(nullptr, pipe);
  std::string output;
  std::array<char, 4096> buffer{};
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe))
    output.append(buffer.data(), count);
  EXPECT_NE(0, ::pclose(pipe));
  EXPECT_NE(std::string::npos, output.find("ThreadSanitizer: data race")) << output;
}

}  // namespace
}  // namespace varve::test

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "racy") return varve::test::do_it_wrong();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
