// varve log tail: the newest records of all partitions in the order of their times, then, if asked, every new
// one as it comes. It reads the log from its start, because a verdict depends on what came before; in short
// transactions, so that a running server's WAL can be checkpointed meanwhile.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <deque>
#include <iostream>

#include "cli/commands.h"
#include "cli/log_lines.h"
#include "cli/logs.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

constexpr std::size_t kRecordsARead = 256;  // One short transaction.
constexpr std::chrono::seconds kWaitForRecords{1};
constexpr std::chrono::milliseconds kWatchOutput{200};

struct Seen {
  LogRecord read;
  std::shared_ptr<const Record> record;
  Verdict verdict = Verdict::foreign;
};

// How far a partition is read.
struct Cursor {
  Partition partition;
  Offset next;
  AdmissionState admission;
  std::deque<Seen> newest;
};

struct Tail {
  RealEnv& env;
  EventLog& log;
  TailOptions options;
  std::vector<Cursor> cursors;
  int exit_code = kExitDone;

  void fail(const Error& error) {
    std::cerr << "varve log tail: " << error.message << "\n";
    exit_code = kExitFailed;
    env.stop();
  }
};

// Judges what was read and moves the cursor behind it.
Result<std::vector<Seen>> take(Cursor& cursor, const ReadBatch& batch) {
  std::vector<Seen> taken;
  for (const LogRecord& read : batch.records) {
    auto record = decoded(read);
    if (!record) {
      return Error{record.error().code,
                   to_string(LogPosition{cursor.partition, read.offset}) + ": " + record.error().message};
    }
    taken.push_back({read, *record, admit(cursor.admission, **record)});
  }
  cursor.next = batch.next;
  return taken;
}

Task<> catch_up(Tail& tail, Cursor& cursor) {
  for (;;) {
    ReadOptions read;
    read.records_max = kRecordsARead;
    auto batch = co_await tail.log.read(cursor.partition, cursor.next, read);
    if (!batch) co_return batch.error();
    auto taken = take(cursor, *batch);
    if (!taken) co_return taken.error();
    if (taken->empty()) co_return ok();
    for (Seen& seen : *taken) cursor.newest.push_back(std::move(seen));
    while (cursor.newest.size() > tail.options.records) cursor.newest.pop_front();
  }
}

// False when nobody reads any more.
bool print(const Tail& tail, const Cursor& cursor, const Seen& seen) {
  std::cout << line_of_record(cursor.partition, seen.read, seen.verdict, *seen.record, tail.options.json)
            << "\n";
  return std::cout.good();
}

// The newest of all partitions by time; within one by offset, also where a clock went backwards.
void print_newest(Tail& tail) {
  struct Line {
    WallTime at;
    const Cursor* cursor;
    const Seen* seen;
  };
  std::vector<Line> lines;
  for (const Cursor& cursor : tail.cursors) {
    WallTime latest{};
    for (const Seen& seen : cursor.newest) {
      latest = std::max(latest, time_of(*seen.record));
      lines.push_back({latest, &cursor, &seen});
    }
  }
  std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.at < b.at; });
  const std::size_t skipped = lines.size() - std::min(lines.size(), tail.options.records);
  for (std::size_t i = skipped; i < lines.size(); ++i) print(tail, *lines[i].cursor, *lines[i].seen);
  std::cout.flush();
  for (Cursor& cursor : tail.cursors) cursor.newest.clear();
}

Task<> follow(Tail& tail, Cursor& cursor) {
  for (;;) {
    ReadOptions read;
    read.records_max = kRecordsARead;
    read.wait_until = tail.env.now() + kWaitForRecords;
    auto batch = co_await tail.log.read(cursor.partition, cursor.next, read);
    Result<std::vector<Seen>> taken = batch ? take(cursor, *batch) : batch.error();
    if (!taken) {
      tail.fail(taken.error());
      co_return ok();
    }
    for (const Seen& seen : *taken) print(tail, cursor, seen);
    if (!std::cout.flush()) {
      tail.env.stop();
      co_return ok();
    }
  }
}

// A pipe that nobody reads says so before anything is written to it.
Task<> watch_output(Tail& tail) {
  for (;;) {
    pollfd output{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
    if (::poll(&output, 1, 0) > 0 && (output.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
      tail.env.stop();
      co_return ok();
    }
    co_await sleep_for(tail.env, kWatchOutput);
  }
}

Task<> run(Tail& tail) {
  for (Cursor& cursor : tail.cursors) {
    if (Status read = co_await catch_up(tail, cursor); !read) {
      tail.fail(read.error());
      co_return ok();
    }
  }
  print_newest(tail);
  if (!tail.options.follow || !std::cout) {
    tail.env.stop();
    co_return ok();
  }
  for (Cursor& cursor : tail.cursors) tail.env.spawn("follow", follow(tail, cursor));
  tail.env.spawn("watch output", watch_output(tail));
  co_return ok();
}

}  // namespace

int run_tail(const Config& config, const TailOptions& options) {
  RealEnv env;
  auto log = open_log_to_read(env, config);
  if (!log) {
    std::cerr << "varve log tail: " << log.error().message << "\n";
    return kExitFailed;
  }
  const std::uint32_t partitions = (*log)->partitions();
  if (options.partition && *options.partition >= partitions) {
    std::cerr << "varve log tail: the log has partitions 0 to " << partitions - 1 << ", not "
              << *options.partition << "\n";
    return kExitUsage;
  }
  Tail tail{env, **log, options, {}};
  for (std::uint32_t number = 0; number < partitions; ++number) {
    if (!options.partition || *options.partition == number)
      tail.cursors.push_back({Partition{number}, {}, {}, {}});
  }
  boost::asio::signal_set signals(env.io_context(), SIGINT, SIGTERM);
  signals.async_wait([&env](const boost::system::error_code& error, int /*signal*/) {
    if (!error) env.stop();
  });
  env.spawn("tail", run(tail));
  env.run();
  std::cout.flush();
  env.shut_down();
  return tail.exit_code;
}

}  // namespace varve
