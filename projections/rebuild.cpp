#include "projections/rebuild.h"

#include <algorithm>

#include "projections/digest.h"
#include "projections/quarantine.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kRetryWait{200};
constexpr std::chrono::milliseconds kSwitchWait{100};
constexpr std::chrono::milliseconds kFollowWait{2};
constexpr std::chrono::seconds kKeepEvery{3};
constexpr int kSwitchesMax = 300;
// What is left when the loading, or a round of catching up, has ended: so little is folded while it switches.
constexpr std::uint64_t kNearEnd = 1'000;
constexpr int kRoundsMax = 20;

bool may_pass(const Error& error) {
  return error.code == Errc::unavailable || error.code == Errc::outcome_unknown;
}

std::string name_of(Partition partition) {
  return "partition " + std::to_string(partition.value());
}

}  // namespace

const char* to_string(RebuildProgress::Phase phase) {
  switch (phase) {
    case RebuildProgress::Phase::beginning:
      return "beginning";
    case RebuildProgress::Phase::loading:
      return "loading";
    case RebuildProgress::Phase::indexing:
      return "indexing";
    case RebuildProgress::Phase::catching_up:
      return "catching up";
    case RebuildProgress::Phase::verifying:
      return "verifying";
    case RebuildProgress::Phase::switching:
      return "switching";
    case RebuildProgress::Phase::waiting:
      return "waiting for readers of the old generation";
    case RebuildProgress::Phase::done:
      return "done";
  }
  return "";
}

Task<> Rebuild::run() {
  progress_.begun = env_.now();
  folded_.assign(log_.partitions(), Offset{});
  Status status = co_await generations_.begin();
  if (!status) co_return status;
  TaskGroup keeper(env_);
  ignore_error(keeper.spawn("rebuild is alive", keep_alive()), "the group is open");
  keeper.close();
  status = co_await work();
  ended_ = true;
  end_.notify_all();
  ignore_error(co_await keeper.join(kNever), "a lease that was lost has stopped the work");
  if (status) {
    progress_.phase = RebuildProgress::Phase::done;
  } else {
    ignore_error(co_await generations_.leave(), "who comes next waits a little longer");
  }
  co_return status;
}

Task<> Rebuild::work() {
  auto seen = co_await generations_.look();
  if (!seen) co_return seen.error();
  progress_.generation = seen->next.value_or(0);
  if (generations_.is_loading()) {
    if (Status loaded = co_await load(); !loaded) co_return loaded;
  }
  if (Status caught = co_await catch_up(); !caught) co_return caught;
  if (Status proven = co_await verify(); !proven) co_return proven;
  if (Status caught = co_await catch_up(); !caught) co_return caught;
  if (Status switched = co_await switch_over(); !switched) co_return switched;
  co_return co_await drop_old();
}

Status Rebuild::stopped() const {
  if (failure_) return *failure_;
  if (stopping_) return Error{Errc::cancelled, "the rebuild was stopped; run it again to go on"};
  return ok();
}

// Somebody who took the rebuild over has its own ideas: this one ends.
Task<> Rebuild::keep_alive() {
  while (!ended_) {
    co_await end_.wait(env_, env_.now() + kKeepEvery);
    if (ended_) break;
    const Status kept = co_await generations_.keep();
    if (!kept && !may_pass(kept.error())) {
      failure_ = kept.error();
      break;
    }
  }
  co_return ok();
}

Task<Rebuild::Ends> Rebuild::ends() {
  Ends ends;
  const MonoTime deadline = env_.now() + kPatience;
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    auto end = co_await log_.end(Partition{number});
    while (!end && may_pass(end.error()) && env_.now() < deadline && !stopping_) {
      co_await sleep_for(env_, kRetryWait);
      end = co_await log_.end(Partition{number});
    }
    if (!end) co_return end.error();
    ends.push_back(*end);
  }
  std::uint64_t sum = 0;
  for (const Offset end : ends) sum += end.value();
  progress_.end = std::max(progress_.end, sum);
  co_return ends;
}

Task<> Rebuild::load() {
  progress_.phase = RebuildProgress::Phase::loading;
  auto to = co_await ends();
  if (!to) co_return to.error();
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    auto loaded = co_await generations_.next()->load(Partition{number});
    if (!loaded) co_return loaded.error();
    advance(Partition{number}, loaded->checkpoint.next);
  }
  progress_.resumed_at = progress_.folded;
  Ends up_to = std::move(*to);
  if (Status folded = co_await fold_all(std::move(up_to), options_.jobs); !folded) co_return folded;
  progress_.phase = RebuildProgress::Phase::indexing;
  waits_.clear();
  co_return co_await generations_.finish_loading();
}

