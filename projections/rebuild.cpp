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
  if (generations_.is_loaded()) {
    progress_.phase = RebuildProgress::Phase::indexing;
    const std::function<Task<>()> finish = [this] { return generations_.finish_loading(); };
    co_return co_await patiently(finish);
  }
  progress_.phase = RebuildProgress::Phase::loading;
  auto to = co_await ends();
  if (!to) co_return to.error();
  const std::function<Task<>()> look = [this] { return look_again(); };
  if (Status known = co_await patiently(look); !known) co_return known;
  progress_.resumed_at = progress_.folded;
  Ends up_to = std::move(*to);
  if (Status folded = co_await load_up_to(std::move(up_to)); !folded) co_return folded;
  progress_.phase = RebuildProgress::Phase::indexing;
  waits_.clear();
  const std::function<Task<>()> finish = [this] { return generations_.finish_loading(); };
  co_return co_await patiently(finish);
}

// What was committed may be lost again: then it is folded from where the checkpoints are.
Task<> Rebuild::load_up_to(Ends to) {
  const MonoTime deadline = env_.now() + kPatience;
  for (;;) {
    Ends up_to = to;
    if (Status folded = co_await fold_all(std::move(up_to), options_.jobs); !folded) co_return folded;
    const Status settled = co_await generations_.settle();
    if (settled || !may_pass(settled.error()) || env_.now() >= deadline) co_return settled;
    co_await sleep_for(env_, kRetryWait);
    const std::function<Task<>()> look = [this] { return look_again(); };
    if (Status known = co_await patiently(look); !known) co_return known;
  }
}

Task<> Rebuild::patiently(std::function<Task<>()> work) {
  const MonoTime deadline = env_.now() + kPatience;
  for (;;) {
    if (Status going = stopped(); !going) co_return going;
    const Status done = co_await work();
    if (done || !may_pass(done.error()) || env_.now() >= deadline) co_return done;
    co_await sleep_for(env_, kRetryWait);
  }
}

// A server that has crashed may have lost the newest batches of what was loaded.
Task<> Rebuild::look_again() {
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    const std::shared_ptr<ViewStore> store = generations_.next();
    auto loaded = co_await store->load(Partition{number});
    if (!loaded) co_return loaded.error();
    const Offset next = loaded->checkpoint.next;
    progress_.folded = progress_.folded - folded_[number].value() + next.value();
    folded_[number] = next;
  }
  co_return ok();
}

Task<> Rebuild::catch_up() {
  progress_.phase = RebuildProgress::Phase::catching_up;
  const std::function<Task<>()> look = [this] { return look_again(); };
  if (Status known = co_await patiently(look); !known) co_return known;
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
  const std::function<Task<>()> work = [this] { return verify_once(); };
  co_return co_await patiently(work);
}

Task<> Rebuild::verify_once() {
  auto sums = co_await generations_.sum_rows(log_.partitions());
  if (!sums) co_return sums.error();
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    for (const View view : all_views()) {
      const auto i = static_cast<std::size_t>(view);
      if (sums->rows[number][i] == sums->checkpoints[number].digests[i]) continue;
      co_return Error{Errc::corrupt, name_of(Partition{number}) + ": the rows of " +
                                         std::string{schema_of(view).name} +
                                         " that were rebuilt do not add up to their digest"};
    }
  }
  co_return ok();
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

struct Rebuild::Folding {
  Folding(Partition partition, const LoadedCheckpoint& loaded, Offset up_to)
      : fold(partition, loaded.checkpoint, loaded.quarantine), to(up_to) {}

  PartitionFold fold;
  Offset to;
  std::size_t bytes = 0;  // Of the records in the open batch.
  std::size_t changes_max = 0;
  std::size_t bytes_max = 0;
  std::vector<LogRecord> records;  // The newest that were read.

  bool is_full() const { return fold.changes() >= changes_max || bytes >= bytes_max; }
  Batch take_batch() {
    bytes = 0;
    return fold.take_batch();
  }
};

struct Rebuild::Folded {
  std::size_t next = 0;    // Of the records: where to go on.
  bool at_ruling = false;  // There: it releases a stream.
  std::optional<EventPlace> met_late;
  std::optional<Batch> batch;
};

Task<> Rebuild::fold_once(Partition partition, Offset to) {
  const std::shared_ptr<ViewStore> store = generations_.next();
  auto loaded = co_await store->load(partition);
  if (!loaded) co_return loaded.error();
  const Mark mark = loaded->checkpoint.mark;
  if (Status same_log = co_await check_mark(log_, partition, mark); !same_log) co_return same_log;
  auto ruled = co_await ruled_later(log_, partition, loaded->checkpoint, to);
  if (!ruled) co_return ruled.error();
  const auto folding = std::make_shared<Folding>(partition, *loaded, to);
  folding->changes_max = options_.batch_changes;
  folding->bytes_max = options_.batch_bytes;
  folding->fold.stop_at(*ruled);
  folding->fold.rewrite_with(options_.rewrite);
  advance(partition, folding->fold.next());
  co_return co_await fold_records(folding);
}

