#include "actors/partition_owner.h"

#include <algorithm>

#include "runtime/check.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kReadWait{500};
constexpr std::chrono::milliseconds kRetryWait{100};
// An append ends in one of the three outcomes within this time.
constexpr std::chrono::seconds kDeliveryTime{30};
constexpr std::size_t kInFlightMax = 4096;

const char* kind_of(const Record& record) {
  if (std::holds_alternative<Claim>(record)) return "claim";
  return std::holds_alternative<Commit>(record) ? "commit" : "ruling";
}

// Names of counters: docs/metrics.md.
std::string_view counter_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::admitted:
      return "records_admitted";
    case Verdict::fenced:
      return "records_fenced";
    case Verdict::duplicate:
      return "records_duplicate";
    case Verdict::gap:
      return "records_gap";
    case Verdict::foreign:
      return "records_foreign";
  }
  return "records_foreign";
}

}  // namespace

PartitionOwner::PartitionOwner(Env& env, EventLog& log, Partition partition, NodeIdentity identity,
                               PartitionListener& listener, Proof prove)
    : env_(env),
      log_(log),
      partition_(partition),
      identity_(std::move(identity)),
      listener_(listener),
      prove_(std::move(prove)),
      written_(env.timing({"append", "written", {}, {}})),
      committed_(env.timing({"commit", {}, {}, {}})),
      tasks_(env) {}

Task<> PartitionOwner::run(Start start) {
  next_ = start.next;
  admission_ = start.admission;
  at_ = start.at;
  admitted_at_ = start.at;
  mark_ = start.mark;
  Status status = co_await read_on();
  if (!status) fail(status.error());
  co_return status;
}

void PartitionOwner::trace(std::string_view what, Epoch epoch, Index n, const CommandId& command,
                           std::string_view more) const {
  if (!env_.tracing()) return;
  std::string line(what);
  line.append(" e=").append(std::to_string(epoch.value()));
  line.append(" n=").append(std::to_string(n.value())).append(" cmd=").append(to_hex(command));
  say(line.append(more));
}

void PartitionOwner::say(const std::string& line) const {
  env_.trace("owner p=" + std::to_string(partition_.value()) + " " + line);
}

Task<> PartitionOwner::read_on() {
  if (env_.tracing()) say("reading from=" + std::to_string(next_.value()));
  const Mark mark = mark_;
  Status same_log = co_await check_mark(log_, partition_, mark);
  while (phase_ != Phase::ended && !same_log && same_log.error().code == Errc::unavailable) {
    co_await sleep_for(env_, kRetryWait);
    same_log = co_await check_mark(log_, partition_, mark);
  }
  if (!same_log && phase_ != Phase::ended) co_return same_log;

  while (phase_ != Phase::ended) {
    ReadOptions options;
    // The first claim waits until everything that is there has been read: its epoch must be the newest + 1.
    if (phase_ != Phase::reading) options.wait_until = env_.now() + kReadWait;
    auto batch = co_await log_.read(partition_, next_, options);
    if (phase_ == Phase::ended) break;  // What it reads now must not make it the owner again.
    if (!batch) {
      if (batch.error().code != Errc::unavailable) co_return batch.error();
      env_.count("log_read_retries");
      co_await sleep_for(env_, kRetryWait);
      continue;
    }
    for (const LogRecord& record : batch->records) {
      if (Status taken = take(record); !taken) co_return taken;
      next_ = next(record.offset);
      mark_ = mark_of(record);
    }
    next_ = std::max(next_, batch->next);
    if (batch->records.empty() && phase_ == Phase::reading) {
      phase_ = Phase::claiming;
      if (mutant(Mutant::no_claim_on_takeover) && newest_claim_) {
        claim_id_ = newest_claim_->id;
        serve(newest_claim_->epoch);
      } else {
        request_claim(false);
      }
    }
    changed_.notify_all();
  }
  co_return ok();
}

// What the record says. The next commit of ours to be read is the oldest in flight: is it this one, byte for
// byte, then its value is at hand. Whatever else lies here is decoded.
Result<std::shared_ptr<const Record>> PartitionOwner::value_of(const LogRecord& record) const {
  const auto oldest = in_flight_.begin();
  if (oldest == in_flight_.end() || !oldest->second.sent_record) return decoded(record);
  auto value = decoded_as(record, *oldest->second.sent_record);
  if (env_.tracing() && value) {  // In the simulation: the value at hand is that of the bytes.
    const auto read = decode_record(*record.bytes);
    CHECK(read && *read == **value);
  }
  return value;
}