Task<> Rebuild::catch_up() {
  progress_.phase = RebuildProgress::Phase::catching_up;
  for (int round = 0; round < kRoundsMax; ++round) {
    auto to = co_await ends();
    if (!to) co_return to.error();
    Ends up_to = std::move(*to);
    if (Status folded = co_await fold_all(std::move(up_to), log_.partitions()); !folded) co_return folded;
    auto now = co_await ends();
    if (!now) co_return now.error();
    std::uint64_t left = 0;
    for (std::size_t i = 0; i < now->size(); ++i) {
      if ((*now)[i] > folded_[i]) left += (*now)[i].value() - folded_[i].value();
    }
    if (left <= kNearEnd) co_return ok();
  }
  co_return ok();
}

// ---- the proof

Task<> Rebuild::verify() {
  progress_.phase = RebuildProgress::Phase::verifying;
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    if (Status going = stopped(); !going) co_return going;
    if (Status equal = co_await verify_partition(Partition{number}); !equal) co_return equal;
  }
  co_return ok();
}

Task<> Rebuild::verify_partition(Partition partition) {
  std::function<Status(ViewReader&)> work = [partition](ViewReader& reader) -> Status {
    const auto checkpoint = reader.checkpoint(partition);
    if (!checkpoint) return checkpoint.error();
    const auto digests = digest_of_rows(reader, partition);
    if (!digests) return digests.error();
    for (const View view : all_views()) {
      const auto i = static_cast<std::size_t>(view);
      if ((*digests)[i] == checkpoint->digests[i]) continue;
      return Error{Errc::corrupt, name_of(partition) + ": the rows of " + std::string{schema_of(view).name} +
                                      " that were rebuilt do not add up to their digest"};
    }
    return ok();
  };
  co_return co_await generations_.next()->read(std::move(work));
}

// ---- the switch

Task<> Rebuild::switch_over() {
  progress_.phase = RebuildProgress::Phase::switching;
  following_ = true;
  TaskGroup group(env_);
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    ignore_error(group.spawn("rebuild follows " + name_of(Partition{number}), follow(Partition{number})),
                 "the group is open");
  }
  group.close();
  Status status = Error{Errc::unavailable, "the views were never still for long enough to switch"};
  for (int attempt = 0; attempt < kSwitchesMax && following_; ++attempt) {
    if (Status going = stopped(); !going) {
      status = going;
      break;
    }
    auto shown = co_await generations_.show(log_.partitions());
    if (shown && *shown) {
      status = ok();
      break;
    }
    if (!shown && !may_pass(shown.error())) {
      status = shown.error();
      break;
    }
    co_await sleep_for(env_, kSwitchWait);
  }
  following_ = false;
  ignore_error(co_await group.join(kNever), "what follows has told why it ended");
  if (!status && failure_) co_return *failure_;
  co_return status;
}

Task<> Rebuild::follow(Partition partition) {
  while (following_) {
    auto end = co_await log_.end(partition);
    Status folded = ok();
    if (end) {
      folded = co_await fold(partition, *end);
    } else {
      folded = end.error();
    }
    if (!folded && !may_pass(folded.error())) {
      if (following_) failure_ = folded.error();
      following_ = false;
      co_return folded;
    }
    co_await sleep_for(env_, kFollowWait);
  }
  co_return ok();
}

Task<> Rebuild::drop_old() {
  progress_.phase = RebuildProgress::Phase::waiting;
  const MonoTime until = env_.now() + options_.grace;
  while (env_.now() < until && !stopping_) {
    co_await sleep_until(env_, std::min(until, env_.now() + std::chrono::milliseconds{100}));
  }
  const MonoTime deadline = env_.now() + kPatience;
  for (;;) {
    const Status dropped = co_await generations_.drop_old();
    if (dropped || !may_pass(dropped.error()) || env_.now() >= deadline) co_return dropped;
    co_await sleep_for(env_, kRetryWait);
  }
}

// ---- the fold

Task<> Rebuild::fold_all(Ends ends, std::size_t jobs) {
  next_partition_ = 0;
  const auto shared = std::make_shared<Ends>(std::move(ends));
  TaskGroup group(env_);
  for (std::size_t i = 0; i < std::max<std::size_t>(jobs, 1) && i < shared->size(); ++i) {
    ignore_error(group.spawn("rebuild", fold_next(shared)), "the group is open");
  }
  group.close();
  ignore_error(co_await group.join(kNever), "the first failure is kept");
  co_return stopped();
}

