// History: a whole log folded once into views in memory, and its admitted records in one order: by time, then
// partition, then offset. Rows are versions, so it answers for every moment. It is what `bisect` asks; reads
// of a view store as of a cut can take its place behind PastStates.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "inspect/view_facts.h"

namespace varve {

struct PastRecord {
  WallTime at;
  LogPosition position;
  friend auto operator<=>(const PastRecord&, const PastRecord&) = default;
};

// States at cuts.
class PastStates {
 public:
  PastStates() = default;
  PastStates(const PastStates&) = delete;
  PastStates& operator=(const PastStates&) = delete;
  virtual ~PastStates() = default;

  virtual Task<bool> holds(std::shared_ptr<const Expression> where, std::optional<StreamId> about,
                           PastCut cut) = 0;
};

// "0:17,1:88"; one partition alone has a comma behind it, "0:17,", and nothing at all is ",".
std::string cut_text(const PastCut& cut);

class History final : public PastStates {
 public:
  // Folds up to the log's ends as they are now. Errc::unavailable: try again.
  static Task<std::shared_ptr<History>> read(EventLog& log);

  Task<bool> holds(std::shared_ptr<const Expression> where, std::optional<StreamId> about,
                   PastCut cut) override;

  // Commits and rulings that count; claims change nothing that an expression asks about, but are there too.
  const std::vector<PastRecord>& records() const { return records_; }
  // What was not as it should be: damaged records, parked streams. For people.
  const std::vector<std::string>& remarks() const { return remarks_; }
  std::uint32_t partitions() const { return partitions_; }

  // What `as_of` takes: a time of RFC 3339 (all that is not later), a cut as cut_text() writes it, or a
  // single position (its partition up to there, the others up to its time). Errc::invalid_argument for
  // another text, a partition that is not there, an offset beyond the end.
  Result<PastCut> cut_of(const std::string& text) const;
  // Everything that was read.
  PastCut end() const;

 private:
  Task<> read_partition(EventLog& log, Partition partition);
  PastCut up_to(WallTime time) const;
  Status check_cut(const PastCut& cut) const;

  std::uint32_t partitions_ = 0;
  MemoryViewStorage storage_;
  std::vector<PastRecord> records_;
  std::vector<std::string> remarks_;
  std::vector<std::optional<Offset>> last_;  // Of each partition.
};

}  // namespace varve
