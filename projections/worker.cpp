#include "projections/worker.h"

#include "projections/quarantine.h"
#include "runtime/check.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kReadWait{500};
constexpr std::chrono::milliseconds kRetryWait{50};
// A store that has lost its last commits says so to nobody: its checkpoint is looked at again after so long.
constexpr std::chrono::seconds kTrust{10};

// With more to be folded than this nothing is waited for.
constexpr std::size_t kGatherChangesMax = 64;

// What a batch changes, for metrics; the batch itself goes to the store.
struct BatchSize {
  std::uint64_t records = 0;  // Offsets that it moves past.
  std::uint64_t rows = 0;
  std::uint64_t quarantined = 0;
};
BatchSize size_of(const Batch& batch) {
  const Offset from = batch.expected_next;
  const Offset to = batch.checkpoint.next;
  return {to > from ? to.value() - from.value() : 0, batch.changes.size(), batch.quarantined.size()};
}

void count_batch(Env& env, const BatchSize& size) {
  env.count("projection_batches");
  env.count("projection_records", size.records);
  env.count("projection_rows", size.rows);
  if (size.quarantined > 0) env.count("projection_quarantined", size.quarantined);
}

std::string_view name_of(const Result<CommitOutcome>& outcome) {
  if (!outcome) return "error";
  return *outcome == CommitOutcome::committed ? "committed" : "lost_race";
}

// What loading again may cure.
bool is_passing(const Error& error) {
  return error.code == Errc::unavailable || error.code == Errc::outcome_unknown ||
         error.code == Errc::conflict;
}

}  // namespace

Task<> ProjectionWorker::run() {
  while (!stopping_) {
    Status status = co_await follow();
    const auto settled = co_await settle();
    if (status && !settled) status = settled.error();
    if (status) continue;
    if (!is_passing(status.error())) {
      failure_ = status.error();
      env_.log(LogLevel::error, "the projection of partition " + std::to_string(partition_.value()) +
                                    " stops: " + status.error().message);
      co_return status;
    }
    env_.count("projection_reloads");
    co_await sleep_for(env_, kRetryWait);
  }
  co_return ok();
}

Task<> ProjectionWorker::follow() {
  auto loaded = co_await store_.load(partition_);
  if (!loaded) co_return loaded.error();
  if (mutant(Mutant::checkpoint_without_admission)) loaded->checkpoint.admission = {};
  if (mutant(Mutant::starts_at_end)) {
    const auto end = co_await log_.end(partition_);
    if (end) loaded->checkpoint.next = *end;
  }
  const Mark mark = loaded->checkpoint.mark;
  if (Status same_log = co_await check_mark(log_, partition_, mark); !same_log) co_return same_log;
  if (!ruled_) {
    if (Status found = co_await find_rulings(loaded->checkpoint); !found) co_return found;
  }
  PartitionFold fold(partition_, loaded->checkpoint, loaded->quarantine);
  fold.stop_at(*ruled_);
  progress_.set_parked(partition_, loaded->parked);
  progress_.advance(partition_, loaded->checkpoint.next);

  const MonoTime trusted_until = env_.now() + kTrust;
  bool gathered = false;
  const auto trusted = [this, trusted_until] {
    return env_.now() < trusted_until || mutant(Mutant::checkpoint_trusted_for_ever);
  };
  while (!stopping_ && trusted()) {
    ReadOptions options;
    if (fold.empty() && !beside_) options.wait_until = env_.now() + kReadWait;
    auto batch = co_await log_.read(partition_, fold.next(), options);
    if (!batch) co_return batch.error();
    for (const LogRecord& record : batch->records) {
      if (!fold.released_by(record).empty()) {
        // It looks at the rows that everything before it has made. Then all is loaded again.
        const bool alone = fold.empty();
        auto went_on = co_await settle_and_commit(fold);
        if (!went_on) co_return went_on.error();
        if (!*went_on || !alone) co_return ok();
        co_return co_await release(fold, record);
      }
      if (Status taken = fold.take(record); !taken) co_return taken;
      if (fold.met_late()) {
        Status fits = co_await check_late_ruling(log_, partition_, *fold.met_late(), record.offset);
        if (!fits) co_return fits;
      }
      if (fold.changes() < options_.changes_max) continue;
      Batch full = fold.take_batch();
      auto went_on = co_await settle();
      if (!went_on) co_return went_on.error();
      if (!*went_on) co_return ok();
      commit_beside(std::move(full));
    }
    if (fold.empty() && !beside_) continue;
    // There may be more, which makes the next batch full.
    if (beside_ && !beside_->ready() && !batch->records.empty()) continue;
    if (!beside_ && !gathered && fold.changes() <= kGatherChangesMax && co_await gather(fold.next())) {
      gathered = true;
      continue;
    }
    gathered = false;
    auto went_on = co_await settle_and_commit(fold);
    if (!went_on) co_return went_on.error();
    if (!*went_on) co_return ok();
  }
  co_return ok();
}

