#include "projections/worker.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kReadWait{500};
constexpr std::chrono::milliseconds kRetryWait{50};

// What loading again may cure.
bool is_passing(const Error& error) {
  return error.code == Errc::unavailable || error.code == Errc::outcome_unknown ||
         error.code == Errc::conflict;
}

}  // namespace

Task<> ProjectionWorker::run() {
  while (!stopping_) {
    Status status = co_await follow();
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
  const Mark mark = loaded->checkpoint.mark;
  if (Status same_log = co_await check_mark(log_, partition_, mark); !same_log) co_return same_log;
  PartitionFold fold(partition_, loaded->checkpoint, loaded->parked);
  progress_.set_parked(partition_, loaded->parked);
  progress_.advance(partition_, loaded->checkpoint.next);

  while (!stopping_) {
    ReadOptions options;
    options.wait_until = env_.now() + kReadWait;
    auto batch = co_await log_.read(partition_, fold.next(), options);
    if (!batch) co_return batch.error();
    for (const LogRecord& record : batch->records) {
      if (Status taken = fold.take(record); !taken) co_return taken;
      if (fold.changes() < kBatchChangesMax) continue;
      auto went_on = co_await commit(fold);
      if (!went_on) co_return went_on.error();
      if (!*went_on) co_return ok();
    }
    if (fold.empty()) continue;
    auto went_on = co_await commit(fold);
    if (!went_on) co_return went_on.error();
    if (!*went_on) co_return ok();
  }
  co_return ok();
}

// False = load again.
Task<bool> ProjectionWorker::commit(PartitionFold& fold) {
  Batch batch = fold.take_batch();
  const bool parks = !batch.quarantined.empty();
  auto outcome = co_await store_.commit(std::move(batch));
  if (!outcome) co_return outcome.error();
  if (*outcome == CommitOutcome::lost_race) {
    env_.count("projection_races_lost");
    co_return false;
  }
  env_.count("projection_batches");
  progress_.advance(partition_, fold.next());
  co_return !parks;  // A newly parked stream is loaded again with the others.
}

}  // namespace varve
