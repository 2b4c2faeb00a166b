// varve bisect: an event at which a condition on the views turns true.
#include "inspect/bisect.h"

#include <iostream>

#include "cli/commands.h"
#include "cli/inspect_commands.h"
#include "inspect/replay_text.h"

namespace varve {
namespace {

constexpr const char* kName = "varve bisect";

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

std::string shown(const PastCut& cut) {
  return cut.empty() ? "the empty log" : cut_text(cut);
}

void print_text(const BisectAnswer& answer, const BisectCommand& options, const ReplayedRecord& record) {
  const ReplayStyle style{true, colour_wanted(), std::nullopt};
  std::cout << replay_text(record, style);
  std::cout << (options.first ? "the first record" : "a record") << " at which it turns true, of "
            << answer.records << "; " << answer.states_asked << " states were looked at\n";
  std::cout << "false at " << shown(answer.before) << "\ntrue at  " << shown(answer.after) << "\n";
}

void print_json(const BisectAnswer& answer, const BisectCommand& options, const ReplayedRecord& record) {
  JsonWriter out;
  out.begin_object().field("where", options.where).field("position", to_string(answer.position));
  out.field("false_at", cut_text(answer.before)).field("true_at", cut_text(answer.after));
  out.field_integer("records", static_cast<std::int64_t>(answer.records));
  out.field_integer("states_asked", static_cast<std::int64_t>(answer.states_asked));
  const ReplayStyle whole{};
  out.field_raw("record", replay_json(record, whole));
  std::cout << out.end_object().take() << "\n";
}

Task<int> print(EventLog& log, BisectAnswer answer, BisectCommand options) {
  auto causes = co_await read_causes(log);
  if (!causes) co_return causes.error();
  const Partition partition = answer.position.partition;
  auto end = co_await log.end(partition);
  if (!end) co_return end.error();
  OneRecord one{log, answer.position, std::move(*causes)};
  if (Status begun = co_await one.replay.begin(*end); !begun) co_return begun.error();
  const Offset start;
  if (Status read = co_await visit_log(log, partition, start, *end, one); !read) co_return read.error();
  if (!one.found) co_return Error{Errc::corrupt, "the log has changed while it was read"};
  options.json ? print_json(answer, options, *one.found) : print_text(answer, options, *one.found);
  co_return kExitDone;
}

Task<int> bisected(EventLog& log, BisectCommand options, std::shared_ptr<const Expression> where) {
  auto history = co_await History::read(log);
  if (!history) co_return history.error();
  for (const std::string& remark : (*history)->remarks()) std::cerr << kName << ": " << remark << "\n";
  auto good = options.good.empty() ? Result<PastCut>{PastCut{}} : (*history)->cut_of(options.good);
  if (!good) co_return complain(kName, "--good: " + good.error().message, kExitUsage);
  auto bad = options.bad.empty() ? Result<PastCut>{(*history)->end()} : (*history)->cut_of(options.bad);
  if (!bad) co_return complain(kName, "--bad: " + bad.error().message, kExitUsage);
  std::optional<StreamId> about;
  if (!options.about.empty()) about = StreamId{options.about};
  const Find find = options.first ? Find::first : Find::any;
  std::vector<PastRecord> records = (*history)->records();
  auto answer = co_await bisect(**history, std::move(records), where, about, *good, *bad, find);
  if (!answer) {
    const bool usage = answer.error().code == Errc::invalid_argument;
    co_return complain(kName, answer.error().message, usage ? kExitUsage : kExitFailed);
  }
  if (answer->kind == BisectAnswer::Kind::true_at_good) {
    co_return complain(kName, "the condition is true already at the good cut, " + shown(*good), kExitFailed);
  }
  if (answer->kind == BisectAnswer::Kind::false_at_bad) {
    const char* const where_to = options.first ? "is never true up to " : "is false at ";
    co_return complain(kName, "the condition " + std::string(where_to) + "the bad cut, " + shown(*bad),
                       kExitFailed);
  }
  co_return co_await print(log, std::move(*answer), std::move(options));
}

}  // namespace

int run_bisect(const Config& config, const BisectCommand& options) {
  auto where = Expression::parse(options.where, Expression::Asks::states_only);
  if (!where) return complain(kName, "--where: " + where.error().message, kExitUsage);
  const auto shared = std::make_shared<const Expression>(std::move(*where));
  return with_log(config, kName, [&](EventLog& log) { return bisected(log, options, shared); });
}

}  // namespace varve
