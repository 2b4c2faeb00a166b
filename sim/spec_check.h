// SpecCheck: each thing that an owner does in a run is a step that the specification allows. It is a direct
// transcription of the next-state relation of docs/spec/Ownership.tla: per partition the log and its
// admission, per owner {phase, epoch, n, what is in flight}. It follows the lines that owners trace
// (sim/owner_trace.h) and the records that readers can see, and names the rule of docs/spec/README.md that a
// line breaks ("spec rule 11").
//
// It has an admission of its own and never uses eventlog/admission.cpp. It changes nothing, asks nobody and
// keeps judging after a violation as if the line had been allowed. A partition whose log the world has
// truncated or damaged must be given up.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventlog/event_log.h"
#include "sim/owner_trace.h"
#include "sim/scheduler.h"
#include "sim/violation.h"

namespace varve::sim {

class SpecCheck {
 public:
  // The records of a partition that a reader can see, oldest first: the same vector every time, only longer.
  using Records = std::function<const std::vector<LogRecord>&(Partition)>;
  explicit SpecCheck(Records records) : records_(std::move(records)) {}

  // Any line of any incarnation, as it is traced; those of owners count.
  void on_trace(Incarnation incarnation, std::string_view node, std::string_view line);
  // What can only be said of the whole log: nothing that was "not written" is in it, and every record that
  // counts was sent by who served under its epoch's claim.
  void at_rest();
  void give_up(Partition partition) { given_up_.insert(partition); }

  // Bounded: the first one says it all.
  const std::vector<Violation>& violations() const { return violations_; }
  // Lines of owners that were judged: a run in which this is 0 has shown nothing.
  std::uint64_t steps() const { return steps_; }

 private:
  struct Place {
    Epoch epoch;
    Index n;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Judged {
    Offset offset;
    std::shared_ptr<const Record> record;  // Null: nobody can read it.
    Verdict verdict = Verdict::foreign;
    Epoch newest;                // After it.
    std::optional<Place> place;  // Of a commit or ruling, and its command's id.
    CommandId command;
    bool admitted() const { return record && verdict == Verdict::admitted; }
  };
  // A partition's log as a reader from the start sees it.
  struct Log {
    std::vector<Judged> judged;
    Epoch epoch;
    Index n;
    std::string cluster;
    std::map<Epoch, CommandId> claims;  // Admitted.
    std::map<Place, std::size_t> admitted;
    std::map<StreamId, std::vector<std::pair<std::size_t, Sequence>>> streams;  // Behind which record: where.
  };
  struct Sent {
    CommandId command;
    StreamId stream;
  };
  enum class Phase : unsigned char { claiming, serving, ended };
  // What must come next, before anything else that the owner does.
  enum class Duty : unsigned char { none, serve, stop, done, never, end };
  struct Owner {
    std::string name;
    Phase phase = Phase::ended;
    bool has_acted = false;          // Has said more than that it reads.
    std::size_t next = 0;            // Of the judged records: what it reads next.
    std::optional<CommandId> claim;  // Its current one.
    Epoch claim_epoch;
    Epoch epoch;  // While serving.
    Index n;      // Of the next commit, while serving.
    std::map<Place, Sent> in_flight;
    Duty duty = Duty::none;
    Place place;               // Whom `done` and `never` are about.
    bool stops_after = false;  // A stop is due after the `never`.
  };
  using Sending = std::pair<Place, CommandId>;
  struct Sends {
    std::uint64_t times = 0;
    std::uint64_t not_written = 0;
    std::set<CommandId> claims;  // Under which it was sent.
  };

  void fail(int rule, const Owner& owner, const OwnerLine& line, const std::string& why);
  Log& caught_up(Partition partition);
  static Verdict admit(Log& log, const Record& record);
  static void note(Log& log, std::size_t index, Judged& judged, std::string_view bytes);
  static std::size_t index_of(const Log& log, Offset offset);
  static Epoch newest_read(const Log& log, const Owner& owner);
  static const Judged* last_read(const Log& log, const Owner& owner);

  void check_duty(Owner& owner, const OwnerLine& line);
  void take(Owner& owner, Log& log, const OwnerLine& line);
  void reading(Owner& owner, const Log& log, const OwnerLine& line);
  void claim_sent(Owner& owner, const Log& log, const OwnerLine& line);
  void read(Owner& owner, const Log& log, const OwnerLine& line);
  void read_claim(Owner& owner, const Judged& judged, const Claim& claim);
  static void read_numbered(Owner& owner, const Judged& judged);
  void serve(Owner& owner, const Log& log, const OwnerLine& line);
  void stop(Owner& owner, const OwnerLine& line);
  void commit_sent(Owner& owner, const Log& log, const OwnerLine& line);
  void done(Owner& owner, const Log& log, const OwnerLine& line);
  void never(Owner& owner, const Log& log, const OwnerLine& line);
  void not_written(Owner& owner, const OwnerLine& line);
  void unknown(Owner& owner, const OwnerLine& line);
  bool is_in_flight(const Owner& owner, const OwnerLine& line);
  void check_record(const Log& log, const Judged& judged, OwnerLine line);
  void check_parts(const Log& log, const Judged& judged, const OwnerLine& line);

  Records records_;
  std::set<Partition> given_up_;
  std::map<Partition, Log> logs_;
  std::map<std::pair<Incarnation, Partition>, Owner> owners_;
  std::set<CommandId> claim_ids_;
  std::map<Partition, std::map<Sending, Sends>> sent_;
  std::vector<Violation> violations_;
  std::uint64_t steps_ = 0;
};

}  // namespace varve::sim
