#include "api/folding.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kAssignmentWait{60};
constexpr std::chrono::milliseconds kRetryWait{100};

}  // namespace

void Folding::start() {
  env_.spawn("folding", follow());
}

Task<> Folding::follow() {
  while (!stopping_) {
    const MonoTime deadline = env_.now() + kAssignmentWait;
    const auto change = co_await assignment_.next(deadline);
    if (stopping_) break;
    if (change) {
      take(*change);
    } else if (change.error().code != Errc::unavailable) {
      failure_ = change.error();
      co_return change.error();
    } else if (env_.now() < deadline) {
      co_await sleep_for(env_, kRetryWait);
    }
  }
  co_return ok();
}

void Folding::take(const AssignmentChange& change) {
  for (const Partition partition : change.partitions) {
    if (change.kind == AssignmentChange::Kind::assigned) {
      if (workers_.contains(partition)) continue;
      auto worker = std::make_shared<ProjectionWorker>(env_, log_, views_, progress_, partition, options_);
      workers_.emplace(partition, worker);
      env_.spawn("projection " + std::to_string(partition.value()), run(std::move(worker)));
    } else if (const auto found = workers_.find(partition); found != workers_.end()) {
      found->second->stop();
      workers_.erase(found);
    }
  }
  if (change.kind == AssignmentChange::Kind::revoked) assignment_.release(change.partitions);
}

// Its task keeps the worker: one that was stopped may have a batch under way.
Task<> Folding::run(std::shared_ptr<ProjectionWorker> worker) {
  co_return co_await worker->run();
}

Task<> Folding::stop(MonoTime deadline) {
  stopping_ = true;
  for (const auto& [partition, worker] : workers_) worker->stop();
  co_return co_await assignment_.leave(deadline);
}

std::optional<Error> Folding::failure() const {
  if (failure_) return failure_;
  for (const auto& [partition, worker] : workers_) {
    if (worker->failure()) return worker->failure();
  }
  return std::nullopt;
}

}  // namespace varve
