// varve bisect: an event at which a condition on the views turns true.
#include <iostream>

#include "cli/commands.h"
#include "cli/inspect_commands.h"
#include "inspect/bisect_log.h"

namespace varve {
namespace {

constexpr const char* kName = "varve bisect";

Task<int> bisected(EventLog& log, BisectQuestion question, bool json) {
  auto report = co_await bisect_log(log, question);
  if (!report) {
    const bool usage = report.error().code == Errc::invalid_argument;
    co_return complain(kName, report.error().message, usage ? kExitUsage : kExitFailed);
  }
  for (const std::string& remark : report->remarks) std::cerr << kName << ": " << remark << "\n";
  if (json) std::cout << bisect_json(*report, question) << "\n";
  if (!report->record) co_return complain(kName, report->why_not, kExitFailed);
  if (!json) std::cout << bisect_text(*report, question.find, colour_wanted());
  co_return kExitDone;
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
  return with_log(config, kName, [&](EventLog& log) { return bisected(log, question, options.json); });
}

}  // namespace varve
