// ViewStore: the views of one projection's generation, and its checkpoints. Memory, SQLite, PostgreSQL; all
// pass tests/projections/view_store_contract.h.
//
// A batch is one transaction: first the compare-and-set on the checkpoint's version and place, then rows and
// closings. After any outcome but `committed` the caller drops its memory and loads again (rules 17 and 18).
//
// Thread: the one of the Env it was made with; reads run behind offload and may overlap.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/admission.h"
#include "eventlog/cut.h"
#include "projections/schema.h"
#include "runtime/task.h"

namespace varve {

struct ViewDigest {
  Sum128 rows;      // Sum of H(row without its closing).
  Sum128 closings;  // Sum of H(entity, closed at).
  friend bool operator==(const ViewDigest&, const ViewDigest&) = default;
};

// How far one partition is folded. Everything that a reader needs to go on.
struct Checkpoint {
  std::uint64_t version =
      0;  // Raised by every transaction that touches rows, parked streams or checkpoint; 0 = none yet.
  Offset next;
  AdmissionState admission;
  WallTime at;  // Newest `at` folded.
  Mark mark;
  std::array<ViewDigest, kViews> digests{};

  friend bool operator==(const Checkpoint&, const Checkpoint&) = default;
};

// An event that could not be folded, or a later part of the same, parked stream. Not versioned, not digested.
struct QuarantineRow {
  StreamId stream;
  Partition partition;
  Offset offset;
  std::int64_t event =
      0;  // Ordinal of the event in its part; -1 = the whole part waits behind an earlier one.
  std::string type;
  std::string reason;
  WallTime at;

  friend bool operator==(const QuarantineRow&, const QuarantineRow&) = default;
};

struct RowInsert {
  View view;
  Row row;
};
struct RowClose {
  View view;
  std::vector<Value> key;  // Of the one open version.
  RowTo to;
};
using RowChange = std::variant<RowInsert, RowClose>;

// From time to offset, for as_of; one row per batch.
struct TimesRow {
  Offset first;
  Offset last;
  WallTime first_at;
  WallTime last_at;
};

struct Batch {
  Partition partition;
  // Those of the stored checkpoint; version 0 if there is none, wherever the batch begins. The version alone
  // is not enough: when a failover has taken commits back, the same versions come again with other records in
  // them.
  std::uint64_t expected_version = 0;
  Offset expected_next;
  Checkpoint checkpoint;           // The new one; its version is expected_version + 1.
  std::vector<RowChange> changes;  // In order.
  std::vector<StreamId> released;  // Their quarantine rows go, before `quarantined` comes.
  std::vector<QuarantineRow> quarantined;
  std::optional<TimesRow> times;
};

enum class CommitOutcome : unsigned char {
  committed,
  lost_race,  // Another worker moved the checkpoint. Nothing was written.
};

struct LoadedCheckpoint {
  Checkpoint checkpoint;
  std::vector<StreamId> parked;           // Streams with quarantine rows, ordered.
  std::vector<QuarantineRow> quarantine;  // Of the partition, ordered by offset, stream and event.
};

// ---- reading ----

// What a filter or an order may name besides the view's own columns.
inline constexpr int kFromOffset = -1;
inline constexpr int kFromOrdinal = -2;
inline constexpr int kFromSequence = -3;
inline constexpr int kFromPartition = -4;

struct Filter {
  enum class Op : unsigned char {
    equal,     // to the one value
    one_of,    // the values
    contains,  // the one text, case folded in ASCII only
    at_most,   // integer <= the one value
  };
  int column = 0;
  Op op = Op::equal;
  std::vector<Value> values;
};

// Selects versions of one view. The order is total: the columns of `order_by`, then partition, offset,
// ordinal.
struct Query {
  View view = View::agents;
  std::vector<Filter> where;
  bool open_only = true;  // False: every version, closed ones too.
  std::vector<int> order_by;
  bool descending = false;
  // Exclusive bounds on the `order_by` tuple, in ascending terms: above < row < below.
  std::optional<std::vector<Value>> above;
  std::optional<std::vector<Value>> below;
  std::size_t limit = 10'000;
  // As of this cut: a version is there if it begins in the cut, and open if it does not end there; rows come
  // back without a closing that lies behind it. The store must have passed it. Absent: now.
  std::optional<Cut> cut;
};
inline constexpr std::size_t kRowsPerQueryMax = 10'000;

// Messages of users, assistants and tools that hold all words of a text (projections/search_terms.h). Found
// are messages of agents that are there and whole: neither deleted nor being imported. Of the versions of a
// message only the newest is searched, whether it is in the context or not.
struct SearchQuery {
  std::string query;                    // Without a word nothing is found.
  std::optional<std::string> agent_id;  // Absent: all agents.
  std::vector<std::string> roles;       // Empty: every role that is searched.
  // Bounds on created_at in microseconds, both inclusive.
  std::optional<std::int64_t> start_at;
  std::optional<std::int64_t> end_at;
  std::size_t limit = 50;
  std::optional<Cut> cut;  // As Query::cut.
};
inline constexpr std::size_t kSearchHitsMax = 100;
inline constexpr std::size_t kSearchRolesMax = 8;

struct SearchHit {
  Row row;                // Of View::messages.
  std::int64_t rank = 0;  // 1, 2, 3 .. in the order of the hits.
};

// One consistent read: checkpoints and rows of the same moment.
class ViewReader {
 public:
  virtual ~ViewReader() = default;
  virtual Result<std::vector<Row>> select(const Query& query) = 0;
  virtual Result<std::int64_t> count(const Query& query) = 0;  // Ignores order, bounds and limit.
  // Newest first: by the time of the event, then offset, ordinal and partition.
  virtual Result<std::vector<SearchHit>> search_messages(const SearchQuery& search) = 0;
  virtual Result<Checkpoint> checkpoint(Partition partition) = 0;
  virtual Result<std::vector<QuarantineRow>> quarantine() = 0;
  // The newest batch that begins at `offset` or before it. Its first_at is the newest `at` before it.
  virtual Result<std::optional<TimesRow>> batch_at(Partition partition, Offset offset) = 0;
  // True if it answers as of a cut, for which indexes of what is open now are of no use.
  virtual bool is_past() const { return false; }
};

class ViewStore {
 public:
  ViewStore() = default;
  ViewStore(const ViewStore&) = delete;
  ViewStore& operator=(const ViewStore&) = delete;
  virtual ~ViewStore() = default;

  // The checkpoint (version 0 if there is none) and the parked streams, in one read.
  virtual Task<LoadedCheckpoint> load(Partition partition) = 0;
  // Errc::corrupt: a closing met another number of open rows than one; the sentence names the row, nothing
  // was written. Errc::unavailable: nothing was written. Errc::outcome_unknown: load again.
  virtual Task<CommitOutcome> commit(Batch batch) = 0;
  // Runs `work` in one read transaction, off the Env's thread: it may touch nothing but its arguments and
  // what it owns. Its Status is passed on.
  virtual Task<> read(std::function<Status(ViewReader&)> work) = 0;
};

}  // namespace varve
