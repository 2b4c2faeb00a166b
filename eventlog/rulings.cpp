#include "eventlog/rulings.h"

#include "runtime/mutant.h"

namespace varve {
namespace {

using RecordVisit = std::function<bool(const LogRecord&)>;

// Calls `visit` for every record of [from, to) until it returns false or a damaged record ends it.
Task<> for_each_record(EventLog& log, Partition partition, Offset from, Offset to, RecordVisit visit) {
  while (from < to) {
    ReadOptions options;
    auto batch = co_await log.read(partition, from, options);
    if (!batch) co_return batch.error().code == Errc::corrupt ? ok() : Status{batch.error()};
    for (const LogRecord& record : batch->records) {
      if (record.offset >= to || !visit(record)) co_return ok();
    }
    if (batch->next <= from && !mutant(Mutant::export_ends_early)) {
      // A checkpoint that was moved may lie behind the end: then this is the end.
      const auto end = co_await log.end(partition);
      if (!end) co_return end.error();
      if (*end > from) co_return not_readable_yet();
    }
    if (batch->next <= from) break;
    from = batch->next;
  }
  co_return ok();
}

}  // namespace

bool may_be_ruling(const LogRecord& record) {
  // As encode_record() begins one.
  constexpr std::string_view kKind = R"("kind":"ruling")";
  constexpr std::size_t kLookedAt = 64;
  return std::string_view(*record.bytes).substr(0, kLookedAt).find(kKind) != std::string_view::npos;
}

Task<std::vector<FoundRuling>> rulings_in(EventLog& log, Partition partition, Offset from, Offset to,
                                          AdmissionState admission) {
  auto any = std::make_shared<bool>(false);
  RecordVisit look = [any](const LogRecord& record) {
    *any = may_be_ruling(record);
    return !*any;
  };
  if (Status looked = co_await for_each_record(log, partition, from, to, std::move(look)); !looked) {
    co_return looked.error();
  }
  auto found = std::make_shared<std::vector<FoundRuling>>();
  if (!*any) co_return *found;
  // A ruling that was fenced does not count: every record before it has to be judged.
  auto state = std::make_shared<AdmissionState>(std::move(admission));
  RecordVisit judge = [found, state](const LogRecord& record) {
    auto decoded = decode_record(*record.bytes);
    if (!decoded) return false;
    if (admit(*state, *decoded) != Verdict::admitted) return true;
    if (auto* ruling = std::get_if<Ruling>(&*decoded)) found->push_back({record.offset, std::move(*ruling)});
    return true;
  };
  if (Status judged = co_await for_each_record(log, partition, from, to, std::move(judge)); !judged) {
    co_return judged.error();
  }
  co_return std::move(*found);
}

Task<std::vector<LogRecord>> records_at(EventLog& log, Partition partition, std::vector<Offset> offsets) {
  std::vector<LogRecord> records;
  records.reserve(offsets.size());
  for (const Offset offset : offsets) {
    ReadOptions one;
    one.records_max = 1;
    one.bytes_max = 1;
    auto batch = co_await log.read(partition, offset, one);
    if (!batch) co_return batch.error();
    if (batch->records.empty() || batch->records.front().offset != offset) {
      co_return Error{Errc::corrupt, "the record " + to_string(LogPosition{partition, offset}) +
                                         " is not there: the log was truncated or exchanged"};
    }
    records.push_back(std::move(batch->records.front()));
  }
  co_return records;
}

}  // namespace varve