Status PartitionOwner::take(const LogRecord& record) {
  auto read = value_of(record);
  if (!read) {
    return Error{Errc::corrupt,
                 "record " + to_string(LogPosition{partition_, record.offset}) + ": " + read.error().message};
  }
  const std::shared_ptr<const Record>& shared = *read;
  const Verdict verdict = admit(admission_, *shared);
  if (env_.tracing()) {
    say("read o=" + std::to_string(record.offset.value()) + " kind=" + kind_of(*shared) +
        " v=" + to_string(verdict));
  }
  env_.count(counter_of(verdict));
  if (verdict == Verdict::admitted) {
    newest_admitted_ = record.offset;
    admitted_at_ = std::max(admitted_at_, time_of(*shared));
    at_ = std::max(at_, admitted_at_);
  } else if (mutant(Mutant::answers_name_skipped_records)) {
    newest_admitted_ = record.offset;
  }
  if (const auto* claim = std::get_if<Claim>(shared.get())) return take_claim(*claim, verdict);
  if (const auto* commit = std::get_if<Commit>(shared.get())) {
    take_commit(std::shared_ptr<const Commit>(shared, commit), verdict, record.offset);
  }
  if (const auto* ruling = std::get_if<Ruling>(shared.get())) take_ruling(*ruling, verdict, record.offset);
  return ok();
}

void PartitionOwner::take_commit(const std::shared_ptr<const Commit>& commit, Verdict verdict,
                                 Offset offset) {
  // Recognised by epoch, n and command, never by the offset that an append reported: with duplicates that may
  // be the copy that does not count.
  const InFlightKey place{commit->epoch, commit->n};
  const auto mine = in_flight_.find(place);
  const bool own =
      mine != in_flight_.end() && !mine->second.ruling && mine->second.command == commit->command.id;
  if (verdict == Verdict::admitted) listener_.on_commit(*commit, offset);
  settle(place, own, verdict, Admitted{commit, offset});
}

void PartitionOwner::take_ruling(const Ruling& ruling, Verdict verdict, Offset offset) {
  const InFlightKey place{ruling.epoch, ruling.n};
  const auto mine = in_flight_.find(place);
  const bool own = mine != in_flight_.end() && mine->second.ruling == ruling;
  if (verdict == Verdict::admitted) listener_.on_ruling(ruling, offset);
  settle(place, own, verdict, Admitted{nullptr, offset});
}

// A commit or a ruling was read back, the listener knows it.
void PartitionOwner::settle(InFlightKey place, bool own, Verdict verdict, const Admitted& admitted) {
  const bool current = phase_ == Phase::serving && place.first == epoch_;
  if (verdict != Verdict::admitted) {
    if (own && mutant(Mutant::skip_is_never)) settle_older_than(next(place.first));
    if (own && current) stop_serving(std::string("an own record was read back as ") + to_string(verdict));
    return;
  }
  if (own) {
    const auto mine = in_flight_.find(place);
    const auto fate = mine->second.fate;
    committed_.add(env_.now() - mine->second.sent);
    trace("done", place.first, place.second, mine->second.command,
          " o=" + std::to_string(admitted.offset.value()));
    in_flight_.erase(mine);
    fate->tell(admitted);
  } else if (current) {
    stop_serving("a record of our epoch that we did not write was admitted");
  }
}

Status PartitionOwner::take_claim(const Claim& claim, Verdict verdict) {
  if (verdict == Verdict::foreign && admission_.cluster != identity_.cluster) {
    return Error{Errc::invalid_argument, "the log belongs to the cluster '" + admission_.cluster +
                                             "', this node is configured for '" + identity_.cluster + "'"};
  }
  const bool by_name = mutant(Mutant::claim_by_name) && claim.url == identity_.url;
  const bool own = claim_id_ && (claim.id == *claim_id_ || by_name);
  if (verdict != Verdict::admitted && !(own && mutant(Mutant::skipped_claim_serves))) {
    if (own) {
      claim_id_.reset();
      request_claim(true);
    }
    return ok();
  }
  if (claim.cluster != identity_.cluster) {
    return Error{Errc::invalid_argument, "the log belongs to the cluster '" + claim.cluster +
                                             "', this node is configured for '" + identity_.cluster + "'"};
  }
  if (claim.partitions != log_.partitions()) {
    return Error{Errc::invalid_argument, "the log was made with " + std::to_string(claim.partitions) +
                                             " partitions, not " + std::to_string(log_.partitions())};
  }
  newest_claim_ = claim;
  settle_older_than(claim.epoch);
  if (own) {
    serve(claim.epoch);
  } else if (phase_ == Phase::serving) {
    stop_serving("node '" + claim.node + "' has claimed the partition");
  }
  return ok();
}

