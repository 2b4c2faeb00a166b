// PartitionOwner: reads one partition of the log, admits its records, and writes to it while it owns it. This
// is the protocol of Admission.tla (rules 3 to 13 of the model) and nothing else: it knows records, not
// actors.
//
// - It owns an epoch once its reader admits a claim with its own current id.
// - commit() ends when the record is read back admitted, or when its fate is known, or at the deadline.
// - It stops on an unknown outcome, on an own commit that is skipped, on a record that was not written while
//   others are in flight, and when it reads a newer claim: it takes no new commits, proves its assignment,
//   claims again with a new id, and reads on meanwhile. What was in flight is settled by the first admitted
//   claim of a higher epoch, anybody's.
//
// Lifetime: run() has ended and join() has ended well, or the Env's tasks are destroyed, before it is.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/admission.h"
#include "eventlog/event_log.h"
#include "eventlog/rulings.h"
#include "eventlog/sent_record.h"

namespace varve {

// Who claims.
struct NodeIdentity {
  std::string cluster = "varve";
  std::string node;  // Drawn at every process start.
  std::string url;
};

// An admitted commit and its place.
struct Admitted {
  std::shared_ptr<const Commit> commit;
  Offset offset;
};

// Where the owner reports what it reads; all calls come from the reader, in log order.
class PartitionListener {
 public:
  virtual ~PartitionListener() = default;
  // An admitted commit of anybody, before its committer is told.
  virtual void on_commit(const Commit& commit, Offset offset) = 0;
  // Likewise: an event that came before is absent from now on.
  virtual void on_ruling(const Ruling& ruling, Offset offset) = 0;
  // The owner has just become the owner: everything before its claim has been reported.
  virtual void on_owned() = 0;
  // It takes no commits from now on; on_owned() follows if it can claim again.
  virtual void on_stopped() = 0;
};

class PartitionOwner {
 public:
  struct Start {  // From the recovery row, or all zero.
    Offset next;
    AdmissionState admission;
    WallTime at;
    Mark mark;
  };
  // Proof of assignment, asked right before every claim. Embedded: the lock file, so always true.
  using Proof = std::function<Task<bool>()>;

  PartitionOwner(Env& env, EventLog& log, Partition partition, NodeIdentity identity,
                 PartitionListener& listener, Proof prove);

  // Reads from `start` and claims when it has read to the end. Once. Its Status ends the reader's task: what
  // stopped it for good (a damaged record, a truncated log, another cluster's log).
  Task<> run(Start start);
  // Takes no more commits, claims no more, and ends the reader at its next wake-up. Whoever waits for a
  // commit is told that its outcome is unknown: nobody here reads on to learn it.
  void stop();
  // After stop(): waits until the last task beside run() has ended.
  Task<> join(MonoTime deadline) { return tasks_.join(deadline); }

  bool owned() const { return phase_ == Phase::serving; }
  // The error that ended run() for good, if any.
  const std::optional<Error>& failure() const { return failure_; }

  // What becomes of an append. Told once, to the one who waits for it.
  struct Fate {
    std::optional<Result<Admitted>> told;
    Notifier known;
    Delivery delivery;  // This and `commit` of Mutant::ack_on_delivery alone.
    std::shared_ptr<const Commit> commit;

    void tell(Result<Admitted> what) {
      if (told) return;
      told.emplace(std::move(what));
      known.notify_all();
    }
  };
  using FatePtr = std::shared_ptr<Fate>;

  // Hands the commit to the log, or writes nothing: Errc::unavailable (also: not the owner),
  // Errc::resource_exhausted, Errc::invalid_argument (too large).
  Result<FatePtr> begin(std::vector<Part> parts, CommandRef command);
  // Errc::unavailable: certainly not applied. Errc::outcome_unknown: the deadline came first. Once for each.
  Task<Admitted> outcome(FatePtr fate, MonoTime deadline);
  // Both.
  Task<Admitted> commit(std::vector<Part> parts, CommandRef command, MonoTime deadline);
  // Writes an operator's decision that the event is absent; it has an n like a commit. Whoever asks has made
  // sure that nobody can read the event. Errors as of commit().
  Task<Offset> rule(EventPlace place, MonoTime deadline);
  // Waits until the reader has passed the log's end as of now (rule 16); Errc::unavailable if it stops or the
  // deadline comes first.
  Task<> present(MonoTime deadline);
  // Waits until this is the owner.
  Task<> wait_owned(MonoTime deadline);