Task<> Rebuild::fold_records(std::shared_ptr<Folding> folding) {
  PartitionFold& fold = folding->fold;
  while (fold.next() < folding->to) {
    if (Status going = stopped(); !going) co_return going;
    ReadOptions options;
    auto batch = co_await log_.read(fold.partition(), fold.next(), options);
    if (!batch) co_return batch.error();
    // What lies between here and the end are gaps.
    if (batch->records.empty() || batch->records.front().offset >= folding->to) break;
    folding->records.clear();
    // Decoded on a lane, and by nobody else.
    for (const LogRecord& record : batch->records)
      folding->records.push_back({record.offset, record.bytes, std::make_shared<DecodeOnce>()});
    if (Status folded = co_await fold_read(folding); !folded) co_return folded;
    if (waits_.contains(fold.partition())) co_return ok();
  }
  if (!fold.empty()) {
    Batch rest = folding->take_batch();
    if (Status done = co_await commit(std::move(rest)); !done) co_return done;
  }
  advance(fold.partition(), folding->to);
  co_return ok();
}

// On a lane: folds until the batch is full, or something needs the Env's thread.
Result<Rebuild::Folded> Rebuild::fold_some(Folding& folding, std::size_t from) {
  PartitionFold& fold = folding.fold;
  Folded folded;
  folded.next = from;
  while (folded.next < folding.records.size()) {
    LogRecord& record = folding.records[folded.next];
    if (record.offset >= folding.to) {
      folded.next = folding.records.size();
      break;
    }
    folded.at_ruling = !fold.released_by(record).empty();
    if (folded.at_ruling) {
      if (!fold.empty()) folded.batch = folding.take_batch();
      break;
    }
    if (Status taken = fold.take(record); !taken) return taken.error();
    ++folded.next;
    folding.bytes += record.bytes->size();
    record.decode.reset();  // Freed where it was made, which is a good deal cheaper.
    folded.met_late = fold.met_late();
    if (folding.is_full()) folded.batch = folding.take_batch();
    if (folded.batch || folded.met_late) break;
  }
  return folded;
}

Task<> Rebuild::fold_read(std::shared_ptr<Folding> folding) {
  const Partition partition = folding->fold.partition();
  for (std::size_t number = 0; number < folding->records.size();) {
    std::function<Result<Folded>()> job = [folding, number] { return fold_some(*folding, number); };
    auto folded = co_await offload<Folded>(env_, Lane::read, std::move(job));
    if (!folded) co_return folded.error();
    if (folded->met_late) {
      const EventPlace place = *folded->met_late;
      const Offset at = folding->records[folded->next - 1].offset;
      Status allowed = co_await check_late_ruling(log_, partition, place, at);
      if (!allowed) co_return allowed;
    }
    if (folded->batch) {
      if (Status done = co_await commit(std::move(*folded->batch)); !done) co_return done;
    }
    number = folded->next;
    if (!folded->at_ruling) continue;
    auto taken = co_await take_ruling_at(folding, number);
    if (!taken) co_return taken.error();
    if (!*taken) co_return ok();
    ++number;
  }
  co_return ok();
}

Task<bool> Rebuild::take_ruling_at(std::shared_ptr<Folding> folding, std::size_t number) {
  PartitionFold& fold = folding->fold;
  // What waits has to be fitted to the rows that are there, which takes indexes.
  if (generations_.is_loading()) {
    waits_.insert(fold.partition());
    co_return false;
  }
  const std::shared_ptr<ViewStore> store = generations_.next();
  LogRecord ruling = folding->records[number];
  Status taken = co_await take_ruling(log_, *store, fold.partition(), fold, std::move(ruling));
  if (!taken) co_return taken.error();
  Batch released = folding->take_batch();
  if (Status done = co_await commit(std::move(released)); !done) co_return done.error();
  co_return true;
}

Task<> Rebuild::commit(Batch batch) {
  const std::uint64_t changes = batch.changes.size();
  const Partition partition = batch.partition;
  const Offset next = batch.checkpoint.next;
  const std::shared_ptr<ViewStore> store = generations_.next();
  auto outcome = co_await store->commit(std::move(batch));
  if (!outcome) co_return outcome.error();
  if (*outcome == CommitOutcome::lost_race) {
    co_return Error{Errc::conflict, "another program folds into the next generation"};
  }
  progress_.rows += changes;
  advance(partition, next);
  co_return ok();
}

void Rebuild::advance(Partition partition, Offset next) {
  Offset& folded = folded_[partition.value()];
  if (next <= folded) return;
  progress_.folded += next.value() - folded.value();
  folded = next;
}

}  // namespace varve