void PartitionOwner::serve(Epoch epoch) {
  env_.count("claims_won");
  epoch_ = epoch;
  next_n_ = Index{1};
  phase_ = Phase::serving;
  if (env_.tracing()) say("serve e=" + std::to_string(epoch.value()) + " id=" + to_hex(*claim_id_));
  listener_.on_owned();
}

// No record of an older epoch counts after this claim: what was not admitted before it never will be.
void PartitionOwner::settle_older_than(Epoch epoch) {
  while (!in_flight_.empty() && in_flight_.begin()->first.first < epoch) {
    const auto fate = in_flight_.begin()->second.fate;
    const auto& [place, entry] = *in_flight_.begin();
    trace("never", place.first, place.second, entry.command);
    in_flight_.erase(in_flight_.begin());
    fate->tell(Error{Errc::unavailable, "the command was certainly not applied; try again"});
  }
}

void PartitionOwner::stop_serving(const std::string& why) {
  if (phase_ != Phase::serving) return;
  env_.log(LogLevel::warning, "partition " + std::to_string(partition_.value()) + " stops serving: " + why);
  env_.count("shard_stops");
  if (env_.tracing()) say("stop e=" + std::to_string(epoch_.value()));
  phase_ = Phase::claiming;
  claim_id_.reset();
  if (mutant(Mutant::stop_is_never)) settle_older_than(next(epoch_));
  listener_.on_stopped();
  changed_.notify_all();
  request_claim(true);
}

void PartitionOwner::request_claim(bool backoff) {
  if (claim_requested_ || phase_ == Phase::ended) return;
  claim_requested_ = true;
  ignore_error(tasks_.spawn("claim", claim(backoff)), "it has ended");
}

Task<> PartitionOwner::claim(bool backoff) {
  while (phase_ == Phase::claiming) {
    if (backoff) {
      const std::uint64_t wait_ms = env_.rng().between(10, 500);
      co_await sleep_for(env_, std::chrono::milliseconds{wait_ms});
    }
    backoff = true;
    auto proven = co_await prove_();
    if (!proven || !*proven) continue;
    if (phase_ != Phase::claiming) break;

    // A new id for every attempt: an old claim that lands late must not look like this one.
    CommandId id;
    for (std::size_t half = 0; half < 2; ++half) {
      const std::uint64_t word = env_.rng().u64();
      for (std::size_t i = 0; i < 8; ++i) id.bytes[half * 8 + i] = static_cast<std::uint8_t>(word >> (8 * i));
    }
    if (mutant(Mutant::claim_id_of_process)) id = command_id_from_text(identity_.node);
    at_ = std::max(at_, env_.wall_now());
    auto bytes = encode_record(Claim{next(admission_.epoch), id, identity_.cluster, identity_.node,
                                     identity_.url, log_.partitions(), at_});
    CHECK(bytes.has_value());
    auto delivery = log_.append(partition_, "", std::move(*bytes));
    if (!delivery) continue;
    env_.count("claims_sent");
    claim_id_ = id;
    if (env_.tracing())
      say("claim-sent e=" + std::to_string(next(admission_.epoch).value()) + " id=" + to_hex(id));
    const Delivery on_its_way = *delivery;
    claim_delivery_ = on_its_way;
    auto offset = co_await on_its_way->get(env_, env_.now() + kDeliveryTime);
    if (phase_ != Phase::claiming) break;
    if (offset || offset.error().code == Errc::outcome_unknown) {
      // It may be read back at any time: then it is served or refused there. Give the reader that time.
      const MonoTime patience = env_.now() + std::chrono::seconds{5};
      while (phase_ == Phase::claiming && claim_id_ == id && env_.now() < patience) {
        co_await changed_.wait(env_, patience);
      }
    }
  }
  claim_requested_ = false;
  if (phase_ == Phase::claiming) request_claim(true);
  co_return ok();
}