boost::asio::awaitable<bool> ProjectionWorker::gather(Offset next) {
  std::optional<Offset> awaited = progress_.awaited(partition_);
  if (options_.gather == Duration{} || (awaited && *awaited < next)) co_return false;
  const MonoTime until = env_.now() + options_.gather;
  // What is awaited is in the log: behind what was read, if it is not among it.
  while (!awaited && !stopping_ && env_.now() < until) {
    co_await progress_.wait_for_waiter(until);
    awaited = progress_.awaited(partition_);
  }
  co_return true;
}

Task<> ProjectionWorker::release(PartitionFold& fold, LogRecord record) {
  Status taken = co_await take_ruling(log_, store_, partition_, fold, std::move(record));
  if (!taken) co_return taken;
  env_.count("projection_releases");
  auto committed = co_await commit(fold.take_batch());
  co_return committed ? ok() : Status{committed.error()};
}

Task<> ProjectionWorker::find_rulings(Checkpoint checkpoint) {
  auto end = co_await log_.end(partition_);
  if (!end) co_return end.error();
  const Offset to = *end;
  auto places = co_await ruled_later(log_, partition_, std::move(checkpoint), to);
  if (!places) co_return places.error();
  ruled_ = std::move(*places);
  co_return ok();
}

Task<bool> ProjectionWorker::commit(Batch batch) {
  const BatchSize size = size_of(batch);
  const bool parks = size.quarantined > 0;
  const Offset next = batch.checkpoint.next;
  if (mutant(Mutant::told_before_commit)) progress_.advance(partition_, next);
  const MonoTime begun = env_.now();
  auto outcome = co_await store_.commit(std::move(batch));
  env_.observe({"projection_batch", name_of(outcome), {}, {}}, env_.now() - begun);
  if (!outcome && outcome.error().code == Errc::outcome_unknown && mutant(Mutant::unknown_commit_is_done))
    outcome = CommitOutcome::committed;
  if (!outcome) co_return outcome.error();
  if (*outcome == CommitOutcome::lost_race) {
    env_.count("projection_races_lost");
    co_return false;
  }
  count_batch(env_, size);
  progress_.advance(partition_, next);
  co_return !parks;  // A newly parked stream is loaded again with the others.
}

void ProjectionWorker::commit_beside(Batch batch) {
  CHECK(!beside_);
  beside_ = std::make_shared<OneShot<bool>>();
  env_.spawn("projection commit", run_beside(std::move(batch), beside_));
}

Task<> ProjectionWorker::run_beside(Batch batch, std::shared_ptr<OneShot<bool>> outcome) {
  outcome->set(co_await commit(std::move(batch)));
  co_return ok();
}

Task<bool> ProjectionWorker::settle() {
  const auto beside = std::exchange(beside_, nullptr);
  if (!beside) co_return true;
  co_return co_await beside->get(env_, kNever);
}

Task<bool> ProjectionWorker::settle_and_commit(PartitionFold& fold) {
  auto settled = co_await settle();
  if (!settled || !*settled || fold.empty()) co_return settled;
  co_return co_await commit(fold.take_batch());
}

}  // namespace varve
