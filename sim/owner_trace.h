// Owner trace: the lines by which a PartitionOwner tells what it does, as data. Oracles and the check against
// the specification read them; nothing else decides by them. Words separated by one space, key=value:
//
//   owner p=0 reading from=<offset>              a reader starts
//   owner p=0 claim-sent e=<epoch> id=<32 hex>
//   owner p=0 read o=<offset> kind=<claim|commit|ruling|foreign> v=<verdict>
//   owner p=0 serve e=<epoch> id=<32 hex>
//   owner p=0 stop e=<epoch>
//   owner p=0 commit-sent e=<epoch> n=<index> cmd=<32 hex> stream=<id> seq=<first> next=<offset>
//   owner p=0 done e= n= cmd= o=<offset>         the committer is told: admitted
//   owner p=0 never e= n= cmd=                   the committer is told: certainly not applied
//   owner p=0 not-written e= n= cmd=             the log said so
//   owner p=0 unknown e= n= cmd=                 an outcome became unknown
//   owner p=0 end                                the reader ended
//
// Pure. A field that a line's kind does not have keeps its default.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "eventlog/admission.h"

namespace varve::sim {

struct OwnerLine {
  enum class Kind : unsigned char {
    reading,
    claim_sent,
    read,
    serve,
    stop,
    commit_sent,
    done,
    never,
    not_written,
    unknown,
    end,
  };
  enum class Record : unsigned char { claim, commit, ruling, foreign };

  Kind kind = Kind::end;
  Partition partition;
  Epoch epoch;
  Index n;
  CommandId id;   // Of the claim or of the command.
  Offset offset;  // `o=` and `from=`.
  Record record = Record::claim;
  Verdict verdict = Verdict::admitted;
  StreamId stream;
  Sequence first;
  Offset next;  // Of the reader, when the commit was decided.

  friend bool operator==(const OwnerLine&, const OwnerLine&) = default;
};

// Nothing for a line that is not an owner's. Errc::corrupt for an owner's line that is not as above.
Result<std::optional<OwnerLine>> owner_line(std::string_view line);
// The line again.
std::string to_text(const OwnerLine& line);

}  // namespace varve::sim
