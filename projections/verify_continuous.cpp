#include "projections/verify_continuous.h"

#include <algorithm>
#include <array>
#include <utility>

#include "projections/digest.h"
#include "projections/quarantine.h"
#include "projections/verify_rows.h"
#include "runtime/hash.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kRetryWait{1};
constexpr std::chrono::milliseconds kReadWait{500};
constexpr std::chrono::seconds kReadPatience{30};
constexpr std::size_t kSliceBytes = std::size_t{1} << 20U;
// So many sums has a view, and of so many of them the rows are read again: a few thousandths of the rows.
constexpr std::size_t kBuckets = 4'096;
constexpr std::size_t kSuspectsMax = 4;
// As in verify.cpp: the checkpoint is not where a fold of this log could have left it.
constexpr Errc kMisplaced = Errc::not_found;

using Buckets = std::vector<ViewDigests>;
using Suspects = std::array<std::set<std::size_t>, kViews>;

std::size_t bucket_of(View view, std::span<const Value> key) {
  return xxh64(describe_entity(view, key)) % kBuckets;
}
std::size_t bucket_of(View view, const Row& row) {
  return bucket_of(view, {row.values.data(), schema_of(view).key_columns});
}
std::size_t bucket_of(const RowChange& change) {
  if (const auto* close = std::get_if<RowClose>(&change)) return bucket_of(close->view, close->key);
  const auto& insert = std::get<RowInsert>(change);
  return bucket_of(insert.view, insert.row);
}
View view_of(const RowChange& change) {
  const auto* close = std::get_if<RowClose>(&change);
  return close != nullptr ? close->view : std::get<RowInsert>(change).view;
}

ViewDigest sum_of(const Buckets& buckets, std::size_t view) {
  ViewDigest sum;
  for (const ViewDigests& bucket : buckets) {
    sum.rows += bucket[view].rows;
    sum.closings += bucket[view].closings;
  }
  return sum;
}

// Where streams wait before `to`.
EventPlaces parked_before(Partition partition, const LoadedCheckpoint& loaded, Offset to) {
  EventPlaces places = PartitionFold{partition, loaded.checkpoint, loaded.quarantine}.parked_at();
  std::erase_if(places, [to](const EventPlace& place) { return place.offset >= to; });
  return places;
}

// With a decoding of their own: they are read on a lane.
std::vector<LogRecord> fresh(const std::vector<LogRecord>& records) {
  std::vector<LogRecord> copies;
  copies.reserve(records.size());
  for (const LogRecord& record : records) {
    LogRecord copy;
    copy.offset = record.offset;
    copy.bytes = record.bytes;
    copies.push_back(std::move(copy));
  }
  return copies;
}

Error superseded(const std::string& why) {
  return {Errc::conflict, why};
}

}  // namespace

// What is known of one partition; a job on the lane has it alone while it runs.
struct ContinuousVerify::Check {
  explicit Check(Partition of) : partition(of) {}

  Partition partition;
  Checkpoint checkpoint;  // As it is stored: the place of the comparison.
  EventPlaces parked;
  EventPlaces ruled;
  Checkpoint replayed;
  Buckets of_log = Buckets(kBuckets);
  Buckets of_rows = Buckets(kBuckets);
  Suspects suspects;
  std::vector<Difference> differences;

  bool is_suspect(View view, std::size_t bucket) const {
    return suspects[static_cast<std::size_t>(view)].contains(bucket);
  }
  LogReplay::Place place() const { return {partition, checkpoint.next, parked, ruled}; }
  void compare_sums();
  bool has_suspects() const {
    return std::any_of(suspects.begin(), suspects.end(), [](const auto& one) { return !one.empty(); });
  }
};

void ContinuousVerify::Check::compare_sums() {
  compare_checkpoint(partition, checkpoint, replayed, differences);
  for (const View view : all_views()) {
    const auto i = static_cast<std::size_t>(view);
    if (!(sum_of(of_rows, i) == checkpoint.digests[i]))
      differences.push_back(rows_do_not_add_up(partition, view));
    if (!(replayed.digests[i] == checkpoint.digests[i]))
      differences.push_back(digest_is_not_the_logs(partition, view));
    for (std::size_t bucket = 0; bucket < kBuckets && suspects[i].size() < kSuspectsMax; ++bucket) {
      if (!(of_rows[bucket][i] == of_log[bucket][i])) suspects[i].insert(bucket);
    }
  }
}