Task<> Rebuild::fold_next(std::shared_ptr<Ends> ends) {
  while (next_partition_ < ends->size() && stopped()) {
    const Partition partition{next_partition_++};
    const Status folded = co_await fold(partition, (*ends)[partition.value()]);
    if (!folded && !failure_ && !stopping_) failure_ = folded.error();
  }
  co_return ok();
}

Task<> Rebuild::fold(Partition partition, Offset to) {
  MonoTime deadline = env_.now() + kPatience;
  while (folded_[partition.value()] < to && !waits_.contains(partition)) {
    if (Status going = stopped(); !going) co_return going;
    const Offset before = folded_[partition.value()];
    const Status folded = co_await fold_once(partition, to);
    if (folded) co_return ok();
    if (folded_[partition.value()] > before) deadline = env_.now() + kPatience;
    const bool lost_race = folded.error().code == Errc::conflict;
    if (!lost_race && (!may_pass(folded.error()) || env_.now() >= deadline)) co_return folded;
    co_await sleep_for(env_, kRetryWait);
  }
  co_return ok();
}

Task<> Rebuild::fold_once(Partition partition, Offset to) {
  const std::shared_ptr<ViewStore> store = generations_.next();
  auto loaded = co_await store->load(partition);
  if (!loaded) co_return loaded.error();
  const Mark mark = loaded->checkpoint.mark;
  if (Status same_log = co_await check_mark(log_, partition, mark); !same_log) co_return same_log;
  auto ruled = co_await ruled_later(log_, partition, loaded->checkpoint, to);
  if (!ruled) co_return ruled.error();
  PartitionFold fold(partition, loaded->checkpoint, loaded->quarantine);
  fold.stop_at(*ruled);
  fold.rewrite_with(options_.rewrite);
  advance(partition, fold.next());
  co_return co_await fold_records(fold, to);
}

Task<> Rebuild::fold_records(PartitionFold& fold, Offset to) {
  std::size_t bytes = 0;
  while (fold.next() < to) {
    if (Status going = stopped(); !going) co_return going;
    ReadOptions options;
    auto batch = co_await log_.read(fold.partition(), fold.next(), options);
    if (!batch) co_return batch.error();
    // What lies between here and the end are gaps.
    if (batch->records.empty() || batch->records.front().offset >= to) break;
    for (const LogRecord& record : batch->records) {
      if (record.offset >= to) break;
      if (!fold.released_by(record).empty()) {
        if (!fold.empty()) {
          if (Status done = co_await commit(fold); !done) co_return done;
        }
        // What waits has to be fitted to the rows that are there, which takes indexes.
        if (generations_.is_loading()) {
          waits_.insert(fold.partition());
          co_return ok();
        }
        const std::shared_ptr<ViewStore> store = generations_.next();
        Status taken = co_await take_ruling(log_, *store, fold.partition(), fold, record);
        if (!taken) co_return taken;
        if (Status done = co_await commit(fold); !done) co_return done;
        continue;
      }
      if (Status taken = co_await take(fold, record); !taken) co_return taken;
      bytes += record.bytes->size();
      if (fold.changes() < options_.batch_changes && bytes < options_.batch_bytes) continue;
      bytes = 0;
      if (Status done = co_await commit(fold); !done) co_return done;
    }
  }
  if (!fold.empty()) {
    if (Status done = co_await commit(fold); !done) co_return done;
  }
  advance(fold.partition(), to);
  co_return ok();
}

Task<> Rebuild::take(PartitionFold& fold, LogRecord record) {
  if (Status taken = fold.take(record); !taken) co_return taken;
  if (!fold.met_late()) co_return ok();
  const EventPlace place = *fold.met_late();
  co_return co_await check_late_ruling(log_, fold.partition(), place, record.offset);
}

Task<> Rebuild::commit(PartitionFold& fold) {
  Batch batch = fold.take_batch();
  const std::uint64_t changes = batch.changes.size();
  const std::shared_ptr<ViewStore> store = generations_.next();
  auto outcome = co_await store->commit(std::move(batch));
  if (!outcome) co_return outcome.error();
  if (*outcome == CommitOutcome::lost_race) {
    co_return Error{Errc::conflict, "another program folds into the next generation"};
  }
  progress_.rows += changes;
  advance(fold.partition(), fold.next());
  co_return ok();
}

void Rebuild::advance(Partition partition, Offset next) {
  Offset& folded = folded_[partition.value()];
  if (next <= folded) return;
  progress_.folded += next.value() - folded.value();
  folded = next;
}

}  // namespace varve
