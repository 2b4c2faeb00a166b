// OwnerOracle: what the specification asks of who writes to the log, beyond what the log itself shows. It
// follows the lines that owners trace (sim/owner_trace.h) and compares them with the log:
//
// - AgreePair: every reader reads every record, in order, with the verdict of a reader from the start.
// - OneWriter: a commit that counts was written by whoever serves under the very claim that holds its epoch.
// - NoLateEffect: what a committer was told will never happen does not; and nobody is told so before it can
//   be known.
// - DecidedOn: a commit that counts follows exactly the history of its stream on which it was decided.
// - I1: who is told "done" has its commit in the log, where it was said to be.
// - RefusalFresh: who answers a command without an event has read all that could be read when it began to
//   decide. Of that shards trace two lines, "shard p=<partition> asked|refused cmd=<32 hex>".
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sim/log_oracle.h"
#include "sim/owner_trace.h"
#include "sim/scheduler.h"

namespace varve::sim {

class OwnerOracle {
 public:
  // Sets itself as the log oracle's listener. Both must outlive it. `alive`: takes steps, or may do so again.
  OwnerOracle(LogOracle& log, Violations& violations, std::function<bool(Incarnation)> alive);

  // Any line; those of owners count.
  void on_trace(Incarnation incarnation, std::string_view node, std::string_view line);
  // Nothing = some living owner serves the partition under its newest claim, has read everything, and has
  // nothing in flight.
  std::string pending(Partition partition) const;

 private:
  using Place = std::pair<Epoch, Index>;
  struct Key {
    Incarnation incarnation = 0;
    Partition partition;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct InFlight {
    StreamId stream;
    CommandId command;
  };
  // One reader of a partition, from `reading` to `end`.
  struct Reader {
    std::string node;
    std::size_t next = 0;  // Of the judged records: the one that it must read next.
    bool serving = false;
    Epoch epoch;
    CommandId claim;                      // Its newest.
    std::map<Place, InFlight> in_flight;  // Sent, and nobody has been told what came of it.
  };
  struct Sent {
    Incarnation by = 0;
    CommandId command;
    StreamId stream;
    Sequence first;
    Offset basis;                   // Everything below it had been read ...
    std::vector<CommandId> before;  // ... and these were in flight, in the same stream.
    bool not_written = false;
    bool never = false;
  };
  struct Part {
    std::map<Place, std::vector<Sent>> sent;  // Of the newest epoch and later ones; an n may be given twice.
  };

  Sent* find_sent(const OwnerLine& line);
  Offset behind(const OwnerLine& line, const Reader& reader) const;
  void on_shard(Incarnation incarnation, std::string_view node, std::string_view text);
  void on_reading(const Key& key, std::string_view node, const OwnerLine& line);
  void on_read(const Reader& reader, const OwnerLine& line);
  void on_serve(const Key& key, Reader& reader, const OwnerLine& line);
  void on_commit_sent(const Key& key, Reader& reader, const OwnerLine& line);
  void on_done(const OwnerLine& line);
  void on_never(const OwnerLine& line);
  void on_judged(Partition partition, const JudgedRecord& judged);
  void check_basis(Partition partition, const JudgedRecord& judged, const Commit& commit, const Sent& sent);

  LogOracle& log_;
  Violations& violations_;
  std::function<bool(Incarnation)> alive_;
  std::map<Key, Reader> readers_;
  std::vector<Part> parts_;
  // Commands that are being decided: how many records could be read when that began.
  std::map<std::pair<Key, std::string>, std::size_t> asked_;
  std::map<CommandId, Incarnation> claims_;  // By whom each was sent.
  bool traced_ = false;                      // Some owner has traced something: from then on every one does.
};

}  // namespace varve::sim