// ---- rounds

void ContinuousVerify::stop() {
  stopping_ = true;
  stop_.notify_all();
}

Task<> ContinuousVerify::run() {
  while (!stopping_) {
    const Status done = co_await round();
    if (!done && !stopping_)
      env_.log(LogLevel::warning, "verify: a round has failed: " + done.error().message);
    const MonoTime until = env_.now() + (done ? pace_.between_rounds : Duration{kRetryWait});
    while (!stopping_ && env_.now() < until) co_await stop_.wait(env_, until);
  }
  co_return ok();
}

Task<> ContinuousVerify::round() {
  do {
    switched_ = false;
    auto seen = co_await ports_.generations.look();
    if (!seen) co_return seen.error();
    generation_ = seen->active;
    for (std::uint32_t i = 0; i < ports_.log.partitions() && !switched_; ++i) {
      if (Status known = co_await check_until_known(Partition{i}); !known) co_return known;
    }
    if (switched_) env_.log(LogLevel::info, "verify: there are other views now; the round begins again");
  } while (switched_);
  ++progress_.rounds;
  progress_.round_ended = env_.wall_now();
  env_.count("verify_rounds");
  co_return ok();
}

// Or until the generation is another one.
Task<> ContinuousVerify::check_until_known(Partition partition) {
  bool warned = false;
  while (!switched_) {
    if (stopping_) co_return Error{Errc::cancelled, "the verification was stopped"};
    auto verdict = co_await check(partition);
    if (verdict && *verdict != Verdict::superseded) co_return ok();
    if (verdict) {
      env_.count("verify_restarts");
      continue;
    }
    const Error& error = verdict.error();
    if (error.code == Errc::cancelled) co_return error;
    if (error.code == Errc::corrupt) {
      tell(partition, {{partition, "it cannot be compared: " + error.message}});
      co_return ok();
    }
    if (!std::exchange(warned, true)) {
      env_.log(LogLevel::warning, "verify: partition " + std::to_string(partition.value()) +
                                      " cannot be compared at the moment: " + error.message);
    }
    const MonoTime until = env_.now() + kRetryWait;
    while (!stopping_ && env_.now() < until) co_await stop_.wait(env_, until);
  }
  co_return ok();
}

void ContinuousVerify::tell(Partition partition, const std::vector<Difference>& differences) {
  if (differences.empty()) {
    progress_.differing.erase(partition);
    return;
  }
  progress_.differing.insert(partition);
  env_.count("verify_differences", differences.size());
  for (const Difference& difference : differences) report_(difference);
}

// ---- one partition

Task<ContinuousVerify::Verdict> ContinuousVerify::check(Partition partition) {
  const auto check = std::make_shared<Check>(partition);
  Status status = co_await begin(check);
  if (status) {
    LogReplay::Sink sum = [check](Batch& batch) -> Status {
      for (const RowChange& change : batch.changes)
        add_change(check->of_log[bucket_of(change)], batch.partition, change);
      return ok();
    };
    const auto of_log = std::make_shared<LogReplay>(check->place(), rewrite_, std::move(sum));
    status = co_await replay(of_log);
    check->replayed = of_log->checkpoint();
  }
  const bool misplaced = !status && status.error().code == kMisplaced;
  if (misplaced) {
    check->differences.push_back({partition, status.error().message});
    status = ok();
  }
  if (status && !misplaced) {
    RowVisit sum = [check](View view, Row& row) { add_row(check->of_rows[bucket_of(view, row)], view, row); };
    status = co_await scan(check, std::move(sum));
    if (status) {
      check->compare_sums();
      if (check->has_suspects()) status = co_await name_rows(check);
    }
  }
  if (status) status = co_await still_stands(check);
  if (!status && status.error().code == Errc::conflict) co_return Verdict::superseded;
  if (!status) co_return status.error();
  tell(partition, check->differences);
  co_return check->differences.empty() ? Verdict::equal : Verdict::differs;
}

Task<> ContinuousVerify::begin(std::shared_ptr<Check> check) {
  auto seen = co_await ports_.generations.look();
  if (!seen) co_return seen.error();
  switched_ = seen->active != generation_;
  if (switched_) co_return superseded("the generation has changed");
  auto loaded = co_await ports_.views.load(check->partition);
  if (!loaded) co_return loaded.error();
  check->checkpoint = loaded->checkpoint;
  check->parked = parked_before(check->partition, *loaded, check->checkpoint.next);
  co_return co_await find_rulings(check);
}