Status PartitionOwner::may_send() const {
  if (phase_ != Phase::serving) return Error{Errc::unavailable, "this node does not own the partition now"};
  if (in_flight_.size() >= kInFlightMax)
    return Error{Errc::resource_exhausted, "too many commits are in flight"};
  return ok();
}

Result<PartitionOwner::FatePtr> PartitionOwner::begin(std::vector<Part> parts, CommandRef command) {
  if (Status may = may_send(); !may) return may.error();
  const WallTime at = mutant(Mutant::time_runs_backwards) ? env_.wall_now() : std::max(at_, env_.wall_now());
  const Sequence first = parts.front().first;
  std::string key = parts.front().stream.value();
  InFlight entry;
  entry.command = command.id;
  auto sent = SentRecord::of({epoch_, next_n_, identity_.node, at, std::move(command), std::move(parts)});
  // Its limits are checked before; what is still too large together can never succeed.
  if (!sent) return Error{Errc::invalid_argument, sent.error().message};
  std::string bytes = sent->bytes();
  entry.sent_record = std::move(*sent);
  return send(std::move(key), first, std::move(bytes), at, std::move(entry));
}

Task<Admitted> PartitionOwner::commit(std::vector<Part> parts, CommandRef command, MonoTime deadline) {
  auto begun = begin(std::move(parts), std::move(command));
  if (!begun) co_return begun.error();
  co_return co_await outcome(std::move(*begun), deadline);
}

Task<Offset> PartitionOwner::rule(EventPlace place, MonoTime deadline) {
  if (Status may = may_send(); !may) co_return may.error();
  const WallTime at = std::max(at_, env_.wall_now());
  std::string key = place.stream.value();
  Ruling ruling{epoch_, next_n_, identity_.node, at, std::move(place.stream), place.offset, place.event};
  auto bytes = encode_record(ruling);
  CHECK(bytes.has_value());
  InFlight entry;
  entry.command = command_id_from_text("ruling " + *bytes);
  entry.ruling = std::move(ruling);
  const Sequence none;
  auto begun = send(std::move(key), none, std::move(*bytes), at, std::move(entry));
  if (!begun) co_return begun.error();
  auto admitted = co_await outcome(std::move(*begun), deadline);
  if (!admitted) co_return admitted.error();
  co_return admitted->offset;
}

// What was encoded with next_n_.
Result<PartitionOwner::FatePtr> PartitionOwner::send(std::string key, Sequence first, std::string bytes,
                                                     WallTime at, InFlight entry) {
  auto delivery = log_.append(partition_, key, std::move(bytes));
  // Refused before it was handed over: it leaves no hole, the same n goes to the next commit.
  if (!delivery) return delivery.error();

  at_ = at;
  const Index n = next_n_;
  if (env_.tracing()) {
    trace("commit-sent", epoch_, n, entry.command,
          " stream=" + key + " seq=" + std::to_string(first.value()) +
              " next=" + std::to_string(next_.value()));
  }
  entry.sent = env_.now();
  const FatePtr fate = entry.fate;
  if (mutant(Mutant::ack_on_delivery) && entry.sent_record) {
    fate->delivery = *delivery;
    fate->commit = entry.sent_record->commit();
  }
  reporting_.push_back({std::move(*delivery), epoch_, n, entry.sent});
  in_flight_.emplace(InFlightKey{epoch_, n}, std::move(entry));
  next_n_ = next(n);
  if (!watching_) {
    watching_ = true;
    ignore_error(tasks_.spawn("deliveries", watch()), "it serves, so it has not ended");
  }
  return fate;
}

Task<Admitted> PartitionOwner::outcome(FatePtr fate, MonoTime deadline) {
  if (fate->delivery) {
    const auto told = co_await fate->delivery->get(env_, deadline);
    if (told) co_return Admitted{fate->commit, *told};
  }
  while (!fate->told && env_.now() < deadline) co_await fate->known.wait(env_, deadline);
  if (!fate->told) {
    co_return Error{Errc::outcome_unknown, "the outcome is not known yet; it may still take effect"};
  }
  co_return std::move(*fate->told);
}