  // The newest claim that counts, as far as the reader has come: who owns the partition.
  const std::optional<Claim>& newest_claim() const { return newest_claim_; }
  // What the reader has passed.
  Offset next_offset() const { return next_; }
  const AdmissionState& admission() const { return admission_; }
  // The newest `at` that counts. It never runs backwards, and every owner that has come as far says the same,
  // whatever its clock is.
  WallTime admitted_at() const { return admitted_at_; }
  const Mark& mark() const { return mark_; }
  // Of the newest record that counts, since this began to read: a position that everything told so far lies
  // at or before. The mark may be that of a record that does not count.
  const std::optional<Offset>& newest_admitted() const { return newest_admitted_; }
  Partition partition() const { return partition_; }

 private:
  enum class Phase : unsigned char { reading, claiming, serving, ended };
  struct InFlight {
    CommandId command;  // Of a ruling one of its own, which is not in the log.
    MonoTime sent;
    std::optional<Ruling> ruling;
    std::optional<SentRecord> sent_record;  // Of a commit.
    FatePtr fate = std::make_shared<Fate>();
  };
  // An append whose report is to come.
  struct Reporting {
    Delivery delivery;
    Epoch epoch;
    Index n;
    MonoTime sent;
  };

  Task<> read_on();
  Status take(const LogRecord& record);
  Result<std::shared_ptr<const Record>> value_of(const LogRecord& record) const;
  void take_commit(const std::shared_ptr<const Commit>& commit, Verdict verdict, Offset offset);
  void take_ruling(const Ruling& ruling, Verdict verdict, Offset offset);
  using InFlightKey = std::pair<Epoch, Index>;
  void settle(InFlightKey place, bool own, Verdict verdict, const Admitted& admitted);
  Result<FatePtr> send(std::string key, Sequence first, std::string bytes, WallTime at, InFlight entry);
  Status may_send() const;
  Status take_claim(const Claim& claim, Verdict verdict);
  void serve(Epoch epoch);
  void settle_older_than(Epoch epoch);
  void stop_serving(const std::string& why);
  void request_claim(bool backoff);
  Task<> claim(bool backoff);
  Task<> watch();
  void take_report(const Reporting& append, const Result<Offset>& reported);
  void fail(Error error);
  void end();
  // One line per transition, for the simulation: "owner p=<partition> <what> key=value ..". The lines are an
  // interface: sim/owner_trace.h reads them.
  void say(const std::string& line) const;
  void trace(std::string_view what, Epoch epoch, Index n, const CommandId& command,
             std::string_view more = "") const;

  Env& env_;
  EventLog& log_;
  Partition partition_;
  NodeIdentity identity_;
  PartitionListener& listener_;
  Proof prove_;
  Histogram& written_;    // How long the log takes to report,
  Histogram& committed_;  // and until a record is read back.

  Phase phase_ = Phase::reading;
  std::optional<Error> failure_;
  Offset next_;
  AdmissionState admission_;
  WallTime at_;  // Newest `at` that was sent or admitted: time never runs backwards along a partition.
  WallTime admitted_at_;
  Mark mark_;
  std::optional<Offset> newest_admitted_;

  std::optional<CommandId> claim_id_;  // Of the claim that is on its way or by which this owns the partition.
  bool claim_requested_ = false;
  Delivery claim_delivery_;  // Of the claim that is on its way.
  std::optional<Claim> newest_claim_;
  Epoch epoch_;   // While serving.
  Index next_n_;  // Of the next commit.
  // Commits whose fate is open, of this epoch and of earlier ones. Invariant: no key of an epoch below the
  // newest admitted claim's.
  std::map<InFlightKey, InFlight> in_flight_;
  std::deque<Reporting> reporting_;  // In the order of their appends; a task watches the first.
  bool watching_ = false;
  Notifier changed_;  // next_, phase_ or failure_ has changed.
  TaskGroup tasks_;
};

}  // namespace varve