Task<> ContinuousVerify::still_stands(std::shared_ptr<Check> check) {
  auto loaded = co_await ports_.views.load(check->partition);
  if (!loaded) co_return loaded.error();
  auto seen = co_await ports_.generations.look();
  if (!seen) co_return seen.error();
  switched_ = seen->active != generation_;
  if (switched_) co_return superseded("the generation has changed");
  const Offset place = check->checkpoint.next;
  if (loaded->checkpoint.next < place) co_return superseded("the views went back");
  if (parked_before(check->partition, *loaded, place) != check->parked)
    co_return superseded("a stream has left the quarantine");
  co_return ok();
}

// ---- the log

// Comes back with records, or says why there can be none. The end that another node has seen is the log's.
Task<ReadBatch> ContinuousVerify::read_log(Partition partition, Offset from, Offset to) {
  const MonoTime deadline = env_.now() + kReadPatience;
  for (;;) {
    if (stopping_) co_return Error{Errc::cancelled, "the verification was stopped"};
    ReadOptions options;
    options.records_max = pace_.slice;
    options.bytes_max = kSliceBytes;
    options.wait_until = env_.now() + kReadWait;
    auto batch = co_await ports_.log.read(partition, from, options);
    if (!batch || !batch->records.empty()) co_return batch;
    auto end = co_await ports_.log.end(partition);
    if (!end) co_return end.error();
    if (*end < to) co_return Error{kMisplaced, log_ends_before(to)};
    if (batch->next > from) {
      from = batch->next;
    } else if (env_.now() >= deadline) {
      co_return Error{Errc::unavailable, "the log does not show what it holds"};
    }
  }
}

Task<> ContinuousVerify::find_rulings(std::shared_ptr<Check> check) {
  Rulings& known = rulings_[check->partition];
  const Offset to = check->checkpoint.next;
  bool any = false;
  for (Offset from = known.until.next; from < to && !any;) {
    auto batch = co_await read_log(check->partition, from, to);
    if (!batch) co_return batch.error();
    any = std::any_of(batch->records.begin(), batch->records.end(), may_be_ruling);
    from = next(batch->records.back().offset);
    const std::size_t looked_at = batch->records.size();
    co_await pace(looked_at);
  }
  if (any) {
    auto found = co_await ruled_later(ports_.log, check->partition, known.until, to);
    if (!found) co_return found.error();
    known.places.insert(found->begin(), found->end());
  }
  if (known.until.next < to) known.until = check->checkpoint;
  check->ruled = known.places;
  std::erase_if(check->ruled, [to](const EventPlace& place) { return place.offset >= to; });
  co_return ok();
}

Task<> ContinuousVerify::replay(std::shared_ptr<LogReplay> replay) {
  while (!replay->done()) {
    const Offset from = replay->next();
    if (Status taken = co_await replay_slice(replay); !taken) co_return taken;
    if (replay->next() == from) co_return Error{kMisplaced, lies_between_records(replay->to())};
  }
  co_return ok();
}

Task<> ContinuousVerify::replay_slice(std::shared_ptr<LogReplay> replay) {
  auto batch = co_await read_log(replay->partition(), replay->next(), replay->to());
  if (!batch) co_return batch.error();
  const auto records = std::make_shared<const std::vector<LogRecord>>(fresh(batch->records));
  std::function<Result<std::size_t>()> job = [replay, records] { return replay->take(*records); };
  auto taken = co_await offload<std::size_t>(env_, Lane::read, std::move(job));
  if (!taken) co_return taken.error();
  if (*taken < records->size() && (*records)[*taken].offset < replay->to()) {
    LogRecord ruling = (*records)[*taken];
    if (Status released = co_await replay_ruling(replay, std::move(ruling)); !released) co_return released;
  }
  const std::size_t looked_at = *taken + 1;
  co_await pace(looked_at);
  co_return ok();
}

Task<> ContinuousVerify::replay_ruling(std::shared_ptr<LogReplay> replay, LogRecord record) {
  std::vector<Offset> offsets = replay->released_by(record);
  auto found = co_await records_at(ports_.log, replay->partition(), std::move(offsets));
  if (!found) co_return found.error();
  const auto waiting = std::make_shared<const std::vector<LogRecord>>(fresh(*found));
  std::function<Result<Unit>()> job = [replay, record, waiting] {
    return replay->take_ruling(record, *waiting);
  };
  co_return co_await offload<Unit>(env_, Lane::read, std::move(job));
}

