#include "inspect/history.h"

#include <algorithm>

#include "inspect/log_fold.h"

namespace varve {
namespace {

struct Reader final : LogVisitor {
  Reader(EventLog& log, Partition of, MemoryViewStorage& storage) : partition(of), fold(log, of, storage) {}

  Partition partition;
  LogFold fold;
  std::vector<PastRecord> records;
  std::vector<std::string> remarks;
  std::optional<Offset> last;
  WallTime latest{};

  Task<bool> take(LogRecord record) override {
    const LogPosition position{partition, record.offset};
    last = record.offset;
    auto folded = co_await fold.take(std::move(record), LogFold::Detail::none);
    if (!folded) co_return folded.error();
    if (!folded->fault.empty()) remarks.push_back(to_string(position) + ": " + folded->fault);
    if (folded->verdict == Verdict::admitted) {
      // Time does not run backwards along a partition; whatever a clock has done, order is that of offsets.
      latest = std::max(latest, time_of(*folded->record));
      records.push_back({latest, position});
    }
    co_return true;
  }
  Task<bool> damaged(Offset /*offset*/, std::string why) override {
    remarks.push_back(why);
    co_return true;
  }
};

}  // namespace

Task<> History::read_partition(EventLog& log, Partition partition) {
  auto end = co_await log.end(partition);
  if (!end) co_return end.error();
  Reader reader{log, partition, storage_};
  if (Status begun = co_await reader.fold.begin(*end); !begun) co_return begun;
  const Offset start;
  if (Status read = co_await visit_log(log, partition, start, *end, reader); !read) co_return read;
  if (Status flushed = reader.fold.flush(); !flushed) reader.remarks.push_back(flushed.error().message);
  last_.push_back(reader.last);
  records_.insert(records_.end(), reader.records.begin(), reader.records.end());
  remarks_.insert(remarks_.end(), reader.remarks.begin(), reader.remarks.end());
  co_return ok();
}

Task<std::shared_ptr<History>> History::read(EventLog& log) {
  auto history = std::make_shared<History>();
  history->partitions_ = log.partitions();
  for (std::uint32_t number = 0; number < log.partitions(); ++number) {
    const Partition partition{number};
    if (Status read = co_await history->read_partition(log, partition); !read) co_return read.error();
  }
  std::sort(history->records_.begin(), history->records_.end());
  for (const QuarantineRow& row : history->storage_.quarantine) {
    history->remarks_.push_back(row.stream.value() + " is parked at " +
                                to_string(LogPosition{row.partition, row.offset}) + ": " + row.reason);
  }
  co_return history;
}

Task<bool> History::holds(std::shared_ptr<const Expression> where, std::optional<StreamId> about,
                          PastCut cut) {
  ViewFacts facts(storage_, cut, about, nullptr);
  co_return where->holds(facts);
}

PastCut History::end() const {
  PastCut cut;
  for (std::uint32_t number = 0; number < partitions_; ++number) {
    if (last_[number]) cut.push_back({Partition{number}, *last_[number]});
  }
  return cut;
}

std::string cut_text(const PastCut& cut) {
  return to_string(cut) + (cut.size() < 2 ? "," : "");
}

PastCut History::up_to(WallTime time) const {
  PastCut cut;
  for (const PastRecord& record : records_) {
    if (record.at <= time) merge_position(cut, record.position);
  }
  return cut;
}

Status History::check_cut(const PastCut& cut) const {
  for (const LogPosition& position : cut) {
    const std::uint32_t number = position.partition.value();
    if (number >= partitions_) {
      return Error{Errc::invalid_argument, "the log has partitions 0 to " + std::to_string(partitions_ - 1) +
                                               ", not " + std::to_string(number)};
    }
    if (last_[number] && position.offset <= *last_[number]) continue;
    const std::string end = last_[number] ? to_string(LogPosition{position.partition, *last_[number]}) : "";
    return Error{Errc::invalid_argument,
                 to_string(position) + " lies beyond the end of the log" + (end.empty() ? "" : ", " + end)};
  }
  return ok();
}

Result<PastCut> History::cut_of(const std::string& text) const {
  if (const auto time = parse_rfc3339(text)) return up_to(*time);
  if (text == ",") return PastCut{};
  const bool comma = text.find(',') != std::string::npos;
  auto cut = parse_positions(text.ends_with(',') ? text.substr(0, text.size() - 1) : text);
  if (!cut || cut->empty()) {
    return Error{Errc::invalid_argument,
                 "'" + text +
                     "' is neither a cut, as 0:17,1:88, nor a position, as 0:17, nor a "
                     "time, as 2026-11-25T22:10:03Z"};
  }
  if (Status checked = check_cut(*cut); !checked) return checked.error();
  if (comma) return cut;
  const LogPosition position = cut->front();
  WallTime at{};
  for (const PastRecord& record : records_) {
    const bool before = record.position.partition == position.partition;
    if (before && record.position.offset <= position.offset) at = std::max(at, record.at);
  }
  PastCut moment = up_to(at);
  std::erase_if(moment, [&](const LogPosition& end) { return end.partition == position.partition; });
  merge_position(moment, position);
  return moment;
}

}  // namespace varve