// Reports come in the order of the appends, so one task waits for all of them: most have come when it looks.
Task<> PartitionOwner::watch() {
  while (!reporting_.empty()) {
    const Reporting append = reporting_.front();
    auto reported = co_await append.delivery->get(env_, append.sent + kDeliveryTime);
    reporting_.pop_front();
    take_report(append, reported);
  }
  watching_ = false;
  co_return ok();
}

// The delivery report only says how long to wait, except when nothing was written.
void PartitionOwner::take_report(const Reporting& append, const Result<Offset>& reported) {
  const auto& [delivery, epoch, n, sent] = append;
  if (reported) return written_.add(env_.now() - sent);
  const auto found = in_flight_.find({epoch, n});
  if (found == in_flight_.end()) return;  // Read back meanwhile.
  const bool current = phase_ == Phase::serving && epoch == epoch_;
  const bool refused = reported.error().code == Errc::unavailable || mutant(Mutant::unknown_is_not_written);
  const bool not_written = delivery->ready() && refused;
  env_.observe({"append", not_written ? "not_written" : "unknown", {}, {}}, env_.now() - sent);
  if (!not_written) {
    trace("unknown", epoch, n, found->second.command);
    if (mutant(Mutant::unknown_is_done)) found->second.fate->tell(Admitted{nullptr, next_});
    if (mutant(Mutant::unknown_is_done) || mutant(Mutant::unknown_does_not_stop)) return;
    if (current) stop_serving("the outcome of an append is unknown: " + reported.error().message);
    return;
  }
  const auto fate = found->second.fate;
  trace("not-written", epoch, n, found->second.command);
  trace("never", epoch, n, found->second.command);
  const bool alone = in_flight_.size() == 1;
  in_flight_.erase(found);
  fate->tell(Error{Errc::unavailable, "the log did not take the record: " + reported.error().message});
  if (!current) return;
  if ((alone && next_n_ == next(n)) || mutant(Mutant::goes_on_after_hole)) {
    next_n_ = n;  // Nothing behind it: the hole is closed by the next commit.
  } else {
    stop_serving("a record was not written while others were in flight: " + reported.error().message);
  }
}

Task<> PartitionOwner::present(MonoTime deadline) {
  auto end = co_await log_.end(partition_);
  if (!end) co_return end.error();
  const Offset target = *end;
  while (next_ < target && phase_ == Phase::serving && env_.now() < deadline) {
    co_await changed_.wait(env_, deadline);
  }
  if (phase_ != Phase::serving)
    co_return Error{Errc::unavailable, "this node does not own the partition any more"};
  if (next_ < target)
    co_return Error{Errc::unavailable, "the reader has not reached the end of the log in time"};
  co_return ok();
}

Task<> PartitionOwner::wait_owned(MonoTime deadline) {
  while (phase_ != Phase::serving && phase_ != Phase::ended && env_.now() < deadline) {
    co_await changed_.wait(env_, deadline);
  }
  if (phase_ == Phase::serving) co_return ok();
  if (failure_) co_return *failure_;
  co_return Error{Errc::unavailable, "partition " + std::to_string(partition_.value()) + " has no owner yet"};
}

void PartitionOwner::stop() {
  end();
}

void PartitionOwner::end() {
  if (phase_ == Phase::ended) return;
  const bool serving = phase_ == Phase::serving;
  phase_ = Phase::ended;
  // Nobody reads on, so nobody here learns what came of these. The deliveries wake who waits for reports.
  const Error unknown{Errc::outcome_unknown, "the node gave the partition up before the outcome was known"};
  for (const auto& [place, entry] : in_flight_) {
    trace("unknown", place.first, place.second, entry.command);
    entry.fate->tell(unknown);
  }
  in_flight_.clear();
  for (const Reporting& append : reporting_) append.delivery->set(unknown);
  if (claim_delivery_) claim_delivery_->set(unknown);
  if (serving && env_.tracing()) say("stop e=" + std::to_string(epoch_.value()));
  if (env_.tracing()) say("end");
  tasks_.close();
  if (serving) listener_.on_stopped();
  changed_.notify_all();
}

void PartitionOwner::fail(Error error) {
  env_.log(LogLevel::error, "partition " + std::to_string(partition_.value()) + ": " + error.message);
  failure_ = std::move(error);
  end();
}

}  // namespace varve