// ---- the rows

Task<> ContinuousVerify::scan(std::shared_ptr<Check> check, RowVisit visit) {
  for (const View view : all_views()) {
    const auto last = std::make_shared<std::optional<Row>>();
    for (;;) {
      if (stopping_) co_return Error{Errc::cancelled, "the verification was stopped"};
      auto more = co_await scan_page(check, view, last, visit);
      if (!more) co_return more.error();
      if (!*more) break;
    }
  }
  co_return ok();
}

// False: it was the last one.
Task<bool> ContinuousVerify::scan_page(std::shared_ptr<Check> check, View view,
                                       std::shared_ptr<std::optional<Row>> last, RowVisit visit) {
  const auto count = std::make_shared<std::size_t>(0);
  std::function<Status(ViewReader&)> work = [=, limit = pace_.slice](ViewReader& reader) -> Status {
    const Offset place = check->checkpoint.next;
    const auto now = reader.checkpoint(check->partition);
    if (!now) return now.error();
    if (now->next < place) return superseded("the views went back");
    auto rows = rows_behind(reader, view, check->partition, *last ? &**last : nullptr, limit);
    if (!rows) return rows.error();
    *count = rows->size();
    if (!rows->empty()) *last = rows->back();
    for (Row& row : *rows) {
      if (row.from.offset >= now->next && check->differences.size() < kDifferencesMax) {
        const std::string what = "the row is in the table, but from behind the checkpoint";
        check->differences.push_back({check->partition, sentence_of(view, row, what)});
      }
      if (row.from.offset >= place) continue;
      if (row.to && row.to->offset >= place) row.to.reset();
      visit(view, row);
    }
    return ok();
  };
  if (Status read = co_await ports_.views.read(std::move(work)); !read) co_return read.error();
  const std::size_t looked_at = *count + 1;
  co_await pace(looked_at);
  co_return *count == pace_.slice;
}

Task<> ContinuousVerify::name_rows(std::shared_ptr<Check> check) {
  const auto kept = std::make_shared<MemoryViewStorage>();
  LogReplay::Sink keep = [check, kept](Batch& batch) -> Status {
    std::erase_if(batch.changes, [&check](const RowChange& change) {
      return !check->is_suspect(view_of(change), bucket_of(change));
    });
    return keep_rows(*kept, batch);
  };
  const auto of_log = std::make_shared<LogReplay>(check->place(), rewrite_, std::move(keep));
  if (Status replayed = co_await replay(of_log); !replayed) co_return replayed;

  const auto stored = std::make_shared<std::array<std::vector<Row>, kViews>>();
  RowVisit gather = [check, stored](View view, Row& row) {
    if (check->is_suspect(view, bucket_of(view, row)))
      (*stored)[static_cast<std::size_t>(view)].push_back(std::move(row));
  };
  std::vector<Difference> sums = std::move(check->differences);
  check->differences.clear();
  if (Status read = co_await scan(check, std::move(gather)); !read) co_return read;

  MemoryViewReader replayed{*kept};
  std::vector<Difference>& named = check->differences;
  for (const View view : all_views()) {
    std::vector<Row> expected;
    const auto add = [&expected](const Row& row) { expected.push_back(row); };
    if (Status read = for_each_row(replayed, view, check->partition, add); !read) co_return read;
    RowComparison comparison{view, check->partition, std::move(expected), named};
    for (const Row& row : (*stored)[static_cast<std::size_t>(view)]) comparison.take(row);
    comparison.end();
  }
  // Whatever it was: it is gone, and the next look decides.
  if (named.empty()) co_return superseded("the rows have changed meanwhile");
  named.insert(named.end(), sums.begin(), sums.end());
  co_return ok();
}

// ---- the rate

boost::asio::awaitable<void> ContinuousVerify::pace(std::size_t items) {
  env_.count("verify_looked_at", items);
  const auto each =
      std::chrono::nanoseconds{std::chrono::seconds{1}} / std::max<std::uint64_t>(pace_.per_second, 1);
  due_ = std::max(due_, env_.now()) + each * items;
  while (!stopping_ && env_.now() < due_) co_await stop_.wait(env_, due_);
  co_await yield(env_);
}

}  // namespace varve
