#include "inspect/bisect_log.h"

#include "inspect/replay_text.h"

namespace varve {
namespace {

// The one record, with what it changed.
class OneRecord final : public LogVisitor {
 public:
  OneRecord(EventLog& log, LogPosition position, Causes causes)
      : replay(log, position.partition, std::move(causes)), position_(position) {}

  PartitionReplay replay;
  std::optional<ReplayedRecord> found;

  Task<bool> take(LogRecord record) override {
    if (record.offset < position_.offset) {
      if (Status passed = co_await replay.pass(std::move(record)); !passed) co_return passed.error();
      co_return true;
    }
    auto replayed = co_await replay.take(std::move(record));
    if (!replayed) co_return replayed.error();
    found = std::move(*replayed);
    co_return false;
  }
  Task<bool> damaged(Offset /*offset*/, std::string /*why*/) override { co_return true; }

 private:
  LogPosition position_;
};

Task<ReplayedRecord> replay_one(EventLog& log, LogPosition position) {
  auto causes = co_await read_causes(log);
  if (!causes) co_return causes.error();
  auto end = co_await log.end(position.partition);
  if (!end) co_return end.error();
  OneRecord one{log, position, std::move(*causes)};
  if (Status begun = co_await one.replay.begin(*end); !begun) co_return begun.error();
  const Offset start;
  if (Status read = co_await visit_log(log, position.partition, start, *end, one); !read) {
    co_return read.error();
  }
  if (!one.found) co_return Error{Errc::corrupt, "the log has changed while it was read"};
  co_return std::move(*one.found);
}

std::string shown(const PastCut& cut) {
  return cut.empty() ? "the empty log" : cut_text(cut);
}

std::string why_not(const BisectAnswer& answer, const PastCut& good, const PastCut& bad, Find find) {
  if (answer.kind == BisectAnswer::Kind::true_at_good) {
    return "the condition is true already at the good cut, " + shown(good);
  }
  const bool first = find == Find::first;
  return std::string("the condition ") + (first ? "is never true up to" : "is false at") + " the bad cut, " +
         shown(bad);
}

}  // namespace

Task<BisectReport> bisect_log(EventLog& log, BisectQuestion question) {
  auto history = co_await History::read(log);
  if (!history) co_return history.error();
  BisectReport report;
  report.remarks = (*history)->remarks();
  auto good = question.good.empty() ? Result<PastCut>{PastCut{}} : (*history)->cut_of(question.good);
  if (!good) co_return Error{good.error().code, "good: " + good.error().message};
  auto bad = question.bad.empty() ? Result<PastCut>{(*history)->end()} : (*history)->cut_of(question.bad);
  if (!bad) co_return Error{bad.error().code, "bad: " + bad.error().message};
  std::vector<PastRecord> records = (*history)->records();
  auto answer = co_await bisect(**history, std::move(records), question.where, question.about, *good, *bad,
                                question.find);
  if (!answer) co_return answer.error();
  report.answer = std::move(*answer);
  if (report.answer.kind != BisectAnswer::Kind::found) {
    report.why_not = why_not(report.answer, *good, *bad, question.find);
    co_return report;
  }
  auto record = co_await replay_one(log, report.answer.position);
  if (!record) co_return record.error();
  report.record = std::move(*record);
  co_return report;
}

namespace {

constexpr std::chrono::seconds kPatience{2};  // With views that a server is about to fold.

Task<ReplayedRecord> read_one(EventLog& log, LogPosition position) {
  ReadOptions options;
  options.records_max = 1;
  auto batch = co_await log.read(position.partition, position.offset, options);
  if (!batch) co_return batch.error();
  const bool there = !batch->records.empty() && batch->records.front().offset == position.offset;
  if (!there) co_return Error{Errc::corrupt, "the log has changed while it was read"};
  ReplayedRecord record = bare_record(position, batch->records.front());
  record.verdict = Verdict::admitted;  // It has changed the views.
  co_return record;
}

Task<BisectReport> report_of_views(AskedViews asked, BisectQuestion question, Play play) {
  auto cuts = co_await cuts_in_views(asked, question.good, question.bad, kPatience);
  if (!cuts) co_return cuts.error();
  BisectReport report;
  report.by_views = true;
  report.remarks = std::move(cuts->remarks);
  auto answer = co_await bisect_views(asked, question.where, question.about, cuts->good, cuts->bad);
  if (!answer) co_return answer.error();
  report.answer = std::move(*answer);
  if (report.answer.kind != BisectAnswer::Kind::found) {
    report.why_not = why_not(report.answer, cuts->good, cuts->bad, Find::any);
    co_return report;
  }
  const LogPosition position = report.answer.position;
  Task<ReplayedRecord> shown_record =
      play == Play::if_needed ? replay_one(asked.log, position) : read_one(asked.log, position);
  auto record = co_await std::move(shown_record);
  if (!record) co_return record.error();
  report.record = std::move(*record);
  if (play == Play::never) {
    report.remarks.push_back(
        "the log is too long to be played again here, so the record is shown by itself: "
        "varve replay --partition " +
        std::to_string(position.partition.value()) + " --from " + std::to_string(position.offset.value()) +
        " --to " + std::to_string(position.offset.value()) + " shows what it has changed, and why it came");
  }
  co_return report;
}

}  // namespace

Task<BisectReport> bisect_by_views(AskedViews asked, BisectQuestion question, Play play) {
  auto report = co_await report_of_views(asked, question, play);
  if (report || report.error().code == Errc::invalid_argument) co_return report;
  const std::string why = report.error().message;
  if (play == Play::never) {
    co_return Error{Errc::conflict, "the views cannot be asked, " + why +
                                        "; and the log is too long to be played again here"};
  }
  auto folded = co_await bisect_log(asked.log, std::move(question));
  if (!folded) co_return folded.error();
  folded->remarks.insert(folded->remarks.begin(), by_log_because(why));
  co_return folded;
}

std::string by_log_because(const std::string& why) {
  return "the log was folded from its start, because the views cannot be asked: " + why;
}

std::string bisect_text(const BisectReport& report, Find find, bool colour) {
  const ReplayStyle style{true, colour, std::nullopt};
  std::string out = report.record ? replay_text(*report.record, style) : "";
  out += find == Find::first ? "the first record" : "a record";
  out += std::string{" at which it turns true, of "} + (report.by_views ? "at most " : "") +
         std::to_string(report.answer.records) + "; " + std::to_string(report.answer.states_asked) +
         (report.by_views ? " states of the views were looked at\n" : " states were looked at\n");
  out += "false at " + shown(report.answer.before) + "\ntrue at  " + shown(report.answer.after) + "\n";
  return out;
}

std::string bisect_json(const BisectReport& report, const BisectQuestion& question) {
  const bool found = report.answer.kind == BisectAnswer::Kind::found && report.record;
  JsonWriter out;
  out.begin_object().field("where", question.where->text()).field_boolean("found", found);
  if (found) {
    const ReplayStyle whole{};
    out.field("position", to_string(report.answer.position));
    out.field("false_at", cut_text(report.answer.before)).field("true_at", cut_text(report.answer.after));
    out.field_raw("record", replay_json(*report.record, whole));
  } else {
    out.field("why_not", report.why_not);
  }
  out.field("by", report.by_views ? "views" : "log");
  out.field_integer("records", static_cast<std::int64_t>(report.answer.records));
  out.field_integer("states_asked", static_cast<std::int64_t>(report.answer.states_asked));
  out.key("remarks").begin_array();
  for (const std::string& remark : report.remarks) out.string(remark);
  return out.end_array().end_object().take();
}

}  // namespace varve
