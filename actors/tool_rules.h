// Tool rules of an agent: which tools a model may call next, which ends the turn, which needs the client's
// approval. Read from the agent's `tool_rules` as the API's clients write them; rules of other kinds are kept
// and have no effect. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "actors/actor_state.h"

namespace varve {

struct ToolRules {
  std::set<std::string> first;                            // run_first
  std::set<std::string> last;                             // exit_loop
  std::set<std::string> approval;                         // requires_approval
  std::map<std::string, std::set<std::string>> children;  // constrain_child_tools
  std::map<std::string, std::int64_t> count_max;          // max_count_per_step
};
ToolRules tool_rules_of(const AgentSettings& settings);

// The names of the tools that the open turn has called so far, oldest first.
std::vector<std::string> tools_called(const AgentState& agent);

// Which of `names` may be called now, in their order. `forced` = the model must call one of them.
struct AllowedTools {
  std::vector<std::string> names;
  bool forced = false;
};
AllowedTools allowed_tools(const ToolRules& rules, const std::vector<std::string>& called,
                           const std::vector<std::string>& names);

}  // namespace varve
