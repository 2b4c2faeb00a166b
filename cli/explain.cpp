// varve explain: the chain of events that made a row what it is.
#include "inspect/explain.h"

#include <iostream>

#include "cli/commands.h"
#include "cli/inspect_commands.h"

namespace varve {
namespace {

constexpr const char* kName = "varve explain";

Task<int> explained(EventLog& log, RowName row, bool json) {
  auto explanation = co_await explain(log, std::move(row));
  if (!explanation) co_return explanation.error();
  std::cout << (json ? explanation_json(*explanation) + "\n" : explanation_text(*explanation));
  co_return kExitDone;
}

}  // namespace

int run_explain(const Config& config, const ExplainCommand& options) {
  auto row = parse_row_name(options.row, options.field);
  if (!row) return complain(kName, row.error().message, kExitUsage);
  return with_log(config, kName, [&](EventLog& log) { return explained(log, *row, options.json); });
}

}  // namespace varve
