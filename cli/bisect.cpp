// varve bisect: an event at which a condition on the views turns true.
#include <iostream>

#include "cli/commands.h"
#include "cli/inspect_commands.h"
#include "inspect/bisect_log.h"

namespace varve {
namespace {

constexpr const char* kName = "varve bisect";

int tell(const Result<BisectReport>& report, const BisectQuestion& question, bool json) {
  if (!report) {
    const bool usage = report.error().code == Errc::invalid_argument;
    return complain(kName, report.error().message, usage ? kExitUsage : kExitFailed);
  }
  for (const std::string& remark : report->remarks) std::cerr << kName << ": " << remark << "\n";
  if (json) std::cout << bisect_json(*report, question) << "\n";
  if (!report->record) return complain(kName, report->why_not, kExitFailed);
  if (!json) std::cout << bisect_text(*report, question.find, colour_wanted());
  return kExitDone;
}

Task<int> looked_at_all(EventLog& log, BisectQuestion question, bool json) {
  const auto report = co_await bisect_log(log, question);
  co_return tell(report, question, json);
}

Task<int> halved(InspectedLog inspected, BisectQuestion question, bool json) {
  if (inspected.views == nullptr) {
    auto report = co_await bisect_log(inspected.log, question);
    if (report) report->remarks.insert(report->remarks.begin(), by_log_because(inspected.why_none));
    co_return tell(report, question, json);
  }
  const AskedViews views{inspected.env, inspected.log, *inspected.views};
  const auto report = co_await bisect_by_views(views, question, Play::if_needed);
  co_return tell(report, question, json);
}

}  // namespace

int run_bisect(const Config& config, const BisectCommand& options) {
  auto where = Expression::parse(options.where, Expression::Asks::states_only);
  if (!where) return complain(kName, "--where: " + where.error().message, kExitUsage);
  BisectQuestion question;
  question.where = std::make_shared<const Expression>(std::move(*where));
  if (!options.about.empty()) question.about = StreamId{options.about};
  question.good = options.good;
  question.bad = options.bad;
  question.find = options.first ? Find::first : Find::any;
  if (options.first)
    return with_log(config, kName, [&](EventLog& log) { return looked_at_all(log, question, options.json); });
  return with_views(config, kName, [&](InspectedLog inspected) {
    return halved(std::move(inspected), question, options.json);
  });
}

}  // namespace varve
